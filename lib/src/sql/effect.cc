#include "sql/effect.h"

#include "model/headers.h"
#include "sql/effect_row.h"
#include "sql/postgres/fragments.h"
#include "sql/record_row.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

using std::chrono::milliseconds;

OperationView::State state_of(std::string_view text) {
  using enum OperationView::State;
  if (text == "in_progress") return in_progress;
  if (text == "succeeded") return succeeded;
  return text == "failed" ? failed : unknown;
}

EffectState effect_state_of(std::string_view text) {
  for (int each = 0; each <= static_cast<int>(EffectState::disputed); ++each)
    if (name_of(static_cast<EffectState>(each)) == text) return static_cast<EffectState>(each);
  return EffectState::unknown;
}

std::optional<milliseconds> ago(const std::optional<std::int64_t>& at_ms, std::int64_t now_ms) {
  if (!at_ms) return std::nullopt;
  return milliseconds{now_ms - *at_ms};
}

void read_operation(Columns& columns, std::int64_t now_ms, OperationView& view) {
  view.state = state_of(columns.get<std::string_view>());
  view.fingerprint = columns.bytes();
  columns >> view.fingerprint_version;
  view.handle = columns.bytes();
  columns >> view.fence >> view.attempts >> view.lease_owner;
  view.lease_left = milliseconds{columns.get<std::int64_t>() - now_ms};
  columns >> view.status;
  const bool has_body = !columns.is_null();
  Reply reply{.verdict = view.state == OperationView::State::failed ? Verdict::final_failure
                                                                    : Verdict::success,
              .status = view.status,
              .body = std::string{columns.bytes()},
              .content_type = columns.get<std::string>(),
              .headers = headers_from_json("attempt", columns.get<std::string_view>())};
  if (has_body) view.reply = std::move(reply);
}

std::optional<Amount> read_amount(Columns& columns) {
  const auto minor = columns.get<std::optional<std::int64_t>>();
  auto currency = columns.get<std::string>();
  if (!minor) return std::nullopt;
  return Amount{*minor, std::move(currency)};
}

EffectRow read_effect(Columns& columns, std::int64_t now_ms) {
  EffectRow row;
  EffectOutcome& outcome = row.outcome;
  columns >> outcome.name;
  outcome.state = effect_state_of(columns.get<std::string_view>());
  columns >> outcome.reference;
  row.asked = read_amount(columns);
  outcome.amount = read_amount(columns);
  outcome.response = columns.bytes();
  columns >> outcome.attempts;
  row.request_hash = columns.bytes();
  columns >> row.provider >> row.provider_key >> row.policies >> row.compensation >> row.version;
  row.first_sent_ago = ago(columns.get<std::optional<std::int64_t>>(), now_ms);
  row.last_sent_ago = ago(columns.get<std::optional<std::int64_t>>(), now_ms);
  return row;
}

// Columns of an effect `e`, as read_effect() reads them.
#define OUTSEAL_EFFECT_COLUMNS                                                           \
  "e.name, e.state, e.external_ref, e.amount_minor, e.currency, " OUTSEAL_APPLIED_AMOUNT \
  ", e.response, e.attempts, e.request_hash, e.provider, e.provider_key, e.policies, "   \
  "e.compensation, e.version,"                                                           \
  " e.first_sent_at, e.last_sent_at"
#define OUTSEAL_OPEN_EFFECT(operation)                                         \
  "EXISTS (SELECT 1 FROM main.outseal_effect o WHERE o.operation = " operation \
  " AND o.state IN ('intended', 'unknown', 'disputed'))"

}  // namespace

// key hash, on SQLite also now -> now, 1 if it has expired, the operation's columns, then those of
// an effect, whose name is NULL if there is none
const Text kFindOperationView{
    .name = "find_operation_view",
    .sqlite =
        "SELECT ?2, coalesce(i.expires_at <= ?2, 0) AND NOT " OUTSEAL_OPEN_EFFECT("i.key_hash")
        ", i.state, i.fingerprint, i.fingerprint_version, i.handle, i.fence, i.attempts,"
        " i.lease_owner, coalesce(i.lease_until, i.created_at), i.status,"
        " CASE WHEN i.purge_at > ?2 THEN i.body END, i.content_type, i.reply_headers,"
        " " OUTSEAL_EFFECT_COLUMNS
        " FROM main.outseal_idempotency i"
        " LEFT JOIN main.outseal_effect e ON e.operation = i.key_hash"
        " AND i.state IN ('in_progress', 'unknown') WHERE i.key_hash = ?1 ORDER BY e.id",
    .postgres =
        "SELECT clock_timestamp(), coalesce(i.expires_at <= clock_timestamp(), false)"
        " AND NOT EXISTS (SELECT FROM outseal.effect o WHERE o.operation = i.key_hash"
        " AND o.state IN ('intended', 'unknown', 'disputed')),"
        " i.state, i.fingerprint, i.fingerprint_version, i.handle, i.fence, i.attempts,"
        " i.lease_owner, coalesce(i.lease_until, i.created_at), i.status,"
        " CASE WHEN i.purge_at > clock_timestamp() THEN i.body END, i.content_type,"
        " i.reply_headers, " OUTSEAL_EFFECT_COLUMNS " FROM outseal.idempotency i"
        " LEFT JOIN outseal.effect e ON e.operation = i.key_hash"
        " AND i.state IN ('in_progress', 'unknown') WHERE i.key_hash = $1 ORDER BY e.id"};

OperationView find_operation_view(Connection& connection, std::string_view key_hash) {
  OperationView view;
  const Bytes hash{key_hash};
  Bound bound = connection.pipelines()
                    ? Bound{connection, kFindOperationView, hash}
                    : Bound{connection, kFindOperationView, hash, connection.now_ms()};
  while (bound.step()) {
    Columns columns = bound.columns();
    const auto now_ms = columns.get<std::int64_t>();
    if (columns.get<bool>()) return {};
    read_operation(columns, now_ms, view);
    view.key_hash = key_hash;
    if (!columns.is_null()) view.effects.push_back(read_effect(columns, now_ms));
  }
  return view;
}

// scope, on SQLite now less idle, on PostgreSQL idle -> key hash, fence. PostgreSQL: those that are
// open are few, and side by side in the index.
const Text kFindLeftOperation{
    .name = "find_left_operation",
    .sqlite =
        "SELECT i.key_hash, i.fence FROM main.outseal_idempotency i"
        " WHERE i.state IN ('in_progress', 'unknown') AND i.scope = ?1"
        " AND coalesce(i.lease_until, i.created_at) <= ?2"
        " AND NOT EXISTS (SELECT 1 FROM main.outseal_effect e WHERE e.operation = i.key_hash"
        " AND e.state IN ('unknown', 'disputed'))"
        " ORDER BY coalesce(i.lease_until, i.created_at) LIMIT 1",
    .postgres =
        "SELECT i.key_hash, i.fence FROM outseal.idempotency i WHERE i.purge_at IS NULL"
        " AND i.state IN ('in_progress', 'unknown') AND i.scope = $1"
        " AND coalesce(i.lease_until, i.created_at)"
        "  <= clock_timestamp() - $2::bigint::float8 * interval '1 ms'"
        " AND NOT EXISTS (SELECT FROM outseal.effect e WHERE e.operation = i.key_hash"
        " AND e.state IN ('unknown', 'disputed'))"
        " ORDER BY coalesce(i.lease_until, i.created_at) LIMIT 1",
    .setting = {OUTSEAL_PIN_INDEX}};

std::optional<std::pair<std::string, std::int64_t>> find_left_operation(Connection& connection,
                                                                        std::string_view scope,
                                                                        milliseconds idle) {
  const auto read = [](Columns& columns) {
    std::string key_hash{columns.bytes()};
    return std::pair{std::move(key_hash), columns.get<std::int64_t>()};
  };
  return find_row(connection, kFindLeftOperation, read, scope,
                  connection.pipelines() ? idle.count() : connection.now_ms() - idle.count());
}

// key hash, scope, fingerprint, its version, handle, now
const Text kBeginOperation{
    .name = "begin_operation",
    .sqlite =
        "INSERT INTO main.outseal_idempotency (key_hash, scope, fingerprint, fingerprint_version,"
        " handle, state, fence, created_at) VALUES (?1, ?2, ?3, ?4, ?5, 'in_progress', 1, ?6)"};

void begin_operation(Connection& connection, const NewOperation& operation, std::int64_t now_ms) {
  forget_expired_operation(connection, operation.key_hash, now_ms);
  run(connection, kBeginOperation, Bytes{operation.key_hash}, operation.scope,
      Bytes{operation.fingerprint}, operation.fingerprint_version, Bytes{operation.handle}, now_ms);
}

// key hash, owner, lease until
const Text kTakeOverOperation{
    .name = "take_over_operation",
    .sqlite =
        "UPDATE main.outseal_idempotency SET state = 'in_progress', fence = fence + 1,"
        " attempts = attempts + 1, lease_owner = ?2, lease_until = ?3 WHERE key_hash = ?1"};

void take_over_operation(Connection& connection, std::string_view key_hash, const NewLease& lease) {
  run(connection, kTakeOverOperation, Bytes{key_hash}, NullIfEmpty{lease.owner}, lease.until_ms);
}

// key hash, owner, lease until, 1 if it is unknown from now on
const Text kHoldOperation{
    .name = "hold_operation",
    .sqlite =
        "UPDATE main.outseal_idempotency SET lease_owner = ?2, lease_until = ?3,"
        " state = CASE WHEN ?4 THEN 'unknown' ELSE state END WHERE key_hash = ?1"};

void hold_operation(Connection& connection, std::string_view key_hash, const NewLease& lease,
                    bool hand_over) {
  run(connection, kHoldOperation, Bytes{key_hash}, NullIfEmpty{lease.owner}, lease.until_ms,
      hand_over);
}

// key hash, state, status, body, content type, headers, now, how long the response is kept, and how
// long the key
const Text kFinishOperation{
    .name = "finish_operation",
    .sqlite =
        "UPDATE main.outseal_idempotency SET state = ?2, status = ?3, body = ?4, content_type = ?5,"
        " reply_headers = ?6, lease_owner = NULL, lease_until = NULL, completed_at = ?7,"
        " purge_at = ?7 + ?8, expires_at = ?7 + ?9 WHERE key_hash = ?1"};

void finish_operation(Connection& connection, const NewRecord& record, std::int64_t now_ms) {
  run(connection, kFinishOperation, Bytes{record.key_hash}, text_of(record.state), record.status,
      Bytes{record.body}, record.content_type, NullIfEmpty{record.headers}, now_ms,
      record.response_retention.count(), record.key_retention.count());
}

// key hash, name, state, what is known of the requests, reference, response, compensation, who
// decided, evidence, fence, now
const Text kSettleEffect{
    .name = "settle_effect",
    .sqlite =
        "UPDATE main.outseal_effect SET state = ?3, external_ref = ?5, response = ?6,"
        " compensation = ?7, decided_by = ?8, evidence = ?9, fence = ?10, version = version + 1,"
        " settled_at = CASE WHEN ?3 <> 'intended' THEN ?11 END,"
        " first_sent_at = CASE WHEN ?4 <> 'never' THEN first_sent_at END,"
        " last_sent_at = CASE WHEN ?4 <> 'open' THEN NULL"
        " WHEN ?3 = 'intended' THEN min(last_sent_at, ?11) ELSE last_sent_at END,"
        " rerun_until = CASE WHEN ?4 <> 'never' THEN rerun_until END"
        " WHERE operation = ?1 AND name = ?2 AND state = 'intended'"};

bool settle_effect(Connection& connection, std::string_view key_hash, const Settle& settle,
                   std::int64_t fence, std::int64_t now_ms) {
  const Bytes response{settle.response};
  return run(connection, kSettleEffect, Bytes{key_hash}, settle.name, name_of(settle.state),
             name_of(settle.sent), NullIfEmpty{settle.reference},
             settle.response.empty() ? std::nullopt : std::optional{response},
             NullIfEmpty{settle.compensation}, NullIfEmpty{settle.decided_by},
             NullIfEmpty{settle.evidence}, fence, now_ms) == 1;
}

// key hash, name, request hash, provider, provider key, policies, amount, currency, attributes,
// fence, lease end, for how long it may be sent again, now
const Text kSendEffect{
    .name = "send_effect",
    .sqlite =
        "INSERT INTO main.outseal_effect (operation, name, request_hash, provider, provider_key,"
        " policies, state, amount_minor, currency, attributes, fence, attempts, intended_at,"
        " first_sent_at, last_sent_at, rerun_until)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'intended', ?7, ?8, ?9, ?10, 1, ?13, ?13, ?11,"
        " ?13 + ?12) ON CONFLICT (operation, name) DO UPDATE SET policies = excluded.policies,"
        " fence = excluded.fence, version = version + 1, attempts = attempts + 1,"
        " first_sent_at = coalesce(first_sent_at, ?13), last_sent_at = excluded.last_sent_at,"
        " rerun_until = coalesce(first_sent_at, ?13) + ?12 WHERE state = 'intended'"};

bool send_effect(Connection& connection, std::string_view key_hash, const Send& send,
                 std::int64_t fence, std::int64_t lease_end_ms, std::int64_t now_ms) {
  std::optional<std::int64_t> minor;
  std::optional<std::string_view> currency;
  if (send.amount) minor = send.amount->minor, currency = send.amount->currency;
  std::optional<std::int64_t> rerun_for;
  if (send.rerun_for) rerun_for = send.rerun_for->count();
  return run(connection, kSendEffect, Bytes{key_hash}, send.name, Bytes{send.request_hash},
             send.provider, send.provider_key, send.policies, minor, currency, send.attributes,
             fence, lease_end_ms, rerun_for, now_ms) == 1;
}

// key hash, name, lease end
const Text kNoteSending{
    .name = "note_sending",
    .sqlite =
        "UPDATE main.outseal_effect SET last_sent_at = ?3, version = version + 1"
        " WHERE operation = ?1 AND name = ?2 AND state = 'intended'"};

bool note_sending(Connection& connection, std::string_view key_hash, std::string_view name,
                  std::int64_t lease_end_ms) {
  return run(connection, kNoteSending, Bytes{key_hash}, name, lease_end_ms) == 1;
}

}  // namespace outseal::sql
