// The receiver's side: what was received is remembered in the transaction of its effect.
#include "outseal/inbox.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "sql/inbox.h"
#include "store/inbox_page.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal {
namespace {

void check_id(std::string_view operation, const EventId& id) {
  if (id.is_nil())
    store::refuse_argument(operation, "the event id is nil", "give the event's own id");
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

/// Runs `remove`, given the rows at most, in transactions of their own until nothing is left.
std::uint64_t purge_in_steps(
    Session session, const PurgeOptions& options,
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
  if (age.count() < 0) store::refuse_argument("purge", "the age is negative", "give 0 or more");
}

constexpr store::StreamTable kPositions{"inbox_position", "receive"};

Receipt receive_next(Transaction& tx, std::string_view stream, const StreamEvent& event) {
  store::check_stream("receive", stream);
  check_id("receive", event.id);
  const Position position = event.position;
  if (position == Position{})
    store::refuse_argument("receive", "the position is 0",
                           "the first event of a stream has position 1");
  if (event.previous_id.is_nil() != (position == Position{1}))
    store::refuse_argument("receive", "the previous event is missing, or the first event has one",
                           "give the id of the event at the position before");
  sql::Connection& connection = open_connection("receive", tx);
  for (bool locked = false;; locked = true) {
    if (sql::move_inbox_position(connection, stream, event)) return {Arrival::fresh, position};
    if (locked) store::require_stored(connection, "receive", "inbox_position");
    const Tail last = store::lock_row(connection, kPositions, stream, sql::lock_inbox_position,
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
                                  const TakeOptions& options) {
  options.validate();
  store::check_stream("take", stream);
  sql::Connection& connection = open_connection("take", tx);
  const sql::InboxCursor cursor = store::lock_cursor(connection, stream);
  store::InboxPage page = store::read_inbox_page(connection, stream, cursor, options);
  failpoint("inbox.before_move");
  store::take_page(connection, stream, page, page.events.size());
  failpoint("inbox.after_move");
  return std::move(page.events);
}

}  // namespace

bool receive(Transaction& tx, std::string_view stream, const EventId& id) {
  ReceiveCall seen;
  seen.stream = stream;
  return store::observed(tx.impl().options.observer, seen, [&] {
    store::check_stream("receive", stream);
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
    case Arrival::parked:
      return "parked";
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

void TakeOptions::validate() const {
  ConfigErrors faults{"TakeOptions"};
  faults.check_range("events_max", static_cast<std::int64_t>(events_max), 1, kEventsMax);
  faults.check_range("bytes_max", static_cast<std::int64_t>(bytes_max), 1, kBytesMax);
  faults.raise();
}

std::vector<InboxEvent> take(Transaction& tx, std::string_view stream, const TakeOptions& options) {
  TakeCall seen;
  seen.stream = stream;
  return store::observed(tx.impl().options.observer, seen, [&] {
    std::vector<InboxEvent> events = take_next(tx, stream, options);
    seen.events = events.size();
    return events;
  });
}

std::uint64_t purge_received(Session session, std::chrono::milliseconds age,
                             const PurgeOptions& options) {
  check_age(age);
  return purge_in_steps(session, options, [&](sql::Connection& connection, std::uint32_t rows) {
    return sql::purge_received(connection, time_ago(connection, age), rows);
  });
}

std::uint64_t purge_taken(Session session, std::string_view stream, std::chrono::milliseconds age,
                          const PurgeOptions& options) {
  check_age(age);
  store::check_stream("purge", stream);
  return purge_in_steps(session, options, [&](sql::Connection& connection, std::uint32_t rows) {
    return sql::purge_taken(connection, stream, time_ago(connection, age), rows);
  });
}

}  // namespace outseal
