// Retries: the loop around an operation that no service should have to write.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>

#include "outseal/idempotency.h"
#include "outseal/observer.h"
#include "outseal/session.h"

namespace outseal {

/// How often and for how long run() tries.
struct RetryPolicy {
  static constexpr int kAttemptsDefault = 6;
  static constexpr int kAttemptsMax = 1'000;
  static constexpr std::chrono::milliseconds kBackoffDefault{20};
  static constexpr std::chrono::milliseconds kBackoffMaxDefault{2'000};
  static constexpr std::chrono::milliseconds kLongestDefault{10'000};
  static constexpr std::chrono::milliseconds kLongestMax = std::chrono::hours{24};

  /// Attempts in all, the first one included. Range 1 to 1,000.
  int attempts_max = kAttemptsDefault;
  /// The first pause; each later one is twice as long, up to `backoff_max`. Of each, a random part
  /// between half and all is waited, so that callers that failed together do not come back
  /// together. Range 1 ms to 1 day. Source: AWS Architecture Blog, "Exponential Backoff And
  /// Jitter".
  std::chrono::milliseconds backoff = kBackoffDefault;
  std::chrono::milliseconds backoff_max = kBackoffMaxDefault;
  /// No attempt begins later than this after the call; one that runs is not interrupted. Range 0
  /// (one attempt) to 1 day.
  std::chrono::milliseconds longest = kLongestDefault;
  /// Ends a pause at once; no further attempt begins.
  std::stop_token stop = {};
  /// Is told of each attempt that failed and is followed by another one: RetryCall.
  Observer observer = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// One attempt, on a connection that is open and idle: execute(), or an Attempt of an operation
/// with effects. It may be called again, on another connection, and must then use the same key.
using SessionWork = std::function<ExecuteResult(Session)>;

/// Opens a connection, calls `work`, and as long as that fails does what Error::recovery() says:
///
/// | recovery | what run() does |
/// |---|---|
/// | retry_transaction | tries again on the same connection |
/// | reconnect | tries again on a new connection |
/// | find_out | the same; the key's record tells whether the commit went through |
/// | fix_first | passes the error through at once; lease_lost: tries again on the same connection |
///
/// If `open` throws anything, that counts as reconnect. Another exception of `work` that is no
/// Error passes through at once. A result is a result: in_progress and released are returned.
///
/// @returns what `work` returned.
/// @throws Error{commit_in_doubt} if the outcome of a commit is still unknown after the last
///         attempt, whatever Error that one has failed by: call again with the same key.
/// @throws what the last attempt has thrown, if attempts, time or stop token end it.
/// @throws Error{invalid_config} for bad options.
/// Threads: thread-safe, if `open` and `work` are. Both are called by the calling thread.
/// Crash: as `work`: the key keeps what has been committed.
[[nodiscard]] ExecuteResult run(const SessionOpener& open, const SessionWork& work,
                                const RetryPolicy& policy = {});

/// execute() with retries. `handler` uses the connection that `open` has returned last.
[[nodiscard]] ExecuteResult run(const SessionOpener& open, const Operation& operation,
                                const Handler& handler, const RetryPolicy& policy = {},
                                const ExecuteOptions& options = {});

}  // namespace outseal
