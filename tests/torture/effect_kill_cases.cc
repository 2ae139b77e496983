// Kills at every step of operations with effects, on the database that make_store() makes.
#include <doctest/doctest.h>

#include <iostream>
#include <random>
#include <string>

#include "support/mutant.h"
#include "support/scale.h"
#include "torture/effect_campaign.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("whatever dies at whichever step, nothing is charged twice and nothing is forgotten") {
  const std::uint64_t seed = from_environment("OUTSEAL_SEED", std::random_device{}());
  CAPTURE(seed);
  // A server takes several times as long for each.
  const std::uint64_t rounds = make_store()->one_writer() ? scaled(2, 20) : scaled(1, 10);
  const EffectTally tally = run_effect_campaign(seed, rounds);
  std::cout << "OUTSEAL_SEED=" << seed << ": " << tally.operations << " operations, " << tally.kills
            << " kills, " << tally.finished << " finished, " << tally.unknown
            << " left to an operator\n";
  for (const std::string& each : tally.violations) CHECK_MESSAGE(false, each);
  CHECK(tally.kills >= rounds * scaled(700));
  CHECK(tally.unknown > 0);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without an intent, or a wait for what is on its way, the provider's ledger shows it") {
  if (scaled(100) < 100) return;  // Too few kills to come upon them.
  for (const char* mutant : {"no_intent_before_call", "in_flight_ignored"})
    CHECK_FALSE(passes_with_mutant(mutant, "whatever dies at whichever step*"));
}
#endif
