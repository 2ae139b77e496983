// A schedule: one history of a small world, drawn from a seed.
//
// Two or three relays publish what producers commit, while everything that can go wrong does:
// crashes whose last commands arrive later (ghosts), pauses longer than the lease (zombies),
// answers that are lost, sinks that restart, forget, lie or are written by somebody else, databases
// restored from a backup, refused events, operators. Then the world heals (in half of the schedules
// what is refused stays refused, in half of them nobody restarts a relay), and everything must come
// out right:
//
// - the sink holds each committed event once, in the order of its key (support/history.h);
// - this takes a bounded number of steps;
// - no relay halts, unless its world lost data or has a second writer, and then one must.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/coverage.h"
#include "sim/database.h"

namespace outseal::sim {

struct ScheduleOptions {
  std::uint64_t seed = 1;
  Mutant mutant = Mutant::none;
  bool trace = false;
};

struct ScheduleResult {
  std::vector<std::string> violations;
  std::vector<std::string> trace;  ///< One line per step, if asked for.
  std::uint64_t steps = 0;
};

/// Runs the schedule of `options.seed`; the same options give the same result.
ScheduleResult run_schedule(const ScheduleOptions& options, Coverage& coverage);

}  // namespace outseal::sim
