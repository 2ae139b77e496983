#include "outseal/outbox.h"

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

}  // namespace

EventId append(Transaction& tx, const Event& event, const AppendOptions& options) {
  validate_event(event, options);
  sql::Connection& connection = store::connection_of(tx);
  // SQLite rolls a transaction back by itself after some errors: an event written now would stand
  // alone, outside of any.
  if (tx.impl().committed || !connection.in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "append",
                "the transaction has ended",
                {.hint = "an earlier error or ROLLBACK ended it: begin a new one"}};
  const EventId id = event.id ? *event.id : new_event_id();
  const std::string id_text = id.to_string();
  const std::string headers = headers_as_json(event.headers);

  const sql::Use insert{connection.statement(sql::Query::append_event)};
  insert->bind_text(0, id_text);
  insert->bind_text(1, event.topic);
  insert->bind_text(2, event.key);
  insert->bind_text(3, event.type);
  insert->bind_text(4, headers);
  insert->bind_blob(5, event.payload);
  insert->bind_text(6, event.content_type);
  failpoint("service.before_append");
  try {
    insert->step();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::constraint) throw;
    throw Error{ErrorCode::constraint,
                "append",
                "event " + id_text + " was refused: " + error.message(),
                {.hint = "an event id is used once; leave it out to get a new one",
                 .detail_code = error.detail_code()}};
  }
  failpoint("service.after_append");
  return id;
}

}  // namespace outseal
