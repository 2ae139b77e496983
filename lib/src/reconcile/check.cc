#include "reconcile/check.h"

#include <algorithm>

#include "base/text.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "sql/check.h"
#include "sql/subscription.h"
#include "sql/window.h"

namespace outseal::reconcile {

bool SubscriptionInfo::matches(std::string_view topic) const {
  return topic_matches_any(topics, topic);
}

void CheckOptions::validate() const {
  ConfigErrors faults{"reconcile options"};
  const auto check_grace = [&](std::string_view field, std::chrono::milliseconds grace) {
    faults.check_range(field, grace.count(), kGraceMin.count(), kGraceMax.count());
  };
  check_grace("grace_stuck", grace_stuck);
  check_grace("grace_unpublished", grace_unpublished);
  check_grace("grace_parked", grace_parked);
  faults.check_range("findings_max", static_cast<std::int64_t>(findings_max), kFindings.min,
                     kFindings.max);
  faults.raise();
}

void Report::found(Finding finding) {
  if (subjects_.contains(finding.subject)) return;  // One subject, one finding.
  if (findings_.size() == findings_max_) {
    ++beyond_;
    return;
  }
  subjects_.insert(finding.subject);
  findings_.push_back(std::move(finding));
}

void Report::looked_at(std::string_view what, std::uint64_t count) {
  for (Count& known : counts_)
    if (known.what == what) {
      known.count += count;
      return;
    }
  counts_.push_back({what, count});
}

std::vector<std::unique_ptr<Check>> all_checks() {
  std::vector<std::unique_ptr<Check>> checks;
  checks.push_back(make_stuck_operations_check());
  checks.push_back(make_duplicate_outcomes_check());
  checks.push_back(make_unpublished_events_check());
  checks.push_back(make_passed_over_events_check());
  checks.push_back(make_untaken_topics_check());
  checks.push_back(make_parked_events_check());
  checks.push_back(make_journal_sink_check());
  checks.push_back(make_audit_chain_check());
  return checks;
}

std::vector<std::unique_ptr<Check>> select_checks(const std::vector<std::string>& names) {
  auto checks = all_checks();
  std::string known;
  for (const auto& check : checks)
    known += (known.empty() ? "" : ", ") + std::string{check->name()};
  for (const std::string& name : names) {
    const auto is_named = [&](const auto& check) { return check->name() == name; };
    if (std::none_of(checks.begin(), checks.end(), is_named))
      throw Error{ErrorCode::invalid_argument,
                  "run",
                  "there is no check named '" + name + "'",
                  {.hint = "use some of: " + known}};
  }
  if (names.empty()) return checks;
  std::erase_if(checks, [&](const auto& check) {
    return std::find(names.begin(), names.end(), check->name()) == names.end();
  });
  return checks;
}

std::string hint_for(std::string_view check, std::string_view kind) {
  for (const auto& known : all_checks())
    if (known->name() == check) return std::string{known->hint(kind)};
  return {};
}

bool is_of_another_cluster(sql::Connection& connection, const SubscriptionInfo& subscription) {
  if (connection.dialect() != "postgresql") return false;
  const std::string system = sql::read_source_state(connection).identity.system;
  const auto note = sql::find_start(connection, "", subscription.name);
  return note && !note->system.empty() && note->system != system;
}

std::vector<SubscriptionInfo> load_subscriptions(sql::Connection& connection,
                                                 const std::vector<std::string>& names) {
  std::vector<SubscriptionInfo> all;
  for (sql::CheckedSubscription& each : sql::list_checked_subscriptions(connection))
    all.push_back({.name = std::move(each.name),
                   .topics = {},
                   .sink = std::move(each.sink),
                   .event_source = std::move(each.event_source),
                   .paused = each.paused,
                   .acked_seq = each.acked_seq});
  for (const std::string& name : names)
    if (std::none_of(all.begin(), all.end(), [&](const auto& one) { return one.name == name; }))
      throw Error{ErrorCode::invalid_argument,
                  "run",
                  "there is no subscription named '" + name + "'",
                  {.hint = "see them with: outseal-relay status"}};
  if (!names.empty())
    std::erase_if(all, [&](const auto& one) {
      return std::find(names.begin(), names.end(), one.name) == names.end();
    });
  for (SubscriptionInfo& one : all) one.topics = sql::list_topics(connection, one.name);
  return all;
}

}  // namespace outseal::reconcile
