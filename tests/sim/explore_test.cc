// Every history of small worlds, and each mutant among the first of them.
//
//   OUTSEAL_STATES=N  how many states of each world at most; all of the small ones by default, and
//                     3,000,000 of each larger one in a soak
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include "sim/explorer.h"
#include "support/scale.h"

namespace outseal::sim {
namespace {

/// More than any of the small worlds has. All mutants must be found among so many, too.
constexpr std::uint64_t kStatesMax = 150'000;

// Events: of no key or of key "a"; refused before they have a position (early) or after (late).
const Content kPlain{.key = ""};
const Content kPlainLate{.key = "", .rejected_late = true};
const Content kA{.key = "a"};
const Content kEarlyA{.key = "a", .refused_early = true};
const Content kLateA{.key = "a", .rejected_late = true};

/// Each kind of sink and of trouble once, all of it explored.
std::vector<Bounds> small_worlds() {
  return {
      {.name = "a crash", .events = {kA, kA}, .budgets = {.crashes = 1}},
      {.name = "a lost answer", .events = {kA, kA}, .budgets = {.faults = 1}},
      {.name = "a refusal while the next page is read",
       .events = {kPlainLate, kPlain},
       .overlapping = true,
       .page_events = 1,
       .budgets = {.faults = 1}},
      {.name = "a takeover", .events = {kA, kA}, .budgets = {.expiries = 1}},
      {.name = "a takeover beside a producer",
       .events = {kA, kA},
       .committed_later = 1,
       .budgets = {.expiries = 1}},
      {.name = "a takeover after renewals",
       .events = {kA},
       .renews = true,
       .budgets = {.expiries = 1, .stops = 1}},
      {.name = "a refusal, sent in a pipeline",
       .events = {kPlain, kPlainLate, kPlain},
       .pipelined = true,
       .page_events = 3,
       .budgets = {.expiries = 1}},
      {.name = "refusals and an operator",
       .events = {kEarlyA, kLateA, kA},
       .budgets = {.crashes = 1, .acts = 1}},
      {.name = "a receiver without a tail",
       .events = {kA, kLateA, kA},
       .sink = SinkKind::receiver,
       .budgets = {.faults = 1}},
      {.name = "a sink that forgets",
       .events = {kA, kA},
       .forgetful = true,
       .budgets = {.expiries = 1, .losses = 1}},
      {.name = "a sink that locks",
       .events = {kA, kA},
       .sink = SinkKind::exclusive,
       .budgets = {.expiries = 1}},
      {.name = "relays that drain",
       .events = {kA, kPlainLate},
       .drains = true,
       .budgets = {.faults = 1}},
  };
}

/// What a soak has time for; most of these have more states than it visits.
std::vector<Bounds> large_worlds() {
  constexpr Budgets kAll{.crashes = 1, .faults = 1, .expiries = 1};
  constexpr Budgets kTwice{.crashes = 2, .faults = 2, .expiries = 2};
  return {
      {.name = "one event", .events = {kA}, .budgets = kAll},
      {.name = "one event, everything twice", .events = {kA}, .budgets = kTwice},
      {.name = "two events", .events = {kPlain, kPlain}, .overlapping = true, .budgets = kAll},
      {.name = "four events",
       .events = {kA, kPlain, kA, kPlain},
       .committed_later = 1,
       .budgets = {.crashes = 1, .expiries = 1}},
      {.name = "refusals",
       .events = {kEarlyA, kLateA, kA, kPlainLate},
       .budgets = {.crashes = 1, .expiries = 1, .acts = 2}},
      {.name = "refusals, sent in a pipeline",
       .events = {kPlain, kLateA, kA, kPlain},
       .pipelined = true,
       .page_events = 4,
       .budgets = {.crashes = 1, .faults = 1, .expiries = 1}},
      {.name = "renewals",
       .events = {kA, kLateA},
       .renews = true,
       .budgets = {.crashes = 1, .faults = 1, .expiries = 2, .stops = 1}},
      {.name = "a receiver",
       .events = {kA, kLateA, kA},
       .sink = SinkKind::receiver,
       .budgets = {.crashes = 1, .faults = 1, .expiries = 1, .acts = 1}},
      {.name = "a sink that forgets",
       .events = {kA, kLateA, kA},
       .pipelined = true,
       .forgetful = true,
       .budgets = {.crashes = 1, .faults = 1, .expiries = 1, .losses = 2}},
      {.name = "a sink that locks",
       .events = {kA, kEarlyA, kA},
       .sink = SinkKind::exclusive,
       .budgets = {.crashes = 1, .faults = 1, .expiries = 1, .acts = 1}},
      {.name = "relays that drain",
       .events = {kA, kPlainLate, kA},
       .drains = true,
       .budgets = {.crashes = 1, .faults = 1, .expiries = 1, .stops = 1}},
  };
}

/// Explores the worlds on all processors. @returns what was found, in their order.
std::vector<Exploration> explore_all(const std::vector<Bounds>& worlds) {
  std::vector<Exploration> found(worlds.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t at = next++; at < worlds.size(); at = next++) found[at] = explore(worlds[at]);
  };
  std::vector<std::jthread> workers;
  const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
  for (unsigned at = 0; at < processors; ++at) workers.emplace_back(work);
  workers.clear();
  return found;
}

void check_sound(std::vector<Bounds> worlds, std::uint64_t states_max, bool must_complete) {
  const char* wish = std::getenv("OUTSEAL_STATES");
  if (wish != nullptr) states_max = std::strtoull(wish, nullptr, 10);
  for (Bounds& bounds : worlds) bounds.states_max = states_max;
  const std::vector<Exploration> found = explore_all(worlds);
  for (std::size_t at = 0; at < worlds.size(); ++at) {
    const Exploration& world = found[at];
    std::cout << world.states << (world.complete ? " states of " : " first states of ")
              << worlds[at].name << ", " << world.moves << " moves, depth " << world.depth << '\n';
    for (const std::string& line : world.trace) std::cout << line << '\n';
    CAPTURE(worlds[at].name);
    CHECK(world.violation == "");
    if (must_complete && wish == nullptr) CHECK(world.complete);
  }
}

TEST_CASE("no history of a small world loses, repeats or reorders an event, or gets stuck") {
  check_sound(small_worlds(), test::scaled(kStatesMax), test::scaled(100) == 100);
}

TEST_CASE("no history of a larger world does, as far as a soak has time to look") {
  if (!test::soaking()) return;
  check_sound(large_worlds(), test::scaled(3'000'000), false);
}

/// The mutant is found, and its counterexample explained down to the violation.
void check_found(Mutant mutant, Bounds bounds) {
  bounds.mutant = mutant;
  bounds.states_max = kStatesMax;
  const Exploration found = explore(bounds);
  std::cout << "state " << found.states << ": " << found.violation << '\n';
  CHECK(found.violation != "");
  CHECK(found.trace.size() > found.depth);
}

TEST_CASE("a relay that sends without a durable intent is found") {
  check_found(Mutant::no_intent, {.events = {kA, kA}, .budgets = {.crashes = 1}});
}

TEST_CASE("a compare-and-set without the epoch is found") {
  check_found(Mutant::no_epoch_check, {.events = {kA, kA}, .budgets = {.expiries = 1}});
}

TEST_CASE("a sink without its condition is found") {
  check_found(Mutant::no_sink_condition, {.events = {kA, kA}, .budgets = {.expiries = 1}});
}

TEST_CASE("a sink that compares the position before an event, not the event there, is found") {
  check_found(Mutant::position_only,
              {.events = {kPlain, kPlainLate, kPlain}, .pipelined = true, .page_events = 3});
}

/// Not a mutant, but the limit that lib/README.md states: a redriven event takes the place of the
/// rejected one, the next one is bound where it was, and the one after it, parked meanwhile,
/// arrives.
TEST_CASE("a pipeline that goes on after a rejection would need an operator to wait for its end") {
  const Content early{.key = "", .refused_early = true};
  check_found(Mutant::none, {.events = {early, kLateA, kPlain, kA},
                             .pipelined = true,
                             .page_events = 4,
                             .budgets = {.acts = 1}});
}

TEST_CASE("a sink that acknowledges before it is durable is found") {
  check_found(Mutant::no_durable_ack, {.events = {kA}, .budgets = {.losses = 1}});
}

TEST_CASE("a page that is bound after an operator discarded one of its events is found") {
  check_found(Mutant::no_stale_check, {.events = {kEarlyA, kA}, .budgets = {.acts = 2}});
}

TEST_CASE("events that pass a parked one of their key are found") {
  check_found(Mutant::no_key_block, {.events = {kEarlyA, kA}});
}

TEST_CASE("a redrive that passes a parked event of its key is found") {
  check_found(Mutant::blind_redrive, {.events = {kLateA, kA}, .budgets = {.acts = 1}});
}

TEST_CASE("a redrive that passes events which a settlement has unbound is found") {
  check_found(Mutant::eager_redrive,
              {.events = {kPlainLate, kA, kEarlyA}, .page_events = 3, .budgets = {.acts = 1}});
}

}  // namespace
}  // namespace outseal::sim
