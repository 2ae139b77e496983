// outseal-relay run: publishes committed events until it is told to stop, or until it has drained.
// Each subscription has a thread of its own: whatever becomes of one holds no other.
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

#include "console.h"
#include "outseal/error.h"
#include "relay/relay.h"
#include "relay_commands.h"
#include "relay_plan.h"
#include "signals.h"

namespace outseal::tools {

namespace {

using std::chrono::steady_clock;

/// How often a busy relay says how far it is.
constexpr std::chrono::seconds kProgressPause{10};
/// How long after a stop a subscription may take to end: within the 10 s of tools/README.md, and
/// more than a relay needs for all that it waits for knowingly.
constexpr std::chrono::milliseconds kEndWait{9'500};

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
                           const Log& log) {
  log_event("info", "started",
            {{"subscription", plan.name()}, {"sink", plan.options.subscription.sink}});
  const relay::RelayObserver observe = [&log](const relay::RelayEvent& event) {
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
  bool has_ended = false;
};

/// The subscriptions of this process at work.
///
/// Threads: run() is called once; the threads share what follows the mutex.
class Crew {
 public:
  explicit Crew(std::vector<RelayPlan> plans)
      : plans_{std::move(plans)}, endings_(plans_.size()), is_many_{plans_.size() > 1} {}

  /// Returns once all have ended, or kEndWait after a stop without those that have not.
  static std::vector<Ending> run(const std::shared_ptr<Crew>& crew,
                                 std::vector<std::unique_ptr<Sink>> sinks, std::stop_token stop) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < sinks.size(); ++i)
      threads.emplace_back([crew, i, stop, sink = std::move(sinks[i])]() mutable {
        crew->end(i, crew->work(i, std::move(sink), std::move(stop)));
      });
    std::vector<Ending> endings = crew->wait(stop);
    for (std::size_t i = 0; i < threads.size(); ++i)
      endings[i].has_ended ? threads[i].join() : threads[i].detach();
    return endings;
  }

 private:
  Ending work(std::size_t index, std::unique_ptr<Sink> sink, std::stop_token stop) const {
    const Log log{plans_[index], is_many_};
    Ending ending;
    try {
      ending.result = run_one(plans_[index], std::move(sink), std::move(stop), log);
    } catch (const Error& error) {
      ending.error = std::current_exception();
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
    if (!ended_.wait(lock, stop, all_ended)) ended_.wait_for(lock, kEndWait, all_ended);
    return endings_;
  }

  const std::vector<RelayPlan> plans_;
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::vector<Ending> endings_;  // Guarded by mutex_.
  const bool is_many_;
};

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
  // The events of stdout: are the results of that sink; nothing may stand between or behind them.
  const bool silent = std::any_of(plans.begin(), plans.end(), [](const RelayPlan& plan) {
    return plan.sink.url().scheme == "stdout";
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

}  // namespace

int relay_run(const std::vector<Settings>& settings) {
  const std::vector<RelayPlan> plans = plan_relays(settings);
  start_log(settings.front().text(Option::log_level));
  // Before the sinks, which may start threads of their own.
  const SignalWatch signals;
  std::vector<std::unique_ptr<Sink>> sinks;
  sinks.reserve(plans.size());
  for (const RelayPlan& plan : plans) sinks.push_back(plan.make_sink());

  const std::vector<Ending> endings =
      Crew::run(std::make_shared<Crew>(plans), std::move(sinks), signals.token());
  const bool json = settings.front().toggle(Option::json);
  const bool hangs = std::any_of(endings.begin(), endings.end(), [](const Ending& ending) {
    return !ending.has_ended || ending.result.abandoned;
  });
  if (!hangs) return report(plans, endings, json);
  // What hangs in another thread is left to the process's end, which is safe.
  int code = kExitInternal;
  try {
    code = report(plans, endings, json);
    flush_results();
  } catch (...) {
    code = report_error(std::current_exception(), json);
  }
  ::_exit(code);
}

}  // namespace outseal::tools
