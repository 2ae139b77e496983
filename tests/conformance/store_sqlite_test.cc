// The store's suite on SQLite.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "conformance/store_suite.h"
#include "outseal/error.h"
#include "store/migrations.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

class SqliteStore final : public StoreUnderTest {
 public:
  SqliteStore() {
    const auto connection = sql::open(url(), sql::OpenMode::create);
    store::migrate_up(*connection, store::newest_version(), [](const store::MigrationStatus&) {});
    connection->execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)");
    connection->execute("INSERT INTO account VALUES (1, 100), (2, 100)");
  }
  Url url() const override { return Url::parse("--db", "sqlite:" + folder_.file("store.db")); }
  std::unique_ptr<soci::session> session() const override {
    return std::make_unique<soci::session>(soci::sqlite3, "dbname=" + folder_.file("store.db"));
  }

 private:
  TempFolder folder_;
};

}  // namespace

TEST_CASE("our own connections commit durably and leave checkpoints to the services") {
  const auto store = make_store();
  const auto connection = sql::open(store->url());
  const auto pragma = [&](const std::string& name) {
    const auto statement = connection->prepare("PRAGMA " + name);
    REQUIRE(statement->step());
    return statement->integer(0);
  };
  CHECK(pragma("synchronous") == 2);  // FULL
  CHECK(pragma("wal_autocheckpoint") == 0);
  connection->execute("UPDATE account SET balance = balance + 1");
  CHECK(connection->write_ahead_bytes() > 0);
}

TEST_CASE("a producer that binds bytes as text, or microseconds as milliseconds, is refused") {
  const auto store = make_store();
  const auto connection = sql::open(store->url());
  const std::string insert = "INSERT INTO outseal_outbox (topic, key, type, payload, created_at) ";
  const auto refused = [&](const std::string& values) {
    try {
      connection->execute(insert + "VALUES " + values);
      return false;
    } catch (const Error& error) {
      return error.code() == ErrorCode::constraint;
    }
  };
  CHECK_FALSE(refused("('t', 'k', 'x', '{}', 1700000000000)"));
  CHECK(refused("('t', x'6b', 'x', '{}', 1700000000000)"));
  CHECK(refused("(x'74', 'k', 'x', '{}', 1700000000000)"));
  CHECK(refused("('t', 'k', x'78', '{}', 1700000000000)"));
  CHECK(refused("('t', 'k', 'x', '{}', 1700000000000000)"));
  CHECK(refused("('t', 'k', 'x', '{}', 0)"));
}

TEST_CASE("a database file that was replaced is noticed at the next write") {
  const test::TempFolder folder;
  const auto url = Url::parse("--db", "sqlite:" + folder.file("a.db"));
  const auto connection = sql::open(url, sql::OpenMode::create);
  connection->execute("CREATE TABLE t (x)");
  connection->begin(std::chrono::seconds{1});
  connection->rollback();
  std::filesystem::rename(folder.file("a.db"), folder.file("b.db"));
  try {
    connection->begin(std::chrono::seconds{1});
    FAIL("the old file was written");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unreachable);
  }
}

std::unique_ptr<StoreUnderTest> make_store() { return std::make_unique<SqliteStore>(); }

}  // namespace outseal::test
