// The receiver's side: what was received is remembered in the transaction of its effect.
#include "outseal/inbox.h"

#include <functional>
#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "model/batch.h"
#include "outseal/error.h"
#include "store/event_row.h"
#include "store/transaction.h"

namespace outseal {
namespace {

using sql::Query;

[[noreturn]] void refuse_argument(std::string_view operation, std::string_view message,
                                  std::string hint) {
  throw Error{ErrorCode::invalid_argument, operation, message, {.hint = std::move(hint)}};
}

void check_stream(std::string_view operation, std::string_view stream) {
  if (stream.empty() || stream.size() > kStreamBytesMax || !is_utf8(stream) ||
      stream.find('\0') != std::string_view::npos)
    refuse_argument(operation, "the stream is not a text of 1 to 1024 bytes in UTF-8",
                    "give the name that the sender uses, for example \"/outseal/main#main\"");
}

void check_id(std::string_view operation, const EventId& id) {
  if (id.is_nil()) refuse_argument(operation, "the event id is nil", "give the event's own id");
}

/// The connection of a transaction that is still open: outside of any, what is written now would
/// stand alone.
sql::Connection& open_connection(std::string_view operation, Transaction& tx) {
  sql::Connection& connection = store::connection_of(tx);
  if (tx.impl().committed || !connection.in_transaction())
    refuse_argument(operation, "the transaction has ended",
                    "an earlier error or ROLLBACK ended it: begin a new one");
  return connection;
}

std::int64_t as_number(Position position) { return static_cast<std::int64_t>(position.value()); }
Position as_position(std::int64_t number) { return Position{static_cast<std::uint64_t>(number)}; }

[[noreturn]] void refuse_order(const InOrder& event, const Tail& last) {
  throw Error{ErrorCode::refused,
              "receive",
              "event " + event.id.to_string() + " at position " +
                  std::to_string(event.position.value()) + " does not fit to event " +
                  last.event_id.to_string() + ", the last one, at position " +
                  std::to_string(last.position.value()),
              {.hint = "a relay that was replaced soon gives up; if it goes on, two senders use the"
                       " stream, or the sender's database was restored to an older state"}};
}

/// Moves the stream's row from the event before; false if it does not stand there.
bool move_position(sql::Connection& connection, std::string_view stream, const InOrder& event) {
  const std::string id = event.id.to_string();
  const std::string previous = event.previous_id.is_nil() ? "" : event.previous_id.to_string();
  const sql::Use move{connection.statement(Query::receive_position)};
  move->bind_text(0, stream);
  move->bind(1, as_number(event.position));
  move->bind_text(2, id);
  move->bind_text(3, previous);
  move->step();
  return connection.changes() == 1;
}

/// What the row of `stream` says, locked: nobody moves it any more. A row that is missing is made,
/// at position 0; that waits for whoever makes it at this moment.
template <typename Read>
auto lock_row(sql::Connection& connection, Query lock, Query insert, std::string_view stream,
              Read&& read) {
  for (;;) {
    {
      const sql::Use row{connection.statement(lock)};
      row->bind_text(0, stream);
      if (row->step()) return read(*row.operator->());
    }
    const sql::Use row{connection.statement(insert)};
    row->bind_text(0, stream);
    row->step();
  }
}

Tail lock_position(sql::Connection& connection, std::string_view stream) {
  return lock_row(connection, Query::lock_inbox_position, Query::insert_inbox_position, stream,
                  [](const sql::Statement& row) {
                    return Tail{as_position(row.integer(0)), row.event_id(1)};
                  });
}

Position lock_cursor(sql::Connection& connection, std::string_view stream) {
  return lock_row(connection, Query::lock_inbox_cursor, Query::insert_inbox_cursor, stream,
                  [](const sql::Statement& row) { return as_position(row.integer(0)); });
}

void move_cursor(sql::Connection& connection, std::string_view stream, Position from, Position to) {
  const sql::Use move{connection.statement(Query::move_inbox_cursor)};
  move->bind_text(0, stream);
  move->bind(1, as_number(from));
  move->bind(2, as_number(to));
  move->step();
  if (connection.changes() != 1)
    throw Error{ErrorCode::conflict,
                "take",
                "another worker moved the cursor",
                {.hint = "roll back and run the whole transaction again"}};
}

InboxEvent event_of(const sql::Statement& statement) {
  const EventRow row = store::event_row(statement);  // Its number is the position here.
  return {.position = as_position(row.seq.value()),
          .id = row.id,
          .topic = std::string{row.topic},
          .key = std::string{row.key},
          .type = std::string{row.type},
          .payload = std::string{row.payload},
          .content_type = std::string{row.content_type},
          .headers = std::string{row.headers},
          .created_at = std::chrono::sys_time<std::chrono::milliseconds>{
              std::chrono::milliseconds{row.created_at_ms}}};
}

/// Runs `remove`, given the rows at most, in transactions of their own until nothing is left.
std::uint64_t purge_in_steps(soci::session& session, const PurgeOptions& options,
                             const std::function<void(sql::Connection&, std::uint32_t)>& remove) {
  options.validate();
  std::uint64_t purged = 0;
  for (std::uint32_t step = 0; options.steps_max == 0 || step < options.steps_max; ++step) {
    Transaction tx{session};
    sql::Connection& connection = store::connection_of(tx);
    remove(connection, options.step_rows);
    const auto removed = static_cast<std::uint64_t>(connection.changes());
    tx.commit();
    purged += removed;
    if (removed < options.step_rows) break;
  }
  return purged;
}

void check_age(std::chrono::milliseconds age) {
  if (age.count() < 0) refuse_argument("purge", "the age is negative", "give 0 or more");
}

}  // namespace

bool receive(Transaction& tx, std::string_view stream, const EventId& id) {
  check_stream("receive", stream);
  check_id("receive", id);
  sql::Connection& connection = open_connection("receive", tx);
  const std::string text = id.to_string();
  const sql::Use insert{connection.statement(Query::receive_event)};
  insert->bind_text(0, stream);
  insert->bind_text(1, text);
  insert->step();
  return connection.changes() == 1;
}

std::string_view name_of(Arrival arrival) {
  switch (arrival) {
    case Arrival::fresh:
      return "fresh";
    case Arrival::duplicate:
      return "duplicate";
    case Arrival::gap:
      return "gap";
  }
  return "?";
}

Receipt receive_in_order(Transaction& tx, std::string_view stream, const InOrder& event) {
  check_stream("receive", stream);
  check_id("receive", event.id);
  const Position position = event.position;
  if (position == Position{})
    refuse_argument("receive", "the position is 0", "the first event of a stream has position 1");
  if (event.previous_id.is_nil() != (position == Position{1}))
    refuse_argument("receive", "the previous event is missing, or the first event has one",
                    "give the id of the event at the position before");
  sql::Connection& connection = open_connection("receive", tx);
  for (;;) {
    if (move_position(connection, stream, event)) return {Arrival::fresh, position};
    const Tail last = lock_position(connection, stream);
    if (position > advance(last.position)) return {Arrival::gap, last.position};
    const bool is_next = position == advance(last.position);
    if (is_next ? event.previous_id != last.event_id
                : position == last.position && event.id != last.event_id)
      refuse_order(event, last);
    if (!is_next) return {Arrival::duplicate, last.position};
    // A new stream, or the one before was received while this one waited for the row's lock.
  }
}

std::vector<InboxEvent> take(Transaction& tx, std::string_view stream, std::size_t events_max) {
  check_stream("take", stream);
  if (events_max == 0 || events_max > kTakeEventsMax)
    refuse_argument("take", "events_max is not between 1 and " + std::to_string(kTakeEventsMax),
                    "take fewer events, and more often");
  sql::Connection& connection = open_connection("take", tx);
  const Position from = lock_cursor(connection, stream);
  std::vector<InboxEvent> events;
  {
    sql::Statement& statement = connection.statement(Query::read_inbox);
    const sql::Use read{statement};
    read->bind_text(0, stream);
    read->bind(1, as_number(from));
    read->bind(2, static_cast<std::int64_t>(events_max));
    while (read->step()) {
      events.push_back(event_of(statement));
      const Position expected = advance(from, events.size());
      if (events.back().position != expected)
        throw Error{ErrorCode::refused,
                    "take",
                    "the inbox has no event at position " + std::to_string(expected.value()) +
                        ", but one at " + std::to_string(events.back().position.value()),
                    {.hint = "somebody deleted events that were not taken: restore them"}};
    }
  }
  if (events.empty()) return events;
  failpoint("inbox.before_move");
  move_cursor(connection, stream, from, events.back().position);
  failpoint("inbox.after_move");
  return events;
}

std::uint64_t purge_received(soci::session& session, std::chrono::milliseconds age,
                             const PurgeOptions& options) {
  check_age(age);
  return purge_in_steps(session, options, [&](sql::Connection& connection, std::uint32_t rows) {
    const sql::Use remove{connection.statement(Query::purge_received)};
    remove->bind(0, connection.now_ms() - age.count());
    remove->bind(1, rows);
    remove->step();
  });
}

std::uint64_t purge_taken(soci::session& session, std::string_view stream,
                          std::chrono::milliseconds age, const PurgeOptions& options) {
  check_age(age);
  check_stream("purge", stream);
  return purge_in_steps(session, options, [&](sql::Connection& connection, std::uint32_t rows) {
    const sql::Use remove{connection.statement(Query::purge_taken)};
    remove->bind_text(0, stream);
    remove->bind(1, connection.now_ms() - age.count());
    remove->bind(2, rows);
    remove->step();
  });
}

}  // namespace outseal
