// The store's suite on SQLite.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "conformance/store_helpers.h"
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
  bool one_writer() const override { return true; }
  void use_numbers_up_to(std::int64_t seq) const override {
    sql::open(url())->execute("UPDATE sqlite_sequence SET seq = " + std::to_string(seq) +
                              " WHERE name = 'outseal_outbox'");
  }

 private:
  TempFolder folder_;
};

}  // namespace

TEST_CASE("a writer that holds the database makes begin a conflict") {
  const auto store = make_store();
  const auto holder = store->session();
  const auto waiter = store->session();
  Transaction tx{*holder};
  try {
    Transaction second{*waiter, {.busy_wait = std::chrono::milliseconds{30}}};
    FAIL("two writers at once");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::conflict);
    CHECK(error.recovery() == Recovery::retry_transaction);
    CHECK_FALSE(error.hint().empty());
  }
}

TEST_CASE("a joined deferred transaction that another writer overtook is a conflict") {
  const auto store = make_store();
  const auto session = store->session();
  const auto other = store->session();
  session->begin();  // Deferred: takes the write lock at the first write.
  CHECK(balance(*session, 1) == 100);
  {
    Transaction tx{*other};
    append(tx, paid());
    tx.commit();
  }
  Transaction tx = Transaction::join(*session);
  CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::conflict);
  session->rollback();
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("an event that was refused leaves its transaction as it was") {
  const auto store = make_store();
  const auto session = store->session();
  Event event = paid();
  event.id = new_event_id();
  Transaction tx{*session};
  append(tx, event);
  CHECK(code_of([&] { append(tx, event); }) == ErrorCode::constraint);
  tx.commit();
  CHECK(count(*session, "outseal_outbox") == 1);
}

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
