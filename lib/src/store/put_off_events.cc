#include <utility>

#include "store/transaction.h"

namespace outseal::store {
namespace {

/// More than this is written at once: memory is limited, and a round trip no longer counts.
constexpr std::size_t kBytesMax = 1U << 20U;
constexpr std::size_t kEventsMax = 1'000;

template <typename Member>
std::vector<std::string_view> column(std::span<const NewEvent> events, Member member) {
  std::vector<std::string_view> values;
  values.reserve(events.size());
  for (const NewEvent& event : events) values.push_back(event.*member);
  return values;
}

/// Binds many events to Query::append_events or Query::restore_events.
void bind_columns(sql::Statement& insert, std::span<const NewEvent> events) {
  insert.bind_texts(0, column(events, &NewEvent::id));
  insert.bind_texts(1, column(events, &NewEvent::topic));
  insert.bind_texts(2, column(events, &NewEvent::key));
  insert.bind_texts(3, column(events, &NewEvent::type));
  insert.bind_texts(4, column(events, &NewEvent::headers));
  insert.bind_blobs(5, column(events, &NewEvent::payload));
  insert.bind_texts(6, column(events, &NewEvent::content_type));
}

sql::Statement& bind_restored(sql::Connection& connection, std::span<const NewEvent> events) {
  sql::Statement& insert = connection.statement(sql::Query::restore_events);
  insert.reset();
  bind_columns(insert, events);
  return insert;
}

void run(sql::Statement& insert) {
  const sql::Use use{insert};
  insert.step();
}

}  // namespace

sql::Statement& bind_events(sql::Connection& connection, std::span<const NewEvent> events) {
  sql::Statement& insert = connection.statement(events.size() == 1 ? sql::Query::append_event
                                                                   : sql::Query::append_events);
  insert.reset();
  if (events.size() != 1) {
    bind_columns(insert, events);
    return insert;
  }
  const NewEvent& event = events.front();
  insert.bind_text(0, event.id);
  insert.bind_text(1, event.topic);
  insert.bind_text(2, event.key);
  insert.bind_text(3, event.type);
  insert.bind_text(4, event.headers);
  insert.bind_blob(5, event.payload);
  insert.bind_text(6, event.content_type);
  return insert;
}

void PutOffEvents::append(sql::Connection& connection, NewEvent event) {
  const sql::Connection::Watched watched = connection.watched();
  if (!watched.savepoint) {
    bytes_ += event.payload.size() + event.headers.size();
    events_.push_back(std::move(event));
    if (bytes_ < kBytesMax && events_.size() < kEventsMax) return;
    run(bind_events(connection, events_));
    events_.clear();  // Before any savepoint: nothing but the transaction's end takes them back.
    bytes_ = 0;
    return;
  }
  if (any_unsent() || (sent_ && watched.rolled_back)) {
    run(sent_ ? bind_restored(connection, events_) : bind_events(connection, events_));
    sent_ = true;
    connection.forget_rollback();
  }
  run(bind_events(connection, std::span{&event, 1}));
}

sql::Statement* PutOffEvents::flush(sql::Connection& connection) {
  if (events_.empty() || (sent_ && !connection.watched().rolled_back)) return nullptr;
  return sent_ ? &bind_restored(connection, events_) : &bind_events(connection, events_);
}

}  // namespace outseal::store
