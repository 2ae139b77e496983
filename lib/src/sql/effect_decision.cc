#include "sql/effect_decision.h"

#include <algorithm>

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

constexpr std::size_t kOperationBytesMax = 38;

#define OUTSEAL_OPEN_EFFECT_COLUMNS                                                         \
  "SELECT e.id, e.operation, i.scope, i.state, i.lease_until, e.name, e.state, e.provider," \
  " e.provider_key, e.external_ref, e.amount_minor, e.currency, e.version, e.attempts,"     \
  " e.intended_at, e.first_sent_at, e.last_sent_at, e.settled_at, e.decided_by, e.evidence"

OpenEffect read_open_effect(Columns& columns) {
  OpenEffect effect;
  columns >> effect.id;
  effect.operation = columns.bytes();
  columns >> effect.scope >> effect.operation_state >> effect.lease_until_ms >> effect.name >>
      effect.state >> effect.provider >> effect.provider_key >> effect.reference >>
      effect.amount_minor >> effect.currency >> effect.version >> effect.attempts >>
      effect.intended_at_ms >> effect.first_sent_at_ms >> effect.last_sent_at_ms >>
      effect.settled_at_ms >> effect.decided_by >> effect.evidence;
  return effect;
}

}  // namespace

// states, each behind and before a comma; after id, rows at most. Those that are open are few
// beside the others, so by their own index and not along the ids: hence "+ 0".
const Text kListOpenEffects{
    .name = "list_open_effects",
    .sqlite = OUTSEAL_OPEN_EFFECT_COLUMNS
    " FROM outseal_effect e LEFT JOIN outseal_idempotency i ON i.key_hash = e.operation"
    " WHERE e.state IN ('intended', 'unknown', 'disputed')"
    " AND instr(?1, ',' || e.state || ',') > 0 AND e.id + 0 > ?2 ORDER BY e.id + 0 LIMIT ?3",
    .postgres = OUTSEAL_OPEN_EFFECT_COLUMNS
    " FROM outseal.effect e LEFT JOIN outseal.idempotency i ON i.key_hash = e.operation"
    " WHERE e.state IN ('intended', 'unknown', 'disputed')"
    " AND strpos($1, ',' || e.state || ',') > 0 AND e.id + 0 > $2 ORDER BY e.id + 0 LIMIT $3",
    .setting = {OUTSEAL_PIN_INDEX}};

std::vector<OpenEffect> list_open_effects(Connection& connection,
                                          const std::vector<std::string>& states,
                                          std::int64_t after, std::int64_t rows_max) {
  std::string wanted = ",";
  for (const std::string& state : states) wanted += state + ",";
  return list_rows(connection, kListOpenEffects, read_open_effect, wanted, after, rows_max);
}

// first and last possible key hash, rows at most
const Text kListEffectsOf{
    .name = "list_effects_of",
    .sqlite = OUTSEAL_OPEN_EFFECT_COLUMNS
    " FROM outseal_effect e LEFT JOIN outseal_idempotency i ON i.key_hash = e.operation"
    " WHERE e.operation BETWEEN ?1 AND ?2 ORDER BY e.operation, e.name LIMIT ?3",
    .postgres = OUTSEAL_OPEN_EFFECT_COLUMNS
    " FROM outseal.effect e LEFT JOIN outseal.idempotency i ON i.key_hash = e.operation"
    " WHERE e.operation BETWEEN $1 AND $2 ORDER BY e.operation, e.name LIMIT $3",
    .setting = {OUTSEAL_PIN_INDEX}};

std::vector<OpenEffect> list_effects_of(Connection& connection, std::string_view prefix,
                                        std::int64_t rows_max) {
  std::string last{prefix};
  last.resize(std::max(last.size(), kOperationBytesMax), '\xff');
  return list_rows(connection, kListEffectsOf, read_open_effect, Bytes{prefix}, Bytes{last},
                   rows_max);
}

// key hash, name, version, state, reason, reference, amount, currency, actor, on SQLite also now
const Text kDecideEffect{
    .name = "decide_effect",
    .sqlite =
        "UPDATE outseal_effect SET state = ?4, version = version + 1, settled_at = ?10,"
        " external_ref = coalesce(?6, external_ref), applied_minor = ?7, applied_currency = ?8,"
        " decided_by = ?9, evidence = coalesce(evidence || '; ', '') || ?5"
        " WHERE operation = ?1 AND name = ?2 AND version = ?3"
        " AND state IN ('intended', 'unknown', 'disputed')"
        " AND NOT EXISTS (SELECT 1 FROM outseal_idempotency i WHERE i.key_hash = ?1"
        "  AND i.state = 'in_progress' AND i.lease_until > ?10)",
    .postgres = "SELECT outseal.decide_effect($1, $2, $3, $4, $5, $6, $7::bigint, $8, $9)"};

// key hash. Whoever still thinks to hold it writes nothing any more.
const Text kFenceOperation{.name = "fence_operation",
                           .sqlite =
                               "UPDATE outseal_idempotency SET fence = fence + 1"
                               " WHERE key_hash = ?1 AND state = 'in_progress'"};

bool decide_effect(Connection& connection, const EffectDecision& decision) {
  std::optional<std::int64_t> minor;
  std::optional<std::string_view> currency;
  if (decision.amount) minor = decision.amount->minor, currency = decision.amount->currency;
  const auto decide = [&](const auto&... now) {
    return run(connection, kDecideEffect, Bytes{decision.operation}, decision.name,
               decision.version, name_of(decision.state), decision.reason,
               NullIfEmpty{decision.reference}, minor, currency, decision.actor, now...);
  };
  if (connection.pipelines()) {
    decide();
    return true;
  }
  if (decide(connection.now_ms()) == 0) return false;
  run(connection, kFenceOperation, Bytes{decision.operation});
  return true;
}

bool is_refused_decision(const Error& error) {
  return error.constraint() == "operation_is_left" || error.constraint() == "effect_is_as_seen";
}

}  // namespace outseal::sql
