#include "sql/inbox_sink.h"

#include <vector>

#include "sql/inbox_row.h"
#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

/// Events as the arrays that one statement inserts.
struct Arrays {
  using Texts = std::vector<std::string_view>;
  std::vector<EventId> ids;
  Texts topics, keys, types, headers, payloads, content_types;
  std::vector<std::int64_t> times_ms;

  explicit Arrays(std::span<const EventRow> events) {
    ids.reserve(events.size());
    times_ms.reserve(events.size());
    for (Texts* texts : {&topics, &keys, &types, &headers, &payloads, &content_types})
      texts->reserve(events.size());
    for (const EventRow& event : events) {
      ids.push_back(event.id);
      topics.push_back(event.topic);
      keys.push_back(event.key);
      types.push_back(event.type);
      headers.push_back(event.headers);
      payloads.push_back(event.payload);
      content_types.push_back(event.content_type);
      times_ms.push_back(event.created_at_ms);
    }
  }
};

}  // namespace

// -> 1 if it is a standby, 1 if the user may not write, 1 if commits are not durable whatever a
// session asks for. On SQLite none of it can be.
const Text kFindInboxTrouble{
    .name = "find_inbox_trouble",
    .sqlite = "SELECT 0, 0, 0",
    .postgres =
        "SELECT pg_is_in_recovery(), NOT (has_table_privilege('outseal.inbox_event', 'INSERT')"
        " AND has_table_privilege('outseal.inbox_tail', 'INSERT')"
        " AND has_table_privilege('outseal.inbox_tail', 'UPDATE')),"
        " 'off' IN (current_setting('fsync'), current_setting('full_page_writes'))"};

InboxTrouble find_inbox_trouble(Connection& connection) {
  const auto read = [](Columns& columns) {
    InboxTrouble trouble;
    columns >> trouble.is_standby >> trouble.is_denied >> trouble.loses_committed;
    return trouble;
  };
  return find_row(connection, kFindInboxTrouble, read).value_or(InboxTrouble{});
}

// -> which database it is, whatever name and port it was reached by; '' if its path says so
const Text kReadInboxIdentity{
    .name = "read_inbox_identity",
    .sqlite = "SELECT ''",
    .postgres =
        "SELECT c.system_identifier || '/' || d.oid FROM pg_control_system() c, pg_database d"
        " WHERE d.datname = current_database()"};

std::string read_inbox_identity(Connection& connection) {
  return get_value<std::string>(connection, kReadInboxIdentity);
}

// stream
const Text kInsertInboxTail{
    .name = "insert_inbox_tail",
    .sqlite =
        "INSERT INTO main.outseal_inbox_tail (stream, updated_at) VALUES (?1, " OUTSEAL_LITE_NOW
        ") ON CONFLICT DO NOTHING",
    .postgres =
        "INSERT INTO outseal.inbox_tail (stream, updated_at)"
        " VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING"};

void insert_inbox_tail(Connection& connection, std::string_view stream) {
  run(connection, kInsertInboxTail, stream);
}

// stream -> position, last event id
const Text kReadInboxTail{
    .name = "read_inbox_tail",
    .sqlite = "SELECT position, last_event_id FROM main.outseal_inbox_tail WHERE stream = ?1",
    .postgres = "SELECT position, last_event_id FROM outseal.inbox_tail WHERE stream = $1"};

Tail read_inbox_tail(Connection& connection, std::string_view stream) {
  const auto read = [](Columns& columns) {
    Tail tail;
    columns >> tail.position >> tail.event_id;
    return tail;
  };
  return find_row(connection, kReadInboxTail, read, stream).value_or(Tail{});
}

// stream, position, event id or '' before; new position, its event id; then as arrays: event ids,
// topics, keys, types, headers, payloads, content types, times. The position's compare-and-set and
// the rows as one statement, in one round trip; inserts nothing if another event is the last one.
const Text kAppendInbox{
    .name = "append_inbox",
    .postgres =
        "WITH moved AS (UPDATE outseal.inbox_tail SET position = $4, last_event_id = $5,"
        " updated_at = now() WHERE stream = $1 AND position = $2::bigint"
        " AND last_event_id IS NOT DISTINCT FROM nullif($3, '')::uuid RETURNING stream)"
        " INSERT INTO outseal.inbox_event (stream, " OUTSEAL_INBOX_COLUMNS("payload")
        ", received_at) SELECT moved.stream, $2::bigint + e.place, e.event_id, e.topic,"
        " e.key, e.type, e.headers::json, e.payload, e.content_type,"
        " e.created_at, now() FROM moved, unnest($6::uuid[], $7::text[],"
        " $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::timestamptz[])"
        " WITH ORDINALITY AS e (event_id, topic, key, type, headers, payload, content_type,"
        " created_at, place)",
    .setting = {
        "set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '4s', true)",
        true}};

bool append_inbox(Connection& connection, const TailMove& move, std::span<const EventRow> events) {
  const Arrays arrays{events};
  return run(connection, kAppendInbox, move.stream, move.from.position, id_text(move.from.event_id),
             move.to.position, move.to.event_id.to_string(), arrays.ids, arrays.topics, arrays.keys,
             arrays.types, arrays.headers, BytesArray{arrays.payloads}, arrays.content_types,
             TimeArray{arrays.times_ms}) > 0;
}

// stream, position, event id; new position, its event id, now. Inserts nothing.
const Text kMoveInboxTail{
    .name = "move_inbox_tail",
    .sqlite =
        "UPDATE main.outseal_inbox_tail SET position = ?4, last_event_id = ?5, updated_at = ?6"
        " WHERE stream = ?1 AND position = ?2 AND last_event_id = ?3"};

bool move_inbox_tail(Connection& connection, const TailMove& move, std::int64_t now_ms) {
  return run(connection, kMoveInboxTail, move.stream, move.from.position,
             id_text(move.from.event_id), move.to.position, move.to.event_id.to_string(),
             now_ms) == 1;
}

// stream, position, event id, topic, key, type, headers, payload, content type, created at, now
const Text kInsertInboxEvent{
    .name = "insert_inbox_event",
    .sqlite = "INSERT INTO main.outseal_inbox_event (stream, " OUTSEAL_INBOX_COLUMNS(
        "payload") ", received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"};

void insert_inbox_event(Connection& connection, std::string_view stream, Position position,
                        const EventRow& event, std::int64_t now_ms) {
  run(connection, kInsertInboxEvent, stream, position, event.id.to_string(), event.topic, event.key,
      event.type, event.headers, Bytes{event.payload}, event.content_type, event.created_at_ms,
      now_ms);
}

// stream, event id -> position
const Text kFindInboxEvent{
    .name = "find_inbox_event",
    .sqlite = "SELECT position FROM main.outseal_inbox_event WHERE stream = ?1 AND event_id = ?2",
    .postgres = "SELECT position FROM outseal.inbox_event WHERE stream = $1 AND event_id = $2"};

std::optional<Position> find_inbox_event(Connection& connection, std::string_view stream,
                                         const EventId& event) {
  return find_row(connection, kFindInboxEvent, column<Position>, stream, event.to_string());
}

// stream, after position, rows at most. Rows come all at once on PostgreSQL, so a page leaves large
// payloads behind there: they are NULL, and read one by one.
const Text kReadInboxPage{
    .name = "read_inbox_page",
    .sqlite = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
              " FROM main.outseal_inbox_event WHERE stream = ?1 AND position > ?2"
              " ORDER BY position LIMIT ?3",
    .postgres = "SELECT " OUTSEAL_INBOX_COLUMNS(
        "CASE WHEN octet_length(payload) <= 2048 THEN payload END")
        " FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
        " ORDER BY position LIMIT $3",
    .setting = {OUTSEAL_PIN_ORDER, false}};

Statement& read_inbox_page(Connection& connection, std::string_view stream, Position after,
                           std::int64_t rows_max) {
  return bind_statement(connection, kReadInboxPage, stream, after, rows_max);
}

InboxRow inbox_row(const Statement& row) {
  Columns columns{row};
  return read_inbox_row(columns);
}

// stream, position -> payload
const Text kReadInboxPayload{
    .name = "read_inbox_payload",
    .sqlite = "SELECT payload FROM main.outseal_inbox_event WHERE stream = ?1 AND position = ?2",
    .postgres = "SELECT payload FROM outseal.inbox_event WHERE stream = $1 AND position = $2"};

bool complete(Connection& connection, std::string_view stream, InboxRow& row,
              std::optional<StatementScope>& large) {
  if (row.has_payload) return true;
  Statement& payload = bind_statement(connection, kReadInboxPayload, stream, row.position);
  large.emplace(payload);
  if (!payload.step()) return false;
  row.event.payload = Columns{payload}.bytes();
  return true;
}

}  // namespace outseal::sql
