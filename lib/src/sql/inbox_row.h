// An event of the inbox as columns, for sql/inbox.cc and sql/inbox_sink.cc.
#pragma once

#include <string>

#include "sql/inbox_sink.h"
#include "sql/typed.h"

namespace outseal::sql {

#define OUTSEAL_INBOX_COLUMNS(payload) \
  "position, event_id, topic, key, type, headers, " payload ", content_type, created_at"

/// Of the columns above.
inline InboxRow read_inbox_row(Columns& columns) {
  InboxRow row;
  EventRow& event = row.event;
  columns >> row.position >> event.id >> event.topic >> event.key >> event.type >> event.headers;
  row.has_payload = !columns.is_null();
  event.payload = columns.bytes();
  columns >> event.content_type >> event.created_at_ms;
  return row;
}

}  // namespace outseal::sql
