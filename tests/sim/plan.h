// What is to happen in a schedule.
#pragma once

#include <cstdint>
#include <string>

#include "sim/database.h"
#include "sim/random.h"
#include "sim/sink.h"

namespace outseal::sim {

/// What goes wrong in a schedule, drawn before its first step. Chances are in percent.
struct Plan {
  enum class Fork { none, foreign, restore };

  std::size_t relays = 2;
  SinkKind sink = SinkKind::conditional;
  Fork fork = Fork::none;
  bool rebuild = false;
  bool forgetful = false;  ///< Relays know that the sink loses events, and send them again.
  bool pipelined = false;  ///< A refused event's successors were sent before its refusal was known.
  bool mends = true;       ///< In the end nothing is refused any more, and all is redriven.
  bool restarts = true;    ///< In the end all relays die, and one of them drains.
  std::size_t page_events = 1;
  Milliseconds lease{0};
  Milliseconds look_again{
      0};  ///< How often an idle leader looks at the end of a sink that forgets.
  std::size_t events = 0;
  std::size_t keys = 1;
  std::uint64_t steps = 0;
  std::uint64_t refused_early = 0;
  std::uint64_t rejected_late = 0;
  std::uint64_t database_fault = 0;  ///< Per database command.
  std::uint64_t sink_fault = 0;      ///< Per step of a sink command.
  std::uint64_t disaster = 0;        ///< Per step: crash, pause, restart, operator, ...
  bool loses = false;
  bool lies = false;

  static Plan draw(Random& random);
  std::string text() const;
};

}  // namespace outseal::sim
