// The configuration file: TOML, values for options, and one [[subscription]] table for each
// subscription that one relay is to run.
#pragma once

#include <string>
#include <vector>

#include "options.h"

namespace outseal::tools {

/// Values of one table of the file, and the line of each.
struct ConfigTable {
  std::string place;  ///< "FILE:LINE", where a [[subscription]] begins.
  Settings::Values values;
  Settings::Origins origins;

  /// Of a [[subscription]].
  const std::string& name() const { return values.at(Option::subscription).front(); }
};

struct Config {
  ConfigTable top;
  std::vector<ConfigTable> subscriptions;
};

/// All values of the file, those that other programs use included: a misspelt or bad one is never
/// passed over in silence.
/// @throws Error{invalid_config} naming file, line and key.
Config read_config(const std::string& path);

}  // namespace outseal::tools
