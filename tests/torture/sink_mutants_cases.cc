// The real relay with a sink's guard switched off: each scenario must then break a promise in a way
// that is seen, and must not with the guard on.
#include <doctest/doctest.h>
#include <signal.h>

#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "torture/sink_stage.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using Findings = std::vector<std::string>;

constexpr std::uint64_t kTransactions = 150;
constexpr int kTriesMax = 10;

Environment with(Environment environment, const std::string& mutant) {
  if (!mutant.empty()) environment["OUTSEAL_MUTANT"] = mutant;
  return environment;
}

/// A second guard may keep the sink right, but then it has to stop the relay.
void note_end(Findings& findings, Process& relay) {
  const Exit end = relay.wait();
  if (end != Exit{})
    findings.push_back("a relay ended with code " + std::to_string(end.code) + " signal " +
                       std::to_string(end.signal));
}

/// A relay sleeps before a delivery until its successor has published all; what does it do then?
/// @returns nothing if it fell asleep in the middle of a transaction of its other thread.
std::optional<Findings> sleep_through_takeover(const std::string& mutant) {
  SinkStage stage;
  stage.produce(1, kTransactions);
  const auto zombie = stage.start_relay({}, with({{"OUTSEAL_FAILPOINT", "relay.before_deliver:2"},
                                                  {"OUTSEAL_FAILPOINT_SIGNAL", "STOP"}},
                                                 mutant));
  REQUIRE(zombie->wait_until_stopped());
  if (stage.database_is_locked()) return std::nullopt;
  const auto successor = stage.start_relay({"--drain"}, with({}, mutant));
  successor->wait_for(stage.traits().has_lock ? milliseconds{1'500} : milliseconds{20'000});
  std::this_thread::sleep_for(stage.traits().window * 2);
  zombie->send(SIGCONT);
  successor->wait();
  // It gets time to do what it should not.
  zombie->wait_for(milliseconds{500});
  zombie->send(SIGTERM);
  zombie->wait();
  Findings findings = stage.violations(Extent::drained);
  note_end(findings, *successor);
  note_end(findings, *zombie);
  return findings;
}

Findings after_takeover(const std::string& mutant) {
  for (int tries = 0; tries < kTriesMax; ++tries)
    if (const std::optional<Findings> findings = sleep_through_takeover(mutant)) return *findings;
  FAIL("the relay never fell asleep without a lock");
  return {};
}

TEST_CASE("without the sink's condition a zombie's delivery is seen") {
  if (skipped_without_sink_server()) return;
  const std::string mutant = make_sink_server()->traits().mutant;
  REQUIRE_FALSE(mutant.empty());
  const Findings guarded = after_takeover("");
  CHECK_MESSAGE(guarded.empty(), joined(guarded));
  const Findings found = after_takeover(mutant);
  REQUIRE_FALSE(found.empty());
  std::cout << mutant << ": " << found.front() << std::endl;
}

}  // namespace
}  // namespace outseal::test
