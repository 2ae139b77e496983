#include "sql/migration.h"

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {

const Text kHasMigrationTable{
    .name = "has_migration_table",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema"
        " WHERE type = 'table' AND name = 'outseal_schema_migration')",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relname = 'schema_migration'"
        " AND relnamespace = to_regnamespace('outseal') AND relkind = 'r')"};

bool has_migration_table(Connection& connection) {
  return get_value<bool>(connection, kHasMigrationTable);
}

const Text kHasOutbox{.name = "has_outbox",
                      .sqlite =
                          "SELECT EXISTS (SELECT 1 FROM sqlite_schema"
                          " WHERE type = 'table' AND name = 'outseal_outbox')",
                      .postgres = "SELECT to_regclass('outseal.outbox') IS NOT NULL"};

bool has_outbox(Connection& connection) { return get_value<bool>(connection, kHasOutbox); }

const Text kListMigrations{.name = "list_migrations",
                           .sqlite =
                               "SELECT version, name, checksum, applied_at, applied_by"
                               " FROM outseal_schema_migration ORDER BY version",
                           .postgres =
                               "SELECT version, name, checksum, applied_at, applied_by"
                               " FROM outseal.schema_migration ORDER BY version"};

std::vector<AppliedRow> list_migrations(Connection& connection) {
  return list_rows(connection, kListMigrations, [](Columns& columns) {
    AppliedRow row;
    columns >> row.version >> row.name >> row.checksum >> row.applied_at_ms >> row.applied_by;
    return row;
  });
}

// version, applied by
const Text kSignMigration{
    .name = "sign_migration",
    .sqlite = "UPDATE outseal_schema_migration SET applied_by = ?2 WHERE version = ?1",
    .postgres = "UPDATE outseal.schema_migration SET applied_by = $2 WHERE version = $1"};

void sign_migration(Connection& connection, std::uint32_t version, std::string_view applied_by) {
  run(connection, kSignMigration, version, applied_by);
}

// version, name, checksum, applied by
const Text kNoteMigration{
    .name = "note_migration",
    .sqlite =
        "INSERT INTO outseal_schema_migration (version, name, checksum, applied_by)"
        " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (version) DO UPDATE SET name = excluded.name,"
        " checksum = excluded.checksum, applied_by = excluded.applied_by",
    .postgres =
        "INSERT INTO outseal.schema_migration (version, name, checksum, applied_by)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (version) DO UPDATE SET name = excluded.name,"
        " checksum = excluded.checksum, applied_by = excluded.applied_by"};

void note_migration(Connection& connection, const MigrationNote& note) {
  run(connection, kNoteMigration, note.version, note.name, note.checksum, note.applied_by);
}

// version
const Text kForgetMigrations{.name = "forget_migrations",
                             .sqlite = "DELETE FROM outseal_schema_migration WHERE version > ?1",
                             .postgres = "DELETE FROM outseal.schema_migration WHERE version > $1"};

void forget_migrations(Connection& connection, std::uint32_t version) {
  run(connection, kForgetMigrations, version);
}

const Text kAnyEvent{.name = "any_event",
                     .sqlite = "SELECT EXISTS (SELECT 1 FROM outseal_outbox)",
                     .postgres = "SELECT EXISTS (SELECT 1 FROM outseal.outbox)"};

bool any_event(Connection& connection) { return get_value<bool>(connection, kAnyEvent); }

// No subscription has published anything.
const Text kAnyUnpublished{
    .name = "any_unpublished",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM outseal_outbox WHERE seq >"
        "  coalesce((SELECT min(acked_seq) FROM outseal_subscription), 0))"
        " OR EXISTS (SELECT 1 FROM outseal_parked p JOIN outseal_subscription s"
        "  ON s.name = p.subscription WHERE p.state IN ('parked', 'queued')"
        "  OR (p.state = 'redriven' AND p.position > s.acked_position))",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.subscription s CROSS JOIN LATERAL ("
        "  SELECT 1 FROM " OUTSEAL_MAY_WAIT " WHERE " OUTSEAL_WAITS
        "  LIMIT 1) w)"
        " OR (NOT EXISTS (SELECT 1 FROM outseal.subscription)"
        "  AND EXISTS (SELECT 1 FROM outseal.outbox))"
        " OR EXISTS (SELECT 1 FROM outseal.parked p JOIN outseal.subscription s"
        "  ON s.name = p.subscription WHERE p.state IN ('parked', 'queued')"
        "  OR (p.state = 'redriven' AND p.position > s.acked_position))",
    .setting = {OUTSEAL_PIN_INDEX, false}};

bool any_unpublished(Connection& connection) {
  return get_value<bool>(connection, kAnyUnpublished);
}

// now
const Text kAnyLiveOperation{
    .name = "any_live_operation",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM outseal_idempotency"
        " WHERE expires_at IS NULL OR expires_at > ?1)",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.idempotency"
        " WHERE expires_at IS NULL OR expires_at > to_timestamp($1::float8 / 1000))"};

bool any_live_operation(Connection& connection, std::int64_t now_ms) {
  return get_value<bool>(connection, kAnyLiveOperation, now_ms);
}

}  // namespace outseal::sql
