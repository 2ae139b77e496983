// The journal of one subscription against what its sink holds: one pass over both.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>

#include "reconcile/batch_exam.h"
#include "reconcile/journal_walk.h"

namespace outseal::reconcile {

/// Merges the sink's records, in the order in which they stand, with the journal's rows.
///
/// WHAT MUST HOLD, with the relay at work or not. Let A and B be the acknowledged and the bound
/// position when the comparison begins; they are read before the sink is opened for reading.
///   (1) Every position up to A is in the sink: a sink only grows. So "missing" is judged against
///   A,
///       and what the relay publishes meanwhile cannot be missed.
///   (2) Rows of the journal up to A never change. So hashes are compared up to A and no further.
///   (3) What is in the sink was bound before it was sent, and a position that the sink has is
///   never
///       unbound. So a record beyond the bound position that is known is a ghost only if it is
///       beyond the bound position that is read after the record.
///   (4) Between A and B lies the pending batch, of which any prefix may be there, and behind it
///       what a crash tore: the last record, and it says so. All else there is foreign. It is
///       compared only if no relay wrote to the subscription during the whole comparison.
///
/// Positions in the sink ascend by one. A record that jumps ahead is held back until the next one
/// shows which of the two is out of place: 1 3 2 4 is one record too early, 1 3 4 is one missing.
///
/// COST. One hash over the sink's bytes and one scan over the outbox's ids; memory for one batch
/// and for what is wrong (gaps, records that stand too early), both bounded. Only where ids stand
/// that do not belong there, the sink is read a second time to see whether they stand elsewhere as
/// well. Events whose rows retention took are covered by the journal's hash alone.
class SinkComparison {
 public:
  SinkComparison(CheckContext& context, const SubscriptionInfo& subscription, Sink& sink,
                 Report& report);
  void run();

 private:
  /// Gaps and early records kept by name; beyond it they are one finding. Chosen by us: a sink with
  /// more damage than that needs no list.
  static constexpr std::size_t kOddMax = 10'000;

  struct Held {
    SinkRecord record;
    std::string encoded;
  };

  /// The first thing behind the acknowledged position that is no event of ours.
  struct TailForeign {
    Position after;
    std::string where;
    bool torn;
  };

  void take(const SinkRecord& record);
  void settle_held(Position next);
  void place(const SinkRecord& record);
  void place_late(const SinkRecord& record);
  void feed(const SinkRecord& record);
  void note_gap(Position from, Position to);
  void take_foreign(const SinkRecord& record);
  bool is_bound(Position position);
  void close_batch();
  void close_batches_before(Position position);
  void finish();
  void report_missing();
  void report_tail();
  void report_foreign(Position after, const std::string& where);
  void report_repeated();
  void report_progress();

  CheckContext& context_;
  const SubscriptionInfo& subscription_;
  Sink& sink_;
  Report& report_;
  Problems problems_;
  JournalState state_;
  JournalWalk walk_;
  BatchExam exam_;
  BatchImage image_;
  BatchImage pending_;
  Position bound_known_;
  Position expected_{1};
  std::optional<Held> held_;
  std::map<Position, Position> gaps_;  ///< First to last position.
  std::set<Position> early_;
  std::unordered_set<EventId> ghosts_;
  std::optional<TailForeign> tail_foreign_;
  std::uint64_t records_ = 0;
  std::uint64_t batches_ = 0;
};

}  // namespace outseal::reconcile
