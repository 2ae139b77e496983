// An event as the current row of a statement.
#pragma once

#include "model/batch.h"
#include "sql/connection.h"

namespace outseal::store {

/// Columns as in OUTSEAL_EVENT_COLUMNS of the dialect's query.cc. The result views into `row`.
inline EventRow event_row(const sql::Statement& row) {
  return {.seq = Seq{row.integer(0)},
          .id = EventId::parse(row.text(1)).value_or(EventId{}),
          .topic = row.text(2),
          .key = row.text(3),
          .type = row.text(4),
          .headers = row.text(5),
          .payload = row.blob(6),
          .content_type = row.text(7),
          .created_at_ms = row.integer(8)};
}

}  // namespace outseal::store
