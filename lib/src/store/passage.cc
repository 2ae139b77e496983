#include "store/passage.h"

#include <algorithm>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/log.h"
#include "store/audit.h"
#include "store/subscription.h"
#include "store/topics.h"
#include "store/window_reader.h"

namespace outseal::store {

namespace {

/// What a start looks at: events that a restore brought are older than those that were retained.
constexpr std::int64_t kOldestRows = 100;
constexpr std::int64_t kPageRows = 5'000;
constexpr std::chrono::milliseconds kRenumberWait{30'000};
/// Before it all events are old.
constexpr std::int64_t kYear10000_ms = 253'402'300'800'000;

constexpr std::string_view kHintRebase =
    "outseal-relay rebase gives them new numbers, so that they are published";

sql::LogPart all_behind(Seq after, std::int64_t rows_max) {
  return {.after = after, .rows_max = rows_max, .old_before_ms = kYear10000_ms};
}

[[noreturn]] void refuse(const std::string& message, std::string_view hint) {
  throw Error{ErrorCode::refused, "read", message, {.hint = std::string{hint}}};
}

}  // namespace

Examiner::Examiner(sql::Connection& connection) : connection_{connection} {
  has_windows_ = connection.dialect() == "postgresql";
  for (sql::CursorRow& each : sql::list_cursors(connection)) cursors_.emplace_back(std::move(each));
}

Passage Examiner::examine(const LogRow& row) {
  if (row.open || !row.behind) return Passage::waiting;
  if (mutant("no_passage_proof")) return Passage::passed;
  const std::vector<std::size_t>& taken_by = takers(row.topic);
  if (taken_by.empty()) return is_given_up(row.topic) ? Passage::passed : Passage::untaken;
  Passage worst = Passage::passed;
  for (const std::size_t taker : taken_by)
    worst = std::max(worst, examine_for(cursors_[taker], row));
  // It was there when it was set aside for another one: what would tell more is gone.
  if (worst > Passage::untaken && sql::is_decided(connection_, std::nullopt, row.seq))
    return Passage::waiting;
  return worst;
}

const std::vector<std::size_t>& Examiner::takers(const std::string& topic) {
  const auto known = takers_.find(topic);
  if (known != takers_.end()) return known->second;
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < cursors_.size(); ++i)
    if (topic_matches_any(cursors_[i].topics, topic)) found.push_back(i);
  return takers_.emplace(topic, std::move(found)).first->second;
}

bool Examiner::is_given_up(std::string_view topic) {
  if (!given_up_) given_up_ = given_up_topics(connection_);
  return topic_matches_any(*given_up_, topic);
}

Passage Examiner::examine_for(SubscriptionCursor& cursor, const LogRow& row) {
  if (has_windows_ && row.written_by == 0) return Passage::passed;
  Bound* bound = find_bound(cursor, row);
  if (bound != nullptr) {
    const bool proven = has_windows_
                            ? bound->to.has_ended(row.written_by)
                            : bound->last_seq >= row.seq && bound->last_seq <= bound->to_seq;
    if (proven) return Passage::passed;
  }
  if (sql::is_decided(connection_, cursor.name, row.seq) || began_behind(cursor, row))
    return Passage::passed;
  if (bound == nullptr) return cursor.is_cut ? Passage::unproven : Passage::passed_over;
  // By the clock it is younger than the batch that its number belongs to; or that has all of its
  // events without this one.
  const bool is_none_of_it =
      has_windows_ ? is_complete(cursor, *bound) : row.created_at_ms > bound->bound_at_ms;
  return is_none_of_it ? Passage::passed_over : Passage::unproven;
}

bool Examiner::is_complete(const SubscriptionCursor& cursor, Bound& bound) {
  if (bound.complete) return *bound.complete;
  const Window window{bound.snap_from, bound.snap_to};
  std::uint64_t found = 0;
  for (const sql::TopicCount& count :
       sql::count_bound(connection_, cursor.name, window.span(), bound.from_seq, bound.to_seq))
    if (topic_matches_any(cursor.topics, count.topic)) found += count.events;
  bound.complete = found == bound.count;
  return *bound.complete;
}

bool Examiner::began_behind(SubscriptionCursor& cursor, const LogRow& row) {
  if (!cursor.start) cursor.start = find_start(connection_, cursor.name);
  if (!*cursor.start) return false;  // It began in another cluster.
  const Cursor& start = **cursor.start;
  if (!has_windows_) return row.seq <= start.after_seq && row.created_at_ms <= cursor.created_at_ms;
  if (start.snap_from.empty()) return false;
  const Snapshot began = Snapshot::parse(start.snap_from);
  return began.has_ended(row.tx) && began.has_ended(row.written_by);
}

/// Whether the batch ends behind the row, or with it.
bool Examiner::reaches(const Bound& bound, const LogRow& row) const {
  return has_windows_ ? bound.to.has_ended(row.tx) : bound.to_seq >= row.seq;
}
bool Examiner::begins_before(const Bound& bound, const LogRow& row) const {
  return has_windows_ ? !bound.from.has_ended(row.tx) : bound.from_seq < row.seq;
}

/// The batch that the row belongs to, by binary search: batches go on in the order of the log. Null
/// if the row lies between two of them, or before the first one that the journal still has.
Examiner::Bound* Examiner::find_bound(SubscriptionCursor& cursor, const LogRow& row) {
  if (cursor.bound && reaches(*cursor.bound, row) && begins_before(*cursor.bound, row))
    return &*cursor.bound;
  std::optional<Bound> found;
  std::uint64_t low = 1;
  std::uint64_t high = cursor.acked.value();
  while (low <= high && high > 0) {
    const std::uint64_t middle = low + (high - low) / 2;
    Position first{middle};
    std::optional<Bound> bound = read_bound(cursor, Position{middle}, first);
    if (bound && reaches(*bound, row)) {
      high = first.value() - 1;
      found = std::move(bound);
    } else {
      low = middle + 1;
    }
  }
  cursor.is_cut = false;
  if (!found) return nullptr;
  if (!begins_before(*found, row)) {
    Position before;
    cursor.is_cut = high > 0 && !read_bound(cursor, Position{high}, before);
    return nullptr;
  }
  if (!has_windows_) {
    const auto seq = sql::find_event_seq(connection_, found->last_id);
    if (seq) found->last_seq = *seq;
  }
  cursor.bound = std::move(found);
  return &*cursor.bound;
}

std::optional<Seq> Examiner::evidence_for_after(Seq seq) const {
  std::optional<Seq> after;
  for (const SubscriptionCursor& cursor : cursors_)
    if (cursor.bound && cursor.bound->last_seq == seq)
      after = std::min(after.value_or(seq), cursor.bound->from_seq);
  return after;
}

/// The batch that holds `position`, and its first position. Nothing if retention took it.
std::optional<Examiner::Bound> Examiner::read_bound(const SubscriptionCursor& cursor,
                                                    Position position, Position& first) {
  const auto row = sql::find_journal(connection_, cursor.name, position);
  if (!row) return std::nullopt;
  first = row->first;
  Bound bound{.from_seq = row->from.after_seq,
              .to_seq = row->to.after_seq,
              .last_id = row->last_event_id,
              .last_seq = {},
              .bound_at_ms = row->bound_at_ms,
              .count = row->count,
              .from = {},
              .to = {},
              .snap_from = row->from.snap_from,
              .snap_to = row->from.snap_to,
              .complete = {}};
  if (has_windows_) {
    bound.from = Snapshot::parse(bound.snap_from);
    bound.to = Snapshot::parse(bound.snap_to);
  }
  return bound;
}

void refuse_numbers_behind(sql::Connection& connection, Seq seq) {
  if (sql::is_log_behind(connection, seq))
    refuse(
        "the numbers of the outbox have begun again: the next event gets one that the cursor has "
        "passed (" +
            std::to_string(seq.value()) + ")",
        kHintRebase);
}

void refuse_passed_over(sql::Connection& connection, const Cursor& cursor) {
  if (connection.dialect() == "sqlite") refuse_numbers_behind(connection, cursor.after_seq);
  Examiner examiner{connection};
  for (const LogRow& row : sql::list_log(connection, all_behind({}, kOldestRows)))
    if (examiner.examine(row) == Passage::passed_over)
      refuse("event number " + std::to_string(row.seq.value()) +
                 " was never read, although the cursor is behind it: it has the number of an event "
                 "before it, or was brought here from elsewhere",
             kHintRebase);
}

std::uint64_t renumber_passed_over(sql::Connection& connection, std::string_view actor) {
  return sql::transact(connection, kRenumberWait, [&] {
    std::vector<Seq> passed_over;
    Examiner examiner{connection};
    std::vector<LogRow> page;
    do {
      page =
          sql::list_log(connection, all_behind(page.empty() ? Seq{} : page.back().seq, kPageRows));
      for (const LogRow& row : page)
        if (examiner.examine(row) == Passage::passed_over) passed_over.push_back(row.seq);
    } while (!page.empty());
    for (const Seq seq : passed_over) sql::renumber_event(connection, seq);
    if (connection.dialect() == "sqlite") sql::raise_numbers(connection);
    if (!passed_over.empty())
      append_audit(connection, {actor, "outbox.renumber", "outbox",
                                "{\"events\":" + std::to_string(passed_over.size()) + "}"});
    return static_cast<std::uint64_t>(passed_over.size());
  });
}

}  // namespace outseal::store
