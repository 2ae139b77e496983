// How far each subscription is: what `outseal-relay status` shows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "outseal/ids.h"
#include "sql/connection.h"
#include "store/halt.h"

namespace outseal::store {

/// Events waiting are counted up to here, so that a look at a huge backlog stays cheap.
inline constexpr std::uint64_t kWaitingCountMax = 1'000'000;

/// One subscription as of one moment.
struct SubscriptionStatus {
  std::string name;
  std::string sink;
  std::string state;  ///< "running", "paused"; "halted" if it has, and nobody leads it.
  Position bound;
  Position acked;
  /// Events of the outbox that are not acknowledged, at most kWaitingCountMax. Those that the topic
  /// filter will leave out count until the relay has read past them.
  std::uint64_t waiting = 0;
  std::optional<std::int64_t> oldest_waiting_ms;  ///< Age of the first of them.
  std::string lease_owner;                        ///< Empty: nobody leads.
  Epoch epoch;
  std::int64_t lease_remaining_ms = 0;  ///< At most 0: expired.
  std::uint64_t parked = 0;
  std::uint64_t queued = 0;
  std::uint64_t blocked_keys = 0;
  std::optional<sql::Halt> last_halt;  ///< Since then no relay has led it.
  std::int64_t halted_ms = 0;          ///< Age of that.
  std::string retention_note;          ///< What retention cannot do and why; empty if all is well.
};

/// All subscriptions by name, as one snapshot, then those that halted before they were made.
/// @throws Error{schema_missing} if the database has no outseal schema.
std::vector<SubscriptionStatus> read_status(sql::Connection& connection);

}  // namespace outseal::store
