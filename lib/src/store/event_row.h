// An event as the current row of a statement.
#pragma once

#include <optional>

#include "model/batch.h"
#include "outseal/error.h"
#include "sql/connection.h"

namespace outseal::store {

/// Columns as in OUTSEAL_EVENT_COLUMNS of the dialect's query.cc. The result views into `row`.
inline EventRow event_row(const sql::Statement& row) {
  return {.seq = Seq{row.integer(0)},
          .id = row.event_id(1),
          .topic = row.text(2),
          .key = row.text(3),
          .type = row.text(4),
          .headers = row.text(5),
          .payload = row.blob(6),
          .content_type = row.text(7),
          .created_at_ms = row.integer(8)};
}

/// The same with its payload if that was too large to come with the others; it lives in `large`.
inline EventRow whole_event_row(sql::Connection& connection, const sql::Statement& row,
                                std::optional<sql::Use>& large) {
  EventRow event = event_row(row);
  if (!row.is_null(6)) return event;
  sql::Statement& payload = connection.statement(sql::Query::read_payload);
  large.emplace(payload);
  payload.bind(0, event.seq.value());
  if (!payload.step())
    throw Error{ErrorCode::refused,
                "read",
                "event " + event.id.to_string() + " has left the outbox while it was read",
                {.hint = "somebody deleted it by hand"}};
  event.payload = payload.blob(0);
  return event;
}

}  // namespace outseal::store
