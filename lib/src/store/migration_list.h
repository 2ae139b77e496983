// The migrations that are built in, and those that a database has noted as applied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"
#include "sql/migration.h"

namespace outseal::store {

/// A file of migrations/, for example "sqlite/0001_outbox.up.sql", with its checksum filled in.
struct EmbeddedMigration {
  std::string_view path;
  std::string_view sql;
  std::string_view checksum;  ///< SHA-256 of the file in the source tree, in hexadecimal.
};
extern const EmbeddedMigration kEmbeddedMigrations[];
extern const std::size_t kEmbeddedMigrationCount;

/// One migration of the binary, in one dialect.
struct Migration {
  std::uint32_t version = 0;
  std::string name;
  EmbeddedMigration up;
  EmbeddedMigration down;
};

/// Ascending.
/// @throws Error{invalid_argument} for a dialect without migrations.
std::vector<Migration> known_migrations(std::string_view dialect);

using sql::AppliedRow;

/// What the database has noted, ascending; none if it has no such table. Runs nothing of whoever
/// made it: what is no plain table is not read.
std::vector<AppliedRow> applied_rows(sql::Connection& connection);

/// The same, refused unless this binary knows it exactly.
/// @throws Error{schema_mismatch} if they are not the first of `known`, unchanged, or if the schema
///         is there and nothing is noted.
std::vector<AppliedRow> checked_rows(sql::Connection& connection,
                                     const std::vector<Migration>& known);

/// Whether the schema is to be changed, or is looked at by somebody who perhaps never will.
enum class Migrates : std::uint8_t { yes, perhaps };

/// Refuses what runs, or could have run, with the rights of the user who migrates although somebody
/// else made it. Reads the catalogues alone, which anybody may.
/// @throws Error{refused} with its name and owner. Migrates::perhaps: only to who could make the
///         schema, had not a user of whom he is no member made it; others read what they may.
void refuse_foreign_objects(sql::Connection& connection, Migrates migrates = Migrates::yes);

/// @throws Error{invalid_config} for a SQLite file in UTF-16.
void require_utf8(sql::Connection& connection);

/// Runs a migration file and names it in what goes wrong.
void run_file(sql::Connection& connection, const EmbeddedMigration& file);

}  // namespace outseal::store
