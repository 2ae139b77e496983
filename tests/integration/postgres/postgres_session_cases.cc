// What a service may do with its session while a Transaction lives on it, on PostgreSQL: end the
// transaction, replace it, commit it by itself, append by SQL.
#include <libpq-fe.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// Collects what destructors report.
struct Reports {
  std::vector<Error> errors;
  TransactionOptions options() {
    return {.observer = unthrown([this](const Error& error) { errors.push_back(error); })};
  }
};

using Fixture = ServiceFixture;

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("nothing of a transaction that the service has replaced is committed") {
  Fixture f;
  for (const Words& replacing :
       std::vector<Words>{{kCharge, "SAVEPOINT a", "RELEASE SAVEPOINT a", "ROLLBACK AND CHAIN"},
                          {kCharge, "ROLLBACK AND CHAIN"},
                          {"SAVEPOINT a", kCharge, "ROLLBACK TO a", "ROLLBACK", "BEGIN"},
                          {kCharge, "ROLLBACK; BEGIN"},
                          {kCharge, "ABORT", "START TRANSACTION"}}) {
    for (const int events : {0, 1, 3}) {
      CAPTURE(replacing.back());
      CAPTURE(events);
      Transaction tx{*f.session};
      append(tx, std::vector<Event>(static_cast<std::size_t>(events), event("ghost")));
      for (const std::string& sql : replacing) f.run(sql);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
      f.run("ROLLBACK");
    }
  }
  CHECK(f.database.events() == "0");
  CHECK(f.database.balance() == "100");
}

TEST_CASE("what the service began behind a ROLLBACK is left to it") {
  Fixture f;
  int others = 0;
  for (const Words& replacing : std::vector<Words>{
           {"ROLLBACK", "BEGIN"}, {"ROLLBACK AND CHAIN"}, {"SAVEPOINT a", "ROLLBACK; BEGIN"}}) {
    CAPTURE(replacing.front());
    const auto replace = [&] {
      for (const std::string& sql : replacing) f.run(sql);
      f.run("INSERT INTO note (n) VALUES ('other')");
    };
    {
      Transaction tx{*f.session};
      append(tx, event("undone"));
      replace();
      CHECK(code_of([&] { append(tx, event("late")); }) == ErrorCode::invalid_argument);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
      f.run("COMMIT");
    }
    {
      Transaction tx{*f.session};
      append(tx, event("undone"));
      replace();
    }
    f.run("COMMIT");
    {
      Transaction tx{*f.session};
      append(tx, event("undone"));
      replace();
      tx.rollback();
      f.run("COMMIT");
    }
    others += 3;
  }
  CHECK(f.database.value("SELECT count(*) FROM note") == std::to_string(others));
  CHECK(f.database.events() == "0");
}

TEST_CASE("a BEGIN inside of the transaction or behind a return to a savepoint ends nothing") {
  Fixture f;
  Transaction tx{*f.session};
  f.run("BEGIN");
  append(tx, event("kept"));
  f.run("SAVEPOINT a");
  append(tx, event("undone"));
  f.run("ROLLBACK TO a");
  f.run("BEGIN");
  f.run(kCharge);
  tx.commit();
  CHECK(f.database.payloads() == "kept");
  CHECK(f.database.balance() == "95");
}

TEST_CASE("events of a transaction that the service committed by itself are stored and reported") {
  Fixture f;
  int committed = 0;
  for (const Words& committing : std::vector<Words>{{"COMMIT"},
                                                    {"END"},
                                                    {"COMMIT AND CHAIN"},
                                                    {"COMMIT; BEGIN"},
                                                    {"COMMIT", "BEGIN", "SAVEPOINT a", "ROLLBACK"},
                                                    {"COMMIT; BEGIN", "!SELECT 1/0"},
                                                    {"SAVEPOINT a", "ROLLBACK TO a", "COMMIT"},
                                                    {"SAVEPOINT a", "+", "ROLLBACK TO a", "COMMIT"},
                                                    {"SAVEPOINT a", "+", "RELEASE a", "COMMIT"}}) {
    for (const int way : {0, 1, 2, 3}) {
      CAPTURE(committing.back());
      CAPTURE(way);
      f.database.value("DELETE FROM outseal.outbox");
      Reports reports;
      ErrorCode code{};
      bool inner = false;
      {
        Transaction tx{*f.session, reports.options()};
        append(tx, event("a"));
        append(tx, event("b"));
        f.run(kCharge);
        for (const std::string& sql : committing) {
          if (sql == "+")
            append(tx, event("inner"));
          else if (sql[0] == '!')
            CHECK_THROWS(f.run(sql.substr(1)));
          else
            f.run(sql);
          inner = inner || sql == "RELEASE a";
        }
        if (way == 0) code = code_of([&] { tx.commit(); });
        if (way == 1) code = code_of([&] { append(tx, event("late")); });
        if (way == 2) code = code_of([&] { tx.rollback(); });
      }
      ++committed;
      if (way == 3) {
        REQUIRE(reports.errors.size() == 1);
        code = reports.errors.front().code();
        CHECK(reports.errors.front().hint().find("commit()") != std::string::npos);
      } else {
        CHECK(reports.errors.empty());
      }
      CHECK(code == ErrorCode::foreign_commit);
      CHECK(f.database.payloads() == (inner ? "a b inner" : "a b"));
      f.run("ROLLBACK");
    }
  }
  CHECK(f.database.balance() == std::to_string(100 - 5 * committed));
}

TEST_CASE("events are stored after a foreign commit even if the session is closed or lost") {
  Fixture f;
  for (const bool closed : {true, false}) {
    Transaction tx{*f.session};
    append(tx, event("x"));
    f.run(kCharge);
    int pid = 0;
    *f.session << "SELECT pg_backend_pid()", soci::into(pid);
    f.run("COMMIT");
    if (closed)
      f.session->reconnect();
    else
      f.database.value("SELECT pg_terminate_backend(" + std::to_string(pid) + ", 10000)");
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::foreign_commit);
    f.session->reconnect();
  }
  CHECK(f.database.payloads() == "x x");
}

TEST_CASE("a foreign commit whose events cannot be stored says so") {
  Fixture f;
  Event twice = event("x");
  twice.id = new_event_id();
  Transaction tx{*f.session};
  append(tx, twice);
  f.run("COMMIT");
  f.database.value("INSERT INTO outseal.outbox (event_id, topic, type, payload) VALUES ('" +
                   twice.id->to_string() + "', 't', 'x', '{}')");
  try {
    tx.commit();
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::foreign_commit);
    CHECK(error.message().find("could not be stored") != std::string::npos);
  }
}

TEST_CASE("a transaction prepared for a commit in two phases is reported and left alone") {
  Fixture f;
  const bool can = f.database.value("SHOW max_prepared_transactions") != "0";
  if (!can) return;
  Transaction tx{*f.session};
  append(tx, event("x"));
  f.run("PREPARE TRANSACTION 'p'");
  CHECK(code_of([&] { tx.commit(); }) == ErrorCode::foreign_commit);
  f.run("ROLLBACK PREPARED 'p'");
  CHECK(f.database.events() == "0");
}

TEST_CASE("a session that is closed or reconnected ends the transaction, and nothing is touched") {
  Fixture f;
  struct Change {
    std::string name;
    std::function<void()> make;
  };
  const std::vector<Change> changes{{"reconnect", [&] { f.session->reconnect(); }},
                                    {"close",
                                     [&] {
                                       f.session->close();
                                       f.session->open(soci::postgresql,
                                                       shared_server().conninfo(f.database.name()));
                                     }},
                                    {"reset", [&] { PQreset(handle_of(*f.session)); }}};
  for (const Change& change : changes) {
    CAPTURE(change.name);
    {
      Transaction tx{*f.session};
      append(tx, event("x"));
      change.make();
      f.run("BEGIN");
      f.run("INSERT INTO note (n) VALUES ('other')");
      CHECK(code_of([&] { append(tx, event("y")); }) == ErrorCode::unreachable);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
    }
    f.run("COMMIT");
    CHECK(code_of([&] {
            return execute(*f.session, operation("k"), [&](Transaction& tx) {
              append(tx, event("x"));
              change.make();
              return Reply{};
            });
          }) == ErrorCode::unreachable);
    Transaction untouched{*f.session};
    change.make();
  }
  CHECK(f.database.value("SELECT count(*) FROM note") == "3");
  CHECK(f.database.events() == "0");
}

TEST_CASE("a session in the middle of something else is refused by what it is in") {
  Fixture f;
  PGconn* handle = handle_of(*f.session);
  const auto refuses = [&](const char* word, const std::function<void()>& call) {
    try {
      call();
      FAIL("no error was thrown");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_argument);
      CHECK(error.message().find(word) != std::string::npos);
    }
  };
  REQUIRE(PQenterPipelineMode(handle) == 1);
  refuses("pipeline", [&] { Transaction tx{*f.session}; });
  refuses("pipeline", [&] { Transaction::join(*f.session); });
  refuses("pipeline", [&] { std::ignore = find(*f.session, operation("k")); });
  REQUIRE(PQexitPipelineMode(handle) == 1);
  Transaction tx{*f.session};
  append(tx, event("x"));
  PQclear(PQexec(handle, "COPY note (n) FROM STDIN"));
  refuses("COPY", [&] { append(tx, event("y")); });
  refuses("COPY", [&] { tx.commit(); });
  refuses("COPY", [&] { std::ignore = find(*f.session, operation("k")); });
  PQputCopyEnd(handle, nullptr);
  while (PGresult* result = PQgetResult(handle)) PQclear(result);
  tx.commit();
  CHECK(f.database.payloads() == "x");
}

TEST_CASE("a conflict that the service has undone at a savepoint is not told of again") {
  Fixture f;
  const auto other = f.database.session();
  const auto met = [&](bool undo) {
    Transaction tx{*f.session, {.isolation = Isolation::repeatable_read}};
    f.run("SELECT 1");
    *other << kCharge;
    f.run("SAVEPOINT a");
    CHECK_THROWS(f.run(kCharge));
    if (undo) f.run("ROLLBACK TO a");
    if (undo) CHECK_THROWS(f.run("SELECT 1/0"));
    try {
      tx.commit();
      FAIL("no error was thrown");
    } catch (const Error& error) {
      CHECK(error.code() == (undo ? ErrorCode::storage : ErrorCode::conflict));
      CHECK(error.detail_code() == (undo ? "22012" : "40001"));
    }
  };
  met(false);
  met(true);
  CHECK(code_of([&] {
          try {
            std::ignore = execute(*f.session, operation("k"), [&](Transaction&) -> Reply {
              f.run("SAVEPOINT a");
              CHECK_THROWS(f.run("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"));
              f.run("ROLLBACK TO a");
              throw std::runtime_error{"the service's own"};
            });
          } catch (const std::runtime_error& error) {
            if (std::string{error.what()} != "the service's own") throw;
            throw Error{ErrorCode::refused, "test", "passed through"};
          }
        }) == ErrorCode::refused);
}

TEST_CASE("an error names table and constraint") {
  Fixture f;
  f.database.value(
      "CREATE TABLE pay (id int, CONSTRAINT pay_idempotency_pk UNIQUE (id) DEFERRABLE"
      " INITIALLY DEFERRED)");
  Transaction tx{*f.session};
  f.run("INSERT INTO pay VALUES (1), (1)");
  append(tx, event("x"));
  try {
    tx.commit();
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::constraint);
    CHECK(error.table() == "public.pay");
    CHECK(error.constraint() == "pay_idempotency_pk");
  }
}

TEST_CASE("an observer is told of a foreign commit by the call that found it, and of its loss") {
  Fixture f;
  std::vector<std::string> told;
  const Observer observer = [&](const Observation& seen) {
    if (const auto* call = std::get_if<CommitCall>(&seen))
      told.push_back("commit " + std::string{name_of(call->error->code())});
    if (const auto* call = std::get_if<ExecuteCall>(&seen))
      told.push_back("execute " + std::string{name_of(call->error->code())});
    if (const auto* found = std::get_if<UnthrownError>(&seen)) told.push_back(found->error->what());
  };
  {
    Transaction tx{*f.session, {.observer = observer}};
    f.run("COMMIT");
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::foreign_commit);
  }
  CHECK(code_of([&] {
          return execute(*f.session, operation("k"),
                         [&](Transaction&) -> Reply {
                           f.run("COMMIT");
                           return {};
                         },
                         {.observer = observer});
        }) == ErrorCode::foreign_commit);
  CHECK(told == std::vector<std::string>{"commit foreign_commit", "execute foreign_commit"});
  f.database.value("ALTER TABLE outseal.outbox ADD CONSTRAINT none CHECK (topic <> 't')");
  {
    Transaction tx{*f.session, {.observer = observer}};
    append(tx, event("lost"));
    f.run("COMMIT");
  }
  CHECK(told.size() == 3);
  CHECK(told.back().find("what could not be stored: the event") != std::string::npos);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without its guards a session's transaction is mistaken") {
  const std::string replaced =
      "nothing of a transaction that the service has replaced is committed";
  CHECK(passes_with_mutant("no_watch", replaced));  // The proof at COMMIT is enough.
  CHECK_FALSE(passes_with_mutant("no_identity", replaced));
  CHECK_FALSE(passes_with_mutant("no_watch", "what the service began behind a ROLLBACK is left*"));
}
#endif
