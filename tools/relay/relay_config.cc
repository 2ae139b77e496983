#include "relay_config.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <string>

#include "cli/database.h"
#include "model/limits.h"
#include "outseal/error.h"
#include "sinks/registry.h"

namespace outseal::tools {

namespace {

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

/// With the subscription's name it is what receivers know a stream by: 1024 bytes together.
constexpr std::size_t kEventSourceBytesMax = 900;

/// The characters of a URI reference. Source: RFC 3986, section 2.
void check_event_source(const Settings& settings) {
  const std::string source = settings.text(Option::event_source);
  if (!consists_of(source, "-._~:/?#[]@!$&'()*+,;=%"))
    throw Error{ErrorCode::invalid_config,
                settings.origin(Option::event_source),
                "'" + source + "' is no URI reference",
                {.hint = "write one without spaces, for example /shop/orders or "
                         "https://shop.example/orders; encode other characters as %20"}};
  if (source.size() > kEventSourceBytesMax)
    throw Error{ErrorCode::invalid_config,
                settings.origin(Option::event_source),
                "it has " + std::to_string(source.size()) + " bytes, more than " +
                    std::to_string(kEventSourceBytesMax),
                {.hint = "give a short one; every event carries it"}};
}

void check_name(const Settings& settings, const SubscriptionSpec& subscription) {
  try {
    subscription.validate();
  } catch (const Error& error) {
    throw Error{error.code(),
                settings.origin(Option::subscription),
                error.message(),
                {.hint = "give it a short plain name, for example shop.orders"}};
  }
}

relay::RelayOptions relay_options_of(const Settings& settings, const SinkChoice& sink) {
  relay::RelayOptions options;
  check_topics(settings, Option::topics);
  check_event_source(settings);
  options.database = database_url(settings);
  options.core = core_options_of(settings);
  options.subscription.name = settings.text(Option::subscription);
  options.subscription.topics = settings.list(Option::topics);
  options.subscription.sink = sink.identity();
  options.is_same_sink = [asked = sink.url()](const std::string& known) {
    return sinks::is_same_sink(Url::parse("sink", known), asked);
  };
  options.subscription.event_source = settings.text(Option::event_source);
  if (options.subscription.event_source.empty())
    options.subscription.event_source = "/outseal/" + options.subscription.name;
  options.subscription.start =
      settings.text(Option::start) == "now" ? Start::now : Start::beginning;
  check_name(settings, options.subscription);
  if (options.database.scheme == "postgresql") options.page = store::kServerPage;
  if (settings.has(Option::batch_events))
    options.page.events_max = settings.number(Option::batch_events);
  if (settings.has(Option::batch_bytes))
    options.page.bytes_max = settings.number(Option::batch_bytes);
  return options;
}

store::RetentionOptions retention_options_of(const Settings& settings) {
  return {.events = std::chrono::seconds{settings.number(Option::retention_s)},
          .journal = std::chrono::seconds{settings.number(Option::journal_retention_s)},
          .step_rows = static_cast<std::uint32_t>(settings.number(Option::retention_step_rows))};
}

RelayConfig config_of(const Settings& settings) {
  const SinkChoice sink{settings};
  return {sink, relay_options_of(settings, sink), retention_options_of(settings)};
}

/// Two subscriptions at the end of one file would each take the other's events for a fork.
void check_sinks(const std::vector<RelayConfig>& configs) {
  const auto is_shared = [](const RelayConfig& config) {
    return sinks::kind_of(config.sink.url()).is_shareable(config.sink.url());
  };
  for (std::size_t i = 0; i < configs.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (sinks::is_same_sink(configs[i].sink.url(), configs[j].sink.url()) &&
          !(is_shared(configs[i]) && is_shared(configs[j])))
        throw Error{ErrorCode::invalid_config,
                    "run",
                    "the subscriptions " + configs[j].name() + " and " + configs[i].name() +
                        " have the same sink " + configs[i].options.subscription.sink,
                    {.hint = "give each a sink of its own: its positions are those of one"}};
}

}  // namespace

void check_topics(const Settings& settings, Option option) {
  for (const std::string& topic : settings.list(option))
    if (topic.size() > kTopicBytesMax || !consists_of(topic, "._/-*"))
      throw Error{ErrorCode::invalid_config,
                  settings.origin(option),
                  "no topic can match '" + topic + "'",
                  {.hint = "topics consist of at most 255 of A-Z a-z 0-9 . _ / -; * stands for any "
                           "of them"}};
}

std::unique_ptr<Sink> RelayConfig::make_sink() const {
  return sink.make(options.subscription.event_source);
}

std::vector<RelayConfig> read_relay_configs(const std::vector<Settings>& settings) {
  std::vector<RelayConfig> configs;
  configs.reserve(settings.size());
  for (const Settings& each : settings) configs.push_back(config_of(each));
  check_sinks(configs);
  for (RelayConfig& config : configs)
    config.options.waits_for_database = !config.options.core.drain;
  return configs;
}

}  // namespace outseal::tools
