// Operations with effects whose processes are killed at every step, on any database.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conformance/store_suite.h"
#include "outseal/effects.h"
#include "torture/effect_ledger.h"

namespace outseal::test {

/// What is tried: an operation of so many effects, their policies, and their provider.
struct EffectPlan {
  int effects = 1;
  std::vector<Policy> policies;
  ProviderModel model;

  std::string text() const;
};

/// What became of a campaign.
struct EffectTally {
  std::uint64_t operations = 0;
  std::uint64_t kills = 0;
  std::uint64_t finished = 0;
  std::uint64_t unknown = 0;  ///< Left to an operator.
  /// What must not be: double charges, second calls after hand_over, outcomes that the provider's
  /// ledger contradicts, operations that never end, leftovers that no list shows.
  std::vector<std::string> violations;
};

/// Up to the first plan with a violation, runs operations of each on a fresh database, one after
/// the other: the first dies at the first point at which a process can be killed, the next at the
/// next one, `rounds` times. Half of those that resume are killed as well, at random. Each runs in
/// processes of its own.
///
/// The parent must not have passed a failpoint: children take theirs from the environment.
EffectTally run_effect_campaign(std::uint64_t seed, std::uint64_t rounds);

}  // namespace outseal::test
