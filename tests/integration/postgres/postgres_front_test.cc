// What the status of an operation costs on PostgreSQL, who may ask for it, and what run() and a
// poller do about connections that are lost.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <tuple>

#include "integration/postgres/postgres_fixture.h"
#include "outseal/run.h"
#include "outseal/status.h"
#include "support/wire_proxy.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

const RetryPolicy kQuick{.backoff = 1ms, .backoff_max = 2ms};

OperationKey key_of(const Operation& operation) {
  return {.scope = operation.scope, .principal = operation.principal, .key = operation.key};
}

/// Ends the server's side of `session`.
void terminate(const PostgresDatabase& database, soci::session& session) {
  int pid = 0;
  session << "SELECT pg_backend_pid()", soci::into(pid);
  database.value("SELECT pg_terminate_backend(" + std::to_string(pid) + ", 10000)");
}

/// A service whose connections are opened by the library, and counted.
struct Service {
  explicit Service(const PostgresDatabase& shop, std::string way = "")
      : database{shop}, more{std::move(way)} {}
  const PostgresDatabase& database;
  std::string more;
  std::unique_ptr<soci::session> session = {};
  std::atomic<int> opened = 0;

  SessionOpener opener() {
    return [this]() -> Session {
      ++opened;
      session = database.session(more);
      return *session;
    };
  }
};

void add_effect(const PostgresDatabase& database) {
  database.value(
      "INSERT INTO outseal.effect (operation, name, request_hash, provider, provider_key, policies,"
      " state, intended_at) SELECT key_hash, 'charge', fingerprint, 'p', 'k', 'hand_over',"
      " 'confirmed', now() FROM outseal.idempotency");
}

}  // namespace

TEST_CASE("a status is one round trip, whatever there is to tell") {
  PostgresDatabase database;
  WireProxy wire{shared_server().port()};
  const auto session = database.session(wire.conninfo());
  for (const bool named : {true, false}) {
    CAPTURE(named);
    const Operation done = operation(named ? "named" : "not named");
    std::ignore = status(*session, key_of(done), {.named_statements = named});  // Prepares.
    const auto trips = [&](const OperationKey& key, OperationState expected) {
      wire.take();
      CHECK(status(*session, key, {.named_statements = named}).state == expected);
      CHECK(wire.take().round_trips == 1);
    };
    trips(key_of(done), OperationState::absent);
    std::ignore = execute(*session, done, charging(*session));
    trips(key_of(done), OperationState::succeeded);
    database.value("DELETE FROM outseal.effect");
    add_effect(database);
    trips(key_of(done), OperationState::succeeded);
  }
}

TEST_CASE("a producer may ask for a status, also of what others execute") {
  PostgresDatabase database;
  const auto runner = database.session();
  const auto asker = database.session();
  *asker << "SET ROLE outseal_producer";
  const Operation running = operation("k");
  std::ignore = execute(*runner, running, [&](Transaction&) {
    CHECK(status(*asker, key_of(running)).state == OperationState::in_progress);
    return Reply{};
  });
  CHECK(status(*asker, key_of(running)).state == OperationState::succeeded);
}

TEST_CASE("an operation whose connection is lost is run again, and takes effect once") {
  PostgresDatabase database;
  Service service{database};
  int calls = 0;
  const Handler dying = [&](Transaction& tx) {
    *service.session << kCharge;
    append(tx, event("charged"));
    if (++calls < 3) terminate(database, *service.session);
    if (calls == 1) *service.session << kCharge;  // It notices.
    return Reply{};
  };
  CHECK(run(service.opener(), operation("k"), dying, kQuick).outcome == Outcome::executed);
  CHECK(calls == 3);
  CHECK(service.opened == 3);
  CHECK(database.balance() == "95");
  CHECK(database.payloads() == "charged");
}

TEST_CASE("a commit in doubt is found out by the next attempt") {
  for (const WireProxy::Cut cut : {WireProxy::Cut::before_commit, WireProxy::Cut::after_commit}) {
    const bool happened = cut == WireProxy::Cut::after_commit;
    CAPTURE(happened);
    PostgresDatabase database;
    WireProxy wire{shared_server().port()};
    Service service{database, wire.conninfo()};
    wire.cut(cut);
    const auto result = run(
        service.opener(), operation("k"),
        [&](Transaction& tx) {
          *service.session << kCharge;
          append(tx, event("charged"));
          return Reply{};
        },
        kQuick);
    CHECK(result.outcome == (happened ? Outcome::replayed : Outcome::executed));
    CHECK(service.opened == 2);
    CHECK(database.balance() == "95");
    CHECK(database.payloads() == "charged");
  }
}

TEST_CASE("a poller whose connection is lost opens another one") {
  PostgresDatabase database;
  const auto runner = database.session();
  Service service{database};
  StatusPoller poller{service.opener(), {.interval_min = 1ms, .interval_max = 2ms}};
  const auto never = std::chrono::steady_clock::now() + 10min;
  std::jthread waiter;
  std::ignore = execute(*runner, operation("k"), [&](Transaction&) {
    waiter = std::jthread{[&] {
      CHECK(poller.wait(key_of(operation("k")), never).state == OperationState::succeeded);
    }};
    const auto killed = [&] {
      return database.value(
          "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname ="
          " current_database() AND query LIKE '%is_locked%' AND pid <> pg_backend_pid()");
    };
    while (killed() == "0") std::this_thread::yield();
    while (service.opened < 2) std::this_thread::yield();
    return Reply{};
  });
  waiter.join();
  CHECK(service.opened >= 2);
}
