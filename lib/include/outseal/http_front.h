// The front door of an HTTP service: the header Idempotency-Key, and what each outcome answers.
//
// It belongs to no framework: header fields and a body go in, a status, header fields and a body
// come out. Source: draft-ietf-httpapi-idempotency-key-header-07; RFC 9457 (problem+json).
//
//   what happened                              answer                        HttpDecision
//
//   the handler ran                            the reply's                   executed, released
//   a repetition, and the reply is stored      the reply's, and              replayed
//                                              Idempotent-Replayed: true
//   no key, and one is required                400                           key_missing
//   no structured-field string, or too long    400                           key_malformed
//   the field came twice                       400                           key_repeated
//   the key was used for another request       422                           mismatch
//   it is being executed                       409, Retry-After              in_progress
//   the same, with Prefer: wait=N              the answer, if it comes       as above
//                                              within N s
//   the same, with Prefer: respond-async       202, Location by the handle   accepted
//   nobody knows what became of an effect      409                           unknown, disputed
//   proven: nothing was or will be done        409, "safe_new_key": true,    not_applied
//                                              by not_applied_reply()
//   it ended, and the reply is gone            410                           expired
//   too many new keys of this principal        429, Retry-After              rate_limited
//   may_replay() says no                       403                           replay_denied
//   the database cannot be used                503, Retry-After              unavailable
//
// 409 without Retry-After: to come again does not help. Every answer has Cache-Control: no-store.
// Whatever is not the service's own reply is application/problem+json (the 202 application/json),
// with the members `type`, `title`, `status` and `detail`, and where it is known `safe_new_key`,
// `location`, `ended` (success or final_failure) and `effects` (name, state, reference). In doubt
// it fails closed: no answer that could be taken for success, and no second execution.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outseal/idempotency.h"
#include "outseal/run.h"
#include "outseal/session.h"
#include "outseal/status.h"

namespace outseal {

/// Names and values in their order; names in any case.
using HttpFields = std::vector<std::pair<std::string, std::string>>;

/// A request, as much of it as counts.
struct HttpRequest {
  std::string_view method = "POST";
  std::string_view target = {};  ///< Path and query.
  HttpFields headers = {};
  std::string_view body = {};
  /// As Operation::principal: who has been authenticated.
  std::string principal = {};
  /// As in Operation. Empty: that of method, target and canonical_json() of the body.
  std::string fingerprint = {};
  int fingerprint_version = 1;
  std::vector<VersionedFingerprint> older_fingerprints = {};
};

struct HttpResponse {
  int status = 200;
  HttpFields headers = {};
  std::string body = {};
};

/// What HttpFront has answered. The names are stable: they end the types of problems.
enum class HttpDecision {
  executed,
  replayed,
  released,
  accepted,
  in_progress,
  mismatch,
  unknown,
  disputed,
  not_applied,  ///< Never by itself: it is a reply of the handler, see not_applied_reply().
  expired,
  key_missing,
  key_malformed,
  key_repeated,
  rate_limited,
  replay_denied,
  not_found,  ///< Of serve_status(): no such handle.
  unavailable,
};

/// The stable snake_case name of `decision`.
std::string_view name_of(HttpDecision decision);

/// How HttpFront answers. One for each scope.
struct HttpFrontOptions {
  static constexpr std::size_t kKeyBytesMax = 255;
  static constexpr std::chrono::seconds kWaitDefault{30};
  static constexpr std::chrono::seconds kWaitLimit{600};
  static constexpr std::uint32_t kBurstDefault = 100;
  static constexpr std::uint32_t kPrincipalsDefault = 10'000;
  static constexpr std::size_t kCacheEntriesDefault = 10'000;
  static constexpr std::chrono::seconds kCacheTtlDefault{60};

  /// As Operation::scope.
  std::string scope;
  /// Whether a request without a key is refused. If not, it is executed under a new key of its own:
  /// nothing can repeat it.
  bool key_required = true;
  /// Also takes a key that is a bare word, without quotes: letters, digits and !#$%&'*+-.^_`|~:/
  /// It is the same key as the one in quotes.
  bool accept_token = false;
  /// The longest key, in bytes; range 1 to 255.
  std::size_t key_bytes_max = kKeyBytesMax;
  /// The longest wait that `Prefer: wait=N` gets. Range 0 (none) to 10 minutes.
  std::chrono::seconds wait_max = kWaitDefault;
  /// Where serve_status() is, for example "/operations/": the handle is put behind it. Empty: no
  /// request is answered by 202.
  std::string location_prefix = {};
  /// What the types of problems begin with. Set it to a page of your own that explains them.
  std::string problem_base = "urn:outseal:problem:";
  /// Asked before a stored reply leaves, or anything else that is recorded of an operation: the
  /// rights of a principal may have changed since. By serve_status() with an empty key. Empty: yes.
  std::function<bool(const std::string& principal, const Operation& operation)> may_replay = {};

  /// How many new keys a principal may use per minute, in the long run, and at once. 0: any number.
  /// Counted by this process alone. Repetitions are free. Range of the burst 1 to 1,000,000.
  std::uint32_t new_keys_per_minute = 0;
  std::uint32_t new_keys_burst = kBurstDefault;
  /// How many principals are remembered; the one that was seen longest ago starts anew. Range 1 to
  /// 1,000,000; each takes up to 500 bytes.
  std::uint32_t principals_max = kPrincipalsDefault;

  /// Keeps final replies of what this process has executed in memory, for repetitions that come
  /// soon: at most so many bytes, 0 for none. Such a reply is given without asking the database, so
  /// it outlives an operator's decision by up to `cache_ttl`.
  std::size_t cache_bytes_max = 0;
  std::size_t cache_entries_max = kCacheEntriesDefault;  ///< Range 1 to 10,000,000.
  /// For how long. Range 1 second to ExecuteOptions::response_retention.
  std::chrono::seconds cache_ttl = kCacheTtlDefault;

  /// For operations; on PostgreSQL `wait` is what the request prefers. The observer is told of each
  /// answer: HttpCall.
  ExecuteOptions execute = {};
  /// Around each look at the database.
  RetryPolicy retry = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Answers requests of one scope.
///
/// ```
/// outseal::HttpFront front{{.scope = "charges", .location_prefix = "/operations/"}};
/// // In each request:
/// std::unique_ptr<soci::session> session;
/// const auto open = [&]() -> outseal::Session {
///   session = pool.lease();
///   return *session;
/// };
/// const outseal::HttpResponse response = front.serve(
///     open,
///     {.target = "/v1/charges", .headers = headers, .body = body, .principal = tenant},
///     [&](outseal::Session db, const outseal::Operation& operation,
///         const outseal::ExecuteOptions& options) {
///       return outseal::execute(
///           db, operation, [&](outseal::Transaction& tx) { return charge(tx, *session); },
///           options);
///     });
/// ```
///
/// Requests of one key that may wait (`Prefer: wait=N`) attach to the one that this process
/// executes already, without a connection of their own: the answer to one is the answer to all.
///
/// Threads: thread-safe.
/// Crash: the key keeps what has been committed; what waits is repeated by its clients.
class HttpFront {
 public:
  /// Executes the operation, by execute() or by an Attempt with its effects, under the given
  /// options. It may be called again, with the same key, on another connection.
  using Work =
      std::function<ExecuteResult(Session, const Operation& operation, const ExecuteOptions&)>;

  /// @throws Error{invalid_config} for bad options.
  explicit HttpFront(HttpFrontOptions options);
  ~HttpFront();
  HttpFront(const HttpFront&) = delete;
  HttpFront& operator=(const HttpFront&) = delete;

  /// Answers `request`. `open` is called when a connection is needed, and again if that breaks.
  ///
  /// @throws Error with Recovery::fix_first that is a fault of the program, and not of the
  /// database,
  ///         for example invalid_argument for a principal that is too long.
  /// @throws whatever else `work` throws that is no Error: answer 500, and leave the key to its
  ///         client. execute() has stored nothing then; with effects a request may have been sent,
  ///         and is recorded as sent.
  ///
  /// A reply whose status is none of HTTP's (200 to 599) is answered by 200 or 500, as its verdict
  /// says; one of 204, 205 or 304 without its body.
  HttpResponse serve(const SessionOpener& open, const HttpRequest& request, const Work& work);

  /// Answers GET of a Location that serve() gave: 202 while the operation is in progress, then as
  /// the table says; 404 for a handle of nothing. `Prefer: wait=N` waits. Whoever knows the handle
  /// may see the answer if may_replay() agrees.
  HttpResponse serve_status(const SessionOpener& open, const HttpRequest& request,
                            std::string_view handle);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a handler may reply that has seen all effects of its operation not applied, by proof (see
/// EffectState): a final failure, 409, which tells the client that it may ask again under a new
/// key.
Reply not_applied_reply(const HttpFrontOptions& options);

/// The response to a result, as serve() makes it, without asking may_replay(): for services with a
/// loop of their own. `status` is what status() says of an operation that is unknown or expired; it
/// may be null.
HttpResponse http_response(const ExecuteResult& result, const OperationStatus* status,
                           const HttpFrontOptions& options);

}  // namespace outseal
