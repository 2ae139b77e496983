#include "operation/effect_core.h"

#include <algorithm>
#include <array>

#include "base/failpoint.h"
#include "base/hash.h"
#include "model/request.h"
#include "outseal/error.h"
#include "outseal/ids.h"

namespace outseal::attempt {
namespace {

[[noreturn]] void refuse(std::string_view caller, const std::string& message, std::string hint) {
  throw Error{ErrorCode::invalid_argument, caller, message, {.hint = std::move(hint)}};
}

/// The operation's own state follows its effects: when an operator has decided on the last one, it
/// may be taken over.
bool waits_for_operator(const OperationView& view) {
  return std::any_of(view.effects.begin(), view.effects.end(), [](const EffectRow& each) {
    return each.outcome.state == EffectState::unknown ||
           each.outcome.state == EffectState::disputed;
  });
}

ExecuteResult in_progress(Milliseconds retry_after) {
  return {.outcome = Outcome::in_progress, .retry_after = retry_after};
}

ExecuteResult ended(Outcome outcome, const OperationView& view) {
  const bool succeeded = view.state == OperationView::State::succeeded;
  return {.outcome = outcome,
          .reply = view.reply,
          .ended = succeeded ? Verdict::success : Verdict::final_failure,
          .status = view.status};
}

}  // namespace

// --- What a record says --------------------------------------------------------------------------

Standing standing_of(const OperationView& view, const Operation& operation) {
  using enum OperationView::State;
  if (view.state == absent) return Standing::fresh;
  if (!is_request_of(operation, view.fingerprint, view.fingerprint_version))
    return Standing::mismatch;
  if (view.state == succeeded || view.state == failed)
    return view.reply ? Standing::replay : Standing::expired;
  if (waits_for_operator(view)) return Standing::unknown;
  return may_take_over(view) ? Standing::take_over : Standing::in_progress;
}

bool may_write(OperationView::State state, std::int64_t current, std::int64_t fence) {
  if (mutant("no_fence")) return true;
  return state == OperationView::State::in_progress && current == fence;
}

bool may_take_over(const OperationView& view, Milliseconds idle) {
  using enum OperationView::State;
  if (view.state != in_progress && view.state != unknown) return false;
  if (waits_for_operator(view)) return false;
  return view.lease_left + idle <= Milliseconds{} || mutant("lease_ignored");
}

std::string provider_key_of(std::string_view key_hash, std::string_view effect) {
  Sha256 hash;
  hash.add_field(key_hash);
  hash.add_field(effect);
  const std::string digest = hash.finish();
  std::array<std::uint8_t, 16> bytes{};
  std::copy_n(digest.begin(), bytes.size(), bytes.begin());
  // The operation's time first, if it has one: for the index of these keys as for its own.
  if (key_hash.size() > digest.size())
    std::copy_n(key_hash.begin(), key_hash.size() - digest.size(), bytes.begin());
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0FU) | 0x80U);  // RFC 9562, version 8.
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3FU) | 0x80U);
  return EventId{bytes}.to_string();
}

// --- Calls of the attempt ------------------------------------------------------------------------

Command EffectCore::begin(const Operation& operation, Milliseconds now) {
  if (state_ != State::unbegun)
    refuse("begin", "the attempt has begun before", "make another Attempt");
  operation_ = &operation;
  state_ = State::loading;
  given_at_ = now;
  return Load{};
}

Command EffectCore::resume(std::int64_t fence, Milliseconds now) {
  require(State::unbegun);
  state_ = State::taking_over;
  given_at_ = now;
  return TakeOver{fence};
}

Command EffectCore::effect(const Effect& effect, Milliseconds now) {
  require_idle("effect");
  effect_ = &effect;
  policy_ = 0;
  tried_.clear();
  retry_after_ = {};
  const std::string request_hash = sha256(effect.request);
  const auto found = std::find_if(known_.begin(), known_.end(), [&](const Known& each) {
    return each.row.outcome.name == effect.name;
  });
  current_ = static_cast<std::size_t>(found - known_.begin());
  if (found == known_.end()) {
    EffectRow row;
    row.outcome = {.name = effect.name, .amount = effect.amount};
    row.request_hash = request_hash;
    row.provider = effect.provider.name;
    row.provider_key =
        effect.provider_key.empty() ? provider_key_of(key_hash_, effect.name) : effect.provider_key;
    row.asked = effect.amount;
    known_.push_back({.row = std::move(row)});
    return send(now);
  }
  require_same(*found, request_hash);
  if (found->row.outcome.state != EffectState::intended)
    return finish_call(Return{found->row.outcome});
  return found->last_sent ? follow_policies(now) : send(now);
}

Command EffectCore::finish(Milliseconds now) {
  require_idle("finish");
  for (const Known& each : known_)
    if (!each.row.outcome.settled())
      refuse("finish",
             "effect '" + each.row.outcome.name + "' is " +
                 std::string{name_of(each.row.outcome.state)} + ", not settled",
             "leave(), and come again after its retry_after");
  state_ = State::finishing;
  given_at_ = now;
  return Finish{fence_, pending_};
}

Command EffectCore::leave(Milliseconds now) {
  if (handed_over_ && state_ == State::idle) return finish_call(Answer{{Outcome::unknown}});
  require_idle("leave");
  return give_back(in_progress(retry_after_), now);
}

Command EffectCore::on(const Input& input, Milliseconds now) {
  return std::visit([&](const auto& each) { return take(each, now); }, input);
}

void EffectCore::abort(Milliseconds now) {
  if (may_leave()) note(Settle::Sent::open, {}, now);
  std::erase_if(known_, [](const Known& each) { return !each.recorded; });
  const bool had_begun = state_ != State::loading && state_ != State::taking_over;
  state_ = had_begun && state_ != State::leaving ? State::idle : State::over;
}

Advance EffectCore::renewal() const {
  return {.fence = fence_,
          .sending = may_leave() ? row().outcome.name : std::string{},
          .lease = timing_.lease};
}

void EffectCore::renewed(Milliseconds before, Milliseconds now) { hold(before, now); }

void EffectCore::set_compensation(std::string_view name, const std::string& event) {
  for (Known& each : known_)
    if (each.row.outcome.name == name) each.row.compensation = event;
  for (Settle& each : pending_)
    if (each.name == name && each.state == EffectState::confirmed) each.compensation = event;
}

std::vector<EffectOutcome> EffectCore::outcomes() const {
  std::vector<EffectOutcome> all;
  for (const Known& each : known_) all.push_back(each.row.outcome);
  return all;
}

std::vector<std::string> EffectCore::compensations() const {
  std::vector<std::string> all;
  for (auto each = known_.rbegin(); each != known_.rend(); ++each)
    if (each->row.outcome.is_applied() && !each->row.compensation.empty())
      all.push_back(each->row.compensation);
  return all;
}

// --- Answers of the database ---------------------------------------------------------------------

Command EffectCore::take(const Loaded& loaded, Milliseconds now) {
  require(State::loading);
  const OperationView& view = loaded.view;
  switch (standing_of(view, *operation_)) {
    case Standing::fresh:
      return finish_call(Continue{});
    case Standing::take_over:
      state_ = State::taking_over;
      given_at_ = now;
      return TakeOver{view.fence};
    case Standing::in_progress:
      return finish_call(Answer{in_progress(std::max(view.lease_left, kRetryAfter))});
    case Standing::replay:
      return finish_call(Answer{ended(Outcome::replayed, view)});
    case Standing::mismatch:
      return finish_call(Answer{{Outcome::mismatch}});
    case Standing::unknown:
      return finish_call(Answer{{Outcome::unknown}});
    case Standing::expired:
      break;
  }
  return finish_call(Answer{ended(Outcome::expired, view)});
}

Command EffectCore::take(const TakenOver& taken, Milliseconds now) {
  require(State::taking_over);
  if (!taken.view) return finish_call(Answer{in_progress(timing_.lease)});
  fence_ = taken.view->fence;
  hold(given_at_, now);
  keep(*taken.view, given_at_, now);
  return finish_call(Continue{});
}

Command EffectCore::take(const Committed& committed, Milliseconds now) {
  if (!committed.ours) return finish_call(Lost{});
  pending_.clear();
  switch (state_) {
    case State::sending: {
      if (!fence_) fence_ = 1;
      hold(given_at_, now);
      Known& sent = at_hand();
      sent.recorded = true;
      ++sent.row.outcome.attempts;
      if (!sent.first_sent) sent.first_sent = given_at_;
      sent.last_sent = now + timing_.lease;
      return call(now);
    }
    case State::renewing:
      hold(given_at_, now);
      return ask(now);
    case State::announcing:
      hold(given_at_, now);
      at_hand().last_sent = now + timing_.lease;
      return cancel(now);
    case State::handing_over:
      handed_over_ = true;
      return finish_call(Return{row().outcome});
    default:
      require(State::leaving);
      return finish_call(*answer_);
  }
}

Command EffectCore::take(const Finished& finished, Milliseconds now) {
  require(State::finishing);
  if (!finished.reply) return finish_call(Lost{});
  if (finished.reply->verdict == Verdict::retryable_failure)
    return give_back({.outcome = Outcome::released, .reply = finished.reply}, now);
  pending_.clear();
  return finish_call(Answer{{.outcome = Outcome::executed,
                             .reply = finished.reply,
                             .ended = finished.reply->verdict,
                             .status = finished.reply->status}});
}

// --- What they have in common --------------------------------------------------------------------

Command EffectCore::give_back(ExecuteResult result, Milliseconds now) {
  if (!fence_) {  // Nothing was recorded, and the key is free.
    result.outcome = Outcome::released;
    result.retry_after = {};
    return finish_call(Answer{std::move(result)});
  }
  const Milliseconds rest = result.outcome == Outcome::released ? kRetryAfter : result.retry_after;
  answer_ = Answer{std::move(result)};
  return commit(State::leaving, {.lease = rest, .give_back = true}, now);
}

Command EffectCore::commit(State state, Advance advance, Milliseconds now) {
  state_ = state;
  given_at_ = now;
  advance.fence = fence_;
  advance.settled = pending_;
  advance.hand_over = std::any_of(pending_.begin(), pending_.end(), [](const Settle& each) {
    return each.state == EffectState::unknown || each.state == EffectState::disputed;
  });
  return Commit{std::move(advance)};
}

/// The attempt goes on after what it may go on after.
Command EffectCore::finish_call(Command command) {
  const bool goes_on =
      std::holds_alternative<Continue>(command) || std::holds_alternative<Return>(command);
  state_ = goes_on ? State::idle : State::over;
  return command;
}

void EffectCore::keep(const OperationView& view, Milliseconds before, Milliseconds after) {
  for (const EffectRow& row : view.effects) {
    Known& known = known_.emplace_back(Known{.row = row, .recorded = true});
    if (row.first_sent_ago) known.first_sent = before - *row.first_sent_ago;
    if (row.last_sent_ago) known.last_sent = after - *row.last_sent_ago;
  }
}

void EffectCore::hold(Milliseconds before, Milliseconds now) {
  lease_end_ = (mutant("lease_by_local_clock") ? now : before) + timing_.lease;
  deadline_ = lease_end_ - timing_.margin;
  if (may_leave()) at_hand().last_sent = now + timing_.lease;
  if (state_ == State::calling && is_rerun_) deadline_ = std::min(deadline_, rerun_end());
}

void EffectCore::require(State state) const {
  if (state_ != state)
    throw Error{ErrorCode::internal, "attempt", "an answer to a command that was not given"};
}

void EffectCore::require_idle(std::string_view caller) const {
  if (state_ == State::unbegun) refuse(caller, "the attempt has not begun", "call begin() first");
  if (state_ == State::over)
    refuse(caller, "the attempt has ended", "make another Attempt, which resumes");
  if (state_ != State::idle)
    refuse(caller, "called inside of a callback of the attempt", "call it afterwards");
  if (handed_over_)
    refuse(caller, "the operation is unknown: an operator decides about an effect", "leave()");
}

void EffectCore::require_same(const Known& known, const std::string& request_hash) const {
  const auto differ = [&](const std::string& what) {
    refuse("effect", "effect '" + known.row.outcome.name + "' is recorded with another " + what,
           "give each effect of an operation its own name, and derive what it asks for from the "
           "operation's request alone");
  };
  if (known.row.request_hash != request_hash) differ("request");
  if (known.row.asked != effect_->amount) differ("amount");
  if (known.row.provider != effect_->provider.name) differ("provider");
  if (!effect_->provider_key.empty() && known.row.provider_key != effect_->provider_key)
    differ("provider key");
}

}  // namespace outseal::attempt
