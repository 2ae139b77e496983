// Parked events: what an operator may see and decide. The relay parks them (store/subscription.h)
// and publishes those that are queued again.
//
// An event with the cause 'behind' was never refused: it only keeps the order of its key. So a
// decision about the event in front of it sets it free as well, up to the next one that the sink
// refused itself. Events without a key have no order and stand alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::store {

/// One row of outseal_parked. Views are valid inside the callback that gets it.
struct ParkedEvent {
  std::string_view event_id;
  std::string_view topic;
  std::string_view key;
  std::string_view cause;  ///< "refused" or "behind".
  std::string_view state;  ///< "parked", "queued", "redriven" or "discarded".
  std::string_view reason;
  std::uint64_t attempts = 0;
  std::optional<Position> position;  ///< Where a redrive put it.
  std::int64_t parked_at_ms = 0;
  std::string_view decided_by;
  std::string_view decision;
};

/// Which parked events to show.
struct ParkedFilter {
  std::string subscription;
  std::optional<std::string> state = {};
  std::optional<std::string> key = {};
};

/// Shows the parked events that match, in the order of the log.
/// @throws Error{invalid_argument} if there is no such subscription.
void list_parked(sql::Connection& connection, const ParkedFilter& filter,
                 const std::function<void(const ParkedEvent&)>& show);

/// Which parked events a decision is about; exactly one of the three ways is set.
struct ParkedTarget {
  std::string subscription;
  std::vector<EventId> events = {};
  std::optional<std::string> key = {};  ///< Not empty.
  bool all = false;
};

/// Who decides and why.
struct ParkedDecision {
  std::string actor;
  std::string reason = {};  ///< Mandatory for discard().
};

/// How many events a decision moved.
struct ParkedCounts {
  std::uint64_t discarded = 0;
  std::uint64_t queued = 0;
};

/// Queues parked events so that the relay publishes them in the order of their keys. By id: each
/// event and those that only stand behind it. By key or all: everything parked there.
/// @throws Error{invalid_argument} if an event is not parked, or an earlier one of its key is;
///         nothing is changed then.
/// Crash: events and the audit row are one transaction.
ParkedCounts redrive(sql::Connection& connection, const ParkedTarget& target,
                     const ParkedDecision& decision);

/// Gives up on parked events for good and queues what only stood behind them. By id: whatever the
/// cause. By key or all: only what the sink itself refused.
/// @throws as redrive(), and Error{invalid_argument} without a reason.
/// Crash: events and the audit row are one transaction.
ParkedCounts discard(sql::Connection& connection, const ParkedTarget& target,
                     const ParkedDecision& decision);

}  // namespace outseal::store
