#include "sql/operation_status.h"

#include <nlohmann/json.hpp>

#include "sql/effect_row.h"
#include "sql/typed.h"

namespace outseal::sql {

// key hash, now. A one-transaction operation, which has no effects: what a replay wants to know,
// and nothing else.
const Text kReadEndedStatus{
    .name = "read_ended_status",
    .sqlite =
        "SELECT i.state, i.scope, i.created_at, i.status, CASE WHEN i.purge_at > ?2 THEN i.body"
        " END, i.content_type, i.reply_headers FROM main.outseal_idempotency i"
        " WHERE i.key_hash = ?1 AND i.fence = 0 AND i.expires_at > ?2"};

// key hash; SQLite: now; PostgreSQL: number of the key's lock -> 1 if somebody holds the lock, now,
// state (NULL if there is no record), scope, handle, created, lease until, lease owner, attempts,
// 1 if the key's retention has passed, status, body, content type, headers; PostgreSQL: the effects
// as JSON; SQLite, a row for each effect: name (NULL if there is none), state, reference, amount,
// currency, attempts; the body comes with the first one only, because it may have megabytes. Until
// the purge has been there, purge_at of a record with a body is the end of the response's
// retention.
//
// Locks and effects are looked at by functions, and only where there may be any: as parts of the
// statement they would cost each look more than the record itself.
const Text kReadOperationStatus{
    .name = "read_operation_status",
    .sqlite =
        "SELECT 0, ?2, i.state, i.scope, i.handle, i.created_at, i.lease_until, i.lease_owner,"
        " i.attempts, coalesce(i.expires_at <= ?2, 0), i.status,"
        " CASE WHEN i.purge_at > ?2 AND (e.id IS NULL OR NOT EXISTS (SELECT 1"
        " FROM main.outseal_effect f WHERE f.operation = i.key_hash AND f.id < e.id))"
        " THEN i.body END, i.content_type, i.reply_headers,"
        " e.name, e.state, e.external_ref, " OUTSEAL_APPLIED_AMOUNT
        ", e.attempts"
        " FROM (SELECT 1) one LEFT JOIN main.outseal_idempotency i ON i.key_hash = ?1"
        " LEFT JOIN main.outseal_effect e ON e.operation = i.key_hash ORDER BY e.id",
    .postgres =
        "SELECT CASE WHEN i.key_hash IS NULL OR i.expires_at <= clock_timestamp()"
        " THEN outseal.is_locked($2::bigint) ELSE false END,"
        " clock_timestamp(), i.state, i.scope, i.handle, i.created_at, i.lease_until,"
        " i.lease_owner, i.attempts, coalesce(i.expires_at <= clock_timestamp(), false), i.status,"
        " CASE WHEN i.purge_at > clock_timestamp() THEN i.body END, i.content_type,"
        " i.reply_headers, CASE WHEN i.fence > 0 THEN outseal.effects_of(i.key_hash) END"
        " FROM (SELECT 1) one LEFT JOIN outseal.idempotency i ON i.key_hash = $1"};

namespace {

void read_reply(Columns& columns, OperationStatusRow& row) {
  const bool has_body = !columns.is_null();
  const std::string_view body = columns.bytes();
  if (has_body) row.body = body;
  columns >> row.content_type >> row.headers;
}

OperationStatusRow read_ended(Columns& columns) {
  OperationStatusRow row;
  row.is_there = true;
  row.attempts = 1;
  columns >> row.state >> row.scope >> row.created_ms >> row.status;
  read_reply(columns, row);
  return row;
}

void read_record(Columns& columns, OperationStatusRow& row) {
  columns >> row.is_running >> row.now_ms;
  row.is_there = !columns.is_null();
  columns >> row.state >> row.scope;
  row.handle = columns.bytes();
  columns >> row.created_ms >> row.lease_until_ms >> row.lease_owner >> row.attempts >>
      row.has_expired >> row.status;
  read_reply(columns, row);
}

EffectStatusRow read_effect(Columns& columns) {
  EffectStatusRow effect;
  columns >> effect.name >> effect.state >> effect.reference >> effect.amount_minor >>
      effect.currency >> effect.attempts;
  return effect;
}

/// As outseal.effects_of() writes it; what is NULL is left out.
EffectStatusRow read_effect(const nlohmann::json& from) {
  EffectStatusRow effect;
  effect.name = from.value("name", "");
  effect.state = from.value("state", "");
  effect.reference = from.value("reference", "");
  if (from.contains("amount_minor")) effect.amount_minor = from.at("amount_minor");
  effect.currency = from.value("currency", "");
  effect.attempts = from.value("attempts", 0);
  return effect;
}

OperationStatusRow read_at_once(Columns& columns) {
  OperationStatusRow row;
  read_record(columns, row);
  if (!columns.is_null())
    for (const nlohmann::json& effect :
         nlohmann::json::parse(columns.get<std::string_view>(), nullptr, false))
      row.effects.push_back(read_effect(effect));
  return row;
}

}  // namespace

OperationStatusRow read_operation_status(Connection& connection, std::string_view key_hash,
                                         std::int64_t lock) {
  const Bytes hash{key_hash};
  if (connection.pipelines())
    return find_row(connection, kReadOperationStatus, read_at_once, hash, lock)
        .value_or(OperationStatusRow{});
  const std::int64_t now_ms = connection.now_ms();
  if (auto ended = find_row(connection, kReadEndedStatus, read_ended, hash, now_ms))
    return std::move(*ended);
  OperationStatusRow row;
  Bound rows{connection, kReadOperationStatus, hash, now_ms};
  for (bool is_first = true; rows.step(); is_first = false) {
    Columns columns = rows.columns();
    OperationStatusRow again;
    read_record(columns, is_first ? row : again);
    if (!columns.is_null()) row.effects.push_back(read_effect(columns));
  }
  return row;
}

}  // namespace outseal::sql
