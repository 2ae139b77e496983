// Operations on PostgreSQL sessions with settings of their own, and handlers with ways of their
// own.
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "integration/postgres/postgres_fixture.h"

using namespace outseal;
using namespace outseal::test;

namespace {

constexpr const char* kRepeatableRead =
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ";

long number(soci::session& session, const std::string& sql) {
  long value = 0;
  session << sql, soci::into(value);
  return value;
}

}  // namespace

TEST_CASE("an operation runs at the isolation level that it asks for") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto level = [&] {
    std::string name;
    *session << "SHOW transaction_isolation", soci::into(name);
    return name;
  };
  const auto level_under = [&](Isolation isolation) {
    std::string name;
    std::ignore = execute(*session, operation("k" + std::to_string(static_cast<int>(isolation))),
                          [&](Transaction&) {
                            name = level();
                            return Reply{};
                          },
                          {.isolation = isolation});
    Transaction tx{*session, {.isolation = isolation}};
    CHECK(level() == name);
    return name;
  };
  CHECK(level_under(Isolation::read_committed) == "read committed");
  CHECK(level_under(Isolation::repeatable_read) == "repeatable read");
  CHECK(level_under(Isolation::serializable) == "serializable");
  *session << kRepeatableRead;
  CHECK(level_under(Isolation::session_default) == "repeatable read");
}

TEST_CASE(
    "a conflict that the handler dealt with at a savepoint is not blamed for what it throws") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto other = database.session();
  const auto conflicting = [&](const char* then) {
    return [&, then](Transaction&) -> Reply {
      number(*session, "SELECT balance FROM account WHERE id = 1");
      *other << "UPDATE account SET balance = balance + 1 WHERE id = 1";
      *session << "SAVEPOINT a";
      CHECK_THROWS(*session << kCharge);
      *session << then;
      throw std::logic_error{"a bug"};
    };
  };
  const ExecuteOptions options{.isolation = Isolation::repeatable_read};
  CHECK_THROWS_AS(std::ignore = execute(*session, operation("k"),
                                        conflicting("ROLLBACK TO SAVEPOINT a"), options),
                  std::logic_error);
  // A bug that SQL reports is no conflict either.
  CHECK_THROWS_AS(std::ignore = execute(
                      *session, operation("k"),
                      [&](Transaction& tx) {
                        try {
                          conflicting("ROLLBACK TO SAVEPOINT a")(tx);
                        } catch (const std::logic_error&) {
                        }
                        *session << "SELECT 1/0";
                        return Reply{};
                      },
                      options),
                  soci::soci_error);
  CHECK(code_of([&] {
          return execute(
              *session, operation("k"),
              [&](Transaction&) -> Reply {
                number(*session, "SELECT balance FROM account WHERE id = 1");
                *other << "UPDATE account SET balance = balance + 1 WHERE id = 1";
                CHECK_THROWS(*session << kCharge);
                throw std::logic_error{"after it was swallowed"};
              },
              options);
        }) == ErrorCode::conflict);
}

TEST_CASE("a service's own constraint is not taken for the key's, whatever its name is") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto check_reported = [&](const std::string& table, const std::string& constraint,
                                  const std::string& sql) {
    int runs = 0;
    try {
      std::ignore = execute(*session, operation("k"), [&](Transaction&) {
        ++runs;
        *session << sql;
        return Reply{.status = 202};
      });
      FAIL("no error was thrown");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::constraint);
      CHECK(error.detail_code() == (constraint == "mine" ? "23514" : "23505"));
      CHECK(error.table() == table);
      CHECK(error.constraint() == constraint);
    }
    CHECK(runs == 1);
  };
  for (const std::string name : {"pay_idempotency_pk", "idempotency_pk"}) {
    database.value("CREATE TABLE pay (id int CONSTRAINT " + name +
                   " UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    check_reported("public.pay", name, "INSERT INTO pay VALUES (1), (1)");
    database.value("DROP TABLE pay");
  }
  // Nor is another one that somebody has put on the records.
  database.value("ALTER TABLE outseal.idempotency ADD CONSTRAINT mine CHECK (status <> 202)");
  check_reported("outseal.idempotency", "mine", "SELECT 1");
}

TEST_CASE("a session whose encoding is not UTF8 is refused, whatever is to be written") {
  PostgresDatabase database;
  const auto session = database.session(" client_encoding=LATIN1");
  const auto refused = [&](const std::function<void()>& call) {
    return code_of(call) == ErrorCode::invalid_argument;
  };
  bool has_run = false;
  const Handler handler = [&](Transaction&) {
    has_run = true;
    return Reply{};
  };
  CHECK(refused([&] { return execute(*session, operation("k"), handler); }));
  CHECK_FALSE(has_run);
  CHECK(refused([&] { const Transaction tx{*session}; }));
  {
    soci::transaction own{*session};
    Transaction tx = Transaction::join(*session);
    CHECK(refused([&] { append(tx, event("x")); }));
  }
  *session << "SET client_encoding TO 'UTF8'";
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::executed);
  CHECK(refused([&] {
    Transaction tx{*session};
    append(tx, event("x"));
    *session << "SET client_encoding TO 'LATIN1'";
    tx.commit();
  }));
  CHECK(database.events() == "1");
}

TEST_CASE("a record that a policy hides from the user is not taken for a race") {
  PostgresDatabase database;
  const auto session = database.session();
  std::ignore = execute(*session, operation("k"), charging(*session));
  database.value(
      "GRANT ALL ON account TO outseal_producer;"
      "ALTER TABLE outseal.idempotency ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY writing ON outseal.idempotency FOR INSERT WITH CHECK (true)");
  *session << "SET ROLE outseal_producer";
  CHECK(code_of([&] { std::ignore = execute(*session, operation("k"), charging(*session)); }) ==
        ErrorCode::denied);
  CHECK(database.balance() == "95");
}

TEST_CASE("a handler that commits by SQL is reported, and no retry runs it again") {
  PostgresDatabase database;
  const auto session = database.session();
  int runs = 0;
  const auto committing = [&](const std::function<Reply()>& then, const char* end = "COMMIT") {
    return [&runs, &session, then, end](Transaction& tx) {
      ++runs;
      *session << kCharge;
      append(tx, event("charged"));
      *session << end;
      return then();
    };
  };
  const auto executing = [&](const char* key, const Handler& handler) {
    return code_of([&] { return execute(*session, operation(key), handler); });
  };
  const auto replayed = [&](const char* key, const Handler& handler) {
    const auto result = execute(*session, operation(key), handler);
    CHECK(result.outcome == Outcome::replayed);
    return result.reply->verdict == Verdict::success ? result.reply->body
                                                     : std::to_string(result.reply->status);
  };
  const Handler success = committing([] { return Reply{.body = "paid"}; });
  CHECK(executing("success", success) == ErrorCode::foreign_commit);
  CHECK(replayed("success", success) == "paid");
  const Handler chain = committing([] { return Reply{.body = "paid"}; }, "COMMIT AND CHAIN");
  CHECK(executing("chain", chain) == ErrorCode::foreign_commit);
  if (number(*session, "SELECT (pg_current_xact_id_if_assigned() IS NOT NULL)::int") == 0)
    *session << "ROLLBACK";  // The chained one is the service's own.
  CHECK(replayed("chain", chain) == "paid");
  const Handler throwing = committing([]() -> Reply { throw std::runtime_error{"late"}; });
  CHECK(executing("throw", throwing) == ErrorCode::foreign_commit);
  CHECK(replayed("throw", throwing) == "500");
  const Handler later =
      committing([] { return Reply{.verdict = Verdict::retryable_failure, .status = 503}; });
  CHECK(executing("later", later) == ErrorCode::foreign_commit);
  CHECK(replayed("later", later) == "503");
  // Behind a record that has expired as well: it is no answer.
  database.value(
      "UPDATE outseal.idempotency SET expires_at = now() - interval '1 s',"
      " purge_at = now() - interval '1 s'");
  CHECK(executing("success", success) == ErrorCode::foreign_commit);
  CHECK(replayed("success", success) == "paid");
  // And behind one that another execution has stored since: that one stays.
  const auto other = database.session();
  const Handler overtaken = committing([&] {
    CHECK(execute(*other, operation("overtaken"), [](Transaction&) {
            return Reply{.body = "other"};
          }).outcome == Outcome::executed);
    return Reply{.body = "paid"};
  });
  CHECK(executing("overtaken", overtaken) == ErrorCode::foreign_commit);
  CHECK(replayed("overtaken", overtaken) == "other");
  CHECK(runs == 6);
  CHECK(database.balance() == "70");
  CHECK(database.events() == "6");

  const Handler undone = committing([] { return Reply{}; }, "ROLLBACK");
  CHECK(executing("undone", undone) == ErrorCode::invalid_argument);
  CHECK(executing("undone", undone) == ErrorCode::invalid_argument);
  CHECK(database.balance() == "70");
  CHECK(database.events() == "6");
  CHECK(database.value("SELECT count(*) FROM outseal.idempotency") == "5");
}
