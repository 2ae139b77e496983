// The relay's core: a pure state machine. Inputs in, commands out; no I/O and no clock of its own,
// so that the same code runs against real databases and sinks (relay.cc) and in a seeded simulation
// (tests/sim). What it does and why it is safe: lib/README.md, "The protocol".
//
//   standby -> acquiring -> opening -> recovering -> leading -> (stopping) -> finished
//      ^___________________________________________________|  fenced, database or sink trouble
//
// At most one command for the database and one for the sink are under way at any time; the driver
// answers each with exactly one input.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/number_range.h"
#include "model/batch.h"
#include "model/sink.h"
#include "model/subscription.h"
#include "observe/observation.h"
#include "outseal/error.h"

namespace outseal::relay {

using Milliseconds = std::chrono::milliseconds;
using BatchPtr = std::shared_ptr<const Batch>;

struct CoreOptions {
  using Range = NumberRange<Milliseconds>;
  static constexpr Milliseconds kMinute{60'000};
  static constexpr Milliseconds kHour = 60 * kMinute;
  static constexpr Range kPollMin{Milliseconds{1}, Milliseconds{1}, kMinute};
  static constexpr Range kPollMax{Milliseconds{50}, Milliseconds{1}, kMinute};
  static constexpr Range kBackoffMin{Milliseconds{100}, Milliseconds{1}, kHour};
  static constexpr Range kBackoffMax{Milliseconds{30'000}, Milliseconds{1}, kHour};
  static constexpr Range kStandbyMax{Milliseconds{30'000}, Milliseconds{0}, kHour};

  bool drain = false;    ///< Finish once everything that is committed is acknowledged.
  bool rebuild = false;  ///< Send acknowledged events again that the sink has lost.
  /// As SinkFeatures::may_lose_acknowledged: sent again without being told.
  bool may_lose_acknowledged = false;
  Milliseconds lease = kLease.fallback;
  Milliseconds poll_min = kPollMin.fallback;
  Milliseconds poll_max = kPollMax.fallback;
  Milliseconds backoff_min = kBackoffMin.fallback;
  Milliseconds backoff_max = kBackoffMax.fallback;
  /// How often an idle leader of a forgetful sink looks whether it still has its end: a server that
  /// went back to an older state says nothing by itself. Chosen by us: one connection in that time.
  Milliseconds look_again{15'000};
  /// With `drain`: give up after another relay has led for this long.
  Milliseconds standby_max = kStandbyMax.fallback;
  std::uint64_t jitter_seed = 1;
};

// --- Inputs: what happened ---------------------------------------------------------------------

struct Started {};
struct TimerFired {};     ///< The time of the latest Wait has come.
struct StopRequested {};  ///< SIGTERM.
// Answers to database commands:
struct LeaseGranted {
  SubscriptionState state;
};
struct LeaseDenied {
  std::string holder;
  Milliseconds remaining{0};
};
struct LeasePaused {};  ///< Nobody may lead until an operator resumes the subscription.
struct LeaseRenewed {};
struct LeaseReleased {};
struct PageRead {
  BatchPtr batch;
};  ///< Empty entries, `to` == `from`: nothing new.
struct JournalRead {
  BatchPtr batch;
};  ///< Verified against the journal's hash.
struct JournalUnreadable {
  std::string why;
};
struct Bound {};
/// Answer to Bind: an operator decided about an event of the page; nothing was written, read again.
/// No current command touches queued events. The check stays because it costs nothing (each write
/// reports its row count) and without it a command that did would have a discarded event published.
struct PageStale {};
struct Acknowledged {};
struct Settled {
  Cursor cursor;
};
struct Fenced {};  ///< Answer to any write: another relay leads, or an operator acted.
struct DatabaseFailed {
  std::string what;
  std::string hint;
};  ///< Answer to any: may work later, outcome unknown.
// Answers to sink commands:
struct SinkOpened {
  OpenResult result;
  std::chrono::microseconds took{0};  ///< For who observes it; decides nothing.
};
struct Delivered {
  DeliveryResult result;
  std::chrono::microseconds took{0};  ///< As above.
};

using Input =
    std::variant<Started, TimerFired, StopRequested, LeaseGranted, LeaseDenied, LeasePaused,
                 LeaseRenewed, LeaseReleased, PageRead, JournalRead, JournalUnreadable, Bound,
                 PageStale, Acknowledged, Settled, Fenced, DatabaseFailed, SinkOpened, Delivered>;

// --- Commands: what to do ----------------------------------------------------------------------

// For the database:
struct AcquireLease {};
struct RenewLease {};
struct ReleaseLease {};
struct ReadPage {
  Cursor from;
  Tail prior;
};
struct ReadJournal {
  Position position;
};
struct Bind {
  BatchPtr batch;
  std::optional<Ack> ack;
};
struct Acknowledge {
  Ack ack;
};
struct Settle {
  BatchPtr batch;
  std::size_t done = 0;
  std::string reason;
};
// For the sink:
struct OpenSink {
  Tail acked;  ///< As in SinkSession::resume_from.
  std::string mark;
};
struct Deliver {
  BatchPtr batch;
  std::size_t from = 0;
};
struct CloseSink {};  ///< Needs no answer; the driver does it before the next sink command.
// For the driver:
struct Wait {
  Milliseconds duration{0};
};  ///< Replaces an earlier Wait.
struct Report {
  observe::Observation what;
};  ///< Something an operator should see.
struct Halt {
  ErrorCode code;
  std::string what;
  std::string hint;
  bool is_final = false;  ///< This process must not write the sink any more.
};                        ///< Stop for good.
struct Finish {
  bool drained = false;
};  ///< Done: drained or stopped.

using Command =
    std::variant<AcquireLease, RenewLease, ReleaseLease, ReadPage, ReadJournal, Bind, Acknowledge,
                 Settle, OpenSink, Deliver, CloseSink, Wait, Report, Halt, Finish>;

/// The state machine of one relay of one subscription.
///
/// Threads: Not thread-safe; one thread at a time.
/// Crash: it holds nothing that is not in the database or the sink; a new one recovers from there.
class Core {
 public:
  explicit Core(const CoreOptions& options);

  /// Takes one input at time `now` (any steady clock) and says what to do next, in order.
  std::vector<Command> on(const Input& input, Milliseconds now);

  /// Adds to `digest` all that decides about the commands to come, durations aside: for the tests,
  /// which define it (tests/sim/canonical.cc).
  template <typename Digest>
  void canonical(Digest& digest) const;

 private:
  enum class Phase { standby, acquiring, opening, recovering, leading, finished };

  void take(const Started&);
  void take(const TimerFired&);
  void take(const StopRequested&);
  void take(const LeaseGranted&);
  void take(const LeaseDenied&);
  void take(const LeasePaused&);
  void take(const LeaseRenewed&);
  void take(const LeaseReleased&);
  void take(const PageRead&);
  void take(const JournalRead&);
  void take(const JournalUnreadable&);
  void take(const Bound&);
  void take(const PageStale&);
  void take(const Acknowledged&);
  void take(const Settled&);
  void take(const Fenced&);
  void take(const DatabaseFailed&);
  void take(const SinkOpened&);
  void take(const Delivered&);

  void decide();
  void decide_standby();
  void decide_opening();
  void decide_recovering();
  void decide_leading();
  void decide_stopping();
  void arm_timer();
  void renew_if_due();
  // core_recovery.cc: what the sink's tail means.
  void compare_tail(const Tail& tail);
  void resume_pending(const Tail& tail);
  void rebuild_from(BatchPtr batch);
  void lost_or_rebuild(const Tail& tail);
  void halt_fork(const Tail& tail, const std::string& expected);
  void halt_if_leading(std::string what, std::string hint);

  void warn_about_sink(const OpenResult& result);
  void deliver(BatchPtr batch, std::size_t from);
  void note_progress(std::size_t done);
  void note_durable(std::string mark);
  void note_acknowledged();
  void stand_by(Milliseconds wait);
  void reopen_later(const DeliveryResult& result);
  void wait_for_sink(Milliseconds wish, const std::string& detail, const std::string& hint);
  bool has_lease() const;
  bool is_early() const;
  Milliseconds backoff();

  template <typename C>
  void send(C command) {
    commands_.emplace_back(std::move(command));
  }
  template <typename C>
  void ask_database(C command) {
    database_busy_ = true;
    send(std::move(command));
  }
  void report(observe::Observation what) { send(Report{std::move(what)}); }
  void halt(ErrorCode code, std::string what, std::string hint, bool is_final = false);

  CoreOptions options_;
  std::minstd_rand jitter_;
  Milliseconds now_{0};
  std::vector<Command> commands_;

  Phase phase_ = Phase::standby;
  bool stopping_ = false;  ///< Start nothing new, acknowledge, give the lease back, finish.
  bool drained_ = false;
  bool database_busy_ = false;
  bool sink_busy_ = false;
  bool sink_open_ = false;
  bool sink_has_worked_ = false;               ///< It was open once in this run.
  bool is_paused_ = false;                     ///< As the database said last; reported once.
  std::string sink_warning_;                   ///< The last one that was reported.
  std::optional<Milliseconds> not_before_;     ///< Nothing new is tried before this time.
  std::uint32_t failures_ = 0;                 ///< In a row; drives the backoff.
  std::optional<Milliseconds> trouble_since_;  ///< No lease or no sink since then.
  Milliseconds lease_asked_{0};  ///< When the answer to come was asked for: a lease counts from it.
  Milliseconds leased_at_{0};
  Milliseconds looked_at_{0};  ///< When the sink last showed its tail, or took events behind it.

  /// What is under way while we lead. Whoever leads next finds it out from database and sink.
  struct Work {
    std::optional<Tail> sink_tail;        ///< What the sink showed when it was opened.
    std::optional<Halt> halt_due;         ///< While recovering: halt if we still lead.
    bool halt_asked = false;              ///< The database has been asked whether we do.
    std::optional<Position> journal_due;  ///< While recovering: the batch to read next.
    BatchPtr in_flight;                   ///< Bound, not known to be durable in the sink.
    BatchPtr rebuilding;                  ///< Acknowledged, being sent again.
    std::optional<Ack> ack;               ///< Durable in the sink, not yet written.
    std::optional<Settle> settle_due;     ///< Refused by the sink, not yet written.
    BatchPtr page;                        ///< Read ahead, not bound.
    BatchPtr binding;                     ///< The page whose intent is being written.
    bool log_is_read = false;             ///< The last page was empty; wait before the next.
  };

  SubscriptionState state_;  ///< As acquired, then as written by us.
  Tail bound_tail_;          ///< The event at state_.bound.
  Work work_;
  std::size_t delivered_ = 0;  ///< Most entries of what is in flight that the sink said to have.
  Milliseconds poll_{0};
};

}  // namespace outseal::relay
