// PostgreSQL's statements for the inbox: the receiver's memory, and the sink that fills it.
#include "sql/query.h"

namespace outseal::sql::postgres {
namespace {

// Columns of an event, in the order in which store/event_row.h takes them. Rows come all at once
// here, so a page leaves large payloads behind: they are NULL, and read one by one.
#define OUTSEAL_INBOX_COLUMNS(payload) \
  "position, event_id, topic, key, type, headers, " payload ", content_type, created_at"

std::string_view receive_text(Query query) {
  switch (query) {
    // stream, event id. Waits for a transaction that has inserted the same; above READ
    // COMMITTED it fails if that one commits.
    case Query::receive_event:
      return "INSERT INTO outseal.inbox (stream, event_id, received_at)"
             " VALUES ($1, $2, clock_timestamp()) ON CONFLICT DO NOTHING";
    // stream, position, event id, id of the event before or ''
    case Query::receive_position:
      return "UPDATE outseal.inbox_position SET position = $2, last_event_id = $3,"
             " updated_at = clock_timestamp() WHERE stream = $1 AND position = $2::bigint - 1"
             " AND last_event_id IS NOT DISTINCT FROM nullif($4, '')::uuid";
    // stream
    case Query::insert_inbox_position:
      return "INSERT INTO outseal.inbox_position (stream, updated_at)"
             " VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING";
    // stream -> position, last event id
    case Query::read_inbox_position:
      return "SELECT position, last_event_id FROM outseal.inbox_position WHERE stream = $1";
    // The same as it is when all who are changing it have ended.
    case Query::lock_inbox_position:
      return "SELECT position, last_event_id FROM outseal.inbox_position WHERE stream = $1"
             " FOR UPDATE";
    // stream -> position. Workers take turns from here to the end of their transactions.
    case Query::lock_inbox_cursor:
      return "SELECT position FROM outseal.inbox_cursor WHERE stream = $1 FOR UPDATE";
    // stream
    case Query::insert_inbox_cursor:
      return "INSERT INTO outseal.inbox_cursor (stream, updated_at)"
             " VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING";
    // stream, from position, to position
    case Query::move_inbox_cursor:
      return "UPDATE outseal.inbox_cursor SET position = $3, updated_at = clock_timestamp()"
             " WHERE stream = $1 AND position = $2";
    // stream, after position, rows at most
    case Query::read_inbox:
      return "SELECT " OUTSEAL_INBOX_COLUMNS("payload")
             " FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
             " ORDER BY position LIMIT $3";
    // received before, rows at most
    case Query::purge_received:
      return "DELETE FROM outseal.inbox i USING (SELECT stream, event_id FROM outseal.inbox"
             " WHERE received_at < to_timestamp($1::float8 / 1000)"
             " ORDER BY received_at LIMIT $2) old"
             " WHERE i.stream = old.stream AND i.event_id = old.event_id";
    // stream, received before, rows at most. Looks no further than the rows that may go at once.
    case Query::purge_taken:
      return "DELETE FROM outseal.inbox_event WHERE stream = $1 AND position = ANY (ARRAY ("
             " SELECT w.position FROM (SELECT e.position, e.received_at"
             "  FROM outseal.inbox_event e WHERE e.stream = $1 AND e.position <= (SELECT c.position"
             "   FROM outseal.inbox_cursor c WHERE c.stream = $1)"
             "  ORDER BY e.position LIMIT $3) w"
             " WHERE w.received_at < to_timestamp($2::float8 / 1000)))";
    default:
      return {};
  }
}

std::string_view sink_text(Query query) {
  switch (query) {
    // -> 1 if it is a standby, 1 if the user may not write, 1 if a text may not fit, 1 if commits
    //   are not durable whatever a session asks for
    case Query::inbox_trouble:
      return "SELECT pg_is_in_recovery(), NOT (has_table_privilege('outseal.inbox_event', 'INSERT')"
             " AND has_table_privilege('outseal.inbox_position', 'INSERT')"
             " AND has_table_privilege('outseal.inbox_position', 'UPDATE')),"
             " getdatabaseencoding() <> 'UTF8',"
             " 'off' IN (current_setting('fsync'), current_setting('full_page_writes'))";
    // stream, position, event id or '' before; new position, its event id; then as arrays: event
    //   ids, topics, keys, types, headers, payloads, content types, times. The position's
    //   compare-and-set and the rows as one statement, in one round trip; inserts nothing if
    //   another event is the last one.
    case Query::append_inbox:
      return "WITH moved AS (UPDATE outseal.inbox_position SET position = $4, last_event_id = $5,"
             " updated_at = now() WHERE stream = $1 AND position = $2::bigint"
             " AND last_event_id IS NOT DISTINCT FROM nullif($3, '')::uuid RETURNING stream)"
             " INSERT INTO outseal.inbox_event (stream, " OUTSEAL_INBOX_COLUMNS("payload")
             ", received_at) SELECT moved.stream, $2::bigint + e.place, e.event_id, e.topic,"
             " e.key, e.type, e.headers::json, e.payload, e.content_type,"
             " e.created_at, now() FROM moved, unnest($6::uuid[], $7::text[],"
             " $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::timestamptz[])"
             " WITH ORDINALITY AS e (event_id, topic, key, type, headers, payload, content_type,"
             " created_at, place)";
    // stream, after position, rows at most
    case Query::read_inbox_page:
      return "SELECT " OUTSEAL_INBOX_COLUMNS(
                 "CASE WHEN octet_length(payload) <= 2048 THEN payload END")
             " FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
             " ORDER BY position LIMIT $3";
    // stream, position -> payload
    case Query::read_inbox_payload:
      return "SELECT payload FROM outseal.inbox_event WHERE stream = $1 AND position = $2";
    // Nothing is received from here to the end of the transaction.
    case Query::lock_inbox:
      return "LOCK TABLE outseal.inbox, outseal.inbox_position, outseal.inbox_event,"
             " outseal.inbox_cursor IN ACCESS EXCLUSIVE MODE";
    // -> 0 or 1. Who has put events here has a position.
    case Query::any_received:
      return "SELECT EXISTS (SELECT 1 FROM outseal.inbox)"
             " OR EXISTS (SELECT 1 FROM outseal.inbox_position WHERE position > 0)";
    default:
      return {};
  }
}

}  // namespace

std::string_view inbox_text(Query query) {
  const std::string_view found = receive_text(query);
  return found.empty() ? sink_text(query) : found;
}

}  // namespace outseal::sql::postgres
