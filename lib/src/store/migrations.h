// Applies the schema: numbered SQL files, embedded in the binary, each in one transaction.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/number_range.h"
#include "sql/connection.h"

namespace outseal::store {

/// One migration as the binary and the database know it.
struct MigrationStatus {
  std::uint32_t version = 0;
  std::string name;                           ///< For example "outbox".
  std::optional<std::int64_t> applied_at_ms;  ///< Empty: not applied.
  std::string applied_by;
};

/// The newest version that this binary knows.
/// @throws Error{invalid_argument} for a dialect without migrations.
std::uint32_t newest_version(std::string_view dialect = "sqlite");

/// All migrations of this binary with their state in the database, ascending.
/// @throws Error{schema_mismatch} if an applied one was edited or is newer than this binary.
/// @throws Error{refused} as migrate_up(), to a user who could make the schema; others read what
///         they were granted. Error{denied} if a policy hides rows.
std::vector<MigrationStatus> migration_status(sql::Connection& connection);

/// Called after each migration with its version and name.
using MigrationProgress = std::function<void(const MigrationStatus&)>;

/// How long one runner waits for another one, and for each lock that a service holds.
inline constexpr std::chrono::milliseconds kMigrationWait{30'000};

/// Applies what is missing up to `target`. Idempotent; two at once are safe: one waits. A SQLite
/// file that is still empty gets journal_mode=WAL.
/// @returns how many were applied.
/// @throws Error{refused} if anything in the schema belongs to somebody else (PostgreSQL): it could
///         run with our rights.
/// @throws Error{schema_mismatch} if the schema is there and not noted; migrate_adopt() leads on.
/// @throws Error{invalid_config} for a SQLite file in UTF-16.
/// @throws Error{conflict} naming who held a lock for longer than `wait`.
/// Crash: each migration is one transaction with its row in outseal_schema_migration.
std::uint32_t migrate_up(sql::Connection& connection, std::uint32_t target,
                         const MigrationProgress& progress,
                         std::chrono::milliseconds wait = kMigrationWait);

/// Takes back what is above `target`, newest first; without a target the newest one.
/// @throws Error{refused} if that would drop unpublished or parked events, idempotency records that
///         have not expired, or what an inbox remembers, and `force` is false; and as migrate_up().
/// @throws Error{conflict} naming who held a lock for longer than `wait`.
/// Crash: all of it is one transaction.
std::uint32_t migrate_down(sql::Connection& connection, std::optional<std::uint32_t> target,
                           bool force, const MigrationProgress& progress,
                           std::chrono::milliseconds wait = kMigrationWait);

/// @throws Error{schema_missing} or Error{schema_mismatch} unless the schema is exactly this
///         binary's newest version.
void require_schema(sql::Connection& connection);

/// Notes that a schema which another program has made is that of version `target`, after it has
/// compared all of it with what the migrations make: tables and their rows, columns, sequences,
/// constraints, indexes, functions, triggers, rules, policies, and what others than the owner may
/// do. Nothing but outseal_schema_migration is changed.
/// @returns those that were not noted before.
/// @throws Error{schema_mismatch} naming what differs, Error{schema_missing} if there is nothing.
/// @throws Error{refused} as migrate_up().
/// Crash: one transaction.
std::vector<MigrationStatus> migrate_adopt(sql::Connection& connection, std::uint32_t target,
                                           std::chrono::milliseconds wait = kMigrationWait);

/// Which files migration_script() gives, and how.
struct ScriptOptions {
  static constexpr NumberRange<std::uint32_t> kFrom{1, 1, 9'999};

  std::uint32_t from = kFrom.fallback;  ///< The lowest version.
  std::uint32_t to = 0;                 ///< The highest version.
  bool down = false;                    ///< Those that take back, the highest version first.
  bool transaction = true;              ///< Each file between BEGIN and COMMIT.
};

/// The files for another tool to apply: after it the schema is the same, and noted as applied. The
/// same bytes whenever it is called.
std::string migration_script(std::string_view dialect, const ScriptOptions& options);

/// The roles that the newest version wants and that nobody has made, for the migration may not have
/// been allowed to; what they were to be granted is granted once they are there. Empty on SQLite.
std::vector<std::string> missing_roles(sql::Connection& connection);

/// SQLite's journal mode, for example "wal"; empty for other databases.
std::string journal_mode(sql::Connection& connection);

}  // namespace outseal::store
