// How the programs open their database, and what they refuse.
#pragma once

#include <memory>
#include <string>

#include "base/url.h"
#include "options.h"
#include "sql/connection.h"
#include "store/audit.h"

namespace outseal::tools {

/// The URL of --db, before anything is opened.
/// @throws Error{invalid_argument} if it is no URL or its scheme is unknown.
Url database_url(const Settings& settings);

/// Opens the database of --db for a program that needs the schema.
/// @throws Error{unreachable} for a missing file or one that is no database, Error{schema_missing}
///         or Error{schema_mismatch} unless its schema is this binary's.
std::unique_ptr<sql::Connection> open_database(const Settings& settings);

/// Who acts by --actor, or the user of this process.
std::string actor_of(const Settings& settings);
/// The same with --reason.
store::Act act_of(const Settings& settings);

}  // namespace outseal::tools
