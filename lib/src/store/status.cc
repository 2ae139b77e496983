#include "store/status.h"

#include <algorithm>
#include <utility>

#include "sql/status.h"

namespace outseal::store {
namespace {

/// Joins the last halts to the subscriptions that they are about.
void add_halts(sql::Connection& connection, std::int64_t now_ms,
               std::vector<SubscriptionStatus>& all) {
  for (sql::Halt& halt : sql::list_halts(connection)) {
    auto about = std::find_if(all.begin(), all.end(), [&halt](const SubscriptionStatus& status) {
      return status.name == halt.subscription;
    });
    if (about == all.end()) {
      about = all.insert(all.end(), SubscriptionStatus{});
      about->name = halt.subscription;
      about->state = "running";
    }
    const bool is_led = !about->lease_owner.empty() && about->lease_remaining_ms > 0;
    if (about->state == "running" && !is_led) about->state = "halted";
    about->halted_ms = std::max<std::int64_t>(0, now_ms - halt.at_ms);
    about->last_halt = std::move(halt);
  }
}

}  // namespace

std::vector<SubscriptionStatus> read_status(sql::Connection& connection) {
  const std::int64_t now_ms = connection.now_ms();
  std::vector<SubscriptionStatus> all;
  for (sql::StatusRow& row : sql::list_status(connection, kWaitingCountMax)) {
    SubscriptionStatus status;
    status.name = std::move(row.name);
    status.sink = std::move(row.sink);
    status.state = std::move(row.state);
    status.bound = row.bound;
    status.acked = row.acked;
    status.epoch = row.epoch;
    if (row.lease_owner) {
      status.lease_owner = std::move(*row.lease_owner);
      status.lease_remaining_ms = row.lease_until_ms - now_ms;
    }
    status.waiting = row.waiting;
    if (row.oldest_waiting_ms)
      status.oldest_waiting_ms = std::max<std::int64_t>(0, now_ms - *row.oldest_waiting_ms);
    status.parked = row.parked;
    status.queued = row.queued;
    status.blocked_keys = row.blocked_keys;
    status.retention_note = std::move(row.retention_note);
    all.push_back(std::move(status));
  }
  add_halts(connection, now_ms, all);
  return all;
}

}  // namespace outseal::store
