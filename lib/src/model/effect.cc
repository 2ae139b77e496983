#include "model/effect.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/limits.h"
#include "model/validation.h"
#include "outseal/error.h"

namespace outseal {
namespace {

[[noreturn]] void refuse(const Effect& effect, const std::string& message, std::string hint) {
  throw Error{ErrorCode::invalid_argument,
              "effect",
              (effect.name.empty() ? "" : "effect '" + effect.name + "': ") + message,
              {.hint = std::move(hint)}};
}

void check_amount(const Effect& effect) {
  if (!effect.amount) return;
  if (effect.amount->minor < 0)
    refuse(effect, "the amount is negative (" + std::to_string(effect.amount->minor) + ")",
           "an effect that gives money back is one of its own, with a positive amount");
  const std::string& currency = effect.amount->currency;
  if (currency.empty())
    refuse(effect, "the amount has no currency", "give its ISO 4217 code, for example EUR");
  if (currency.size() != 3 ||
      !std::all_of(currency.begin(), currency.end(), [](char c) { return c >= 'A' && c <= 'Z'; }))
    refuse(effect, "the currency is not three capital letters",
           "give the ISO 4217 code, for example EUR");
}

void check_attributes(const Effect& effect) {
  if (effect.attributes.size() > kEffectAttributesBytesMax)
    refuse(effect,
           "the attributes have " + std::to_string(effect.attributes.size()) +
               " bytes, the limit is " + std::to_string(kEffectAttributesBytesMax),
           "keep what is to be compared with the provider, and nothing else");
  if (!nlohmann::json::parse(effect.attributes, nullptr, false).is_object())
    refuse(effect, "the attributes are not a JSON object", "give for example {\"order\":\"17\"}");
  if (effect.attributes.find("\\u0000") != std::string::npos)
    refuse(effect, "the attributes have a NUL character",
           "PostgreSQL keeps none: leave \\u0000 out");
}

void check_policies(const Effect& effect) {
  if (effect.policies.empty())
    refuse(effect, "it has no policy",
           "say what to do if nobody knows whether it was applied; at least hand_over");
  for (auto policy = effect.policies.begin(); policy != effect.policies.end(); ++policy) {
    if (*policy < Policy::rerun || *policy > Policy::hand_over)
      refuse(effect, "a policy is not known", "use those of Policy");
    if (std::find(effect.policies.begin(), policy, *policy) != policy)
      refuse(effect, "policy " + std::string{name_of(*policy)} + " is given twice", "once will do");
    if (*policy == Policy::ask && !effect.ask)
      refuse(effect, "policy ask needs the callback Effect::ask", "set it, or drop the policy");
    if (*policy == Policy::cancel_by_key && !effect.cancel)
      refuse(effect, "policy cancel_by_key needs the callback Effect::cancel",
             "set it, or drop the policy");
  }
  if (effect.rerun_needs != Replays::success && effect.rerun_needs != Replays::any)
    refuse(effect, "rerun_needs is neither success nor any",
           "a request that the provider does not recognise is never sent again");
}

}  // namespace

void validate_effect(const Effect& effect) {
  check_text("effect", "effect name", effect.name, 1, kEffectNameBytesMax);
  if (!effect.call) refuse(effect, "the call is empty", "set Effect::call");
  effect.provider.validate();
  check_policies(effect);
  check_amount(effect);
  check_attributes(effect);
  check_text("effect", "provider key", effect.provider_key, 0, kProviderKeyBytesMax);
}

std::string_view name_of(EffectState state) {
  switch (state) {
    case EffectState::intended:
      return "intended";
    case EffectState::confirmed:
      return "confirmed";
    case EffectState::not_applied:
      return "not_applied";
    case EffectState::failed:
      return "failed";
    case EffectState::unknown:
      return "unknown";
    case EffectState::applied:
      return "applied";
    case EffectState::abandoned:
      return "abandoned";
    case EffectState::disputed:
      return "disputed";
  }
  return "unknown";
}

bool EffectOutcome::settled() const {
  switch (state) {
    case EffectState::confirmed:
    case EffectState::not_applied:
    case EffectState::failed:
    case EffectState::applied:
    case EffectState::abandoned:
      return true;
    case EffectState::intended:
    case EffectState::unknown:
    case EffectState::disputed:
      break;
  }
  return false;
}

bool EffectOutcome::is_applied() const {
  return state == EffectState::confirmed || state == EffectState::applied;
}

void AttemptOptions::validate() const {
  ConfigErrors faults{"AttemptOptions"};
  faults.check_range("lease (ms)", lease.count(), kLeaseMin.count(), kLeaseMax.count());
  faults.check_range("margin (ms)", margin.count(), 0, lease.count() / 2 - 1);
  faults.check_range("call_min (ms)", call_min.count(), 1, lease.count() / 2);
  faults.raise();
  execute.validate();
}

}  // namespace outseal
