// A server that ends all of its sessions because one of its processes has crashed.
#include <chrono>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_fixture.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

/// A server of its own, which may crash.
struct Site {
  PostgresServer server;
  std::string name = server.fresh_database();

  Site() {
    const auto connection = sql::open(Url::parse("--db", server.url(name)));
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
    connection->execute(
        "CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);"
        "INSERT INTO account VALUES (1, 100)");
  }
  std::unique_ptr<soci::session> session() const {
    return std::make_unique<soci::session>(soci::postgresql, server.conninfo(name));
  }
};

/// Of a session that has been used and is idle when the server crashes.
ErrorCode code_after_crash(const std::function<void(soci::session&)>& call) {
  Site site;
  const auto session = site.session();
  std::ignore = execute(*session, operation("before"), charging(*session));
  site.server.stop_immediate();
  site.server.start();
  const ErrorCode code = code_of([&] { call(*session); });
  const auto anew = site.session();
  CHECK(execute(*anew, operation("after"), charging(*anew)).outcome == Outcome::executed);
  return code;
}

}  // namespace

TEST_CASE("a session that a crash has ended is unreachable to the next call") {
  if (skipped_without_postgres()) return;
  const auto never = [](Transaction&) -> Reply { throw std::logic_error{"it began"}; };
  CHECK(code_after_crash([&](soci::session& session) {
          std::ignore = execute(session, operation("k"), never);
        }) == ErrorCode::unreachable);
  CHECK(code_after_crash([](soci::session& session) { Transaction{session}; }) ==
        ErrorCode::unreachable);
  CHECK(code_after_crash([](soci::session& session) {
          std::ignore = find(session, operation("before"));
        }) == ErrorCode::unreachable);
}

TEST_CASE("a crash between a charge and its record leaves the next attempt to resume it") {
  if (skipped_without_postgres()) return;
  Site site;
  int calls = 0;
  const Effect effect{.name = "charge",
                      .request = "amount=5",
                      .provider = {.name = "test", .replays = Replays::any, .window = 24h},
                      .policies = {Policy::rerun},
                      .call = [&](EffectCall&) {
                        if (++calls == 1) {
                          site.server.stop_immediate();
                          site.server.start();
                        }
                        return CallResult{.verdict = CallResult::Verdict::applied};
                      }};
  const auto session = site.session();
  const auto pay = [&](soci::session& on) {
    return execute(on, operation("k"), effect,
                   [&](Transaction& tx, const EffectOutcome&) { return charging(on)(tx); });
  };
  const ErrorCode code = code_of([&] { std::ignore = pay(*session); });
  CHECK((code == ErrorCode::unreachable || code == ErrorCode::commit_in_doubt));
  site.server.execute("UPDATE outseal.idempotency SET lease_until = now()", site.name);
  const auto anew = site.session();
  CHECK(pay(*anew).outcome == Outcome::executed);
  CHECK(calls == 2);
  CHECK(site.server.execute("SELECT balance FROM account", site.name) == "95");
}
