// Many schedules; each mutant must fail within a few of them.
//
//   OUTSEAL_SCHEDULES=N  how many; 100,000 by default, scaled down by OUTSEAL_SCALE
//   OUTSEAL_SEED=N       the first one's seed; by default a random one. A failing schedule is run
//                        again with a trace by OUTSEAL_SEED=its seed OUTSEAL_SCHEDULES=1
#include "sim/schedule.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "support/history.h"
#include "support/scale.h"

namespace outseal::sim {
namespace {

/// With at least so many schedules each situation must have occurred; the rarest one does so about
/// once in two thousand.
constexpr std::uint64_t kCoveringSchedules = 50'000;

std::uint64_t first_seed() {
  const std::uint64_t random = std::random_device{}() % 1'000'000'000;
  return test::from_environment("OUTSEAL_SEED", random);
}

struct Campaign {
  Coverage coverage;
  std::uint64_t steps = 0;
  std::uint64_t steps_max = 0;
  std::vector<std::uint64_t> failed;  ///< Seeds, the lowest first.
};

/// Runs the schedules of `count` seeds on all processors, until some have failed.
Campaign run_campaign(std::uint64_t first, std::uint64_t count, Mutant mutant) {
  Campaign campaign;
  std::mutex mutex;
  std::atomic<std::uint64_t> next{first};
  std::atomic<bool> enough{false};
  const auto work = [&] {
    Campaign own;
    for (std::uint64_t seed = next++; seed < first + count && !enough; seed = next++) {
      const ScheduleResult result = run_schedule({.seed = seed, .mutant = mutant}, own.coverage);
      own.steps += result.steps;
      own.steps_max = std::max(own.steps_max, result.steps);
      if (result.violations.empty()) continue;
      own.failed.push_back(seed);
      enough = true;
    }
    const std::lock_guard lock{mutex};
    campaign.coverage += own.coverage;
    campaign.steps += own.steps;
    campaign.steps_max = std::max(campaign.steps_max, own.steps_max);
    campaign.failed.insert(campaign.failed.end(), own.failed.begin(), own.failed.end());
  };
  {
    std::vector<std::jthread> workers;
    const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
    for (unsigned at = 0; at < processors; ++at) workers.emplace_back(work);
  }
  std::sort(campaign.failed.begin(), campaign.failed.end());
  return campaign;
}

void print_failure(std::uint64_t seed) {
  Coverage unused;
  const ScheduleResult result = run_schedule({.seed = seed, .trace = true}, unused);
  for (const std::string& line : result.trace) std::cout << line << '\n';
  std::cout << test::joined(result.violations) << "run it again with: OUTSEAL_SEED=" << seed
            << " OUTSEAL_SCHEDULES=1 sim_test" << std::endl;
}

TEST_CASE("no schedule loses, repeats or reorders an event, gets stuck or halts without reason") {
  const std::uint64_t seed = first_seed();
  const std::uint64_t count =
      test::from_environment("OUTSEAL_SCHEDULES", test::scaled(100'000, 10'000'000));
  std::cout << count << " schedules, OUTSEAL_SEED=" << seed << std::endl;
  const Campaign campaign = run_campaign(seed, count, Mutant::none);
  if (!campaign.failed.empty()) {
    print_failure(campaign.failed.front());
    FAIL("schedule " << campaign.failed.front() << " broke a promise");
  }
  std::cout << campaign.steps << " steps, at most " << campaign.steps_max << " in a schedule\n";
  for (std::size_t at = 0; at < kSituations; ++at) {
    std::cout << campaign.coverage.counts[at] << '\t' << kSituationMeanings[at] << '\n';
    if (count >= kCoveringSchedules) {
      CHECK_MESSAGE(campaign.coverage.counts[at] > 0, "never seen: " << kSituationMeanings[at]);
    }
  }
}

TEST_CASE("the same seed gives the same schedule") {
  Coverage unused;
  const ScheduleResult once = run_schedule({.seed = 42, .trace = true}, unused);
  const ScheduleResult again = run_schedule({.seed = 42, .trace = true}, unused);
  CHECK(once.trace == again.trace);
  CHECK(once.trace.size() > 50);
}

/// Fixed seeds: whether a mutant is caught does not depend on luck.
void check_caught(Mutant mutant) {
  constexpr std::uint64_t kSchedulesMax = 50'000;
  const Campaign campaign = run_campaign(1, kSchedulesMax, mutant);
  REQUIRE_FALSE(campaign.failed.empty());
  Coverage unused;
  const ScheduleResult result =
      run_schedule({.seed = campaign.failed.front(), .mutant = mutant}, unused);
  std::cout << "caught by schedule " << campaign.failed.front() << ": " << result.violations.front()
            << std::endl;
}

TEST_CASE("a relay that sends without a durable intent is caught") {
  check_caught(Mutant::no_intent);
}

TEST_CASE("a compare-and-set without the epoch is caught") { check_caught(Mutant::no_epoch_check); }

TEST_CASE("a sink without its condition is caught") { check_caught(Mutant::no_sink_condition); }

TEST_CASE("a sink that compares the position before an event, not the event there, is caught") {
  check_caught(Mutant::position_only);
}

TEST_CASE("a sink that acknowledges before it is durable is caught") {
  check_caught(Mutant::no_durable_ack);
}

TEST_CASE("a page that is bound after an operator discarded one of its events is caught") {
  check_caught(Mutant::no_stale_check);
}

TEST_CASE("events that pass a parked one of their key are caught") {
  check_caught(Mutant::no_key_block);
}

TEST_CASE("a redrive that passes a parked event of its key is caught") {
  check_caught(Mutant::blind_redrive);
}

TEST_CASE("a redrive that passes events which a settlement has unbound is caught") {
  check_caught(Mutant::eager_redrive);
}

}  // namespace
}  // namespace outseal::sim
