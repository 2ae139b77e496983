#include "store/migration_list.h"

#include <charconv>

#include "base/failpoint.h"
#include "outseal/error.h"
#include "sql/schema.h"

namespace outseal::store {

namespace {

constexpr const char* kAdoptHint =
    "if the schema is as it should be, note that with: outseal-migrate adopt --db URL";

[[noreturn]] void refuse(const std::string& message, std::string hint) {
  throw Error{ErrorCode::schema_mismatch, "schema", message, {.hint = std::move(hint)}};
}

}  // namespace

// Paths are DIALECT/NNNN_NAME.{up,down}.sql; the embedding sorts them, down before up.
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
  if (!sql::has_migration_table(connection)) return {};
  return sql::list_migrations(connection);
}

std::vector<AppliedRow> checked_rows(sql::Connection& connection,
                                     const std::vector<Migration>& known) {
  std::vector<AppliedRow> applied = applied_rows(connection);
  if (applied.empty() && sql::has_outbox(connection)) {
    // Another runner may have committed tables and notes, at once, between the two looks.
    applied = applied_rows(connection);
    if (applied.empty())
      refuse("the database has tables of outseal, but has noted no migration", kAdoptHint);
  }
  for (std::size_t i = 0; i < applied.size(); ++i) {
    const AppliedRow& row = applied[i];
    if (row.version > known.back().version)
      refuse("the database has version " + std::to_string(applied.back().version) +
                 ", this binary knows versions up to " + std::to_string(known.back().version),
             "use the newer outseal that made it");
    if (row.version != known[i].version)
      refuse("version " + std::to_string(known[i].version) + " is missing below version " +
                 std::to_string(row.version),
             kAdoptHint);
    if (row.checksum != known[i].up.checksum)
      refuse(std::string{known[i].up.path} + " is not what was applied",
             "use the build that applied it; or, " + std::string{kAdoptHint});
  }
  return applied;
}

void refuse_foreign_objects(sql::Connection& connection, Migrates migrates) {
  if (connection.dialect() == "sqlite") return;  // Who can write the file owns all of it.
  if (mutant("no_owner_check")) return;
  const auto found = sql::find_foreign_object(connection, migrates == Migrates::yes);
  if (!found) return;
  throw Error{
      ErrorCode::refused,
      "migrate",
      found->object + " belongs to " + found->owner + ", and " + found->user + " migrates",
      {.hint = "it could run with the rights of the user who migrates: run outseal-migrate "
               "up as its owner; if it is not outseal's, its owner or a superuser drops it"}};
}

void require_utf8(sql::Connection& connection) {
  if (connection.dialect() != "sqlite") return;  // Migration 1 looks itself.
  const std::string encoding = sql::text_encoding(connection);
  if (encoding == "UTF-8") return;
  throw Error{ErrorCode::invalid_config,
              "migrate",
              "the file keeps its text in " + encoding + ", outseal needs UTF-8",
              {.hint = "copy it into a new file: sqlite3 OLD .dump | sqlite3 NEW"}};
}

void run_file(sql::Connection& connection, const EmbeddedMigration& file) {
  try {
    connection.execute(file.sql);
  } catch (const Error& error) {
    // A statement that the database refuses is the schema's fault, not ours: an object in the way.
    const bool refused = error.code() == ErrorCode::internal ||
                         error.code() == ErrorCode::schema_missing ||
                         error.code() == ErrorCode::constraint;
    // Advice to run outseal-migrate would lead in a circle here.
    const bool advised = !error.hint().empty() && error.code() != ErrorCode::schema_missing;
    throw Error{
        refused ? ErrorCode::schema_mismatch : error.code(),
        "migrate",
        std::string{file.path} + ": " + error.message(),
        {.hint = refused && !advised ? "nothing of it was applied; remove what is in its way"
                                     : error.hint(),
         .detail_code = error.detail_code()}};
  }
}

}  // namespace outseal::store
