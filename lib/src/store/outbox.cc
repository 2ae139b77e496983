#include "outseal/outbox.h"

#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "model/headers.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "outseal/transaction.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal {
namespace {

/// The column is not NULL.
std::string headers_of(const Event& event) {
  return event.headers.empty() ? "{}" : headers_to_json("append", event.headers);
}

/// Text can hold no NUL, and PostgreSQL's outbox refuses one that looks like bytes in hexadecimal.
bool is_stored_as_text(const Event& event) {
  return is_text_content_type(event.content_type) &&
         event.payload.find('\0') == std::string::npos && !event.payload.starts_with("\\x");
}

/// An event's own id, or a new one.
std::vector<EventId> ids_of(std::span<const Event> events) {
  std::vector<EventId> ids;
  ids.reserve(events.size());
  for (const Event& event : events) ids.push_back(event.id ? *event.id : new_event_id());
  return ids;
}

std::vector<sql::NewEvent> rows_of(std::span<const Event> events, std::span<const EventId> ids) {
  std::vector<sql::NewEvent> rows;
  rows.reserve(events.size());
  for (const Event& event : events)
    rows.push_back({.id = ids[rows.size()].to_string(),
                    .topic = event.topic,
                    .key = event.key,
                    .type = event.type,
                    .headers = headers_of(event),
                    .payload = event.payload,
                    .payload_is_text = is_stored_as_text(event),
                    .content_type = event.content_type});
  return rows;
}

void insert_parts(sql::Connection& connection, std::span<const sql::NewEvent> rows) {
  store::in_parts(rows, [&](std::span<const sql::NewEvent> part) {
    store::run_insert(sql::append_events(connection, part), part);
  });
}

std::vector<EventId> append_unobserved(Transaction::Impl& impl, std::span<const Event> events,
                                       const AppendOptions& options) {
  for (const Event& event : events) validate_event(event, options);
  impl.require_open("append");
  std::vector<EventId> ids = ids_of(events);
  std::vector<sql::NewEvent> rows = rows_of(events, ids);
  failpoint("service.before_append");
  if (store::DeferredEvents* queue = impl.queue()) {
    queue->append(std::move(rows));
  } else {
    sql::Connection& connection = *impl.connection;
    if (connection.pipelines())
      insert_parts(connection, rows);
    else
      for (const sql::NewEvent& row : rows) {
        insert_parts(connection, std::span{&row, 1});
        store::require_stored(connection, "append", "outbox");
      }
  }
  failpoint("service.after_append");
  return ids;
}

}  // namespace

void store::append_beside(sql::Connection& to, std::span<const Event> events) {
  insert_parts(to, rows_of(events, ids_of(events)));
}

EventId append(Transaction& tx, const Event& event, const AppendOptions& options) {
  return append(tx, std::span{&event, 1}, options).front();
}

std::vector<EventId> append(Transaction& tx, std::span<const Event> events,
                            const AppendOptions& options) {
  Transaction::Impl& impl = tx.impl();
  AppendCall seen;
  seen.events = events.size();
  return store::observed(impl.options.observer, seen,
                         [&] { return append_unobserved(impl, events, options); });
}

}  // namespace outseal
