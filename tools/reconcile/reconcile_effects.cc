// outseal-reconcile effects list, decide: effects that nobody knows the end of, and what a person
// has found out about one.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/database.h"
#include "operation/record.h"
#include "outseal/error.h"
#include "reconcile_commands.h"
#include "store/effect_decision.h"

namespace outseal::tools {

namespace {

using store::OpenEffect;

/// As findings name operations.
constexpr std::size_t kShownDigits = 32;

std::string json_of(const OpenEffect& effect) {
  const auto time = [](const std::optional<std::int64_t>& at_ms) {
    return at_ms ? to_rfc3339(*at_ms) : std::string{};
  };
  JsonObject object;
  const auto add = [&object](std::string_view name, const std::string& text) {
    if (!text.empty()) object.add(name, text);
  };
  object.add("operation", to_hex(effect.operation));
  add("scope", effect.scope);
  add("operation_state", effect.operation_state);
  add("lease_until", time(effect.lease_until_ms));
  object.add("effect", effect.name).add("state", effect.state).add("version", effect.version);
  object.add("provider", effect.provider).add("provider_key", effect.provider_key);
  add("reference", effect.reference);
  if (effect.amount_minor)
    object.add("amount_minor", *effect.amount_minor).add("currency", effect.currency);
  object.add("attempts", effect.attempts);
  object.add("intended_at", to_rfc3339(effect.intended_at_ms));
  add("first_sent_at", time(effect.first_sent_at_ms));
  add("last_sent_at", time(effect.last_sent_at_ms));
  add("settled_at", time(effect.settled_at_ms));
  add("decided_by", effect.decided_by);
  add("evidence", effect.evidence);
  return object.text();
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : printable(text); }

std::vector<std::string> row_of(const OpenEffect& effect) {
  return {to_hex(effect.operation).substr(0, kShownDigits),
          or_dash(effect.scope),
          printable(effect.name),
          effect.state,
          std::to_string(effect.version),
          printable(effect.provider),
          printable(effect.provider_key),
          or_dash(effect.reference),
          effect.amount_minor ? std::to_string(*effect.amount_minor) + " " + effect.currency : "-",
          std::to_string(effect.attempts),
          to_rfc3339(effect.intended_at_ms),
          or_dash(effect.evidence)};
}

std::optional<std::string> bytes_of(const std::string& hex) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
    const int high = digit(hex[at]);
    const int low = digit(hex[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes += static_cast<char>(high * 16 + low);
  }
  if (hex.size() % 2 != 0) return std::nullopt;
  return bytes;
}

/// A handle is never made of 64 hexadecimal digits alone.
std::string operation_of(const Settings& settings) {
  const std::string text = settings.text(Option::operation);
  if (auto bytes = bytes_of(text)) return std::move(*bytes);
  if (auto handle = operation::parse_handle(text)) return std::move(handle->key_hash);
  throw Error{ErrorCode::invalid_argument,
              "OPERATION",
              "'" + text + "' is neither a handle nor the digits of a key's hash",
              {.hint = "copy it from: outseal-reconcile effects list"}};
}

EffectState verdict_of(const Settings& settings) {
  const std::string text = settings.text(Option::verdict);
  for (const EffectState state : {EffectState::applied, EffectState::not_applied})
    if (text == name_of(state)) return state;
  return EffectState::abandoned;
}

std::optional<Amount> amount_of(const Settings& settings) {
  if (settings.has(Option::amount) != settings.has(Option::currency))
    throw Error{ErrorCode::invalid_argument,
                "decide",
                "an amount has a currency",
                {.hint = "give both, for example --amount 500 --currency EUR, or neither"}};
  if (!settings.has(Option::amount)) return std::nullopt;
  return Amount{static_cast<std::int64_t>(settings.number(Option::amount)),
                settings.text(Option::currency)};
}

}  // namespace

int effects_list(const Settings& settings) {
  std::vector<std::string> states{"unknown", "disputed"};
  if (settings.has(Option::effect_state)) states = {settings.text(Option::effect_state)};
  const bool json = settings.toggle(Option::json);
  const auto connection = open_database(settings);
  bool any = false;
  std::vector<std::vector<std::string>> rows;
  store::list_open_effects(*connection, states, [&](const OpenEffect& effect) {
    any = true;
    if (json)
      print_line(json_of(effect));
    else
      rows.push_back(row_of(effect));
  });
  if (!any && !json) print_line("none");
  if (!rows.empty())
    print_table({"OPERATION", "SCOPE", "EFFECT", "STATE", "VERSION", "PROVIDER", "PROVIDER KEY",
                 "REFERENCE", "AMOUNT", "ATTEMPTS", "SINCE", "EVIDENCE"},
                rows);
  return any ? kExitFindings : kExitFine;
}

int effects_decide(const Settings& settings) {
  const store::EffectDecision decision{
      .operation = operation_of(settings),
      .effect = settings.text(Option::effect),
      .version = static_cast<std::int64_t>(settings.number(Option::seen_version)),
      .state = verdict_of(settings),
      .reference = settings.text(Option::reference),
      .amount = amount_of(settings)};
  const store::Act act = act_of(settings);
  const auto connection = open_database(settings);
  const OpenEffect decided = store::decide_effect(*connection, decision, act);
  if (settings.toggle(Option::json))
    print_line(json_of(decided));
  else
    print_line("effect " + printable(decided.name) + " is " + decided.state + ", version " +
               std::to_string(decided.version));
  return kExitFine;
}

}  // namespace outseal::tools
