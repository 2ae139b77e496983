// The store's suite on SQLite.
#include <doctest/doctest.h>
#include <sched.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <tuple>

#include "conformance/store_helpers.h"
#include "conformance/store_relay_fixture.h"
#include "conformance/store_suite.h"
#include "store/migrations.h"
#include "store/rebase.h"
#include "store/retention.h"
#include "support/mutant.h"
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
  std::unique_ptr<soci::session> session() const override { return session(""); }
  std::unique_ptr<soci::session> session(const std::string& more) const {
    return std::make_unique<soci::session>(soci::sqlite3,
                                           "dbname=" + folder_.file("store.db") + more);
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

TEST_CASE("a busy timeout of the session does not stretch our waits, and is put back") {
  for (const char* mode : {"WAL", "DELETE"}) {
    CAPTURE(mode);
    const SqliteStore store;
    const auto holder = store.session();
    *holder << std::string{"PRAGMA journal_mode = "} + mode;
    std::ignore = execute(*holder, charge("known"), charging(*holder, {}));
    const auto waiter = store.session(" timeout=100000");  // s; the test would not end.
    const auto attempt = [&](const std::string& key) {
      return execute(*waiter, charge(key), charging(*waiter, {}),
                     {.wait = std::chrono::milliseconds{20}});
    };
    {
      Transaction tx{*holder};
      CHECK(attempt("known").outcome == Outcome::replayed);
      CHECK(code_of([&] { return attempt("new"); }) == ErrorCode::conflict);
      CHECK(code_of([&] {
              Transaction{*waiter, {.busy_wait = std::chrono::milliseconds{20}}}.commit();
            }) == ErrorCode::conflict);
    }
    if (mode == std::string{"DELETE"}) {
      *holder << "BEGIN EXCLUSIVE";  // Without a write-ahead log this locks readers out as well.
      CHECK(code_of([&] { return attempt("known"); }) == ErrorCode::conflict);
      *holder << "ROLLBACK";
    }
    CHECK(attempt("new").outcome == Outcome::executed);
    int timeout_ms = 0;
    *waiter << "PRAGMA busy_timeout", soci::into(timeout_ms);
    CHECK(timeout_ms == 100'000'000);
  }
}

TEST_CASE("without a write-ahead log an operation waits for readers, and for who locks them out") {
  const SqliteStore store;
  const auto session = store.session();
  *session << "PRAGMA journal_mode = DELETE";
  const auto other = store.session();
  const auto third = store.session();
  const auto is_locked_out = [&] {
    return code_of([&] {
             Transaction{*third, {.busy_wait = std::chrono::milliseconds{100}}}.commit();
           }) == ErrorCode::conflict;
  };
  const auto run = [&](const char* key) {
    return execute(*session, charge(key), charging(*session, {}), {.wait = 60s}).outcome;
  };
  std::optional<Outcome> outcome;
  *other << "BEGIN EXCLUSIVE";
  std::thread waiter{[&] { outcome = run("k1"); }};
  CHECK(is_locked_out());
  *other << "COMMIT";
  waiter.join();
  CHECK(outcome == Outcome::executed);

  *other << "BEGIN";
  CHECK(balance(*other, 1) == 95);  // It reads, and the commit has to wait for its end.
  std::thread writer{[&] { outcome = run("k2"); }};
  const auto may_read = [&] {
    try {
      return balance(*third, 1) == 95;
    } catch (const soci::soci_error&) {
      return false;  // A commit is pending.
    }
  };
  while (may_read()) std::this_thread::yield();
  CHECK(is_locked_out());
  *other << "COMMIT";
  writer.join();
  CHECK(outcome == Outcome::executed);
  CHECK(balance(*session, 1) == 90);
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

TEST_CASE("numbers that begin again are refused, and what got them is published after a rebase") {
  Fixture f;
  f.appends_old = true;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  f.publish();
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 10};
  REQUIRE(store::retain_step(*f.connection, "main", options) == 3);
  f.execute("DELETE FROM sqlite_sequence");
  f.appends_old = false;
  f.append("d");
  const auto is_refused = [](auto&& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code() == ErrorCode::refused && error.hint().find("rebase") != std::string::npos;
    }
    return false;
  };
  CHECK(is_refused([&] { f.page(); }));       // A relay that runs,
  CHECK(is_refused([&] { f.take_lead(); }));  // and one that starts.

  // More of them than there were before, while no relay looked.
  for (const char* payload : {"e", "f", "g", "h"}) f.append(payload);
  f.execute("UPDATE outseal_journal SET bound_at = 1");
  CHECK(is_refused([&] { f.take_lead(); }));
  CHECK(f.publish().bytes == "4:g;5:h;");
  f.execute("UPDATE outseal_outbox SET created_at = 2");
  store::RetentionProgress progress;
  CHECK(store::retain_step(*f.connection, "main", options, &progress) == 2);
  CHECK(progress.passed_over == 3);
  CHECK(progress.note().find("rebase") != std::string::npos);

  f.log.release();
  CHECK(store::rebase(*f.connection, "main", f.sink, "me").renumbered == 3);
  CHECK(f.number("SELECT count(*) FROM outseal_audit WHERE act = 'outbox.renumber'"
                 " AND actor = 'me'") == 1);
  f.take_lead();
  CHECK(f.publish().bytes == "6:d;7:e;8:f;");
  CHECK(store::retain_step(*f.connection, "main", options) == 3);
  f.append("i");
  CHECK(f.publish().bytes == "9:i;");
  f.log.release();
  CHECK(store::rebase(*f.connection, "main", f.sink, "me").renumbered == 0);
}

TEST_CASE("numbers that cannot begin again are not refused") {
  Fixture f;
  f.append("a");
  f.append("b");
  f.publish();
  f.execute("DELETE FROM sqlite_sequence");  // The last event keeps its number from coming again.
  f.take_lead();
  CHECK(f.page().entries.empty());
  f.append("c");
  CHECK(f.publish().bytes == "3:c;");
}

TEST_CASE("a rebase raises the numbers of an outbox that is empty") {
  Fixture f;
  f.append("a");
  f.append("b");
  f.publish();
  f.execute("DELETE FROM outseal_outbox; DELETE FROM sqlite_sequence");
  CHECK_THROWS_AS(f.take_lead(), Error);
  f.log.release();
  store::rebase(*f.connection, "main", f.sink, "me");
  f.take_lead();
  f.append("c");
  CHECK(f.publish().bytes == "3:c;");
}

TEST_CASE("the last event of a batch shows nothing once it has another number") {
  Fixture f;
  f.appends_old = true;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  f.publish();
  // As by a tool that has copied the table into a new one.
  f.execute("UPDATE outseal_outbox SET seq = seq + 10 WHERE seq = 3");
  f.execute("UPDATE outseal_outbox SET event_id = replace(event_id, '-7', '-4') WHERE seq = 1");
  store::RetentionProgress progress;
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options, &progress) == 0);
  CHECK(progress.unproven == 2);
}

TEST_CASE("the last event of several batches stays for the longest of them") {
  Fixture f;
  f.append("young");
  f.appends_old = true;
  f.append("b");
  f.append("c");
  f.publish();
  SubscriptionLog other{*f.connection, "other", f.sink};
  other.declare({.name = "other", .topics = {"*"}, .sink = "file:y", .event_source = {}});
  const auto lease = other.acquire("me", 60s);
  Cursor cursor = lease.state.cursor;
  Tail tail;
  for (const std::size_t events : {2U, 1U}) {
    const Batch batch = other.read_page(cursor, tail, {.events_max = events});
    REQUIRE(other.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
    cursor = batch.to;
    tail = batch.tail_after(events);
    REQUIRE(other.acknowledge({tail, batch.first, ""}, 60s) == WriteOutcome::done);
  }
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  f.execute("UPDATE outseal_outbox SET created_at = 1");
  CHECK(store::retain_step(*f.connection, "main", options) == 3);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without a look at an event's passage or length, events are lost or stop the others") {
  CHECK_FALSE(passes_with_mutant("no_passage_proof", "numbers that begin again*"));
  CHECK_FALSE(passes_with_mutant("no_length_check", "a payload that is larger than*"));
}

TEST_CASE("without an identity a joined handle writes into another transaction") {
  CHECK_FALSE(passes_with_mutant("no_joined_identity", "a joined transaction writes into no*"));
}
#endif

TEST_CASE("a database file that is mounted alone, without its write-ahead log, is refused") {
  const TempFolder folder;
  const std::string there = folder.file("shop.db");
  const std::string here = folder.file("mounted.db");
  const Url url = Url::parse("--db", "sqlite:" + here);
  sql::open(Url::parse("--db", "sqlite:" + there), sql::OpenMode::create);
  std::ofstream{here};
  // In a process with mounts of its own, which end with it.
  constexpr int kSkipped = 2;
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(there.c_str(), here.c_str(), nullptr, MS_BIND, nullptr) != 0)
      ::_exit(kSkipped);
    try {
      sql::open(url);
    } catch (const Error& error) {
      const bool says_how = error.hint().find("mount the folder") != std::string::npos;
      ::_exit(error.code() == ErrorCode::refused && says_how ? 0 : 1);
    }
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WEXITSTATUS(status) == kSkipped) MESSAGE("LEFT OUT: this user may not mount anything");
  CHECK((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kSkipped));
  CHECK_NOTHROW(sql::open(url));  // The same path when nothing is mounted there.
}

TEST_CASE("a service that trusts no schema appends, executes and receives") {
  const auto store = make_store();
  const auto session = store->session();
  *session << "PRAGMA trusted_schema = OFF";
  *session << "INSERT INTO outseal_outbox (topic, type, payload) VALUES ('t', 'x', '{}')";
  {
    Transaction tx{*session};
    append(tx, {.topic = "t", .type = "x", .payload = "{}"});
    CHECK(receive(tx, "stream", new_event_id()));
    tx.commit();
  }
  const Operation operation{.scope = "s", .key = "k", .fingerprint = fingerprint("")};
  CHECK(execute(*session, operation, [](Transaction&) { return Reply{}; }).outcome ==
        Outcome::executed);
  int events = 0;
  *session << "SELECT count(*) FROM outseal_outbox", soci::into(events);
  CHECK(events == 2);
  // No other table has a check or default that the schema may not call either.
  for (const char* table : {"subscription", "journal", "parked", "run", "finding", "audit"})
    CHECK_NOTHROW(*session << "DELETE FROM outseal_" + std::string{table});
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
