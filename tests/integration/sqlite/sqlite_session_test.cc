// What a service may do with its session while a Transaction lives on it, on SQLite: commit by
// itself, swallow errors, attach other files. See postgres_session_cases.cc.
#include <doctest/doctest.h>
#include <sched.h>
#include <signal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "conformance/store_helpers.h"
#include "store/migrations.h"
#include "support/mutant.h"
#include "support/temp_folder.h"

using namespace outseal;
using namespace outseal::test;
using namespace sqlite_api;  // SOCI includes sqlite3.h inside of it.

namespace {

sqlite_api::sqlite3* handle_of(soci::session& session) {
  return static_cast<soci::sqlite3_session_backend*>(session.get_backend())->conn_;
}

struct Fixture {
  TempFolder folder;
  std::string place;  ///< Where the file is if not there.
  std::unique_ptr<soci::session> session;

  explicit Fixture(const std::string& journal = "wal", const std::string& elsewhere = {})
      : place{elsewhere} {
    const auto connection =
        sql::open(Url::parse("--db", "sqlite:" + path()), sql::OpenMode::create);
    store::migrate_up(*connection, store::newest_version(), {});
    connection->execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)");
    connection->execute("INSERT INTO account VALUES (1, 100), (2, 100)");
    connection->execute("PRAGMA journal_mode = " + journal);
    session = open();
  }
  std::string path() const { return place.empty() ? folder.file("main.db") : place + "/main.db"; }
  std::unique_ptr<soci::session> open() const {
    return std::make_unique<soci::session>(soci::sqlite3, "dbname=" + path());
  }
  /// Another file under the name `other`, with a table `payment (n)`.
  void attach(soci::session& to, const std::string& journal, const char* file = "other.db") const {
    to << "ATTACH '" + (*file == ':' ? file : folder.file(file)) + "' AS \"o\"\"ther\"";
    to << "PRAGMA \"o\"\"ther\".journal_mode = " + journal;
    to << "CREATE TABLE IF NOT EXISTS \"o\"\"ther\".payment (n)";
  }

  /// By a connection that sees only what is committed.
  long read(const std::string& sql) const {
    long value = 0;
    *open() << sql, soci::into(value);
    return value;
  }
  long events() const { return read("SELECT count(*) FROM outseal_outbox"); }
  long first_balance() const { return read("SELECT balance FROM account WHERE id = 1"); }
};

constexpr const char* kPay = "UPDATE account SET balance = balance - 5 WHERE id = 1";

int always(void*) { return 1; }

}  // namespace

TEST_CASE("every COMMIT but that of the transaction is refused while it lives") {
  Fixture f;
  {
    Transaction tx{*f.session};
    *f.session << kPay;
    append(tx, paid());
    CHECK_THROWS(*f.session << "COMMIT");
    CHECK_THROWS(*f.session << kPay);  // A service that swallowed that.
    *f.session << "BEGIN";
    *f.session << kPay;
    CHECK_THROWS(*f.session << "COMMIT");
    CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
  }
  CHECK(f.events() == 0);
  CHECK(f.first_balance() == 100);
  CHECK(code_of([&] {
          return execute(*f.session, charge("k"), [&](Transaction& tx) {
            *f.session << kPay;
            append(tx, paid());
            CHECK_THROWS(*f.session << "COMMIT");
            CHECK_THROWS(*f.session << kPay);
            return Reply{};
          });
        }) == ErrorCode::invalid_argument);
  CHECK(f.first_balance() == 100);
  *f.session << kPay;  // Nothing is left on the session.
  CHECK(f.first_balance() == 95);
}

TEST_CASE("what comes behind a rollback by SQLite itself is not committed") {
  Fixture f;
  const std::vector<std::string> ways{"INSERT OR ROLLBACK INTO account VALUES (1, 7)",
                                      "UPDATE OR ROLLBACK account SET id = 1 WHERE id = 2",
                                      "ROLLBACK"};
  for (const std::string& way : ways) {
    CAPTURE(way);
    Transaction tx{*f.session};
    append(tx, paid());
    try {
      *f.session << way;
    } catch (const soci::soci_error&) {  // Swallowed.
    }
    CHECK_THROWS(*f.session << kPay);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
  }
  CHECK(f.first_balance() == 100);
  CHECK(f.events() == 0);
}

TEST_CASE("a transaction in the place of one that was rolled back is not committed") {
  Fixture f;
  {
    Transaction tx{*f.session};
    append(tx, paid());
    *f.session << "ROLLBACK";
    *f.session << "BEGIN";
    *f.session << kPay;
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
  }
  CHECK(f.first_balance() == 100);
  *f.session << "COMMIT";
  CHECK(f.first_balance() == 95);
}

TEST_CASE("a return to a savepoint and a BEGIN that fails end nothing") {
  Fixture f;
  Transaction tx{*f.session};
  append(tx, paid());
  *f.session << "SAVEPOINT a";
  append(tx, paid());
  *f.session << "ROLLBACK TO a";
  CHECK_THROWS(*f.session << "BEGIN");
  *f.session << kPay;
  tx.commit();
  CHECK(f.events() == 1);
  CHECK(f.first_balance() == 95);
}

TEST_CASE("a hook that the service sets during the transaction makes the commit fail") {
  Fixture f;
  {
    Transaction tx{*f.session};
    *f.session << kPay;
    sqlite3_commit_hook(handle_of(*f.session), always, nullptr);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_argument);
  }
  CHECK(f.first_balance() == 100);
  *f.session << kPay;
  CHECK(f.first_balance() == 95);
}

TEST_CASE("a transaction over several files is refused unless SQLite makes it atomic") {
  for (const std::string main : {"wal", "delete", "memory"}) {
    for (const std::string other : {"wal", "delete", "truncate", "off"}) {
      CAPTURE(main);
      CAPTURE(other);
      Fixture f{main};
      if (main == "memory") *f.session << "PRAGMA main.journal_mode = memory";
      f.attach(*f.session, other);
      const bool atomic = main == "delete" && (other == "delete" || other == "truncate");
      const auto pay_in = [&](const char* sql) {
        Transaction tx{*f.session};
        *f.session << kPay;
        append(tx, paid());
        *f.session << sql;
        tx.commit();
      };
      pay_in("SELECT count(*) FROM \"o\"\"ther\".payment");  // Reading it is free.
      pay_in("CREATE TEMP TABLE IF NOT EXISTS scratch AS SELECT 1");
      CHECK(f.events() == 2);
      const char* both = "INSERT INTO \"o\"\"ther\".payment VALUES (1)";
      if (atomic)
        pay_in(both);
      else
        CHECK(code_of([&] { pay_in(both); }) == ErrorCode::invalid_config);
      CHECK(f.events() == (atomic ? 3 : 2));
      long payments = 0;
      *f.session << "SELECT count(*) FROM \"o\"\"ther\".payment", soci::into(payments);
      CHECK(payments == (atomic ? 1 : 0));
    }
  }
}

TEST_CASE("a file that is attached during the transaction counts, and one in memory does not") {
  Fixture f;
  {
    Transaction tx{*f.session};
    append(tx, paid());
    *f.session << "ATTACH '" + f.folder.file("late.db") + "' AS late";
    *f.session << "CREATE TABLE late.payment (n)";
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_config);
  }
  *f.session << "DETACH late";
  f.attach(*f.session, "memory", ":memory:");
  Transaction tx{*f.session};
  append(tx, paid());
  *f.session << "INSERT INTO payment VALUES (1)";
  tx.commit();
  CHECK(f.events() == 1);
}

TEST_CASE("with a file attached only the main one is locked") {
  Fixture f;
  f.attach(*f.session, "wal");
  const auto neighbour =
      std::make_unique<soci::session>(soci::sqlite3, "dbname=" + f.folder.file("other.db"));
  const auto writer = f.open();
  Transaction tx{*f.session};
  *neighbour << "INSERT INTO payment VALUES (1)";
  CHECK(code_of([&] {
          Transaction second{*writer, {.busy_wait = std::chrono::milliseconds{5}}};
        }) == ErrorCode::conflict);
  append(tx, paid());
  tx.commit();
  CHECK(f.events() == 1);
}

TEST_CASE("no kill splits a payment from its event, whatever the journals") {
  for (const std::string journal : {"wal", "delete"}) {
    Fixture f{journal};
    for (int round = 0; round < 20; ++round) {
      int ready[2];
      REQUIRE(::pipe(ready) == 0);
      const pid_t child = ::fork();
      if (child == 0) {
        try {
          const auto session = f.open();
          f.attach(*session, journal);
          for (;;) {
            try {
              Transaction tx{*session};
              append(tx, paid());
              *session << "INSERT INTO payment VALUES (1)";
              tx.commit();
            } catch (const Error& error) {
              if (error.code() != ErrorCode::invalid_config) throw;
            }
            if (::write(ready[1], "x", 1) != 1) break;
          }
        } catch (const std::exception&) {
          ::_exit(1);
        }
        ::_exit(1);
      }
      ::close(ready[1]);
      char bytes[16];
      for (int i = 0; i <= round % 5; ++i) REQUIRE(::read(ready[0], bytes, 1) == 1);
      REQUIRE(::kill(child, SIGKILL) == 0);
      int status = 0;
      REQUIRE(::waitpid(child, &status, 0) == child);
      CHECK(WIFSIGNALED(status));
      ::close(ready[0]);
      const auto session = f.open();
      f.attach(*session, journal);
      long payments = 0;
      long events = 0;
      *session << "SELECT count(*) FROM payment", soci::into(payments);
      *session << "SELECT count(*) FROM outseal_outbox", soci::into(events);
      CHECK(payments == events);
      CHECK((events > 0) == (journal == "delete"));
    }
  }
}

TEST_CASE("a temporary table does not stand in for the outbox") {
  Fixture f;
  *f.session << "CREATE TEMP TABLE outseal_outbox AS SELECT * FROM main.outseal_outbox";
  *f.session << "CREATE TEMP TABLE outseal_idempotency AS SELECT * FROM main.outseal_idempotency";
  *f.session << "CREATE TEMP TABLE outseal_inbox AS SELECT * FROM main.outseal_inbox";
  {
    Transaction tx{*f.session};
    append(tx, paid());
    CHECK(receive(tx, "s", new_event_id()));
    tx.commit();
  }
  CHECK(execute(*f.session, charge("k"), charging(*f.session, {})).outcome == Outcome::executed);
  CHECK(execute(*f.session, charge("k"), charging(*f.session, {})).outcome == Outcome::replayed);
  CHECK(f.events() == 2);
  CHECK(f.read("SELECT count(*) FROM outseal_idempotency") == 1);
  CHECK(f.read("SELECT count(*) FROM outseal_inbox") == 1);
}

TEST_CASE("a statement of the service that is not finished is named at once") {
  Fixture f;
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(handle_of(*f.session),
                             "INSERT INTO account VALUES (7, 8), (9, 10) RETURNING id", -1,
                             &statement, nullptr) == SQLITE_OK);
  {
    Transaction tx{*f.session, {.busy_wait = std::chrono::minutes{10}}};
    REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
    try {
      tx.commit();
      FAIL("no error was thrown");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_argument);
      CHECK(error.message().find("INSERT INTO account VALUES") != std::string::npos);
      CHECK(error.message().find("7") == std::string::npos);
    }
    sqlite3_reset(statement);
    tx.commit();
  }
  const auto run = [&] {
    std::ignore = execute(*f.session, charge("k"), [&](Transaction&) {
      sqlite3_step(statement);
      return Reply{};
    });
  };
  *f.session << "DELETE FROM account WHERE id > 2";
  CHECK(code_of(run) == ErrorCode::invalid_argument);
  CHECK(code_of(run) == ErrorCode::invalid_argument);  // Already when it begins.
  sqlite3_finalize(statement);
  REQUIRE(sqlite3_prepare_v2(handle_of(*f.session), "SELECT id FROM account", -1, &statement,
                             nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
  *f.open() << kPay;
  CHECK(code_of([&] {
          Transaction tx{*f.session, {.busy_wait = std::chrono::minutes{10}}};
        }) == ErrorCode::invalid_argument);
  sqlite3_finalize(statement);
}

TEST_CASE("a disk that is full at the commit is storage trouble, and nothing is committed") {
  // In a process with mounts of its own, which end with it.
  constexpr int kSkipped = 2;
  const pid_t child = ::fork();
  if (child == 0) {
    const TempFolder disk;
    const std::string folder = std::filesystem::path{disk.file("x")}.parent_path().string();
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=2m") != 0)
      ::_exit(kSkipped);
    try {
      Fixture f{"wal", folder};
      ErrorCode code{};
      {
        Transaction tx{*f.session};
        *f.session << kPay;
        Event large = paid();
        large.payload = '"' + std::string(900U << 10U, 'x') + '"';
        append(tx, large);
        const std::string all(2U << 20U, 'x');
        std::ofstream{folder + "/filler"} << all;  // As much as there is room for.
        code = code_of([&] { tx.commit(); });
        std::filesystem::remove(folder + "/filler");
      }
      const bool undone = f.events() == 0 && f.first_balance() == 100;
      ::_exit(code == ErrorCode::storage && undone ? 0 : 1);
    } catch (const std::exception&) {
      ::_exit(3);
    }
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WEXITSTATUS(status) == kSkipped) MESSAGE("LEFT OUT: this user may not mount anything");
  CHECK((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kSkipped));
}

TEST_CASE("an error names table or constraint") {
  Fixture f;
  Transaction tx{*f.session};
  Event event = paid();
  event.id = new_event_id();
  append(tx, event);
  try {
    append(tx, event);
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::constraint);
    CHECK(error.table() == "outseal_outbox");
  }
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without its guards a session's transaction is mistaken") {
  CHECK_FALSE(passes_with_mutant("no_commit_hook", "every COMMIT but that of the transaction*"));
  CHECK_FALSE(passes_with_mutant("no_rollback_hook", "a transaction in the place of one*"));
  CHECK_FALSE(
      passes_with_mutant("no_atomic_check", "a transaction over several files is refused*"));
}
#endif
