// The commands of outseal-relay, one file each.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"

namespace outseal::tools {

int relay_run(const std::vector<Settings>& settings);
int relay_status(const Settings& settings);
int relay_sinks(const Settings& settings);
int relay_rebase(const Settings& settings);
int relay_move(const Settings& settings);
int relay_remove(const Settings& settings);
int relay_park(const Settings& settings);
int relay_pause(const Settings& settings);
int relay_resume(const Settings& settings);
int relay_discard(const Settings& settings);
int parked_list(const Settings& settings);
int parked_redrive(const Settings& settings);
int parked_discard(const Settings& settings);

/// One line per form of a sink's URL for --help: what it is and what it guarantees.
std::string sink_help();

}  // namespace outseal::tools
