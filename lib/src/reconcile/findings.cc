#include "reconcile/findings.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "outseal/error.h"
#include "store/audit.h"

namespace outseal::reconcile {
namespace {

using sql::KnownFinding;
using sql::Moment;

constexpr std::int64_t kPageRows = 500;
constexpr std::chrono::milliseconds kWait{10'000};

void record(sql::Connection& connection, std::string_view check, const Finding& finding,
            Moment moment, LifeCounts& counts) {
  const std::optional<KnownFinding> known =
      sql::find_known_finding(connection, check, finding.subject);
  if (!known) {
    sql::insert_finding(connection, check, finding, moment);
    ++counts.opened;
    return;
  }
  const bool reopen = known->state == "closed" || known->state == "repaired";
  sql::see_finding(connection, known->id, finding, moment, reopen);
  ++(reopen ? counts.opened : known->state == "open" ? counts.seen : counts.decided);
}

void close_unseen(sql::Connection& connection, const std::vector<sql::UnseenFinding>& unseen,
                  Moment moment, LifeCounts& counts) {
  for (const sql::UnseenFinding& finding : unseen)
    sql::close_finding(connection, finding.id, moment.now_ms);
  counts.closed = unseen.size();
}

/// Those that have a name from an earlier run are not counted twice.
std::uint64_t count_unnamed(const std::vector<sql::UnseenFinding>& unseen, std::uint64_t beyond) {
  const auto named = static_cast<std::uint64_t>(std::count_if(
      unseen.begin(), unseen.end(), [](const auto& finding) { return finding.is_open; }));
  return beyond - std::min(beyond, named);
}

void require_decidable(const StoredFinding& finding, const FindingDecision& decision) {
  const auto refuse = [](const std::string& message, std::string hint) {
    throw Error{ErrorCode::invalid_argument, "resolve", message, {.hint = std::move(hint)}};
  };
  if (decision.state != "accepted" && decision.state != "false_alarm" &&
      decision.state != "repaired")
    refuse("there is no decision '" + decision.state + "'",
           "use accepted, false_alarm or repaired");
  if (decision.reason.empty()) refuse("the reason is empty", "say why, for the audit trail");
  if (finding.state == "closed")
    refuse("finding " + std::to_string(finding.id) + " is closed", "there is nothing to decide");
}

std::string audit_detail(const StoredFinding& finding, const FindingDecision& decision) {
  std::string detail = "{\"check\":";
  append_json_string(detail, finding.check);
  detail += ",\"subject\":";
  append_json_string(detail, finding.subject.text());
  detail += ",\"from\":";
  append_json_string(detail, finding.state);
  detail += ",\"to\":";
  append_json_string(detail, decision.state);
  detail += ",\"reason\":";
  append_json_string(detail, decision.reason);
  return detail + "}";
}

}  // namespace

LifeCounts record_findings(sql::Connection& connection, std::int64_t run, std::string_view check,
                           const Report& report, const std::function<bool(const Scope&)>& covered) {
  const Moment moment{run, connection.now_ms()};
  LifeCounts counts;
  for (const Finding& finding : report.findings())
    record(connection, check, finding, moment, counts);
  auto unseen = sql::list_unseen_findings(connection, check, run);
  std::erase_if(unseen, [&](const auto& finding) { return !covered(finding.scope); });
  // Over the limit, a finding that has no name in this report may well still be there.
  if (report.beyond() == 0)
    close_unseen(connection, unseen, moment, counts);
  else
    counts.unnamed = count_unnamed(unseen, report.beyond());
  counts.open = sql::count_open_findings(connection, check);
  return counts;
}

void list_findings(sql::Connection& connection, const FindingFilter& filter,
                   const std::function<void(const StoredFinding&)>& show) {
  std::int64_t after = 0;
  for (bool more = true; more;) {
    more = false;
    for (const StoredFinding& finding : sql::list_findings(connection, filter, after, kPageRows)) {
      more = true;
      after = finding.id;
      show(finding);
    }
  }
}

StoredFinding read_finding(sql::Connection& connection, std::int64_t id) {
  auto finding = sql::find_finding(connection, id);
  if (!finding)
    throw Error{ErrorCode::invalid_argument,
                "findings",
                "there is no finding " + std::to_string(id),
                {.hint = "see them with: outseal-reconcile findings list --all"}};
  return std::move(*finding);
}

StoredFinding resolve_finding(sql::Connection& connection, std::int64_t id,
                              const FindingDecision& decision) {
  return sql::transact(connection, kWait, [&] {
    const StoredFinding finding = read_finding(connection, id);
    require_decidable(finding, decision);
    sql::decide_finding(connection, id, decision, connection.now_ms());
    const std::string detail = audit_detail(finding, decision);
    const std::string subject = "finding " + std::to_string(id);
    store::append_audit(
        connection,
        {.actor = decision.actor, .act = "finding.resolve", .subject = subject, .detail = detail});
    return read_finding(connection, id);
  });
}

}  // namespace outseal::reconcile
