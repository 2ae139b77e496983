// The lease: who leads a subscription. Each acquisition raises the epoch.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/subscription.h"
#include "sql/connection.h"

namespace outseal::sql {

/// Who is to lead, and from when to when.
struct Lease {
  std::string_view owner;
  std::int64_t until_ms = 0;
  std::int64_t now_ms = 0;
};

/// Inside the caller's transaction, which has read the row: `lease.owner` leads, in the next epoch
/// and with the next version. Its cursor is of the database `source` from now on.
void acquire_lease(Connection& connection, std::string_view subscription, const Lease& lease,
                   const SourceIdentity& source);
/// @returns false if another relay has led meanwhile; nothing is changed then.
bool renew_lease(Connection& connection, std::string_view subscription, Epoch epoch,
                 std::int64_t until_ms, std::int64_t now_ms);
/// Changes nothing if another relay has led meanwhile.
void release_lease(Connection& connection, std::string_view subscription, Epoch epoch,
                   std::int64_t now_ms);

}  // namespace outseal::sql
