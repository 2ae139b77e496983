// The order of events on PostgreSQL, where they are deferred until COMMIT: beside triggers, SQL and
// joined transactions, and after returns to savepoints.
#include <string>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

namespace {

struct Fixture : ServiceFixture {
  /// As a service that may not read the outbox.
  Fixture() {
    database.value("GRANT ALL ON account, note TO outseal_producer");
    run("SET ROLE outseal_producer");
  }
};

}  // namespace

TEST_CASE("events stand in the order of their appends, or the commit says what to do") {
  Fixture f;
  f.database.value(
      "CREATE FUNCTION paid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
      " PERFORM outseal.append('t', '', 'x', 'trigger'::text, content_type => 'text/plain');"
      " RETURN NEW; END $$;"
      "CREATE TRIGGER paid AFTER UPDATE ON account FOR EACH ROW EXECUTE FUNCTION paid()");
  const auto by_sql = [&] {
    f.run("SELECT outseal.append('t', '', 'x', 'sql'::text, content_type => 'text/plain')");
  };
  const auto transaction = [&](bool at_once, bool savepoint) {
    Transaction tx{*f.session, {.append_at_once = at_once}};
    append(tx, event("first"));
    if (savepoint) f.run("SAVEPOINT a");
    f.run(kCharge);
    append(tx, event("second"));
    by_sql();
    append(tx, event("third"));
    tx.commit();
  };
  for (const bool savepoint : {false, true}) {
    f.database.value("DELETE FROM outseal.outbox");
    CHECK(code_of([&] { transaction(false, savepoint); }) == ErrorCode::invalid_config);
    CHECK(f.database.events() == "0");
    transaction(true, savepoint);
    CHECK(f.database.payloads() == "first trigger second sql third");
  }
  CHECK(f.database.balance() == "90");
  f.database.value("DELETE FROM outseal.outbox");
  {
    Transaction tx{*f.session};  // Nothing is newer than an event that is appended last.
    f.run(kCharge);
    append(tx, event("last"));
    tx.commit();
    CHECK(f.database.payloads() == "trigger last");
  }
  {
    Transaction tx{*f.session};  // More than is put off, and then a trigger.
    for (int i = 0; i < 1'500; ++i) append(tx, event("x"));
    f.run(kCharge);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_config);
  }
  {
    Transaction tx{*f.session};
    for (int i = 0; i < 1'500; ++i) append(tx, event("x"));
    f.run("SELECT 1");
    tx.commit();
  }
  CHECK(f.database.events() == "1502");
}

TEST_CASE("a joined transaction's events stand in the order of all appends") {
  Fixture f;
  {
    Transaction tx{*f.session};
    append(tx, event("1"));
    f.run(kCharge);
    {
      Transaction joined = Transaction::join(*f.session);
      append(joined, event("2"));
      joined.commit();
    }
    append(tx, event("3"));
    f.run("SAVEPOINT a");
    Transaction inner = Transaction::join(*f.session);
    append(inner, event("4"));
    append(tx, event("5"));
    tx.commit();
    CHECK(code_of([&] { append(inner, event("6")); }) == ErrorCode::invalid_argument);
  }
  CHECK(f.database.payloads() == "1 2 3 4 5");
  f.database.value("DELETE FROM outseal.outbox");
  f.run("BEGIN");  // Begun by the service: at once, beside SQL of its own.
  Transaction joined = Transaction::join(*f.session);
  append(joined, event("1"));
  f.run("SELECT outseal.append('t', '', 'x', '2'::text, content_type => 'text/plain')");
  append(joined, event("3"));
  f.run("COMMIT");
  CHECK(f.database.payloads() == "1 2 3");
}

TEST_CASE("an event id that another transaction took during a return to a savepoint is refused") {
  Fixture f;
  const auto other = f.database.session();
  Event charged = event("charged");
  charged.id = new_event_id();
  Transaction first{*f.session};
  f.run(kCharge);
  append(first, charged);
  f.run("SAVEPOINT o");
  append(first, event("note"));
  f.run("ROLLBACK TO o");
  {
    Transaction second{*other};
    *other << "UPDATE account SET balance = balance - 5 WHERE id = 2";
    append(second, charged);
    second.commit();
  }
  CHECK(code_of([&] { first.commit(); }) == ErrorCode::constraint);
  first.rollback();
  CHECK(f.database.payloads() == "charged");
  CHECK(f.database.balance() == "100");
}

TEST_CASE("a span of any size is written in parts") {
  Fixture f;
  std::vector<Event> events(20, event(std::string(300U << 10U, 'x')));
  f.run("BEGIN");
  f.database.value(
      "CREATE TABLE part (rows int); GRANT ALL ON part TO outseal_producer; CREATE FUNCTION part() "
      "RETURNS trigger"
      " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO part SELECT count(*) FROM added;"
      " RETURN NULL; END $$; CREATE TRIGGER part AFTER INSERT ON outseal.outbox"
      " REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION part()");
  {
    Transaction joined = Transaction::join(*f.session);
    append(joined, events);
  }
  f.run("COMMIT");
  CHECK(f.database.events() == "20");
  CHECK(f.database.value("SELECT max(rows) FROM part") == "3");
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without the proof of order newer events come first") {
  CHECK_FALSE(passes_with_mutant("no_order_check", "events stand in the order of their appends*"));
}
#endif

TEST_CASE("an operation whose SQL appends as well writes its events at once") {
  ServiceFixture f;
  const Handler handler = [&](Transaction& tx) {
    append(tx, event("first"));
    f.run("SELECT outseal.append('t', 'k', 'x', 'second')");
    append(tx, event("third"));
    return Reply{};
  };
  CHECK(code_of([&] { return execute(*f.session, operation("k"), handler); }) ==
        ErrorCode::invalid_config);
  CHECK(execute(*f.session, operation("k"), handler, {.append_at_once = true}).outcome ==
        Outcome::executed);
  CHECK(f.database.payloads() == "first second third");
}
