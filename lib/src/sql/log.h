// The log in the order of its numbers: how SQLite's is read. PostgreSQL's: sql/window.h.
#pragma once

#include <cstddef>
#include <optional>

#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::sql {

/// The oldest event that retention left; where a new subscription starts.
std::optional<Seq> find_oldest_event(Connection& connection);

// SQLite. Rows are events (event_row.h), in order; whoever steps through a statement resets it.

/// At most `rows_max` events after `after`.
/// Its step() throws an Error whose detail_code is Connection::kTooBig at one with a text that is
/// longer than is ever read; then read_log_apart() goes on.
Statement& read_log(Connection& connection, Seq after, std::size_t rows_max);
/// The same without payloads that are text.
Statement& read_log_apart(Connection& connection, Seq after, std::size_t rows_max);
/// All events after `after` and not behind `up_to`.
Statement& read_log_range(Connection& connection, Seq after, Seq up_to);

/// SQLite: whether the next event may get a number that a cursor at `passed` is behind already.
bool is_log_behind(Connection& connection, Seq passed);

// Inside the caller's transaction:

/// The event is read anew by every subscription, behind all others.
void renumber_event(Connection& connection, Seq seq);
/// SQLite: the next event gets a number that no cursor has passed.
void raise_numbers(Connection& connection);

}  // namespace outseal::sql
