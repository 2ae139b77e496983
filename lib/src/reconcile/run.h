// A run of the reconciler: one at a time, its checks in order, everything written at the end.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "reconcile/check.h"
#include "reconcile/findings.h"
#include "sql/connection.h"

namespace outseal::reconcile {

/// A run that is older than this is taken over, whoever holds it. Chosen by us: no check takes that
/// long, and a run in another container cannot be seen to have died.
inline constexpr std::chrono::milliseconds kRunAgeMax = std::chrono::hours{1};

/// One check of a run.
struct CheckResult {
  std::string name;
  Report report;
  LifeCounts life;
};

struct RunResult {
  std::int64_t id = 0;
  std::int64_t elapsed_ms = 0;
  std::vector<CheckResult> checks;
  /// Findings that are open after the run, of the checks that ran, and those beyond the limit.
  std::uint64_t open = 0;
  /// The first failure to read a sink: the run is not complete. Empty: none.
  std::exception_ptr failure = {};
};

/// Runs `checks` and writes their findings in one short transaction at the end.
///
/// @throws Error{refused} while another run is at work; a run whose owner has certainly died, or
///         that is older than kRunAgeMax, is taken over.
/// Crash: findings stay as they were; the next run takes over.
RunResult run_checks(sql::Connection& connection, const std::vector<std::unique_ptr<Check>>& checks,
                     const CheckOptions& options, const SinkMaker& make_sink,
                     const Progress& progress = {});

}  // namespace outseal::reconcile
