// outseal-reconcile findings list, show, resolve: what was found and what was decided about it.
#include <string>
#include <vector>

#include "base/text.h"
#include "cli/console.h"
#include "cli/database.h"
#include "reconcile/findings.h"
#include "reconcile_commands.h"

namespace outseal::tools {

namespace {

using reconcile::StoredFinding;

std::string json_of(const StoredFinding& finding) {
  JsonObject object;
  object.add("id", finding.id).add("check", finding.check);
  add_subject(object, finding.subject);
  object.add("severity", finding.severity).add("state", finding.state);
  object.add("detail", finding.detail);
  object.add("hint", reconcile::hint_for(finding.check, finding.subject.kind));
  object.add("first_run", finding.first_run).add("last_run", finding.last_run);
  object.add("opened_at", to_rfc3339(finding.opened_at_ms));
  if (finding.closed_at_ms) object.add("closed_at", to_rfc3339(*finding.closed_at_ms));
  if (!finding.decided_by.empty())
    object.add("decided_by", finding.decided_by).add("decision", finding.decision);
  return object.text();
}

std::int64_t id_of(const Settings& settings) {
  return static_cast<std::int64_t>(settings.number(Option::finding));
}

}  // namespace

void add_subject(JsonObject& object, const Subject& subject) {
  object.add("subject", subject.text()).add("scope", name_of(subject.scope.kind));
  if (!subject.scope.name.empty()) object.add("subscription", subject.scope.name);
  if (!subject.locator.empty()) object.add("locator", subject.locator);
  if (!subject.kind.empty()) object.add("kind", subject.kind);
}

int findings_list(const Settings& settings) {
  const auto connection = open_database(settings);
  const reconcile::FindingFilter filter{.any_state = settings.toggle(Option::any_state)};
  const bool json = settings.toggle(Option::json);
  bool any_open = false;
  std::vector<std::vector<std::string>> rows;
  reconcile::list_findings(*connection, filter, [&](const StoredFinding& finding) {
    any_open |= finding.state == "open";
    if (json)
      print_line(json_of(finding));
    else
      rows.push_back({std::to_string(finding.id), finding.severity, finding.state, finding.check,
                      printable(finding.subject.text()), to_rfc3339(finding.opened_at_ms),
                      printable(finding.detail)});
  });
  if (!json && rows.empty())
    print_line("none");
  else if (!json)
    print_table({"ID", "SEVERITY", "STATE", "CHECK", "SUBJECT", "SINCE", "DETAIL"}, rows);
  return any_open ? kExitFindings : kExitFine;
}

int findings_show(const Settings& settings) {
  const auto connection = open_database(settings);
  const StoredFinding finding = reconcile::read_finding(*connection, id_of(settings));
  if (settings.toggle(Option::json)) {
    print_line(json_of(finding));
    return kExitFine;
  }
  const auto show = [](const std::string& name, const std::string& value) {
    if (!value.empty()) print_line(name + std::string(12 - name.size(), ' ') + printable(value));
  };
  show("finding", std::to_string(finding.id));
  show("check", finding.check);
  show("subject", finding.subject.text());
  show("severity", finding.severity);
  show("state", finding.state);
  show("detail", finding.detail);
  show("to do", reconcile::hint_for(finding.check, finding.subject.kind));
  show("opened", to_rfc3339(finding.opened_at_ms) + ", by run " +
                     std::to_string(finding.first_run) + " first");
  show("last seen", "run " + std::to_string(finding.last_run));
  show("closed", finding.closed_at_ms ? to_rfc3339(*finding.closed_at_ms) : "");
  show("decided by", finding.decided_by);
  show("because", finding.decision);
  return kExitFine;
}

int findings_resolve(const Settings& settings) {
  const auto connection = open_database(settings);
  const StoredFinding finding =
      reconcile::resolve_finding(*connection, id_of(settings),
                                 {.state = settings.text(Option::decision),
                                  .actor = actor_of(settings),
                                  .reason = settings.text(Option::reason)});
  if (settings.toggle(Option::json))
    print_line(json_of(finding));
  else
    print_line("finding " + std::to_string(finding.id) + " is " + finding.state);
  return kExitFine;
}

}  // namespace outseal::tools
