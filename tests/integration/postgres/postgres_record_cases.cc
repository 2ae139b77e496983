// Idempotency records on PostgreSQL: whose clock ends them, and what keeps them beyond their time.
#include <optional>
#include <thread>
#include <tuple>

#include "integration/postgres/postgres_fixture.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// A record whose time has passed, of an operation with one effect.
struct Past {
  PostgresDatabase database;
  std::unique_ptr<soci::session> session = database.session();

  Past() {
    std::ignore = execute(*session, operation("k"), charging(*session));
    database.value(
        "UPDATE outseal.idempotency SET fence = 1, purge_at = to_timestamp(1),"
        " expires_at = to_timestamp(1)");
    database.value(
        "INSERT INTO outseal.effect (operation, name, request_hash, provider, provider_key,"
        " policies, state, intended_at) SELECT key_hash, 'charge', fingerprint, 'p', 'k',"
        " 'hand_over', 'confirmed', now() FROM outseal.idempotency");
  }

  /// Opens the effect anew, as an operator does, up to the COMMIT.
  std::unique_ptr<soci::session> dispute() const {
    auto deciding = database.session();
    *deciding << "BEGIN";
    *deciding << "SELECT FROM outseal.idempotency FOR UPDATE";
    *deciding << "UPDATE outseal.effect SET state = 'disputed'";
    return deciding;
  }
  Outcome pay() const { return execute(*session, operation("k"), charging(*session)).outcome; }
};

}  // namespace

TEST_CASE("a retention ends by the clock and not by the beginning of a transaction") {
  PostgresDatabase database;
  const auto session = database.session();
  std::ignore = execute(*session, operation("k"), charging(*session));
  Transaction tx{*session};
  CHECK(find(*session, operation("k"))->outcome == Outcome::replayed);
  database.value("UPDATE outseal.idempotency SET purge_at = clock_timestamp()");
  CHECK(find(*session, operation("k"))->outcome == Outcome::expired);
  database.value("UPDATE outseal.idempotency SET expires_at = clock_timestamp()");
  CHECK_FALSE(find(*session, operation("k")).has_value());
}

TEST_CASE("a purge passes over a record of which an effect is opened anew") {
  const Past past;
  const auto deciding = past.dispute();
  CHECK(purge_operations(*past.session).records == 0);
  *deciding << "COMMIT";
  CHECK(purge_operations(*past.session).records == 0);
  CHECK(past.pay() == Outcome::expired);
  past.database.value("UPDATE outseal.effect SET state = 'confirmed'");
  CHECK(purge_operations(*past.session).records == 1);
  CHECK(past.database.value("SELECT count(*) FROM outseal.effect") == "0");
  CHECK(past.pay() == Outcome::executed);
}

TEST_CASE("an execution whose key came back while it ran commits nothing") {
  const Past past;
  const auto deciding = past.dispute();
  std::optional<Outcome> outcome;
  std::thread executing{[&] { outcome = past.pay(); }};
  // It has found the record expired, has run its handler, and is about to replace the record.
  wait_until("the execution to wait for the record", [&] {
    return past.database.value(
               "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
               " AND datname = current_database()") == "1";
  });
  *deciding << "COMMIT";
  executing.join();
  CHECK(outcome == Outcome::expired);
  CHECK(past.database.balance() == "95");
  CHECK(past.database.value("SELECT count(*) FROM outseal.effect") == "1");
}
