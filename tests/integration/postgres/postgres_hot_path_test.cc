// What outseal costs a service on PostgreSQL, counted on the wire, and what it does when a commit
// fails. More cases of the same program: postgres_*_cases.cc.
#include <functional>
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/wire_proxy.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// A session whose messages are counted.
struct Counted {
  PostgresDatabase database;
  WireProxy wire{shared_server().port()};
  std::unique_ptr<soci::session> session = database.session(wire.conninfo());

  /// Round trips of `call`; all that goes over the wire in `seen`.
  int trips(const std::function<void()>& call, WireProxy::Seen* seen = nullptr) {
    wire.take();
    call();
    const WireProxy::Seen all = wire.take();
    CHECK(all.syncs == all.round_trips);
    if (seen != nullptr) *seen = all;
    return all.round_trips;
  }
};

/// One business statement and `events` events in a transaction.
void transact(soci::session& session, std::size_t events, bool named = true) {
  Transaction tx{session, {.named_statements = named}};
  session << kCharge;
  append(tx, std::vector<Event>(events, event("x")));
  tx.commit();
}

}  // namespace

TEST_CASE("events cost no round trip, however many they are, and one statement") {
  Counted c;
  CHECK(c.trips([&] {
    soci::transaction bare{*c.session};
    *c.session << kCharge;
    bare.commit();
  }) == 3);
  CHECK(c.trips([&] { transact(*c.session, 0); }) == 3);
  for (const bool named : {true, false}) {
    CAPTURE(named);
    WireProxy::Seen seen;
    // The first time, too: PREPARE travels with the rest.
    for (int i = 0; i < 2; ++i) {
      CHECK(c.trips([&] { transact(*c.session, 1, named); }, &seen) == 3);
      CHECK(seen.tags ==
            std::vector<std::string>{"BEGIN", "SELECT 1", "UPDATE 1", "SELECT 1", "COMMIT"});
      CHECK(c.trips([&] { transact(*c.session, 50, named); }, &seen) == 3);
      CHECK(seen.tags ==
            std::vector<std::string>{"BEGIN", "SELECT 1", "UPDATE 1", "SELECT 1", "COMMIT"});
    }
  }
  CHECK(c.database.events() == "204");
}

TEST_CASE("an operation costs as many round trips as its bare transaction, a replay two") {
  Counted c;
  int keys = 0;
  for (const bool named : {true, false}) {
    CAPTURE(named);
    const ExecuteOptions options{.named_statements = named};
    for (int i = 0; i < 2; ++i) {
      const Operation key = operation(std::to_string(++keys));
      WireProxy::Seen seen;
      CHECK(c.trips([&] { return execute(*c.session, key, charging(*c.session), options); },
                    &seen) == 3);
      CHECK(seen.tags == std::vector<std::string>{"BEGIN", "SELECT 1", "SAVEPOINT", "UPDATE 1",
                                                  "SELECT 1", "COMMIT"});
      CHECK(c.trips([&] { return execute(*c.session, key, charging(*c.session), options); }) == 2);
      const Operation failing = operation(std::to_string(++keys));
      const Handler failure = charging(*c.session, {.verdict = Verdict::final_failure});
      CHECK(c.trips([&] { return execute(*c.session, failing, failure, options); }) == 4);
    }
  }
  CHECK(c.database.events() == "4");
}

TEST_CASE("a joined transaction pays one round trip for each append") {
  Counted c;
  const auto joined = [&](std::size_t events) {
    soci::transaction own{*c.session};
    *c.session << kCharge;
    Transaction tx = Transaction::join(*c.session);
    append(tx, std::vector<Event>(events, event("x")));
    tx.commit();
    own.commit();
  };
  joined(1);
  joined(50);  // The first time a statement is prepared in a round trip of its own.
  CHECK(c.trips([&] { joined(0); }) == 3);
  CHECK(c.trips([&] { joined(1); }) == 4);
  CHECK(c.trips([&] { joined(50); }) == 4);
  CHECK(c.database.events() == "102");
}

TEST_CASE("an event that the database refuses fails the commit, and nothing is committed") {
  PostgresDatabase database;
  const auto session = database.session();
  Event twice = event("x");
  twice.id = new_event_id();
  const auto run = [&](const Event& last) {
    Transaction tx{*session};
    *session << kCharge;
    append(tx, event("first"));
    append(tx, last);
    return code_of([&] { tx.commit(); });
  };
  transact(*session, 1);
  {
    Transaction tx{*session};
    append(tx, twice);
    tx.commit();
  }
  CHECK(run(twice) == ErrorCode::constraint);
  database.value("ALTER TABLE outseal.outbox ADD CONSTRAINT no_y CHECK (topic <> 'y')");
  Event refused = event("x");
  refused.topic = "y";
  CHECK(run(refused) == ErrorCode::constraint);
  {
    const auto appending = [&](Transaction& tx) {
      append(tx, refused);
      return Reply{};
    };
    CHECK(code_of([&] { return execute(*session, operation("k"), appending); }) ==
          ErrorCode::constraint);
  }
  CHECK(database.events() == "2");
  CHECK(database.balance() == "95");
  CHECK(database.value("SELECT count(*) FROM outseal.idempotency") == "0");
  transact(*session, 2);  // The session is as good as new, and so are its prepared statements.
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::executed);
  CHECK(database.events() == "5");
}

TEST_CASE("a session is free again after a transaction that could not begin") {
  PostgresDatabase database;
  const auto session = database.session();
  database.value("ALTER SCHEMA outseal RENAME TO away");
  CHECK(code_of([&] { return execute(*session, operation("k"), charging(*session)); }) ==
        ErrorCode::schema_missing);
  CHECK(code_of([&] { transact(*session, 1); }) == ErrorCode::schema_missing);
  database.value("ALTER SCHEMA away RENAME TO outseal");
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::executed);
  transact(*session, 1);
}

TEST_CASE("prepared statements outlive rollbacks and are prepared again when they are gone") {
  PostgresDatabase database;
  const auto session = database.session();
  {
    Transaction undone{*session};
    *session << "SAVEPOINT s";
    append(undone, event("never"));  // Prepares.
  }
  transact(*session, 1);
  for (const char* gone : {"DEALLOCATE ALL", "DISCARD ALL"}) {
    *session << gone;
    transact(*session, 1);
    std::ignore = execute(*session, operation(gone), charging(*session));
    transact(*session, 2);
  }
  {
    Transaction tx{*session};
    *session << "DEALLOCATE ALL";  // In the middle.
    append(tx, event("x"));
    tx.commit();
  }
  // SOCI deallocates its own statements, by name.
  for (int i = 0; i < 3; ++i) {
    Transaction tx{*session};
    {
      const int id = 1;
      soci::statement charge =
          (session->prepare << "UPDATE account SET balance = balance - 1 WHERE id = :id",
           soci::use(id));
      charge.execute(true);
    }
    append(tx, event("x"));
    tx.commit();
  }
  session->reconnect();
  transact(*session, 1);
  std::ignore = execute(*session, operation("k"), charging(*session));
  session->close();
  session->open(soci::postgresql, shared_server().conninfo(database.name()));
  transact(*session, 1);
  CHECK(database.events() == "16");
}
