// A COMMIT that the service sends itself: what outseal says of it afterwards, and what it stores;
// and handlers that pass over a conflict. The first of these are in postgres_session_cases.cc;
// torture/adversary_* found some of the others.
#include <libpq-fe.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// An event whose id is taken while `tx` is open.
Event taken(const PostgresDatabase& database) {
  Event event = test::event("taken");
  event.id = new_event_id();
  database.value("INSERT INTO outseal.outbox (event_id, topic, type, payload) VALUES ('" +
                 event.id->to_string() + "', 't', 'x', '{}')");
  return event;
}

/// The Error of a foreign commit by `call`.
template <typename Call>
Error foreign_commit_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::foreign_commit);
    return error;
  }
  FAIL("no error was thrown");
  throw std::logic_error{"unreachable"};
}

bool mentions(const Error& error, const std::string& text) {
  return error.message().find(text) != std::string::npos;
}

struct Fixture : ServiceFixture {
  ErrorCode code_of_execute(const Handler& handler) {
    return code_of([&] { std::ignore = execute(*session, operation("k"), handler); });
  }
};

}  // namespace

TEST_CASE("an event that is refused after a foreign commit costs neither the record nor others") {
  PostgresDatabase database;
  const auto session = database.session();
  const Event refused = taken(database);
  int runs = 0;
  const Handler handler = [&](Transaction& tx) {
    ++runs;
    *session << kCharge;
    append(tx, event("first"));
    append(tx, refused);
    append(tx, event("last"));
    *session << "COMMIT";
    return Reply{.body = "paid"};
  };
  const Error error =
      foreign_commit_of([&] { std::ignore = execute(*session, operation("k"), handler); });
  CHECK(mentions(error, refused.id->to_string()));
  CHECK_FALSE(mentions(error, "the record"));
  CHECK(execute(*session, operation("k"), handler).reply->body == "paid");
  CHECK(runs == 1);
  CHECK(database.payloads() == "{} first last");
}

TEST_CASE("a handler that has committed cannot run its own key again") {
  for (const bool reconnects : {false, true}) {
    PostgresDatabase database;
    const auto session = database.session();
    int runs = 0;
    Handler handler;
    const auto again = [&] { std::ignore = execute(*session, operation("k"), handler); };
    handler = [&](Transaction& tx) {
      if (++runs > 1) return Reply{};
      append(tx, event("first"));
      *session << "COMMIT";
      if (reconnects) session->reconnect();
      CHECK(code_of(again) == ErrorCode::invalid_argument);
      CHECK(execute(*session, operation("another"), [](Transaction&) { return Reply{}; }).outcome ==
            Outcome::executed);
      return Reply{.body = "paid"};
    };
    foreign_commit_of(again);
    CHECK(execute(*session, operation("k"), handler).reply->body == "paid");
    CHECK(runs == 1);
    CHECK(database.payloads() == "first");
  }
}

TEST_CASE("a record that another execution has stored meanwhile is told of") {
  ServiceFixture f;
  const auto other = f.database.session();
  const Error error = foreign_commit_of([&] {
    std::ignore = execute(*f.session, operation("k"), [&](Transaction& tx) {
      append(tx, event("first"));
      f.run("COMMIT");
      std::ignore = execute(*other, operation("k"), charging(*other, {.status = 299}));
      return Reply{};
    });
  });
  CHECK(mentions(error,
                 "the record of the key (another execution of the key has stored its own,"
                 " with status 299)"));
  CHECK(f.database.payloads() == "charged first");
}

TEST_CASE("a record that a trigger drops after a foreign commit is told of") {
  ServiceFixture f;
  f.run(
      "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
      "CREATE TRIGGER aa BEFORE INSERT ON outseal.idempotency FOR EACH ROW EXECUTE FUNCTION"
      " drop_it()");
  const Error error = foreign_commit_of([&] {
    std::ignore = execute(*f.session, operation("k"), [&](Transaction&) {
      f.run("COMMIT");
      return Reply{};
    });
  });
  CHECK(mentions(error, "the record of the key (a trigger or rule"));
}

TEST_CASE("a reply that breaks its limits is not kept after a foreign commit") {
  Fixture f;
  const Handler handler = [&](Transaction&) {
    f.run("COMMIT");
    return Reply{.status = 99'999};
  };
  CHECK(f.code_of_execute(handler) == ErrorCode::foreign_commit);
  const auto known = execute(*f.session, operation("k"), handler);
  CHECK(known.outcome == Outcome::replayed);
  CHECK(known.reply->status == 500);
  CHECK(known.reply->verdict == Verdict::final_failure);
}

TEST_CASE("what cannot be stored after a foreign commit is named") {
  PostgresDatabase database;
  const auto session = database.session();
  std::vector<std::string> ids;
  const auto append_two = [&](Transaction& tx) {
    for (const EventId& id : append(tx, std::vector<Event>(2, event("x"))))
      ids.push_back(id.to_string());
  };
  const auto refuse = [&](const char* table) {
    database.value(std::string{"ALTER TABLE outseal."} + table +
                   " ADD CONSTRAINT closed CHECK (false) NOT VALID");
  };
  refuse("outbox");
  const Error lost = foreign_commit_of([&] {
    Transaction tx{*session};
    append_two(tx);
    *session << "COMMIT";
    tx.commit();
  });
  CHECK(mentions(lost, "the events " + ids[0] + ", " + ids[1] + " ("));
  refuse("idempotency");
  const Error all = foreign_commit_of([&] {
    std::ignore = execute(*session, operation("k"), [&](Transaction& tx) {
      append_two(tx);
      *session << "COMMIT";
      return Reply{};
    });
  });
  CHECK(mentions(all, "the record of the key"));
  CHECK(mentions(all, "the events " + ids[2]));
}

TEST_CASE("a COMMIT whose answer the service has not fetched is noticed") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto send_commit = [&] { REQUIRE(PQsendQuery(handle_of(*session), "COMMIT") == 1); };
  std::vector<ErrorCode> reported;
  {
    Transaction tx{
        *session,
        {.observer = unthrown([&](const Error& error) { reported.push_back(error.code()); })}};
    append(tx, event("destroyed"));
    send_commit();
  }
  CHECK(reported == std::vector<ErrorCode>{ErrorCode::foreign_commit});
  {
    Transaction tx{*session};
    append(tx, event("rolled back"));
    send_commit();
    CHECK(code_of([&] { tx.rollback(); }) == ErrorCode::foreign_commit);
  }
  for (const bool throws : {false, true}) {
    const std::string key = throws ? "throws" : "replies";
    const Handler handler = [&](Transaction& tx) {
      append(tx, event(key));
      send_commit();
      if (throws) throw std::runtime_error{"late"};
      return Reply{};
    };
    CHECK(code_of([&] { return execute(*session, operation(key), handler); }) ==
          ErrorCode::foreign_commit);
    CHECK(execute(*session, operation(key), handler).outcome == Outcome::replayed);
  }
  CHECK(database.payloads() == "destroyed rolled back replies throws");
}

TEST_CASE("a final failure behind a conflict that was passed over is not stored") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto failing = [&](const std::string& state, const char* then) {
    return [&, state, then](Transaction&) {
      *session << "SAVEPOINT a";
      CHECK_THROWS(*session << "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '" + state +
                                   "'; END $$");
      if (*then != '\0') *session << then;
      return Reply{.verdict = Verdict::final_failure, .status = 402};
    };
  };
  for (const std::string state : {"40001", "40P01"}) {
    CHECK(code_of([&] { return execute(*session, operation("k"), failing(state, "")); }) ==
          ErrorCode::conflict);
    CHECK(database.value("SELECT count(*) FROM outseal.idempotency") == "0");
    // One that the handler has undone, it has dealt with.
    CHECK(execute(*session, operation(state), failing(state, "ROLLBACK TO a")).outcome ==
          Outcome::executed);
    database.value("DELETE FROM outseal.idempotency");
  }
  CHECK(execute(*session, operation("k"), failing("23514", "")).outcome == Outcome::executed);
}

TEST_CASE("an error that was passed over is not to be retried, a cancelled statement is") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto met = [&](const char* sql) {
    Transaction tx{*session};
    append(tx, event("x"));
    CHECK_THROWS(*session << sql);
    try {
      tx.commit();
    } catch (const Error& error) {
      return error;
    }
    throw std::logic_error{"committed"};
  };
  const Error error = met("SELECT 1/0");
  CHECK(error.recovery() == Recovery::fix_first);
  CHECK(error.hint().find("again") == std::string::npos);
  CHECK(error.hint().find("passed over") != std::string::npos);
  const Error cancelled = met("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; END $$");
  CHECK(cancelled.recovery() == Recovery::retry_transaction);
  CHECK(cancelled.hint().find("again") != std::string::npos);
}

TEST_CASE("a foreign commit is reported again by every later call") {
  Fixture f;
  std::vector<ErrorCode> reports;
  {
    Transaction tx{
        *f.session,
        {.observer = unthrown([&](const Error& error) { reports.push_back(error.code()); })}};
    append(tx, event("x"));
    f.run("COMMIT");
    CHECK(code_of([&] { append(tx, event("y")); }) == ErrorCode::foreign_commit);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::foreign_commit);
    CHECK(code_of([&] { tx.rollback(); }) == ErrorCode::foreign_commit);
  }
  CHECK(reports.empty());
  CHECK(f.database.payloads() == "x");
}

TEST_CASE("a handler that commits leaves its record, whatever it does afterwards") {
  for (const std::string then : {"append", "throw", "latin1", "role", "twice"}) {
    CAPTURE(then);
    Fixture f;
    Event first = event("x");
    first.id = new_event_id();
    CHECK(f.code_of_execute([&](Transaction& tx) {
      append(tx, first);
      f.run(kCharge);
      if (then == "role") f.run("SET ROLE pg_monitor");
      f.run("COMMIT");
      if (then == "append") CHECK_THROWS(append(tx, event("y")));
      if (then == "throw") append(tx, event("y"));
      if (then == "latin1") f.run("SET client_encoding TO 'LATIN1'");
      if (then == "twice")
        f.database.value("INSERT INTO outseal.outbox (event_id, topic, type, payload) VALUES ('" +
                         first.id->to_string() + "', 't', 'x', 'x')");
      return Reply{};
    }) == ErrorCode::foreign_commit);
    f.session->reconnect();
    CHECK(execute(*f.session, operation("k"), charging(*f.session)).outcome == Outcome::replayed);
    CHECK(f.database.balance() == "95");
    CHECK(f.database.payloads() == "x");
  }
}

TEST_CASE("events of a foreign commit are stored though a later transaction lost the session") {
  Fixture f;
  {
    Transaction first{*f.session};
    append(first, event("x"));
    f.run("COMMIT");
    Transaction second{*f.session};
    f.session->reconnect();
    CHECK(code_of([&] { first.commit(); }) == ErrorCode::foreign_commit);
  }
  CHECK(f.database.payloads() == "x");
}

TEST_CASE("events of a foreign commit do not wait for what the session itself has locked") {
  Fixture f;
  Event event_twice = event("x");
  event_twice.id = new_event_id();
  Transaction first{*f.session, {.busy_wait = std::chrono::milliseconds{10}}};
  append(first, event_twice);
  f.run("COMMIT");
  Transaction second{*f.session, {.append_at_once = true}};
  append(second, event_twice);
  try {
    first.commit();
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::foreign_commit);
    CHECK(error.message().find("could not be stored") != std::string::npos);
  }
  second.commit();
  CHECK(f.database.payloads() == "x");
}

TEST_CASE("a session in another encoding is rolled back all the same") {
  Fixture f;
  {
    Transaction tx{*f.session};
    append(tx, event("x"));
    f.run(kCharge);
    f.run("SAVEPOINT a");
    f.run("ROLLBACK TO a");
    f.run("SET client_encoding TO 'LATIN1'");
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_argument);
  }
  f.run("COMMIT");
  CHECK(f.database.balance() == "100");
}

TEST_CASE("a final failure in a transaction that the handler began itself is refused as such") {
  Fixture f;
  CHECK(f.code_of_execute([&](Transaction& tx) {
    append(tx, event("x"));
    f.run("ROLLBACK AND CHAIN");
    CHECK_THROWS(f.run("SELECT 1/0"));
    return Reply{.verdict = Verdict::final_failure};
  }) == ErrorCode::invalid_argument);
  f.run("ROLLBACK");
  CHECK(f.database.events() == "0");
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without its guard a conflict becomes a final answer") {
  CHECK_FALSE(passes_with_mutant("no_swallowed_conflict", "a final failure behind a conflict*"));
}
TEST_CASE("without its guard a handler runs its own key behind its COMMIT") {
  CHECK_FALSE(passes_with_mutant("no_running_check", "a handler that has committed cannot*"));
}
#endif
