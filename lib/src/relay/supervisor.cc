#include "relay/supervisor.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "model/stop_budget.h"
#include "outseal/error.h"
#include "relay/retention_task.h"

namespace outseal::relay {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

/// Waits for `pause`. False if a stop was asked for.
bool sleep_unless(const std::stop_token& stop, milliseconds pause) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  never.wait_for(lock, stop, pause, [] { return false; });
  return !stop.stop_requested();
}

/// Whether a relay that says this has found the database usable.
bool is_usable(const observe::Observation& what) {
  return std::holds_alternative<observe::Led>(what) ||
         std::holds_alternative<observe::StoodBy>(what) ||
         std::holds_alternative<observe::Paused>(what);
}

/// One run of a relay, and what is needed to try again.
struct Attempt {
  RelayEnding ending;
  observe::Halted halted;      ///< If it ended with an error:
  bool may_try_again = false;  ///< this process may,
  bool has_published = false;  ///< and it had worked until then.
};

/// One for all subscriptions: the outbox is theirs together.
std::unique_ptr<RetentionTask> make_retention(const std::vector<RelayJob>& jobs,
                                              const observe::Observer& observer) {
  std::vector<RetentionTask::Job> each;
  each.reserve(jobs.size());
  for (const RelayJob& job : jobs) each.push_back({job.options.subscription.name, job.retention});
  const RelayOptions& first = jobs.front().options;
  return std::make_unique<RetentionTask>(first.database, std::move(each), first.core.drain,
                                         observer);
}

}  // namespace

/// Threads that hang keep it alive.
struct Supervisor::Shared {
  // Constant once run() has begun.
  std::vector<RelayJob> jobs;
  observe::Observer observer;
  std::unique_ptr<RetentionTask> retention;

  std::mutex mutex;
  std::condition_variable_any ended;
  std::vector<RelayEnding> endings;      // Guarded by mutex.
  std::vector<RelaySnapshot> snapshots;  // The same.

  bool is_many() const { return jobs.size() > 1; }

  void observe(std::size_t index, const observe::Observation& what) {
    if (is_usable(what)) retention->start();
    {
      const std::lock_guard lock{mutex};
      apply(what, system_clock::now(), snapshots[index]);
    }
    observer(jobs[index].options.subscription.name, what);
  }

  /// `sink` is empty from the second try on.
  Attempt try_once(std::size_t index, std::unique_ptr<Sink> sink, const std::stop_token& stop) {
    const RelayJob& job = jobs[index];
    Attempt attempt;
    try {
      if (sink == nullptr) sink = job.make_sink();
      attempt.ending.result = relay::run(
          job.options, std::move(sink), stop,
          [&](std::string_view, const observe::Observation& what) { observe(index, what); });
    } catch (const Error& error) {
      attempt.ending.error = std::current_exception();
      attempt.halted = {error.code(), error.what(), error.hint(), {}};
      const auto* const halted = dynamic_cast<const Halted*>(&error);
      attempt.may_try_again = halted == nullptr || !halted->is_final();
      attempt.has_published = halted != nullptr && halted->has_published();
    } catch (...) {
      attempt.ending.error = std::current_exception();
    }
    return attempt;
  }

  RelayEnding work(std::size_t index, std::unique_ptr<Sink> sink, const std::stop_token& stop) {
    const CoreOptions& core = jobs[index].options.core;
    std::exception_ptr trouble;
    milliseconds pause = core.backoff_min;
    while (true) {
      Attempt attempt = try_once(index, std::move(sink), stop);
      RelayEnding& ending = attempt.ending;
      if (ending.error == nullptr) {  // Nobody has seen that its trouble is over.
        if (!ending.result.has_led) ending.error = trouble;
        return ending;
      }
      if (attempt.has_published) pause = core.backoff_min;
      const bool again = is_many() && !core.drain && attempt.may_try_again;
      if (again) attempt.halted.pause = pause;
      observe(index, attempt.halted);
      if (!again || !sleep_unless(stop, pause)) return ending;
      pause = std::min(pause * 2, core.backoff_max);
      trouble = ending.error;
    }
  }

  void end(std::size_t index, RelayEnding ending) {
    const std::lock_guard lock{mutex};
    endings[index] = std::move(ending);
    endings[index].has_ended = true;
    ended.notify_all();
  }

  std::vector<RelayEnding> wait(const std::stop_token& stop) {
    const auto all_ended = [this] {
      return std::all_of(endings.begin(), endings.end(),
                         [](const RelayEnding& ending) { return ending.has_ended; });
    };
    std::unique_lock lock{mutex};
    if (!ended.wait(lock, stop, all_ended))
      ended.wait_for(lock, StopBudget::kSubscription, all_ended);
    return endings;
  }
};

Supervisor::Supervisor(std::vector<RelayJob> jobs, observe::Observer observer)
    : shared_{std::make_shared<Shared>()} {
  shared_->endings.resize(jobs.size());
  for (const RelayJob& job : jobs) {
    RelaySnapshot& snapshot = shared_->snapshots.emplace_back();
    snapshot.subscription = job.options.subscription.name;
    snapshot.since = system_clock::now();
  }
  shared_->jobs = std::move(jobs);
  shared_->observer = std::move(observer);
}

SupervisorResult Supervisor::run(const std::stop_token& stop) {
  std::vector<std::unique_ptr<Sink>> sinks;
  sinks.reserve(shared_->jobs.size());
  for (const RelayJob& job : shared_->jobs) sinks.push_back(job.make_sink());
  shared_->retention = make_retention(shared_->jobs, shared_->observer);

  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < sinks.size(); ++i)
    threads.emplace_back([shared = shared_, i, stop, sink = std::move(sinks[i])]() mutable {
      shared->end(i, shared->work(i, std::move(sink), stop));
    });
  SupervisorResult result{shared_->wait(stop)};
  for (std::size_t i = 0; i < threads.size(); ++i) {
    const bool has_ended = result.endings[i].has_ended;
    has_ended ? threads[i].join() : threads[i].detach();
    if (!has_ended) shared_->observe(i, observe::Abandoned{observe::Abandoned::What::relay});
    result.hangs = result.hangs || !has_ended || result.endings[i].result.abandoned;
  }
  const bool drained = std::all_of(
      result.endings.begin(), result.endings.end(),
      [](const RelayEnding& ending) { return ending.has_ended && ending.result.drained; });
  if (!shared_->retention->finish(drained)) result.hangs = true;
  return result;
}

std::vector<RelaySnapshot> Supervisor::snapshot() const {
  const std::lock_guard lock{shared_->mutex};
  return shared_->snapshots;
}

}  // namespace outseal::relay
