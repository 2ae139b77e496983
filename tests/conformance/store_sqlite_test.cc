// The store's suite on SQLite.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include "conformance/store_suite.h"
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
  connection->execute("UPDATE account SET balance = balance");
  CHECK(connection->write_ahead_bytes() > 0);
}

std::unique_ptr<StoreUnderTest> make_store() { return std::make_unique<SqliteStore>(); }

}  // namespace outseal::test
