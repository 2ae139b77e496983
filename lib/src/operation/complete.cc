// What is made of attempts: an operation of one effect in one call, and the completion of those
// that were left behind.
#include <condition_variable>
#include <mutex>
#include <utility>

#include "model/effect.h"
#include "model/validation.h"
#include "operation/attempt_impl.h"
#include "outseal/error.h"
#include "store/observed.h"

namespace outseal {
namespace {

/// How often others may be faster, before that is said.
constexpr int kOvertakenMax = 10;

[[noreturn]] void refuse_empty(std::string_view caller, const std::string& what) {
  throw Error{ErrorCode::invalid_argument, caller, what + " is empty", {.hint = "give one"}};
}

ExecuteResult attempt_once(
    Attempt& attempt, const Effect& effect,
    const std::function<Reply(Transaction&, const EffectOutcome&)>& handler) {
  if (auto known = attempt.begin()) return std::move(*known);
  const EffectOutcome outcome = attempt.effect(effect);
  if (!outcome.settled()) return attempt.leave();
  return attempt.finish([&](Transaction& tx) { return handler(tx, outcome); });
}

/// The loop of complete().
class Completer {
 public:
  Completer(const SessionOpener& open_session, std::string_view scope,
            const Completion& complete_one, const CompleteOptions& options)
      : open_session_{open_session},
        scope_{scope},
        complete_one_{complete_one},
        options_{options},
        session_{open_session_()} {}

  Completed run() {
    while (!options_.stop.stop_requested()) {
      try {
        if (complete_next()) continue;
        if (options_.until_none) break;
      } catch (const Error& error) {
        if (error.recovery() == Recovery::fix_first) throw;
        note(error);
      }
      wait();
    }
    return done_;
  }

 private:
  /// @returns whether there was one.
  bool complete_next() {
    if (is_lost_) {
      session_ = open_session_();
      is_lost_ = false;
    }
    auto attempt = resume(session_, scope_, options_.attempt, options_.idle);
    if (!attempt) return false;
    try {
      count(complete_one_(session_, *attempt));
    } catch (const Error& error) {
      ++done_.failed;
      note(error);
      wait();
    } catch (const std::exception&) {  // Its turn comes again after all others.
      ++done_.failed;
      wait();
    }
    return true;
  }

  void count(const ExecuteResult& result) {
    switch (result.outcome) {
      case Outcome::executed:
      case Outcome::replayed:
      case Outcome::expired:
        ++done_.finished;
        break;
      case Outcome::unknown:
        ++done_.unknown;
        break;
      default:
        ++done_.in_progress;
    }
  }

  void note(const Error& error) {
    const Recovery recovery = error.recovery();
    is_lost_ = is_lost_ || recovery == Recovery::reconnect || recovery == Recovery::find_out;
    store::tell(options_.attempt.execute.observer, UnthrownError{&error});
  }

  void wait() {
    std::mutex mutex;
    std::unique_lock lock{mutex};
    std::condition_variable_any stopped;
    stopped.wait_for(lock, options_.stop, options_.poll, [] { return false; });
  }

  const SessionOpener& open_session_;
  const std::string_view scope_;
  const Completion& complete_one_;
  const CompleteOptions& options_;
  Session session_;
  bool is_lost_ = false;
  Completed done_;
};

}  // namespace

ExecuteResult execute(Session session, const Operation& operation, const Effect& effect,
                      const std::function<Reply(Transaction&, const EffectOutcome&)>& handler,
                      const AttemptOptions& options) {
  ExecuteCall seen;
  seen.scope = operation.scope;
  return store::observed(options.execute.observer, seen, [&] {
    validate_effect(effect);
    if (!handler) refuse_empty("execute", "the handler");
    while (true) {
      ++seen.attempts;
      Attempt attempt{session, operation, options};
      try {
        ExecuteResult result = attempt_once(attempt, effect, handler);
        seen.outcome = result.outcome;
        if (result.reply) seen.verdict = result.reply->verdict;
        return result;
      } catch (const Error& error) {  // Another attempt was faster: what it says is the answer.
        if (error.code() != ErrorCode::lease_lost || seen.attempts > kOvertakenMax) throw;
      }
    }
  });
}

std::optional<Attempt> resume(Session session, std::string_view scope,
                              const AttemptOptions& options, std::chrono::milliseconds idle) {
  options.validate();
  check_text("resume", "scope", scope, 1, kScopeBytesMax);
  if (idle.count() < 0)
    throw Error{ErrorCode::invalid_argument,
                "resume",
                "idle is negative",
                {.hint = "a lease that has not ended is never taken"}};
  for (int overtaken = 0; overtaken <= kOvertakenMax; ++overtaken) {
    auto impl = std::make_unique<Attempt::Impl>(session, std::string{}, nullptr, options);
    const auto left = impl->store->find_left(std::string{scope}, idle);
    if (!left) return std::nullopt;
    impl = std::make_unique<Attempt::Impl>(session, left->first, nullptr, options);
    const auto last = impl->run(impl->core.resume(left->second, Attempt::Impl::now()));
    if (std::holds_alternative<attempt::Continue>(last)) return Attempt{std::move(impl)};
  }
  return std::nullopt;
}

void CompleteOptions::validate() const {
  ConfigErrors faults{"CompleteOptions"};
  faults.check_range("idle (ms)", idle.count(), 0, AttemptOptions::kLeaseMax.count());
  faults.check_range("poll (ms)", poll.count(), 1, kPollMax.count());
  faults.raise();
  attempt.validate();
}

Completed complete(const SessionOpener& open_session, std::string_view scope,
                   const Completion& complete_one, const CompleteOptions& options) {
  options.validate();
  check_text("complete", "scope", scope, 1, kScopeBytesMax);
  if (!open_session) refuse_empty("complete", "open_session");
  if (!complete_one) refuse_empty("complete", "complete_one");
  return Completer{open_session, scope, complete_one, options}.run();
}

}  // namespace outseal
