#include "sql/check.h"

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {

// The last column: the seq before the first event that may wait. OFFSET 0: by transaction, never
// along the numbers from the first one on.
const Text kListCheckedSubscriptions{
    .name = "list_checked_subscriptions",
    .sqlite =
        "SELECT name, sink, event_source, state, acked_seq FROM outseal_subscription"
        " ORDER BY name",
    .postgres =
        "SELECT s.name, s.sink, s.event_source, s.state, coalesce((SELECT min(w.seq) - 1 FROM"
        "  (SELECT o.seq FROM " OUTSEAL_MAY_WAIT
        " OFFSET 0) w), 9223372036854775807)"
        " FROM outseal.subscription s ORDER BY s.name",
    .setting = {OUTSEAL_PIN_INDEX, false}};

std::vector<CheckedSubscription> list_checked_subscriptions(Connection& connection) {
  return list_rows(connection, kListCheckedSubscriptions, [](Columns& columns) {
    CheckedSubscription found;
    columns >> found.name >> found.sink >> found.event_source;
    found.paused = columns.get<std::string_view>() == "paused";
    columns >> found.acked_seq;
    return found;
  });
}

// subscription
const Text kListTopics{
    .name = "list_topics",
    .sqlite =
        "SELECT t.value FROM outseal_subscription s, json_each(s.topics) t"
        " WHERE s.name = ?1 ORDER BY t.key",
    .postgres =
        "SELECT t.pattern FROM outseal.subscription s CROSS JOIN LATERAL"
        " jsonb_array_elements_text(s.topics) WITH ORDINALITY AS t (pattern, place)"
        " WHERE s.name = $1 ORDER BY t.place"};

std::vector<std::string> list_topics(Connection& connection, std::string_view subscription) {
  return list_rows(connection, kListTopics, column<std::string>, subscription);
}

// now, created until. Times come and go in whole milliseconds, so what is compared with them is cut
// to these as well.
#define OUTSEAL_OPEN_SQLITE                                             \
  " WHERE i.state IN ('in_progress', 'unknown') AND i.created_at <= ?2" \
  " AND (i.state = 'unknown' OR coalesce(i.lease_until, 0) <= ?1)"
#define OUTSEAL_OPEN_POSTGRES                                           \
  " WHERE i.purge_at IS NULL AND i.state IN ('in_progress', 'unknown')" \
  " AND i.created_at < to_timestamp(($2::float8 + 1) / 1000)"           \
  " AND (i.state = 'unknown' OR i.lease_until IS NULL"                  \
  "  OR i.lease_until < to_timestamp(($1::float8 + 1) / 1000))"

const Text kCountOpenOperations{
    .name = "count_open_operations",
    .sqlite = "SELECT count(*) FROM outseal_idempotency i" OUTSEAL_OPEN_SQLITE,
    .postgres = "SELECT count(*) FROM outseal.idempotency i" OUTSEAL_OPEN_POSTGRES};

std::uint64_t count_open_operations(Connection& connection, const OpenSince& since) {
  return get_value<std::uint64_t>(connection, kCountOpenOperations, since.now_ms,
                                  since.created_until_ms);
}

// The same, then rows at most. With the first, by name, of the effects that wait for a person: both
// look-ups go by the index on operation and name.
#define OUTSEAL_OPEN_OPERATIONS(operations, effects)                              \
  "SELECT i.key_hash, i.scope, i.state, i.created_at, i.attempts, i.lease_owner," \
  " i.lease_until, e.name, e.state, e.provider, e.provider_key, e.external_ref"   \
  " FROM " operations " i LEFT JOIN " effects                                     \
  " e ON e.operation = i.key_hash"                                                \
  " AND e.name = (SELECT min(u.name) FROM " effects                               \
  " u WHERE u.operation = i.key_hash"                                             \
  " AND u.state IN ('unknown', 'disputed'))"
const Text kListOpenOperations{
    .name = "list_open_operations",
    .sqlite = OUTSEAL_OPEN_OPERATIONS("outseal_idempotency", "outseal_effect") OUTSEAL_OPEN_SQLITE
    " ORDER BY i.created_at LIMIT ?3",
    .postgres = OUTSEAL_OPEN_OPERATIONS("outseal.idempotency", "outseal.effect")
        OUTSEAL_OPEN_POSTGRES " ORDER BY i.created_at LIMIT $3"};

std::vector<OpenOperation> list_open_operations(Connection& connection, const OpenSince& since,
                                                std::int64_t rows_max) {
  const auto read = [](Columns& columns) {
    OpenOperation operation;
    operation.key_hash = columns.bytes();
    columns >> operation.scope;
    operation.unknown = columns.get<std::string_view>() == "unknown";
    columns >> operation.created_at_ms >> operation.attempts >> operation.lease_owner >>
        operation.lease_until_ms;
    UndecidedEffect& effect = operation.undecided;
    columns >> effect.name >> effect.state >> effect.provider >> effect.provider_key >>
        effect.external_ref;
    return operation;
  };
  return list_rows(connection, kListOpenOperations, read, since.now_ms, since.created_until_ms,
                   rows_max);
}

// after provider, provider key, id; rows at most
const Text kListEffects{
    .name = "list_effects",
    .sqlite =
        "SELECT provider, provider_key, id, state, external_ref FROM outseal_effect"
        " WHERE (provider, provider_key, id) > (?1, ?2, ?3)"
        " ORDER BY provider, provider_key, id LIMIT ?4",
    .postgres =
        "SELECT provider, provider_key, id, state, external_ref FROM outseal.effect"
        " WHERE (provider, provider_key, id) > ($1, $2, $3)"
        " ORDER BY provider, provider_key, id LIMIT $4"};

std::vector<Effect> list_effects(Connection& connection, const Effect& after,
                                 std::int64_t rows_max) {
  const auto read = [](Columns& columns) {
    Effect effect;
    columns >> effect.provider >> effect.provider_key >> effect.id;
    effect.confirmed = columns.get<std::string_view>() == "confirmed";
    columns >> effect.external_ref;
    return effect;
  };
  return list_rows(connection, kListEffects, read, after.provider, after.provider_key, after.id,
                   rows_max);
}

// subscription, after key, 1 to include that key, keys at most
const Text kListParkedKeys{
    .name = "list_parked_keys",
    .sqlite =
        "SELECT key, count(*), sum(state = 'queued'), min(seq), min(parked_at)"
        " FROM outseal_parked WHERE subscription = ?1 AND (key > ?2 OR (?3 AND key = ?2))"
        " AND state IN ('parked', 'queued') GROUP BY key ORDER BY key LIMIT ?4",
    .postgres =
        "SELECT key, count(*), count(*) FILTER (WHERE state = 'queued'),"
        " min(seq), min(parked_at) FROM outseal.parked WHERE subscription = $1"
        " AND (key > $2 OR ($3::int <> 0 AND key = $2))"
        " AND state IN ('parked', 'queued') GROUP BY key ORDER BY key LIMIT $4"};

std::vector<ParkedKey> list_parked_keys(Connection& connection, std::string_view subscription,
                                        std::optional<std::string_view> after,
                                        std::int64_t keys_max) {
  const auto read = [](Columns& columns) {
    ParkedKey parked;
    columns >> parked.key >> parked.events >> parked.queued >> parked.oldest >> parked.parked_at_ms;
    return parked;
  };
  return list_rows(connection, kListParkedKeys, read, subscription, after.value_or(""),
                   !after.has_value(), keys_max);
}

// after seq, rows
const Text kFindPageEnd{
    .name = "find_page_end",
    .sqlite =
        "SELECT max(seq) FROM (SELECT seq FROM outseal_outbox WHERE seq > ?1 ORDER BY seq"
        " LIMIT ?2)",
    .postgres =
        "SELECT max(p.seq) FROM (SELECT seq FROM outseal.outbox WHERE seq > $1 ORDER BY seq"
        " LIMIT $2) p"};

std::optional<Seq> find_page_end(Connection& connection, Seq after, std::int64_t rows) {
  return get_value<std::optional<Seq>>(connection, kFindPageEnd, after, rows);
}

// subscription, after seq, to seq, created until
const Text kCountWaiting{
    .name = "count_waiting",
    .sqlite =
        "SELECT o.topic, count(*), min(o.seq), min(o.created_at) FROM outseal_outbox o"
        " WHERE o.seq > ?2 AND o.seq <= ?3 AND o.created_at <= ?4 AND NOT EXISTS ("
        " SELECT 1 FROM outseal_parked p WHERE p.subscription = ?1 AND p.seq = o.seq)"
        " GROUP BY o.topic",
    .postgres =
        "SELECT o.topic, count(*), min(o.seq), min(o.created_at) FROM outseal.outbox o"
        " LEFT JOIN outseal.subscription s ON s.name = $1"
        " WHERE o.seq > $2 AND o.seq <= $3"
        " AND o.created_at < to_timestamp(($4::float8 + 1) / 1000)"
        " AND (s.name IS NULL OR " OUTSEAL_WAITS
        ") AND NOT EXISTS (SELECT 1 FROM outseal.parked p"
        "  WHERE p.subscription = $1 AND p.seq = o.seq)"
        " GROUP BY o.topic"};

std::vector<WaitingTopic> count_waiting(Connection& connection, std::string_view subscription,
                                        const WaitingRange& range) {
  const auto read = [](Columns& columns) {
    WaitingTopic waiting;
    columns >> waiting.topic >> waiting.events >> waiting.lowest >> waiting.oldest_ms;
    return waiting;
  };
  return list_rows(connection, kCountWaiting, read, subscription, range.after, range.to,
                   range.created_until_ms);
}

// subscription, after seq, to seq, rows at most, begin and end of the window (not on SQLite). As
// read_window_range reads: transactions from xmax(begin) up to xmax(end), and those that were still
// running at the begin.
const Text kReadStretch{
    .name = "read_stretch",
    .sqlite =
        "SELECT o.seq, o.event_id, o.key, o.topic, EXISTS (SELECT 1 FROM outseal_parked p"
        "  WHERE p.subscription = ?1 AND p.seq = o.seq) FROM outseal_outbox o"
        " WHERE o.seq > ?2 AND o.seq <= ?3 AND ?5 = '' AND ?6 = ''"
        " ORDER BY o.seq LIMIT ?4",
    .postgres =
        "SELECT r.seq, r.event_id, r.key, r.topic, (SELECT count(*) FROM outseal.parked p"
        "  WHERE p.subscription = $1 AND p.seq = r.seq) FROM ("
        " (SELECT f.seq, f.event_id, f.key, f.topic FROM outseal.outbox f"
        "  WHERE f.tx >= pg_snapshot_xmax($5::pg_snapshot)"
        "  AND f.tx < pg_snapshot_xmax($6::pg_snapshot)"
        "  AND pg_visible_in_snapshot(f.tx, $6::pg_snapshot)"
        "  AND f.seq > $2 AND f.seq <= $3 ORDER BY f.seq LIMIT $4)"
        " UNION ALL"
        " (SELECT l.* FROM pg_snapshot_xip($5::pg_snapshot) AS late (tx) CROSS JOIN LATERAL"
        "  (SELECT e.seq, e.event_id, e.key, e.topic FROM outseal.outbox e"
        "   WHERE e.tx = late.tx AND pg_visible_in_snapshot(late.tx, $6::pg_snapshot)"
        "   AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4) l)"
        " ORDER BY seq LIMIT $4) r ORDER BY r.seq",
    .setting = {OUTSEAL_PIN_INDEX, false}};

void read_stretch(Connection& connection, std::string_view subscription, const Stretch& stretch,
                  std::int64_t rows_max, const std::function<bool(const StretchEvent&)>& take) {
  Bound rows{connection, kReadStretch, subscription,      stretch.after,
             stretch.to, rows_max,     stretch.snap_from, stretch.snap_to};
  while (rows.step()) {
    Columns columns = rows.columns();
    StretchEvent event;
    columns >> event.seq >> event.id >> event.key >> event.topic >> event.parked;
    if (!take(event)) return;
  }
}

// subscription, first position, last position
const Text kListRedriven{.name = "list_redriven",
                         .sqlite =
                             "SELECT seq, event_id, key FROM outseal_parked WHERE subscription = ?1"
                             " AND position BETWEEN ?2 AND ?3 ORDER BY position",
                         .postgres =
                             "SELECT seq, event_id, key FROM outseal.parked WHERE subscription = $1"
                             " AND position BETWEEN $2 AND $3 ORDER BY position"};

std::vector<LogEntry> list_redriven(Connection& connection, std::string_view subscription,
                                    Position first, Position last) {
  const auto read = [](Columns& columns) {
    LogEntry entry;
    columns >> entry.seq >> entry.id >> entry.key;
    return entry;
  };
  return list_rows(connection, kListRedriven, read, subscription, first, last);
}

// subscription
const Text kListRedrivenKeys{.name = "list_redriven_keys",
                             .sqlite =
                                 "SELECT DISTINCT key FROM outseal_parked WHERE subscription = ?1"
                                 " AND position IS NOT NULL AND key <> ''",
                             .postgres =
                                 "SELECT DISTINCT key FROM outseal.parked WHERE subscription = $1"
                                 " AND position IS NOT NULL AND key <> ''"};

std::vector<std::string> list_redriven_keys(Connection& connection, std::string_view subscription) {
  return list_rows(connection, kListRedrivenKeys, column<std::string>, subscription);
}

}  // namespace outseal::sql
