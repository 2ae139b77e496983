// outseal-relay run: publishes committed events until it is told to stop, or until it has drained.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cli/console.h"
#include "cli/signals.h"
#include "observe/log_line.h"
#include "outseal/error.h"
#include "relay/supervisor.h"
#include "relay_commands.h"
#include "relay_config.h"
#include "sinks/registry.h"

namespace outseal::tools {

namespace {

/// The log is one visitor of what is observed. Its lines name the subscription if there are
/// several; the error of a single one is printed at the end.
observe::Observer make_log(bool is_many) {
  return [is_many](std::string_view subscription, const observe::Observation& what) {
    auto line = observe::log_line(what);
    if (!line || (!is_many && std::holds_alternative<observe::Halted>(what))) return;
    const bool named = is_many || std::holds_alternative<observe::Started>(what);
    if (named && !subscription.empty())
      line->fields.insert(line->fields.begin(), {"subscription", std::string{subscription}});
    write_log(*line);
  };
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
int report(const std::vector<RelayConfig>& configs, const std::vector<relay::RelayEnding>& endings,
           bool json) {
  flush_errors();  // On a terminal, results stand below the log.
  // Events on standard output are the results of that sink; nothing may stand between or behind
  // them.
  const bool silent = std::any_of(configs.begin(), configs.end(), [](const RelayConfig& config) {
    return sinks::kind_of(config.sink.url()).facts().takes_stdout;
  });
  const bool is_many = configs.size() > 1;
  int worst = kExitFine;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const relay::RelayResult& result = endings[i].result;
    if (endings[i].error != nullptr && !is_many) std::rethrow_exception(endings[i].error);
    if (endings[i].error != nullptr) {
      worst = std::max(worst, report_of(configs[i].name(), endings[i].error, json));
      continue;
    }
    if (!silent) print_result(is_many ? configs[i].name() : "", result, json);
    if (configs[i].options.core.drain && !result.drained) worst = std::max(worst, kExitFindings);
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
  const std::vector<RelayConfig> configs = read_relay_configs(settings);
  start_log(settings.front().text(Option::log_level));
  // Before the sinks, which may start threads of their own.
  const SignalWatch signals;
  std::vector<relay::RelayJob> jobs;
  jobs.reserve(configs.size());
  for (const RelayConfig& config : configs)
    jobs.push_back({config.options, config.retention, [config] { return config.make_sink(); }});
  relay::Supervisor supervisor{std::move(jobs), make_log(configs.size() > 1)};
  const auto [endings, hangs] = supervisor.run(signals.token());
  const bool json = settings.front().toggle(Option::json);
  if (!hangs) {
    const int code = report(configs, endings, json);
    flush_results();  // While signals are still watched: a reader may have stopped.
    return code;
  }
  // What hangs in another thread is left to the process's end, which is safe.
  int code = kExitInternal;
  try {
    code = report(configs, endings, json);
    flush_results();
  } catch (...) {
    code = report_error(std::current_exception(), json);
  }
  flush_errors();
  ::_exit(code);
}

}  // namespace outseal::tools
