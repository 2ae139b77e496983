#include "store/retention.h"

#include "base/failpoint.h"

namespace outseal::store {
namespace {

/// Short: retention may as well happen another time.
constexpr std::chrono::milliseconds kWriteWait{1'000};

std::uint64_t delete_events(sql::Connection& connection, const RetentionOptions& options) {
  const sql::Use floor{connection.statement(sql::Query::retained_floor)};
  if (!floor->step() || floor->is_null(0)) return 0;
  const sql::Use remove{connection.statement(sql::Query::delete_published)};
  remove->bind(0, floor->integer(0));
  remove->bind(1, connection.now_ms() - options.events.count());
  remove->bind(2, options.step_rows);
  remove->step();
  return static_cast<std::uint64_t>(connection.changes());
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
                          const RetentionOptions& options) {
  failpoint("retention.before_step");
  const std::uint64_t removed = sql::transact(connection, kWriteWait, [&] {
    std::uint64_t rows = 0;
    if (options.events.count() > 0) rows += delete_events(connection, options);
    if (options.journal.count() > 0) rows += delete_journal(connection, subscription, options);
    failpoint("retention.in_step");
    return rows;
  });
  failpoint("retention.after_step");
  return removed;
}

}  // namespace outseal::store
