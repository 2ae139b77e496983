#include "reconcile/run.h"

#include <algorithm>
#include <chrono>

#include "base/owner.h"
#include "base/text.h"
#include "outseal/error.h"
#include "store/audit.h"
#include "store/turns.h"

namespace outseal::reconcile {
namespace {

using sql::OpenRun;
using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kWait{10'000};

std::int64_t elapsed_since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begin).count();
}

bool end_run(sql::Connection& connection, std::int64_t id, std::string_view summary) {
  return sql::finish_run(connection, id,
                         {.finished_at_ms = connection.now_ms(), .summary = summary});
}

void take_over(sql::Connection& connection, const OpenRun& run) {
  const std::int64_t age_ms = connection.now_ms() - run.started_at_ms;
  if (!is_certainly_gone(run.owner) && age_ms < kRunAgeMax.count())
    throw Error{
        ErrorCode::refused,
        "run",
        "run " + std::to_string(run.id) + " is at work since " + to_rfc3339(run.started_at_ms) +
            " (" + run.owner + ")",
        {.hint = "wait for it to end, then: outseal-reconcile run; one that died elsewhere is taken"
                 " over after 1 hour"}};
  end_run(connection, run.id, R"({"abandoned":true})");
}

std::int64_t begin_run(sql::Connection& connection,
                       const std::vector<std::unique_ptr<Check>>& checks) {
  std::string names = "[";
  for (const auto& check : checks) {
    if (names.size() > 1) names += ",";
    append_json_string(names, check->name());
  }
  names += "]";
  return sql::transact(connection, kWait, [&] {
    store::take_turns(connection);
    for (const OpenRun& run : sql::list_open_runs(connection)) take_over(connection, run);
    const std::string owner = this_owner();
    return sql::insert_run(connection,
                           {.started_at_ms = connection.now_ms(), .owner = owner, .checks = names});
  });
}

/// Ends the run also when a check throws, so that the next one need not take it over.
class RunGuard {
 public:
  RunGuard(sql::Connection& connection, std::int64_t id) : connection_{connection}, id_{id} {}
  ~RunGuard() {
    if (done_) return;
    try {
      sql::transact(connection_, kWait, [&] { end_run(connection_, id_, R"({"failed":true})"); });
    } catch (const std::exception&) {
      // The failure that got us here is the one to report.
    }
  }
  RunGuard(const RunGuard&) = delete;
  RunGuard& operator=(const RunGuard&) = delete;
  void release() { done_ = true; }

 private:
  sql::Connection& connection_;
  std::int64_t id_;
  bool done_ = false;
};

/// A subscription was looked at if it was asked for and could be read; the database as a whole if
/// nothing had to be left out.
bool covers(const CheckOptions& options, const Report& report, const Scope& scope) {
  if (scope.kind == Scope::Kind::database) return report.skips().empty();
  const auto& named = options.subscriptions;
  if (!named.empty() && std::find(named.begin(), named.end(), scope.name) == named.end())
    return false;
  return std::none_of(report.skips().begin(), report.skips().end(),
                      [&](const Report::Skip& skip) { return skip.subscription == scope.name; });
}

std::string summary_of(const RunResult& result) {
  std::string text = "{\"checks\":{";
  for (const CheckResult& check : result.checks) {
    if (&check != &result.checks.front()) text += ",";
    append_json_string(text, check.name);
    text += ":{";
    for (const Report::Count& count : check.report.counts()) {
      append_json_string(text, count.what);
      text += ":" + std::to_string(count.count) + ",";
    }
    text += "\"opened\":" + std::to_string(check.life.opened) +
            ",\"seen\":" + std::to_string(check.life.seen) +
            ",\"decided\":" + std::to_string(check.life.decided) +
            ",\"closed\":" + std::to_string(check.life.closed) +
            ",\"beyond\":" + std::to_string(check.life.unnamed) +
            ",\"skipped\":" + std::to_string(check.report.skips().size()) +
            ",\"elapsed_ms\":" + std::to_string(check.report.elapsed_ms) + "}";
  }
  return text + "},\"open\":" + std::to_string(result.open) + "}";
}

void write_results(sql::Connection& connection, const CheckOptions& options, RunResult& result) {
  sql::transact(connection, kWait, [&] {
    result.open = 0;
    for (CheckResult& check : result.checks) {
      const auto covered = [&](const Scope& scope) { return covers(options, check.report, scope); };
      check.life = record_findings(connection, result.id, check.name, check.report, covered);
      result.open += check.life.open + check.life.unnamed;
    }
    if (!end_run(connection, result.id, summary_of(result)))
      throw Error{
          ErrorCode::refused,
          "run",
          "another run took over after 1 hour",
          {.hint = "take fewer checks or subscriptions at once: outseal-reconcile run --check NAME"
                   " --subscription NAME"}};
  });
}

}  // namespace

RunResult run_checks(sql::Connection& connection, const std::vector<std::unique_ptr<Check>>& checks,
                     const CheckOptions& options, const SinkMaker& make_sink,
                     const Progress& progress) {
  options.validate();
  const auto begin = steady_clock::now();
  RunResult result;
  result.id = begin_run(connection, checks);
  RunGuard guard{connection, result.id};
  store::seal_audit(connection);
  // The clock is read before the subscriptions: what was acknowledged in between is not overdue.
  const std::int64_t now_ms = connection.now_ms();
  CheckContext context{.connection = connection,
                       .options = options,
                       .subscriptions = load_subscriptions(connection, options.subscriptions),
                       .now_ms = now_ms,
                       .make_sink = make_sink,
                       .progress = progress};
  for (const auto& check : checks) {
    const auto check_begin = steady_clock::now();
    Report report{options.findings_max};
    check->run(context, report);
    report.elapsed_ms = elapsed_since(check_begin);
    for (const Report::Skip& skip : report.skips())
      if (skip.failure != nullptr && result.failure == nullptr) result.failure = skip.failure;
    result.checks.push_back({std::string{check->name()}, std::move(report), {}});
  }
  write_results(connection, options, result);
  guard.release();
  result.elapsed_ms = elapsed_since(begin);
  return result;
}

}  // namespace outseal::reconcile
