// Requests on their way: libcurl's multi interface behind a start and a wait.
//
// HTTP/1.1 over connections that are kept; nothing is taken from the environment (proxies, netrc,
// cookies). A success counts once its header fields are there, any other answer once it is whole;
// of its body only the length is looked at, and one that is too long is cut off.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sinks/http/answer.h"
#include "sinks/http/message.h"
#include "sinks/http/options.h"

namespace outseal::sinks {

/// Longest header and longest body of an answer, in bytes. Chosen by us: nothing in them is needed.
inline constexpr std::size_t kAnswerBytesMax = 64U << 10U;
/// Redirects that are followed for one request.
inline constexpr int kRedirectsMax = 5;

/// Requests at a time on connections that have not brought an answer yet. A receiver takes new ones
/// from a short queue (of 5 in cpp-httplib and Python's http.server); one too many waits a second.
inline constexpr std::ptrdiff_t kNewConnectionsMax = 4;

/// Answers, each with the ticket of its request.
using HttpAnswers = std::vector<std::pair<std::size_t, HttpAnswer>>;

/// Threads: Not thread-safe; one thread at a time.
class HttpExchange {
 public:
  /// `options` must outlive it.
  /// @throws Error{internal} if libcurl cannot be set up.
  explicit HttpExchange(const HttpSinkOptions& options);
  ~HttpExchange();
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  /// Signs and sends `message`, whose bytes must stay until its answer was returned by wait().
  void start(std::size_t ticket, const HttpMessage& message);
  /// Requests without an answer.
  std::size_t under_way() const;
  /// May one more be sent now? Not if all places are taken or too many connections are new.
  bool has_room() const;
  /// Waits until at least one request under way has ended or there is room again; no request waits
  /// longer than its timeouts.
  HttpAnswers wait();

 private:
  struct Transfer;
  struct Shared;

  void send(Transfer& transfer);
  bool follow(Transfer& transfer, HttpAnswer& answer);
  void collect_ended(HttpAnswers& answers);
  void look_after_running(HttpAnswers& answers);
  void end(Transfer& transfer, HttpAnswer answer, HttpAnswers& answers);

  const HttpSinkOptions& options_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace outseal::sinks
