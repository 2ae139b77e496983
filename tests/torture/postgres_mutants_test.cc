// The relay on PostgreSQL with one guard switched off: each scenario must then break a promise in a
// way that is seen, and must not with the guard on.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/paths.h"
#include "torture/postgres_client.h"
#include "torture/postgres_stage.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

using Environment = std::map<std::string, std::string>;
/// What a scenario found: exit codes that are not as they should be, violations of the history.
using Findings = std::vector<std::string>;

const std::vector<std::string> kDrain{"--drain", "--lease-ms", "100", "--batch-events", "10"};

/// Asynchronous commits stay in its memory.
PostgresServer& server() {
  static PostgresServer* server = [] {
    static PostgresServer one{{.durable = false, .settings = {"wal_writer_delay = 10s"}}};
    make_stage_template(one);
    return &one;
  }();
  return *server;
}

Environment with(Environment environment, const std::string& mutant) {
  if (!mutant.empty()) environment["OUTSEAL_MUTANT"] = mutant;
  return environment;
}

std::string insert(int events) {
  return "INSERT INTO outseal.outbox (topic, key, type, payload)"
         " SELECT 't', 'key', 'x', '1' FROM generate_series(1, " +
         std::to_string(events) + ")";
}

void note(Findings& findings, const Exit& end, const PostgresStage& stage) {
  if (end == Exit{}) return;
  findings.push_back("the relay ended with code " + std::to_string(end.code) + " signal " +
                     std::to_string(end.signal) + '\n' + stage.log_tail());
}

void note_history(Findings& findings, const PostgresStage& stage) {
  std::vector<CommittedEvent> committed;
  for (const auto& row : PostgresClient{server().url(stage.database())}.rows(
           "SELECT event_id, key FROM outseal.outbox ORDER BY seq"))
    committed.push_back({EventId::parse(row[0]).value_or(EventId{}), row[1]});
  for (std::string& violation : check_history(committed, stage.stored(), Extent::drained))
    findings.push_back(std::move(violation));
}

/// A transaction that began before a window was read commits after it.
Findings commit_late(const std::string& mutant) {
  const PostgresStage stage{server(), nullptr};
  PostgresClient late{server().url(stage.database())};
  late.rows("BEGIN");
  late.rows("SELECT pg_current_xact_id()");
  stage.execute(insert(3));
  Findings findings;
  note(findings, stage.start_relay(kDrain, with({}, mutant))->wait(), stage);
  late.rows(insert(2));
  late.rows("COMMIT");
  note(findings, stage.start_relay(kDrain, with({}, mutant))->wait(), stage);
  note_history(findings, stage);
  return findings;
}

/// A crash of the server takes back what a relay has read and not bound. Behind a pooler the relay
/// does not notice by itself. It is stopped meanwhile, so that it cannot be faster.
Findings crash_before_intent(const std::string& mutant) {
  const PgBouncer bouncer{server()};
  const PostgresStage stage{server(), &bouncer};
  const auto relay = stage.start_relay(
      {"--lease-ms", "60000", "--poll-max-ms", "5"},
      with({{"OUTSEAL_FAILPOINT", "relay.before_intent"}, {"OUTSEAL_FAILPOINT_SIGNAL", "STOP"}},
           mutant));
  wait_until("the relay to lead", [&] {
    return stage.execute("SELECT count(*) FROM outseal.subscription WHERE epoch > 0") == "1";
  });
  stage.execute("SELECT pg_switch_wal()");  // A page that becomes full would be written.
  stage.execute("SET synchronous_commit = off;" + insert(3));
  REQUIRE(relay->wait_until_stopped());
  server().stop_immediate();
  server().start();
  // On a busy machine the server may have written the commits before it was stopped: once more.
  if (stage.execute("SELECT count(*) FROM outseal.outbox") != "0")
    return crash_before_intent(mutant);
  // The pooler must let it in again: with the guard off, it is the intent that has to go through.
  wait_until("the pooler to recover", [&] {
    try {
      return PostgresClient{stage.url()}.value("SELECT 1") == "1";
    } catch (const SqlFailure&) {
      return false;
    }
  });
  relay->send(SIGCONT);
  stage.execute(insert(2));
  Findings findings;
  wait_until("the relay to publish", [&] { return stage.stored().size() >= 2; });
  relay->send(SIGTERM);
  note(findings, relay->wait(), stage);
  note_history(findings, stage);
  return findings;
}

/// A relay is stopped before its intent for longer than its lease, another one takes over.
Findings sleep_through_takeover(const std::string& mutant) {
  const PostgresStage stage{server(), nullptr};
  stage.execute(insert(60));
  const std::vector<std::string> options{"--lease-ms", "100", "--batch-events", "10"};
  const auto zombie = stage.start_relay(
      options,
      with({{"OUTSEAL_FAILPOINT", "relay.before_intent:2"}, {"OUTSEAL_FAILPOINT_SIGNAL", "STOP"}},
           mutant));
  REQUIRE(zombie->wait_until_stopped());
  const auto epoch = [&] { return stage.execute("SELECT epoch FROM outseal.subscription"); };
  const std::string before = epoch();
  const auto successor = stage.start_relay(options, with({}, mutant));
  wait_until("the successor to lead", [&] { return successor->poll() || epoch() != before; });
  // With the sink's lock in the zombie's hands it can do no more; without, it drains meanwhile.
  successor->wait_for(milliseconds{1'500});
  zombie->send(SIGCONT);
  wait_until("all to be published, or a relay to give up",
             [&] { return stage.stored().size() >= 60 || successor->poll() || zombie->poll(); });
  zombie->wait_for(milliseconds{500});
  Findings findings;
  for (const auto& relay : {zombie.get(), successor.get()}) {
    relay->send(SIGTERM);
    note(findings, relay->wait(), stage);
  }
  note_history(findings, stage);
  return findings;
}

/// On a standby no relay may run, and it has to say why. Without the check it fails all the same,
/// at its first write.
Findings run_on_standby(const std::string& mutant) {
  static const std::unique_ptr<PostgresServer> standby = server().make_standby();
  const PostgresStage stage{server(), nullptr};
  standby->wait_for_replay(server());
  const TempFolder folder;
  Process relay{{program_path("outseal-relay"), "run", "--drain", "--db",
                 standby->url(stage.database()), "--sink", "file:" + folder.file("events.ndjson")},
                with({}, mutant),
                folder.file("log")};
  const Exit end = relay.wait();
  std::ifstream log{folder.file("log")};
  const std::string said{std::istreambuf_iterator<char>{log}, {}};
  const bool explained = said.find("the database is a standby") != std::string::npos;
  if (end == Exit{.code = 5} && explained) return {};
  return {"on a standby the relay ended with code " + std::to_string(end.code) + ": " + said};
}

void check_needed(const std::string& mutant,
                  const std::function<Findings(const std::string&)>& scene) {
  if (skipped_without_postgres()) return;
  const Findings guarded = scene("");
  CHECK_MESSAGE(guarded.empty(), joined(guarded));
  // The guard is against a race: without it the damage is likely, not certain. A pooler that has a
  // second dead connection, for example, makes the relay begin anew.
  Findings found;
  for (int attempts = 0; found.empty() && attempts < 10; ++attempts) found = scene(mutant);
  REQUIRE_FALSE(found.empty());
  std::cout << mutant << ": " << found.front().substr(0, found.front().find('\n')) << std::endl;
}

TEST_CASE("without the late transactions of a window their events are missed") {
  check_needed("no_late_transactions", commit_late);
}

TEST_CASE("without the check of the server's run what a crash took back is published") {
  if (!pgbouncer_is_installed()) return;
  check_needed("no_incarnation_check", crash_before_intent);
}

TEST_CASE("without the check of the epoch a zombie's intent is seen on PostgreSQL") {
  check_needed("no_epoch_check", sleep_through_takeover);
}

TEST_CASE("without the check for a standby nobody says what is wrong with it") {
  check_needed("no_standby_check", run_on_standby);
}

}  // namespace
}  // namespace outseal::test
