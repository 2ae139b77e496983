// The reconciler's runs, and its findings, which live across them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/finding.h"
#include "sql/connection.h"

namespace outseal::sql {

// --- Runs ----------------------------------------------------------------------------------------

/// A run that has not ended.
struct OpenRun {
  std::int64_t id = 0;
  std::string owner;
  std::int64_t started_at_ms = 0;
};
std::vector<OpenRun> list_open_runs(Connection& connection);

/// A run that begins.
struct NewRun {
  std::int64_t started_at_ms = 0;
  std::string_view owner;
  std::string_view checks;  ///< A JSON array of their names.
};
/// @returns its id.
std::int64_t insert_run(Connection& connection, const NewRun& run);

/// How a run ended.
struct RunEnd {
  std::int64_t finished_at_ms = 0;
  std::string_view summary;  ///< A JSON object.
};
/// @returns false if it had ended before.
bool finish_run(Connection& connection, std::int64_t id, const RunEnd& end);

// --- Findings ------------------------------------------------------------------------------------

/// A row of outseal_finding.
struct StoredFinding {
  std::int64_t id = 0;
  std::string check;
  Subject subject;
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

/// In which run, and when, findings are seen.
struct Moment {
  std::int64_t run = 0;
  std::int64_t now_ms = 0;
};

/// A finding that has been seen before.
struct KnownFinding {
  std::int64_t id = 0;
  std::string state;
};
std::optional<KnownFinding> find_known_finding(Connection& connection, std::string_view check,
                                               const Subject& subject);

void insert_finding(Connection& connection, std::string_view check, const Finding& finding,
                    Moment moment);
/// Notes that a known finding is still there, or is there again.
/// @param reopen  It is open again, and nobody has decided about it.
void see_finding(Connection& connection, std::int64_t id, const Finding& finding, Moment moment,
                 bool reopen);

/// A finding that an earlier run saw and this one did not.
struct UnseenFinding {
  std::int64_t id = 0;
  Scope scope;
  bool is_open = false;  ///< And not decided about.
};
std::vector<UnseenFinding> list_unseen_findings(Connection& connection, std::string_view check,
                                                std::int64_t run);
void close_finding(Connection& connection, std::int64_t id, std::int64_t now_ms);

/// How many findings of `check` are open.
std::uint64_t count_open_findings(Connection& connection, std::string_view check);

/// Which findings to list.
struct FindingFilter {
  std::string check = {};  ///< Empty: of every check.
  bool any_state = false;  ///< False: only open ones.
};
/// At most `rows_max` of those whose id is above `after`, by id.
std::vector<StoredFinding> list_findings(Connection& connection, const FindingFilter& filter,
                                         std::int64_t after, std::int64_t rows_max);

std::optional<StoredFinding> find_finding(Connection& connection, std::int64_t id);

/// What an operator decided about a finding.
struct FindingDecision {
  std::string state;  ///< "accepted", "false_alarm" or "repaired".
  std::string actor;
  std::string reason;
};
void decide_finding(Connection& connection, std::int64_t id, const FindingDecision& decision,
                    std::int64_t now_ms);

}  // namespace outseal::sql
