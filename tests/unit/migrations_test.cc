// The migration runner on real SQLite files.
#include "store/migrations.h"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "outseal/error.h"
#include "store/audit.h"
#include "support/temp_folder.h"

using namespace outseal;

namespace {

/// A database file of its own folder, gone at the end.
class Fixture {
 public:
  Fixture() = default;
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  std::unique_ptr<sql::Connection> open() const {
    return sql::open(Url::parse("--db", "sqlite:" + folder_.file("test.db")),
                     sql::OpenMode::create);
  }

 private:
  test::TempFolder folder_;
};

std::uint32_t up(sql::Connection& connection, std::uint32_t target = store::newest_version()) {
  return store::migrate_up(connection, target, {});
}

std::int64_t number(sql::Connection& connection, const std::string& sql) {
  const auto statement = connection.prepare(sql);
  REQUIRE(statement->step());
  return statement->integer(0);
}

std::string text(sql::Connection& connection, const std::string& sql) {
  const auto statement = connection.prepare(sql);
  REQUIRE(statement->step());
  return std::string{statement->text(0)};
}

/// All objects of the schema, as the database knows them.
std::string schema(sql::Connection& connection) {
  return text(connection,
              "SELECT coalesce(group_concat(type || ' ' || name || ' ' || coalesce(sql, ''), "
              "char(10)), '') FROM (SELECT * FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' "
              "AND name <> 'outseal_schema_migration' ORDER BY type, name)");
}

template <typename Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  FAIL("no error was thrown");
  return Error{ErrorCode::internal, "", ""};
}

void append_event(sql::Connection& connection) {
  connection.execute(
      "INSERT INTO outseal_outbox (topic, key, type, payload) VALUES ('t', 'k', 'x', '{}')");
}

void add_subscription(sql::Connection& connection, const std::string& acked_seq) {
  connection.execute(
      "INSERT INTO outseal_subscription (name, sink, event_source, after_seq, acked_seq, "
      "created_at, updated_at) VALUES ('main', 'file:x', '/x', " +
      acked_seq + ", " + acked_seq + ", 1, 1)");
}

}  // namespace

TEST_CASE("Applying twice does the work once") {
  const Fixture fixture;
  const auto connection = fixture.open();
  CHECK(up(*connection) == store::newest_version());
  const std::string before = schema(*connection);
  CHECK(up(*connection) == 0);
  CHECK(schema(*connection) == before);
  CHECK_NOTHROW(store::require_schema(*connection));
}

TEST_CASE("A new file gets a write-ahead log, a used one keeps its mode") {
  const Fixture fresh;
  const auto connection = fresh.open();
  up(*connection, 1);
  CHECK(store::journal_mode(*connection) == "wal");

  const Fixture used;
  const auto old = used.open();
  old->execute("CREATE TABLE account (id INTEGER)");
  up(*old);
  CHECK(store::journal_mode(*old) == "delete");
}

TEST_CASE("Each migration can be taken back and applied again to the same schema") {
  const Fixture fixture;
  const auto connection = fixture.open();
  std::vector<std::string> schemas{schema(*connection)};
  for (std::uint32_t version = 1; version <= store::newest_version(); ++version) {
    CHECK(up(*connection, version) == 1);
    schemas.push_back(schema(*connection));
  }
  for (std::uint32_t version = store::newest_version(); version > 0; --version) {
    CHECK(schema(*connection) == schemas[version]);
    CHECK(store::migrate_down(*connection, version - 1, false, {}) == 1);
  }
  CHECK(schema(*connection) == schemas[0]);
  CHECK(up(*connection) == store::newest_version());
  CHECK(schema(*connection) == schemas.back());
}

TEST_CASE("The printed script makes the same schema, known to be applied") {
  const Fixture applied;
  const auto first = applied.open();
  up(*first);
  const Fixture scripted;
  const auto second = scripted.open();
  second->execute(store::migration_script("sqlite", {.to = store::newest_version()}));
  CHECK(schema(*second) == schema(*first));
  CHECK_NOTHROW(store::require_schema(*second));
  CHECK(up(*second) == 0);
}

TEST_CASE("Progress names each migration in order, with who and when") {
  const Fixture fixture;
  const auto connection = fixture.open();
  std::vector<std::uint32_t> seen;
  store::migrate_up(*connection, store::newest_version(),
                    [&seen](const store::MigrationStatus& done) {
                      seen.push_back(done.version);
                      CHECK(done.applied_at_ms.has_value());
                      CHECK(done.applied_by == store::current_actor());
                    });
  REQUIRE(seen.size() == store::newest_version());
  for (std::uint32_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == i + 1);
  const auto status = store::migration_status(*connection);
  CHECK(status.front().name == "outbox");
  CHECK(status.front().applied_by == store::current_actor());
}

TEST_CASE("Many runners at once apply each migration once") {
  const Fixture fixture;
  std::atomic<std::uint32_t> applied{0};
  std::vector<std::thread> runners;
  for (int i = 0; i < 8; ++i)
    runners.emplace_back([&] {
      const auto connection = fixture.open();
      applied += up(*connection);
    });
  for (std::thread& runner : runners) runner.join();
  CHECK(applied == store::newest_version());
  const auto connection = fixture.open();
  CHECK_NOTHROW(store::require_schema(*connection));
  CHECK(store::journal_mode(*connection) == "wal");
}

TEST_CASE("An applied migration that was edited is refused by every call") {
  const Fixture fixture;
  const auto connection = fixture.open();
  up(*connection);
  connection->execute("UPDATE outseal_schema_migration SET checksum = '" + std::string(64, '0') +
                      "' WHERE version = 2");
  const auto refused = [&](auto&& call) {
    const Error error = error_of(call);
    CHECK(error.code() == ErrorCode::schema_mismatch);
    CHECK(error.message().find("sqlite/0002_idempotency.up.sql") != std::string::npos);
  };
  refused([&] { up(*connection); });
  refused([&] { store::migrate_down(*connection, 0, true, {}); });
  refused([&] { store::migration_status(*connection); });
  refused([&] { store::require_schema(*connection); });
  CHECK(number(*connection, "SELECT count(*) FROM outseal_schema_migration") ==
        store::newest_version());
}

TEST_CASE("A database that is newer than the binary is refused") {
  const Fixture fixture;
  const auto connection = fixture.open();
  up(*connection);
  connection->execute(
      "INSERT INTO outseal_schema_migration SELECT version + 1, 'future', checksum, 1, 'x'"
      " FROM outseal_schema_migration ORDER BY version DESC LIMIT 1");
  for (const auto& call : std::vector<std::function<void()>>{
           [&] { up(*connection); }, [&] { store::migrate_down(*connection, 0, true, {}); },
           [&] { store::require_schema(*connection); }})
    CHECK(error_of(call).code() == ErrorCode::schema_mismatch);
}

TEST_CASE("A hole in the applied versions is refused") {
  const Fixture fixture;
  const auto connection = fixture.open();
  up(*connection);
  connection->execute("DELETE FROM outseal_schema_migration WHERE version = 2");
  CHECK(error_of([&] { up(*connection); }).code() == ErrorCode::schema_mismatch);
}

TEST_CASE("A failed migration leaves nothing half done and names its file") {
  const Fixture fixture;
  const auto connection = fixture.open();
  // In the way of the third table of migration 3, after two tables of it have been made.
  connection->execute("CREATE TABLE outseal_parked (mine INTEGER)");
  const Error error = error_of([&] { up(*connection); });
  CHECK(error.code() == ErrorCode::schema_mismatch);
  CHECK(error.message().find("sqlite/0003_subscription.up.sql") != std::string::npos);
  CHECK(error.message().find("outseal_parked") != std::string::npos);
  CHECK(number(*connection, "SELECT max(version) FROM outseal_schema_migration") == 2);
  CHECK(number(*connection,
               "SELECT count(*) FROM sqlite_schema WHERE name = 'outseal_subscription'") == 0);

  connection->execute("DROP TABLE outseal_parked");
  CHECK(up(*connection) == store::newest_version() - 2);
}

TEST_CASE("A missing or old schema is named with the way out") {
  const Fixture fixture;
  const auto connection = fixture.open();
  const Error missing = error_of([&] { store::require_schema(*connection); });
  CHECK(missing.code() == ErrorCode::schema_missing);
  CHECK(missing.hint().find("outseal-migrate up") != std::string::npos);
  up(*connection, 2);
  const Error old = error_of([&] { store::require_schema(*connection); });
  CHECK(old.code() == ErrorCode::schema_mismatch);
  CHECK(old.hint().find("outseal-migrate up") != std::string::npos);
}

TEST_CASE("Taking back refuses while events are unpublished, unless forced") {
  const Fixture fixture;
  const auto connection = fixture.open();
  up(*connection);
  append_event(*connection);
  const auto down = [&](std::uint32_t target, bool force) {
    return store::migrate_down(*connection, target, force, {});
  };
  // The tables of newer migrations hold no events.
  CHECK(down(3, false) == 2);

  SUBCASE("without a subscription") {
    CHECK(error_of([&] { down(0, false); }).code() == ErrorCode::refused);
    CHECK(number(*connection, "SELECT max(version) FROM outseal_schema_migration") == 3);
    CHECK(down(0, true) == 3);
  }
  SUBCASE("with a subscription that is behind") {
    add_subscription(*connection, "0");
    CHECK(error_of([&] { down(2, false); }).code() == ErrorCode::refused);
    CHECK(down(0, true) == 3);
  }
  SUBCASE("with a parked event") {
    add_subscription(*connection, "1");
    connection->execute(
        "INSERT INTO outseal_parked (subscription, seq, event_id, topic, key, cause, reason, "
        "parked_at) SELECT 'main', seq, event_id, topic, key, 'refused', 'x', 1 FROM "
        "outseal_outbox");
    CHECK(error_of([&] { down(0, false); }).code() == ErrorCode::refused);
    CHECK(down(0, true) == 3);
  }
}

TEST_CASE("Taking back is allowed once everything is published") {
  const Fixture fixture;
  const auto connection = fixture.open();
  up(*connection);
  append_event(*connection);
  add_subscription(*connection, "1");
  CHECK(store::migrate_down(*connection, 0, false, {}) == store::newest_version());
}
