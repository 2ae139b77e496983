// The migration runner on PostgreSQL. What both dialects share is in unit/migrations_test.cc.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "conformance/postgres_drill.h"
#include "outseal/error.h"
#include "store/migrations.h"
#include "support/postgres_server.h"
#include "support/program.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

std::uint32_t newest() { return store::newest_version("postgresql"); }

/// An empty database.
struct Fixture {
  PostgresServer& server = shared_server();
  std::string database = server.fresh_database();
  std::unique_ptr<sql::Connection> connection = open();

  Fixture() = default;
  ~Fixture() {
    connection.reset();
    server.drop_database(database);
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

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
std::string rights(const std::string& column) {
  return "(SELECT string_agg(r::text, ',' ORDER BY r::text) FROM unnest(" + column +
         ") r WHERE r::text NOT LIKE 'admin=%')";
}

/// All objects of the schema and who may use them, as the database knows them; a line each.
std::set<std::string> schema(const Fixture& f) {
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
std::string difference(const std::set<std::string>& a, const std::set<std::string>& b) {
  std::vector<std::string> lines;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(lines));
  return joined(lines);
}

std::optional<Error> error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

void check_error(const std::function<void()>& body, ErrorCode code, const std::string& message) {
  const auto error = error_of(body);
  REQUIRE(error.has_value());
  INFO(error->what());
  CHECK(error->code() == code);
  CHECK(error->message().find(message) != std::string::npos);
  CHECK_FALSE(error->hint().empty());
}

}  // namespace

TEST_CASE("each migration can be taken back and applied again to the same schema") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  std::vector<std::set<std::string>> schemas{{}};
  for (std::uint32_t version = 1; version <= newest(); ++version) {
    CHECK(f.up(version) == 1);
    schemas.push_back(schema(f));
  }
  CHECK(f.up() == 0);
  for (std::uint32_t version = newest(); version > 1; --version) {
    CHECK(difference(schema(f), schemas[version]) == "");
    CHECK(f.down(version - 1) == 1);
  }
  CHECK(difference(schema(f), schemas[1]) == "");
  CHECK(f.down(0) == 1);
  CHECK(f.ask("SELECT count(*) FROM pg_class WHERE relnamespace = 'outseal'::regnamespace"
              " AND relkind = 'r'") == "1");
  CHECK(f.up() == newest());
  CHECK(difference(schema(f), schemas.back()) == "");
  CHECK_NOTHROW(store::require_schema(*f.connection));
}

TEST_CASE("the printed script makes the same schema by psql, known to be applied") {
  if (skipped_without_postgres()) return;
  const Fixture applied;
  applied.up();
  const Fixture scripted;
  const Drill drill;
  const std::string script = drill.file("schema.sql");
  std::ofstream{script} << store::migration_script("postgresql", newest());
  scripted.server.restore_from(script, scripted.database);
  CHECK(difference(schema(scripted), schema(applied)) == "");
  CHECK_NOTHROW(store::require_schema(*scripted.connection));
  CHECK(scripted.up() == 0);
}

TEST_CASE("the owner of the schema needs to be nobody else") {
  if (skipped_without_postgres()) return;
  PostgresServer server;  // Without the roles, which a case before may have made.
  server.create_database("shop");
  server.execute("CREATE ROLE owner LOGIN PASSWORD '" + server.password() + "'");
  SUBCASE("of a schema that is there") {
    server.execute("CREATE SCHEMA outseal AUTHORIZATION owner", "shop");
  }
  SUBCASE("of the database") { server.execute("ALTER DATABASE shop OWNER TO owner"); }
  bool may_create_roles = false;
  SUBCASE("of the database, and one who may create roles") {
    server.execute("ALTER DATABASE shop OWNER TO owner; ALTER ROLE owner CREATEROLE");
    may_create_roles = true;
  }
  const auto connection = sql::open(Url::parse("--db", server.url("shop", "owner")));
  CHECK(store::migrate_up(*connection, newest(), {}) == newest());
  CHECK_NOTHROW(store::require_schema(*connection));
  const std::string granted =
      "SELECT has_function_privilege('outseal_producer', "
      "'outseal.append(text, text, text, text, jsonb, uuid, text)', "
      "'EXECUTE')";
  if (!may_create_roles) {
    CHECK(server.execute("SELECT to_regrole('outseal_producer') IS NULL") == "t");
    server.execute(
        "CREATE ROLE outseal_producer; CREATE ROLE outseal_relay; CREATE ROLE outseal_reconciler;"
        "CREATE ROLE outseal_sink");
    connection->execute("SELECT outseal.grant_roles()");
  }
  CHECK(server.execute(granted, "shop") == "t");
  CHECK(store::migrate_down(*connection, 0, false, {}) == newest());
  CHECK(store::migrate_up(*connection, newest(), {}) == newest());
}

TEST_CASE("many runners at once apply each migration once") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  std::atomic<std::uint32_t> applied{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> runners;
  for (int i = 0; i < 6; ++i)
    runners.emplace_back([&] {
      const auto error = error_of([&] { applied += store::migrate_up(*f.open(), newest(), {}); });
      if (error) ++failed;
    });
  for (std::thread& runner : runners) runner.join();
  CHECK(applied == newest());
  CHECK(failed == 0);
  CHECK_NOTHROW(store::require_schema(*f.connection));
}

TEST_CASE("a runner waits for another one, but not for ever") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  const auto other = f.open();
  other->execute("BEGIN");
  sql::Use { other->statement(sql::Query::take_turns) } -> step();
  check_error([&] { store::migrate_up(*f.connection, newest(), {}, 50ms); }, ErrorCode::conflict,
              "lock timeout");
  CHECK(f.ask("SELECT to_regnamespace('outseal') IS NULL") == "t");

  std::optional<Error> failure;
  std::thread runner{[&] { failure = error_of([&] { f.up(); }); }};
  f.wait_for_waiter();
  other->execute("COMMIT");
  runner.join();
  CHECK_FALSE(failure.has_value());
  CHECK(f.version() == std::to_string(newest()));
}

TEST_CASE("a migration that fails leaves nothing half done and names its file") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  CHECK(f.up(2) == 2);
  const auto before = schema(f);
  // In the way of the third table of migration 3.
  f.ask("CREATE TABLE outseal.parked (mine integer)");
  check_error([&] { f.up(); }, ErrorCode::schema_mismatch,
              "postgresql/0003_subscription.up.sql: relation \"parked\" already exists");
  CHECK(f.version() == "2");
  f.ask("DROP TABLE outseal.parked");
  CHECK(difference(schema(f), before) == "");
  CHECK(f.up() == newest() - 2);
}

TEST_CASE("what was edited, is newer or has a hole is refused by every call") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  f.up();
  std::string message;
  SUBCASE("edited") {
    f.ask("UPDATE outseal.schema_migration SET checksum = repeat('0', 64) WHERE version = 2");
    message = "postgresql/0002_idempotency.up.sql was edited";
  }
  SUBCASE("newer") {
    f.ask(
        "INSERT INTO outseal.schema_migration SELECT version + 1, 'future', checksum, now(), 'x'"
        " FROM outseal.schema_migration ORDER BY version DESC LIMIT 1");
    message = "this binary knows versions up to " + std::to_string(newest());
  }
  SUBCASE("a hole") {
    f.ask("DELETE FROM outseal.schema_migration WHERE version = 2");
    message = "version 2 is missing";
  }
  const auto before = schema(f);
  for (const auto& call :
       std::vector<std::function<void()>>{[&] { f.up(); }, [&] { f.down(0, true); },
                                          [&] { store::migration_status(*f.connection); },
                                          [&] { store::require_schema(*f.connection); }})
    check_error(call, ErrorCode::schema_mismatch, message);
  CHECK(difference(schema(f), before) == "");
}

TEST_CASE("taking back refuses while anything would be lost, unless forced") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  const Drill drill;
  f.up();
  const std::string url = f.server.url(f.database);
  const auto check_refused = [&](const std::string& message) {
    const auto before = schema(f);
    check_error([&] { f.down(0); }, ErrorCode::refused, message);
    CHECK(difference(schema(f), before) == "");
    CHECK(f.down(0, true) == newest());
  };
  SUBCASE("an event that no subscription has seen") {
    f.append();
    check_refused("unpublished");
  }
  SUBCASE("an event behind what was published") {
    f.append();
    REQUIRE(drill.drain(url, "main").code == 0);
    f.append();
    check_refused("unpublished");
  }
  SUBCASE("an event that one of two subscriptions has not published") {
    REQUIRE(drill.drain(url, "main").code == 0);
    f.append();
    REQUIRE(drill.drain(url, "other").code == 0);
    check_refused("unpublished");
  }
  SUBCASE("a batch that is not acknowledged") {
    f.append();
    drill.bind(url, "main", 1, 1);
    check_refused("unpublished");
  }
  SUBCASE("a parked event") {
    f.ask("SELECT outseal.append('t', 'k', 'poison', repeat('x', 3000))");
    REQUIRE(drill.drain(url, "main").code == 0);
    check_refused("parked");
  }
  SUBCASE("an idempotency record that still holds") {
    f.ask(
        "INSERT INTO outseal.idempotency (key_hash, fingerprint, scope, state, created_at)"
        " VALUES (sha256(''), sha256(''), 's', 'in_progress', now())");
    check_refused("idempotency");
  }
  SUBCASE("nothing of that") {
    f.append();
    REQUIRE(drill.drain(url, "main").code == 0);
    CHECK(f.down(0) == newest());
    CHECK(f.ask("SELECT to_regrole('outseal_producer') IS NOT NULL") == "t");
  }
}

TEST_CASE("an event that is appended while the schema is taken back is not lost") {
  if (skipped_without_postgres()) return;
  const Fixture f;
  f.up();
  const auto producer = f.open();
  producer->execute("BEGIN");
  producer->execute("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  check_error([&] { f.down(0, true, 50ms); }, ErrorCode::conflict, "lock timeout");

  std::optional<Error> failure;
  std::thread runner{[&] { failure = error_of([&] { f.down(0); }); }};
  f.wait_for_waiter();
  producer->execute("COMMIT");
  runner.join();
  REQUIRE(failure.has_value());
  CHECK(failure->code() == ErrorCode::refused);
  CHECK(f.ask("SELECT count(*) FROM outseal.outbox") == "1");
  CHECK(f.version() == std::to_string(newest()));
}

TEST_CASE("an event of a prepared transaction keeps the schema") {
  if (skipped_without_postgres()) return;
  PostgresServer server{{.settings = {"max_prepared_transactions=2"}}};
  server.create_database("shop");
  const auto connection = sql::open(Url::parse("--db", server.url("shop")));
  store::migrate_up(*connection, newest(), {});
  server.execute(
      "BEGIN; SELECT outseal.append('t', 'k', 'x', '{}'::text); PREPARE TRANSACTION 'transfer'",
      "shop");
  for (const bool force : {false, true})
    check_error([&] { store::migrate_down(*connection, 0, force, {}, 50ms); }, ErrorCode::conflict,
                "lock timeout");
  server.execute("COMMIT PREPARED 'transfer'", "shop");
  CHECK(server.execute("SELECT count(*) FROM outseal.outbox", "shop") == "1");
}

}  // namespace outseal::test
