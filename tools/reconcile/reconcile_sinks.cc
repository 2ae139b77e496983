#include "reconcile_sinks.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "cli/config_file.h"
#include "model/subscription.h"
#include "outseal/error.h"
#include "sinks/registry.h"

namespace outseal::tools {

namespace {

using reconcile::SubscriptionInfo;

/// A sink that somebody named.
struct Named {
  Url url;
  std::string origin;      ///< "--sink", or file, line and key.
  bool is_relays = false;  ///< By the relay's configuration; --sink may be a copy of it.
};
using NamedSinks = std::map<std::string, Named>;

/// A sink that is not there lacks every event, which says nothing: a path that somebody has just
/// typed is a mistake, and findings about it would only be noise.
void require_there(const Url& url) {
  const sinks::SinkKind* const kind = sinks::find_kind(url);
  const std::string path = kind == nullptr ? "" : kind->find_missing(url);
  if (path.empty()) return;
  throw Error{ErrorCode::sink_unreachable,
              "--sink",
              path + " does not exist",
              {.hint = "check the path; without --sink the relay's own sink is compared"}};
}

/// Takes `text`, "URL" or "NAME=URL": no name has a colon, and each URL one before its parameters.
void take_flag(const std::string& text, const std::vector<SubscriptionInfo>& chosen,
               NamedSinks& named) {
  const auto equals = text.find('=');
  const bool has_name = equals != std::string::npos && equals < text.find(':');
  const Url url = Url::parse("--sink", has_name ? text.substr(equals + 1) : text);
  std::string name = has_name ? text.substr(0, equals) : "";
  if (!has_name) {
    if (chosen.size() > 1)
      throw Error{
          ErrorCode::invalid_config,
          "--sink",
          "there are " + std::to_string(chosen.size()) + " subscriptions to compare it with",
          {.hint = "say which one: --sink NAME=URL"}};
    if (!chosen.empty()) name = chosen.front().name;
  }
  require_there(url);
  named[name] = {.url = url, .origin = "--sink"};
}

void take_table(const ConfigTable& table, const std::string& name, NamedSinks& named) {
  const auto sink = table.values.find(Option::sink);
  if (sink == table.values.end()) return;
  const std::string& origin = table.origins.at(Option::sink);
  named.emplace(
      name,
      Named{.url = Url::parse(origin, sink->second.front()), .origin = origin, .is_relays = true});
}

NamedSinks named_sinks(const Settings& settings, const std::vector<SubscriptionInfo>& chosen) {
  NamedSinks named;
  for (const std::string& text : settings.list(Option::read_sink)) take_flag(text, chosen, named);
  if (!settings.has(Option::config)) return named;
  const Config config = read_config(settings.text(Option::config));
  for (const ConfigTable& table : config.subscriptions) take_table(table, table.name(), named);
  if (!config.subscriptions.empty()) return named;
  const auto name = config.top.values.find(Option::subscription);
  take_table(config.top,
             name == config.top.values.end() ? std::string{SubscriptionSpec::kNameDefault}
                                             : name->second.front(),
             named);
  return named;
}

std::unique_ptr<Sink> make(const Url& url, const SubscriptionInfo& subscription) {
  return sinks::make_sink(url, sinks::context_of(subscription.event_source, subscription.name));
}

/// Tried before the first check speaks: a sink that cannot be one ends no run in its middle.
void try_named(const NamedSinks& named, const std::vector<SubscriptionInfo>& chosen) {
  for (const SubscriptionInfo& subscription : chosen) {
    const auto found = named.find(subscription.name);
    if (found == named.end()) continue;
    try {
      make(found->second.url, subscription);
    } catch (const Error& error) {
      throw Error{error.code(), found->second.origin, error.message(), {.hint = error.hint()}};
    }
  }
}

}  // namespace

reconcile::SinkMaker sink_maker_of(const Settings& settings, sql::Connection& connection) {
  const auto chosen =
      reconcile::load_subscriptions(connection, settings.list(Option::subscriptions));
  NamedSinks all = named_sinks(settings, chosen);
  for (const NamedSinks::value_type& named : all) {
    const auto is_named = [&](const SubscriptionInfo& one) { return one.name == named.first; };
    if (!named.second.is_relays && std::none_of(chosen.begin(), chosen.end(), is_named))
      throw Error{
          ErrorCode::invalid_argument,
          "--sink",
          "there is no subscription named '" + named.first + "' among those that are checked",
          {.hint = "see them with: outseal-relay status"}};
  }
  try_named(all, chosen);
  return [named = std::move(all)](const SubscriptionInfo& subscription) {
    const Url stored = Url::parse("sink", subscription.sink);
    const auto found = named.find(subscription.name);
    if (found == named.end()) {
      if (sinks::is_identity_address(stored))
        return reconcile::SinkForReading{make(stored, subscription)};
      return reconcile::SinkForReading{
          nullptr, "nobody said how to reach its sink " + subscription.sink +
                       ": give the relay's --config, or --sink " + subscription.name + "=URL"};
    }
    const Named& sink = found->second;
    if (sink.is_relays && !sinks::is_same_sink(stored, sink.url))
      return reconcile::SinkForReading{
          nullptr, sink.origin + " is " + sinks::sink_identity(sink.url) +
                       ", but the relay publishes to " + subscription.sink +
                       ": let a relay take the new address, or say outseal-relay move"};
    return reconcile::SinkForReading{make(sink.url, subscription)};
  };
}

}  // namespace outseal::tools
