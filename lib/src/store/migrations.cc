#include "store/migrations.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "outseal/error.h"
#include "sql/inbox.h"
#include "sql/migration.h"
#include "sql/schema.h"
#include "store/audit.h"
#include "store/migration_list.h"
#include "store/turns.h"

namespace outseal::store {

namespace {

/// How long a new SQLite file is waited for.
constexpr std::chrono::milliseconds kNewFileWait{30'000};
/// Taking back this migration or an older one drops events, or what is known of their publishing.
constexpr std::uint32_t kEventTablesVersion = 3;
/// Taking back this migration or an older one drops idempotency records.
constexpr std::uint32_t kOperationTableVersion = 2;
/// Taking back this migration or an older one drops what a receiver remembers.
constexpr std::uint32_t kInboxTablesVersion = 4;

/// A file that is still empty gets a write-ahead log, so that readers and writers work at once. A
/// database that somebody uses already keeps the mode that they chose.
void prepare_new_database(sql::Connection& connection) {
  if (connection.dialect() != "sqlite") return;
  const auto deadline = std::chrono::steady_clock::now() + kNewFileWait;
  while (true) {
    try {
      if (!sql::is_database_empty(connection)) return;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
    }
    try {
      return sql::set_write_ahead_log(connection);
    } catch (const Error& error) {
      // Another runner has it open at this moment.
      if (error.code() != ErrorCode::conflict || std::chrono::steady_clock::now() >= deadline)
        throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
}

MigrationStatus status_of(const Migration& migration) {
  return {
      .version = migration.version, .name = migration.name, .applied_at_ms = {}, .applied_by = {}};
}

/// Applies the next missing one in a transaction of its own; false if none is missing.
bool apply_next(sql::Connection& connection, const std::vector<Migration>& known,
                std::uint32_t target, std::chrono::milliseconds wait, MigrationStatus& done) {
  return sql::transact(connection, wait, [&] {
    refuse_foreign_objects(connection);
    std::size_t count = checked_rows(connection, known).size();
    if (count > 0) {
      take_turns_migrating(connection);
      count = checked_rows(connection, known).size();  // Another runner may have been faster.
    }
    if (count == known.size() || known[count].version > target) return false;
    const Migration& next = known[count];
    wait_for_tables(connection, [&] { run_file(connection, next.up); });

    done = status_of(next);
    done.applied_at_ms = connection.now_ms();
    done.applied_by = current_actor();
    sql::sign_migration(connection, next.version, done.applied_by);
    return true;
  });
}

/// The same. Before the first migration there is nothing to take turns by: of two runners one finds
/// its objects made by the other, and looks again.
bool apply_next_in_turn(sql::Connection& connection, const std::vector<Migration>& known,
                        std::uint32_t target, std::chrono::milliseconds wait,
                        MigrationStatus& done) {
  refuse_foreign_objects(connection);
  const std::size_t before = checked_rows(connection, known).size();
  try {
    return apply_next(connection, known, target, wait, done);
  } catch (const Error&) {
    if (before > 0 || checked_rows(connection, known).empty()) throw;
  }
  return apply_next(connection, known, target, wait, done);
}

void refuse_unpublished(sql::Connection& connection, std::uint32_t newest) {
  lock_outbox(connection);
  if (newest >= kEventTablesVersion ? sql::any_unpublished(connection) : sql::any_event(connection))
    throw Error{ErrorCode::refused,
                "migrate down",
                "events are unpublished or parked",
                {.hint = "publish them with: outseal-relay run --drain; decide about parked ones; "
                         "or drop them with --force"}};
}

void refuse_live_operations(sql::Connection& connection) {
  if (sql::any_live_operation(connection, connection.now_ms()))
    throw Error{
        ErrorCode::refused,
        "migrate down",
        "idempotency records still hold: without them their keys would execute again",
        {.hint = "wait until they have expired, or drop them with outseal-migrate down --force"}};
}

void refuse_received(sql::Connection& connection) {
  wait_for_tables(connection, [&] { sql::lock_inbox(connection); });
  if (sql::any_received(connection))
    throw Error{
        ErrorCode::refused,
        "migrate down",
        "the inbox remembers what was received: without it events would take effect twice,"
        " or never",
        {.hint = "move the receiver to another database first, or drop it with outseal-migrate"
                 " down --force"}};
}

/// Every program sees all rows or none: what is hidden would be passed over, or be called fine. To
/// read a table runs its policies, so this comes before anything is read.
void refuse_policies(sql::Connection& connection) {
  if (connection.dialect() != "postgresql") return;
  const auto hiding = sql::find_hiding_policies(connection);
  if (!hiding) return;
  const std::string table = "outseal." + hiding->table;
  throw Error{ErrorCode::denied,
              "schema",
              "row-level security hides rows of " + table + " from the user " + hiding->user +
                  " (policies: " + hiding->policies + ")",
              {.hint = "ALTER ROLE \"" + hiding->user +
                       "\" BYPASSRLS, or drop the policies and ALTER TABLE " + table +
                       " DISABLE ROW LEVEL SECURITY"}};
}

}  // namespace

std::uint32_t newest_version(std::string_view dialect) {
  return known_migrations(dialect).back().version;
}

std::vector<MigrationStatus> migration_status(sql::Connection& connection) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
  refuse_foreign_objects(connection, Migrates::perhaps);
  refuse_policies(connection);
  const std::vector<AppliedRow> applied = checked_rows(connection, known);
  std::vector<MigrationStatus> all;
  for (std::size_t i = 0; i < known.size(); ++i) {
    all.push_back(status_of(known[i]));
    if (i >= applied.size()) continue;
    all.back().applied_at_ms = applied[i].applied_at_ms;
    all.back().applied_by = applied[i].applied_by;
  }
  return all;
}

std::uint32_t migrate_up(sql::Connection& connection, std::uint32_t target,
                         const MigrationProgress& progress, std::chrono::milliseconds wait) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
  prepare_new_database(connection);
  require_utf8(connection);
  refuse_foreign_objects(connection);
  // Without need, no write lock.
  const std::size_t count = checked_rows(connection, known).size();
  if (count == known.size() || known[count].version > target) return 0;

  std::uint32_t applied = 0;
  for (MigrationStatus done; apply_next_in_turn(connection, known, target, wait, done); ++applied)
    if (progress) progress(done);
  return applied;
}

std::uint32_t migrate_down(sql::Connection& connection, std::optional<std::uint32_t> to, bool force,
                           const MigrationProgress& progress, std::chrono::milliseconds wait) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
  std::vector<MigrationStatus> taken_back;
  // One transaction for all: no event can be appended between the check and the last table's end.
  sql::transact(connection, wait, [&] {
    refuse_foreign_objects(connection);
    if (applied_rows(connection).empty()) return;
    take_turns_migrating(connection);
    std::size_t count = checked_rows(connection, known).size();
    const std::uint32_t target = to.value_or(count < 2 ? 0 : known[count - 2].version);
    if (count == 0 || known[count - 1].version <= target) return;
    const std::uint32_t newest = known[count - 1].version;
    if (!force && target < kEventTablesVersion) refuse_unpublished(connection, newest);
    if (!force && target < kOperationTableVersion && newest >= kOperationTableVersion)
      refuse_live_operations(connection);
    if (!force && target < kInboxTablesVersion && newest >= kInboxTablesVersion)
      refuse_received(connection);
    for (; count > 0 && known[count - 1].version > target; --count) {
      const Migration& last = known[count - 1];
      wait_for_tables(connection, [&] { run_file(connection, last.down); });
      taken_back.push_back(status_of(last));
    }
  });
  if (progress)
    for (const MigrationStatus& done : taken_back) progress(done);
  return static_cast<std::uint32_t>(taken_back.size());
}

void require_schema(sql::Connection& connection) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
  refuse_policies(connection);
  const std::vector<AppliedRow> applied = checked_rows(connection, known);
  if (applied.empty())
    throw Error{ErrorCode::schema_missing,
                "schema",
                "the database has no outseal schema",
                {.hint = "run: outseal-migrate up --db URL"}};
  if (applied.size() < known.size())
    throw Error{ErrorCode::schema_mismatch,
                "schema",
                "the database has version " + std::to_string(applied.back().version) +
                    ", this binary needs version " + std::to_string(known.back().version),
                {.hint = "run: outseal-migrate up --db URL"}};
}

std::string migration_script(std::string_view dialect, const ScriptOptions& options) {
  std::vector<Migration> known = known_migrations(dialect);
  if (options.down) std::reverse(known.begin(), known.end());
  std::string script;
  for (const Migration& migration : known) {
    if (migration.version < options.from || migration.version > options.to) continue;
    const EmbeddedMigration& file = options.down ? migration.down : migration.up;
    script += "-- " + std::string{file.path} + "\n";
    if (options.transaction) script += "BEGIN;\n";
    script += file.sql;
    if (options.transaction) script += "COMMIT;\n";
    script += "\n";
  }
  return script;
}

std::vector<std::string> missing_roles(sql::Connection& connection) {
  if (connection.dialect() == "sqlite") return {};
  return sql::list_missing_roles(connection);
}

std::string journal_mode(sql::Connection& connection) {
  if (connection.dialect() != "sqlite") return {};
  return sql::read_journal_mode(connection);
}

}  // namespace outseal::store
