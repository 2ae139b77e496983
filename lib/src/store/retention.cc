#include "store/retention.h"

#include <algorithm>

#include "base/failpoint.h"

namespace outseal::store {
namespace {

/// Short: retention may as well happen another time.
constexpr std::chrono::milliseconds kWriteWait{1'000};

std::uint64_t delete_events(sql::Connection& connection, const RetentionOptions& options,
                            Seq& after) {
  const sql::Use remove{connection.statement(sql::Query::delete_published)};
  remove->bind(0, connection.now_ms() - options.events.count());
  remove->bind(1, options.step_rows);
  remove->bind(2, after.value());
  std::uint64_t removed = 0;
  for (; remove->step(); ++removed) after = std::max(after, Seq{remove->integer(0)});
  return removed;
}

std::uint64_t delete_journal(sql::Connection& connection, std::string_view subscription,
                             const RetentionOptions& options) {
  const sql::Use remove{connection.statement(sql::Query::delete_journal_before)};
  remove->bind_text(0, subscription);
  remove->bind(1, connection.now_ms() - options.journal.count());
  remove->bind(2, options.step_rows);
  remove->step();
  return static_cast<std::uint64_t>(connection.changes());
}

}  // namespace

std::uint64_t retain_step(sql::Connection& connection, std::string_view subscription,
                          const RetentionOptions& options, RetentionProgress* progress) {
  Seq after = progress != nullptr ? progress->after : Seq{};
  failpoint("retention.before_step");
  const std::uint64_t removed = sql::transact(connection, kWriteWait, [&] {
    std::uint64_t rows = 0;
    if (options.events.count() > 0) rows += delete_events(connection, options, after);
    if (options.journal.count() > 0) rows += delete_journal(connection, subscription, options);
    failpoint("retention.in_step");
    return rows;
  });
  failpoint("retention.after_step");
  // At the end, begin anew next time: what was kept for an operator may be free by then.
  if (progress != nullptr) progress->after = removed < options.step_rows ? Seq{} : after;
  return removed;
}

}  // namespace outseal::store
