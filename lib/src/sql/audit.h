// The rows of the audit trail.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sql/connection.h"

namespace outseal::sql {

/// A row of the audit trail.
struct AuditRow {
  std::int64_t id = 0;  ///< Given by the database.
  std::int64_t at_ms = 0;
  std::string_view actor;
  std::string_view act;
  std::string_view subject;
  std::string_view detail;     ///< A JSON object.
  std::string_view prev_hash;  ///< The hash of the row before it.
  std::string_view hash;
};

/// The hash of the last row; nothing if there is none.
std::optional<std::string> last_audit_hash(Connection& connection);
void insert_audit(Connection& connection, const AuditRow& row);
/// Calls `take` for each row, in the order in which they were written, until it returns false. The
/// row lives as long as the call.
void walk_audit(Connection& connection, const std::function<bool(const AuditRow&)>& take);

}  // namespace outseal::sql
