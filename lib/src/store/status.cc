#include "store/status.h"

#include <algorithm>

namespace outseal::store {

std::vector<SubscriptionStatus> read_status(sql::Connection& connection) {
  const std::int64_t now_ms = connection.now_ms();
  std::vector<SubscriptionStatus> all;
  const sql::Use rows{connection.statement(sql::Query::read_status)};
  rows->bind(0, static_cast<std::int64_t>(kWaitingCountMax));
  const auto count = [&rows](int column) {
    return static_cast<std::uint64_t>(rows->integer(column));
  };
  while (rows->step()) {
    SubscriptionStatus status;
    status.name = rows->text(0);
    status.sink = rows->text(1);
    status.state = rows->text(2);
    status.bound = Position{count(3)};
    status.acked = Position{count(4)};
    status.epoch = Epoch{count(5)};
    if (!rows->is_null(6)) {
      status.lease_owner = rows->text(6);
      status.lease_remaining_ms = rows->integer(7) - now_ms;
    }
    status.waiting = count(8);
    if (!rows->is_null(9))
      status.oldest_waiting_ms = std::max<std::int64_t>(0, now_ms - rows->integer(9));
    status.parked = count(10);
    status.queued = count(11);
    status.blocked_keys = count(12);
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace outseal::store
