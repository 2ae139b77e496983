// consume(): the loop of a receiver. A round is two transactions: begin_next() notes in a small one
// what is about to be tried, handle() tries it; see store/attempt.h.
//
// A batch has no attempt of its own, only the place where it ends. If the cursor has not come to
// there, the batch has failed, or is about to begin somewhere else; either way its events are then
// tried alone, each as an attempt. So a poison event costs its batch one round more, and none of
// its neighbours is blamed.
#include "outseal/consume.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <random>
#include <utility>

#include "base/failpoint.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "store/attempt.h"
#include "store/inbox_page.h"
#include "store/observed.h"

namespace outseal {
namespace {

using std::chrono::milliseconds;

/// What a round is about to try.
struct Next {
  bool nothing = false;  ///< All is taken.
  bool busy = false;     ///< Another worker is about to try it.
  bool parked = false;   ///< It was set aside just now.
  sql::AttemptedEvent event = {};
  std::uint32_t attempts = 0;  ///< Of an event alone; 0 for a batch.
  Position from = {};          ///< The cursor, for a batch.
  std::size_t events_max = 1;
};

/// Waits that end when a stop is requested.
class Waiter {
 public:
  explicit Waiter(std::stop_token stop) : stop_{std::move(stop)} {}

  void wait(milliseconds time) {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, stop_, time, [] { return false; });
  }
  /// At random, up to `time`.
  milliseconds jittered(milliseconds time) {
    return milliseconds{std::uniform_int_distribution<std::int64_t>{1, time.count()}(random_)};
  }

 private:
  std::stop_token stop_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::minstd_rand random_{std::random_device{}()};
};

class Consumer {
 public:
  Consumer(const SessionOpener& open, std::string_view stream, const EventHandler& handler,
           const ConsumeOptions& options)
      : open_{open}, stream_{stream}, handler_{handler}, options_{options}, waiter_{options.stop} {}

  Consumed run() {
    while (!options_.stop.stop_requested()) {
      try {
        if (!session_) connect();
        purge();
        if (!round() && options_.until_empty) break;
      } catch (const Error& error) {
        survive(error);
      }
    }
    return done_;
  }

 private:
  void connect() {
    statements_.reset();
    try {
      session_.emplace(open_());
      if (sql::handle_of(*session_) == nullptr || sql::wrap(*session_)->lost())
        throw Error{ErrorCode::unreachable,
                    "consume",
                    "the service's callable returned a connection that is not open",
                    {.hint = "see why it cannot be opened"}};
      statements_.emplace(*session_);
    } catch (...) {
      session_.reset();
      if (!has_connected_) throw;
      try {
        throw;
      } catch (const Error&) {
        throw;
      } catch (const std::exception&) {
        std::throw_with_nested(Error{ErrorCode::unreachable, "consume",
                                     "the service's callable could not open a connection"});
      }
    }
    has_connected_ = true;
    look_closely_ = true;
  }

  /// An error that is no event's fault.
  void survive(const Error& error) {
    if (error.recovery() == Recovery::fix_first) throw;
    if (error.recovery() != Recovery::retry_transaction) {
      statements_.reset();
      session_.reset();
    }
    back_off({.reason = error.what(), .error = &error});
  }

  /// @returns false if there was nothing to do.
  bool round() {
    const Next next = find_next();
    if (next.nothing || next.busy) {
      poll_ = std::clamp(poll_ * 2, options_.poll_min, options_.poll_max);
      if (next.busy || !options_.until_empty) waiter_.wait(poll_);
      return next.busy;
    }
    poll_ = {};
    if (next.parked) return true;
    failpoint("consume.begun");
    const auto failure = handle(next);
    if (!failure) return true;
    batch_from_.reset();
    ConsumeTrouble trouble{.reason = failure->reason};
    if (next.attempts > 0) {
      note_failure(next.event, *failure);
      trouble.event = next.event.id;
      trouble.position = next.event.position.value_or(Position{});
      trouble.attempts = next.attempts;
    }
    back_off(trouble);
    return true;
  }

  Next find_next();
  Next begin_alone(sql::Connection& connection, sql::AttemptedEvent event,
                   const sql::InboxCursor& cursor, Transaction& tx);
  std::optional<store::HandlerFailure> handle(const Next& next);
  std::size_t call_for(const store::InboxPage& page, Transaction& tx,
                       std::optional<store::HandlerFailure>& failure);
  bool is_still_next(const Next& next, const sql::InboxCursor& cursor, Transaction& tx);
  void note_failure(const sql::AttemptedEvent& event, const store::HandlerFailure& failure);
  void purge();

  void back_off(ConsumeTrouble trouble) {
    backoff_ = std::clamp(backoff_ * 2, options_.backoff_min, options_.backoff_max);
    trouble.wait = waiter_.jittered(backoff_);
    tell(trouble);
    waiter_.wait(trouble.wait);
  }
  void tell(ConsumeTrouble trouble) const {
    trouble.stream = stream_;
    store::tell(options_.transaction.observer, trouble);
  }
  TransactionOptions transaction_options() {
    TransactionOptions options = options_.transaction;
    options.statements = &*statements_;
    return options;
  }

  const SessionOpener& open_;
  const std::string_view stream_;
  const EventHandler& handler_;
  const ConsumeOptions& options_;
  Waiter waiter_;
  Consumed done_;

  std::optional<Session> session_;
  std::optional<StatementCache> statements_;  ///< Of `session_`.
  bool has_connected_ = false;
  bool look_closely_ = true;  ///< Whatever a look without locks says.
  milliseconds poll_{};
  milliseconds backoff_{};
  std::chrono::steady_clock::time_point purge_at_{};

  EventId attempt_ = new_event_id();
  std::optional<Position> batch_from_;  ///< Of a batch that no event has made fail.
};

/// Notes what is tried next.
Next Consumer::find_next() {
  if (!std::exchange(look_closely_, false) &&
      !sql::is_inbox_due(*Transaction::Impl::attach(*session_, transaction_options())->connection,
                         stream_))
    return {.nothing = true};
  Transaction tx{*session_, store::small(transaction_options())};
  sql::Connection& connection = store::connection_of(tx);
  const sql::InboxCursor cursor = store::lock_cursor(connection, stream_);
  if (cursor.has_parked)
    if (auto queued = sql::find_queued_inbox(connection, stream_))
      return begin_alone(connection, std::move(*queued), cursor, tx);
  const bool again = batch_from_ == cursor.taken;  // It met a conflict, for example.
  const bool alone = cursor.taken < cursor.tried_to && !again && !mutant("no_one_by_one");
  const auto events_max =
      alone ? std::int64_t{1} : static_cast<std::int64_t>(options_.take.events_max);
  auto next = sql::find_next_inbox(connection, stream_, cursor.taken, events_max);
  if (!next && cursor.taken >= cursor.put) {
    if (cursor.taken == Position{}) store::check_known(connection, stream_);
    return {.nothing = true};
  }
  if (next && next->first.position == next->last && next->last == advance(cursor.taken) &&
      !(cursor.has_parked && sql::is_inbox_key_blocked(connection, stream_, next->first.key)))
    return begin_alone(connection, std::move(next->first), cursor, tx);
  const Position last = next ? next->last : cursor.put;  // Without it, it is a hole.
  if (last > cursor.tried_to) sql::note_inbox_batch(connection, stream_, last);
  tx.commit();
  batch_from_ = cursor.taken;
  const std::uint64_t span = last.value() - cursor.taken.value();
  return {.from = cursor.taken,
          .events_max = std::min(static_cast<std::size_t>(span), options_.take.events_max)};
}

/// Begins an attempt at one event, or sets it aside.
Next Consumer::begin_alone(sql::Connection& connection, sql::AttemptedEvent event,
                           const sql::InboxCursor& cursor, Transaction& tx) {
  batch_from_.reset();
  const auto begun =
      store::begin_attempt(connection, stream_, event, attempt_, options_.attempts_max);
  if (begun.outcome == store::Begun::busy) return {.busy = true};
  if (begun.outcome == store::Begun::begun) {
    tx.commit();
    return {.event = std::move(event), .attempts = begun.attempts};
  }
  // Its row is either ours to park, or says already that nobody may handle it.
  const std::string reason = store::parked_reason(begun);
  const bool exhausted = begun.outcome == store::Begun::exhausted;
  if (exhausted) {
    sql::park_attempt(connection, stream_, event.id, reason);
    failpoint("consume.after_park");
  }
  if (event.position == advance(cursor.taken))
    sql::move_inbox_cursor(connection, stream_, cursor, *event.position);
  tx.commit();
  if (exhausted) {
    ++done_.parked;
    tell({.reason = reason,
          .event = event.id,
          .position = event.position.value_or(Position{}),
          .attempts = begun.attempts,
          .parked = true});
  }
  return {.parked = true};
}

/// Whether nobody was faster since find_next().
bool Consumer::is_still_next(const Next& next, const sql::InboxCursor& cursor, Transaction& tx) {
  if (next.attempts == 0) return next.from == cursor.taken;
  sql::Connection& connection = store::connection_of(tx);
  const auto row = sql::lock_attempt(connection, stream_, next.event.id);
  if (!row || row->attempt != attempt_) return false;
  if (row->state != ParkedState::trying || row->event.position > cursor.taken) return true;
  // A batch of another worker's has taken it.
  sql::finish_attempt(connection, stream_, next.event.id);
  tx.commit();
  return false;
}

/// Handles what was begun.
/// @returns why it failed, if that is an event's own fault.
std::optional<store::HandlerFailure> Consumer::handle(const Next& next) {
  TakeCall seen;
  seen.stream = stream_;
  Transaction tx{*session_, transaction_options()};
  sql::Connection& connection = store::connection_of(tx);
  store::InboxPage page;
  store::observed(options_.transaction.observer, seen, [&] {
    const sql::InboxCursor cursor = store::lock_cursor(connection, stream_);
    if (!is_still_next(next, cursor, tx)) return;
    TakeOptions limits = options_.take;
    limits.events_max = next.events_max;
    page = store::read_inbox_page(connection, stream_, cursor, limits);
    // Somebody has queued another event since.
    const bool is_other = next.attempts == 0
                              ? page.queued
                              : !page.events.empty() && page.events.front().id != next.event.id;
    if (is_other) page = {};
    seen.events = page.events.size();
  });
  if (page.events.empty() && page.behind.empty()) return std::nullopt;  // Others were faster.
  std::optional<store::HandlerFailure> failure;
  const std::size_t count = call_for(page, tx, failure);
  if (failure) return failure;
  if (count == 0 && !page.events.empty()) return std::nullopt;  // A stop.
  // The whole batch is behind us, even if a stop has cut it short.
  if (next.attempts == 0) page.from.tried_to = Position{};
  const std::size_t behind = store::take_page(connection, stream_, page, count);
  // Not one that stands behind another by now.
  if (next.attempts > 0 && !page.queued && count > 0)
    sql::finish_attempt(connection, stream_, next.event.id);
  failpoint("consume.before_commit");
  try {
    tx.commit();
  } catch (const Error& error) {
    if (!store::is_events_own(error.code())) throw;
    return store::HandlerFailure{error.what(), std::current_exception()};
  }
  done_.events += count;
  done_.parked += behind;
  backoff_ = {};
  attempt_ = new_event_id();
  return std::nullopt;
}

/// Calls the handler for the events of a page. @returns for how many.
std::size_t Consumer::call_for(const store::InboxPage& page, Transaction& tx,
                               std::optional<store::HandlerFailure>& failure) {
  for (std::size_t i = 0; i < page.events.size(); ++i) {
    if (options_.stop.stop_requested()) return i;
    failure = store::call_handler(
        tx, "consume", [&] { handler_(tx, page.events[i]); },
        [&](sql::Connection& beside) {  // The handler has committed: so it is with its place.
          static_cast<void>(store::take_page(beside, stream_, page, i + 1));
          sql::finish_attempt(beside, stream_, page.events[i].id);
        });
    if (failure) return i;
  }
  return page.events.size();
}

/// For whoever parks it; without it the event waits a moment longer, as after a crash.
void Consumer::note_failure(const sql::AttemptedEvent& event,
                            const store::HandlerFailure& failure) {
  const EventId failed = std::exchange(attempt_, new_event_id());
  Transaction tx{*session_, store::small(transaction_options())};
  sql::fail_attempt(store::connection_of(tx), stream_, event.id, failed, failure.reason);
  tx.commit();
}

void Consumer::purge() {
  const auto now = std::chrono::steady_clock::now();
  if (!options_.purge_age || now < purge_at_) return;
  purge_at_ = now + options_.purge_every;
  purge_taken(*session_, stream_, *options_.purge_age);
}

}  // namespace

void ConsumeOptions::validate() const {
  ConfigErrors faults{"ConsumeOptions"};
  faults.check_range("attempts_max", attempts_max, 1, kAttemptsMax);
  if (purge_age && purge_age->count() < 0) faults.add("purge_age is negative");
  faults.check_range("purge_every (ms)", purge_every.count(), 0, kWaitMax.count());
  const auto check_pair = [&](const std::string& name, Milliseconds from, Milliseconds to) {
    faults.check_range(name + "_min (ms)", from.count(), 1, kWaitMax.count());
    faults.check_range(name + "_max (ms)", to.count(), 1, kWaitMax.count());
    if (from > to) faults.add(name + "_min is above " + name + "_max");
  };
  check_pair("poll", poll_min, poll_max);
  check_pair("backoff", backoff_min, backoff_max);
  if (transaction.statements != nullptr)
    faults.add("transaction.statements is set: consume() keeps its own");
  faults.raise();
  take.validate();
  transaction.validate();
}

Consumed consume(const SessionOpener& open_session, std::string_view stream,
                 const EventHandler& handler, const ConsumeOptions& options) {
  options.validate();
  store::check_stream("consume", stream);
  if (!open_session || !handler)
    store::refuse_argument("consume", "the opener or the handler is empty", "give both");
  return Consumer{open_session, stream, handler, options}.run();
}

}  // namespace outseal
