#include "store/retention.h"

#include <algorithm>
#include <vector>

#include "base/failpoint.h"
#include "sql/journal.h"
#include "sql/retention.h"
#include "store/passage.h"

namespace outseal::store {
namespace {

/// Short: retention may as well happen another time.
constexpr std::chrono::milliseconds kWriteWait{1'000};
/// Pages that one step looks at in search of something to remove.
constexpr int kPagesMax = 10;
constexpr std::uint32_t kPageRowsMin = 500;
/// By how much an event with a higher number may be older: both are set while a row is inserted.
constexpr std::chrono::milliseconds kOrderMargin{60'000};

/// Notes why an old event stays.
void count_kept(RetentionProgress& progress, const LogRow& row, Passage passage) {
  if (passage != Passage::untaken) progress.last_kept = row.seq;
  if (passage == Passage::unproven) ++progress.unproven;
  if (passage == Passage::passed_over) ++progress.passed_over;
  if (passage != Passage::untaken) return;
  ++progress.untaken;
  if (progress.untaken_topic.empty()) progress.untaken_topic = row.topic;
}

/// The numbers of the page's events that may go, at most `rows_max`.
std::vector<Seq> choose(Examiner& examiner, const std::vector<LogRow>& page, std::uint32_t rows_max,
                        RetentionProgress& progress) {
  std::vector<Seq> chosen;
  for (const LogRow& row : page) {
    if (chosen.size() == rows_max) break;
    const Passage passage = row.old ? examiner.examine(row) : Passage::waiting;
    const auto evidence = examiner.evidence_for_after(row.seq);
    const bool is_needed = evidence && progress.last_kept > *evidence;
    if (passage == Passage::passed && !is_needed)
      chosen.push_back(row.seq);
    else
      count_kept(progress, row, passage);
    // What is too young or not passed yet is looked at again by the next pass.
    if (row.old && row.behind) progress.after = row.seq;
  }
  return chosen;
}

std::uint64_t delete_chosen(sql::Connection& connection, const std::vector<Seq>& chosen,
                            RetentionProgress& progress) {
  if (chosen.empty()) return 0;
  const std::uint64_t removed = sql::delete_events(connection, chosen);
  // Else another relay's retention was faster, or something keeps them.
  if (removed != chosen.size()) progress.refused += sql::count_events(connection, chosen);
  return removed;
}

std::uint64_t delete_passed(sql::Connection& connection, const RetentionOptions& options,
                            RetentionProgress& progress) {
  Examiner examiner{connection};
  const std::int64_t now_ms = connection.now_ms();
  // Some of a page are parked, as a rule.
  const std::uint32_t page_rows = std::max(options.step_rows + options.step_rows / 8, kPageRowsMin);
  std::vector<Seq> chosen;
  for (int pages = 0; pages < kPagesMax && chosen.empty() && !progress.ended; ++pages) {
    const std::vector<LogRow> page =
        sql::list_log(connection, {.after = progress.after,
                                   .rows_max = page_rows,
                                   .old_before_ms = now_ms - options.events.count()});
    chosen = choose(examiner, page, options.step_rows, progress);
    // Behind one that is too young or not passed yet there is hardly one that may go.
    progress.ended = chosen.size() < options.step_rows &&
                     (page.size() < page_rows || !page.back().old || !page.back().behind);
  }
  return delete_chosen(connection, chosen, progress);
}

/// A batch that was acknowledged before the oldest event was made tells of none that is left.
std::uint64_t delete_journal(sql::Connection& connection, std::string_view subscription,
                             const RetentionOptions& options) {
  std::int64_t before = connection.now_ms() - options.journal.count();
  if (const auto oldest = sql::find_oldest_event_time(connection))
    before = std::min(before, *oldest - kOrderMargin.count());
  return static_cast<std::uint64_t>(
      sql::delete_journal_before(connection, subscription, before, options.step_rows));
}

std::string events(std::uint64_t count) {
  return std::to_string(count) + (count == 1 ? " event" : " events");
}

}  // namespace

std::string RetentionProgress::note() const {
  std::string text;
  const auto add = [&text](std::uint64_t count, const std::string& why) {
    if (count > 0) text += (text.empty() ? "keeps " : "; keeps ") + events(count) + " " + why;
  };
  add(passed_over,
      "that no relay has read, although every cursor is behind them: see "
      "outseal-relay rebase");
  add(unproven,
      "of which nothing shows that they were read: see outseal-reconcile run --check "
      "passed_over_events");
  add(refused, "that a trigger of the outbox does not let go");
  add(untaken, "of topics that no subscription takes (" + untaken_topic +
                   "): start one, or give them up with outseal-relay discard");
  return text;
}

std::uint64_t retain_step(sql::Connection& connection, std::string_view subscription,
                          const RetentionOptions& options, RetentionProgress* progress) {
  RetentionProgress reached = progress != nullptr ? *progress : RetentionProgress{};
  if (reached.ended) reached = {};
  failpoint("retention.before_step");
  const std::uint64_t removed = sql::transact(connection, kWriteWait, [&] {
    std::uint64_t rows = 0;
    if (options.events.count() > 0)
      rows += delete_passed(connection, options, reached);
    else
      reached.ended = true;
    if (options.journal.count() > 0) {
      const std::uint64_t batches = delete_journal(connection, subscription, options);
      reached.ended = reached.ended && batches < options.step_rows;
      rows += batches;
    }
    failpoint("retention.in_step");
    return rows;
  });
  failpoint("retention.after_step");
  if (progress != nullptr) *progress = reached;
  return removed;
}

}  // namespace outseal::store
