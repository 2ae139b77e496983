// An empty database of the shared server, and what the migrations make of it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "integration/failover/postgres_drill.h"
#include "outseal/error.h"
#include "store/migrations.h"
#include "support/postgres_server.h"
#include "support/program.h"

namespace outseal::test {

inline std::uint32_t newest() { return store::newest_version("postgresql"); }

/// An empty database.
struct EmptyDatabase {
  PostgresServer& server = shared_server();
  std::string database = server.fresh_database();
  std::unique_ptr<sql::Connection> connection = open();

  EmptyDatabase() = default;
  ~EmptyDatabase() {
    connection.reset();
    server.drop_database(database);
  }
  EmptyDatabase(const EmptyDatabase&) = delete;
  EmptyDatabase& operator=(const EmptyDatabase&) = delete;

  std::unique_ptr<sql::Connection> open() const {
    return sql::open(Url::parse("--db", server.url(database)));
  }
  std::uint32_t up(std::uint32_t target = newest()) const {
    return store::migrate_up(*connection, target, {});
  }
  std::uint32_t down(std::uint32_t target, bool force = false,
                     std::chrono::milliseconds wait = store::kMigrationWait) const {
    return store::migrate_down(*connection, target, force, {}, wait);
  }
  std::string ask(const std::string& sql) const { return server.execute(sql, database); }
  std::string version() const { return ask("SELECT max(version) FROM outseal.schema_migration"); }
  void append() const { ask("SELECT outseal.append('t', 'k', 'x', '{}'::text)"); }
  /// Waits until somebody waits for a lock in this database.
  void wait_for_waiter() const {
    wait_until("a session to wait for a lock", [&] {
      return ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                 " AND datname = current_database()") != "0";
    });
  }
};

/// What others than the owner may do, of a column of access rights.
inline std::string rights(const std::string& column) {
  return "(SELECT string_agg(r::text, ',' ORDER BY r::text) FROM unnest(" + column +
         ") r WHERE r::text NOT LIKE 'admin=%')";
}

/// All objects of the schema and who may use them, as the database knows them; a line each.
inline std::set<std::string> schema(const EmptyDatabase& f) {
  const std::string objects = f.ask(
      "SELECT string_agg(replace(line, chr(10), ' '), chr(10)) FROM ("
      " SELECT concat_ws(' ', c.relkind, c.relname, c.reloptions::text, " +
      rights("c.relacl") +
      ") AS line"
      "  FROM pg_class c WHERE c.relnamespace = to_regnamespace('outseal')"
      " UNION ALL SELECT concat_ws(' ', c.relname, a.attnum, a.attname, a.atttypid::regtype,"
      "  a.attnotnull, a.attidentity, a.attcollation::regcollation, " +
      rights("a.attacl") +
      ",  pg_get_expr(d.adbin, d.adrelid)) FROM pg_class c JOIN pg_attribute a"
      "  ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d"
      "  ON d.adrelid = c.oid AND d.adnum = a.attnum"
      "  WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace('outseal')"
      " UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
      "  WHERE connamespace = to_regnamespace('outseal')"
      " UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'outseal'"
      " UNION ALL SELECT concat_ws(' ', pg_get_functiondef(p.oid), " +
      rights("coalesce(p.proacl, acldefault('f', p.proowner))") +
      ") FROM pg_proc p"
      "  WHERE p.pronamespace = to_regnamespace('outseal')"
      " UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c"
      "  ON c.oid = t.tgrelid WHERE NOT t.tgisinternal"
      "  AND c.relnamespace = to_regnamespace('outseal')"
      " UNION ALL SELECT 'schema ' || " +
      rights("n.nspacl") + " FROM pg_namespace n WHERE n.nspname = 'outseal') l");
  std::set<std::string> lines;
  std::istringstream in{objects};
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

/// The lines that only one of them has.
inline std::string difference(const std::set<std::string>& a, const std::set<std::string>& b) {
  std::vector<std::string> lines;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(lines));
  return joined(lines);
}

inline std::optional<Error> error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

inline void check_error(const std::function<void()>& body, ErrorCode code,
                        const std::string& message) {
  const auto error = error_of(body);
  REQUIRE(error.has_value());
  INFO(std::string{error->what()});
  CHECK(error->code() == code);
  CHECK(error->message().find(message) != std::string::npos);
  CHECK_FALSE(error->hint().empty());
}

/// The hint of the conflict that `body` ends with, whose message says `named`.
inline std::string hint_of(const std::function<void()>& body, const std::string& named) {
  const auto error = error_of(body);
  REQUIRE(error.has_value());
  INFO(std::string{error->what()});
  CHECK(error->code() == ErrorCode::conflict);
  CHECK(error->detail_code() == "55P03");
  CHECK(error->message().find(named) != std::string::npos);
  return error->hint();
}

}  // namespace outseal::test
