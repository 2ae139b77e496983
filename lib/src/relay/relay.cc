// The loop: take an input, ask the core, carry out its commands. Read it together with core.h.
#include "relay/relay.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "base/failpoint.h"
#include "base/owner.h"
#include "model/stop_budget.h"
#include "outseal/error.h"
#include "relay/sink_worker.h"
#include "sql/log.h"
#include "store/halt.h"
#include "store/migrations.h"

namespace outseal::relay {
namespace {

using std::chrono::steady_clock;

/// Between two tries to begin.
constexpr std::chrono::seconds kStartPause{1};
/// How long a cursor may move over others' events before that is written.
constexpr std::chrono::seconds kSkipPause{10};
/// How often a busy relay says how far it is.
constexpr std::chrono::seconds kPublishingPause{10};

Milliseconds since_start(steady_clock::time_point time) {
  return std::chrono::duration_cast<Milliseconds>(time.time_since_epoch());
}

/// True for trouble that may pass: the relay then waits and starts again from the database's state.
bool may_pass(ErrorCode code) {
  return code == ErrorCode::conflict || code == ErrorCode::unreachable ||
         code == ErrorCode::commit_in_doubt || code == ErrorCode::storage;
}

CoreOptions core_options(CoreOptions options, const Sink& sink) {
  options.may_lose_acknowledged = sink.features().may_lose_acknowledged;
  return options;
}

class Driver {
 public:
  Driver(const RelayOptions& options, std::shared_ptr<Sink> sink, std::stop_token stop,
         const observe::Observer& observer)
      : options_{options},
        page_{options.page},
        observer_{observer},
        sink_{std::move(sink)},
        worker_{sink_, mailbox_},
        core_{core_options(options.core, *sink_)},
        on_stop_{std::move(stop), [mailbox = mailbox_] { mailbox->put(StopRequested{}); }} {}

  RelayResult run() {
    try {
      return work();
    } catch (const Error& error) {
      note_halt(error);
      throw Halted{error, result_.published > 0, is_final_};
    }
  }

 private:
  RelayResult work() {
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

  /// For `outseal-relay status`. A drain is somebody's command, and its exit code tells.
  void note_halt(const Error& error) {
    if (options_.core.drain) return;
    log_.reset();
    connection_.reset();
    try {
      store::record_halt(*sql::open(options_.database), options_.subscription.name, error);
    } catch (const Error&) {  // Then the error alone tells.
    }
  }

  // The answers of the database come first: they are there already.
  Input next_input() {
    if (!answers_.empty()) {
      Input input = std::move(answers_.front());
      answers_.pop_front();
      return input;
    }
    auto deadline = timer_;
    if (stop_deadline_) deadline = std::min(deadline, *stop_deadline_);
    Input input = checked(mailbox_->take(deadline));
    observe_sink(input);
    if (std::holds_alternative<StopRequested>(input) && !stop_deadline_)
      stop_deadline_ = steady_clock::now() + StopBudget::kDelivery;
    if (stop_deadline_ && steady_clock::now() >= *stop_deadline_) abandon();
    return input;
  }

  void report(const observe::Observation& what) { observer_(options_.subscription.name, what); }

  void observe_sink(const Input& input) {
    if (const auto* delivered = std::get_if<Delivered>(&input))
      report(observe::Delivered{delivered->result.status, delivering_, delivered->took});
    const auto* opened = std::get_if<SinkOpened>(&input);
    if (opened != nullptr && opened->result.status == OpenResult::Status::opened)
      report(observe::SinkOpened{opened->took});
  }

  void abandon() {
    worker_.abandon();
    result_.abandoned = true;
    finished_ = true;
    report(observe::Abandoned{observe::Abandoned::What::sink});
  }

  /// False if a stop was asked for before the database could be used.
  bool begin() {
    const auto patience = steady_clock::now() + options_.core.standby_max;
    while (true) {
      try {
        connect();
        declare();
        return true;
      } catch (const Error& error) {
        // The writers of a busy database, many relays among them, take turns.
        const bool is_busy = error.code() == ErrorCode::conflict && steady_clock::now() < patience;
        if (!is_busy && (!options_.waits_for_database || !may_pass(error.code()))) throw;
        log_.reset();
        report(observe::DatabaseFailed{error.what(), error.hint(), kStartPause});
      }
      if (std::holds_alternative<StopRequested>(mailbox_->take(steady_clock::now() + kStartPause)))
        return false;
    }
  }

  void declare() {
    SubscriptionSpec asked = options_.subscription;
    const auto known = sql::find_subscription(*connection_, asked.name);
    asked.sink_identity = known ? known->sink_identity : try_sink().identity;
    if (known && known->sink != asked.sink && is_same_sink(*known))
      store::set_sink(*connection_, asked.name, asked.sink, asked.sink_identity);
    const bool is_made = log_->declare(asked);
    identity_ = sql::find_subscription(*connection_, asked.name)->sink_identity;
    if (!is_made) return;
    if (asked.start == Start::now)
      report(observe::Subscribed{});
    else if (const auto oldest = sql::find_oldest_event(*connection_))
      report(observe::Subscribed{oldest});
  }

  /// Whether another address leads to the known sink: some kinds can be asked what they are.
  bool is_same_sink(const SubscriptionSpec& known) {
    if (options_.is_same_sink && options_.is_same_sink(known.sink)) return true;
    if (known.sink_identity.empty()) return false;
    const OpenResult opened = try_sink();
    if (opened.status != OpenResult::Status::opened)
      throw Error{ErrorCode::sink_unreachable,
                  "relay",
                  "cannot ask the sink whether it is the one of the subscription: " + opened.detail,
                  {.hint = opened.hint}};
    return opened.identity == known.sink_identity;
  }

  /// The same address may lead to another sink.
  Input checked(Input input) {
    auto* const opened = std::get_if<SinkOpened>(&input);
    if (opened == nullptr || opened->result.identity.empty()) return input;
    OpenResult& result = opened->result;
    if (identity_.empty()) {
      identity_ = result.identity;
      try {
        if (log_)
          store::set_sink(*connection_, options_.subscription.name, options_.subscription.sink,
                          identity_);
      } catch (const Error&) {  // The next start will.
      }
    } else if (identity_ != result.identity) {
      result = {.status = OpenResult::Status::refused,
                .detail = "the sink at this address is another one: " + result.identity +
                          ", the subscription has " + identity_,
                .hint =
                    "give the subscription's own sink; if this one holds the same events, say so"
                    " with outseal-relay move"};
    }
    return input;
  }

  /// A new subscription is not written down for a sink that cannot be used at all.
  OpenResult try_sink() {
    OpenResult result = sink_->open();
    sink_->close();
    if (result.status == OpenResult::Status::unusable)
      throw Error{ErrorCode::sink_unreachable, "relay", result.detail, {.hint = result.hint}};
    if (result.status == OpenResult::Status::refused)
      throw Error{ErrorCode::refused, "relay", result.detail, {.hint = result.hint}};
    return result;
  }

  void connect() {
    log_.reset();
    skipped_.reset();
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

  static Input answer(WriteOutcome written, Input done) {
    if (written == WriteOutcome::fenced) return Fenced{};
    if (written == WriteOutcome::stale) return PageStale{};
    return done;
  }

  void carry_out(const AcquireLease&) {
    ask_database([this]() -> Input {
      auto acquisition = log_->acquire(owner_, options_.core.lease);
      result_.paused = acquisition.paused;
      if (!acquisition.granted) report(observe::LeaseRefused{acquisition.paused});
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
      if (!result_.has_led) store::clear_halt(*connection_, options_.subscription.name);
      result_.has_led = true;
      return PageRead{read_page(read)};
    });
  }

  /// A page of nothing but other subscriptions' events only moves the cursor. That is remembered
  /// here and written seldom: many subscriptions would otherwise write all the time, and on SQLite
  /// keep the services from writing. After a crash what was left out is left out again.
  std::shared_ptr<Batch> read_page(const ReadPage& read) {
    if (!skipped_ || skipped_->from != read.from)
      skipped_ = Skipped{.from = read.from, .to = read.from, .since = steady_clock::now()};
    auto page = std::make_shared<Batch>(log_->read_page(skipped_->to, read.prior, page_));
    page->from = read.from;
    if (!page->entries.empty() || !page->parked.empty() || options_.core.drain) return page;
    // In the middle of much that is left out there is no waiting before the next page. And a batch
    // that begins inside of a window of PostgreSQL ends in it.
    const bool inside = !read.from.snap_to.empty() || !page->to.snap_to.empty();
    const auto looked_at = page->to.after_seq.value() - skipped_->to.after_seq.value();
    const auto most =
        static_cast<std::int64_t>(page_.events_max) * store::SubscriptionLog::kScanPages;
    const bool full = looked_at >= most;
    if (inside || full || steady_clock::now() - skipped_->since >= kSkipPause) return page;
    skipped_->to = std::exchange(page->to, read.from);
    return page;
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
      const auto begin = steady_clock::now();
      const Batch& batch = *bind.batch;
      const auto written = log_->bind(batch, bind.ack, options_.core.lease);
      const auto took = observe::since(begin);
      if (bind.ack && written == WriteOutcome::done) count(*bind.ack);
      if (!batch.entries.empty() && written == WriteOutcome::done)
        report(observe::Bound{batch.last(), batch.size(), batch.bytes.size(), took});
      return answer(written, Bound{});
    });
  }
  void carry_out(const Acknowledge& acknowledge) {
    ask_database([&] {
      const auto written = log_->acknowledge(acknowledge.ack, options_.core.lease);
      if (written == WriteOutcome::done) count(acknowledge.ack);
      return answer(written, Acknowledged{});
    });
  }
  void carry_out(const Settle& settle) {
    ask_database([&] {
      Cursor cursor;
      const auto written =
          log_->settle(*settle.batch, settle.done, settle.reason, cursor, options_.core.lease);
      if (written == WriteOutcome::done) {
        result_.published += settle.done;
        report(observe::Settled{settle.batch->tail_after(settle.done).position, settle.done});
      }
      return answer(written, Settled{cursor});
    });
  }

  void carry_out(const OpenSink& open) { worker_.post(open); }
  void carry_out(const Deliver& deliver) {
    failpoint("relay.before_deliver");
    delivering_ = deliver.batch->size() - deliver.from;
    worker_.post(deliver);
  }
  void carry_out(const CloseSink& close) { worker_.post(close); }

  void carry_out(const Wait& wait) { timer_ = steady_clock::now() + wait.duration; }
  void carry_out(const Report& reported) { report(reported.what); }
  void carry_out(const Finish& finish) {
    result_.drained = finish.drained;
    finished_ = true;
  }
  void carry_out(const Halt& halt) {
    try {
      if (log_) log_->release();
    } catch (const Error&) {  // The lease runs out by itself.
    }
    is_final_ = halt.is_final;
    throw Error{halt.code, "relay", halt.what, {.hint = halt.hint}};
  }

  void count(const Ack& ack) {
    const std::uint64_t events = ack.tail.position.value() + 1 - ack.first.value();
    result_.published += events;
    report(observe::Acknowledged{ack.tail.position, events, result_.published});
    if (steady_clock::now() < publishing_due_) return;
    publishing_due_ = steady_clock::now() + kPublishingPause;
    report(observe::Publishing{result_.published});
  }

  const RelayOptions& options_;
  store::PageLimits page_;
  const observe::Observer& observer_;
  const std::string owner_ = this_owner();
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::shared_ptr<Sink> sink_;
  SinkWorker worker_;
  Core core_;
  std::stop_callback<std::function<void()>> on_stop_;

  /// What was read behind the core's cursor `from`, and holds nothing of the subscription.
  struct Skipped {
    Cursor from;
    Cursor to;
    steady_clock::time_point since;
  };

  std::unique_ptr<sql::Connection> connection_;
  std::optional<store::SubscriptionLog> log_;
  std::optional<Skipped> skipped_;
  std::deque<Input> answers_;
  steady_clock::time_point timer_ = steady_clock::now();
  std::optional<steady_clock::time_point> stop_deadline_;
  steady_clock::time_point publishing_due_ = steady_clock::now() + kPublishingPause;
  std::size_t delivering_ = 0;  ///< Events that the sink was given last.
  RelayResult result_;
  std::string identity_;  ///< What the sink is; empty as long as it is not known.
  bool finished_ = false;
  bool is_final_ = false;
};

}  // namespace

RelayResult run(const RelayOptions& options, std::unique_ptr<Sink> sink, std::stop_token stop,
                const observe::Observer& observer) {
  const std::string& name = options.subscription.name;
  observer(name, observe::Started{options.subscription.sink});
  const RelayResult result =
      Driver{options, std::shared_ptr<Sink>{std::move(sink)}, std::move(stop), observer}.run();
  observer(name, observe::Finished{result.published, result.drained});
  return result;
}

}  // namespace outseal::relay
