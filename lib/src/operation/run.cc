#include "outseal/run.h"

#include <exception>
#include <optional>
#include <utility>

#include "model/validation.h"
#include "operation/backoff.h"
#include "outseal/error.h"
#include "store/observed.h"

namespace outseal {
namespace {

using Clock = std::chrono::steady_clock;

/// Attempts at one piece of work, and the connection that they use.
class Attempts {
 public:
  Attempts(const SessionOpener& open, const SessionWork& work, const RetryPolicy& policy)
      : open_{open}, work_{work}, policy_{policy} {}

  ExecuteResult run() {
    for (int attempt = 1;; ++attempt) {
      if (std::optional<ExecuteResult> result = try_once()) return std::move(*result);
      const auto pause = backoff_.next();
      if (attempt >= policy_.attempts_max || policy_.stop.stop_requested() ||
          Clock::now() + pause > end_)
        give_up();
      tell(attempt, pause);
      if (!operation::pause(pause, policy_.stop)) give_up();
    }
  }

 private:
  /// Nothing if it has failed and may be tried again.
  std::optional<ExecuteResult> try_once() {
    if (!session_ && !open()) return std::nullopt;
    try {
      return work_(*session_);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::commit_in_doubt) in_doubt_ = std::current_exception();
      failure_ = std::current_exception();
      // Overtaken: the next attempt finds out what the other one has done.
      const bool overtaken = error.code() == ErrorCode::lease_lost;
      if (error.recovery() == Recovery::fix_first && !overtaken) give_up();
      if (error.recovery() != Recovery::retry_transaction && !overtaken) session_.reset();
      return std::nullopt;
    }
  }

  bool open() {
    try {
      session_ = open_();
      return true;
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  void tell(int attempt, std::chrono::milliseconds pause) {
    if (!policy_.observer) return;
    RetryCall seen;
    seen.attempt = attempt;
    seen.pause = pause;
    try {
      std::rethrow_exception(failure_);
    } catch (const Error& error) {
      seen.error = &error;
      store::tell(policy_.observer, seen);
    } catch (...) {
      store::tell(policy_.observer, seen);
    }
  }

  /// Whatever failed last: that a commit may have happened must not be lost.
  [[noreturn]] void give_up() { std::rethrow_exception(in_doubt_ ? in_doubt_ : failure_); }

  const SessionOpener& open_;
  const SessionWork& work_;
  const RetryPolicy& policy_;
  const Clock::time_point end_ = Clock::now() + policy_.longest;
  operation::Backoff backoff_{policy_.backoff, policy_.backoff_max};
  std::optional<Session> session_;  ///< The one at hand, unless it has broken.
  std::exception_ptr failure_;      ///< Of the last attempt.
  std::exception_ptr in_doubt_;     ///< Of the last commit in doubt.
};

}  // namespace

void RetryPolicy::validate() const {
  ConfigErrors faults{"RetryPolicy"};
  faults.check_range("attempts_max", attempts_max, 1, kAttemptsMax);
  faults.check_range("backoff (ms)", backoff.count(), 1, kLongestMax.count());
  faults.check_range("backoff_max (ms)", backoff_max.count(), backoff.count(), kLongestMax.count());
  faults.check_range("longest (ms)", longest.count(), 0, kLongestMax.count());
  faults.raise();
}

ExecuteResult run(const SessionOpener& open, const SessionWork& work, const RetryPolicy& policy) {
  policy.validate();
  if (!open || !work)
    throw Error{ErrorCode::invalid_argument,
                "run",
                "the opener or the work is empty",
                {.hint = "give both"}};
  return Attempts{open, work, policy}.run();
}

ExecuteResult run(const SessionOpener& open, const Operation& operation, const Handler& handler,
                  const RetryPolicy& policy, const ExecuteOptions& options) {
  return run(
      open, [&](Session session) { return execute(session, operation, handler, options); }, policy);
}

}  // namespace outseal
