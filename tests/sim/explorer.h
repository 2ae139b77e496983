// The explorer visits every history of a small world; schedule.h samples histories of a larger one.
//
// Breadth first from the initial world, it makes every move that the bounds allow: steps of relays,
// database and sink, lost answers, crashes whose last commands arrive later, expiring leases, acts
// of an operator. States that behave alike (canonical.cc) are visited once. In every state
//
// - no rule may be broken, and no relay may have halted;
// - what the sink holds must follow from what was committed (support/history.h);
// - left alone without further faults, the world must publish the rest, each event once: with the
//   relays as they are (from each state), and with a new relay that drains (from each state of
//   database and sink, which is all that such a relay finds).
//
// The counterexample found is a shortest one; the moves that lead to it are made again and
// recorded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/database.h"
#include "sim/sink.h"

namespace outseal::sim {

/// How often each kind of trouble may happen in one history.
struct Budgets {
  std::uint8_t crashes = 0;   ///< Of a relay.
  std::uint8_t faults = 0;    ///< Answers or commands that are lost.
  std::uint8_t expiries = 0;  ///< Of leases whose relay lives.
  std::uint8_t acts = 0;      ///< Of an operator.
  std::uint8_t stops = 0;     ///< A relay is asked to stop.
  std::uint8_t losses = 0;    ///< The sink loses its last event.
};

struct Bounds {
  std::string name{};
  std::vector<Content> events;
  std::size_t committed_later = 0;  ///< That many of them are not there at the beginning.
  SinkKind sink = SinkKind::conditional;
  bool pipelined = false;
  bool forgetful = false;
  bool drains = false;       ///< Relays run with --drain.
  bool renews = false;       ///< Leases come to be renewed at any time.
  bool overlapping = false;  ///< A relay hears of the sink while it waits for the database.
  std::size_t page_events = 2;
  Budgets budgets{};
  std::uint64_t states_max = 150'000;
  Mutant mutant = Mutant::none;
};

struct Exploration {
  std::uint64_t states = 0;
  std::uint64_t moves = 0;
  std::size_t depth = 0;
  bool complete = false;           ///< There is no further state within the bounds.
  std::string violation;           ///< Empty: none was found.
  std::vector<std::string> trace;  ///< How it comes about, a line each.
};

Exploration explore(const Bounds& bounds);

}  // namespace outseal::sim
