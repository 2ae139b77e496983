// The suite of sessions on handles of SQLite's C API, and what that alone lets a service do.
#include <doctest/doctest.h>
#include <sqlite3.h>

#include <stdexcept>
#include <utility>

#include "conformance/session_suite.h"
#include "support/mutant.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

class Sqlite3Session final : public ServiceSession {
 public:
  explicit Sqlite3Session(std::string path) : path_{std::move(path)} { connect(); }
  ~Sqlite3Session() override { close(); }
  Sqlite3Session(const Sqlite3Session&) = delete;
  Sqlite3Session& operator=(const Sqlite3Session&) = delete;

  sqlite3* handle() const { return handle_; }
  Session session() override { return handle_; }
  void run(const std::string& sql) override {
    if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
      throw std::runtime_error{sqlite3_errmsg(handle_)};
  }
  std::vector<Replacement> replacements() override {
    return {{"sqlite3_close_v2", [this] {
               close();
               connect();
             }}};
  }
  void close() override { sqlite3_close_v2(std::exchange(handle_, nullptr)); }

 private:
  void connect() { REQUIRE(sqlite3_open(path_.c_str(), &handle_) == SQLITE_OK); }

  std::string path_;
  sqlite3* handle_ = nullptr;
};

class Sqlite3Sessions final : public SessionsUnderTest {
 public:
  Sqlite3Sessions() { prepare_database(url()); }
  std::string kind() const override { return "SQLite's C API"; }
  Url url() const override { return Url::parse("--db", "sqlite:" + path()); }
  std::unique_ptr<ServiceSession> open() const override {
    return std::make_unique<Sqlite3Session>(path());
  }
  std::string path() const { return folder_.file("main.db"); }

 private:
  TempFolder folder_;
};

/// A service whose session is known to be a handle of SQLite.
struct Fixture {
  Sqlite3Sessions sessions;
  SessionFixture other{sessions};
  Sqlite3Session service{sessions.path()};

  sqlite3* handle() const { return service.handle(); }
};

}  // namespace

std::vector<std::unique_ptr<SessionsUnderTest>> make_sessions() {
  std::vector<std::unique_ptr<SessionsUnderTest>> all;
  all.push_back(std::make_unique<Sqlite3Sessions>());
  return all;
}

TEST_CASE("a handle that could not be opened is refused") {
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open("/nowhere/main.db", &handle) != SQLITE_OK);
  CHECK(code_of([&] { Transaction{handle}; }) == ErrorCode::invalid_config);
  sqlite3_close(handle);
}

TEST_CASE("sqlite3_close() is refused under a transaction and changes nothing") {
  Fixture f;
  {
    StatementCache statements{f.handle()};
    Transaction tx{f.handle(), {.statements = &statements}};
    append(tx, charged());
    CHECK(sqlite3_close(f.handle()) == SQLITE_BUSY);
    f.service.run(kCharge);
    tx.commit();
    CHECK(sqlite3_close(f.handle()) == SQLITE_BUSY);
  }
  CHECK(f.other.events() == 1);
  CHECK(f.other.balance() == 95);
  {
    f.service.run("BEGIN");
    const Transaction joined = Transaction::join(f.handle());
    f.service.run("COMMIT");
    CHECK(sqlite3_close(f.handle()) == SQLITE_BUSY);
  }
}

TEST_CASE("nothing is committed on a handle that sqlite3_close_v2() has closed") {
  Fixture f;
  {
    Transaction tx{f.handle()};
    f.service.run(kCharge);
    append(tx, charged());
    f.service.close();
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
    CHECK(code_of([&] {
            Transaction{f.other.session(), {.busy_wait = std::chrono::milliseconds{1}}};
          }) == ErrorCode::conflict);
  }
  Transaction free{f.other.session()};
  CHECK(f.other.balance() == 100);
}

TEST_CASE("a misuse of SQLite by the service is not taken for the end of its handle") {
  Fixture f;
  Transaction tx{f.handle()};
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(f.handle(), "SELECT ?", -1, &statement, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
  REQUIRE(sqlite3_bind_int(statement, 1, 7) == SQLITE_MISUSE);
  REQUIRE(sqlite3_errcode(f.handle()) == SQLITE_MISUSE);
  append(tx, charged());
  sqlite3_finalize(statement);
  tx.commit();
  CHECK(f.other.events() == 1);
}

TEST_CASE("hooks that the service had before are gone, and set anew are its own again") {
  Fixture f;
  int commits = 0;
  const auto count = [](void* number) { return ++*static_cast<int*>(number), 0; };
  sqlite3_commit_hook(f.handle(), count, &commits);
  for (int i = 0; i < 2; ++i) {
    Transaction tx{f.handle()};
    append(tx, charged());
    tx.commit();
  }
  f.service.run(kCharge);
  CHECK(commits == 0);
  CHECK(sqlite3_commit_hook(f.handle(), count, &commits) == nullptr);
  f.service.run(kCharge);
  CHECK(commits == 1);
}

TEST_CASE("an interrupt that a statement of the service's keeps alive stops no rollback") {
  Fixture f;
  sqlite3_stmt* reading = nullptr;
  REQUIRE(sqlite3_prepare_v2(f.handle(), "VALUES (1), (2), (3)", -1, &reading, nullptr) ==
          SQLITE_OK);
  const auto work = [&](Transaction& tx) {
    f.service.run(kCharge);
    append(tx, charged());
    REQUIRE(sqlite3_step(reading) == SQLITE_ROW);
    sqlite3_interrupt(f.handle());
  };
  const auto is_over = [&] { return sqlite3_get_autocommit(f.handle()) != 0; };
  {
    Transaction tx{f.handle()};
    work(tx);
    tx.rollback();
    CHECK(is_over());
  }
  {
    Transaction tx{f.handle()};
    work(tx);
  }
  CHECK(is_over());
  const Operation operation{.scope = "s", .key = "k", .fingerprint = fingerprint("x")};
  CHECK_THROWS_AS(static_cast<void>(execute(f.handle(), operation,
                                            [&](Transaction& tx) -> Reply {
                                              work(tx);
                                              throw std::runtime_error{"deadline"};
                                            })),
                  std::runtime_error);
  CHECK(is_over());
  const auto later = [&](Transaction& tx) {
    work(tx);
    return Reply{.verdict = Verdict::retryable_failure};
  };
  CHECK(execute(f.handle(), operation, later).outcome == Outcome::released);
  CHECK(is_over());
  sqlite3_finalize(reading);
  CHECK(f.other.balance() == 100);
  CHECK(f.other.events() == 0);
}

TEST_CASE("a transaction that cannot be rolled back is reported, and can never be committed") {
  Fixture f;
  const auto deny = [](void*, int action, const char* name, const char*, const char*, const char*) {
    return action == SQLITE_TRANSACTION && std::string_view{name} == "ROLLBACK" ? SQLITE_DENY
                                                                                : SQLITE_OK;
  };
  std::string told;
  const Observer observer = [&](const Observation& what) {
    if (const auto* unthrown = std::get_if<UnthrownError>(&what)) told = unthrown->error->message();
  };
  const auto leave = [&] {
    Transaction tx{f.handle(), {.observer = observer}};
    f.service.run(kCharge);
    append(tx, charged());
    sqlite3_set_authorizer(f.handle(), deny, nullptr);
    CHECK(code_of([&] { tx.rollback(); }) == ErrorCode::storage);
  };
  leave();
  CHECK(sqlite3_get_autocommit(f.handle()) == 0);
  CHECK_THROWS(f.service.run("COMMIT"));  // Refused, which rolls it back.
  CHECK(sqlite3_get_autocommit(f.handle()) != 0);
  f.service.run(kCharge);  // From here on the session is the service's own again.
  CHECK(f.other.balance() == 95);
  {
    sqlite3_set_authorizer(f.handle(), nullptr, nullptr);
    Transaction tx{f.handle(), {.observer = observer}};
    append(tx, charged());
    sqlite3_set_authorizer(f.handle(), deny, nullptr);
  }
  CHECK(told == "the database does not let the transaction be rolled back");
  sqlite3_set_authorizer(f.handle(), nullptr, nullptr);
  f.service.run("ROLLBACK");
  Transaction tx{f.handle()};
  append(tx, charged());
  tx.commit();
  CHECK(f.other.events() == 1);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without its guard a closed handle is committed on") {
  CHECK_FALSE(passes_with_mutant("no_open_check", "nothing is committed on a handle that*"));
}
#endif

}  // namespace outseal::test
