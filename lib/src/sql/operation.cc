#include "sql/operation.h"

#include "sql/postgres/fragments.h"
#include "sql/record_row.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

OperationState state_of(std::string_view text) {
  if (text == "succeeded") return OperationState::succeeded;
  return text == "failed" ? OperationState::failed : OperationState::open;
}

/// Five columns: fingerprint, state, status, body, content type.
OperationRecord read_record(Columns& columns) {
  OperationRecord record;
  record.fingerprint = columns.bytes();
  record.state = state_of(columns.get<std::string_view>());
  columns >> record.status;
  record.body = columns.bytes();
  columns >> record.content_type;
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

// key hash, on SQLite also now -> fingerprint, state, status, body, content type, 1 if it has
// expired
const Text kFindOperation{
    .name = "find_operation",
    .sqlite =
        "SELECT fingerprint, state, status, body, content_type,"
        " coalesce(expires_at <= ?2, 0) FROM main.outseal_idempotency WHERE key_hash = ?1",
    .postgres =
        "SELECT fingerprint, state, status, body, content_type,"
        " coalesce(expires_at <= clock_timestamp(), false)"
        " FROM outseal.idempotency WHERE key_hash = $1"};

std::optional<OperationRecord> find_operation(Connection& connection, std::string_view key_hash) {
  const auto read = [](Columns& columns) -> std::optional<OperationRecord> {
    OperationRecord record = read_record(columns);
    if (columns.get<bool>()) return std::nullopt;
    return record;
  };
  const Bytes hash{key_hash};
  return (connection.pipelines()
              ? find_row(connection, kFindOperation, read, hash)
              : find_row(connection, kFindOperation, read, hash, connection.now_ms()))
      .value_or(std::nullopt);
}

// now, rows at most
const Text kPurgeOperations{
    .name = "purge_operations",
    .sqlite =
        "DELETE FROM main.outseal_idempotency WHERE key_hash IN (SELECT key_hash"
        " FROM main.outseal_idempotency WHERE expires_at IS NOT NULL AND expires_at <= ?1"
        " ORDER BY expires_at LIMIT ?2)",
    .postgres = "SELECT FROM outseal.purge_operations($1, $2)",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::int64_t purge_operations(Connection& connection, std::int64_t rows_max) {
  return run(connection, kPurgeOperations, connection.now_ms(), rows_max);
}

// key hash, on SQLite also now
const Text kDeleteExpiredOperation{
    .name = "delete_expired_operation",
    .sqlite = "DELETE FROM main.outseal_idempotency WHERE key_hash = ?1 AND expires_at <= ?2",
    .postgres = "SELECT FROM outseal.forget_expired($1)"};

// key hash, scope, fingerprint, state, status, body, content type, created, completed, expires
const Text kInsertOperation{
    .name = "insert_operation",
    .sqlite =
        "INSERT INTO main.outseal_idempotency (key_hash, scope, fingerprint, state, status,"
        " body, content_type, created_at, completed_at, expires_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"};

void insert_operation(Connection& connection, const NewRecord& record, std::int64_t started_ms) {
  const std::int64_t now_ms = connection.now_ms();
  run(connection, kDeleteExpiredOperation, Bytes{record.key_hash}, now_ms);
  run(connection, kInsertOperation, Bytes{record.key_hash}, record.scope, Bytes{record.fingerprint},
      text_of(record.state), record.status, Bytes{record.body}, record.content_type, started_ms,
      now_ms, now_ms + record.retention.count());
}

// number of the key's lock, key hash -> 1 if we hold the lock now, fingerprint (NULL if there is no
// record), state, status, body, content type, 1 if the record has expired, the transaction's number
// if the handler is to run: only then, because a transaction with a number writes at its end
const Text kClaimOperation{
    .name = "claim_operation",
    .postgres =
        "SELECT pg_try_advisory_xact_lock($1), i.fingerprint, i.state, i.status, i.body,"
        " i.content_type, i.expires_at <= clock_timestamp(),"
        " CASE WHEN i.key_hash IS NULL OR i.expires_at <= clock_timestamp()"
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
  columns >> found.has_expired;
  if (is_there && !found.has_expired)
    found.record = std::move(record);
  else
    found.transaction = std::to_string(columns.get<std::int64_t>());
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
        OUTSEAL_INSERT_RECORD("$1", "$2", "$3", "$4",
                              "CASE " OUTSEAL_UNLESS_OWN("$9", "integer") " ELSE $5::integer END",
                              "$6", "$7", "$8"),
        OUTSEAL_UNLESS_STORED("stored", "outseal.idempotency"))};

Statement& complete_operation(Connection& connection, const NewRecord& record,
                              std::string_view transaction) {
  return bind_record(connection, kCompleteOperation, record, NullIfEmpty{transaction});
}

// the record's. One that is there already stays as it is.
const Text kInsertMissingOperation{
    .name = "insert_missing_operation",
    .postgres = OUTSEAL_INSERT_RECORD("$1", "$2", "$3", "$4", "$5", "$6", "$7",
                                      "$8") " ON CONFLICT DO NOTHING"};

bool insert_missing_operation(Connection& connection, const NewRecord& record) {
  run(connection, kDeleteExpiredOperation, Bytes{record.key_hash});
  const StatementScope insert{bind_record(connection, kInsertMissingOperation, record)};
  insert->step();
  return connection.changes() == 1;
}

}  // namespace outseal::sql
