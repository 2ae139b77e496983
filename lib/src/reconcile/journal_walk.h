// The journal of one subscription, row by row, checked against itself on the way.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "reconcile/check.h"
#include "sql/check.h"
#include "sql/journal.h"
#include "store/subscription.h"

namespace outseal::reconcile {

using sql::JournalState;
using sql::LogEntry;

/// Calls `take` for the events between two places of the log that belong to `subscription` and are
/// not parked, in the order of the log, until it returns false. Reads in pages.
void walk_range(sql::Connection& connection, const SubscriptionInfo& subscription,
                const Cursor& from, const Cursor& to, const std::function<bool(LogEntry)>& take);

/// Reports findings of one subscription, with subjects of the form "NAME@POSITION KIND".
class Problems {
 public:
  Problems(const SubscriptionInfo& subscription, Report& report)
      : subscription_{subscription}, report_{report} {}
  void add(std::string_view kind, Position position, std::string detail,
           Severity severity = Severity::critical);
  /// About an event that has no position.
  void add(std::string_view kind, Seq seq, std::string detail,
           Severity severity = Severity::critical);

 private:
  const SubscriptionInfo& subscription_;
  Report& report_;
};

/// Walks the acknowledged rows in position order. Those never change; retention may take away the
/// first ones, also during the walk.
///
/// Between the rows it checks: no hole and no overlap in positions, none in the log, the chain of
/// hashes, and that nothing committed was left out between two batches. Constant memory.
class JournalWalk {
 public:
  JournalWalk(sql::Connection& connection, const SubscriptionInfo& subscription,
              const JournalState& state, Problems& problems);

  /// The current row; nullptr after the last one.
  const JournalRow* row() const { return row_ ? &*row_ : nullptr; }
  /// Last position of the current row, cut off where the next row begins.
  Position end() const;
  /// First position that the journal still knows; positions before it cannot be checked.
  Position start() const { return start_; }
  void next();
  /// Checks what stands behind the last row: pending batch, chain and cursor of the subscription.
  void finish();

 private:
  std::optional<JournalRow> fetch();
  bool begins_journal(Position first);
  bool overtaken_by_retention();
  void check_link(const JournalRow& row);
  void check_range(const JournalRow& row);
  void check_nothing_lost(const Cursor& from, const Cursor& to);

  sql::Connection& connection_;
  const SubscriptionInfo& subscription_;
  const JournalState& state_;
  Problems& problems_;
  std::deque<JournalRow> page_;
  Position fetched_;
  std::optional<JournalRow> previous_;
  std::optional<JournalRow> row_;
  std::optional<JournalRow> ahead_;
  Position start_;
  std::optional<Cursor> log_end_;  ///< Where the last log batch ended; empty: not known.
};

}  // namespace outseal::reconcile
