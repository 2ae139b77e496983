// The rows of the audit trail.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// What a service adds to the trail (PostgreSQL): no link of the chain until it is moved there.
struct AuditNote {
  std::string act;
  std::string subject;
  std::string detail;  ///< A JSON object.
};
/// Bound, to travel with COMMIT. `note` must live as long.
Statement& insert_pending_audit(Connection& connection, const AuditNote& note);

/// One of those, as it was taken away.
struct PendingAudit {
  std::int64_t at_ms = 0;
  std::string actor;
  AuditNote note;
};
/// Takes the oldest away, at most `rows_max`, in the order of their ids.
std::vector<PendingAudit> take_pending_audit(Connection& connection, std::int64_t rows_max);

}  // namespace outseal::sql
