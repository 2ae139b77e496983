#include "sql/operation_status.h"

#include "sql/effect_row.h"
#include "sql/typed.h"

namespace outseal::sql {

// key hash, on SQLite also now. A one-transaction operation, which has no effects: what a replay
// wants to know, and nothing else.
const Text kReadEndedStatus{
    .name = "read_ended_status",
    .sqlite =
        "SELECT i.state, i.scope, i.created_at, i.status, CASE WHEN i.purge_at > ?2 THEN i.body"
        " END, i.content_type, i.reply_headers FROM main.outseal_idempotency i"
        " WHERE i.key_hash = ?1 AND i.fence = 0 AND i.expires_at > ?2",
    .postgres =
        "SELECT i.state, i.scope, i.created_at, i.status, CASE WHEN i.purge_at > clock_timestamp()"
        " THEN i.body END, i.content_type, i.reply_headers FROM outseal.idempotency i"
        " WHERE i.key_hash = $1 AND i.fence = 0 AND i.expires_at > clock_timestamp()"};

// The body comes with the first effect only: it may have megabytes.
#define OUTSEAL_FIRST_EFFECT(table)                   \
  "(e.id IS NULL OR NOT EXISTS (SELECT 1 FROM " table \
  " f WHERE f.operation = i.key_hash AND f.id < e.id))"

// key hash; SQLite: now; PostgreSQL: number of the key's lock -> 1 if somebody holds the lock, now,
// state (NULL if there is no record), scope, handle, created, lease until, lease owner, attempts,
// 1 if the key's retention has passed, status, body, content type, headers; effect: name (NULL if
// there is none), state, reference, amount, currency, attempts. Until the purge has been there,
// purge_at of a record with a body is the end of the response's retention.
//
// pg_locks: a lock of 64 bits is shown in halves, under objsubid 1. It is only looked at where no
// record says more, since it looks at the locks of all.
const Text kReadOperationStatus{
    .name = "read_operation_status",
    .sqlite =
        "SELECT 0, ?2, i.state, i.scope, i.handle, i.created_at, i.lease_until, i.lease_owner,"
        " i.attempts, coalesce(i.expires_at <= ?2, 0), i.status,"
        " CASE WHEN i.purge_at > ?2 AND " OUTSEAL_FIRST_EFFECT("main.outseal_effect")
        " THEN i.body END, i.content_type, i.reply_headers,"
        " e.name, e.state, e.external_ref, " OUTSEAL_APPLIED_AMOUNT ", e.attempts"
        " FROM (SELECT 1) one LEFT JOIN main.outseal_idempotency i ON i.key_hash = ?1"
        " LEFT JOIN main.outseal_effect e ON e.operation = i.key_hash ORDER BY e.id",
    .postgres =
        "SELECT CASE WHEN i.key_hash IS NULL OR i.expires_at <= clock_timestamp() THEN EXISTS ("
        "SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted"
        " AND l.objsubid = 1 AND l.classid::bigint = ($2::bigint >> 32) & 4294967295"
        " AND l.objid::bigint = $2::bigint & 4294967295"
        " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d"
        "  WHERE d.datname = current_database())) ELSE false END,"
        " clock_timestamp(), i.state, i.scope, i.handle, i.created_at, i.lease_until,"
        " i.lease_owner, i.attempts, coalesce(i.expires_at <= clock_timestamp(), false), i.status,"
        " CASE WHEN i.purge_at > clock_timestamp()"
        " AND " OUTSEAL_FIRST_EFFECT("outseal.effect") " THEN i.body END, i.content_type,"
        " i.reply_headers, e.name, e.state, e.external_ref, " OUTSEAL_APPLIED_AMOUNT ", e.attempts"
        " FROM (SELECT 1) one LEFT JOIN outseal.idempotency i ON i.key_hash = $1"
        " LEFT JOIN outseal.effect e ON e.operation = i.key_hash ORDER BY e.id"};

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

}  // namespace

OperationStatusRow read_operation_status(Connection& connection, std::string_view key_hash,
                                         std::int64_t lock) {
  const Bytes hash{key_hash};
  const std::int64_t now_ms = connection.pipelines() ? 0 : connection.now_ms();
  auto ended = connection.pipelines()
                   ? find_row(connection, kReadEndedStatus, read_ended, hash)
                   : find_row(connection, kReadEndedStatus, read_ended, hash, now_ms);
  if (ended) return std::move(*ended);
  OperationStatusRow row;
  bool is_first = true;
  const auto read = [&](Bound& rows) {
    while (rows.step()) {
      Columns columns = rows.columns();
      OperationStatusRow again;
      read_record(columns, is_first ? row : again);
      is_first = false;
      if (!columns.is_null()) row.effects.push_back(read_effect(columns));
    }
  };
  Bound rows{connection, kReadOperationStatus, hash, connection.pipelines() ? lock : now_ms};
  read(rows);
  return row;
}

}  // namespace outseal::sql
