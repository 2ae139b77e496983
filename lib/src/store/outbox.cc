#include "outseal/outbox.h"

#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "model/limits.h"
#include "outseal/error.h"
#include "outseal/transaction.h"
#include "store/transaction.h"

namespace outseal {
namespace {

std::string headers_as_json(const std::map<std::string, std::string>& headers) {
  std::string json = "{";
  for (const auto& [name, value] : headers) {
    if (json.size() > 1) json += ',';
    append_json_string(json, name);
    json += ':';
    append_json_string(json, value);
  }
  return json + '}';
}

void insert_now(sql::Connection& connection, std::span<const store::NewEvent> rows) {
  sql::Statement& insert = store::bind_events(connection, rows);
  const sql::Use use{insert};
  try {
    insert.step();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::constraint) throw;
    throw Error{ErrorCode::constraint,
                "append",
                (rows.size() == 1 ? "event " + rows.front().id : "an event") +
                    " was refused: " + error.message(),
                {.hint = "an event id is used once; leave it out to get a new one",
                 .detail_code = error.detail_code()}};
  }
}

}  // namespace

EventId append(Transaction& tx, const Event& event, const AppendOptions& options) {
  return append(tx, std::span{&event, 1}, options).front();
}

std::vector<EventId> append(Transaction& tx, std::span<const Event> events,
                            const AppendOptions& options) {
  for (const Event& event : events) validate_event(event, options);
  sql::Connection& connection = store::connection_of(tx);
  // SQLite rolls a transaction back by itself after some errors: an event written now would stand
  // alone, outside of any.
  if (tx.impl().committed || !connection.in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "append",
                "the transaction has ended",
                {.hint = "an earlier error or ROLLBACK ended it: begin a new one"}};
  std::vector<EventId> ids;
  std::vector<store::NewEvent> rows;
  for (const Event& event : events) {
    ids.push_back(event.id ? *event.id : new_event_id());
    rows.push_back({.id = ids.back().to_string(),
                    .topic = event.topic,
                    .key = event.key,
                    .type = event.type,
                    .headers = headers_as_json(event.headers),
                    .payload = event.payload,
                    .content_type = event.content_type});
  }
  failpoint("service.before_append");
  if (!connection.pipelines())
    for (const store::NewEvent& row : rows) insert_now(connection, std::span{&row, 1});
  else if (tx.impl().owned)
    for (store::NewEvent& row : rows) tx.impl().events.append(connection, std::move(row));
  else if (!rows.empty())
    insert_now(connection, rows);
  failpoint("service.after_append");
  return ids;
}

}  // namespace outseal
