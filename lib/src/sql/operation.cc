#include "sql/operation.h"

#include "sql/postgres/fragments.h"
#include "sql/record_row.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

OperationState state_of(std::string_view text) {
  if (text == "succeeded") return OperationState::succeeded;
  if (text == "failed") return OperationState::failed;
  return text == "unknown" ? OperationState::unknown : OperationState::in_progress;
}

// Columns of a record `i`, as read_record() reads them. A body whose retention has passed is NULL
// whether or not it was purged. (On SQLite ?2 is now.)
#define OUTSEAL_LITE_RECORD_COLUMNS                                                           \
  "i.fingerprint, i.fingerprint_version, i.state, i.status, CASE WHEN i.purge_at > ?2 THEN"   \
  " i.body END, i.content_type, i.reply_headers, i.handle, CASE WHEN i.state = 'in_progress'" \
  " AND i.lease_until > ?2 THEN i.lease_until - ?2 END, i.fence, coalesce(i.expires_at <= ?2, 0)"
#define OUTSEAL_RECORD_COLUMNS                                                               \
  "i.fingerprint, i.fingerprint_version, i.state, i.status, CASE WHEN i.purge_at >"          \
  " clock_timestamp() THEN i.body END, i.content_type, i.reply_headers, i.handle, CASE WHEN" \
  " i.state = 'in_progress' AND i.lease_until > clock_timestamp() THEN (extract(epoch FROM"  \
  " i.lease_until - clock_timestamp()) * 1000)::bigint END, i.fence, i.expires_at <= "       \
  "clock_timestamp()"

// An effect `e` whose end is open.
#define OUTSEAL_IS_OPEN "e.state IN ('intended', 'unknown', 'disputed')"

OperationRecord read_record(Columns& columns) {
  OperationRecord record;
  record.fingerprint = columns.bytes();
  columns >> record.fingerprint_version;
  record.state = state_of(columns.get<std::string_view>());
  columns >> record.status;
  const bool has_body = !columns.is_null();
  const std::string_view body = columns.bytes();
  if (has_body) record.body = body;
  columns >> record.content_type >> record.headers;
  record.handle = columns.bytes();
  record.lease_left = std::chrono::milliseconds{columns.get<std::int64_t>()};
  columns >> record.fence >> record.has_expired;
  return record;
}

template <typename... More>
Statement& bind_record(Connection& connection, const Text& text, const NewRecord& record,
                       const More&... more) {
  const auto bind = [&](const auto&... values) -> Statement& {
    return bind_statement(connection, text, values..., more...);
  };
  return std::apply(bind, values_of(record));
}

}  // namespace

// key hash, on SQLite also now
const Text kFindOperation{.name = "find_operation",
                          .sqlite = "SELECT " OUTSEAL_LITE_RECORD_COLUMNS
                                    " FROM main.outseal_idempotency i WHERE i.key_hash = ?1",
                          .postgres = "SELECT " OUTSEAL_RECORD_COLUMNS
                                      " FROM outseal.idempotency i WHERE i.key_hash = $1"};

// key hash
const Text kHasOpenEffect{
    .name = "has_open_effect",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM main.outseal_effect e WHERE e.operation = ?1"
        " AND " OUTSEAL_IS_OPEN ")",
    .postgres =
        "SELECT EXISTS (SELECT FROM outseal.effect e WHERE e.operation = $1"
        " AND " OUTSEAL_IS_OPEN ")"};

bool counts(Connection& connection, const OperationRecord& record, std::string_view key_hash) {
  if (!record.has_expired) return true;
  return record.fence != 0 && get_value<bool>(connection, kHasOpenEffect, Bytes{key_hash});
}

std::optional<OperationRecord> find_operation(Connection& connection, std::string_view key_hash) {
  const Bytes hash{key_hash};
  auto record = connection.pipelines()
                    ? find_row(connection, kFindOperation, read_record, hash)
                    : find_row(connection, kFindOperation, read_record, hash, connection.now_ms());
  if (record && !counts(connection, *record, key_hash)) record.reset();
  return record;
}

// The records `i` that are due; ?1 is now, ?2 how many at most.
#define OUTSEAL_LITE_DUE                                                                       \
  "(SELECT i.key_hash, i.fence, i.expires_at FROM main.outseal_idempotency i WHERE i.purge_at" \
  " IS NOT NULL AND i.purge_at <= ?1 AND (i.fence = 0 OR NOT EXISTS (SELECT 1"                 \
  " FROM main.outseal_effect e WHERE e.operation = i.key_hash AND " OUTSEAL_IS_OPEN            \
  ")) ORDER BY i.purge_at LIMIT ?2)"

// now, rows at most; first the effects, without which the same records are due
const Text kPurgeEffects{.name = "purge_effects",
                         .sqlite =
                             "DELETE FROM main.outseal_effect WHERE operation IN (SELECT d.key_hash"
                             " FROM " OUTSEAL_LITE_DUE
                             " d WHERE d.fence <> 0 AND d.expires_at <= ?1)"};
const Text kPurgeRecords{
    .name = "purge_records",
    .sqlite =
        "DELETE FROM main.outseal_idempotency WHERE key_hash IN (SELECT d.key_hash"
        " FROM " OUTSEAL_LITE_DUE " d WHERE d.expires_at <= ?1)"};
const Text kPurgeResponses{
    .name = "purge_responses",
    .sqlite =
        "UPDATE main.outseal_idempotency SET body = NULL, content_type = NULL,"
        " reply_headers = NULL, purge_at = expires_at WHERE key_hash IN (SELECT d.key_hash"
        " FROM " OUTSEAL_LITE_DUE " d WHERE d.expires_at > ?1)"};

// now, rows at most
const Text kPurgeOperations{
    .name = "purge_operations",
    .postgres = "SELECT responses, records FROM outseal.purge_operations($1, $2)",
    .setting = {OUTSEAL_PIN_ORDER, true}};

PurgedRows purge_operations(Connection& connection, std::int64_t rows_max) {
  const std::int64_t now_ms = connection.now_ms();
  if (connection.pipelines()) {
    const auto read = [](Columns& columns) {
      PurgedRows purged;
      columns >> purged.responses >> purged.records;
      return purged;
    };
    return find_row(connection, kPurgeOperations, read, now_ms, rows_max).value_or(PurgedRows{});
  }
  run(connection, kPurgeEffects, now_ms, rows_max);
  PurgedRows purged;
  purged.records = run(connection, kPurgeRecords, now_ms, rows_max);
  purged.responses = run(connection, kPurgeResponses, now_ms, rows_max - purged.records);
  return purged;
}

// key hash, on SQLite also now
const Text kDeleteExpiredOperation{
    .name = "delete_expired_operation",
    .sqlite =
        "DELETE FROM main.outseal_idempotency AS i WHERE i.key_hash = ?1 AND i.expires_at"
        " <= ?2 AND (i.fence = 0 OR NOT EXISTS (SELECT 1 FROM main.outseal_effect e"
        " WHERE e.operation = ?1 AND " OUTSEAL_IS_OPEN "))",
    .postgres = "SELECT FROM outseal.forget_expired($1)"};
const Text kDeleteEffects{.name = "delete_effects",
                          .sqlite = "DELETE FROM main.outseal_effect WHERE operation = ?1"};

// key hash, scope, fingerprint, its version, state, status, body, content type, headers, created,
// completed, the response's end, the key's
const Text kInsertOperation{
    .name = "insert_operation",
    .sqlite =
        "INSERT INTO main.outseal_idempotency (key_hash, scope, fingerprint, fingerprint_version,"
        " state, status, body, content_type, reply_headers, created_at, completed_at, purge_at,"
        " expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"};

void forget_expired_operation(Connection& connection, std::string_view key_hash,
                              std::int64_t now_ms) {
  if (run(connection, kDeleteExpiredOperation, Bytes{key_hash}, now_ms) > 0)
    run(connection, kDeleteEffects, Bytes{key_hash});
}

void insert_operation(Connection& connection, const NewRecord& record, std::int64_t started_ms) {
  const std::int64_t now_ms = connection.now_ms();
  forget_expired_operation(connection, record.key_hash, now_ms);
  run(connection, kInsertOperation, Bytes{record.key_hash}, record.scope, Bytes{record.fingerprint},
      record.fingerprint_version, text_of(record.state), record.status, Bytes{record.body},
      record.content_type, NullIfEmpty{record.headers}, started_ms, now_ms,
      now_ms + record.response_retention.count(), now_ms + record.key_retention.count());
}

// number of the key's lock, key hash -> 1 if we hold the lock now, the record's columns (all NULL
// if there is none), the transaction's number if the handler may have to run: only then, because a
// transaction with a number writes at its end
const Text kClaimOperation{
    .name = "claim_operation",
    .postgres = "SELECT pg_try_advisory_xact_lock($1), " OUTSEAL_RECORD_COLUMNS
                ", CASE WHEN i.key_hash IS NULL OR i.expires_at <= clock_timestamp()"
                " THEN pg_current_xact_id() END"
                " FROM (SELECT 1) one LEFT JOIN outseal.idempotency i ON i.key_hash = $2"};

Statement& claim_operation(Connection& connection, std::int64_t lock, std::string_view key_hash) {
  return bind_statement(connection, kClaimOperation, lock, Bytes{key_hash});
}

OperationClaim read_claim(Statement& claim) {
  OperationClaim found;
  claim.step();
  Columns columns{claim};
  columns >> found.has_lock;
  const bool is_there = !columns.is_null();
  OperationRecord record = read_record(columns);
  if (!is_there || record.has_expired)
    found.transaction = std::to_string(columns.get<std::int64_t>());
  if (is_there) found.record = std::move(record);
  return found;
}

// number of the key's lock
const Text kLockOperation{.name = "lock_operation", .postgres = "SELECT pg_advisory_xact_lock($1)"};

void lock_operation(Connection& connection, std::int64_t lock) {
  run(connection, kLockOperation, lock);
}

Statement& delete_expired_operation(Connection& connection, std::string_view key_hash) {
  return bind_statement(connection, kDeleteExpiredOperation, Bytes{key_hash});
}

// the record's, then the transaction's number
const Text kCompleteOperation{
    .name = "complete_operation",
    .postgres = OUTSEAL_STORED(
        OUTSEAL_INSERT_RECORD("$1", "$2", "$3", "$4", "$5",
                              "CASE " OUTSEAL_UNLESS_OWN("$12", "integer") " ELSE $6::integer END",
                              "$7", "$8", "$9", "$10", "$11"),
        OUTSEAL_UNLESS_STORED("stored", "outseal.idempotency"))};

Statement& complete_operation(Connection& connection, const NewRecord& record,
                              std::string_view transaction) {
  return bind_record(connection, kCompleteOperation, record, NullIfEmpty{transaction});
}

// the record's. One that is there already stays as it is.
const Text kInsertMissingOperation{
    .name = "insert_missing_operation",
    .postgres = OUTSEAL_INSERT_RECORD("$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10",
                                      "$11") " ON CONFLICT DO NOTHING"};

bool insert_missing_operation(Connection& connection, const NewRecord& record) {
  run(connection, kDeleteExpiredOperation, Bytes{record.key_hash});
  const StatementScope insert{bind_record(connection, kInsertMissingOperation, record)};
  insert->step();
  return connection.changes() == 1;
}

}  // namespace outseal::sql
