// outseal-relay run: publishes committed events until it is told to stop, or until it has drained.
// Each subscription has a thread of its own: whatever becomes of one holds no other.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/console.h"
#include "cli/signals.h"
#include "model/stop_budget.h"
#include "outseal/error.h"
#include "relay/relay.h"
#include "relay/retention_task.h"
#include "relay_commands.h"
#include "relay_plan.h"
#include "sinks/registry.h"

namespace outseal::tools {

namespace {

using std::chrono::steady_clock;

/// How often a busy relay says how far it is.
constexpr std::chrono::seconds kProgressPause{10};

/// The level at which an event of the relay is logged; those that need no operator are informative.
std::string_view level_of(std::string_view event) {
  for (const std::string_view calm : {"leading", "standby", "subscribed", "retained"})
    if (event == calm) return "info";
  return "warn";
}

/// The log of one subscription, whose lines name it if there are several.
class Log {
 public:
  Log(const RelayPlan& plan, bool named) : name_{named ? plan.name() : ""} {}
  void operator()(std::string_view level, std::string_view event, std::vector<Field> fields) const {
    if (!name_.empty()) fields.insert(fields.begin(), Field{"subscription", name_});
    log_event(level, event, fields);
  }

 private:
  std::string name_;
};

/// One line now and then while events flow.
class Progress {
 public:
  explicit Progress(const Log& log) : log_{log} {}
  void operator()(std::uint64_t published) {
    log_("debug", "acknowledged", {{"published", std::to_string(published)}});
    if (steady_clock::now() < due_) return;
    due_ = steady_clock::now() + kProgressPause;
    log_("info", "publishing", {{"published", std::to_string(published)}});
  }

 private:
  Log log_;
  steady_clock::time_point due_ = steady_clock::now() + kProgressPause;
};

relay::RelayResult run_one(const RelayPlan& plan, std::unique_ptr<Sink> sink, std::stop_token stop,
                           const Log& log, relay::RetentionTask& retention) {
  log_event("info", "started",
            {{"subscription", plan.name()}, {"sink", plan.options.subscription.sink}});
  const relay::RelayObserver observe = [&](const relay::RelayEvent& event) {
    for (const std::string_view usable : {"leading", "standby", "paused"})
      if (event.event == usable) retention.start();
    log(level_of(event.event), event.event, {{"detail", event.detail}});
  };
  relay::RelayResult result =
      relay::run(plan.options, std::move(sink), std::move(stop), observe, Progress{log});
  log("info", "finished",
      {{"published", std::to_string(result.published)},
       {"drained", result.drained ? "true" : "false"}});
  return result;
}

/// How a subscription ended: with a result or an error; neither while it is at work.
struct Ending {
  relay::RelayResult result;
  std::exception_ptr error;
  bool may_try_again = false;  ///< With an error: this process may.
  bool has_published = false;  ///< The same: it had worked until then.
  bool has_ended = false;
};

/// Waits for `pause`. False if a stop was asked for.
bool sleep_unless(const std::stop_token& stop, std::chrono::milliseconds pause) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  never.wait_for(lock, stop, pause, [] { return false; });
  return !stop.stop_requested();
}

/// The subscriptions of this process at work.
///
/// Threads: run() is called once; the threads share what follows the mutex.
class Crew {
 public:
  Crew(std::vector<RelayPlan> plans, std::shared_ptr<relay::RetentionTask> retention)
      : plans_{std::move(plans)},
        retention_{std::move(retention)},
        endings_(plans_.size()),
        is_many_{plans_.size() > 1} {}

  /// Returns once all have ended, or kSubscription after a stop without those that have not.
  static std::vector<Ending> run(const std::shared_ptr<Crew>& crew,
                                 std::vector<std::unique_ptr<Sink>> sinks,
                                 const std::stop_token& stop) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < sinks.size(); ++i)
      threads.emplace_back([crew, i, stop, sink = std::move(sinks[i])]() mutable {
        crew->end(i, crew->work(i, std::move(sink), stop));
      });
    std::vector<Ending> endings = crew->wait(stop);
    for (std::size_t i = 0; i < threads.size(); ++i)
      endings[i].has_ended ? threads[i].join() : threads[i].detach();
    return endings;
  }

 private:
  /// Where there are several, one that has halted is tried again, with a pause that grows: what is
  /// wrong with it may be mended meanwhile, and its neighbours must not be stopped for it. A
  /// process with a single one ends instead, for its supervisor to see. Each try is the comparison
  /// of a start, so nothing is published that a start would not publish.
  Ending work(std::size_t index, std::unique_ptr<Sink> sink, const std::stop_token& stop) const {
    const relay::CoreOptions& core = plans_[index].options.core;
    std::exception_ptr trouble;
    std::chrono::milliseconds pause = core.backoff_min;
    while (true) {
      Ending ending = try_once(index, std::move(sink), stop);
      if (ending.error == nullptr) {  // Nobody has seen that its trouble is over.
        if (!ending.result.has_led) ending.error = trouble;
        return ending;
      }
      if (!is_many_ || core.drain || !ending.may_try_again) return ending;
      if (ending.has_published) pause = core.backoff_min;
      if (!sleep_unless(stop, pause)) return ending;
      pause = std::min(pause * 2, core.backoff_max);
      trouble = ending.error;
    }
  }

  /// `sink` is empty from the second try on.
  Ending try_once(std::size_t index, std::unique_ptr<Sink> sink,
                  const std::stop_token& stop) const {
    const RelayPlan& plan = plans_[index];
    const Log log{plan, is_many_};
    Ending ending;
    try {
      if (sink == nullptr) sink = plan.make_sink();
      ending.result = run_one(plan, std::move(sink), stop, log, *retention_);
    } catch (const Error& error) {
      ending.error = std::current_exception();
      const auto* const halted = dynamic_cast<const relay::Halted*>(&error);
      ending.may_try_again = halted == nullptr || !halted->is_final();
      ending.has_published = halted != nullptr && halted->has_published();
      if (is_many_)  // The error itself is printed at the end, which may be far.
        log("error", "halted",
            {{"error", std::string{name_of(error.code())}},
             {"detail", error.what()},
             {"hint", error.hint()}});
    } catch (...) {
      ending.error = std::current_exception();
      if (is_many_) log("error", "halted", {{"error", "internal"}});
    }
    return ending;
  }

  void end(std::size_t index, Ending ending) {
    const std::lock_guard lock{mutex_};
    endings_[index] = std::move(ending);
    endings_[index].has_ended = true;
    ended_.notify_all();
  }

  std::vector<Ending> wait(const std::stop_token& stop) {
    const auto all_ended = [this] {
      return std::all_of(endings_.begin(), endings_.end(),
                         [](const Ending& ending) { return ending.has_ended; });
    };
    std::unique_lock lock{mutex_};
    if (!ended_.wait(lock, stop, all_ended))
      ended_.wait_for(lock, StopBudget::kSubscription, all_ended);
    return endings_;
  }

  const std::vector<RelayPlan> plans_;
  const std::shared_ptr<relay::RetentionTask> retention_;
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::vector<Ending> endings_;  // Guarded by mutex_.
  const bool is_many_;
};

/// One for all subscriptions: the outbox is theirs together.
std::shared_ptr<relay::RetentionTask> make_retention(const std::vector<RelayPlan>& plans) {
  std::vector<relay::RetentionTask::Job> jobs;
  jobs.reserve(plans.size());
  for (const RelayPlan& plan : plans) jobs.push_back({plan.name(), plan.retention});
  return std::make_shared<relay::RetentionTask>(
      plans.front().options.database, std::move(jobs), plans.front().options.core.drain,
      [](const relay::RelayEvent& event) {
        log_event(level_of(event.event), event.event, {{"detail", event.detail}});
      });
}

void print_result(const std::string& name, const relay::RelayResult& result, bool json) {
  if (json) {
    JsonObject object;
    if (!name.empty()) object.add("subscription", name);
    object.add("published", result.published).add("drained", result.drained);
    if (result.paused) object.add("paused", true);
    return print_line(object.text());
  }
  const char* const end = result.drained ? ", drained" : result.paused ? ", paused" : ", stopped";
  print_line((name.empty() ? "" : name + ": ") + "published " + std::to_string(result.published) +
             end);
}

/// Prints the error of one of several subscriptions. @returns its exit code.
int report_of(const std::string& name, const std::exception_ptr& error, bool json) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return report_error(
        std::make_exception_ptr(Error{known.code(),
                                      "subscription " + name,
                                      known.message(),
                                      {.hint = known.hint(), .detail_code = known.detail_code()}}),
        json);
  } catch (...) {
    return report_error(std::current_exception(), json);
  }
}

/// Prints how all have ended. @returns the worst of their exit codes.
int report(const std::vector<RelayPlan>& plans, const std::vector<Ending>& endings, bool json) {
  flush_errors();  // On a terminal, results stand below the log.
  // Events on standard output are the results of that sink; nothing may stand between or behind
  // them.
  const bool silent = std::any_of(plans.begin(), plans.end(), [](const RelayPlan& plan) {
    return sinks::kind_of(plan.sink.url()).facts().takes_stdout;
  });
  const bool is_many = plans.size() > 1;
  int worst = kExitFine;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const relay::RelayResult& result = endings[i].result;
    if (!endings[i].has_ended)
      Log{plans[i], is_many}("warn", "abandoned",
                             {{"detail", "did not end in time; the next start recovers"}});
    if (endings[i].error != nullptr && !is_many) std::rethrow_exception(endings[i].error);
    if (endings[i].error != nullptr) {
      worst = std::max(worst, report_of(plans[i].name(), endings[i].error, json));
      continue;
    }
    if (!silent) print_result(is_many ? plans[i].name() : "", result, json);
    if (plans[i].options.core.drain && !result.drained) worst = std::max(worst, kExitFindings);
  }
  return worst;
}

/// Pages of megabytes come and go hundreds of times a second. Given back to the system and asked
/// for again each time, they would cost a sixth of a drain.
void keep_freed_memory() {
  static_cast<void>(::mallopt(M_TRIM_THRESHOLD, 32 << 20));
  static_cast<void>(::mallopt(M_MMAP_THRESHOLD, 16 << 20));
}

}  // namespace

int relay_run(const std::vector<Settings>& settings) {
  keep_freed_memory();
  const std::vector<RelayPlan> plans = plan_relays(settings);
  start_log(settings.front().text(Option::log_level));
  // Before the sinks, which may start threads of their own.
  const SignalWatch signals;
  std::vector<std::unique_ptr<Sink>> sinks;
  sinks.reserve(plans.size());
  for (const RelayPlan& plan : plans) sinks.push_back(plan.make_sink());

  const auto retention = make_retention(plans);
  const std::vector<Ending> endings =
      Crew::run(std::make_shared<Crew>(plans, retention), std::move(sinks), signals.token());
  const bool drained = std::all_of(endings.begin(), endings.end(), [](const Ending& ending) {
    return ending.has_ended && ending.result.drained;
  });
  const bool json = settings.front().toggle(Option::json);
  const bool retains = !retention->finish(drained);
  const bool hangs = retains || std::any_of(endings.begin(), endings.end(), [](const Ending& end) {
                       return !end.has_ended || end.result.abandoned;
                     });
  if (!hangs) {
    const int code = report(plans, endings, json);
    flush_results();  // While signals are still watched: a reader may have stopped.
    return code;
  }
  // What hangs in another thread is left to the process's end, which is safe.
  int code = kExitInternal;
  try {
    code = report(plans, endings, json);
    flush_results();
  } catch (...) {
    code = report_error(std::current_exception(), json);
  }
  flush_errors();
  ::_exit(code);
}

}  // namespace outseal::tools
