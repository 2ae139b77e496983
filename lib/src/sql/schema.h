// The objects of the schema, as the database's catalogues have them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"

namespace outseal::sql {

/// An object, by its kind and name, and what it is.
struct SchemaObject {
  std::string name;
  std::string definition;
};
/// All that the schema is made of. Not what operators set: storage parameters, replica identity,
/// statistics, and who is a member of a role. An object of a kind that has no line of its own is
/// named all the same.
std::vector<SchemaObject> describe_schema(Connection& connection);

/// PostgreSQL: renames the schema until the transaction is rolled back, so that what is made
/// meanwhile can be compared with it.
void set_schema_aside(Connection& connection);

/// What runs, or could have run, with the rights of the user who migrates, and is somebody else's.
struct ForeignObject {
  std::string object;
  std::string owner;
  std::string user;  ///< Who asks.
};
/// PostgreSQL. The schema first; then what is in it, and what runs because of it. A function of the
/// server's first superuser is the server's own.
/// @param anybody  False: only for who could make the schema, had not one made it of whom he is no
///                 member.
std::optional<ForeignObject> find_foreign_object(Connection& connection, bool anybody);

/// The first table that the user may read, but not all rows of.
struct HidingPolicies {
  std::string user;
  std::string table;
  std::string policies;
};
/// PostgreSQL.
std::optional<HidingPolicies> find_hiding_policies(Connection& connection);

/// PostgreSQL: those of our roles that the cluster does not have.
std::vector<std::string> list_missing_roles(Connection& connection);
/// What makes `role` and grants it what it needs, for an administrator.
std::string script_of_role(std::string_view role);

// SQLite.

/// For example "UTF-8".
std::string text_encoding(Connection& connection);
bool is_database_empty(Connection& connection);
/// For example "wal".
std::string read_journal_mode(Connection& connection);
void set_write_ahead_log(Connection& connection);

}  // namespace outseal::sql
