// What outseal runs on a database: each statement stands once, as a constant beside the function
// that binds its parameters and reads its rows, in sql/<area>.cc.
#pragma once

#include <string_view>

namespace outseal::sql {

/// What PostgreSQL runs a statement under: a short transaction of its own with these settings, all
/// in one round trip. Inside of a transaction only the settings, up to its end.
struct Setting {
  /// Calls of set_config; empty for most statements. Planner settings keep a statement on its index
  /// whatever the statistics say: those of an empty table are what the planner has when a backlog
  /// begins.
  std::string_view calls = {};
  bool writes = false;
};

/// A statement in both dialects, with the same parameters and columns. A constant that lives as
/// long as the process: connections know it by its address.
struct Text {
  std::string_view name;  ///< As PostgreSQL's pg_prepared_statements shows it, behind "outseal_".
  const char* sqlite = nullptr;    ///< Parameters ?1, ?2, ...; null where only PostgreSQL has it.
  const char* postgres = nullptr;  ///< Parameters $1, $2, ...; null where only SQLite has it.
  Setting setting = {};
  bool any_encoding = false;  ///< Binds and reads nothing but ASCII.
};

}  // namespace outseal::sql
