#include "store/inbox_page.h"

#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/inbox_attempt.h"

namespace outseal::store {
namespace {

constexpr StreamTable kCursors{"inbox_cursor", "take"};

[[noreturn]] void refuse_hole(Position missing, Position later) {
  throw Error{ErrorCode::refused,
              "take",
              "the inbox has no event at position " + std::to_string(missing.value()) +
                  ", but the relay has come to " + std::to_string(later.value()),
              {.hint = "somebody deleted events that were not taken: restore them;"
                       " outseal-reconcile run at the sender lists which"}};
}

/// Moves those whose key is blocked from `page.events` to `page.behind`.
void split_blocked(sql::Connection& connection, std::string_view stream, InboxPage& page) {
  if (!page.from.has_parked || mutant("no_behind")) return;
  std::vector<InboxEvent> free;
  for (InboxEvent& event : page.events) {
    if (sql::is_inbox_key_blocked(connection, stream, event.key))
      page.behind.push_back(event.position);
    else
      free.push_back(std::move(event));
  }
  page.events = std::move(free);
}

}  // namespace

void refuse_argument(std::string_view operation, std::string_view message, std::string hint) {
  throw Error{ErrorCode::invalid_argument, operation, message, {.hint = std::move(hint)}};
}

void check_stream(std::string_view operation, std::string_view stream) {
  if (stream.empty() || stream.size() > kStreamBytesMax || !is_utf8(stream) ||
      stream.find('\0') != std::string_view::npos)
    refuse_argument(operation, "the stream is not a text of 1 to 1024 bytes in UTF-8",
                    "give the name that the sender uses, for example \"/outseal/main#main\"");
}

sql::InboxCursor lock_cursor(sql::Connection& connection, std::string_view stream) {
  return lock_row(connection, kCursors, stream, sql::lock_inbox_cursor, sql::insert_inbox_cursor);
}

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

InboxPage read_inbox_page(sql::Connection& connection, std::string_view stream,
                          const sql::InboxCursor& cursor, const TakeOptions& limits) {
  InboxPage page{.from = cursor, .last = cursor.taken};
  if (cursor.has_parked) page.events = sql::list_queued_inbox(connection, stream, limits);
  page.queued = !page.events.empty();
  if (page.queued) return page;
  page.events = sql::list_inbox(connection, stream, cursor.taken, limits);
  for (const InboxEvent& event : page.events) {
    page.last = advance(page.last);
    if (event.position != page.last) refuse_hole(page.last, event.position);
  }
  // Fewer than there may be: because of their bytes, or because they are not there.
  if (page.events.size() < limits.events_max && page.last < cursor.put) {
    const auto next = sql::find_next_inbox(connection, stream, page.last, 1);
    const Position missing = advance(page.last);
    if (!next || next->first.position != missing) refuse_hole(missing, cursor.put);
  }
  if (page.events.empty() && cursor.taken == Position{}) check_known(connection, stream);
  split_blocked(connection, stream, page);
  return page;
}

std::size_t take_page(sql::Connection& connection, std::string_view stream, const InboxPage& page,
                      std::size_t count) {
  if (page.queued) {
    for (std::size_t i = 0; i < count; ++i)
      if (!sql::finish_attempt(connection, stream, page.events[i].id))
        throw_dropped("take", name_of_table(connection, "inbox_attempt"));
    return 0;
  }
  const Position to = count == page.events.size() ? page.last : page.events[count - 1].position;
  if (to == page.from.taken) return 0;
  std::size_t behind = 0;
  for (const Position position : page.behind) {
    if (position > to) break;
    if (!sql::park_behind(connection, stream, position))
      throw_dropped("take", name_of_table(connection, "inbox_attempt"));
    ++behind;
  }
  sql::move_inbox_cursor(connection, stream, page.from, to);
  // It is locked: nobody moved it.
  require_stored(connection, kCursors.operation, kCursors.name);
  return behind;
}

}  // namespace outseal::store
