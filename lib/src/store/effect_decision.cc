#include "store/effect_decision.h"

#include <algorithm>
#include <chrono>

#include "base/hash.h"
#include "base/text.h"
#include "outseal/error.h"

namespace outseal::store {
namespace {

constexpr std::chrono::milliseconds kWait{5'000};
constexpr std::int64_t kPageRows = 1'000;
constexpr std::size_t kPrefixBytesMin = 16;
constexpr std::size_t kReasonBytesMax = 4'096;
constexpr std::size_t kNameBytesMax = 1'024;
constexpr const char* kList = "see it with: outseal-reconcile effects list";

[[noreturn]] void refuse(ErrorCode code, const std::string& message, const std::string& hint) {
  throw Error{code, "decide", message, {.hint = hint}};
}

void require(bool holds, const std::string& message, const std::string& hint) {
  if (!holds) refuse(ErrorCode::invalid_argument, message, hint);
}

bool is_currency(const std::string& text) {
  return text.size() == 3 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

void check(const EffectDecision& decision, const Act& act) {
  using enum EffectState;
  check_act("decide", act);
  require_reason("decide", act);
  require(decision.state == applied || decision.state == not_applied || decision.state == abandoned,
          "nobody decides that an effect is " + std::string{name_of(decision.state)},
          "decide applied, not_applied or abandoned");
  require(decision.state == applied || (decision.reference.empty() && !decision.amount),
          "what is " + std::string{name_of(decision.state)} + " has no reference and no amount",
          "leave --reference, --amount and --currency out, or decide applied");
  require(
      !decision.amount || (decision.amount->minor >= 0 && is_currency(decision.amount->currency)),
      "an amount is not negative, and in a currency of three capital letters",
      "give it in the currency's smallest unit, for example --amount 500 --currency EUR");
  require(is_utf8(decision.reference) && decision.reference.size() <= kNameBytesMax,
          "the reference is no UTF-8 text of at most 1024 bytes", "copy it from the provider");
  require(act.reason.size() <= kReasonBytesMax && act.actor.size() <= kNameBytesMax,
          "the reason has more than 4096 bytes, or the actor more than 1024", "say it in fewer");
  require(decision.operation.size() >= kPrefixBytesMin,
          "at least 32 hexadecimal digits name an operation", kList);
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

/// The effect, with the whole hash of its operation.
OpenEffect find(sql::Connection& connection, const EffectDecision& decision) {
  const auto effects = sql::list_effects_of(connection, decision.operation, kPageRows);
  require(!effects.empty(), "no operation with an effect begins with " + to_hex(decision.operation),
          kList);
  std::string names;
  const OpenEffect* found = nullptr;
  for (const OpenEffect& effect : effects) {
    require(effect.operation == effects.front().operation,
            "several operations begin with " + to_hex(decision.operation),
            "give all digits of one, as effects list --json shows them");
    if (effect.name == decision.effect) found = &effect;
    names += (names.empty() ? "" : ", ") + effect.name;
  }
  require(found != nullptr, "the operation has no effect " + quoted(decision.effect),
          "it has: " + names);
  return *found;
}

/// Why it was refused, by what is there now.
[[noreturn]] void explain(const OpenEffect& now, std::int64_t version, std::int64_t now_ms) {
  const std::string effect = "effect " + quoted(now.name);
  if (now.state != "intended" && now.state != "unknown" && now.state != "disputed")
    refuse(ErrorCode::refused,
           effect + " is " + now.state + " already" +
               (now.decided_by.empty() ? "" : ", decided by " + now.decided_by),
           "nothing is left to decide here; what is: outseal-reconcile effects list");
  if (now.version != version)
    refuse(ErrorCode::refused,
           effect + " has changed: it is " + now.state + " in version " +
               std::to_string(now.version) + ", not in " + std::to_string(version),
           "look at it again with: outseal-reconcile effects list");
  if (now.operation_state == "in_progress" && now.lease_until_ms.value_or(0) > now_ms)
    refuse(ErrorCode::refused,
           "somebody is at work on the operation until " + to_rfc3339(*now.lease_until_ms),
           "wait until it is done, then look again: outseal-reconcile effects list --state " +
               now.state);
  refuse(ErrorCode::conflict, effect + " was being changed meanwhile", "try again");
}

std::string detail_of(const EffectDecision& decision, const OpenEffect& was, const Act& act) {
  std::string detail = "{\"effect\":";
  const auto add = [&detail](std::string_view name, const std::string& text) {
    detail += ",\"" + std::string{name} + "\":";
    append_json_string(detail, text);
  };
  append_json_string(detail, decision.effect);
  add("was", was.state);
  detail += ",\"version\":" + std::to_string(decision.version);
  if (!decision.reference.empty()) add("reference", decision.reference);
  if (decision.amount) {
    detail += ",\"amount_minor\":" + std::to_string(decision.amount->minor);
    add("currency", decision.amount->currency);
  }
  add("reason", act.reason);
  return detail + "}";
}

/// @returns false if it was refused.
bool write(sql::Connection& connection, const EffectDecision& decision, const OpenEffect& seen,
           const Act& act) try {
  return sql::transact(connection, kWait, [&] {
    const bool decided = sql::decide_effect(connection, {.operation = seen.operation,
                                                         .name = decision.effect,
                                                         .version = decision.version,
                                                         .state = decision.state,
                                                         .reference = decision.reference,
                                                         .amount = decision.amount,
                                                         .actor = act.actor,
                                                         .reason = act.reason});
    if (decided && !connection.pipelines())
      append_audit(connection, {.actor = act.actor,
                                .act = "effect." + std::string{name_of(decision.state)},
                                .subject = "operation " + to_hex(seen.operation),
                                .detail = detail_of(decision, seen, act)});
    return decided;
  });
} catch (const Error& error) {
  if (!sql::is_refused_decision(error)) throw;
  return false;
}

}  // namespace

void list_open_effects(sql::Connection& connection, const std::vector<std::string>& states,
                       const std::function<void(const OpenEffect&)>& show) {
  std::int64_t after = 0;
  while (true) {
    const auto page = sql::list_open_effects(connection, states, after, kPageRows);
    for (const OpenEffect& effect : page) show(effect);
    if (page.size() < static_cast<std::size_t>(kPageRows)) return;
    after = page.back().id;
  }
}

OpenEffect decide_effect(sql::Connection& connection, const EffectDecision& decision,
                         const Act& act) {
  check(decision, act);
  const OpenEffect seen = find(connection, decision);
  if (!write(connection, decision, seen, act))
    explain(find(connection, decision), decision.version, connection.now_ms());
  try {
    seal_audit(connection);
  } catch (const Error&) {
    // The decision stands, and so does its note: the next run moves it.
  }
  return find(connection, decision);
}

}  // namespace outseal::store
