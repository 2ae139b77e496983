// What an operator sees and decides of the events that a receiver has set aside.
#include <functional>

#include "outseal/error.h"
#include "outseal/inbox.h"
#include "sql/inbox_attempt.h"
#include "store/attempt.h"
#include "store/inbox_page.h"

namespace outseal {
namespace {

constexpr std::size_t kReasonBytesMax = 1'000;

/// Decides on events of `stream` while no worker does anything about them.
std::uint64_t decide(Session session, std::string_view operation, std::string_view stream,
                     const std::function<std::int64_t(sql::Connection&)>& decision) {
  store::check_stream(operation, stream);
  Transaction tx{session, store::small({})};
  sql::Connection& connection = store::connection_of(tx);
  store::lock_cursor(connection, stream);
  const std::int64_t queued = decision(connection);
  tx.commit();
  return static_cast<std::uint64_t>(queued);
}

sql::AttemptRow find_parked(sql::Connection& connection, std::string_view operation,
                            std::string_view stream, const EventId& id, bool queued_too) {
  const auto row = sql::lock_attempt(connection, stream, id);
  if (row &&
      (row->state == ParkedState::parked || (queued_too && row->state == ParkedState::queued)))
    return *row;
  store::refuse_argument(operation,
                         "event " + id.to_string() + " is not parked" +
                             (row ? ", it is " + std::string{name_of(row->state)} : std::string{}),
                         "list_parked() shows which are");
}

/// The failed event of the key that stands before `row`, if any.
std::optional<EventId> blocker_of(sql::Connection& connection, std::string_view stream,
                                  const sql::AttemptRow& row) {
  if (!row.event.position) return std::nullopt;
  return sql::find_parked_before(connection, stream, row.event.key, *row.event.position);
}

std::int64_t queue_those_behind(sql::Connection& connection, std::string_view stream,
                                const sql::AttemptRow& row) {
  return row.event.position
             ? sql::queue_behind(connection, stream, row.event.key, *row.event.position)
             : 0;
}

}  // namespace

std::string_view name_of(ParkedState state) {
  switch (state) {
    case ParkedState::trying:
      return "trying";
    case ParkedState::parked:
      return "parked";
    case ParkedState::queued:
      return "queued";
    case ParkedState::discarded:
      return "discarded";
  }
  return "?";
}

std::vector<ParkedEvent> list_parked(Session session, std::string_view stream,
                                     const EventId& after) {
  store::check_stream("list", stream);
  return sql::list_parked_inbox(*sql::wrap(session), stream, after,
                                static_cast<std::int64_t>(kParkedPageMax));
}

std::uint64_t redrive_parked(Session session, std::string_view stream,
                             const std::optional<EventId>& id) {
  return decide(session, "redrive", stream, [&](sql::Connection& connection) -> std::int64_t {
    if (!id) return sql::queue_all_parked(connection, stream);
    const auto row = find_parked(connection, "redrive", stream, *id, false);
    if (const auto blocker = blocker_of(connection, stream, row))
      store::refuse_argument("redrive",
                             "event " + id->to_string() + " stands behind event " +
                                 blocker->to_string() + " of its key",
                             "redrive or discard that one first");
    const std::int64_t queued = sql::queue_parked(connection, stream, *id);
    return queued + queue_those_behind(connection, stream, row);
  });
}

std::uint64_t discard_parked(Session session, std::string_view stream, const EventId& id,
                             std::string_view reason) {
  if (reason.empty() || reason.size() > kReasonBytesMax)
    store::refuse_argument("discard", "the reason is empty or longer than 1000 bytes",
                           "say why nobody needs the event");
  return decide(session, "discard", stream, [&](sql::Connection& connection) -> std::int64_t {
    const auto row = find_parked(connection, "discard", stream, id, true);
    sql::discard_parked(connection, stream, id, reason);
    store::require_stored(connection, "discard", "inbox_attempt");
    if (row.behind || blocker_of(connection, stream, row)) return 0;
    return queue_those_behind(connection, stream, row);
  });
}

}  // namespace outseal
