// The checks that walk the log: events that no relay has read, or that nobody takes.
#include <map>

#include "reconcile/check.h"
#include "sql/retention.h"
#include "store/passage.h"

namespace outseal::reconcile {
namespace {

constexpr std::int64_t kPageRows = 5'000;

/// Calls `take` for each event that was committed before the run by more than the grace, with what
/// became of it, and reports how many there were.
template <typename Take>
void walk_log(CheckContext& context, Report& report, Take&& take) {
  const std::int64_t until = context.now_ms - context.options.grace_unpublished.count();
  std::uint64_t looked_at = 0;
  std::vector<sql::LogRow> page;
  do {
    page = sql::list_log(context.connection, {.after = page.empty() ? Seq{} : page.back().seq,
                                              .rows_max = kPageRows,
                                              .old_before_ms = until});
    store::Examiner examiner{context.connection};
    if (!examiner.any_subscription()) break;  // unpublished_events tells of it.
    for (const sql::LogRow& row : page)
      if (row.created_at_ms < until) take(row, examiner.examine(row));
    looked_at += page.size();
  } while (!page.empty());
  report.looked_at("events", looked_at);
}

class PassedOverEvents final : public Check {
 public:
  std::string_view name() const override { return "passed_over_events"; }
  std::string_view summary() const override {
    return "events behind the cursors that were never read, or are not shown to have been";
  }
  std::string_view hint(std::string_view kind) const override {
    if (kind == kUnproven)
      return "Look for its id in the sink. If it is there, delete the row by hand; else append it "
             "again with a new id first.";
    return "Let it be published: outseal-relay rebase. Then find out what brought it there.";
  }

  void run(CheckContext& context, Report& report) override {
    for (const SubscriptionInfo& subscription : context.subscriptions)
      if (is_of_another_cluster(context.connection, subscription))
        return report.skip({.subscription = subscription.name, .why = kAnotherCluster});
    walk_log(context, report, [&](const sql::LogRow& row, store::Passage passage) {
      const bool over = passage == store::Passage::passed_over;
      if (!over && passage != store::Passage::unproven) return;
      report.found({.subject = {.scope = {},
                                .locator = "seq:" + std::to_string(row.seq.value()),
                                .kind = std::string{over ? kPassedOver : kUnproven}},
                    .severity = over ? Severity::critical : Severity::error,
                    .detail = "event number " + std::to_string(row.seq.value()) + " of topic " +
                              row.topic +
                              (over ? " was never read, although every cursor is behind it"
                                    : " is behind every cursor, and nothing shows that it was "
                                      "read: the row was changed, brought from elsewhere, or got "
                                      "a number that there had been before")});
    });
  }

 private:
  static constexpr std::string_view kPassedOver = "passed_over";
  static constexpr std::string_view kUnproven = "unproven";
};

class UntakenTopics final : public Check {
 public:
  std::string_view name() const override { return "untaken_topics"; }
  std::string_view summary() const override {
    return "topics with events that no subscription takes";
  }
  std::string_view hint(std::string_view) const override {
    return "Start a relay with --topics for it, or give its events up: outseal-relay discard.";
  }

  void run(CheckContext& context, Report& report) override {
    std::map<std::string, std::uint64_t> topics;
    walk_log(context, report, [&](const sql::LogRow& row, store::Passage passage) {
      if (passage == store::Passage::untaken) ++topics[row.topic];
    });
    for (const auto& [topic, count] : topics)
      report.found({.subject = {.scope = {}, .locator = "topic:" + topic, .kind = {}},
                    .severity = Severity::warning,
                    .detail = std::to_string(count) + (count == 1 ? " event" : " events") +
                              " of topic " + topic +
                              " in the outbox, and no subscription takes that topic"});
  }
};

}  // namespace

std::unique_ptr<Check> make_passed_over_events_check() {
  return std::make_unique<PassedOverEvents>();
}
std::unique_ptr<Check> make_untaken_topics_check() { return std::make_unique<UntakenTopics>(); }

}  // namespace outseal::reconcile
