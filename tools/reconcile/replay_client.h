// A client of a service that is checked: sends one request and takes the whole answer.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace outseal::tools {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

/// A request of the file.
struct ReplayRequest {
  std::size_t line = 0;  ///< Of the file, from 1.
  std::string method = "POST";
  std::string path;  ///< Behind --url; may be empty.
  std::string key;   ///< The idempotency key; a secret of the client's.
  HttpFields fields;
  std::string body;
};

/// What came back.
struct ReplayAnswer {
  long status = 0;           ///< 0: no whole answer came.
  HttpFields fields = {};    ///< Names in lower case, in the order in which they came.
  std::string body = {};     ///< Up to kReplayAnswerBytesMax bytes.
  std::string trouble = {};  ///< Why no answer came.

  /// The first field of that name; empty if there is none.
  std::string_view field(std::string_view name) const;
};

/// Longest body of an answer, in bytes: a longer one counts as none. Chosen by us: a reply that is
/// stored is at most as long.
inline constexpr std::size_t kReplayAnswerBytesMax = 16U << 20U;

/// One connection, kept from request to request.
///
/// Threads: Not thread-safe; one a thread.
class ReplayClient {
 public:
  /// @throws Error{internal} if libcurl cannot be set up.
  ReplayClient();
  ~ReplayClient();
  ReplayClient(const ReplayClient&) = delete;
  ReplayClient& operator=(const ReplayClient&) = delete;

  /// Sends it to `url` with the fields `common` and its own; waits no longer than `left`.
  ReplayAnswer send(const std::string& url, const HttpFields& common, const ReplayRequest& request,
                    std::chrono::milliseconds left);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outseal::tools
