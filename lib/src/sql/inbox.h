// The inbox as a receiver uses it: what it has received, and how far it has taken what a relay put
// there. All but the purges and lock_inbox() belong to the receiver's own transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "outseal/inbox.h"
#include "sql/connection.h"

namespace outseal::sql {

// --- By id ---------------------------------------------------------------------------------------

/// Notes an event as received, unless it has been before. Waits for a transaction that has noted
/// the same; above READ COMMITTED it fails if that one commits. @returns whether it is stored.
bool insert_received(Connection& connection, std::string_view stream, const EventId& event);
bool is_received(Connection& connection, std::string_view stream, const EventId& event);
/// Forgets at most `rows_max` events that were received before that time. @returns how many.
std::int64_t purge_received(Connection& connection, std::int64_t before_ms, std::int64_t rows_max);

// --- By position ---------------------------------------------------------------------------------

/// Moves the stream to `event` if the last one is the one before it. @returns whether it was.
bool move_inbox_position(Connection& connection, std::string_view stream, const StreamEvent& event);
/// The last event, as it is when all who are changing it have ended, and nobody changes it any
/// more; nothing for a new stream.
std::optional<Tail> lock_inbox_position(Connection& connection, std::string_view stream);
/// The last event as this statement sees it, without a lock.
Tail read_inbox_position(Connection& connection, std::string_view stream);
/// Makes the row of a new stream; waits for whoever makes it at this moment.
void insert_inbox_position(Connection& connection, std::string_view stream);

// --- Out of this database ------------------------------------------------------------------------

struct InboxCursor {
  Position taken;     ///< How far the service has come.
  Position put;       ///< How far the relay has: all up to there is in sight of later statements.
  Position tried_to;  ///< Where the last batch ends that was begun.
  bool has_parked = false;  ///< Whether any event is set aside or queued.
};
/// Workers take turns from here to the end of their transactions. Nothing for a new stream.
std::optional<InboxCursor> lock_inbox_cursor(Connection& connection, std::string_view stream);
/// As insert_inbox_position().
void insert_inbox_cursor(Connection& connection, std::string_view stream);
/// Moves the cursor, and notes where the last batch ends. @returns whether it was at `from`.
bool move_inbox_cursor(Connection& connection, std::string_view stream, const InboxCursor& from,
                       Position to);

/// At most `events_max` events after that position, in order, and of `bytes_max` bytes; but one in
/// any case.
std::vector<InboxEvent> list_inbox(Connection& connection, std::string_view stream, Position after,
                                   const TakeOptions& limits);
/// The same of those that are queued to be tried again.
std::vector<InboxEvent> list_queued_inbox(Connection& connection, std::string_view stream,
                                          const TakeOptions& limits);
/// Some of the streams that relays have delivered into, unless that one is among them.
std::vector<std::string> list_streams_but(Connection& connection, std::string_view stream);
/// Deletes at most `rows_max` events that were taken and came before that time. @returns how many.
std::int64_t purge_taken(Connection& connection, std::string_view stream, std::int64_t before_ms,
                         std::int64_t rows_max);

// --- For migrations ------------------------------------------------------------------------------

/// Nothing is received from here to the end of the transaction.
void lock_inbox(Connection& connection);
/// Whether anything was ever received, or put there.
bool any_received(Connection& connection);

}  // namespace outseal::sql
