// What an operator does to a whole subscription: gives it another sink, or gives it up.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/sink.h"
#include "sql/connection.h"
#include "store/audit.h"

namespace outseal::store {

/// The sink that a subscription is to have.
struct NewSink {
  std::string address;  ///< As SubscriptionSpec::sink.
  Sink& sink;           ///< Opened and closed, never written.
};

/// What move() found.
struct Moved {
  std::string from;          ///< The address before.
  Tail tail;                 ///< Where the new sink ends.
  bool is_verified = false;  ///< False: it has no tail, and the operator's word stands alone.
};

/// Lets `subscription` go on into another sink that holds the same events: the same one under
/// another address that cannot be told to be, or a copy. Its tail must be the acknowledged event,
/// or lie in the pending batch, which the next relay compares.
///
/// @throws Error{refused} if a relay leads the subscription, or the new sink ends
///         elsewhere or holds what is none of ours.
/// @throws Error{sink_unreachable} if it cannot be opened.
/// @throws Error{invalid_argument} if there is no such subscription, or a text is not UTF-8.
/// Crash: one transaction with its row in the audit trail; it happened or it did not.
Moved move_subscription(sql::Connection& connection, std::string_view subscription,
                        const NewSink& target, const Act& act);

/// What remove() took away.
struct Removed {
  std::uint64_t unpublished = 0;  ///< Events that it had not acknowledged, as far as counted.
  std::uint64_t parked = 0;       ///< Those that were parked or queued.
};

/// Deletes `subscription` with its journal and its parked events. The outbox keeps its events until
/// retention finds nobody else who needs them; the sink keeps what it has.
///
/// `force`: also if events are unpublished or parked.
/// @throws Error{refused} if a relay leads it; without `force` if events are unpublished or parked.
/// @throws Error{invalid_argument} as move_subscription(), and without a reason.
/// Crash: one transaction with its row in the audit trail.
Removed remove_subscription(sql::Connection& connection, std::string_view subscription, bool force,
                            const Act& act);

}  // namespace outseal::store
