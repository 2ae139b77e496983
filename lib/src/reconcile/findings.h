// Findings in the database: their life across runs.
//
//            seen                 gone                 seen
//   (none) --------> open ------------------> closed --------> open
//                     | operator: accepted, false_alarm         ^
//                     |   stays so while it is seen; gone: closed
//                     | operator: repaired ----- seen again ----+
//
// Nothing is ever deleted. Only a check that looked at its scope in this run may close a finding.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "reconcile/check.h"
#include "sql/connection.h"
#include "sql/finding.h"

namespace outseal::reconcile {

using sql::FindingDecision;
using sql::FindingFilter;
using sql::StoredFinding;

/// What a run did to the findings of one check.
struct LifeCounts {
  std::uint64_t opened = 0;   ///< New ones, and those that came back.
  std::uint64_t seen = 0;     ///< Open before and still there.
  std::uint64_t decided = 0;  ///< Still there, but accepted or a false alarm.
  std::uint64_t closed = 0;   ///< Gone.
  std::uint64_t open = 0;     ///< Open after the run, by name.
  std::uint64_t unnamed = 0;  ///< As well, but over the report's limit.
};

/// Writes what `check` found in `run`. Inside the caller's write transaction.
/// `covered` says whether a scope was looked at; if the report is over its limit, none was.
LifeCounts record_findings(sql::Connection& connection, std::int64_t run, std::string_view check,
                           const Report& report, const std::function<bool(const Scope&)>& covered);

/// Shows findings by id, read in pages.
void list_findings(sql::Connection& connection, const FindingFilter& filter,
                   const std::function<void(const StoredFinding&)>& show);

/// @throws Error{invalid_argument} if there is none with this id.
StoredFinding read_finding(sql::Connection& connection, std::int64_t id);

/// Writes the decision with its audit row in one transaction. Returns the finding as it is then.
/// @throws Error{invalid_argument} for an unknown id or state, an empty reason, or a closed
/// finding.
StoredFinding resolve_finding(sql::Connection& connection, std::int64_t id,
                              const FindingDecision& decision);

}  // namespace outseal::reconcile
