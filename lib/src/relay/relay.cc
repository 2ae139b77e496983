// The loop: take an input, ask the core, carry out its commands. Read it together with core.h.
#include "relay/relay.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "base/failpoint.h"
#include "base/owner.h"
#include "base/text.h"
#include "outseal/error.h"
#include "relay/sink_worker.h"
#include "store/migrations.h"

namespace outseal::relay {
namespace {

using std::chrono::steady_clock;

/// Between two tries to begin.
constexpr std::chrono::seconds kStartPause{1};
/// How often retention looks for something to remove, and how soon again while there is more.
constexpr std::chrono::seconds kRetentionPause{10};
constexpr std::chrono::milliseconds kRetentionStepPause{20};
/// Retention waits while the write-ahead log is larger: only the services' checkpoints shrink it,
/// and rows removed by a relay that runs alone would make it grow without end.
constexpr std::uint64_t kWriteAheadBytesMax = 64U << 20U;

Milliseconds since_start(steady_clock::time_point time) {
  return std::chrono::duration_cast<Milliseconds>(time.time_since_epoch());
}

/// True for trouble that may pass: the relay then waits and starts again from the database's state.
bool may_pass(ErrorCode code) {
  return code == ErrorCode::conflict || code == ErrorCode::unreachable ||
         code == ErrorCode::commit_in_doubt || code == ErrorCode::storage;
}

CoreOptions core_options(CoreOptions options, const Sink& sink) {
  options.forgetful_sink = sink.features().forgetful;
  return options;
}

class Driver {
 public:
  Driver(const RelayOptions& options, std::shared_ptr<Sink> sink, std::stop_token stop,
         const RelayObserver& observer, const RelayProgress& progress)
      : options_{options},
        page_{options.page},
        observer_{observer},
        progress_{progress},
        sink_{std::move(sink)},
        worker_{sink_, mailbox_},
        core_{core_options(options.core, *sink_)},
        on_stop_{std::move(stop), [mailbox = mailbox_] { mailbox->put(StopRequested{}); }} {}

  RelayResult run() {
    page_.events_max = std::min(page_.events_max, sink_->features().batch_events_max);
    if (!begin()) return result_;
    answers_.emplace_back(Started{});
    while (!finished_) {
      const Input input = next_input();
      for (const Command& command : core_.on(input, since_start(steady_clock::now())))
        std::visit([this](const auto& what) { carry_out(what); }, command);
    }
    return result_;
  }

 private:
  // The answers of the database come first: they are there already.
  Input next_input() {
    if (!answers_.empty()) {
      Input input = std::move(answers_.front());
      answers_.pop_front();
      return input;
    }
    retain_if_due();
    auto deadline = log_ ? std::min(timer_, retention_due_) : timer_;
    if (stop_deadline_) deadline = std::min(deadline, *stop_deadline_);
    Input input = mailbox_->take(deadline);
    if (std::holds_alternative<StopRequested>(input) && !stop_deadline_)
      stop_deadline_ = steady_clock::now() + options_.stop_wait;
    if (stop_deadline_ && steady_clock::now() >= *stop_deadline_) abandon();
    return input;
  }

  void abandon() {
    worker_.abandon();
    result_.abandoned = true;
    finished_ = true;
    observer_({"abandoned", "the sink did not answer in time; the next start recovers"});
  }

  /// False if a stop was asked for before the database could be used.
  bool begin() {
    while (true) {
      try {
        connect();
        declare();
        return true;
      } catch (const Error& error) {
        if (!options_.waits_for_database || !may_pass(error.code())) throw;
        log_.reset();
        observer_({"database_failed", with_hint(error.what(), error.hint())});
      }
      if (std::holds_alternative<StopRequested>(mailbox_->take(steady_clock::now() + kStartPause)))
        return false;
    }
  }

  void declare() {
    if (!store::find_subscription(*connection_, options_.subscription.name)) try_sink();
    if (!log_->declare(options_.subscription)) return;
    if (options_.subscription.start == store::Start::now)
      observer_({"subscribed", "start=now"});
    else if (const auto oldest = store::oldest_event(*connection_))
      observer_({"subscribed", "first_seq=" + std::to_string(oldest->value())});
  }

  /// A new subscription is not written down for a sink that cannot be used at all.
  void try_sink() {
    const OpenResult result = sink_->open();
    sink_->close();
    if (result.status == OpenResult::Status::unusable)
      throw Error{ErrorCode::sink_unreachable, "relay", result.detail, {.hint = result.hint}};
    if (result.status == OpenResult::Status::refused)
      throw Error{ErrorCode::refused, "relay", result.detail, {.hint = result.hint}};
  }

  void connect() {
    log_.reset();
    connection_ = sql::open(options_.database);
    store::require_schema(*connection_);
    log_.emplace(*connection_, options_.subscription.name, *sink_,
                 [this] { return sql::open(options_.database); });
  }

  /// Carries out a database command; trouble that may pass becomes an input of its own.
  template <typename Body>
  void ask_database(Body&& body) {
    try {
      if (!log_) connect();
      answers_.push_back(body());
    } catch (const Error& error) {
      if (!may_pass(error.code())) throw;
      log_.reset();  // Connects anew next time: nothing is known of this connection.
      answers_.emplace_back(DatabaseFailed{error.what(), error.hint()});
    }
  }

  static Input answer(store::Written written, Input done) {
    if (written == store::Written::fenced) return Fenced{};
    if (written == store::Written::stale) return PageStale{};
    return done;
  }

  void carry_out(const AcquireLease&) {
    ask_database([this]() -> Input {
      auto acquisition = log_->acquire(owner_, options_.core.lease);
      result_.paused = acquisition.paused;
      if (acquisition.granted) return LeaseGranted{std::move(acquisition.state)};
      if (acquisition.paused) return LeasePaused{};
      return LeaseDenied{std::move(acquisition.holder), acquisition.remaining};
    });
  }
  void carry_out(const RenewLease&) {
    ask_database([this] { return answer(log_->renew(options_.core.lease), LeaseRenewed{}); });
  }
  void carry_out(const ReleaseLease&) {
    ask_database([this]() -> Input {
      log_->release();
      return LeaseReleased{};
    });
  }
  void carry_out(const ReadPage& read) {
    ask_database([&]() -> Input {
      return PageRead{std::make_shared<Batch>(log_->read_page(read.from, read.prior, page_))};
    });
  }
  void carry_out(const ReadJournal& read) {
    ask_database([&]() -> Input {
      try {
        return JournalRead{std::make_shared<Batch>(log_->read_journal(read.position))};
      } catch (const Error& error) {
        if (error.code() != ErrorCode::refused) throw;
        return JournalUnreadable{error.message()};
      }
    });
  }
  void carry_out(const Bind& bind) {
    ask_database([&] {
      const auto written = log_->bind(*bind.batch, bind.ack, options_.core.lease);
      if (bind.ack && written == store::Written::done) count(*bind.ack);
      return answer(written, Bound{});
    });
  }
  void carry_out(const Acknowledge& acknowledge) {
    ask_database([&] {
      const auto written = log_->acknowledge(acknowledge.ack, options_.core.lease);
      if (written == store::Written::done) count(acknowledge.ack);
      return answer(written, Acknowledged{});
    });
  }
  void carry_out(const Settle& settle) {
    ask_database([&] {
      Cursor cursor;
      const auto written =
          log_->settle(*settle.batch, settle.done, settle.reason, cursor, options_.core.lease);
      result_.published += written == store::Written::done ? settle.done : 0;
      return answer(written, Settled{cursor});
    });
  }

  void carry_out(const OpenSink& open) { worker_.post(open); }
  void carry_out(const Deliver& deliver) {
    failpoint("relay.before_deliver");
    worker_.post(deliver);
  }
  void carry_out(const CloseSink& close) { worker_.post(close); }

  void carry_out(const Wait& wait) { timer_ = steady_clock::now() + wait.duration; }
  void carry_out(const Report& report) { observer_({report.event, report.detail}); }
  void carry_out(const Finish& finish) {
    result_.drained = finish.drained;
    finished_ = true;
  }
  void carry_out(const Halt& halt) {
    try {
      if (log_) log_->release();
    } catch (const Error&) {  // The lease runs out by itself.
    }
    throw Error{halt.code, "relay", halt.what, {.hint = halt.hint}};
  }

  void count(const store::Ack& ack) {
    result_.published += ack.tail.position.value() + 1 - ack.first.value();
    progress_(result_.published);
  }

  void retain_if_due() {
    if (steady_clock::now() < retention_due_ || !log_) return;
    retention_due_ = steady_clock::now() + kRetentionPause;
    const bool paused = connection_->write_ahead_bytes() > kWriteAheadBytesMax;
    if (paused && !retention_paused_)
      observer_({"retention_paused", "the write-ahead log waits for a checkpoint by a service"});
    retention_paused_ = paused;
    if (paused) return;
    try {
      const auto removed = store::retain_step(*connection_, options_.subscription.name,
                                              options_.retention, &retention_progress_);
      if (removed >= options_.retention.step_rows)
        retention_due_ = steady_clock::now() + kRetentionStepPause;
      if (removed > 0) observer_({"retained", "rows_removed=" + std::to_string(removed)});
    } catch (const Error& error) {
      if (!may_pass(error.code())) throw;  // Else: another time.
    }
  }

  const RelayOptions& options_;
  store::PageLimits page_;
  const RelayObserver& observer_;
  const RelayProgress& progress_;
  const std::string owner_ = this_owner();
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::shared_ptr<Sink> sink_;
  SinkWorker worker_;
  Core core_;
  std::stop_callback<std::function<void()>> on_stop_;

  std::unique_ptr<sql::Connection> connection_;
  std::optional<store::SubscriptionLog> log_;
  std::deque<Input> answers_;
  steady_clock::time_point timer_ = steady_clock::now();
  // At once: a relay that only ever drains must remove what it published earlier, too.
  steady_clock::time_point retention_due_ = steady_clock::now();
  store::RetentionProgress retention_progress_;
  bool retention_paused_ = false;
  std::optional<steady_clock::time_point> stop_deadline_;
  RelayResult result_;
  bool finished_ = false;
};

/// Pages of megabytes come and go hundreds of times a second. Given back to the system and asked
/// for again each time, they would cost a sixth of a drain.
void keep_freed_memory() {
  static_cast<void>(::mallopt(M_TRIM_THRESHOLD, 32 << 20));
  static_cast<void>(::mallopt(M_MMAP_THRESHOLD, 16 << 20));
}

}  // namespace

RelayResult run(const RelayOptions& options, std::unique_ptr<Sink> sink, std::stop_token stop,
                const RelayObserver& observer, const RelayProgress& progress) {
  keep_freed_memory();
  Driver driver{options, std::shared_ptr<Sink>{std::move(sink)}, std::move(stop), observer,
                progress};
  return driver.run();
}

}  // namespace outseal::relay
