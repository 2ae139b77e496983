// The migration runner on PostgreSQL. What both dialects share is in unit/migrations_test.cc.
#include <atomic>
#include <thread>

#include "integration/postgres/postgres_migration_fixture.h"
#include "store/turns.h"

namespace outseal::test {

using namespace std::chrono_literals;

TEST_CASE("each migration can be taken back and applied again to the same schema") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
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

TEST_CASE("many runners at once apply each migration once") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
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

TEST_CASE("a runner waits for another one, but not for ever, and names it") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  const auto other = f.open();
  std::string named = "lock timeout";
  other->execute("SET application_name = 'the other one'; BEGIN");
  SUBCASE("that makes the schema") { other->execute("CREATE SCHEMA outseal"); }
  SUBCASE("that changes it") {
    CHECK(f.up(2) == 2);
    store::take_turns_migrating(*other);
    named = "user admin, application \"the other one\"";
  }
  check_error([&] { store::migrate_up(*f.connection, newest(), {}, 50ms); }, ErrorCode::conflict,
              named);
  std::optional<Error> failure;
  std::thread runner{[&] { failure = error_of([&] { f.up(); }); }};
  f.wait_for_waiter();
  other->execute("ROLLBACK");
  runner.join();
  CHECK_FALSE(failure.has_value());
  CHECK(f.version() == std::to_string(newest()));
}

TEST_CASE("a migration that fails leaves nothing half done and names its file") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
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
  const EmptyDatabase f;
  f.up();
  std::string message;
  SUBCASE("edited") {
    f.ask("UPDATE outseal.schema_migration SET checksum = repeat('0', 64) WHERE version = 2");
    message = "postgresql/0002_idempotency.up.sql is not what was applied";
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
  const EmptyDatabase f;
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
        "INSERT INTO outseal.idempotency (key_hash, fingerprint, scope, state, created_at,"
        " fence) VALUES (sha256(''), sha256(''), 's', 'in_progress', now(), 1)");
    check_refused("idempotency");
  }
  SUBCASE("nothing of that") {
    f.append();
    REQUIRE(drill.drain(url, "main").code == 0);
    CHECK(f.down(0) == newest());
    CHECK(f.ask("SELECT to_regrole('outseal_producer') IS NOT NULL") == "t");
  }
}

TEST_CASE("who migrates in vain learns whom it waited for, whatever the table") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  const auto holder = f.open();
  holder->execute("SET application_name = 'the slow one'; BEGIN");
  std::string table;
  SUBCASE("a reader") {
    holder->execute("SELECT count(*) FROM outseal.journal");
    table = "journal";
  }
  SUBCASE("a writer") {
    holder->execute("LOCK TABLE outseal.idempotency IN ROW EXCLUSIVE MODE");
    table = "idempotency";
  }
  SUBCASE("a receiver") {
    holder->execute("LOCK TABLE outseal.inbox IN ROW EXCLUSIVE MODE");
    table = "inbox";
  }
  SUBCASE("another one who migrates") {
    holder->execute("LOCK TABLE outseal.schema_migration IN EXCLUSIVE MODE");
    table = "schema_migration";
  }
  for (const bool force : {false, true})
    hint_of([&] { f.down(0, force, 50ms); },
            "user admin, application \"the slow one\", holds outseal." + table);
}

TEST_CASE("an event that is appended while the schema is taken back is not lost") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  const auto producer = f.open();
  producer->execute("BEGIN");
  producer->execute("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  CHECK(hint_of([&] { f.down(0, true, 50ms); }, "holds outseal.outbox and did not give way")
            .find("pg_terminate_backend(") != std::string::npos);

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
      "BEGIN; SELECT outseal.append('t', 'k', 'x', '{}'::text); PREPARE TRANSACTION"
      " 'it''s a transfer'",
      "shop");
  for (const bool force : {false, true})
    CHECK(hint_of([&] { store::migrate_down(*connection, 0, force, {}, 50ms); },
                  "the prepared transaction 'it''s a transfer' of admin holds outseal.outbox")
              .find("ROLLBACK PREPARED 'it''s a transfer'") != std::string::npos);
  server.execute("COMMIT PREPARED 'it''s a transfer'", "shop");
  CHECK(server.execute("SELECT count(*) FROM outseal.outbox", "shop") == "1");
}

}  // namespace outseal::test
