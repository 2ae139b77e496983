// A service on SQLite that replaces the hooks which guard its Transaction, or interrupts it. More
// cases of sqlite_session_test.cc.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <memory>
#include <string>

#include "conformance/store_helpers.h"
#include "store/migrations.h"
#include "support/mutant.h"
#include "support/temp_folder.h"

using namespace outseal;
using namespace outseal::test;
using namespace sqlite_api;  // SOCI includes sqlite3.h inside of it.

namespace {

struct Service {
  TempFolder folder;
  std::unique_ptr<soci::session> session;

  Service() {
    const std::string path = folder.file("main.db");
    const auto connection = sql::open(Url::parse("--db", "sqlite:" + path), sql::OpenMode::create);
    store::migrate_up(*connection, store::newest_version(), {});
    connection->execute("CREATE TABLE note (n TEXT)");
    session = std::make_unique<soci::session>(soci::sqlite3, "dbname=" + path);
  }
  sqlite_api::sqlite3* handle() const {
    return static_cast<soci::sqlite3_session_backend*>(session->get_backend())->conn_;
  }
  void replace_hooks() const {
    sqlite3_commit_hook(handle(), nullptr, nullptr);
    sqlite3_rollback_hook(handle(), nullptr, nullptr);
  }
  void note(const std::string& text) const {
    *session << "INSERT INTO note VALUES ('" + text + "')";
  }
  long notes() const {
    long rows = 0;
    *session << "SELECT count(*) FROM note", soci::into(rows);
    return rows;
  }
};

}  // namespace

TEST_CASE("a COMMIT that replaced hooks let pass is in doubt, every time that one asks") {
  Service s;
  {
    Transaction tx{*s.session};
    append(tx, paid());
    s.note("paid");
    s.replace_hooks();
    *s.session << "COMMIT";
    CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::commit_in_doubt);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::commit_in_doubt);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::commit_in_doubt);
    CHECK(code_of([&] { tx.rollback(); }) == ErrorCode::commit_in_doubt);
  }
  {
    Transaction tx{*s.session};
    s.note("undone");
    s.replace_hooks();
    *s.session << "ROLLBACK";
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);  // Nothing was committed, for sure.
  }
  CHECK(s.notes() == 1);
}

TEST_CASE("what the service began behind a COMMIT that replaced hooks let pass is left to it") {
  Service s;
  {
    Transaction tx{*s.session, {.observer = [](const Observation&) {}}};
    append(tx, paid());
    s.replace_hooks();
    *s.session << "COMMIT";
    *s.session << "BEGIN IMMEDIATE";
    s.note("own");
  }
  *s.session << "COMMIT";
  CHECK(s.notes() == 1);
}

TEST_CASE("a statement that is interrupted says that the transaction may run again") {
  Service s;
  Transaction tx{*s.session};
  sqlite3_progress_handler(
      s.handle(), 1, [](void*) { return 1; }, nullptr);
  try {
    append(tx, paid());
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.recovery() == Recovery::retry_transaction);
    CHECK(error.hint().find("again") != std::string::npos);
  }
  sqlite3_progress_handler(s.handle(), 0, nullptr, nullptr);
}

TEST_CASE("a COMMIT that finds the file busy leaves a joined transaction as it is") {
  Service s;
  *s.session << "PRAGMA journal_mode = delete";
  soci::session reader{soci::sqlite3, "dbname=" + s.folder.file("main.db")};
  *s.session << "BEGIN IMMEDIATE";
  Transaction joined = Transaction::join(*s.session);
  append(joined, paid());
  reader << "BEGIN";
  long rows = 0;
  reader << "SELECT count(*) FROM note", soci::into(rows);
  CHECK_THROWS(*s.session << "COMMIT");
  append(joined, paid());
  reader << "COMMIT";
  *s.session << "COMMIT";
  CHECK(count(*s.session, "outseal_outbox") == 2);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without the data's version a COMMIT behind replaced hooks is mistaken") {
  CHECK_FALSE(passes_with_mutant("no_data_version", "a COMMIT that replaced hooks let pass is*"));
  CHECK_FALSE(passes_with_mutant("no_data_version", "what the service began behind a COMMIT*"));
}
#endif
