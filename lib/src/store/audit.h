// The audit trail: decisions and operator acts, append-only, each row chained to the one before it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sql/connection.h"

namespace outseal::store {

/// Who did what to what.
struct AuditEntry {
  std::string_view actor;
  std::string_view act;      ///< For example "parked.discard".
  std::string_view subject;  ///< For example a subscription and an event id.
  std::string_view detail;   ///< A JSON object; no payloads.
};

/// Who acts, and why: what an operator's act leaves in the trail.
struct Act {
  std::string actor;
  std::string reason = {};
};

/// @throws Error{invalid_argument} unless both texts are UTF-8.
void check_act(const std::string& operation, const Act& act);
/// @throws Error{invalid_argument} for an act that may not go without a reason.
void require_reason(const std::string& operation, const Act& act);

/// "user@host" of this process, for acts without a named actor.
std::string current_actor();

/// Appends `entry` inside the caller's write transaction, so that act and record commit together.
/// @throws Error{internal} outside of a transaction.
void append_audit(sql::Connection& connection, const AuditEntry& entry);

/// Moves what services have noted to the trail (PostgreSQL; on SQLite they append to it), in
/// transactions of their own. Each row keeps its time and actor.
/// @returns how many there were.
std::uint64_t seal_audit(sql::Connection& connection);

/// Recomputes the whole chain.
/// @returns where and how it is broken first; nothing if it is whole.
std::optional<std::string> verify_audit(sql::Connection& connection);

}  // namespace outseal::store
