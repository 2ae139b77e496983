#include "store/migrations.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "base/hash.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/query.h"
#include "store/audit.h"

namespace outseal::store {

namespace {

using sql::Query;

/// How long a new SQLite file is waited for.
constexpr std::chrono::milliseconds kNewFileWait{30'000};
/// Taking back this migration or an older one drops events, or what is known of their publishing.
constexpr std::uint32_t kEventTablesVersion = 3;
/// Taking back this migration or an older one drops idempotency records.
constexpr std::uint32_t kOperationTableVersion = 2;
/// Taking back this migration or an older one drops what a receiver remembers.
constexpr std::uint32_t kInboxTablesVersion = 4;

/// One migration of the binary, in one dialect.
struct Migration {
  std::uint32_t version = 0;
  std::string name;
  EmbeddedMigration up;
  EmbeddedMigration down;

  std::string checksum() const { return to_hex(sha256(up.sql)); }
};

/// One row of outseal_schema_migration.
struct AppliedRow {
  std::uint32_t version = 0;
  std::string name;
  std::string checksum;
  std::int64_t applied_at_ms = 0;
  std::string applied_by;
};

/// Ascending. Paths are DIALECT/NNNN_NAME.{up,down}.sql; the embedding sorts them, down before up.
std::vector<Migration> known_migrations(std::string_view dialect) {
  std::vector<Migration> known;
  for (std::size_t i = 0; i < kEmbeddedMigrationCount; ++i) {
    const EmbeddedMigration& file = kEmbeddedMigrations[i];
    std::string_view path = file.path;
    if (!path.starts_with(dialect) || path.substr(dialect.size(), 1) != "/") continue;
    path.remove_prefix(dialect.size() + 1);
    std::uint32_t version = 0;
    const auto [stop, fault] = std::from_chars(path.data(), path.data() + path.size(), version);
    path.remove_prefix(static_cast<std::size_t>(stop - path.data()));
    const bool up = path.ends_with(".up.sql");
    if (fault != std::errc{} || !path.starts_with("_") || (!up && !path.ends_with(".down.sql")))
      throw Error{ErrorCode::internal, "migrate", "odd migration file " + std::string{file.path}};
    if (known.empty() || known.back().version != version) {
      known.emplace_back();
      known.back().version = version;
      known.back().name = path.substr(1, path.find('.') - 1);
    }
    (up ? known.back().up : known.back().down) = file;
  }
  if (known.empty())
    throw Error{ErrorCode::invalid_argument, "migrate",
                "this binary has no migrations for " + std::string{dialect}};
  return known;
}

std::vector<AppliedRow> applied_rows(sql::Connection& connection) {
  {
    const sql::Use found{connection.statement(Query::has_migration_table)};
    if (!found->step() || found->integer(0) == 0) return {};
  }
  std::vector<AppliedRow> applied;
  const sql::Use rows{connection.statement(Query::list_migrations)};
  while (rows->step())
    applied.push_back({.version = static_cast<std::uint32_t>(rows->integer(0)),
                       .name = std::string{rows->text(1)},
                       .checksum = std::string{rows->text(2)},
                       .applied_at_ms = rows->integer(3),
                       .applied_by = std::string{rows->text(4)}});
  return applied;
}

/// Refuses a database that this binary does not know exactly: the applied ones must be the first
/// of ours, unchanged.
void check_applied(const std::vector<AppliedRow>& applied, const std::vector<Migration>& known) {
  for (std::size_t i = 0; i < applied.size(); ++i) {
    const AppliedRow& row = applied[i];
    if (row.version > known.back().version)
      throw Error{ErrorCode::schema_mismatch,
                  "schema",
                  "the database has version " + std::to_string(applied.back().version) +
                      ", this binary knows versions up to " + std::to_string(known.back().version),
                  {.hint = "use the newer outseal that made it"}};
    if (row.version != known[i].version)
      throw Error{ErrorCode::schema_mismatch,
                  "schema",
                  "version " + std::to_string(known[i].version) + " is missing below version " +
                      std::to_string(row.version),
                  {.hint = "restore the rows of outseal_schema_migration"}};
    if (row.checksum != known[i].checksum())
      throw Error{ErrorCode::schema_mismatch,
                  "schema",
                  std::string{known[i].up.path} + " was edited after it was applied",
                  {.hint = "use the build that applied it; put changes into a new migration"}};
  }
}

std::vector<AppliedRow> checked_rows(sql::Connection& connection,
                                     const std::vector<Migration>& known) {
  std::vector<AppliedRow> applied = applied_rows(connection);
  check_applied(applied, known);
  return applied;
}

/// Runs a migration file and names it in what goes wrong.
void run_file(sql::Connection& connection, const EmbeddedMigration& file) {
  try {
    connection.execute(file.sql);
  } catch (const Error& error) {
    // A statement that the database refuses is the schema's fault, not ours: an object in the way.
    const bool refused = error.code() == ErrorCode::internal ||
                         error.code() == ErrorCode::schema_missing ||
                         error.code() == ErrorCode::constraint;
    throw Error{
        refused ? ErrorCode::schema_mismatch : error.code(),
        "migrate",
        std::string{file.path} + ": " + error.message(),
        {.hint = refused ? "nothing of it was applied; remove what is in its way" : error.hint(),
         .detail_code = error.detail_code()}};
  }
}

/// A file that is still empty gets a write-ahead log, so that readers and writers work at once. A
/// database that somebody uses already keeps the mode that they chose.
void prepare_new_database(sql::Connection& connection) {
  if (connection.dialect() != "sqlite") return;
  const auto deadline = std::chrono::steady_clock::now() + kNewFileWait;
  while (true) {
    try {
      const sql::Use empty{connection.statement(Query::is_database_empty)};
      if (!empty->step() || empty->integer(0) == 0) return;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
    }
    try {
      const sql::Use mode{connection.statement(Query::set_write_ahead_log)};
      mode->step();
      return;
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
    sql::Use { connection.statement(Query::take_turns) } -> step();
    sql::Use { connection.statement(Query::create_schema) } -> step();
    sql::Use { connection.statement(Query::create_migration_table) } -> step();
    // Only now, with the write lock held: another runner may have been faster.
    const std::size_t count = checked_rows(connection, known).size();
    if (count == known.size() || known[count].version > target) return false;
    const Migration& next = known[count];
    run_file(connection, next.up);

    done = status_of(next);
    done.applied_at_ms = connection.now_ms();
    done.applied_by = current_actor();
    const std::string checksum = next.checksum();
    const sql::Use row{connection.statement(Query::insert_migration)};
    row->bind(0, next.version);
    row->bind_text(1, next.name);
    row->bind_text(2, checksum);
    row->bind(3, *done.applied_at_ms);
    row->bind_text(4, done.applied_by);
    row->step();
    return true;
  });
}

void refuse_unpublished(sql::Connection& connection, std::uint32_t newest) {
  sql::Use { connection.statement(Query::lock_outbox) } -> step();
  const Query query = newest >= kEventTablesVersion ? Query::any_unpublished : Query::any_event;
  const sql::Use left{connection.statement(query)};
  if (left->step() && left->integer(0) != 0)
    throw Error{ErrorCode::refused,
                "migrate down",
                "events are unpublished or parked",
                {.hint = "publish them with: outseal-relay run --drain; decide about parked ones; "
                         "or drop them with --force"}};
}

void refuse_live_operations(sql::Connection& connection) {
  const sql::Use live{connection.statement(Query::any_live_operation)};
  live->bind(0, connection.now_ms());
  if (live->step() && live->integer(0) != 0)
    throw Error{ErrorCode::refused,
                "migrate down",
                "idempotency records still hold: without them their keys would execute again",
                {.hint = "wait until they have expired, or drop them with --force"}};
}

void refuse_received(sql::Connection& connection) {
  sql::Use { connection.statement(Query::lock_inbox) } -> step();
  const sql::Use received{connection.statement(Query::any_received)};
  if (received->step() && received->integer(0) != 0)
    throw Error{ErrorCode::refused,
                "migrate down",
                "the inbox remembers what was received: without it events would take effect twice,"
                " or never",
                {.hint = "move the receiver to another database first, or drop it with --force"}};
}

/// Replaces ?1, ?2, ... or $1, $2, ... in `text`. No value holds one of these.
std::string filled(std::string_view text, const std::vector<std::string>& values) {
  std::string out{text};
  const char mark = text.find('?') == std::string_view::npos ? '$' : '?';
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string parameter = mark + std::to_string(i + 1);
    const std::size_t at = out.find(parameter);
    if (at != std::string::npos) out.replace(at, parameter.size(), values[i]);
  }
  return out;
}

}  // namespace

std::uint32_t newest_version(std::string_view dialect) {
  return known_migrations(dialect).back().version;
}

std::vector<MigrationStatus> migration_status(sql::Connection& connection) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
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
  // Without need, no write lock.
  const std::size_t count = checked_rows(connection, known).size();
  if (count == known.size() || known[count].version > target) return 0;

  std::uint32_t applied = 0;
  for (MigrationStatus done; apply_next(connection, known, target, wait, done); ++applied)
    if (progress) progress(done);
  return applied;
}

std::uint32_t migrate_down(sql::Connection& connection, std::uint32_t target, bool force,
                           const MigrationProgress& progress, std::chrono::milliseconds wait) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
  std::vector<MigrationStatus> taken_back;
  // One transaction for all: no event can be appended between the check and the last table's end.
  sql::transact(connection, wait, [&] {
    sql::Use { connection.statement(Query::take_turns) } -> step();
    std::size_t count = checked_rows(connection, known).size();
    if (count == 0 || known[count - 1].version <= target) return;
    const std::uint32_t newest = known[count - 1].version;
    if (!force && target < kEventTablesVersion) refuse_unpublished(connection, newest);
    if (!force && target < kOperationTableVersion && newest >= kOperationTableVersion)
      refuse_live_operations(connection);
    if (!force && target < kInboxTablesVersion && newest >= kInboxTablesVersion)
      refuse_received(connection);
    for (; count > 0 && known[count - 1].version > target; --count) {
      const Migration& last = known[count - 1];
      run_file(connection, last.down);
      const sql::Use row{connection.statement(Query::delete_migration)};
      row->bind(0, last.version);
      row->step();
      taken_back.push_back(status_of(last));
    }
  });
  if (progress)
    for (const MigrationStatus& done : taken_back) progress(done);
  return static_cast<std::uint32_t>(taken_back.size());
}

void require_schema(sql::Connection& connection) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
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

std::string migration_script(std::string_view dialect, std::uint32_t target) {
  const std::vector<Migration> known = known_migrations(dialect);
  std::string script;
  for (const Query query : {Query::create_schema, Query::create_migration_table}) {
    if (query == Query::create_schema && dialect == "sqlite") continue;  // It has none.
    script += std::string{sql::text(dialect, query)} + ";\n";
  }
  for (const Migration& migration : known) {
    if (migration.version > target) break;
    script += "\n-- " + std::string{migration.up.path} + "\nBEGIN;\n";
    script += migration.up.sql;
    script += filled(sql::text(dialect, Query::insert_migration),
                     {std::to_string(migration.version), "'" + migration.name + "'",
                      "'" + migration.checksum() + "'", std::to_string(wall_clock_ms()),
                      "'outseal-migrate print'"});
    script += ";\nCOMMIT;\n";
  }
  return script;
}

std::string journal_mode(sql::Connection& connection) {
  if (connection.dialect() != "sqlite") return {};
  const sql::Use mode{connection.statement(Query::journal_mode)};
  return mode->step() ? std::string{mode->text(0)} : std::string{};
}

}  // namespace outseal::store
