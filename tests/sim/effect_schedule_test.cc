// Many schedules of operations with effects; each mutant must fail within a few of them.
//
//   OUTSEAL_SCHEDULES=N  how many; 100,000 by default, scaled down by OUTSEAL_SCALE
//   OUTSEAL_SEED=N       the first one's seed; by default a random one. A failing schedule is run
//                        again with a trace by OUTSEAL_SEED=its seed OUTSEAL_SCHEDULES=1
#include "sim/effect_schedule.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/mutant.h"
#include "support/scale.h"

namespace outseal::sim {
namespace {

/// With at least so many schedules each situation must have occurred.
constexpr std::uint64_t kCoveringSchedules = 20'000;

struct Campaign {
  EffectCoverage coverage;
  std::uint64_t steps = 0;
  std::optional<std::uint64_t> failed;  ///< A seed.
};

Campaign run_campaign(std::uint64_t first, std::uint64_t count) {
  Campaign campaign;
  std::mutex mutex;
  std::atomic<std::uint64_t> next{first};
  const auto work = [&] {
    Campaign own;
    for (std::uint64_t seed = next++; seed < first + count; seed = next++) {
      const EffectScheduleResult result = run_effect_schedule(seed, false, own.coverage);
      own.steps += result.steps;
      if (result.violations.empty()) continue;
      own.failed = seed;
      next = first + count;
    }
    const std::lock_guard lock{mutex};
    campaign.coverage += own.coverage;
    campaign.steps += own.steps;
    if (own.failed) campaign.failed = own.failed;
  };
  std::vector<std::jthread> workers;
  for (unsigned at = 0; at < std::max(1U, std::thread::hardware_concurrency()); ++at)
    workers.emplace_back(work);
  workers.clear();
  return campaign;
}

void print_failure(std::uint64_t seed) {
  EffectCoverage unused;
  const EffectScheduleResult result = run_effect_schedule(seed, true, unused);
  for (const std::string& line : result.trace) std::cout << line << '\n';
  for (const std::string& text : result.violations) std::cout << "violated: " << text << '\n';
  std::cout << "again: OUTSEAL_SEED=" << seed << " OUTSEAL_SCHEDULES=1\n";
}

constexpr const char* kName = "no schedule breaks a promise about effects";

TEST_CASE("no schedule breaks a promise about effects") {
  const std::uint64_t first =
      test::from_environment("OUTSEAL_SEED", std::random_device{}() % 1'000'000'000);
  const std::uint64_t count =
      test::from_environment("OUTSEAL_SCHEDULES", test::scaled(100'000, 1'000'000));
  const Campaign campaign = run_campaign(first, count);
  std::cout << count << " schedules from seed " << first << ", " << campaign.steps << " steps\n";
  if (campaign.failed) print_failure(*campaign.failed);
  CHECK_FALSE(campaign.failed);
  if (count < kCoveringSchedules || campaign.failed) return;
  for (const std::string& name : campaign.coverage.missing())
    CHECK_MESSAGE(false, "never happened: " << name);
}

TEST_CASE("without any of its guards a schedule breaks a promise") {
  ::setenv("OUTSEAL_SCHEDULES", "1000000", 1);  // Each stops at the first that does.
  for (const char* mutant : {"no_fence", "no_intent_before_call", "lease_by_local_clock",
                             "window_ignored", "replays_ignored", "not_found_is_proof",
                             "in_flight_ignored", "not_sent_forgets", "late_call"}) {
    CAPTURE(std::string{mutant});
    CHECK_FALSE(test::passes_with_mutant(mutant, kName));
  }
}

}  // namespace
}  // namespace outseal::sim
