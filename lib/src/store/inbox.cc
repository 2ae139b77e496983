// The receiver's side: what was received is remembered in the transaction of its effect.
#include "outseal/inbox.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/inbox.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal {
namespace {

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
  tx.impl().require_open(operation);
  return store::connection_of(tx);
}

[[noreturn]] void refuse_order(const StreamEvent& event, const Tail& last) {
  throw Error{
      ErrorCode::refused,
      "receive",
      "event " + event.id.to_string() + " at position " + std::to_string(event.position.value()) +
          " does not fit to event " + last.event_id.to_string() + ", the last one, at position " +
          std::to_string(last.position.value()),
      {.hint = "a relay that was replaced soon gives up; if it goes on, two senders use the"
               " stream, or the sender's database was restored to an older state: compare with the"
               " position of outseal-relay status there"}};
}

/// A table with one row a stream.
struct StreamTable {
  std::string_view name;
  std::string_view operation;  ///< What uses it.
};
constexpr StreamTable kPositions{"inbox_position", "receive"};
constexpr StreamTable kCursors{"inbox_cursor", "take"};

/// What `lock` says of the stream: from then on nobody else moves it. A row that is missing is
/// made, at position 0; that waits for whoever makes it at this moment, and then it is there.
template <typename Lock, typename Insert>
auto lock_row(sql::Connection& connection, const StreamTable& table, std::string_view stream,
              Lock&& lock, Insert&& insert) {
  for (bool made = false;; made = true) {
    if (const auto row = lock(connection, stream)) return *row;
    insert(connection, stream);
    if (made) store::require_stored(connection, table.operation, table.name);
  }
}

/// Refuses a stream that no relay has ever delivered into, while there are others: nothing would
/// ever come.
void check_known(sql::Connection& connection, std::string_view stream) {
  std::string others;
  for (const std::string& other : sql::list_streams_but(connection, stream))
    others += (others.empty() ? "" : ", ") + other;
  if (others.empty()) return;
  refuse_argument("take",
                  "no relay has ever delivered into the stream '" + std::string{stream} + "'",
                  "the streams here are: " + others +
                      "; a stream is named EVENT_SOURCE#SUBSCRIPTION, as in outseal-relay status");
}

[[noreturn]] void refuse_hole(Position missing, Position later) {
  throw Error{ErrorCode::refused,
              "take",
              "the inbox has no event at position " + std::to_string(missing.value()) +
                  ", but the relay has come to " + std::to_string(later.value()),
              {.hint = "somebody deleted events that were not taken: restore them;"
                       " outseal-reconcile run at the sender lists which"}};
}

/// Runs `remove`, given the rows at most, in transactions of their own until nothing is left.
std::uint64_t purge_in_steps(
    soci::session& session, const PurgeOptions& options,
    const std::function<std::int64_t(sql::Connection&, std::uint32_t)>& remove) {
  options.validate();
  std::uint64_t purged = 0;
  for (std::uint32_t step = 0; options.steps_max == 0 || step < options.steps_max; ++step) {
    Transaction tx{session};
    const auto removed =
        static_cast<std::uint64_t>(remove(store::connection_of(tx), options.step_rows));
    tx.commit();
    purged += removed;
    if (removed < options.step_rows) break;
  }
  return purged;
}

/// `age` ago, or 1970: nothing is older, and not every number is a time.
std::int64_t time_ago(sql::Connection& connection, std::chrono::milliseconds age) {
  return std::max(connection.now_ms() - age.count(), std::int64_t{0});
}

void check_age(std::chrono::milliseconds age) {
  if (age.count() < 0) refuse_argument("purge", "the age is negative", "give 0 or more");
}

Receipt receive_next(Transaction& tx, std::string_view stream, const StreamEvent& event) {
  check_stream("receive", stream);
  check_id("receive", event.id);
  const Position position = event.position;
  if (position == Position{})
    refuse_argument("receive", "the position is 0", "the first event of a stream has position 1");
  if (event.previous_id.is_nil() != (position == Position{1}))
    refuse_argument("receive", "the previous event is missing, or the first event has one",
                    "give the id of the event at the position before");
  sql::Connection& connection = open_connection("receive", tx);
  for (bool locked = false;; locked = true) {
    if (sql::move_inbox_position(connection, stream, event)) return {Arrival::fresh, position};
    if (locked) store::require_stored(connection, kPositions.operation, kPositions.name);
    const Tail last = lock_row(connection, kPositions, stream, sql::lock_inbox_position,
                               sql::insert_inbox_position);
    if (position > advance(last.position)) return {Arrival::gap, last.position};
    const bool is_next = position == advance(last.position);
    if (is_next ? event.previous_id != last.event_id
                : position == last.position && event.id != last.event_id)
      refuse_order(event, last);
    if (!is_next) return {Arrival::duplicate, last.position};
    // A new stream, or the one before was received while this one waited for the row's lock.
  }
}

std::vector<InboxEvent> take_next(Transaction& tx, std::string_view stream,
                                  std::size_t events_max) {
  check_stream("take", stream);
  if (events_max == 0 || events_max > kTakeEventsMax)
    refuse_argument("take", "events_max is not between 1 and " + std::to_string(kTakeEventsMax),
                    "take fewer events, and more often");
  sql::Connection& connection = open_connection("take", tx);
  const auto [from, put] =
      lock_row(connection, kCursors, stream, sql::lock_inbox_cursor, sql::insert_inbox_cursor);
  std::vector<InboxEvent> events =
      sql::list_inbox(connection, stream, from, static_cast<std::int64_t>(events_max));
  Position last = from;
  for (const InboxEvent& event : events) {
    last = advance(last);
    if (event.position != last) refuse_hole(last, event.position);
  }
  if (events.size() < events_max && last < put) refuse_hole(advance(last), put);
  if (events.empty()) {
    if (from == Position{}) check_known(connection, stream);
    return events;
  }
  failpoint("inbox.before_move");
  sql::move_inbox_cursor(connection, stream, from, last);
  store::require_stored(connection, kCursors.operation,
                        kCursors.name);  // It is locked: nobody moved it.
  failpoint("inbox.after_move");
  return events;
}

}  // namespace

bool receive(Transaction& tx, std::string_view stream, const EventId& id) {
  ReceiveCall seen;
  seen.stream = stream;
  return store::observed(tx.impl().options.observer, seen, [&] {
    check_stream("receive", stream);
    check_id("receive", id);
    sql::Connection& connection = open_connection("receive", tx);
    const bool is_new = sql::insert_received(connection, stream, id);
    if (!is_new && !sql::is_received(connection, stream, id))
      store::throw_dropped("receive", store::name_of_table(connection, "inbox"));
    seen.arrival = is_new ? Arrival::fresh : Arrival::duplicate;
    return is_new;
  });
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

Receipt receive_in_order(Transaction& tx, std::string_view stream, const StreamEvent& event) {
  ReceiveCall seen;
  seen.stream = stream;
  return store::observed(tx.impl().options.observer, seen, [&] {
    const Receipt receipt = receive_next(tx, stream, event);
    seen.arrival = receipt.arrival;
    return receipt;
  });
}

std::vector<InboxEvent> take(Transaction& tx, std::string_view stream, std::size_t events_max) {
  TakeCall seen;
  seen.stream = stream;
  return store::observed(tx.impl().options.observer, seen, [&] {
    std::vector<InboxEvent> events = take_next(tx, stream, events_max);
    seen.events = events.size();
    return events;
  });
}

std::uint64_t purge_received(soci::session& session, std::chrono::milliseconds age,
                             const PurgeOptions& options) {
  check_age(age);
  return purge_in_steps(session, options, [&](sql::Connection& connection, std::uint32_t rows) {
    return sql::purge_received(connection, time_ago(connection, age), rows);
  });
}

std::uint64_t purge_taken(soci::session& session, std::string_view stream,
                          std::chrono::milliseconds age, const PurgeOptions& options) {
  check_age(age);
  check_stream("purge", stream);
  return purge_in_steps(session, options, [&](sql::Connection& connection, std::uint32_t rows) {
    return sql::purge_taken(connection, stream, time_ago(connection, age), rows);
  });
}

}  // namespace outseal
