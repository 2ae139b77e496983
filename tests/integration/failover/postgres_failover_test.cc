// Drills: a lagging standby is promoted, with a sink that has more than it ever heard of.
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "integration/failover/postgres_drill.h"
#include "support/paths.h"
#include "support/pgbouncer.h"
#include "support/postgres_server.h"
#include "support/program.h"

namespace outseal::test {
namespace {

/// A primary with the schema in a database `shop`.
struct Site {
  Drill drill;
  PostgresServer primary{{.settings = {"max_prepared_transactions=5"}}};

  Site() {
    primary.create_database("shop");
    const Ended up =
        run_program({"outseal-migrate", "up", "--db", primary.url("shop")}, drill.log());
    REQUIRE(up.code == 0);
  }
  void append(const PostgresServer& server, int count, const std::string& topic = "t") const {
    server.execute(appending(count, topic), "shop");
  }
  std::string count(const PostgresServer& server, const std::string& what) const {
    return server.execute("SELECT count(*) FROM " + what, "shop");
  }
};

/// A primary that goes on, in two sinks, beyond what its standby hears of; its last events are
/// published only if `lost`.
std::unique_ptr<PostgresServer> leave_behind(Site& site, bool lost) {
  const Drill& drill = site.drill;
  const std::string url = site.primary.url("shop");
  site.append(site.primary, 20);
  REQUIRE(drill.drain(url, "main").code == 0);
  REQUIRE(drill.drain(url, "other").code == 0);
  auto standby = site.primary.make_standby();
  // It hears of a batch that is bound, and of events that are not.
  site.append(site.primary, 12);
  drill.bind(url, "main", 5, 3);
  standby->wait_for_replay(site.primary);
  standby->stop_following();
  // Not of the end of that batch, of others, and of the last events.
  drill.publish(url, "main", 4);
  site.append(site.primary, 60);
  drill.publish(url, "other", 2);
  if (!lost) return standby;
  drill.publish(url, "main", 8);   // The last 3 that the standby knows of,
  drill.publish(url, "main", 45);  // and 45 others.
  return standby;
}

/// Nothing is published where it could be twice, and each refusal names the way out.
void check_refused(const Drill& drill, const std::string& url, const std::string& why) {
  for (const std::string name : {"main", "other"}) {
    const Ended refused = drill.drain(url, name);
    CHECK(refused.code == 5);
    CHECK(refused.says(why));
  }
}

void check_findings(const Drill& drill, const std::string& url, std::size_t ghosts) {
  const auto findings = drill.findings(url);
  CHECK(findings.size() == ghosts);
  for (const std::string& finding : findings) {
    INFO(finding);
    CHECK(finding.starts_with("journal_sink main@"));
    CHECK(finding.ends_with(" ghost"));
  }
}

}  // namespace

TEST_CASE("after a failover nothing is published twice and nothing that is left is lost") {
  if (skipped_without_postgres()) return;
  Site site;
  const Drill& drill = site.drill;
  std::size_t lost = 0;
  SUBCASE("the sink has events that the new primary lost") { lost = 45; }
  SUBCASE("the sink has none of them") {}
  const auto standby = leave_behind(site, lost > 0);
  const std::string url = standby->url("shop");
  const std::size_t published = drill.stored("main").size();
  CHECK(published == (lost > 0 ? 77 : 29));

  check_refused(drill, url, "the database is a standby");
  CHECK(drill.rebase(url, "main").code == 5);
  site.primary.stop_immediate();
  standby->promote();
  site.append(*standby, 9);  // Before the rebase: nobody tells the producers to wait.
  // The new events have numbers that the lost ones had.
  CHECK(site.count(*standby, "outseal.outbox WHERE seq BETWEEN 33 AND 77") != "0");
  check_refused(drill, url, "timeline 2");
  check_refused(drill, url, "outseal-relay rebase");
  CHECK(drill.stored("main").size() == published);

  const Ended rebased = drill.rebase(url, "main");
  INFO(rebased.output);
  CHECK(rebased.code == (lost > 0 ? 1 : 0));
  CHECK(rebased.says("\"needed\":true,\"translated\":false,\"acked\":20"));
  CHECK(rebased.says("\"tail\":" + std::to_string(published)));
  CHECK(rebased.says("\"known\":" + std::to_string(published - 20 - lost)));
  CHECK(rebased.says("\"ghosts\":" + std::to_string(lost)));
  CHECK(drill.drain(url, "other").code == 5);  // Each on its own.
  CHECK(drill.rebase(url, "other").code == 0);

  site.append(*standby, 4);
  for (const std::string name : {"main", "other"}) {
    const Ended drained = drill.drain(url, name);
    INFO(drained.output);
    CHECK(drained.code == 0);
    const Verdict verdict = drill.verify(url, name);
    CHECK(joined(verdict.violations) == "");
    CHECK(verdict.ghosts.size() == (name == "main" ? lost : 0));
    std::size_t named = 0;
    for (const std::string& ghost : verdict.ghosts) named += rebased.says(ghost) ? 1 : 0;
    CHECK(named == std::min<std::size_t>(verdict.ghosts.size(), 20));
    const Ended again = drill.rebase(url, name);
    CHECK(again.code == 0);
    CHECK(again.says("\"needed\":false"));
  }
  check_findings(drill, url, lost);
  CHECK(site.count(*standby, "outseal.audit WHERE act = 'rebase'") == "2");
}

TEST_CASE("a sink that cannot be read back goes on after a failover where it was acknowledged") {
  if (skipped_without_postgres()) return;
  Site site;
  const Drill& drill = site.drill;
  const auto drain = [&](const std::string& url) {
    return drill.relay({"run", "--drain", "--db", url, "--sink", "stdout:"});
  };
  const auto rebase = [&](const std::string& url) {
    return drill.relay({"rebase", "--db", url, "--sink", "stdout:", "--json"});
  };
  const auto events = [](const Ended& run) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = run.output.find("\"specversion\"", at)) != std::string::npos;
         ++at)
      ++count;
    return count;
  };
  site.append(site.primary, 20);
  CHECK(events(drain(site.primary.url("shop"))) == 20);
  site.append(site.primary, 5);
  const auto standby = site.primary.make_standby();
  standby->wait_for_replay(site.primary);
  site.primary.stop_immediate();
  standby->promote();
  const std::string url = standby->url("shop");
  CHECK(drain(url).code == 5);

  const Ended rebased = rebase(url);
  INFO(rebased.output);
  CHECK(rebased.code == 0);
  CHECK(rebased.says("\"needed\":true"));
  CHECK(rebased.says("\"acked\":20,\"tail\":20"));
  CHECK(rebased.says("\"unread\":true"));
  const Ended drained = drain(url);
  INFO(drained.output);
  CHECK(drained.code == 0);
  CHECK(events(drained) == 5);
  CHECK(rebase(url).says("\"needed\":false"));
}

TEST_CASE("a rebase refuses while a relay leads, and a sink that does not fit") {
  if (skipped_without_postgres()) return;
  Site site;
  const Drill& drill = site.drill;
  site.append(site.primary, 10);
  const auto standby = site.primary.make_standby();
  const std::string url = standby->url("shop");
  Program leader{{.arguments = {program_path("outseal-relay"), "run", "--db",
                                site.primary.url("shop"), "--sink", drill.sink("main")},
                  .folder = "/",
                  .log = drill.log()}};
  wait_until("the relay to publish", [&] {
    return site.count(site.primary, "outseal.subscription WHERE acked_position = 10") == "1";
  });
  standby->wait_for_replay(site.primary);
  standby->promote();
  // The row on the new primary says that it leads, and its process lives.
  Ended refused = drill.rebase(url, "main");
  CHECK(refused.code == 5);
  CHECK(refused.says("a relay leads the subscription"));
  leader.send(SIGTERM);
  CHECK(leader.wait() == 0);

  const std::string path = drill.sink_path("main");
  const std::string whole = drill.file("whole");
  std::filesystem::copy_file(path, whole);
  const auto line = [&](std::size_t index) {
    std::ifstream in{whole};
    std::string text;
    for (std::size_t at = 0; at <= index; ++at) std::getline(in, text);
    return text;
  };
  {
    std::ofstream out{path, std::ios::trunc};
    for (std::size_t i = 0; i < 9; ++i) out << line(i) << '\n';
  }
  refused = drill.rebase(url, "main");
  CHECK(refused.code == 5);
  CHECK(refused.says("the sink ends at position 9, before position 10"));
  {
    std::ofstream out{path, std::ios::app};
    std::string other = line(9);
    const auto at = other.find("\"id\":\"") + 6;
    other[at] = other[at] == '0' ? '1' : '0';
    out << other << '\n';
  }
  refused = drill.rebase(url, "main");
  CHECK(refused.code == 5);
  CHECK(refused.says("at position 10 the sink has event"));
  std::filesystem::copy_file(whole, path, std::filesystem::copy_options::overwrite_existing);
  CHECK(drill.drain(url, "main").code == 5);
  CHECK(drill.rebase(url, "main").code == 0);
  CHECK(drill.drain(url, "main").code == 0);

  CHECK(drill.rebase(url, "absent").code == 2);
  refused = drill.relay({"rebase", "--db", url, "--sink", drill.sink("other")});
  CHECK(refused.code == 5);
  CHECK(refused.says("subscription main has the sink"));
}

TEST_CASE("a transaction that was prepared is decided before a rebase") {
  if (skipped_without_postgres()) return;
  Site site;
  const Drill& drill = site.drill;
  site.append(site.primary, 3);
  REQUIRE(drill.drain(site.primary.url("shop"), "main").code == 0);
  const auto standby = site.primary.make_standby();
  const std::string url = standby->url("shop");
  site.primary.execute(
      "BEGIN; SELECT outseal.append('t', 'k', 'x', '{}'::text); PREPARE TRANSACTION 'transfer 7'",
      "shop");
  site.append(site.primary, 1);
  standby->wait_for_replay(site.primary);
  standby->stop_following();
  site.primary.execute("COMMIT PREPARED 'transfer 7'", "shop");
  REQUIRE(drill.drain(site.primary.url("shop"), "main").code == 0);
  REQUIRE(drill.stored("main").size() == 5);
  standby->promote();

  const Ended refused = drill.rebase(url, "main");
  CHECK(refused.code == 5);
  CHECK(refused.says("the prepared transaction 'transfer 7' has events"));
  standby->execute("COMMIT PREPARED 'transfer 7'", "shop");
  CHECK(drill.rebase(url, "main").code == 0);
  site.append(*standby, 2);
  CHECK(drill.drain(url, "main").code == 0);
  const Verdict verdict = drill.verify(url, "main");
  CHECK(joined(verdict.violations) == "");
  CHECK(verdict.ghosts.empty());
}

TEST_CASE("a relay at work stops when the database behind its URL is failed over") {
  if (skipped_without_postgres()) return;
  Site site;
  const Drill& drill = site.drill;
  site.append(site.primary, 3);
  const auto standby = site.primary.make_standby();
  const auto start = [&](const std::string& url) {
    return std::make_unique<Program>(
        Launch{.arguments = {program_path("outseal-relay"), "run", "--db", url, "--sink",
                             drill.sink("main"), "--backoff-max-ms", "100"},
               .folder = "/",
               .log = drill.log()});
  };
  const auto wait_for_acked = [&](int position) {
    wait_until("the relay to publish", [&] {
      return site.count(site.primary, "outseal.subscription WHERE acked_position = " +
                                          std::to_string(position)) == "1";
    });
  };
  std::unique_ptr<Program> relay;

  SUBCASE("by a URL of two hosts") {
    relay = start("postgresql://admin:" + site.primary.password() +
                  "@127.0.0.1:" + std::to_string(site.primary.port()) + ",127.0.0.1:" +
                  std::to_string(standby->port()) + "/shop?target_session_attrs=read-write");
    wait_for_acked(3);
    standby->wait_for_replay(site.primary);
    standby->stop_following();
    site.append(site.primary, 2);
    wait_for_acked(5);
    site.primary.stop_immediate();
    standby->promote();
  }
  SUBCASE("by a pooler that is led elsewhere") {
    if (!pgbouncer_is_installed()) {
      MESSAGE("SKIPPED: PgBouncer is not installed (apt install pgbouncer)");
      return;
    }
    PgBouncer bouncer{site.primary};
    relay = start(bouncer.url("shop"));
    wait_for_acked(3);
    standby->wait_for_replay(site.primary);
    standby->promote();
    bouncer.lead_to(*standby);
    CHECK(relay->wait() == 5);
  }
  CHECK(relay->wait() == 5);
  std::ifstream log{drill.log()};
  const std::string text{std::istreambuf_iterator<char>{log}, {}};
  CHECK(text.find("outseal-relay rebase") != std::string::npos);
  CHECK(text.find("timeline") != std::string::npos);
  CHECK(text.find(site.primary.password()) == std::string::npos);

  site.append(*standby, 2);
  const std::string url = standby->url("shop");
  CHECK(drill.rebase(url, "main").code <= 1);
  CHECK(drill.drain(url, "main").code == 0);
  CHECK(joined(drill.verify(url, "main").violations) == "");
}

TEST_CASE("a copy of the server's files is rebased although its timeline is the same") {
  if (skipped_without_postgres()) return;
  Site site;
  const Drill& drill = site.drill;
  const std::string url = site.primary.url("shop");
  const std::string data = site.primary.folder() / "data";
  const std::string copy = site.primary.folder() / "copy";
  site.append(site.primary, 10);
  drill.publish(url, "main", 6);
  site.primary.stop_fast();
  REQUIRE(std::system(("cp -a '" + data + "' '" + copy + "'").c_str()) == 0);
  site.primary.start();
  site.append(site.primary, 3);
  REQUIRE(drill.drain(url, "main").code == 0);
  site.primary.stop_fast();
  REQUIRE(std::system(("rm -r '" + data + "' && mv '" + copy + "' '" + data + "'").c_str()) == 0);
  site.primary.start();
  site.append(site.primary, 5);

  const Ended refused = drill.drain(url, "main");
  CHECK(refused.code == 5);
  CHECK(refused.says("fork"));
  CHECK(refused.says("outseal-relay rebase"));
  const Ended rebased = drill.relay({"rebase", "--db", url, "--sink", drill.sink("main")});
  CHECK(rebased.code == 1);
  CHECK(rebased.says("main goes on behind position 13; the database knew of 6"));
  CHECK(rebased.says("in the sink and in the database 4, in the sink alone 3"));
  CHECK(drill.drain(url, "main").code == 0);
  const Verdict verdict = drill.verify(url, "main");
  CHECK(joined(verdict.violations) == "");
  CHECK(verdict.ghosts.size() == 3);
  for (const std::string& ghost : verdict.ghosts)
    CHECK(rebased.says("published, then lost by the database: " + ghost));
  check_findings(drill, url, 3);
  CHECK(drill.rebase(url, "main").says("\"needed\":false"));
}

}  // namespace outseal::test
