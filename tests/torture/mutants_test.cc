// The real programs with one guard switched off: each scenario must then break a promise in a way
// that is seen, and must not with the guard on.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "torture/stage.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

/// What a scenario found: exit codes that are not 0, and violations of the history.
using Findings = std::vector<std::string>;

Environment with(Environment environment, const std::string& mutant) {
  if (!mutant.empty()) environment["OUTSEAL_MUTANT"] = mutant;
  return environment;
}

void prepare(const Stage& stage) {
  REQUIRE(run(stage.start_migrate()) == Exit{});
  REQUIRE(run(stage.start_producer(1, 1, 60)) == Exit{});
}

const std::vector<std::string> kFlags{"--batch-events",   "10", "--lease-ms",       "100",
                                      "--backoff-min-ms", "5",  "--backoff-max-ms", "20"};

std::unique_ptr<Process> drain(const Stage& stage, const std::string& mutant) {
  std::vector<std::string> flags = kFlags;
  flags.emplace_back("--drain");
  return stage.start_relay(flags, with({}, mutant));
}

void note(Findings& findings, const Exit& end) {
  if (end == Exit{}) return;
  findings.push_back("the relay ended with code " + std::to_string(end.code) + " signal " +
                     std::to_string(end.signal));
}

void note_history(Findings& findings, const Stage& stage) {
  for (std::string& violation : stage.violations(Extent::drained)) {
    findings.push_back(std::move(violation));
  }
}

/// A relay is killed at `failpoint`; the next one drains.
Findings crash(const std::string& failpoint, const std::string& mutant) {
  const Stage stage;
  prepare(stage);
  const Exit end = run(stage.start_relay(kFlags, with({{"OUTSEAL_FAILPOINT", failpoint}}, mutant)));
  REQUIRE(end.signal == SIGKILL);
  Findings findings;
  note(findings, run(drain(stage, mutant)));
  note_history(findings, stage);
  return findings;
}

/// A relay is stopped at `failpoint` for longer than its lease, another one takes over, and then
/// the first one goes on.
Findings sleep_through_takeover(const std::string& failpoint, const std::string& mutant) {
  const Stage stage;
  prepare(stage);
  const auto zombie = stage.start_relay(
      kFlags,
      with({{"OUTSEAL_FAILPOINT", failpoint}, {"OUTSEAL_FAILPOINT_SIGNAL", "STOP"}}, mutant));
  REQUIRE(zombie->wait_until_stopped());
  const std::int64_t epoch = stage.number("SELECT epoch FROM outseal_subscription");
  const auto successor = drain(stage, mutant);
  while (!successor->poll() && stage.number("SELECT epoch FROM outseal_subscription") == epoch) {
    std::this_thread::sleep_for(milliseconds{5});
  }
  // With the sink's lock in the zombie's hands it can do no more; without, it drains meanwhile.
  successor->wait_for(milliseconds{1'500});
  zombie->send(SIGCONT);
  Findings findings;
  note(findings, successor->wait());
  // The zombie gets time to do what it should not, then it is asked to end.
  zombie->wait_for(milliseconds{500});
  zombie->send(SIGTERM);
  note(findings, zombie->wait());
  note_history(findings, stage);
  return findings;
}

void check_needed(const std::string& mutant,
                  const std::function<Findings(const std::string&)>& scene) {
  const Findings guarded = scene("");
  CHECK_MESSAGE(guarded.empty(), joined(guarded));
  const Findings found = scene(mutant);
  REQUIRE_FALSE(found.empty());
  std::cout << mutant << ": " << found.front() << std::endl;
}

TEST_CASE("without the intent a crash after the delivery is seen") {
  check_needed("no_intent", [](const auto& mutant) { return crash("file.after_fsync:2", mutant); });
}

TEST_CASE("without the repair of a torn tail a crash in the middle of a write is seen") {
  check_needed("no_torn_tail_repair",
               [](const auto& mutant) { return crash("file.after_partial_write:2", mutant); });
}

TEST_CASE("without the sink's condition a zombie's delivery is seen") {
  check_needed("no_sink_condition", [](const auto& mutant) {
    return sleep_through_takeover("relay.before_deliver:2", mutant);
  });
}

TEST_CASE("without the check of the epoch a zombie's intent is seen") {
  check_needed("no_epoch_check", [](const auto& mutant) {
    return sleep_through_takeover("relay.before_intent:2", mutant);
  });
}

}  // namespace
}  // namespace outseal::test
