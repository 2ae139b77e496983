#include "sql/finding.h"

#include "sql/typed.h"

namespace outseal::sql {
namespace {

// A whole finding, as read_finding() takes it.
#define OUTSEAL_FINDING                                                                   \
  "id, check_name, scope, scope_name, locator, kind, severity, state, detail, first_run," \
  " last_run, opened_at, closed_at, decided_by, decision"

/// Out of two columns: what kind it is of, and its name.
Scope read_scope(Columns& columns) {
  const bool is_database = columns.get<std::string_view>() == name_of(Scope::Kind::database);
  auto name = columns.get<std::string>();
  return is_database ? Scope{} : Scope::of(std::move(name));
}

StoredFinding read_finding(Columns& columns) {
  StoredFinding finding;
  columns >> finding.id >> finding.check;
  finding.subject.scope = read_scope(columns);
  columns >> finding.subject.locator >> finding.subject.kind >> finding.severity >> finding.state >>
      finding.detail >> finding.first_run >> finding.last_run >> finding.opened_at_ms >>
      finding.closed_at_ms >> finding.decided_by >> finding.decision;
  return finding;
}

}  // namespace

const Text kListOpenRuns{
    .name = "list_open_runs",
    .sqlite = "SELECT id, owner, started_at FROM outseal_run WHERE finished_at IS NULL",
    .postgres = "SELECT id, owner, started_at FROM outseal.run WHERE finished_at IS NULL"};

std::vector<OpenRun> list_open_runs(Connection& connection) {
  return list_rows(connection, kListOpenRuns, [](Columns& columns) {
    OpenRun run;
    columns >> run.id >> run.owner >> run.started_at_ms;
    return run;
  });
}

// started at, owner, checks
const Text kInsertRun{
    .name = "insert_run",
    .sqlite =
        "INSERT INTO outseal_run (started_at, owner, checks) VALUES (?1, ?2, ?3) RETURNING id",
    .postgres =
        "INSERT INTO outseal.run (started_at, owner, checks)"
        " VALUES (to_timestamp($1::float8 / 1000), $2, $3) RETURNING id"};

std::int64_t insert_run(Connection& connection, const NewRun& run) {
  return get_value<std::int64_t>(connection, kInsertRun, run.started_at_ms, run.owner, run.checks);
}

// id, finished at, summary
const Text kFinishRun{
    .name = "finish_run",
    .sqlite =
        "UPDATE outseal_run SET finished_at = ?2, summary = ?3"
        " WHERE id = ?1 AND finished_at IS NULL",
    .postgres =
        "UPDATE outseal.run SET finished_at = to_timestamp($2::float8 / 1000), summary = $3"
        " WHERE id = $1 AND finished_at IS NULL"};

bool finish_run(Connection& connection, std::int64_t id, const RunEnd& end) {
  return run(connection, kFinishRun, id, end.finished_at_ms, end.summary) == 1;
}

// check, scope, name of the scope, locator, kind
const Text kFindKnownFinding{
    .name = "find_known_finding",
    .sqlite =
        "SELECT id, state FROM outseal_finding WHERE check_name = ?1 AND scope = ?2"
        " AND scope_name = ?3 AND locator = ?4 AND kind = ?5",
    .postgres =
        "SELECT id, state FROM outseal.finding WHERE check_name = $1 AND scope = $2"
        " AND scope_name = $3 AND locator = $4 AND kind = $5"};

std::optional<KnownFinding> find_known_finding(Connection& connection, std::string_view check,
                                               const Subject& subject) {
  const auto read = [](Columns& columns) {
    KnownFinding known;
    columns >> known.id >> known.state;
    return known;
  };
  return find_row(connection, kFindKnownFinding, read, check, name_of(subject.scope.kind),
                  subject.scope.name, subject.locator, subject.kind);
}

// check, scope, name of the scope, locator, kind, severity, detail, run, now
const Text kInsertFinding{
    .name = "insert_finding",
    .sqlite =
        "INSERT INTO outseal_finding (check_name, scope, scope_name, locator, kind, severity,"
        " detail, first_run, last_run, opened_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)",
    .postgres =
        "INSERT INTO outseal.finding (check_name, scope, scope_name, locator, kind, severity,"
        " detail, first_run, last_run, opened_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, to_timestamp($9::float8 / 1000))"};

void insert_finding(Connection& connection, std::string_view check, const Finding& finding,
                    Moment moment) {
  const Subject& subject = finding.subject;
  run(connection, kInsertFinding, check, name_of(subject.scope.kind), subject.scope.name,
      subject.locator, subject.kind, name_of(finding.severity), finding.detail, moment.run,
      moment.now_ms);
}

// id, severity, detail, run, now, 1 to open it again
const Text kSeeFinding{
    .name = "see_finding",
    .sqlite =
        "UPDATE outseal_finding SET severity = ?2, detail = ?3, last_run = ?4,"
        " state = iif(?6, 'open', state), opened_at = iif(?6, ?5, opened_at),"
        " closed_at = iif(?6, NULL, closed_at), decided_by = iif(?6, NULL, decided_by),"
        " decision = iif(?6, NULL, decision) WHERE id = ?1",
    .postgres =
        "UPDATE outseal.finding SET severity = $2, detail = $3, last_run = $4,"
        " state = CASE WHEN a.again THEN 'open' ELSE state END,"
        " opened_at = CASE WHEN a.again THEN to_timestamp($5::float8 / 1000)"
        "  ELSE opened_at END,"
        " closed_at = CASE WHEN a.again THEN NULL ELSE closed_at END,"
        " decided_by = CASE WHEN a.again THEN NULL ELSE decided_by END,"
        " decision = CASE WHEN a.again THEN NULL ELSE decision END"
        " FROM (SELECT $6::int <> 0 AS again) a WHERE id = $1"};

void see_finding(Connection& connection, std::int64_t id, const Finding& finding, Moment moment,
                 bool reopen) {
  run(connection, kSeeFinding, id, name_of(finding.severity), finding.detail, moment.run,
      moment.now_ms, reopen);
}

// check, run
const Text kListUnseenFindings{
    .name = "list_unseen_findings",
    .sqlite =
        "SELECT id, scope, scope_name, state FROM outseal_finding WHERE check_name = ?1"
        " AND last_run < ?2 AND state IN ('open', 'accepted', 'false_alarm')",
    .postgres =
        "SELECT id, scope, scope_name, state FROM outseal.finding WHERE check_name = $1"
        " AND last_run < $2 AND state IN ('open', 'accepted', 'false_alarm')"};

std::vector<UnseenFinding> list_unseen_findings(Connection& connection, std::string_view check,
                                                std::int64_t run) {
  const auto read = [](Columns& columns) {
    UnseenFinding finding;
    columns >> finding.id;
    finding.scope = read_scope(columns);
    finding.is_open = columns.get<std::string_view>() == "open";
    return finding;
  };
  return list_rows(connection, kListUnseenFindings, read, check, run);
}

// id, now
const Text kCloseFinding{
    .name = "close_finding",
    .sqlite = "UPDATE outseal_finding SET state = 'closed', closed_at = ?2 WHERE id = ?1",
    .postgres =
        "UPDATE outseal.finding SET state = 'closed',"
        " closed_at = to_timestamp($2::float8 / 1000) WHERE id = $1"};

void close_finding(Connection& connection, std::int64_t id, std::int64_t now_ms) {
  run(connection, kCloseFinding, id, now_ms);
}

// check
const Text kCountOpenFindings{
    .name = "count_open_findings",
    .sqlite = "SELECT count(*) FROM outseal_finding WHERE check_name = ?1 AND state = 'open'",
    .postgres = "SELECT count(*) FROM outseal.finding WHERE check_name = $1 AND state = 'open'"};

std::uint64_t count_open_findings(Connection& connection, std::string_view check) {
  return get_value<std::uint64_t>(connection, kCountOpenFindings, check);
}

// check or '' for all, 1 for those in any state, after id, rows at most
const Text kListFindings{
    .name = "list_findings",
    .sqlite = "SELECT " OUTSEAL_FINDING
              " FROM outseal_finding"
              " WHERE (?1 = '' OR check_name = ?1) AND (?2 OR state = 'open') AND id > ?3"
              " ORDER BY id LIMIT ?4",
    .postgres = "SELECT " OUTSEAL_FINDING
                " FROM outseal.finding"
                " WHERE ($1::text = '' OR check_name = $1) AND ($2::int <> 0 OR state = 'open')"
                " AND id > $3 ORDER BY id LIMIT $4"};

std::vector<StoredFinding> list_findings(Connection& connection, const FindingFilter& filter,
                                         std::int64_t after, std::int64_t rows_max) {
  return list_rows(connection, kListFindings, read_finding, filter.check, filter.any_state, after,
                   rows_max);
}

// id
const Text kFindFinding{
    .name = "find_finding",
    .sqlite = "SELECT " OUTSEAL_FINDING " FROM outseal_finding WHERE id = ?1",
    .postgres = "SELECT " OUTSEAL_FINDING " FROM outseal.finding WHERE id = $1"};

std::optional<StoredFinding> find_finding(Connection& connection, std::int64_t id) {
  return find_row(connection, kFindFinding, read_finding, id);
}

// id, state, decided by, decision, now
const Text kDecideFinding{
    .name = "decide_finding",
    .sqlite =
        "UPDATE outseal_finding SET state = ?2, decided_by = ?3, decision = ?4,"
        " closed_at = iif(?2 = 'repaired', ?5, NULL) WHERE id = ?1",
    .postgres =
        "UPDATE outseal.finding SET state = $2, decided_by = $3, decision = $4,"
        " closed_at = CASE WHEN $2 = 'repaired' THEN to_timestamp($5::float8 / 1000) END"
        " WHERE id = $1"};

void decide_finding(Connection& connection, std::int64_t id, const FindingDecision& decision,
                    std::int64_t now_ms) {
  run(connection, kDecideFinding, id, decision.state, decision.actor, decision.reason, now_ms);
}

}  // namespace outseal::sql
