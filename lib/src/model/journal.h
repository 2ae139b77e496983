// The journal: what was bound to positions, one row a batch.
#pragma once

#include <cstdint>
#include <string>

#include "model/batch.h"
#include "outseal/ids.h"

namespace outseal {

/// One row of the journal.
struct JournalRow {
  BatchKind kind = BatchKind::log;
  Position first;
  std::uint64_t count = 0;
  Cursor from = {};
  Cursor to = {};
  EventId last_event_id;
  std::string hash = {};
  std::string chain_hash = {};
  std::int64_t bound_at_ms = 0;  ///< By the database's clock.
};

}  // namespace outseal
