// Behind PgBouncer in transaction mode: each transaction may meet another session of the server.
#include <signal.h>

#include <atomic>
#include <thread>
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/paths.h"
#include "support/pgbouncer.h"
#include "support/program.h"
#include "support/temp_folder.h"
#include "support/wire_proxy.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// True, and says so, if there is no PgBouncer on this machine.
bool skipped_without_pgbouncer() {
  if (pgbouncer_is_installed()) return false;
  MESSAGE("LEFT OUT: pgbouncer is not installed");
  return true;
}

/// As PgBouncer's url(), the way SOCI wants it.
std::string conninfo(const PgBouncer& pooler) {
  return " host=127.0.0.1 port=" + std::to_string(pooler.port());
}

}  // namespace

TEST_CASE("services append and execute through a transaction pooler without named statements") {
  if (skipped_without_pgbouncer()) return;
  PostgresDatabase database;
  const PgBouncer pooler{shared_server(), 2};
  constexpr int kThreads = 6;
  constexpr int kRounds = 30;
  std::atomic<int> executed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      const auto session = database.session(conninfo(pooler));
      for (int round = 0; round < kRounds; ++round) {
        {
          Transaction tx{*session, {.named_statements = false}};
          append(tx, event("a"));
          *session << "SAVEPOINT s";
          append(tx, std::vector<Event>{event("b"), event("c")});
          tx.commit();
        }
        // Two threads share a key.
        const auto result =
            execute(*session, operation(std::to_string(i / 2) + "." + std::to_string(round)),
                    charging(*session), {.named_statements = false});
        if (result.outcome == Outcome::executed) ++executed;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(executed == kThreads / 2 * kRounds);
  CHECK(database.events() == std::to_string(kThreads * kRounds * 3 + kThreads / 2 * kRounds));
}

TEST_CASE("a commit whose answer a pooler has lost is in doubt, and the same key finds out") {
  if (skipped_without_pgbouncer()) return;
  PostgresDatabase database;
  WireProxy wire{shared_server().port()};
  const PgBouncer pooler{shared_server(), 2, wire.port()};
  const auto session = database.session(conninfo(pooler));
  for (const WireProxy::Cut cut : {WireProxy::Cut::before_commit, WireProxy::Cut::after_commit}) {
    const bool happened = cut == WireProxy::Cut::after_commit;
    CAPTURE(happened);
    const Operation key = operation(happened ? "happened" : "did not");
    const auto once_more = [&] {
      return execute(*session, key, charging(*session), {.named_statements = false});
    };
    wire.cut(cut);
    CHECK(code_of(once_more) == ErrorCode::commit_in_doubt);
    session->reconnect();
    CHECK(once_more().outcome == (happened ? Outcome::replayed : Outcome::executed));
  }
  CHECK(database.balance() == "90");
  CHECK(database.payloads() == "charged charged");
}

TEST_CASE("named statements behind a transaction pooler fail with a hint at the option") {
  if (skipped_without_pgbouncer()) return;
  PostgresDatabase database;
  const PgBouncer pooler{shared_server(), 1};
  const auto one = database.session(conninfo(pooler));
  const auto two = database.session(conninfo(pooler));
  std::ignore = execute(*one, operation("a"), charging(*one));
  try {
    std::ignore = execute(*two, operation("b"), charging(*two));
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.recovery() == Recovery::fix_first);
    CHECK(error.hint().find("named_statements = false") != std::string::npos);
  }
  // Nothing is left behind, not even on the session that all share.
  CHECK(execute(*two, operation("b"), charging(*two), {.named_statements = false}).outcome ==
        Outcome::executed);
  CHECK(database.events() == "2");
}

TEST_CASE("a relay leads, publishes and hands over through a transaction pooler") {
  if (skipped_without_pgbouncer()) return;
  PostgresDatabase database;
  const PgBouncer pooler{shared_server(), 2};
  const TempFolder folder;
  const auto session = database.session(conninfo(pooler));
  const auto append_some = [&](int count) {
    for (int i = 0; i < count; ++i) {
      Transaction tx{*session, {.named_statements = false}};
      append(tx, event(std::to_string(i)));
      tx.commit();
    }
  };
  const auto relay = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{
        program_path("outseal-relay"), "run",    "--db",
        pooler.url(database.name()),   "--sink", "file:" + folder.file("events.ndjson")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Launch{
        .arguments = arguments, .folder = folder.path().string(), .log = folder.file("relay.log")};
  };
  const auto acknowledged = [&](int position) {
    return database.value("SELECT acked_position FROM outseal.subscription") ==
           std::to_string(position);
  };
  append_some(20);
  run(relay({"--drain"}));
  CHECK(acknowledged(20));
  Program leader{relay({})};
  append_some(20);
  wait_until("the relay to publish", [&] { return acknowledged(40); });
  Program follower{relay({})};
  append_some(20);
  wait_until("the relay to publish", [&] { return acknowledged(60); });
  leader.send(SIGTERM);
  CHECK(leader.wait() == 0);
  append_some(20);
  wait_until("the other relay to take over", [&] { return acknowledged(80); });
  follower.send(SIGTERM);
  CHECK(follower.wait() == 0);
  const std::string end = end_of_log(folder.file("events.ndjson"));
  CHECK(end.find(R"("sequence":"00000000000000000080")") != std::string::npos);
}
