// Effects whose end is open, as a person sees them, and what a person decides about one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/effects.h"
#include "outseal/error.h"
#include "sql/connection.h"
#include "sql/text.h"

namespace outseal::sql {

/// An effect with what is known of its operation. No request, no answer.
struct OpenEffect {
  std::int64_t id = 0;
  std::string operation;  ///< The key's hash.
  std::string scope;
  std::string operation_state;
  std::optional<std::int64_t> lease_until_ms;
  std::string name;
  std::string state;
  std::string provider;
  std::string provider_key;
  std::string reference;
  std::optional<std::int64_t> amount_minor;  ///< What was asked for.
  std::string currency;
  std::int64_t version = 0;
  std::int64_t attempts = 0;
  std::int64_t intended_at_ms = 0;
  std::optional<std::int64_t> first_sent_at_ms;
  std::optional<std::int64_t> last_sent_at_ms;
  std::optional<std::int64_t> settled_at_ms;  ///< Since when it is unknown or disputed.
  std::string decided_by;
  std::string evidence;
};
/// Of those that are intended, unknown or disputed and in one of `states`, at most `rows_max` with
/// a larger id than `after`, by id.
std::vector<OpenEffect> list_open_effects(Connection& connection,
                                          const std::vector<std::string>& states,
                                          std::int64_t after, std::int64_t rows_max);
/// At most `rows_max` effects, open or not, of operations whose key's hash begins with `prefix`.
std::vector<OpenEffect> list_effects_of(Connection& connection, std::string_view prefix,
                                        std::int64_t rows_max);

/// What was decided about an effect; views into what the caller has.
struct EffectDecision {
  std::string_view operation;
  std::string_view name;
  std::int64_t version = 0;  ///< The one that was looked at.
  EffectState state = EffectState::abandoned;
  std::string_view reference;
  std::optional<Amount> amount;
  std::string_view actor;
  std::string_view reason;
};
/// In a write transaction. Changes nothing unless the effect is open and still has that version,
/// and nobody holds its operation. On PostgreSQL it is noted for the audit trail as well.
/// @returns whether it did; on PostgreSQL true.
/// @throws Error, of which is_refused_decision() tells, if PostgreSQL refused it for these reasons.
bool decide_effect(Connection& connection, const EffectDecision& decision);
bool is_refused_decision(const Error& error);

// Their plans are tested.
extern const Text kListOpenEffects;
extern const Text kListEffectsOf;

}  // namespace outseal::sql
