// A cursor that is bound anew, after a failover or restore (store/rebase.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/journal.h"
#include "model/subscription.h"
#include "sql/connection.h"

namespace outseal::sql {

/// PostgreSQL: the name of a prepared transaction that has events, of which nobody sees any yet.
std::optional<std::string> find_prepared_appender(Connection& connection);

// --- A log that came from another cluster (PostgreSQL), inside the caller's transaction ----------

/// The number of our own transaction, and what it sees.
struct OwnNumber {
  std::uint64_t xid = 0;
  std::string snapshot;
};
OwnNumber read_own_number(Connection& connection);

/// The lowest number of the log that `cursor` of `subscription` has not passed, or one above all.
Seq find_lowest_unpublished(Connection& connection, std::string_view subscription,
                            const Cursor& cursor);
/// Notes the events above `lowest_unpublished` that it has passed all the same: they are published.
void note_published(Connection& connection, std::string_view subscription, const Cursor& cursor,
                    Seq lowest_unpublished);
/// The windows of what is acknowledged mean nothing any more; their hashes do.
void forget_windows(Connection& connection, std::string_view subscription, Position acked);
/// It reads on at `cursor`, which is of this cluster; nothing is in flight.
void translate_subscription(Connection& connection, std::string_view subscription,
                            const Cursor& cursor, std::int64_t timeline);
/// All of the log is of our own transaction.
void restamp_outbox(Connection& connection);

// --- One subscription, inside the caller's transaction -------------------------------------------

/// The sink has the event at `position` already. @returns whether it is in the outbox.
[[nodiscard]] bool note_rebased(Connection& connection, std::string_view subscription,
                                EventId event, Position position, std::string_view actor);
/// Removes the batches from `first` on: nothing of them is bound any more.
void delete_pending_journal(Connection& connection, std::string_view subscription, Position first);
/// What the sink had already, as one batch that it has acknowledged: first, count, last_event_id
/// and the hashes of `row`. On SQLite it stands where the cursor does.
void insert_rebased(Connection& connection, std::string_view subscription, const JournalRow& row);
/// It reads on at `cursor`; everything up to `tail` is bound and acknowledged, and nobody leads.
void rebase_subscription(Connection& connection, std::string_view subscription,
                         const Cursor& cursor, const Tail& tail, std::string_view chain_hash,
                         const SourceIdentity& source);
/// It stands where it stood, in the database `source` (PostgreSQL). Nobody leads; what is bound
/// stays bound.
void reanchor_subscription(Connection& connection, std::string_view subscription,
                           const SourceIdentity& source);

}  // namespace outseal::sql
