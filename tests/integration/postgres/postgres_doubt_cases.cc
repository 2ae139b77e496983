// Connections that are lost: what is certain is said, what is not is found out by the same key.
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/wire_proxy.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// Ends the server's side of `session`.
void terminate(const PostgresDatabase& database, soci::session& session) {
  int pid = 0;
  session << "SELECT pg_backend_pid()", soci::into(pid);
  database.value("SELECT pg_terminate_backend(" + std::to_string(pid) + ", 10000)");
}

}  // namespace

TEST_CASE("a commit whose answer is lost is in doubt, and the same key finds out") {
  for (const WireProxy::Cut cut : {WireProxy::Cut::before_commit, WireProxy::Cut::after_commit}) {
    const bool happened = cut == WireProxy::Cut::after_commit;
    CAPTURE(happened);
    PostgresDatabase database;
    WireProxy wire{shared_server().port()};
    const auto session = database.session(wire.conninfo());
    for (const bool named : {true, false}) {
      wire.cut(cut);
      const Operation key = operation(named ? "named" : "not named");
      const auto once_more = [&] {
        return execute(*session, key, charging(*session), {.named_statements = named});
      };
      CHECK(code_of(once_more) == ErrorCode::commit_in_doubt);
      session->reconnect();
      CHECK(once_more().outcome == (happened ? Outcome::replayed : Outcome::executed));
      CHECK(once_more().outcome == Outcome::replayed);
    }
    CHECK(database.balance() == "90");
    CHECK(database.payloads() == "charged charged");
  }
}

TEST_CASE("a transaction whose commit is lost is in doubt, with events and without") {
  for (const bool appends : {false, true}) {
    PostgresDatabase database;
    WireProxy wire{shared_server().port()};
    for (const WireProxy::Cut cut : {WireProxy::Cut::before_commit, WireProxy::Cut::after_commit}) {
      const auto session = database.session(wire.conninfo());
      Transaction tx{*session};
      *session << kCharge;
      if (appends) append(tx, event("x"));
      wire.cut(cut);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::commit_in_doubt);
    }
    CHECK(database.balance() == "95");
    CHECK(database.events() == (appends ? "1" : "0"));
  }
}

TEST_CASE("a session that the server ends before the commit has committed nothing, for certain") {
  PostgresDatabase database;
  const auto session = database.session();
  // The handler does not notice, it notices, and it notices and says nothing.
  const std::vector<Handler> handlers{[&](Transaction& tx) {
                                        *session << kCharge;
                                        append(tx, event("x"));
                                        terminate(database, *session);
                                        return Reply{};
                                      },
                                      [&](Transaction& tx) {
                                        append(tx, event("x"));
                                        terminate(database, *session);
                                        *session << kCharge;
                                        return Reply{};
                                      },
                                      [&](Transaction&) {
                                        terminate(database, *session);
                                        CHECK_THROWS(*session << kCharge);
                                        return Reply{};
                                      }};
  for (const Handler& handler : handlers) {
    try {
      std::ignore = execute(*session, operation("k"), handler);
      FAIL("no error was thrown");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::unreachable);
      CHECK(error.recovery() == Recovery::reconnect);
      CHECK_FALSE(error.hint().empty());
    }
    session->reconnect();
  }
  {
    Transaction tx{*session};
    *session << kCharge;
    append(tx, event("x"));
    terminate(database, *session);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
  }
  CHECK(code_of([&] { Transaction tx{*session}; }) == ErrorCode::unreachable);
  session->reconnect();
  CHECK(database.events() == "0");
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::executed);
  CHECK(database.balance() == "95");
}
