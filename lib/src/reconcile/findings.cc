#include "reconcile/findings.h"

#include <chrono>

#include "base/text.h"
#include "outseal/error.h"
#include "store/audit.h"

namespace outseal::reconcile {
namespace {

using sql::Query;

constexpr std::int64_t kPageRows = 500;
constexpr std::chrono::milliseconds kWait{10'000};

StoredFinding finding_of(const sql::Statement& row) {
  StoredFinding finding;
  finding.id = row.integer(0);
  finding.check = row.text(1);
  finding.subject = row.text(2);
  finding.severity = row.text(3);
  finding.state = row.text(4);
  finding.detail = row.text(5);
  finding.first_run = row.integer(6);
  finding.last_run = row.integer(7);
  finding.opened_at_ms = row.integer(8);
  if (!row.is_null(9)) finding.closed_at_ms = row.integer(9);
  finding.decided_by = row.text(10);
  finding.decision = row.text(11);
  return finding;
}

/// Where and when a report is written.
struct Moment {
  std::int64_t run;
  std::int64_t now_ms;
};

void insert(sql::Connection& connection, std::string_view check, const Finding& finding,
            Moment moment) {
  const sql::Use use{connection.statement(Query::insert_finding)};
  use->bind_text(0, check);
  use->bind_text(1, finding.subject);
  use->bind_text(2, name_of(finding.severity));
  use->bind_text(3, finding.detail);
  use->bind(4, moment.run);
  use->bind(5, moment.now_ms);
  use->step();
}

void see(sql::Connection& connection, std::int64_t id, const Finding& finding, Moment moment,
         bool reopen) {
  const sql::Use use{connection.statement(Query::see_finding)};
  use->bind(0, id);
  use->bind_text(1, name_of(finding.severity));
  use->bind_text(2, finding.detail);
  use->bind(3, moment.run);
  use->bind(4, moment.now_ms);
  use->bind(5, reopen ? 1 : 0);
  use->step();
}

void record(sql::Connection& connection, std::string_view check, const Finding& finding,
            Moment moment, LifeCounts& counts) {
  std::int64_t id = 0;
  std::string state;
  {
    const sql::Use use{connection.statement(Query::find_finding)};
    use->bind_text(0, check);
    use->bind_text(1, finding.subject);
    if (use->step()) {
      id = use->integer(0);
      state = use->text(1);
    }
  }
  if (state.empty()) {
    insert(connection, check, finding, moment);
    ++counts.opened;
    return;
  }
  const bool reopen = state == "closed" || state == "repaired";
  see(connection, id, finding, moment, reopen);
  ++(reopen ? counts.opened : state == "open" ? counts.seen : counts.decided);
}

void close_unseen(sql::Connection& connection, std::string_view check, Moment moment,
                  const std::function<bool(std::string_view)>& covered, LifeCounts& counts) {
  std::vector<std::int64_t> gone;
  {
    const sql::Use use{connection.statement(Query::list_findings_unseen)};
    use->bind_text(0, check);
    use->bind(1, moment.run);
    while (use->step())
      if (covered(use->text(1))) gone.push_back(use->integer(0));
  }
  for (const std::int64_t id : gone) {
    const sql::Use use{connection.statement(Query::close_finding)};
    use->bind(0, id);
    use->bind(1, moment.now_ms);
    use->step();
  }
  counts.closed += gone.size();
}

std::uint64_t count_open(sql::Connection& connection, std::string_view check) {
  const sql::Use use{connection.statement(Query::count_findings)};
  use->bind_text(0, check);
  use->step();
  return static_cast<std::uint64_t>(use->integer(0));
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
  append_json_string(detail, finding.subject);
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
                           const Report& report,
                           const std::function<bool(std::string_view)>& covered) {
  const Moment moment{run, connection.now_ms()};
  LifeCounts counts;
  for (const Finding& finding : report.findings())
    record(connection, check, finding, moment, counts);
  // Over the limit, a finding that has no name in this report may well still be there.
  if (report.beyond() == 0) close_unseen(connection, check, moment, covered, counts);
  counts.open = count_open(connection, check);
  return counts;
}

void list_findings(sql::Connection& connection, const FindingFilter& filter,
                   const std::function<void(const StoredFinding&)>& show) {
  std::int64_t after = 0;
  for (bool more = true; more;) {
    more = false;
    std::vector<StoredFinding> page;
    {
      const sql::Use use{connection.statement(Query::list_findings)};
      use->bind_text(0, filter.check);
      use->bind(1, filter.any_state ? 1 : 0);
      use->bind(2, after);
      use->bind(3, kPageRows);
      while (use->step()) page.push_back(finding_of(*use.operator->()));
    }
    for (const StoredFinding& finding : page) {
      more = true;
      after = finding.id;
      show(finding);
    }
  }
}

StoredFinding read_finding(sql::Connection& connection, std::int64_t id) {
  const sql::Use use{connection.statement(Query::read_finding)};
  use->bind(0, id);
  if (!use->step())
    throw Error{ErrorCode::invalid_argument,
                "findings",
                "there is no finding " + std::to_string(id),
                {.hint = "see them with: outseal-reconcile findings list --all"}};
  return finding_of(*use.operator->());
}

StoredFinding resolve_finding(sql::Connection& connection, std::int64_t id,
                              const FindingDecision& decision) {
  return sql::transact(connection, kWait, [&] {
    const StoredFinding finding = read_finding(connection, id);
    require_decidable(finding, decision);
    {
      const sql::Use use{connection.statement(Query::decide_finding)};
      use->bind(0, id);
      use->bind_text(1, decision.state);
      use->bind_text(2, decision.actor);
      use->bind_text(3, decision.reason);
      use->bind(4, connection.now_ms());
      use->step();
    }
    const std::string detail = audit_detail(finding, decision);
    const std::string subject = "finding " + std::to_string(id);
    store::append_audit(
        connection,
        {.actor = decision.actor, .act = "finding.resolve", .subject = subject, .detail = detail});
    return read_finding(connection, id);
  });
}

}  // namespace outseal::reconcile
