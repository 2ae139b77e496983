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
#include "sql/parked_decision.h"
#include "store/audit.h"

namespace outseal::store {

using sql::ParkedEvent;
using sql::ParkedFilter;

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
ParkedCounts redrive(sql::Connection& connection, const ParkedTarget& target, const Act& act);

/// Parks an event that no relay has bound yet, by an operator's word: the sink will not get it, and
/// later events of its key wait behind it until it is redriven or discarded. Whoever leads is
/// fenced, so that a page that was read already is read again.
/// @throws Error{invalid_argument} without a reason; if the event is not in the outbox, does not
///         match the subscription's topics, is bound already, or has been parked before.
/// Crash: the event and the audit row are one transaction.
void park(sql::Connection& connection, const std::string& subscription, EventId event,
          const Act& act);

/// Gives up on parked events for good and queues what only stood behind them. By id: whatever the
/// cause. By key or all: only what the sink itself refused.
/// @throws as redrive(), and Error{invalid_argument} without a reason.
/// Crash: events and the audit row are one transaction.
ParkedCounts discard(sql::Connection& connection, const ParkedTarget& target, const Act& act);

}  // namespace outseal::store
