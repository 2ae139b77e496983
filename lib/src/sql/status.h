// How far each subscription is, as one moment of the database shows it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::sql {

struct StatusRow {
  std::string name;
  std::string sink;
  std::string state;  ///< "running" or "paused".
  Position bound;
  Position acked;
  Epoch epoch;
  std::optional<std::string> lease_owner;
  std::int64_t lease_until_ms = 0;
  std::uint64_t waiting = 0;  ///< Events that are not acknowledged, up to a limit.
  std::optional<std::int64_t> oldest_waiting_ms;  ///< When the first of them was created.
  std::uint64_t parked = 0;
  std::uint64_t queued = 0;
  std::uint64_t blocked_keys = 0;
  std::string retention_note;  ///< Empty if there is none.
};
/// All subscriptions, by name. At most `waiting_max` events are counted for each.
std::vector<StatusRow> list_status(Connection& connection, std::uint64_t waiting_max);

// Its plan is tested.
extern const Text kListStatus;

}  // namespace outseal::sql
