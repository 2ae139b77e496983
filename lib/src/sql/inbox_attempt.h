// Events of the inbox whose handler was begun, and those that were set aside. All of it belongs to
// a caller's transaction. What is about events that a relay put there is for whoever holds the lock
// of their stream's cursor (lock_inbox_cursor()): then nobody else begins, parks or redrives them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/inbox.h"
#include "sql/connection.h"

namespace outseal::sql {

/// An event, and where it stands if a relay put it into this database.
struct AttemptedEvent {
  EventId id;
  std::optional<Position> position = {};
  std::string key = {};
};

/// A row of the table. One that is finished has none.
struct AttemptRow {
  ParkedState state = ParkedState::trying;
  bool behind = false;  ///< It did not fail itself.
  AttemptedEvent event = {};
  std::uint32_t attempts = 0;
  EventId attempt = {};    ///< The one that was begun and has not been reported as failed; or nil.
  bool is_recent = false;  ///< It was begun a moment ago: less than the time that was asked for.
  std::string reason = {};
};
/// Locks the row; nothing if there is none.
std::optional<AttemptRow> lock_attempt(Connection& connection, std::string_view stream,
                                       const EventId& event, std::chrono::milliseconds recent = {});

/// Makes the row of a first attempt; waits for whoever makes it at this moment. A crash of the
/// database may undo it, if it is all that the transaction does. @returns whether it is made.
bool insert_attempt(Connection& connection, std::string_view stream, const AttemptedEvent& event,
                    const EventId& attempt);
/// The number of the attempt, and which one it is; as insert_attempt().
void renew_attempt(Connection& connection, std::string_view stream, const EventId& event,
                   std::uint32_t number, const EventId& attempt);
/// Notes why that attempt failed, unless another one has begun since.
void fail_attempt(Connection& connection, std::string_view stream, const EventId& event,
                  const EventId& attempt, std::string_view reason);
/// The event is handled, or its discarding carried out: forgets it. @returns whether it was there.
bool finish_attempt(Connection& connection, std::string_view stream, const EventId& event);

/// Sets an event aside that was begun, and behind it what is queued of its key.
bool park_attempt(Connection& connection, std::string_view stream, const EventId& event,
                  std::string_view reason);
/// Sets the event at that position aside behind those of its key: queued if all of them are.
bool park_behind(Connection& connection, std::string_view stream, Position position);
/// Whether an event of that key is set aside.
bool is_inbox_key_blocked(Connection& connection, std::string_view stream, std::string_view key);

// --- What is next --------------------------------------------------------------------------------

/// Whether there is anything to take; no lock is needed.
bool is_inbox_due(Connection& connection, std::string_view stream);
/// The first of the events after that position, and where the next `rows_max` of them end.
struct NextInbox {
  AttemptedEvent first;
  Position last;
};
std::optional<NextInbox> find_next_inbox(Connection& connection, std::string_view stream,
                                         Position after, std::int64_t rows_max);
/// The first event that is to be tried again.
std::optional<AttemptedEvent> find_queued_inbox(Connection& connection, std::string_view stream);
/// Notes that a batch up to there has begun; as insert_attempt().
void note_inbox_batch(Connection& connection, std::string_view stream, Position last);

// --- What an operator decides --------------------------------------------------------------------

/// At most `rows_max` events that are set aside or discarded, by their ids, after that one.
std::vector<outseal::ParkedEvent> list_parked_inbox(Connection& connection, std::string_view stream,
                                                    const EventId& after, std::int64_t rows_max);
/// The event of the key that is parked because it failed itself, before that position.
std::optional<EventId> find_parked_before(Connection& connection, std::string_view stream,
                                          std::string_view key, Position before);
/// Queues a parked event. @returns how many: 1 or 0.
std::int64_t queue_parked(Connection& connection, std::string_view stream, const EventId& event);
/// Queues what is parked behind that position, up to the next event of the key that failed itself.
std::int64_t queue_behind(Connection& connection, std::string_view stream, std::string_view key,
                          Position position);
std::int64_t queue_all_parked(Connection& connection, std::string_view stream);
std::int64_t discard_parked(Connection& connection, std::string_view stream, const EventId& event,
                            std::string_view reason);

}  // namespace outseal::sql
