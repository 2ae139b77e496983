// The inbox as the sink of a relay fills it and reads it back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/batch.h"
#include "sql/connection.h"

namespace outseal::sql {

/// What rules a server out as an inbox; SQLite has none of it.
struct InboxTrouble {
  bool is_standby = false;
  bool is_denied = false;        ///< The user may not write.
  bool loses_committed = false;  ///< Commits are not durable whatever a session asks for.
};
InboxTrouble find_inbox_trouble(Connection& connection);
/// Which database it is, whatever name and port it was reached by; empty if its path says so.
std::string read_inbox_identity(Connection& connection);

// --- The tail ------------------------------------------------------------------------------------

/// Makes the row of a new stream: nothing is stored yet.
void insert_inbox_tail(Connection& connection, std::string_view stream);
/// The last event that was put there.
Tail read_inbox_tail(Connection& connection, std::string_view stream);

/// Where the tail has to be, and where it goes.
struct TailMove {
  std::string_view stream;
  Tail from;
  Tail to;
};
/// PostgreSQL: moves the tail and stores `events` behind it, in a durable transaction of its own
/// and one round trip. @returns false if the tail is elsewhere: then nothing is stored.
bool append_inbox(Connection& connection, const TailMove& move, std::span<const EventRow> events);
/// SQLite, inside the caller's transaction: only moves the tail. @returns as append_inbox().
bool move_inbox_tail(Connection& connection, const TailMove& move, std::int64_t now_ms);
/// SQLite, inside the caller's transaction: stores an event at that position.
void insert_inbox_event(Connection& connection, std::string_view stream, Position position,
                        const EventRow& event, std::int64_t now_ms);

// --- Reading -------------------------------------------------------------------------------------

/// Where that event is.
std::optional<Position> find_inbox_event(Connection& connection, std::string_view stream,
                                         const EventId& event);

/// An event as views into the database driver's memory: valid until the next step of its statement.
struct InboxRow {
  Position position;
  EventRow event;           ///< Its seq is 0.
  bool has_payload = true;  ///< Else complete() has to read it.
};
/// The statement that reads at most `rows_max` events after that position, in order, bound;
/// `stream` must outlive its use. Rows come all at once on PostgreSQL, so large payloads stay
/// behind.
Statement& read_inbox_page(Connection& connection, std::string_view stream, Position after,
                           std::int64_t rows_max);
/// The current row of what read_inbox_page() has bound.
InboxRow inbox_row(const Statement& row);
/// Reads the payload of `row` if it did not come with it; then it lives in `large`.
/// @returns false if the event is no longer there.
bool complete(Connection& connection, std::string_view stream, InboxRow& row,
              std::optional<StatementScope>& large);

}  // namespace outseal::sql
