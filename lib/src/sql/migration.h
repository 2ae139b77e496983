// The migrations that a database has noted as applied, and what taking them back would lose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"

namespace outseal::sql {

/// Whether there is the table that notes migrations. A view of that name is none: to read it would
/// run what its maker likes.
bool has_migration_table(Connection& connection);
/// Whether there is the first of our tables, whoever made it.
bool has_outbox(Connection& connection);

/// One row of outseal_schema_migration.
struct AppliedRow {
  std::uint32_t version = 0;
  std::string name;
  std::string checksum;
  std::int64_t applied_at_ms = 0;
  std::string applied_by;
};
/// Ascending.
std::vector<AppliedRow> list_migrations(Connection& connection);

/// Notes who has applied the migration, which has noted itself.
void sign_migration(Connection& connection, std::uint32_t version, std::string_view applied_by);

/// A migration to be noted as applied now.
struct MigrationNote {
  std::uint32_t version = 0;
  std::string_view name;
  std::string_view checksum;
  std::string_view applied_by;
};
/// A note that is there already is replaced, but for its time.
void note_migration(Connection& connection, const MigrationNote& note);
/// Removes the notes of those above `version`.
void forget_migrations(Connection& connection, std::uint32_t version);

/// Whether the outbox holds any event.
bool any_event(Connection& connection);
/// Whether an event waits for any subscription or is parked; without one, whether there is any.
bool any_unpublished(Connection& connection);
/// Whether any idempotency record has not expired. What is in progress or unknown never does.
bool any_live_operation(Connection& connection, std::int64_t now_ms);

// Its plan is tested.
extern const Text kAnyUnpublished;

}  // namespace outseal::sql
