// One effect's way: sent for the first time, or found as one that may have been sent.
#include <algorithm>
#include <string>
#include <utility>

#include "base/failpoint.h"
#include "operation/effect_core.h"

namespace outseal::attempt {
namespace {

std::string text_of(const Amount& amount) {
  return std::to_string(amount.minor) + " minor units of " + amount.currency;
}

/// Why the provider's word contradicts what was asked for; empty if it does not.
std::string dispute_of(const std::optional<Amount>& asked, const std::optional<Amount>& said) {
  if (!asked || !said || *asked == *said || mutant("no_amount_check")) return {};
  return "asked for " + text_of(*asked) + ", the provider says " + text_of(*said);
}

std::string text_of(const std::vector<Policy>& policies) {
  std::string text;
  for (const Policy policy : policies) text.append(text.empty() ? "" : ",").append(name_of(policy));
  return text;
}

bool has(const Effect& effect, Policy policy) {
  return std::find(effect.policies.begin(), effect.policies.end(), policy) != effect.policies.end();
}

bool replays_enough(const Effect& effect) {
  return effect.provider.replays >= effect.rerun_needs || mutant("replays_ignored");
}

}  // namespace

// --- Sending -------------------------------------------------------------------------------------

/// Notes the request in the same commit as everything before it.
Command EffectCore::send(Milliseconds now) {
  is_rerun_ = at_hand().last_sent.has_value();
  is_known_ = at_hand().first_sent.has_value();
  if (mutant("no_intent_before_call") && !unrecorded_) {
    state_ = State::calling;
    return Call{row().outcome.attempts + 1};
  }
  const ProviderProfile& provider = effect_->provider;
  Send send{.name = row().outcome.name,
            .request_hash = row().request_hash,
            .provider = row().provider,
            .provider_key = row().provider_key,
            .policies = text_of(effect_->policies),
            .amount = row().asked,
            .attributes = effect_->attributes,
            .rerun_for = std::nullopt};
  if (replays_enough(*effect_) && provider.window > provider.margin)
    send.rerun_for = provider.window - provider.margin;
  return commit(State::sending, {.send = std::move(send), .lease = timing_.lease}, now);
}

Command EffectCore::call(Milliseconds now) {
  state_ = State::calling;
  if (is_rerun_) deadline_ = std::min(deadline_, rerun_end());
  if (unrecorded_) return take(Called{*std::exchange(unrecorded_, std::nullopt)}, now);
  if (has_time(now)) return Call{row().outcome.attempts};
  // The commit took too long, or the machine slept: another attempt may be at it.
  note(without_this(), {}, now);
  return come_back(kRetryAfter);
}

Command EffectCore::take(const Called& called, Milliseconds now) {
  require(State::calling);
  if (mutant("no_intent_before_call") && !at_hand().last_sent) {
    unrecorded_ = called.result;
    return send(now);
  }
  const CallResult& result = called.result;
  switch (result.verdict) {
    case CallResult::Verdict::applied:
      return confirm(result, {}, now);
    case CallResult::Verdict::refused:
      return settle({.name = row().outcome.name,
                     .state = EffectState::failed,
                     .reference = result.reference,
                     .response = result.response});
    case CallResult::Verdict::not_sent:
      // An earlier request of the key may still be applied.
      note(without_this(), {}, now);
      return come_back(kRetryAfter);
    case CallResult::Verdict::uncertain:
      break;
  }
  note(Settle::Sent::open, {}, now);
  return come_back(kRetryAfter);
}

// --- Policies ------------------------------------------------------------------------------------

/// Nothing is decided while a request on its way can still make it wrong: one that the provider
/// would not recognise, or would execute after it has refused another one of the key, or a
/// cancellation, which would undo what was confirmed.
Command EffectCore::follow_policies(Milliseconds now) {
  const ProviderProfile& provider = effect_->provider;
  const Milliseconds quiet = now - *at_hand().last_sent;
  const bool must_be_quiet =
      provider.replays != Replays::any || has(*effect_, Policy::cancel_by_key);
  if (must_be_quiet && quiet < provider.max_in_flight && !mutant("in_flight_ignored"))
    return come_back(provider.max_in_flight - quiet);
  return next_policy(now);
}

Command EffectCore::next_policy(Milliseconds now) {
  while (policy_ < effect_->policies.size()) {
    switch (effect_->policies[policy_++]) {
      case Policy::rerun:
        if (may_rerun(now)) return send(now);
        tried_ += "rerun: the provider no longer replays the key, or never did; ";
        break;
      case Policy::ask:
        if (has_time(now)) return ask(now);
        return commit(State::renewing, {.lease = timing_.lease}, now);
      case Policy::cancel_by_key:
        if (effect_->provider.cancels_by_key)
          return commit(State::announcing, {.sending = row().outcome.name, .lease = timing_.lease},
                        now);
        tried_ += "cancel_by_key: the provider cannot; ";
        break;
      case Policy::hand_over:
        policy_ = effect_->policies.size();
        break;
    }
  }
  return hand_over({.state = EffectState::unknown, .decided_by = "hand_over"}, now);
}

bool EffectCore::may_rerun(Milliseconds now) const {
  if (!replays_enough(*effect_)) return false;
  // Sent in the future: the database's clock was set back, by nobody knows how much, and the
  // window may be over. The margin is there for less.
  if (*at_hand().first_sent > now + effect_->provider.margin && !mutant("sent_in_future"))
    return false;
  return now + timing_.call_min <= rerun_end() || mutant("window_ignored");
}

Milliseconds EffectCore::rerun_end() const {
  if (mutant("window_ignored")) return Milliseconds::max();
  return *at_hand().first_sent + effect_->provider.window - effect_->provider.margin;
}

Command EffectCore::ask(Milliseconds now) {
  if (!has_time(now)) return come_back(kRetryAfter);
  state_ = State::asking;
  given_at_ = now;
  return Ask{};
}

Command EffectCore::take(const Asked& asked, Milliseconds now) {
  require(State::asking);
  const Milliseconds absence_after = effect_->provider.absence_after;
  const Milliseconds quiet = given_at_ - *at_hand().last_sent;  // When the question left.
  switch (asked.result.answer) {
    case AskResult::Answer::applied:
      return confirm(asked.result, "ask", now);
    case AskResult::Answer::not_found_yet:
      if (quiet < absence_after && !mutant("not_found_is_proof"))
        return come_back(absence_after - quiet);
      return send_anew(now);
    case AskResult::Answer::not_applied_proven:
      // Of a request that may be on its way nobody can know.
      if (quiet < effect_->provider.max_in_flight && !mutant("proof_in_flight"))
        return come_back(effect_->provider.max_in_flight - quiet);
      return send_anew(now);
    case AskResult::Answer::cannot_tell:
      break;
  }
  // Also a value that is no enumerator's: what is not understood proves nothing.
  tried_ += "ask: the provider cannot tell; ";
  return next_policy(now);
}

/// Behind the proof that no request was applied, and that none can still arrive.
Command EffectCore::send_anew(Milliseconds now) {
  note(Settle::Sent::absent, "ask", now);
  return send(now);
}

Command EffectCore::cancel(Milliseconds now) {
  if (!has_time(now)) return come_back(kRetryAfter);
  state_ = State::cancelling;
  return Cancel{};
}

Command EffectCore::take(const Cancelled& cancelled, Milliseconds now) {
  require(State::cancelling);
  const CancelResult& result = cancelled.result;
  switch (result.answer) {
    case CancelResult::Answer::cancelled:
      return settle({.name = row().outcome.name,
                     .state = EffectState::not_applied,
                     .reference = result.reference,
                     .response = result.response,
                     .decided_by = "cancel_by_key",
                     .evidence = "the provider says cancelled"});
    case CancelResult::Answer::applied:
      return confirm(result, "cancel_by_key", now);
    case CancelResult::Answer::cannot_tell:
      break;
  }
  note(Settle::Sent::open, {}, now);
  tried_ += "cancel_by_key: the provider cannot tell; ";
  return next_policy(now);
}

// --- Outcomes ------------------------------------------------------------------------------------

template <typename Result>
Command EffectCore::confirm(const Result& result, std::string_view decided_by, Milliseconds now) {
  Settle settled{.name = row().outcome.name,
                 .state = EffectState::confirmed,
                 .reference = result.reference,
                 .response = result.response,
                 .decided_by = std::string{decided_by},
                 .evidence = decided_by.empty() ? "" : "the provider says applied"};
  const std::string dispute = dispute_of(row().asked, result.amount);
  if (dispute.empty()) return settle(std::move(settled));
  settled.state = EffectState::disputed;
  settled.evidence = dispute;
  if (decided_by.empty()) settled.decided_by = "call";
  return hand_over(std::move(settled), now);
}

void EffectCore::add_left_out(Settle& settled) {
  if (left_out_.empty()) return;
  if (!settled.evidence.empty()) settled.evidence += "; ";
  settled.evidence += std::exchange(left_out_, {});
}

/// Committed with whatever comes next.
Command EffectCore::settle(Settle settled) {
  add_left_out(settled);
  EffectOutcome& outcome = at_hand().row.outcome;
  outcome.state = settled.state;
  outcome.reference = settled.reference;
  outcome.response = settled.response;
  outcome.retry_after = {};
  pending_.push_back(std::move(settled));
  return finish_call(Return{outcome});
}

/// Committed at once: the operation does not go on.
Command EffectCore::hand_over(Settle settled, Milliseconds now) {
  settled.name = row().outcome.name;
  if (settled.evidence.empty()) settled.evidence = tried_ + "no policy is left";
  add_left_out(settled);
  EffectOutcome& outcome = at_hand().row.outcome;
  outcome.state = settled.state;
  outcome.reference = settled.reference;
  outcome.response = settled.response;
  pending_.push_back(std::move(settled));
  return commit(State::handing_over, {.give_back = true}, now);
}

/// The effect stays as it is.
Command EffectCore::come_back(Milliseconds retry_after) {
  retry_after_ = retry_after;
  EffectOutcome outcome = row().outcome;
  outcome.retry_after = retry_after;
  return finish_call(Return{std::move(outcome)});
}

/// What is known of the effect's requests if the one at hand has not left.
Settle::Sent EffectCore::without_this() const {
  if (mutant("not_sent_forgets")) return Settle::Sent::never;
  if (is_rerun_) return Settle::Sent::open;
  return is_known_ ? Settle::Sent::absent : Settle::Sent::never;
}

void EffectCore::note(Settle::Sent sent, std::string_view decided_by, Milliseconds now) {
  Known& known = at_hand();
  if (sent == Settle::Sent::never) known.first_sent.reset();
  if (sent != Settle::Sent::open)
    known.last_sent.reset();
  else if (known.last_sent)
    known.last_sent = std::min(*known.last_sent, now);
  pending_.push_back({.name = known.row.outcome.name,
                      .state = EffectState::intended,
                      .sent = sent,
                      .decided_by = std::string{decided_by}});
}

bool EffectCore::has_time(Milliseconds now) const {
  return now + timing_.call_min <= deadline_ || mutant("late_call");
}

}  // namespace outseal::attempt
