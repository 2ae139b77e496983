// Service and relay on PostgreSQL die at each failpoint, at its first hits; they start again, and
// the history is right. crash_points_test.cc does the same on SQLite, with operators' acts between.
#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "support/scale.h"
#include "torture/postgres_client.h"
#include "torture/postgres_stage.h"

namespace outseal::test {
namespace {

constexpr std::uint64_t kSeed = 7;
constexpr int kFirstHits = 3;

const std::vector<std::string> kService{"service.before_handler", "service.after_handler",
                                        "service.before_append",  "service.after_append",
                                        "service.after_record",   "service.before_commit",
                                        "service.after_commit"};
const std::vector<std::string> kRelay{
    "relay.acquire",        "relay.before_intent", "relay.in_intent",         "relay.after_intent",
    "relay.before_deliver", "relay.before_ack",    "relay.after_ack",         "file.before_write",
    "file.after_write",     "file.after_fsync",    "file.after_partial_write"};

PostgresServer& server() {
  static PostgresServer* server = [] {
    static PostgresServer one;
    make_stage_template(one);
    return &one;
  }();
  return *server;
}

struct Scene {
  PostgresStage stage{server(), nullptr};

  Scene() {
    stage.execute(
        "CREATE TABLE ledger (n bigserial, event_id text NOT NULL UNIQUE, key text NOT NULL,"
        " operation text UNIQUE, too_large integer NOT NULL)");
  }
  std::unique_ptr<Process> produce(std::uint64_t seed,
                                   const std::map<std::string, std::string>& environment = {}) {
    return stage.start_producer(seed, 40, environment);
  }
  std::unique_ptr<Process> relay(const std::map<std::string, std::string>& environment = {}) {
    return stage.start_relay({"--drain", "--batch-events", "7"}, environment);
  }
  void check() {
    std::set<std::string> undone;
    std::ifstream lines{stage.aborted()};
    for (std::string id; std::getline(lines, id);) undone.insert(std::move(id));
    PostgresClient client{server().url(stage.database())};
    std::vector<CommittedEvent> committed;
    for (const auto& row : client.rows("SELECT event_id, key FROM ledger ORDER BY n")) {
      committed.push_back({EventId::parse(row[0]).value_or(EventId{}), row[1]});
      CHECK_FALSE(undone.contains(row[0]));
    }
    const auto violations = check_history(committed, stage.stored(), Extent::drained);
    REQUIRE_MESSAGE(violations.empty(), joined(violations) << stage.log_tail());
    REQUIRE(client.value("SELECT count(*) FROM outseal.outbox") ==
            std::to_string(committed.size()));
    REQUIRE_FALSE(committed.empty());
  }
};

void must_end(std::unique_ptr<Process> process, const Scene& scene) {
  const Exit end = process->wait();
  REQUIRE_MESSAGE(end == Exit{}, "code " << end.code << " signal " << end.signal << '\n'
                                         << scene.stage.log_tail());
}

/// The environment that kills a process at the `hit`-th time it comes to `failpoint`.
std::map<std::string, std::string> death(const std::string& failpoint, int hit) {
  return {{"OUTSEAL_FAILPOINT", failpoint + ":" + std::to_string(hit)}};
}

TEST_CASE("service and relay may die at any failpoint on PostgreSQL") {
  if (skipped_without_postgres()) return;
  const int hits = scaled(100) == 100 ? kFirstHits : 1;
  int died = 0;
  for (int hit = 1; hit <= hits; ++hit) {
    for (const std::string& failpoint : kService) {
      CAPTURE(failpoint);
      CAPTURE(hit);
      Scene scene;
      const Exit end = scene.produce(kSeed, death(failpoint, hit))->wait();
      REQUIRE_MESSAGE(end.signal == SIGKILL, scene.stage.log_tail());
      must_end(scene.produce(kSeed + 1), scene);
      must_end(scene.relay(), scene);
      scene.check();
      ++died;
    }
    for (const std::string& failpoint : kRelay) {
      CAPTURE(failpoint);
      CAPTURE(hit);
      Scene scene;
      must_end(scene.produce(kSeed), scene);
      // Some it comes to only once.
      const Exit end = scene.relay(death(failpoint, hit))->wait();
      REQUIRE_MESSAGE((end.signal == SIGKILL || (hit > 1 && end == Exit{})),
                      "code " << end.code << '\n'
                              << scene.stage.log_tail());
      died += end.signal == SIGKILL ? 1 : 0;
      must_end(scene.produce(kSeed + 2), scene);
      must_end(scene.relay(), scene);
      scene.check();
    }
  }
  std::cout << kService.size() + kRelay.size() << " failpoints, " << died << " crashes"
            << std::endl;
}

}  // namespace
}  // namespace outseal::test
