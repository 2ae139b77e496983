// The log as a visitor of observations. Names of events and fields are a contract, see
// tools/OPERATING.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "observe/observation.h"

namespace outseal::observe {

/// A pair of a log line.
struct LogField {
  std::string_view name;
  std::string value;
};

/// One line of the log, not formatted yet.
struct LogLine {
  std::string_view level;  ///< "debug", "info", "warn" or "error".
  std::string_view event;
  std::vector<LogField> fields;
};

/// What the log says about `what`: no payloads, no credentials. Nothing for what is only measured.
std::optional<LogLine> log_line(const Observation& what);

}  // namespace outseal::observe
