// outseal-relay run: publishes committed events until it is told to stop, or until it has drained.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>

#include "console.h"
#include "database.h"
#include "outseal/error.h"
#include "relay/relay.h"
#include "relay_commands.h"
#include "signals.h"
#include "sinks/factory.h"

namespace outseal::tools {

namespace {

using std::chrono::steady_clock;

/// How often a busy relay says how far it is.
constexpr std::chrono::seconds kProgressPause{10};

relay::CoreOptions core_options_of(const Settings& settings) {
  relay::CoreOptions core;
  core.drain = settings.toggle(Option::drain);
  core.rebuild = settings.toggle(Option::rebuild);
  core.lease = settings.milliseconds(Option::lease_ms);
  core.poll_min = settings.milliseconds(Option::poll_min_ms);
  core.poll_max = settings.milliseconds(Option::poll_max_ms);
  core.backoff_min = settings.milliseconds(Option::backoff_min_ms);
  core.backoff_max = settings.milliseconds(Option::backoff_max_ms);
  core.standby_max = settings.milliseconds(Option::standby_max_ms);
  core.jitter_seed = std::random_device{}();
  if (core.poll_min > core.poll_max)
    throw Error{ErrorCode::invalid_config,
                settings.origin(Option::poll_min_ms),
                "is longer than --poll-max-ms",
                {.hint = "give both, the shorter one first"}};
  if (core.backoff_min > core.backoff_max)
    throw Error{ErrorCode::invalid_config,
                settings.origin(Option::backoff_min_ms),
                "is longer than --backoff-max-ms",
                {.hint = "give both, the shorter one first"}};
  return core;
}

/// True if `text` has nothing but ASCII letters, digits and `marks`.
bool consists_of(std::string_view text, std::string_view marks) {
  return std::all_of(text.begin(), text.end(), [marks](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || marks.find(c) != std::string_view::npos;
  });
}

/// Refuses a pattern that no topic can match: the subscription would be made, and stay empty.
void check_topics(const Settings& settings) {
  for (const std::string& topic : settings.list(Option::topics))
    if (!consists_of(topic, "._/-*"))
      throw Error{ErrorCode::invalid_config,
                  settings.origin(Option::topics),
                  "no topic can match '" + topic + "'",
                  {.hint = "topics consist of A-Z a-z 0-9 . _ / -; * stands for any of them"}};
}

/// The characters of a URI reference. Source: RFC 3986, section 2.
void check_event_source(const Settings& settings) {
  const std::string source = settings.text(Option::event_source);
  if (!consists_of(source, "-._~:/?#[]@!$&'()*+,;=%"))
    throw Error{ErrorCode::invalid_config,
                settings.origin(Option::event_source),
                "'" + source + "' is no URI reference",
                {.hint = "write one without spaces, for example /shop/orders or "
                         "https://shop.example/orders; encode other characters as %20"}};
}

relay::RelayOptions relay_options_of(const Settings& settings, const Url& sink) {
  relay::RelayOptions options;
  check_topics(settings);
  check_event_source(settings);
  options.database = database_url(settings);
  options.core = core_options_of(settings);
  options.subscription.name = settings.text(Option::subscription);
  options.subscription.topics = settings.list(Option::topics);
  options.subscription.sink = sinks::sink_identity(sink);
  options.subscription.event_source = settings.text(Option::event_source);
  if (options.subscription.event_source.empty())
    options.subscription.event_source = "/outseal/" + options.subscription.name;
  options.subscription.validate();
  // Round trips and commits over a network cost more than memory.
  if (options.database.scheme == "postgresql")
    options.page = {.events_max = 5'000, .bytes_max = 4U << 20U};
  if (settings.has(Option::batch_events))
    options.page.events_max = settings.number(Option::batch_events);
  if (settings.has(Option::batch_bytes))
    options.page.bytes_max = settings.number(Option::batch_bytes);
  options.retention.events = std::chrono::seconds{settings.number(Option::retention_s)};
  options.retention.journal = std::chrono::seconds{settings.number(Option::journal_retention_s)};
  options.retention.step_rows =
      static_cast<std::uint32_t>(settings.number(Option::retention_step_rows));
  return options;
}

/// The level at which an event of the relay is logged; those that need no operator are informative.
std::string_view level_of(std::string_view event) {
  for (const std::string_view calm : {"leading", "standby", "subscribed", "retained"})
    if (event == calm) return "info";
  return "warn";
}

/// One line now and then while events flow.
class Progress {
 public:
  void operator()(std::uint64_t published) {
    log_event("debug", "acknowledged", {{"published", std::to_string(published)}});
    if (steady_clock::now() < due_) return;
    due_ = steady_clock::now() + kProgressPause;
    log_event("info", "publishing", {{"published", std::to_string(published)}});
  }

 private:
  steady_clock::time_point due_ = steady_clock::now() + kProgressPause;
};

void print_result(const relay::RelayResult& result, bool json) {
  if (json)
    print_line(
        JsonObject{}.add("published", result.published).add("drained", result.drained).text());
  else
    print_line("published " + std::to_string(result.published) +
               (result.drained ? ", drained" : ", stopped"));
}

}  // namespace

int relay_run(const Settings& settings) {
  const Url sink_url = Url::parse(settings.origin(Option::sink), settings.text(Option::sink));
  const relay::RelayOptions options = relay_options_of(settings, sink_url);
  start_log(settings.text(Option::log_level));
  // Before the sink, which may start threads of its own.
  const SignalWatch signals;
  auto sink = sinks::make_sink(
      sink_url, sinks::context_of(options.subscription.event_source, options.subscription.name));
  const relay::RelayObserver observe = [](const relay::RelayEvent& event) {
    log_event(level_of(event.event), event.event, {{"detail", event.detail}});
  };
  log_event("info", "started",
            {{"subscription", options.subscription.name}, {"sink", options.subscription.sink}});
  const relay::RelayResult result =
      relay::run(options, std::move(sink), signals.token(), observe, Progress{});
  log_event("info", "finished",
            {{"published", std::to_string(result.published)},
             {"drained", result.drained ? "true" : "false"}});
  // The events of stdout: are the results of that sink; nothing may stand between or behind them.
  if (sink_url.scheme != "stdout") print_result(result, settings.toggle(Option::json));
  const int code = options.core.drain && !result.drained ? kExitFindings : kExitFine;
  if (!result.abandoned) return code;
  // A delivery hangs in the sink's thread: it is left to the process's end, which is safe.
  flush_results();
  ::_exit(code);
}

}  // namespace outseal::tools
