// The relay's loop: acquire, open, recover, then read - bind - deliver - acknowledge, with the next
// page read while a batch is in flight. Why this is safe: lib/README.md, "The protocol".
#include "relay/core.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace outseal::relay {

Core::Core(const CoreOptions& options)
    : options_{options},
      jitter_{static_cast<std::minstd_rand::result_type>(options.jitter_seed)},
      poll_{options.poll_min} {}

std::vector<Command> Core::on(const Input& input, Milliseconds now) {
  now_ = now;
  commands_.clear();
  if (phase_ != Phase::finished) std::visit([this](const auto& what) { take(what); }, input);
  if (phase_ != Phase::finished) decide();
  return std::move(commands_);
}

// --- What to do next -----------------------------------------------------------------------------

void Core::decide() {
  switch (phase_) {
    case Phase::standby:
      decide_standby();
      break;
    case Phase::opening:
      decide_opening();
      break;
    case Phase::recovering:
      decide_recovering();
      break;
    case Phase::leading:
      decide_leading();
      break;
    case Phase::acquiring:
    case Phase::finished:
      break;
  }
  if (phase_ != Phase::finished) arm_timer();
}

void Core::decide_standby() {
  if (database_busy_ || sink_busy_) return;
  if (std::exchange(sink_open_, false)) send(CloseSink{});
  if (stopping_) {
    phase_ = Phase::finished;
    send(Finish{drained_});
  } else if (!is_early()) {
    phase_ = Phase::acquiring;
    lease_asked_ = now_;
    ask_database(AcquireLease{});
  }
}

void Core::decide_opening() {
  renew_if_due();
  if (stopping_) return decide_stopping();
  if (sink_busy_ || is_early()) return;
  sink_busy_ = true;
  send(OpenSink{state_.acked, state_.mark});
}

void Core::decide_recovering() {
  if (work_.halt_due) {
    if (database_busy_) return;
    work_.halt_asked = true;
    lease_asked_ = now_;
    return ask_database(RenewLease{});
  }
  if (stopping_ && !work_.rebuilding) return decide_stopping();
  renew_if_due();
  if (!database_busy_ && work_.journal_due)
    ask_database(ReadJournal{*std::exchange(work_.journal_due, std::nullopt)});
}

void Core::decide_leading() {
  renew_if_due();
  if (stopping_) return decide_stopping();
  if (database_busy_) return;
  if (work_.settle_due) {
    ask_database(*work_.settle_due);
  } else if (work_.page && !work_.in_flight) {
    work_.binding = std::exchange(work_.page, nullptr);
    lease_asked_ = now_;
    ask_database(Bind{work_.binding, work_.ack});
  } else if (!work_.page && !work_.log_is_read) {
    ask_database(ReadPage{state_.cursor, bound_tail_});
  } else if (work_.log_is_read && !work_.in_flight) {
    if (work_.ack) {
      lease_asked_ = now_;
      ask_database(Acknowledge{*work_.ack});
    } else if (options_.drain) {
      stopping_ = drained_ = true;
      decide_stopping();
    } else if (options_.may_lose_acknowledged && now_ - looked_at_ >= options_.look_again) {
      // As at the start: what it has lost is sent again, and a fork is seen.
      if (std::exchange(sink_open_, false)) send(CloseSink{});
      phase_ = Phase::opening;
      decide_opening();
    }
  }
}

void Core::decide_stopping() {
  if (database_busy_ || sink_busy_) return;
  if (work_.settle_due)
    ask_database(*work_.settle_due);
  else if (work_.ack)
    ask_database(Acknowledge{*work_.ack});
  else
    ask_database(ReleaseLease{});
}

/// Asks to be woken for whatever comes first. An answer that is under way wakes the core as well.
void Core::arm_timer() {
  std::optional<Milliseconds> due = not_before_;
  const auto sooner = [&due](Milliseconds time) { due = due ? std::min(*due, time) : time; };
  if (has_lease()) sooner(leased_at_ + options_.lease / 3);
  if (phase_ == Phase::leading && work_.log_is_read && !work_.in_flight && !database_busy_)
    sooner(now_ + poll_);
  if (due) send(Wait{std::max(*due - now_, Milliseconds{1})});
}

void Core::renew_if_due() {
  if (database_busy_ || now_ - leased_at_ < options_.lease / 3) return;
  lease_asked_ = now_;
  ask_database(RenewLease{});
}

bool Core::has_lease() const {
  return phase_ == Phase::opening || phase_ == Phase::recovering || phase_ == Phase::leading;
}

bool Core::is_early() const { return not_before_ && now_ < *not_before_; }

// --- Driver --------------------------------------------------------------------------------------

void Core::take(const Started&) {}

void Core::take(const TimerFired&) {
  if (not_before_ && now_ >= *not_before_) not_before_.reset();
  work_.log_is_read = false;
}

void Core::take(const StopRequested&) { stopping_ = true; }

// --- Log -----------------------------------------------------------------------------------------

void Core::take(const PageRead& read) {
  database_busy_ = false;
  const Batch& page = *read.batch;
  // A page that was read before the sink refused an event starts at the wrong place.
  if (phase_ != Phase::leading || work_.settle_due || page.from != state_.cursor ||
      page.prior != bound_tail_)
    return;
  if (page.entries.empty() && page.to == page.from && page.parked.empty()) {
    poll_ = std::min<Milliseconds>(poll_ * 2, options_.poll_max);
    work_.log_is_read = true;
  } else {
    poll_ = options_.poll_min;
    work_.page = read.batch;
  }
}

void Core::take(const Bound&) {
  database_busy_ = false;
  leased_at_ = lease_asked_;
  const BatchPtr batch = std::exchange(work_.binding, nullptr);
  if (work_.ack) note_acknowledged();
  state_.cursor = batch->to;
  for (const ParkedEntry& parked : batch->parked)
    report(observe::Parked{.seq = parked.seq, .bound_id = {}, .reason = parked.reason});
  work_.log_is_read = false;
  if (batch->entries.empty()) return;
  state_.bound = batch->last();
  bound_tail_ = batch->tail_after(batch->size());
  work_.in_flight = batch;
  delivered_ = 0;
  deliver(batch, 0);
}

void Core::take(const PageStale&) {
  database_busy_ = false;
  work_.binding.reset();
  work_.log_is_read = false;
}

void Core::take(const Acknowledged&) {
  database_busy_ = false;
  note_acknowledged();
}

void Core::note_acknowledged() {
  state_.acked = work_.ack->tail;
  state_.mark = std::move(work_.ack->mark);
  work_.ack.reset();
}

void Core::take(const Settled& settled) {
  database_busy_ = false;
  const Settle settle = *std::exchange(work_.settle_due, std::nullopt);
  const BatchEntry& refused = settle.batch->entries[settle.done];
  report(observe::Parked{.seq = refused.seq, .bound_id = refused.id, .reason = settle.reason});
  state_.acked = bound_tail_ = settle.batch->tail_after(settle.done);
  state_.mark.clear();
  state_.bound = state_.acked.position;
  state_.cursor = settled.cursor;
  work_.log_is_read = false;
}

// --- Sink ----------------------------------------------------------------------------------------

void Core::take(const SinkOpened& opened) {
  sink_busy_ = false;
  looked_at_ = now_;
  const OpenResult& result = opened.result;
  sink_open_ = result.status == OpenResult::Status::opened;
  if (phase_ != Phase::opening) return;  // The lease was lost meanwhile.
  switch (result.status) {
    case OpenResult::Status::opened:
      sink_has_worked_ = true;
      phase_ = Phase::recovering;
      warn_about_sink(result);
      if (result.tail)
        compare_tail(*result.tail);
      else if (state_.bound > state_.acked.position)
        resume_pending(state_.acked);  // A sink without a tail gets the whole batch again.
      else
        phase_ = Phase::leading;
      break;
    case OpenResult::Status::retry_later:
      wait_for_sink(Milliseconds{0}, result.detail, result.hint);
      break;
    case OpenResult::Status::unusable:
      // At the start somebody is there to read why. Later its server may get back what it lost.
      if (sink_has_worked_)
        wait_for_sink(Milliseconds{0}, result.detail, result.hint);
      else
        halt(ErrorCode::sink_unreachable, result.detail, result.hint);
      break;
    case OpenResult::Status::refused:
      halt(ErrorCode::refused, result.detail, result.hint);
      break;
  }
}

/// What the sink says about itself although it works, for example that a setting of its server
/// weakens the guarantee. Once, not each time that it is opened.
void Core::warn_about_sink(const OpenResult& result) {
  const std::string warning = with_hint(result.detail, result.hint);
  if (!result.detail.empty() && warning != sink_warning_)
    report(observe::SinkWarned{result.detail, result.hint});
  sink_warning_ = warning;
}

void Core::take(const Delivered& delivered) {
  sink_busy_ = false;
  looked_at_ = now_;
  const DeliveryResult& result = delivered.result;
  if (result.status == DeliveryResult::Status::failed)
    return halt(ErrorCode::sink_unreachable, result.detail, result.hint, true);
  if (result.status == DeliveryResult::Status::refused)
    return halt(ErrorCode::refused, result.detail, result.hint);
  if (!work_.in_flight && !work_.rebuilding) return;  // The lease was lost meanwhile.
  switch (result.status) {
    case DeliveryResult::Status::delivered:
      failures_ = 0;
      trouble_since_.reset();
      if (const BatchPtr rebuilt = std::exchange(work_.rebuilding, nullptr))
        compare_tail(rebuilt->tail_after(rebuilt->size()));
      else
        note_durable(result.mark);
      break;
    case DeliveryResult::Status::rejected:
      if (work_.rebuilding)
        return halt(ErrorCode::refused, "the sink refuses an event that it had: " + result.detail,
                    "restore the sink's former limits, then: outseal-relay run --rebuild");
      work_.settle_due =
          Settle{std::exchange(work_.in_flight, nullptr), result.done, result.detail};
      work_.page.reset();
      break;
    case DeliveryResult::Status::retry_later:
    case DeliveryResult::Status::conflict:
      note_progress(result.done);
      reopen_later(result);
      break;
    case DeliveryResult::Status::failed:
    case DeliveryResult::Status::refused:
      break;
  }
}

void Core::deliver(BatchPtr batch, std::size_t from) {
  sink_busy_ = true;
  send(Deliver{std::move(batch), from});
}

/// A sink that is slow, but takes more each time, is not in trouble.
void Core::note_progress(std::size_t done) {
  if (done <= delivered_) return;
  delivered_ = done;
  failures_ = 0;
  trouble_since_.reset();
}

void Core::note_durable(std::string mark) {
  const BatchPtr batch = std::exchange(work_.in_flight, nullptr);
  work_.ack = Ack{batch->tail_after(batch->size()), batch->first, std::move(mark)};
  work_.log_is_read = false;
}

// --- Trouble -------------------------------------------------------------------------------------

/// Back to the start: whoever leads next, we or another, recovers from database and sink.
void Core::stand_by(Milliseconds wait) {
  work_ = {};
  phase_ = Phase::standby;
  not_before_ = now_ + wait;
}

void Core::reopen_later(const DeliveryResult& result) {
  work_.rebuilding.reset();
  wait_for_sink(result.retry_after, result.detail, result.hint);
}

void Core::wait_for_sink(Milliseconds wish, const std::string& detail, const std::string& hint) {
  if (std::exchange(sink_open_, false)) send(CloseSink{});
  if (!trouble_since_) trouble_since_ = now_;
  if (options_.drain && now_ - *trouble_since_ >= options_.standby_max)
    return halt(ErrorCode::sink_unreachable, detail, hint);
  phase_ = Phase::opening;
  not_before_ = now_ + std::max(wish, backoff());
  if (options_.drain) not_before_ = std::min(*not_before_, *trouble_since_ + options_.standby_max);
  report(observe::SinkWaiting{detail, hint, *not_before_ - now_});
}

/// Exponential with full jitter. Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
Milliseconds Core::backoff() {
  const unsigned shift = std::min(failures_++, 20U);
  const Milliseconds cap =
      std::min<Milliseconds>(options_.backoff_min * (1 << shift), options_.backoff_max);
  std::uniform_int_distribution<Milliseconds::rep> pick(1, cap.count());
  return Milliseconds{pick(jitter_)};
}

void Core::halt(ErrorCode code, std::string what, std::string hint, bool is_final) {
  phase_ = Phase::finished;
  send(Halt{code, std::move(what), std::move(hint), is_final});
}

}  // namespace outseal::relay
