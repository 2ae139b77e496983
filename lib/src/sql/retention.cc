#include "sql/retention.h"

#include "sql/postgres/fragments.h"
#include "sql/subscription.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

constexpr std::string_view kGiveUp = "topics.discard";

/// Numbers as one text: an array of PostgreSQL's, or of JSON.
std::string list_of(Connection& connection, std::span<const Seq> seqs) {
  const bool is_array = connection.dialect() == "postgresql";
  std::string list = is_array ? "{" : "[";
  for (const Seq seq : seqs) list += (list.size() > 1 ? "," : "") + std::to_string(seq.value());
  return list + (is_array ? "}" : "]");
}

}  // namespace

// created before, rows at most, after seq. Columns: seq, topic, 1 if it is old, 1 if no operator
// may still want it, 1 if every cursor is behind it, tx, number of the transaction that wrote the
// row if that is not tx (a savepoint's, or what brought it from elsewhere), created at.
const Text kListLog{
    .name = "list_log",
    .sqlite =
        "SELECT o.seq, o.topic, o.created_at < ?1, NOT EXISTS (SELECT 1"
        "  FROM outseal_subscription s CROSS JOIN outseal_parked p"
        "  ON p.subscription = s.name AND p.seq = o.seq WHERE p.state IN ('parked', 'queued')"
        "  OR (p.state = 'redriven' AND p.position > s.acked_position)),"
        " o.seq <= (SELECT min(acked_seq) FROM outseal_subscription), NULL, NULL, o.created_at"
        " FROM outseal_outbox o WHERE o.seq > ?3 ORDER BY o.seq LIMIT ?2",
    .postgres =
        "SELECT o.seq, o.topic, o.created_at < to_timestamp($1::float8 / 1000), NOT EXISTS "
        "(SELECT 1"
        "  FROM outseal.subscription s JOIN outseal.parked p"
        "  ON p.subscription = s.name AND p.seq = o.seq WHERE p.state IN ('parked', 'queued')"
        "  OR (p.state = 'redriven' AND p.position > s.acked_position)),"
        " NOT EXISTS (SELECT 1 FROM outseal.subscription s"
        "  WHERE NOT pg_visible_in_snapshot(o.tx, s.acked_snap)), o.tx,"
        " CASE WHEN NOT " OUTSEAL_WROTE_ITSELF("o.xmin") " THEN "
        OUTSEAL_NUMBER_OF("o.xmin") " END,"
        " o.created_at FROM outseal.outbox o WHERE o.seq > $3 ORDER BY o.seq LIMIT $2",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::vector<LogRow> list_log(Connection& connection, const LogPart& part) {
  const auto read = [](Columns& columns) {
    LogRow row;
    columns >> row.seq >> row.topic >> row.old;
    row.open = !columns.get<bool>();
    columns >> row.behind >> row.tx >> row.written_by >> row.created_at_ms;
    return row;
  };
  return list_rows(connection, kListLog, read, part.old_before_ms, part.rows_max, part.after);
}

const Text kFindOldestEventTime{
    .name = "find_oldest_event_time",
    .sqlite = "SELECT created_at FROM outseal_outbox ORDER BY seq LIMIT 1",
    .postgres = "SELECT created_at FROM outseal.outbox ORDER BY seq LIMIT 1",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::optional<std::int64_t> find_oldest_event_time(Connection& connection) {
  return find_row(connection, kFindOldestEventTime, column<std::int64_t>);
}

// [seq, ...] or {seq, ...}
const Text kDeleteEvents{
    .name = "delete_events",
    .sqlite = "DELETE FROM outseal_outbox WHERE seq IN (SELECT value FROM json_each(?1))",
    .postgres = "DELETE FROM outseal.outbox WHERE seq = ANY ($1::bigint[])",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::uint64_t delete_events(Connection& connection, std::span<const Seq> seqs) {
  return static_cast<std::uint64_t>(run(connection, kDeleteEvents, list_of(connection, seqs)));
}

// [seq, ...] or {seq, ...}
const Text kCountEvents{
    .name = "count_events",
    .sqlite = "SELECT count(*) FROM json_each(?1) j CROSS JOIN outseal_outbox o ON o.seq = j.value",
    .postgres = "SELECT count(*) FROM outseal.outbox WHERE seq = ANY ($1::bigint[])",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::uint64_t count_events(Connection& connection, std::span<const Seq> seqs) {
  return get_value<std::uint64_t>(connection, kCountEvents, list_of(connection, seqs));
}

// event id
const Text kFindEventSeq{.name = "find_event_seq",
                         .sqlite = "SELECT seq FROM outseal_outbox WHERE event_id = ?1"};

std::optional<Seq> find_event_seq(Connection& connection, const EventId& id) {
  return find_row(connection, kFindEventSeq, column<Seq>, id.to_string());
}

const Text kListCursors{
    .name = "list_cursors",
    .sqlite =
        "SELECT name, topics, created_at, acked_position FROM outseal_subscription"
        " ORDER BY name",
    .postgres =
        "SELECT name, topics::text, created_at, acked_position FROM outseal.subscription"
        " ORDER BY name"};

std::vector<CursorRow> list_cursors(Connection& connection) {
  return list_rows(connection, kListCursors, [](Columns& columns) {
    CursorRow cursor;
    columns >> cursor.name;
    cursor.topics = topics_from_json(columns.get<std::string_view>());
    columns >> cursor.created_at_ms >> cursor.acked;
    return cursor;
  });
}

// subscription or NULL for any, seq
const Text kIsDecided{
    .name = "is_decided",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM outseal_subscription s CROSS JOIN outseal_parked p"
        " ON p.subscription = s.name AND p.seq = ?2 CROSS JOIN outseal_outbox o"
        " ON o.seq = ?2 AND o.event_id = p.event_id WHERE ?1 IS NULL OR s.name = ?1)",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.subscription s JOIN outseal.parked p"
        " ON p.subscription = s.name AND p.seq = $2 JOIN outseal.outbox o ON o.seq = $2"
        " AND o.event_id = p.event_id WHERE $1::text IS NULL OR s.name = $1)"};

bool is_decided(Connection& connection, std::optional<std::string_view> subscription, Seq seq) {
  return get_value<bool>(connection, kIsDecided, subscription, seq);
}

// xmax of from, xmax of to, to, late xids, from seq (exclusive), to seq (inclusive), subscription
const Text kCountBound{
    .name = "count_bound",
    .postgres =
        "SELECT o.topic, count(*) FROM"
        " (SELECT f.*, f.xmin AS writer FROM outseal.outbox f WHERE f.tx >= $1::xid8"
        "   AND f.tx < $2::xid8 AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot)"
        "   AND f.seq > $5 AND f.seq <= $6"
        "  UNION ALL SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
        "   (SELECT e.*, e.xmin AS writer FROM outseal.outbox e"
        "    WHERE (e.tx, e.seq) > (late.tx, $5) AND (e.tx, e.seq) <= (late.tx, $6)) l) o"
        " WHERE (" OUTSEAL_WROTE_ITSELF("o.writer") " OR pg_visible_in_snapshot("
        OUTSEAL_NUMBER_OF("o.writer") "::text::xid8, $3::pg_snapshot))"
        " AND NOT EXISTS (SELECT 1 FROM outseal.parked p WHERE p.subscription = $7"
        "  AND p.seq = o.seq) GROUP BY o.topic",
    .setting = {OUTSEAL_PIN_INDEX, true}};

std::vector<TopicCount> count_bound(Connection& connection, std::string_view subscription,
                                    const WindowSpan& window, Seq after, Seq up_to) {
  const auto read = [](Columns& columns) {
    TopicCount count;
    columns >> count.topic >> count.events;
    return count;
  };
  return list_rows(connection, kCountBound, read, window.from_xmax, window.to_xmax, window.to,
                   window.late, after, up_to, subscription);
}

const Text kListTopicActs{
    .name = "list_topic_acts",
    .sqlite =
        "SELECT act, subject FROM outseal_audit WHERE act IN ('topics.discard', 'topics.keep')"
        " ORDER BY id",
    .postgres =
        "SELECT act, subject FROM outseal.audit WHERE act IN ('topics.discard', 'topics.keep')"
        " ORDER BY id"};

std::string_view name_of_topic_act(bool give_up) { return give_up ? kGiveUp : "topics.keep"; }

std::vector<TopicAct> list_topic_acts(Connection& connection) {
  return list_rows(connection, kListTopicActs, [](Columns& columns) {
    TopicAct act;
    act.give_up = columns.get<std::string_view>() == kGiveUp;
    columns >> act.pattern;
    return act;
  });
}

// subscription, note or ''
const Text kNoteRetention{
    .name = "note_retention",
    .sqlite =
        "UPDATE outseal_subscription SET retention_note = nullif(?2, '') WHERE name = ?1"
        " AND coalesce(retention_note, '') <> ?2",
    .postgres =
        "UPDATE outseal.subscription SET retention_note = nullif($2, '') WHERE name = $1"
        " AND coalesce(retention_note, '') <> $2"};

void note_retention(Connection& connection, std::string_view subscription, std::string_view note) {
  run(connection, kNoteRetention, subscription, note);
}

}  // namespace outseal::sql
