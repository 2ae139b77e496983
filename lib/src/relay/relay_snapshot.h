// Where the relay of one subscription stands, as its observations tell: for a status page. What the
// database knows of all subscriptions, whoever leads them: store/status.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "observe/observation.h"
#include "outseal/ids.h"

namespace outseal::relay {

struct RelaySnapshot {
  using Time = std::chrono::system_clock::time_point;
  enum class State {
    starting,              ///< The database is being looked at.
    standby,               ///< Another relay leads.
    paused,                ///< By an operator.
    opening,               ///< It has the lease and opens the sink.
    leading,               ///< Database and sink can be used.
    waiting_for_sink,      ///< It has the lease; the sink cannot be used now.
    waiting_for_database,  ///< It has no lease; the database cannot be used now.
    halted,                ///< Ended by an error; `retry_at` if it is tried again.
    finished,
  };

  std::string subscription;
  State state = State::starting;
  Time since;                    ///< When it came to this state.
  std::optional<Time> retry_at;  ///< While it waits or has halted: when it tries again.
  // As of when it led last; 0 if it never has.
  Position acked;               ///< The last event that is durable in the sink.
  Position bound;               ///< The last event that has a position.
  std::uint64_t published = 0;  ///< Events since the process began.
  std::string last_error;       ///< Stays when the trouble is over; empty: there was none.
  std::optional<Time> last_error_at;

  /// Events bound and not acknowledged.
  std::uint64_t in_flight() const { return bound.value() - acked.value(); }
};

/// Brings `snapshot` up to date with what happened at `now`.
void apply(const observe::Observation& what, RelaySnapshot::Time now, RelaySnapshot& snapshot);

}  // namespace outseal::relay
