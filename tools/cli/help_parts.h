// What the forms of help have in common: --help, the tables of tools/README.md, man pages and
// completion.
#pragma once

#include <string>

#include "options.h"

namespace outseal::tools {

/// " URL" behind a flag, " PATTERN..." for a list; empty if it takes no value.
std::string value_of(const OptionRow& row);

/// "[default 50, range 1 to 60000, OUTSEAL_POLL_MAX_MS, config poll_max_ms]"; may be empty.
std::string origin_of(const OptionRow& row);

bool is_in_environment(const OptionRow& row);

/// "outseal-relay run --db URL --sink URL [OPTION...]"
std::string usage_of(const Program& program, const Command& command);

/// The commands that take the option, separated by commas; empty if it belongs to other programs.
std::string takers_of(const Program& program, Option option);

}  // namespace outseal::tools
