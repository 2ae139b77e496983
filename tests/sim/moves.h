// The moves of the explorer: what can happen next in a state, and how it comes about.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/digest.h"
#include "sim/explorer.h"
#include "sim/world.h"

namespace outseal::sim {

/// Long beside all pauses of a relay, so that they never make a renewal due.
inline constexpr Milliseconds kLease{60'000};

/// Something that can happen next.
struct Move {
  enum class Kind : std::uint8_t {
    start,
    database_does,
    database_loses,
    database_does_later,
    database_does_in_doubt,
    database_answers,
    sink_does,
    sink_does_not,
    sink_in_doubt,
    sink_in_doubt_goes_on,
    sink_answers,
    timer,
    lease_is_due,
    stop,
    crash,
    lease_runs_out,
    ghost,
    late_write,
    pause,
    resume,
    redrive,
    redrive_mended,
    redrive_all,
    discard,
    loss,
    commit,
  };

  Kind kind{};
  std::uint8_t whose = 0;   ///< A relay, an event, a ghost, a late write.
  std::uint8_t detail = 0;  ///< Size of a page; bits of what a crash leaves behind.
};

/// A world on its way through the moves.
struct State {
  State(const Bounds& bounds, Coverage& coverage, SimRelay::Trace trace);

  /// Of all that decides about what comes, but for what is left of the budgets.
  Digest canonical() const;
  /// The same, of what outlives the relays and all that is on its way.
  Digest durable() const;

  World world;
  std::array<Milliseconds, 2> clocks{};  ///< Each relay's own.
  Budgets left;
};

/// Whether a relay runs that takes leases under the name `owner`.
bool lives(const World& world, const std::string& owner);
/// Everything that can happen in `state`.
std::vector<Move> moves_of(const State& state, const Bounds& bounds);
void make(const Move& move, const Bounds& bounds, State& state);
/// Something that dead relays left behind; false if there is nothing.
bool step_of_the_dead(const Bounds& bounds, State& state);
/// The next thing that relay `index` does if nothing goes wrong.
void step_without_faults(std::size_t index, const Bounds& bounds, State& state);

}  // namespace outseal::sim
