// SQLite's statements for the inbox: the receiver's memory, and the sink that fills it.
#include "sql/query.h"

namespace outseal::sql::sqlite {
namespace {

// Columns of an event, in the order in which store/event_row.h takes them.
#define OUTSEAL_INBOX_COLUMNS \
  "position, event_id, topic, key, type, headers, payload, content_type, created_at"

// Milliseconds since 1970 UTC; the same clock as Connection::now_ms().
#define OUTSEAL_NOW                                 \
  "CAST(strftime('%s', 'now') AS INTEGER) * 1000 +" \
  " CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER)"

std::string_view receive_text(Query query) {
  switch (query) {
    // stream, event id
    case Query::receive_event:
      return "INSERT INTO outseal_inbox (stream, event_id, received_at)"
             " VALUES (?1, ?2, " OUTSEAL_NOW ") ON CONFLICT DO NOTHING";
    // stream, position, event id, id of the event before or ''
    case Query::receive_position:
      return "UPDATE outseal_inbox_position SET position = ?2, last_event_id = ?3,"
             " updated_at = " OUTSEAL_NOW
             " WHERE stream = ?1 AND position = ?2 - 1"
             " AND last_event_id = ?4";
    // stream
    case Query::insert_inbox_position:
      return "INSERT INTO outseal_inbox_position (stream, updated_at) VALUES (?1, " OUTSEAL_NOW
             ") ON CONFLICT DO NOTHING";
    // stream -> position, last event id. Whoever writes has locked out all others already.
    case Query::read_inbox_position:
    case Query::lock_inbox_position:
      return "SELECT position, last_event_id FROM outseal_inbox_position WHERE stream = ?1";
    // stream -> position
    case Query::lock_inbox_cursor:
      return "SELECT position FROM outseal_inbox_cursor WHERE stream = ?1";
    // stream
    case Query::insert_inbox_cursor:
      return "INSERT INTO outseal_inbox_cursor (stream, updated_at) VALUES (?1, " OUTSEAL_NOW
             ") ON CONFLICT DO NOTHING";
    // stream, from position, to position
    case Query::move_inbox_cursor:
      return "UPDATE outseal_inbox_cursor SET position = ?3, updated_at = " OUTSEAL_NOW
             " WHERE stream = ?1 AND position = ?2";
    // stream, after position, rows at most
    case Query::read_inbox:
    case Query::read_inbox_page:
      return "SELECT " OUTSEAL_INBOX_COLUMNS
             " FROM outseal_inbox_event WHERE stream = ?1 AND position > ?2"
             " ORDER BY position LIMIT ?3";
    // stream, position -> payload
    case Query::read_inbox_payload:
      return "SELECT payload FROM outseal_inbox_event WHERE stream = ?1 AND position = ?2";
    // received before, rows at most
    case Query::purge_received:
      return "DELETE FROM outseal_inbox WHERE (stream, event_id) IN (SELECT stream, event_id"
             " FROM outseal_inbox WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)";
    // stream, received before, rows at most. Looks no further than the rows that may go at once.
    case Query::purge_taken:
      return "DELETE FROM outseal_inbox_event WHERE stream = ?1 AND position IN (SELECT w.position"
             " FROM (SELECT e.position, e.received_at FROM outseal_inbox_event e"
             "  WHERE e.stream = ?1 AND e.position <= (SELECT c.position"
             "   FROM outseal_inbox_cursor c WHERE c.stream = ?1)"
             "  ORDER BY e.position LIMIT ?3) w WHERE w.received_at < ?2)";
    default:
      return {};
  }
}

std::string_view sink_text(Query query) {
  switch (query) {
    // -> 1 if it is a standby, 1 if the user may not write, 1 if a text may not fit, 1 if commits
    //   are not durable: none of it can be
    case Query::inbox_trouble:
      return "SELECT 0, 0, 0, 0";
    // stream, position, event id; new position, its event id, now. Inserts nothing.
    case Query::move_inbox_tail:
      return "UPDATE outseal_inbox_position SET position = ?4, last_event_id = ?5, updated_at = ?6"
             " WHERE stream = ?1 AND position = ?2 AND last_event_id = ?3";
    // stream, position, event id, topic, key, type, headers, payload, content type, created at, now
    case Query::insert_inbox_event:
      return "INSERT INTO outseal_inbox_event (stream, " OUTSEAL_INBOX_COLUMNS
             ", received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    // BEGIN IMMEDIATE has excluded all other writers already.
    case Query::lock_inbox:
      return "SELECT 1";
    // -> 0 or 1. Who has put events here has a position.
    case Query::any_received:
      return "SELECT EXISTS (SELECT 1 FROM outseal_inbox)"
             " OR EXISTS (SELECT 1 FROM outseal_inbox_position WHERE position > 0)";
    default:
      return {};
  }
}

}  // namespace

std::string_view inbox_text(Query query) {
  const std::string_view found = receive_text(query);
  return found.empty() ? sink_text(query) : found;
}

}  // namespace outseal::sql::sqlite
