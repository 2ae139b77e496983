// Applies the schema: numbered SQL files, embedded in the binary, each in one transaction.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"

namespace outseal::store {

/// A file of migrations/, for example "sqlite/0001_outbox.up.sql".
struct EmbeddedMigration {
  std::string_view path;
  std::string_view sql;
};
extern const EmbeddedMigration kEmbeddedMigrations[];
extern const std::size_t kEmbeddedMigrationCount;

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
std::vector<MigrationStatus> migration_status(sql::Connection& connection);

/// Called after each migration with its version and name.
using MigrationProgress = std::function<void(const MigrationStatus&)>;

/// How long one runner waits for another one, and for each lock that a service holds.
inline constexpr std::chrono::milliseconds kMigrationWait{30'000};

/// Applies what is missing up to `target`. Idempotent; two at once are safe: one waits. A SQLite
/// file that is still empty gets journal_mode=WAL.
/// @returns how many were applied.
/// @throws Error{conflict} if a lock was held for longer than `wait`.
/// Crash: each migration is one transaction with its row in outseal_schema_migration.
std::uint32_t migrate_up(sql::Connection& connection, std::uint32_t target,
                         const MigrationProgress& progress,
                         std::chrono::milliseconds wait = kMigrationWait);

/// Takes back what is above `target`, newest first.
/// @throws Error{refused} if that would drop unpublished or parked events, idempotency records that
///         have not expired, or what an inbox remembers, and `force` is false.
/// @throws Error{conflict} if a lock was held for longer than `wait`.
/// Crash: all of it is one transaction.
std::uint32_t migrate_down(sql::Connection& connection, std::uint32_t target, bool force,
                           const MigrationProgress& progress,
                           std::chrono::milliseconds wait = kMigrationWait);

/// @throws Error{schema_missing} or Error{schema_mismatch} unless the schema is exactly this
///         binary's newest version.
void require_schema(sql::Connection& connection);

/// All SQL that migrate_up() would run on an empty database, for another tool to apply: after it
/// the schema is the same, and known to be applied.
std::string migration_script(std::string_view dialect, std::uint32_t target);

/// SQLite's journal mode, for example "wal"; empty for other databases.
std::string journal_mode(sql::Connection& connection);

}  // namespace outseal::store
