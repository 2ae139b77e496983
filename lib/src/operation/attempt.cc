// An attempt: carries out the commands of the core, on the store of the session's database and the
// callbacks of the effect at hand.
#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/owner.h"
#include "base/text.h"
#include "model/effect.h"
#include "model/limits.h"
#include "model/validation.h"
#include "operation/attempt_impl.h"
#include "operation/compensation.h"
#include "operation/record.h"
#include "outseal/error.h"
#include "store/observed.h"

namespace outseal {

using namespace attempt;

namespace {

[[noreturn]] void throw_lost() {
  throw Error{ErrorCode::lease_lost,
              "attempt",
              "another attempt has the operation",
              {.hint = "make another Attempt: begin() tells how far it has come"}};
}

/// While it lives the lease is renewed, from a thread of its own.
class Renewal {
 public:
  Renewal(std::chrono::milliseconds every, std::function<void()> renew)
      : every_{every}, renew_{std::move(renew)}, thread_{[this](const std::stop_token& stop) {
          run(stop);
        }} {}

 private:
  void run(const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    while (!stopped_.wait_for(lock, stop, every_, [] { return false; })) {
      if (stop.stop_requested()) return;
      try {
        renew_();
      } catch (const std::exception&) {  // The deadline stays as it is, and the call sees it.
        return;
      }
    }
  }

  const std::chrono::milliseconds every_;
  const std::function<void()> renew_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;
};

/// Leaves out what cannot be kept, and says so. What the provider has said counts all the same:
/// it has done it, and a word that is too long must not make anybody forget that.
template <typename Result>
std::string leave_out(Result& result) {
  std::string left_out;
  const auto leave = [&](const char* what, std::string& text) {
    left_out += (left_out.empty() ? "" : "; ") + std::string{what} + " of " +
                std::to_string(text.size()) + " bytes could not be kept";
    text.clear();
  };
  if (result.reference.size() > kEffectReferenceBytesMax || !is_utf8(result.reference) ||
      result.reference.find('\0') != std::string::npos)
    leave("a reference", result.reference);
  if (result.response.size() > kEffectResponseBytesMax) leave("a response", result.response);
  return left_out;
}

std::string_view answer_of(const CallResult& result) {
  switch (result.verdict) {
    case CallResult::Verdict::applied:
      return "applied";
    case CallResult::Verdict::refused:
      return "refused";
    case CallResult::Verdict::not_sent:
      return "not_sent";
    case CallResult::Verdict::uncertain:
      break;
  }
  return "uncertain";
}

std::string_view answer_of(const AskResult& result) {
  switch (result.answer) {
    case AskResult::Answer::applied:
      return "applied";
    case AskResult::Answer::not_applied_proven:
      return "not_applied_proven";
    case AskResult::Answer::not_found_yet:
      return "not_found_yet";
    case AskResult::Answer::cannot_tell:
      break;
  }
  return "cannot_tell";
}

std::string_view answer_of(const CancelResult& result) {
  switch (result.answer) {
    case CancelResult::Answer::cancelled:
      return "cancelled";
    case CancelResult::Answer::applied:
      return "applied";
    case CancelResult::Answer::cannot_tell:
      break;
  }
  return "cannot_tell";
}

}  // namespace

Attempt::Impl::Impl(Session session, std::string key_hash, const Operation* for_operation,
                    const AttemptOptions& with)
    : options{with}, core{{with.lease, with.margin, with.call_min}, key_hash} {
  if (for_operation != nullptr) operation = *for_operation;
  id.key_hash = std::move(key_hash);
  id.operation = operation ? &*operation : nullptr;
  id.owner = this_owner();
  store = session.handle().postgres != nullptr
              ? operation::make_postgres_effect_store(session, options)
              : operation::make_sqlite_effect_store(session, options);
}

Milliseconds Attempt::Impl::now() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return std::chrono::duration_cast<Milliseconds>(std::chrono::seconds{time.tv_sec} +
                                                  std::chrono::nanoseconds{time.tv_nsec});
}

Command Attempt::Impl::run(Command command) {
  while (true) {
    std::optional<Input> input;
    try {
      input = std::visit([this](const auto& each) { return carry_out(each); }, command);
    } catch (...) {
      core.abort(now());
      throw;
    }
    if (!input) break;
    command = core.on(*input, now());
  }
  outcomes = core.outcomes();
  if (std::holds_alternative<Lost>(command)) throw_lost();
  return command;
}

ExecuteResult Attempt::Impl::answer(Command command) {
  ExecuteResult result = std::get<Answer>(std::move(command)).result;
  if (core.has_begun()) secret = id.handle;
  if (!secret.empty() && result.outcome != Outcome::mismatch)
    result.handle = operation::handle_text(id.key_hash, secret);
  return result;
}

// --- The database --------------------------------------------------------------------------------

std::optional<Input> Attempt::Impl::carry_out(const Load& /*load*/) {
  OperationView view = store->load(id.key_hash);
  secret = view.handle;
  return Loaded{std::move(view)};
}

std::optional<Input> Attempt::Impl::carry_out(const TakeOver& take_over) {
  auto view = store->take_over(id, take_over.fence, {}, options.lease);
  if (view) id.handle = view->handle;
  return TakenOver{std::move(view)};
}

std::optional<Input> Attempt::Impl::carry_out(const Commit& commit) {
  failpoint(commit.advance.send ? "effect.before_intent" : "effect.before_commit");
  const bool ours = store->advance(id, commit.advance);
  failpoint(commit.advance.send ? "effect.after_intent" : "effect.after_commit");
  return Committed{ours};
}

std::optional<Input> Attempt::Impl::carry_out(const Finish& finish) {
  failpoint("effect.before_finish");
  auto reply = store->finish(id, finish.fence, finish.settled, *handler, [this] {
    std::vector<Event> events;
    for (const std::string& text : core.compensations())
      events.push_back(operation::read_compensation(text));
    return events;
  });
  failpoint("effect.after_finish");
  return Finished{std::move(reply)};
}

// --- The provider --------------------------------------------------------------------------------

std::optional<Input> Attempt::Impl::carry_out(const Call& call) {
  return Called{call_back(effect_at_hand->call, ProviderCall::Step::call, call.attempt)};
}

std::optional<Input> Attempt::Impl::carry_out(const Ask& /*ask*/) {
  return Asked{
      call_back(effect_at_hand->ask, ProviderCall::Step::ask, core.row().outcome.attempts)};
}

std::optional<Input> Attempt::Impl::carry_out(const Cancel& /*cancel*/) {
  return Cancelled{
      call_back(effect_at_hand->cancel, ProviderCall::Step::cancel, core.row().outcome.attempts)};
}

template <typename Result>
Result Attempt::Impl::call_back(const std::function<Result(EffectCall&)>& callback,
                                ProviderCall::Step step, int attempt) {
  ProviderCall seen;
  seen.step = step;
  seen.attempt = attempt;
  // Not behind the lock: a renewal may wait for the database, and the call must see its time pass.
  deadline = core.deadline();
  const auto left = [this] { return std::max(deadline.load() - now(), Milliseconds{}); };
  seen.effect = effect_at_hand->name;
  seen.provider = effect_at_hand->provider.name;
  EffectCall call{core.row().provider_key, seen.attempt, left, [this] { renew(); }};
  std::optional<Renewal> renewal;
  if (options.renew_in_background) renewal.emplace(options.lease / 3, [this] { renew(); });
  failpoint("effect.before_call");
  callback_threw = true;
  Result result = store::observed(options.execute.observer, seen, [&] {
    Result given = callback(call);
    seen.answer = answer_of(given);
    return given;
  });
  callback_threw = false;
  core.note_left_out(leave_out(result));
  failpoint("effect.after_call");
  return result;
}

void Attempt::Impl::renew() {
  const std::lock_guard lock{renewing};
  const Milliseconds before = now();
  if (!store->advance(id, core.renewal())) throw_lost();
  core.renewed(before, now());
  deadline = core.deadline();
}

// --- The attempt's calls -------------------------------------------------------------------------

AttemptCall Attempt::Impl::seen_as(AttemptCall::Step step) const {
  AttemptCall seen;
  seen.step = step;
  if (operation) seen.scope = operation->scope;
  return seen;
}

EffectOutcome Attempt::Impl::effect(const Effect& effect) {
  validate_effect(effect);
  effect_at_hand = &effect;
  Command command = core.effect(effect, now());
  try {
    EffectOutcome outcome = std::get<Return>(run(std::move(command))).outcome;
    keep_compensation(effect, outcome);
    return outcome;
  } catch (...) {
    if (std::exchange(callback_threw, false)) leave_quietly();
    throw;
  }
}

/// Also of an effect that was confirmed before its event was known, or by an operator.
void Attempt::Impl::keep_compensation(const Effect& effect, const EffectOutcome& outcome) {
  if (!outcome.is_applied() || !effect.compensation || !core.row().compensation.empty()) return;
  callback_threw = true;
  core.set_compensation(effect.name, operation::compensation_text(effect.compensation(outcome)));
  callback_threw = false;
}

ExecuteResult Attempt::Impl::finish(const FinishHandler& with) {
  handler = &with;
  Command command = core.finish(now());
  try {
    return answer(run(std::move(command)));
  } catch (...) {
    leave_quietly();
    throw;
  }
}

void Attempt::Impl::leave_quietly() noexcept {
  try {
    if (core.is_idle()) run(core.leave(now()));
  } catch (const Error& error) {  // The lease ends by itself.
    store::tell(options.execute.observer, UnthrownError{&error});
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): as above.
  }
}

Attempt::Attempt(Session session, const Operation& operation, const AttemptOptions& options) {
  options.validate();
  validate_operation("attempt", operation);
  impl_ = std::make_unique<Impl>(session, operation::key_hash(operation), &operation, options);
  impl_->id.handle = random_bytes(16);
}

Attempt::Attempt(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
Attempt::Attempt(Attempt&&) noexcept = default;

Attempt::~Attempt() {
  if (impl_ != nullptr) impl_->leave_quietly();
}

std::optional<ExecuteResult> Attempt::begin() {
  if (!impl_->operation)
    throw Error{ErrorCode::invalid_argument,
                "begin",
                "the attempt was resumed, and has begun",
                {.hint = "see effects(), and call effect() or finish()"}};
  AttemptCall seen = impl_->seen_as(AttemptCall::Step::begin);
  return store::observed(
      impl_->options.execute.observer, seen, [&]() -> std::optional<ExecuteResult> {
        Command last = impl_->run(impl_->core.begin(*impl_->operation, Impl::now()));
        if (std::holds_alternative<Continue>(last)) return std::nullopt;
        ExecuteResult result = impl_->answer(std::move(last));
        seen.outcome = result.outcome;
        return result;
      });
}

const std::vector<EffectOutcome>& Attempt::effects() const { return impl_->outcomes; }

EffectOutcome Attempt::effect(const Effect& effect) {
  AttemptCall seen = impl_->seen_as(AttemptCall::Step::effect);
  seen.effect = effect.name;
  return store::observed(impl_->options.execute.observer, seen, [&] {
    EffectOutcome outcome = impl_->effect(effect);
    seen.state = outcome.state;
    return outcome;
  });
}

ExecuteResult Attempt::finish(const FinishHandler& handler) {
  if (!handler)
    throw Error{
        ErrorCode::invalid_argument, "finish", "the handler is empty", {.hint = "give one"}};
  AttemptCall seen = impl_->seen_as(AttemptCall::Step::finish);
  return store::observed(impl_->options.execute.observer, seen, [&] {
    ExecuteResult result = impl_->finish(handler);
    seen.outcome = result.outcome;
    return result;
  });
}

ExecuteResult Attempt::leave() {
  AttemptCall seen = impl_->seen_as(AttemptCall::Step::leave);
  return store::observed(impl_->options.execute.observer, seen, [&] {
    ExecuteResult result = impl_->answer(impl_->run(impl_->core.leave(Impl::now())));
    seen.outcome = result.outcome;
    return result;
  });
}

}  // namespace outseal
