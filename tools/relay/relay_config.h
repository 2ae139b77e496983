// The configuration of each relay of `outseal-relay run`: checked as far as it can be before
// anything is opened.
#pragma once

#include <memory>
#include <vector>

#include "cli/options.h"
#include "model/sink.h"
#include "relay/relay.h"
#include "sink_choice.h"
#include "store/retention.h"

namespace outseal::tools {

struct RelayConfig {
  SinkChoice sink;
  relay::RelayOptions options;
  store::RetentionOptions retention;

  const std::string& name() const { return options.subscription.name; }
  /// @throws as SinkChoice::make() does.
  std::unique_ptr<Sink> make_sink() const;
};

/// @throws Error{invalid_config} or Error{invalid_argument} naming where the bad value came from,
///         also for two subscriptions that cannot have the same sink.
std::vector<RelayConfig> read_relay_configs(const std::vector<Settings>& settings);

/// Refuses a pattern that no topic can match: what is made with it would stay empty.
/// @throws Error{invalid_config} naming where the value came from.
void check_topics(const Settings& settings, Option option);

}  // namespace outseal::tools
