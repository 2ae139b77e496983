// Whether an event has been passed by every subscription: shown by evidence, never by its number
// alone.
//
// Numbers can come again (SQLite: the table was rebuilt while it was empty, or sqlite_sequence
// cleared), and rows can bring numbers of transactions from elsewhere (PostgreSQL: a data-only
// restore, a logical subscription). Such an event stands behind cursors that never read it. For
// each subscription that takes the event's topic one of these has to hold:
//
// - It stands in `parked` with this number and id.
// - An operator let the subscription begin behind it.
// - PostgreSQL: the row was written by the transaction that it names, and the cursor is behind that
//   transaction. If another number wrote it (a savepoint's, or a restore's), that had ended, too,
//   at the end of the window of the batch in which the event was bound.
// - SQLite: the batch that its number belongs to was bound while the event was there. Numbers only
//   grow while a higher one is in the table, so it was if the batch's last event still is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "sql/connection.h"
#include "sql/retention.h"
#include "store/snapshot.h"

namespace outseal::store {

/// What became of an event.
enum class Passage {
  waiting,      ///< A subscription may not have passed it yet, or an operator may want it.
  passed,       ///< Each subscription bound it, left it out, or an operator decided about it.
  untaken,      ///< No subscription takes its topic, and no operator has given that up.
  unproven,     ///< A cursor is behind it, but nothing shows whether it was read.
  passed_over,  ///< A cursor is behind it, and it was certainly never read.
};

using sql::LogRow;

/// Examines events, in the order of the log best, as one moment of the database shows them.
///
/// Threads: Not thread-safe; same rule as the connection.
class Examiner {
 public:
  explicit Examiner(sql::Connection& connection);

  Passage examine(const LogRow& row);
  /// SQLite: the number before the batch of which `seq` is the last event, which is the evidence
  /// for all others of it. Asked after examine() of the same row.
  std::optional<Seq> evidence_for_after(Seq seq) const;
  bool any_subscription() const { return !cursors_.empty(); }

 private:
  /// A batch of the log.
  struct Bound {
    Seq from_seq;
    Seq to_seq;
    EventId last_id;
    Seq last_seq;  ///< SQLite: of its last event, if that is there; else 0.
    std::int64_t bound_at_ms = 0;
    std::uint64_t count = 0;
    Snapshot from;
    Snapshot to;
    std::string snap_from;
    std::string snap_to;
    std::optional<bool> complete;  ///< PostgreSQL: whether all of its events are there.
  };
  struct SubscriptionCursor : sql::CursorRow {
    explicit SubscriptionCursor(sql::CursorRow row) : CursorRow{std::move(row)} {}

    std::optional<std::optional<Cursor>> start;  ///< Once it was asked for.
    std::optional<Bound> bound;                  ///< The batch that was looked at last.
    bool is_cut = false;  ///< The journal does not reach back to the row that was looked at last.
  };

  const std::vector<std::size_t>& takers(const std::string& topic);
  bool is_given_up(std::string_view topic);
  Passage examine_for(SubscriptionCursor& cursor, const LogRow& row);
  bool began_behind(SubscriptionCursor& cursor, const LogRow& row);
  Bound* find_bound(SubscriptionCursor& cursor, const LogRow& row);
  bool is_complete(const SubscriptionCursor& cursor, Bound& bound);
  bool reaches(const Bound& bound, const LogRow& row) const;
  bool begins_before(const Bound& bound, const LogRow& row) const;
  std::optional<Bound> read_bound(const SubscriptionCursor& cursor, Position position,
                                  Position& first);

  sql::Connection& connection_;
  bool has_windows_ = false;
  std::vector<SubscriptionCursor> cursors_;
  std::map<std::string, std::vector<std::size_t>, std::less<>> takers_;
  std::optional<std::vector<std::string>> given_up_;
};

/// SQLite: the next event gets a higher number than `seq`.
/// @throws Error{refused} if it may not.
void refuse_numbers_behind(sql::Connection& connection, Seq seq);

/// Looks at the oldest events of the log, and on SQLite at its numbers.
/// @throws Error{refused} if new events get, or old ones have, numbers that `cursor` has passed.
void refuse_passed_over(sql::Connection& connection, const Cursor& cursor);

/// Puts the events that were certainly never read behind all cursors, and on SQLite what will be
/// appended, too: they are published as if they had been appended now.
/// PostgreSQL: needs the privileges of the outbox's owner.
/// @returns how many events. Recorded in the audit trail.
/// Crash: one transaction; it happened or it did not.
std::uint64_t renumber_passed_over(sql::Connection& connection, std::string_view actor);

}  // namespace outseal::store
