// outseal-reconcile run: the checks, what they saw, what is open, and a verdict.
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/database.h"
#include "cli/progress_line.h"
#include "outseal/error.h"
#include "reconcile/run.h"
#include "reconcile_commands.h"
#include "reconcile_sinks.h"

namespace outseal::tools {

namespace {

using reconcile::CheckResult;
using reconcile::Report;
using reconcile::RunResult;
using reconcile::StoredFinding;

reconcile::CheckOptions check_options_of(const Settings& settings) {
  const auto seconds = [&settings](Option option) {
    return std::chrono::seconds{settings.number(option)};
  };
  reconcile::CheckOptions options;
  options.grace_stuck = seconds(Option::grace_stuck_s);
  options.grace_unpublished = seconds(Option::grace_unpublished_s);
  options.grace_parked = seconds(Option::grace_parked_s);
  options.findings_max = settings.number(Option::findings_max);
  options.subscriptions = settings.list(Option::subscriptions);
  return options;
}

std::string looked_at(const Report& report) {
  std::string text;
  for (const Report::Count& count : report.counts())
    text +=
        (text.empty() ? "" : ", ") + std::string{count.what} + " " + std::to_string(count.count);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text.empty() ? "nothing" : text;
}

std::string findings_of(const CheckResult& check) {
  const reconcile::LifeCounts& life = check.life;
  std::string text = life.open == 0 ? "none open" : std::to_string(life.open) + " open";
  const auto add = [&text](std::uint64_t count, std::string_view what) {
    if (count != 0) text += ", " + std::to_string(count) + " " + std::string{what};
  };
  add(life.opened, "new");
  add(life.closed, "closed");
  add(life.decided, "decided");
  add(check.life.unnamed, "more not listed");
  return text;
}

std::size_t skipped_of(const RunResult& result) {
  std::size_t skipped = 0;
  for (const CheckResult& check : result.checks) skipped += check.report.skips().size();
  return skipped;
}

/// Shows the findings that are open now, of the checks of this run.
void for_each_open(sql::Connection& connection, const RunResult& result,
                   const std::function<void(const StoredFinding&)>& show) {
  for (const CheckResult& check : result.checks)
    if (check.life.open != 0) reconcile::list_findings(connection, {.check = check.name}, show);
}

void print_text_result(sql::Connection& connection, const RunResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const CheckResult& check : result.checks)
    rows.push_back({check.name, findings_of(check), looked_at(check.report),
                    format_duration_ms(check.report.elapsed_ms)});
  print_table({"CHECK", "FINDINGS", "LOOKED AT", "TIME"}, rows);
  for (const CheckResult& check : result.checks)
    for (const Report::Skip& skip : check.report.skips())
      print_line("NOT CHECKED: " + check.name + " of subscription " + skip.subscription + ": " +
                 printable(skip.why));
  for_each_open(connection, result, [&result](const StoredFinding& finding) {
    print_line("");
    print_line("finding " + std::to_string(finding.id) + "  " + finding.severity + "  " +
               finding.check + "  " + printable(finding.subject.text()));
    print_line("  " + printable(finding.detail));
    const std::string hint = reconcile::hint_for(finding.check, finding.subject.kind);
    if (!hint.empty()) print_line("  " + hint);
    if (finding.last_run != result.id)
      print_line("  (last seen by run " + std::to_string(finding.last_run) + ")");
  });
  print_line("");
  const std::size_t skipped = skipped_of(result);
  const std::string unchecked =
      skipped == 0 ? "" : "; " + std::to_string(skipped) + " subscription(s) NOT CHECKED";
  const std::string verdict = result.open != 0            ? "NOT fine: "
                              : result.failure != nullptr ? "NOT complete: "
                                                          : "fine: ";
  const std::string open = result.open == 0   ? "no finding is open"
                           : result.open == 1 ? "1 finding is open"
                                              : std::to_string(result.open) + " findings are open";
  print_line(verdict + open + unchecked);
}

JsonObject json_of(const CheckResult& check) {
  JsonObject counts;
  for (const Report::Count& count : check.report.counts()) counts.add(count.what, count.count);
  std::string skips;
  for (const Report::Skip& skip : check.report.skips())
    skips += (skips.empty() ? "" : ",") +
             JsonObject{}.add("subscription", skip.subscription).add("why", skip.why).text();
  JsonObject object;
  object.add("record", "check").add("check", check.name).add_raw("looked_at", counts.text());
  object.add("open", check.life.open).add("opened", check.life.opened);
  object.add("closed", check.life.closed).add("decided", check.life.decided);
  object.add("not_listed", check.life.unnamed).add_raw("not_checked", "[" + skips + "]");
  object.add("elapsed_ms", check.report.elapsed_ms);
  return object;
}

void print_json_result(sql::Connection& connection, const RunResult& result) {
  for (const CheckResult& check : result.checks) print_line(json_of(check).text());
  for_each_open(connection, result, [](const StoredFinding& finding) {
    JsonObject object;
    object.add("record", "finding").add("id", finding.id).add("check", finding.check);
    add_subject(object, finding.subject);
    object.add("severity", finding.severity).add("detail", finding.detail);
    object.add("hint", reconcile::hint_for(finding.check, finding.subject.kind));
    object.add("first_run", finding.first_run).add("last_run", finding.last_run);
    print_line(object.text());
  });
  JsonObject object;
  object.add("record", "run").add("run", result.id).add("open", result.open);
  object.add("complete", result.failure == nullptr).add("not_checked", skipped_of(result));
  object.add("elapsed_ms", result.elapsed_ms);
  print_line(object.text());
}

}  // namespace

int reconcile_run(const Settings& settings) {
  const reconcile::CheckOptions options = check_options_of(settings);
  const auto checks = reconcile::select_checks(settings.list(Option::check));
  const bool json = settings.toggle(Option::json);
  const auto connection = open_database(settings);
  const reconcile::SinkMaker make_sink = sink_maker_of(settings, *connection);
  const RunResult result = [&] {
    ProgressLine line{!json};
    return reconcile::run_checks(*connection, checks, options, make_sink,
                                 [&line](std::string_view check, std::uint64_t done,
                                         std::uint64_t total) { line(check, done, total); });
  }();
  if (json)
    print_json_result(*connection, result);
  else
    print_text_result(*connection, result);
  // What could be checked is told and stored; a sink that failed still fails the run.
  if (result.failure != nullptr) std::rethrow_exception(result.failure);
  return result.open == 0 ? kExitFine : kExitFindings;
}

}  // namespace outseal::tools
