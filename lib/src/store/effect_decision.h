// Effects that wait for a person: what is to be seen of them, and what is decided about one.
//
// An effect that an attempt has handed over is `unknown`; one that later evidence contradicts is
// `disputed`. Nobody takes its operation over until somebody decides: `applied`, `not_applied` or
// `abandoned`. Then the next attempt with the same key finds the decision as the effect's outcome.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "outseal/effects.h"
#include "sql/connection.h"
#include "sql/effect_decision.h"
#include "store/audit.h"

namespace outseal::store {

using sql::OpenEffect;

/// Shows the effects whose state is one of `states` (intended, unknown, disputed), in the order in
/// which they were intended. Reads them in pages, in no transaction.
void list_open_effects(sql::Connection& connection, const std::vector<std::string>& states,
                       const std::function<void(const OpenEffect&)>& show);

/// A decision about one effect.
struct EffectDecision {
  std::string operation;     ///< The hash of its key, or its first bytes: at least 16.
  std::string effect;        ///< Its name.
  std::int64_t version = 0;  ///< The one that was looked at.
  /// applied: the provider did it. not_applied: proven, it did not, and no request can still
  /// arrive. abandoned: nobody will ever know.
  EffectState state = EffectState::abandoned;
  /// Of an applied one: the provider's name for it; empty keeps the one that is recorded.
  std::string reference = {};
  /// Of an applied one: what the provider did; none is what was asked for.
  std::optional<Amount> amount = {};
};

/// Decides about an effect that is unknown or disputed, or intended and left by its attempt. Once
/// none of its operation's effects is unknown or disputed, a retry or complete() takes the
/// operation over. An attempt that still thinks to hold it is fenced.
/// @returns the effect as it is now.
/// @throws Error{invalid_argument} for a decision that contradicts itself, without a reason, or
///         about an effect that there is not; Error{refused} if somebody is at work on the
///         operation, the effect is settled, or has another version. Nothing is changed then.
/// Crash: the decision and its row of the audit trail are one transaction; on PostgreSQL the row
/// waits in outseal.audit_pending for the next run if the crash is behind it.
OpenEffect decide_effect(sql::Connection& connection, const EffectDecision& decision,
                         const Act& act);

}  // namespace outseal::store
