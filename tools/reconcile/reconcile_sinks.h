// Where outseal-reconcile reads each subscription's sink.
#pragma once

#include "cli/options.h"
#include "reconcile/check.h"
#include "sql/connection.h"

namespace outseal::tools {

/// Of each subscription the sink that --sink names, else that of the relay's configuration file.
/// What the relay has stored leads to a file or SQLite database; of all others it lacks passwords
/// and parameters, and only tells whether a configured sink is the subscription's. Opens nothing.
/// @throws Error{invalid_argument} or Error{invalid_config} for a sink that cannot be one, with
///         where it was named, and Error{sink_unreachable} for a file of --sink that is not there.
reconcile::SinkMaker sink_maker_of(const Settings& settings, sql::Connection& connection);

}  // namespace outseal::tools
