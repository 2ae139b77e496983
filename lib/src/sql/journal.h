// The journal: the batches of each subscription, one row a batch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/journal.h"
#include "model/subscription.h"
#include "sql/connection.h"

namespace outseal::sql {

/// The last row that begins at or before `position`. The window of `from` and `to` is as it is
/// stored: both of its snapshots, also where the cursor stood between two windows.
std::optional<JournalRow> find_journal(Connection& connection, std::string_view subscription,
                                       Position position);

/// The batch whose last position is the one before another's first.
struct BatchBefore {
  EventId last_event_id;
  std::string chain;  ///< Of hashes of all positions up to its last.
  std::string mark;   ///< What the sink said when it acknowledged it; empty if it has not yet.
};
std::optional<BatchBefore> find_batch_before(Connection& connection, std::string_view subscription,
                                             Position first);

/// Inside the caller's transaction: notes a batch whose positions are bound now.
void insert_journal(Connection& connection, std::string_view subscription, const JournalRow& row,
                    Epoch epoch);
/// Inside the caller's transaction: the sink has the whole batch.
void acknowledge_journal(Connection& connection, std::string_view subscription, const Ack& ack,
                         std::int64_t now_ms);
/// Inside the caller's transaction: of the batch that begins at row.first only what `row` says is
/// bound any more, and the sink has that.
void trim_journal(Connection& connection, std::string_view subscription, const JournalRow& row,
                  std::int64_t now_ms);
/// Inside the caller's transaction: nothing of the batch that begins at `first` is bound any more.
void delete_journal(Connection& connection, std::string_view subscription, Position first);

/// Removes at most `rows_max` rows that were acknowledged before that time; the last acknowledged
/// one always stays. @returns how many.
std::int64_t delete_journal_before(Connection& connection, std::string_view subscription,
                                   std::int64_t acked_before_ms, std::int64_t rows_max);

/// At most `rows_max` rows that begin after `after` and not behind `up_to`, in order.
std::vector<JournalRow> list_journal(Connection& connection, std::string_view subscription,
                                     Position after, Position up_to, std::int64_t rows_max);
/// Where the journal begins; nothing if it is empty.
std::optional<Position> find_journal_start(Connection& connection, std::string_view subscription);

/// Where a subscription stands, and the last row of its journal, read in one statement: no relay at
/// work can come between.
struct JournalState {
  Position bound;
  Tail acked;
  Cursor acked_log;  ///< All of the log before it is acknowledged, parked or filtered out.
  std::string chain_hash;
  std::int64_t version = 0;  ///< Every write of a relay raises it.
  std::optional<JournalRow> last;
};
/// As after no event if there is no such subscription.
JournalState read_journal_state(Connection& connection, std::string_view subscription);

// Their plans are tested.
extern const Text kFindJournal;
extern const Text kFindBatchBefore;
extern const Text kDeleteJournalBefore;

}  // namespace outseal::sql
