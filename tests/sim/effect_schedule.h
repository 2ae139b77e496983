// One seeded schedule of an operation with effects: the real core, driven by several processes that
// crash, sleep and wake up, on models of the database and of providers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/effect_coverage.h"

namespace outseal::sim {

struct EffectScheduleResult {
  std::vector<std::string> violations;  ///< Empty: all promises held.
  std::vector<std::string> trace;       ///< Only if it was wanted.
  std::uint64_t steps = 0;
};

EffectScheduleResult run_effect_schedule(std::uint64_t seed, bool trace, EffectCoverage& coverage);

}  // namespace outseal::sim
