// Findings in the database: their life across runs.
//
//            seen                 gone                 seen
//   (none) --------> open ------------------> closed --------> open
//                     | operator: accepted, false_alarm         ^
//                     |   stays so while it is seen; gone: closed
//                     | operator: repaired ----- seen again ----+
//
// Nothing is ever deleted. Only a check that looked at a subject in this run may close its finding.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reconcile/check.h"
#include "sql/connection.h"

namespace outseal::reconcile {

/// A row of outseal_finding.
struct StoredFinding {
  std::int64_t id = 0;
  std::string check;
  std::string subject;
  std::string severity;
  std::string state;
  std::string detail;
  std::int64_t first_run = 0;
  std::int64_t last_run = 0;
  std::int64_t opened_at_ms = 0;
  std::optional<std::int64_t> closed_at_ms;
  std::string decided_by;
  std::string decision;
};

/// What a run did to the findings of one check.
struct LifeCounts {
  std::uint64_t opened = 0;   ///< New ones, and those that came back.
  std::uint64_t seen = 0;     ///< Open before and still there.
  std::uint64_t decided = 0;  ///< Still there, but accepted or a false alarm.
  std::uint64_t closed = 0;   ///< Gone.
  std::uint64_t open = 0;     ///< Open after the run.
};

/// Writes what `check` found in `run`. Inside the caller's write transaction.
/// `covered` says whether a subject was looked at; if the report is over its limit, none was.
LifeCounts record_findings(sql::Connection& connection, std::int64_t run, std::string_view check,
                           const Report& report,
                           const std::function<bool(std::string_view subject)>& covered);

/// Which findings to list.
struct FindingFilter {
  std::string check = {};  ///< Empty: of every check.
  bool any_state = false;  ///< False: only open ones.
};

/// Shows findings by id, read in pages.
void list_findings(sql::Connection& connection, const FindingFilter& filter,
                   const std::function<void(const StoredFinding&)>& show);

/// @throws Error{invalid_argument} if there is none with this id.
StoredFinding read_finding(sql::Connection& connection, std::int64_t id);

/// What an operator decided about a finding.
struct FindingDecision {
  std::string state;  ///< "accepted", "false_alarm" or "repaired".
  std::string actor;
  std::string reason;
};

/// Writes the decision with its audit row in one transaction. Returns the finding as it is then.
/// @throws Error{invalid_argument} for an unknown id or state, an empty reason, or a closed
/// finding.
StoredFinding resolve_finding(sql::Connection& connection, std::int64_t id,
                              const FindingDecision& decision);

}  // namespace outseal::reconcile
