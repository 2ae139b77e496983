#include "sql/inbox.h"

#include "sql/inbox_row.h"
#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

using std::chrono::milliseconds;

InboxEvent copy_event(const InboxRow& row) {
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

Tail read_last(Columns& columns) {
  Tail last;
  columns >> last.position >> last.event_id;
  return last;
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

// received before. On PostgreSQL the function that follows does it.
const Text kPurgeMessageAttempts{.name = "purge_message_attempts",
                                 .sqlite =
                                     "DELETE FROM main.outseal_inbox_attempt WHERE position IS NULL"
                                     " AND state IN ('trying', 'discarded') AND changed_at < ?1"};

// received before, rows at most
const Text kPurgeReceived{
    .name = "purge_received",
    .sqlite =
        "DELETE FROM main.outseal_inbox WHERE (stream, event_id) IN (SELECT stream, event_id"
        " FROM main.outseal_inbox WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)",
    .postgres = "SELECT FROM outseal.purge_received($1, $2)",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::int64_t purge_received(Connection& connection, std::int64_t before_ms, std::int64_t rows_max) {
  if (!connection.pipelines()) run(connection, kPurgeMessageAttempts, before_ms);
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
  return find_row(connection, kLockInboxPosition, read_last, stream);
}

// stream -> as kLockInboxPosition
const Text kReadInboxPosition{
    .name = "read_inbox_position",
    .sqlite = "SELECT position, last_event_id FROM main.outseal_inbox_position WHERE stream = ?1",
    .postgres = "SELECT position, last_event_id FROM outseal.inbox_position WHERE stream = $1"};

Tail read_inbox_position(Connection& connection, std::string_view stream) {
  return find_row(connection, kReadInboxPosition, read_last, stream).value_or(Tail{});
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

// stream -> position, the tail's position or 0 (all up to there is in sight of the statements that
// follow), the end of the last batch, whether any event is set aside. Workers take turns from here
// to the end of their transactions.
const Text kLockInboxCursor{
    .name = "lock_inbox_cursor",
    .postgres = "SELECT FROM outseal.inbox_cursor WHERE stream = $1 FOR UPDATE"};
const Text kReadInboxCursor{
    .name = "read_inbox_cursor",
    .sqlite =
        "SELECT c.position, coalesce((SELECT t.position FROM main.outseal_inbox_tail t"
        " WHERE t.stream = ?1), 0), c.tried_to, EXISTS (SELECT 1 FROM main.outseal_inbox_attempt a"
        " WHERE a.stream = ?1 AND a.state IN ('parked', 'queued'))"
        " FROM main.outseal_inbox_cursor c WHERE c.stream = ?1",
    .postgres =
        "SELECT c.position, coalesce((SELECT t.position FROM outseal.inbox_tail t"
        " WHERE t.stream = $1), 0), c.tried_to, EXISTS (SELECT 1 FROM outseal.inbox_attempt a"
        " WHERE a.stream = $1 AND a.state IN ('parked', 'queued'))::int"
        " FROM outseal.inbox_cursor c WHERE c.stream = $1"};

std::optional<InboxCursor> lock_inbox_cursor(Connection& connection, std::string_view stream) {
  // In a statement of its own. One that has waited for the lock sees the locked row as it is now,
  // but everything beside it as it was before: what was just parked would be missed.
  // A row that only that one sees was made meanwhile, and is not locked.
  if (connection.pipelines() && run(connection, kLockInboxCursor, stream) == 0) return std::nullopt;
  const auto read = [](Columns& columns) {
    InboxCursor cursor;
    columns >> cursor.taken >> cursor.put >> cursor.tried_to >> cursor.has_parked;
    return cursor;
  };
  return find_row(connection, kReadInboxCursor, read, stream);
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

// stream, from position, to position, end of the last batch
const Text kMoveInboxCursor{
    .name = "move_inbox_cursor",
    .sqlite =
        "UPDATE main.outseal_inbox_cursor SET position = ?3, tried_to = ?4,"
        " updated_at = " OUTSEAL_LITE_NOW " WHERE stream = ?1 AND position = ?2",
    .postgres =
        "UPDATE outseal.inbox_cursor SET position = $3, tried_to = $4,"
        " updated_at = clock_timestamp() WHERE stream = $1 AND position = $2"};

bool move_inbox_cursor(Connection& connection, std::string_view stream, const InboxCursor& from,
                       Position to) {
  return run(connection, kMoveInboxCursor, stream, from.taken, to, from.tried_to) == 1;
}

// PostgreSQL sends all rows at once, so it has to count the bytes itself.
#define OUTSEAL_INBOX_BYTES                                                     \
  ", sum(octet_length(payload) + octet_length(headers::text)) OVER w AS bytes," \
  " row_number() OVER w AS number"
#define OUTSEAL_INBOX_WITHIN_BYTES                            \
  " WINDOW w AS (ORDER BY position ROWS UNBOUNDED PRECEDING)" \
  " ORDER BY position LIMIT $3) e WHERE number = 1 OR bytes <= $4 ORDER BY position"

// stream, after position, rows at most, bytes at most
const Text kListInbox{
    .name = "list_inbox",
    .sqlite = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
              " FROM main.outseal_inbox_event WHERE stream = ?1 AND position > ?2"
              " ORDER BY position LIMIT ?3",
    .postgres = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
                " FROM (SELECT " OUTSEAL_INBOX_COLUMNS("payload") OUTSEAL_INBOX_BYTES
                " FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
                OUTSEAL_INBOX_WITHIN_BYTES};

// stream, 0, rows at most, bytes at most
const Text kListQueuedInbox{
    .name = "list_queued_inbox",
    .sqlite = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
              " FROM main.outseal_inbox_event WHERE stream = ?1 AND position > ?2 AND position IN"
              " (SELECT a.position FROM main.outseal_inbox_attempt a WHERE a.stream = ?1"
              "  AND a.state IN ('parked', 'queued') AND a.state = 'queued')"
              " ORDER BY position LIMIT ?3",
    .postgres = "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
                " FROM (SELECT " OUTSEAL_INBOX_COLUMNS("payload") OUTSEAL_INBOX_BYTES
                " FROM outseal.inbox_event WHERE stream = $1 AND position > $2 AND position = ANY"
                " (ARRAY (SELECT a.position FROM outseal.inbox_attempt a WHERE a.stream = $1"
                "  AND a.state IN ('parked', 'queued') AND a.state = 'queued'))"
                OUTSEAL_INBOX_WITHIN_BYTES};

namespace {

std::vector<InboxEvent> list_within(Connection& connection, const Text& text,
                                    std::string_view stream, Position after,
                                    const TakeOptions& limits) {
  std::vector<InboxEvent> events;
  const auto rows_max = static_cast<std::int64_t>(limits.events_max);
  const auto bytes_max = static_cast<std::int64_t>(limits.bytes_max);
  Statement& statement = connection.pipelines()
                             ? bind_statement(connection, text, stream, after, rows_max, bytes_max)
                             : bind_statement(connection, text, stream, after, rows_max);
  const StatementScope scope{statement};
  std::size_t bytes = 0;
  while (statement.step()) {
    const InboxRow row = inbox_row(statement);
    bytes += row.event.payload.size() + row.event.headers.size();
    // On PostgreSQL the statement has seen to it.
    if (!connection.pipelines() && !events.empty() && bytes > limits.bytes_max) break;
    events.push_back(copy_event(row));
  }
  return events;
}

}  // namespace

std::vector<InboxEvent> list_inbox(Connection& connection, std::string_view stream, Position after,
                                   const TakeOptions& limits) {
  return list_within(connection, kListInbox, stream, after, limits);
}

std::vector<InboxEvent> list_queued_inbox(Connection& connection, std::string_view stream,
                                          const TakeOptions& limits) {
  return list_within(connection, kListQueuedInbox, stream, Position{}, limits);
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

// stream, before; as kPurgeMessageAttempts. An attempt of an event that is taken is one that
// another worker overtook.
const Text kPurgeTakenAttempts{
    .name = "purge_taken_attempts",
    .sqlite =
        "DELETE FROM main.outseal_inbox_attempt WHERE stream = ?1 AND changed_at < ?2"
        " AND state IN ('trying', 'discarded') AND position <= (SELECT c.position"
        "  FROM main.outseal_inbox_cursor c WHERE c.stream = ?1)"};

// stream, received before, rows at most. Looks no further than the rows that may go at once.
const Text kPurgeTaken{
    .name = "purge_taken",
    .sqlite =
        "DELETE FROM main.outseal_inbox_event WHERE stream = ?1 AND position IN ("
        "SELECT w.position FROM (SELECT e.position, e.received_at FROM main.outseal_inbox_event e"
        "  WHERE e.stream = ?1 AND e.position <= (SELECT c.position"
        "   FROM main.outseal_inbox_cursor c WHERE c.stream = ?1)"
        "  AND NOT EXISTS (SELECT 1 FROM main.outseal_inbox_attempt a WHERE a.stream = ?1"
        "   AND a.position = e.position AND a.state IN ('parked', 'queued'))"
        "  ORDER BY e.position LIMIT ?3) w WHERE w.received_at < ?2)",
    .postgres = "SELECT FROM outseal.purge_taken($1, $2, $3)",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::int64_t purge_taken(Connection& connection, std::string_view stream, std::int64_t before_ms,
                         std::int64_t rows_max) {
  if (!connection.pipelines()) run(connection, kPurgeTakenAttempts, stream, before_ms);
  return run(connection, kPurgeTaken, stream, before_ms, rows_max);
}

// On SQLite BEGIN IMMEDIATE has excluded all other writers already.
const Text kLockInbox{.name = "lock_inbox",
                      .sqlite = "SELECT 1",
                      .postgres =
                          "LOCK TABLE outseal.inbox, outseal.inbox_position, outseal.inbox_tail,"
                          " outseal.inbox_event, outseal.inbox_cursor, outseal.inbox_attempt"
                          " IN ACCESS EXCLUSIVE MODE"};

void lock_inbox(Connection& connection) { run(connection, kLockInbox); }

// -> 0 or 1. Who has put events here has a position.
const Text kAnyReceived{
    .name = "any_received",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM main.outseal_inbox)"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_position WHERE position > 0)"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_tail WHERE position > 0)"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_attempt WHERE state <> 'trying')",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.inbox)"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_position WHERE position > 0)"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_tail WHERE position > 0)"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_attempt WHERE state <> 'trying')"};

bool any_received(Connection& connection) { return get_value<bool>(connection, kAnyReceived); }

}  // namespace outseal::sql
