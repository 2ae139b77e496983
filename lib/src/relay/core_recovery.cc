// Recovery: what the sink's tail means, compared with what the database knows.
//
//   acked A, bound B, tail s            meaning                       what is done
//   s < A                               the sink lost events          rebuild if allowed, else halt
//   s = A, id as acknowledged           clean, or nothing of the      send the pending batch, if
//   any
//                                       pending batch arrived
//   A < s <= B, id as bound             it arrived up to s            send the rest, acknowledge
//   s > B, or another id at s           the database lost history,    FORK: halt
//                                       or somebody else writes
#include <utility>

#include "relay/core.h"

namespace outseal::relay {

void Core::compare_tail(const Tail& tail) {
  work_.sink_tail = tail;
  const Position acked = state_.acked.position;
  if (tail.position < acked) return lost_or_rebuild(tail);
  if (tail.position > state_.bound)
    return halt_fork(tail, "nothing after position " + std::to_string(state_.bound.value()));
  if (tail.position == acked && tail != state_.acked)
    return halt_fork(tail, "event " + state_.acked.event_id.to_string());
  if (state_.bound == acked)
    phase_ = Phase::leading;
  else
    resume_pending(tail);
}

/// Sends what the sink does not have of the pending batch, which is read again if a restart lost
/// it.
void Core::resume_pending(const Tail& tail) {
  if (!work_.in_flight) {
    work_.sink_tail = tail;
    work_.journal_due = advance(state_.acked.position);
    return;
  }
  const std::size_t stored = tail.position.value() - state_.acked.position.value();
  const Tail expected = work_.in_flight->tail_after(stored);
  if (tail != expected) return halt_fork(tail, "event " + expected.event_id.to_string());
  bound_tail_ = work_.in_flight->tail_after(work_.in_flight->size());
  phase_ = Phase::leading;
  // Also if nothing is left to send: the sink's mark comes with the result.
  deliver(work_.in_flight, stored);
}

void Core::take(const JournalRead& read) {
  database_busy_ = false;
  if (phase_ != Phase::recovering) return;
  if (read.batch->last() <= state_.acked.position) return rebuild_from(read.batch);
  work_.in_flight = read.batch;
  delivered_ = 0;
  resume_pending(*work_.sink_tail);
}

void Core::take(const JournalUnreadable& unreadable) {
  database_busy_ = false;
  if (phase_ != Phase::recovering) return;
  halt_if_leading(
      unreadable.why,
      "restore the outbox and journal rows from a backup; or give the subscription up with"
      " outseal-relay remove, and begin a new one");
}

void Core::lost_or_rebuild(const Tail& tail) {
  const std::string found = tail.position == Position{}
                                ? "is empty"
                                : "ends at position " + std::to_string(tail.position.value());
  const std::string lost = "the sink " + found + ", but it acknowledged position " +
                           std::to_string(state_.acked.position.value());
  if (!options_.rebuild && !options_.may_lose_acknowledged)
    return halt_if_leading(lost,
                           "bring the lost events back, or send them again from the outbox with"
                           " outseal-relay run --rebuild");
  if (!work_.rebuilding)
    report(observe::Rebuilding{state_.acked.position.value() - tail.position.value(), lost});
  // The batch that holds the tail is read first, to see that it is our event that stands there.
  work_.journal_due = tail.position == Position{} ? Position{1} : tail.position;
}

void Core::rebuild_from(BatchPtr batch) {
  const Tail tail = *work_.sink_tail;
  const std::size_t stored = tail.position.value() + 1 - batch->first.value();
  const Tail expected = batch->tail_after(stored);
  if (tail != expected) return halt_fork(tail, "event " + expected.event_id.to_string());
  if (stored == batch->size()) {
    work_.journal_due = advance(tail.position);
    return;
  }
  work_.rebuilding = batch;
  deliver(std::move(batch), stored);
}

void Core::halt_fork(const Tail& tail, const std::string& expected) {
  halt_if_leading(
      "fork: the sink has event " + tail.event_id.to_string() + " at position " +
          std::to_string(tail.position.value()) + ", the database expects " + expected,
      "somebody else writes this sink, or the database was restored to an older state: find out"
      " which before anything else is published; a restored database goes on after outseal-relay"
      " rebase");
}

/// What looks wrong to a relay that slept through a takeover is only what the next leader has done
/// since. So the lease is confirmed after the look at sink and journal, and before the halt.
void Core::halt_if_leading(std::string what, std::string hint) {
  work_.halt_due = Halt{ErrorCode::refused, std::move(what), std::move(hint)};
}

}  // namespace outseal::relay
