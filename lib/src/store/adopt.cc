// Takes over a schema that another program has made: compares it with the one that the migrations
// make, and notes them if there is no difference.
#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "outseal/error.h"
#include "sql/migration.h"
#include "sql/schema.h"
#include "store/audit.h"
#include "store/migration_list.h"
#include "store/migrations.h"
#include "store/turns.h"

namespace outseal::store {

namespace {

/// How many differences are named.
constexpr std::size_t kDifferencesMax = 5;

/// A definition without what programs change on the way: comments, and blanks at will.
std::string normal_form(std::string_view sql) {
  std::string out;
  for (std::size_t i = 0; i < sql.size(); ++i) {
    if (sql.substr(i, 2) == "--") {
      i = std::min(sql.find('\n', i), sql.size());
      out += ' ';
    } else {
      out += std::isspace(static_cast<unsigned char>(sql[i])) != 0 ? ' ' : sql[i];
    }
  }
  std::string packed;
  for (const char c : out) {
    if (c == ' ' && (packed.empty() || packed.back() == ' ' || packed.back() == '(')) continue;
    if ((c == ')' || c == ',') && !packed.empty() && packed.back() == ' ') packed.pop_back();
    packed += c;
  }
  return packed;
}

/// All objects of the schema, a line each: a name, a tab, and what it is.
std::set<std::string> describe(sql::Connection& connection) {
  std::set<std::string> lines;
  for (const sql::SchemaObject& object : sql::describe_schema(connection))
    lines.insert(object.name + '\t' + normal_form(object.definition));
  return lines;
}

void run_files(sql::Connection& connection, const std::vector<Migration>& known,
               std::uint32_t target) {
  for (const Migration& migration : known)
    if (migration.version <= target) run_file(connection, migration.up);
}

/// What the migrations make. On PostgreSQL here and now: the schema steps aside, and comes back.
std::set<std::string> wanted_schema(sql::Connection& connection,
                                    const std::vector<Migration>& known, std::uint32_t target) {
  if (connection.dialect() == "sqlite") {
    const auto scratch = sql::open_scratch();
    run_files(*scratch, known, target);
    return describe(*scratch);
  }
  connection.execute("SAVEPOINT outseal_adopt");
  sql::set_schema_aside(connection);
  run_files(connection, known, target);
  std::set<std::string> wanted = describe(connection);
  connection.execute("ROLLBACK TO outseal_adopt");
  return wanted;
}

/// Names the objects of which only one of the two has this definition.
void refuse_difference(const std::set<std::string>& found, const std::set<std::string>& wanted,
                       std::uint32_t target) {
  std::vector<std::string> lines;
  std::set_symmetric_difference(found.begin(), found.end(), wanted.begin(), wanted.end(),
                                std::back_inserter(lines));
  std::vector<std::string> said;
  for (const std::string& line : lines) {
    const std::string name = line.substr(0, line.find('\t'));
    const auto has = [&name](const std::set<std::string>& lines_there) {
      const auto at = lines_there.lower_bound(name + '\t');
      return at != lines_there.end() && at->starts_with(name + '\t');
    };
    const std::string how = !has(found)    ? "is missing: "
                            : !has(wanted) ? "is too much: "
                                           : "differs: ";
    if (said.empty() || said.back() != how + name) said.push_back(how + name);
  }
  if (said.empty()) return;
  // There are many privileges, and they go with their objects.
  std::stable_partition(said.begin(), said.end(), [](const std::string& each) {
    return each.find(": privilege ") == std::string::npos;
  });
  std::string message = "this is not the schema of version " + std::to_string(target);
  for (std::size_t i = 0; i < std::min(said.size(), kDifferencesMax); ++i)
    message += (i == 0 ? ": " : "; ") + said[i];
  if (said.size() > kDifferencesMax)
    message += "; and " + std::to_string(said.size() - kDifferencesMax) + " more";
  throw Error{ErrorCode::schema_mismatch,
              "adopt",
              message,
              {.hint = "adopt another version with --to, or put these right: outseal-migrate print "
                       "shows how they are made"}};
}

}  // namespace

std::vector<MigrationStatus> migrate_adopt(sql::Connection& connection, std::uint32_t target,
                                           std::chrono::milliseconds wait) {
  const std::vector<Migration> known = known_migrations(connection.dialect());
  require_utf8(connection);
  std::vector<MigrationStatus> adopted;
  sql::transact(connection, wait, [&] {
    refuse_foreign_objects(connection);
    const std::vector<AppliedRow> applied = applied_rows(connection);
    if (!applied.empty()) take_turns_migrating(connection);
    if (applied.empty() && describe(connection).empty())
      throw Error{ErrorCode::schema_missing,
                  "adopt",
                  "the database has no outseal schema",
                  {.hint = "run: outseal-migrate up --db URL"}};
    const std::set<std::string> wanted = wanted_schema(connection, known, target);
    refuse_difference(describe(connection), wanted, target);
    // The one row that migrations insert, but for their own.
    const auto turn = wanted.lower_bound("relation turn\t");
    if (turn != wanted.end() && turn->starts_with("relation turn\t")) take_turns(connection);
    const auto is_noted = [&](const Migration& migration) {
      return std::any_of(applied.begin(), applied.end(), [&](const AppliedRow& row) {
        return row.version == migration.version && row.checksum == migration.up.checksum;
      });
    };
    if (!applied.empty() && applied.back().version > target)
      sql::forget_migrations(connection, target);
    for (const Migration& migration : known) {
      if (migration.version > target || is_noted(migration)) continue;
      const std::string actor = current_actor();
      sql::note_migration(connection, {.version = migration.version,
                                       .name = migration.name,
                                       .checksum = migration.up.checksum,
                                       .applied_by = actor});
      adopted.push_back({.version = migration.version,
                         .name = migration.name,
                         .applied_at_ms = {},
                         .applied_by = actor});
    }
  });
  return adopted;
}

}  // namespace outseal::store
