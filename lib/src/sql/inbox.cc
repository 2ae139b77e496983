#include "sql/inbox.h"

#include "sql/inbox_row.h"
#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

using std::chrono::milliseconds;

InboxEvent read_event(Columns& columns) {
  const InboxRow row = read_inbox_row(columns);
  const EventRow& event = row.event;
  return {.position = row.position,
          .id = event.id,
          .topic = std::string{event.topic},
          .key = std::string{event.key},
          .type = std::string{event.type},
          .payload = std::string{event.payload},
          .content_type = std::string{event.content_type},
          .headers = std::string{event.headers},
          .created_at = std::chrono::sys_time<milliseconds>{milliseconds{event.created_at_ms}}};
}

}  // namespace

// stream, event id. On PostgreSQL it waits for a transaction that has inserted the same; above READ
// COMMITTED it fails if that one commits.
const Text kInsertReceived{.name = "insert_received",
                           .sqlite =
                               "INSERT INTO main.outseal_inbox (stream, event_id, received_at)"
                               " VALUES (?1, ?2, " OUTSEAL_LITE_NOW ") ON CONFLICT DO NOTHING",
                           .postgres =
                               "INSERT INTO outseal.inbox (stream, event_id, received_at)"
                               " VALUES ($1, $2, clock_timestamp()) ON CONFLICT DO NOTHING"};

bool insert_received(Connection& connection, std::string_view stream, const EventId& event) {
  return run(connection, kInsertReceived, stream, event.to_string()) == 1;
}

// stream, event id -> a row if it is there
const Text kIsReceived{
    .name = "is_received",
    .sqlite = "SELECT 1 FROM main.outseal_inbox WHERE stream = ?1 AND event_id = ?2",
    .postgres = "SELECT 1 FROM outseal.inbox WHERE stream = $1 AND event_id = $2"};

bool is_received(Connection& connection, std::string_view stream, const EventId& event) {
  return find_row(connection, kIsReceived, column<bool>, stream, event.to_string()).has_value();
}

// received before, rows at most
const Text kPurgeReceived{
    .name = "purge_received",
    .sqlite =
        "DELETE FROM main.outseal_inbox WHERE (stream, event_id) IN (SELECT stream, event_id"
        " FROM main.outseal_inbox WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)",
    .postgres = "SELECT FROM outseal.purge_received($1, $2)",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::int64_t purge_received(Connection& connection, std::int64_t before_ms, std::int64_t rows_max) {
  return run(connection, kPurgeReceived, before_ms, rows_max);
}

// stream, position, event id, id of the event before or ''
const Text kMoveInboxPosition{
    .name = "move_inbox_position",
    .sqlite =
        "UPDATE main.outseal_inbox_position SET position = ?2, last_event_id = ?3,"
        " updated_at = " OUTSEAL_LITE_NOW
        " WHERE stream = ?1 AND position = ?2 - 1"
        " AND last_event_id = ?4",
    .postgres =
        "UPDATE outseal.inbox_position SET position = $2, last_event_id = $3,"
        " updated_at = clock_timestamp() WHERE stream = $1 AND position = $2::bigint - 1"
        " AND last_event_id IS NOT DISTINCT FROM nullif($4, '')::uuid"};

bool move_inbox_position(Connection& connection, std::string_view stream,
                         const StreamEvent& event) {
  return run(connection, kMoveInboxPosition, stream, event.position, event.id.to_string(),
             id_text(event.previous_id)) == 1;
}

// stream -> position, last event id. On PostgreSQL as it is when all who are changing it have
// ended; on SQLite whoever writes has locked out all others already.
const Text kLockInboxPosition{
    .name = "lock_inbox_position",
    .sqlite = "SELECT position, last_event_id FROM main.outseal_inbox_position WHERE stream = ?1",
    .postgres =
        "SELECT position, last_event_id FROM outseal.inbox_position WHERE stream = $1"
        " FOR UPDATE"};

std::optional<Tail> lock_inbox_position(Connection& connection, std::string_view stream) {
  const auto read = [](Columns& columns) {
    Tail last;
    columns >> last.position >> last.event_id;
    return last;
  };
  return find_row(connection, kLockInboxPosition, read, stream);
}

// stream
const Text kInsertInboxPosition{
    .name = "insert_inbox_position",
    .sqlite =
        "INSERT INTO main.outseal_inbox_position (stream, updated_at) VALUES (?1, " OUTSEAL_LITE_NOW
        ") ON CONFLICT DO NOTHING",
    .postgres =
        "INSERT INTO outseal.inbox_position (stream, updated_at)"
        " VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING"};

void insert_inbox_position(Connection& connection, std::string_view stream) {
  run(connection, kInsertInboxPosition, stream);
}

// stream -> position, the tail's position or 0: all up to there is in sight of the statements that
// follow. Workers take turns from here to the end of their transactions.
const Text kLockInboxCursor{
    .name = "lock_inbox_cursor",
    .sqlite =
        "SELECT c.position, coalesce((SELECT t.position FROM main.outseal_inbox_tail t"
        " WHERE t.stream = ?1), 0) FROM main.outseal_inbox_cursor c WHERE c.stream = ?1",
    .postgres =
        "SELECT c.position, coalesce((SELECT t.position FROM outseal.inbox_tail t"
        " WHERE t.stream = $1), 0) FROM outseal.inbox_cursor c WHERE c.stream = $1 FOR UPDATE"};

std::optional<InboxCursor> lock_inbox_cursor(Connection& connection, std::string_view stream) {
  const auto read = [](Columns& columns) {
    InboxCursor cursor;
    columns >> cursor.taken >> cursor.put;
    return cursor;
  };
  return find_row(connection, kLockInboxCursor, read, stream);
}

// stream
const Text kInsertInboxCursor{
    .name = "insert_inbox_cursor",
    .sqlite =
        "INSERT INTO main.outseal_inbox_cursor (stream, updated_at) VALUES (?1, " OUTSEAL_LITE_NOW
        ") ON CONFLICT DO NOTHING",
    .postgres =
        "INSERT INTO outseal.inbox_cursor (stream, updated_at)"
        " VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING"};

void insert_inbox_cursor(Connection& connection, std::string_view stream) {
  run(connection, kInsertInboxCursor, stream);
}

// stream, from position, to position
const Text kMoveInboxCursor{
    .name = "move_inbox_cursor",
    .sqlite = "UPDATE main.outseal_inbox_cursor SET position = ?3, updated_at = " OUTSEAL_LITE_NOW
              " WHERE stream = ?1 AND position = ?2",
    .postgres =
        "UPDATE outseal.inbox_cursor SET position = $3, updated_at = clock_timestamp()"
        " WHERE stream = $1 AND position = $2"};

void move_inbox_cursor(Connection& connection, std::string_view stream, Position from,
                       Position to) {
  run(connection, kMoveInboxCursor, stream, from, to);
}

// stream, after position, rows at most
const Text kListInbox{
    .name = "list_inbox",
    .sqlite = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
              " FROM main.outseal_inbox_event WHERE stream = ?1 AND position > ?2"
              " ORDER BY position LIMIT ?3",
    .postgres = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
                " FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
                " ORDER BY position LIMIT $3"};

std::vector<InboxEvent> list_inbox(Connection& connection, std::string_view stream, Position after,
                                   std::int64_t rows_max) {
  return list_rows(connection, kListInbox, read_event, stream, after, rows_max);
}

// stream -> other streams, unless a relay has delivered into that one
const Text kListStreamsBut{
    .name = "list_streams_but",
    .sqlite =
        "SELECT stream FROM main.outseal_inbox_tail WHERE NOT EXISTS (SELECT 1"
        " FROM main.outseal_inbox_tail WHERE stream = ?1) ORDER BY stream LIMIT 10",
    .postgres =
        "SELECT stream FROM outseal.inbox_tail WHERE NOT EXISTS (SELECT 1"
        " FROM outseal.inbox_tail WHERE stream = $1) ORDER BY stream LIMIT 10"};

std::vector<std::string> list_streams_but(Connection& connection, std::string_view stream) {
  return list_rows(connection, kListStreamsBut, column<std::string>, stream);
}

// stream, received before, rows at most. Looks no further than the rows that may go at once.
const Text kPurgeTaken{
    .name = "purge_taken",
    .sqlite =
        "DELETE FROM main.outseal_inbox_event WHERE stream = ?1 AND position IN ("
        "SELECT w.position FROM (SELECT e.position, e.received_at FROM main.outseal_inbox_event e"
        "  WHERE e.stream = ?1 AND e.position <= (SELECT c.position"
        "   FROM main.outseal_inbox_cursor c WHERE c.stream = ?1)"
        "  ORDER BY e.position LIMIT ?3) w WHERE w.received_at < ?2)",
    .postgres = "SELECT FROM outseal.purge_taken($1, $2, $3)",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::int64_t purge_taken(Connection& connection, std::string_view stream, std::int64_t before_ms,
                         std::int64_t rows_max) {
  return run(connection, kPurgeTaken, stream, before_ms, rows_max);
}

// On SQLite BEGIN IMMEDIATE has excluded all other writers already.
const Text kLockInbox{.name = "lock_inbox",
                      .sqlite = "SELECT 1",
                      .postgres =
                          "LOCK TABLE outseal.inbox, outseal.inbox_position, outseal.inbox_tail,"
                          " outseal.inbox_event, outseal.inbox_cursor IN ACCESS EXCLUSIVE MODE"};

void lock_inbox(Connection& connection) { run(connection, kLockInbox); }

// -> 0 or 1. Who has put events here has a position.
const Text kAnyReceived{
    .name = "any_received",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM main.outseal_inbox)"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_position WHERE position > 0)"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_tail WHERE position > 0)",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.inbox)"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_position WHERE position > 0)"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_tail WHERE position > 0)"};

bool any_received(Connection& connection) { return get_value<bool>(connection, kAnyReceived); }

}  // namespace outseal::sql
