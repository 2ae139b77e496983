// Servers that are full, stopped, restarted or read-only while the programs are at work.
#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "integration/failover/postgres_drill.h"
#include "outseal/error.h"
#include "sql/connection.h"
#include "support/paths.h"
#include "support/postgres_server.h"
#include "support/program.h"

namespace outseal::test {
namespace {

/// A server with the schema in a database `shop`.
struct Site {
  Drill drill;
  PostgresServer server{
      {.settings = {"max_connections=8", "superuser_reserved_connections=0", "max_wal_senders=0"}}};
  std::string url = server.url("shop");

  Site() {
    server.create_database("shop");
    REQUIRE(run_program({"outseal-migrate", "up", "--db", url}, drill.log()).code == 0);
  }
  std::unique_ptr<Program> start_relay(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{program_path("outseal-relay"),
                                       "run",
                                       "--db",
                                       url,
                                       "--sink",
                                       drill.sink("main"),
                                       "--backoff-max-ms",
                                       "100",
                                       "--batch-events",
                                       "20"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<Program>(
        Launch{.arguments = std::move(arguments), .folder = "/", .log = drill.log()});
  }
  std::string log() const {
    std::ifstream in{drill.log()};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  void wait_for_log(const std::string& text) const {
    wait_until(text, [&] { return log().find(text) != std::string::npos; });
  }
  void wait_for_stored(std::size_t events) const {
    wait_until("the relay to publish", [&] { return drill.stored("main").size() >= events; });
  }
  void stop(Program& relay) const {
    relay.send(SIGTERM);
    CHECK(relay.wait() == 0);
  }
  void check_all_published() const {
    CHECK(drill.drain(url, "main").code == 0);
    const Verdict verdict = drill.verify(url, "main");
    CHECK(joined(verdict.violations) == "");
    CHECK(verdict.ghosts.empty());
    CHECK(log().find(server.password()) == std::string::npos);
  }
};

}  // namespace

TEST_CASE(
    "a server that is restarted in the middle of a batch is waited for, and nothing is lost") {
  if (skipped_without_postgres()) return;
  Site site;
  site.server.execute(appending(2'000), "shop");
  const auto relay = site.start_relay();
  site.wait_for_stored(1);
  SUBCASE("in order") { site.server.stop_fast(); }
  SUBCASE("without any") { site.server.stop_immediate(); }
  SUBCASE("by a crash") { site.server.kill_hard(); }
  site.wait_for_log("event=database_failed");
  const Ended refused = site.drill.relay({"status", "--db", site.url});
  CHECK(refused.code == 3);
  CHECK(refused.says("Connection refused"));
  site.server.start();
  site.server.execute(appending(10), "shop");
  site.wait_for_stored(2'010);
  site.stop(*relay);
  site.check_all_published();
}

TEST_CASE("a server without a free connection is an error at the start, and waited for later") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto relay = site.start_relay();
  site.server.execute(appending(3), "shop");
  site.wait_for_stored(3);
  std::vector<std::unique_ptr<sql::Connection>> others;
  const auto take_all = [&] {
    try {
      while (true) others.push_back(sql::open(Url::parse("--db", site.server.url())));
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::unreachable);
      CHECK(error.hint().find("all connections are taken") != std::string::npos);
    }
  };
  take_all();
  const Ended refused = site.drill.relay({"status", "--db", site.url});
  CHECK(refused.code == 3);
  CHECK(refused.says("too many clients"));
  CHECK(refused.says("all connections are taken"));

  // The relay loses its own, and somebody else takes it.
  others.back()->execute(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
      " WHERE datname = 'shop' AND backend_type = 'client backend'");
  take_all();
  site.wait_for_log("event=database_failed");
  others.clear();
  wait_until("the server to have a free connection", [&] {
    try {
      site.server.execute(appending(3), "shop");
      return true;
    } catch (const std::exception&) {
      return false;  // Its processes end a little later than their connections.
    }
  });
  site.wait_for_stored(6);
  site.stop(*relay);
  site.check_all_published();
}

TEST_CASE("a relay stops when its database is made read-only, and goes on where it was") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto relay = site.start_relay();
  site.server.execute(appending(3), "shop");
  site.wait_for_stored(3);
  site.server.execute("ALTER SYSTEM SET default_transaction_read_only = on");
  site.server.execute("SELECT pg_reload_conf()");
  CHECK(relay->wait() == 5);
  CHECK(site.log().find("default_transaction_read_only") != std::string::npos);
  const auto admin = sql::open(Url::parse("--db", site.url));
  admin->execute("SET default_transaction_read_only = off");
  admin->execute("ALTER SYSTEM RESET default_transaction_read_only");
  admin->execute("SELECT pg_reload_conf()");
  wait_until("the server to be written again",
             [&] { return site.server.execute("SHOW default_transaction_read_only") == "off"; });
  site.server.execute(appending(3), "shop");
  site.check_all_published();
}

}  // namespace outseal::test
