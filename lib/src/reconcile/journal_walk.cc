#include "reconcile/journal_walk.h"

#include <algorithm>
#include <cstdint>

#include "base/hash.h"
#include "model/chain.h"
#include "store/snapshot.h"

namespace outseal::reconcile {
namespace {

using sql::Query;
using store::JournalRow;
using store::Snapshot;

constexpr std::int64_t kJournalPageRows = 256;
constexpr std::int64_t kRangePageRows = 4'096;
/// Where every log on PostgreSQL begins. Source: its numbers of transactions begin at 3.
constexpr std::string_view kFirstSnapshot = "3:3:";

Position position_of(std::int64_t number) { return Position{static_cast<std::uint64_t>(number)}; }

/// Columns: kind, first, count, from seq, to seq, last id, hash, chain hash, begin and end of the
/// window.
JournalRow row_of(const sql::Statement& columns, int base) {
  JournalRow row;
  const std::string_view kind = columns.text(base);
  row.kind = kind == "log"       ? BatchKind::log
             : kind == "redrive" ? BatchKind::redrive
                                 : BatchKind::rebase;
  row.first = position_of(columns.integer(base + 1));
  row.count = static_cast<std::uint64_t>(columns.integer(base + 2));
  row.from.after_seq = Seq{columns.integer(base + 3)};
  row.to.after_seq = Seq{columns.integer(base + 4)};
  row.from.snap_from = row.to.snap_from = columns.text(base + 8);
  row.from.snap_to = row.to.snap_to = columns.text(base + 9);
  row.last_event_id = columns.event_id(base + 5);
  row.hash = columns.blob(base + 6);
  row.chain_hash = columns.blob(base + 7);
  return row;
}

std::string number(Position position) { return std::to_string(position.value()); }
std::string number(Seq seq) { return std::to_string(seq.value()); }

Position last_of(const JournalRow& row) { return advance(row.first, row.count - 1); }

// Places in the log: a seq, on PostgreSQL inside of a window or, with snap_to empty, between two.

bool is_same_window(const Cursor& a, const Cursor& b) {
  return a.snap_from == b.snap_from && a.snap_to == b.snap_to;
}

bool is_between_windows(const Cursor& place) {
  return !place.snap_from.empty() && place.snap_to.empty();
}

/// The place between two windows behind `place`; itself if it is such a one.
Cursor end_of_window(const Cursor& place) {
  return {.after_seq = {},
          .snap_from = is_between_windows(place) ? place.snap_from : place.snap_to};
}

/// Whether a log that is read on from `place` gives something again that comes before `end`.
bool is_behind(const Cursor& place, const Cursor& end) {
  if (is_same_window(place, end))
    return !is_between_windows(place) && place.after_seq < end.after_seq;
  if (place.snap_from.empty() || end.snap_from.empty()) return true;  // By hand: they must have it.
  const Snapshot begin = Snapshot::parse(place.snap_from);
  const Snapshot passed = Snapshot::parse(end_of_window(end).snap_from);
  return begin.xmax < passed.xmax ||
         std::any_of(begin.running.begin(), begin.running.end(),
                     [&](store::Xid running) { return passed.has_ended(running); });
}

/// Whether the log was read at least as far when it came to `place` as when it came to `end`.
bool reaches(const Cursor& place, const Cursor& end) {
  return !is_behind(is_same_window(place, end) ? place : end_of_window(place), end);
}

/// Whether the cursor was bound anew at this row, or the row is from before that and has lost its
/// window: how far the log was read then is not known.
bool has_no_window(const JournalRow& row) {
  return row.kind != BatchKind::log && row.from.snap_from == kFirstSnapshot &&
         row.from.snap_to == kFirstSnapshot;
}

std::string text_of(const Cursor& place) {
  std::string text = "seq " + number(place.after_seq);
  if (!place.snap_from.empty())
    text += " of the window " + place.snap_from + " to " + place.snap_to;
  return text;
}

/// A part of the log that is read by seq: on PostgreSQL of one window.
struct Stretch {
  std::string_view snap_from;
  std::string_view snap_to;
  Seq after;
  Seq to;
};

/// False if `take` has ended the walk.
bool walk_stretch(sql::Connection& connection, const SubscriptionInfo& subscription,
                  const Stretch& stretch, const std::function<bool(LogEntry)>& take) {
  std::int64_t after = stretch.after.value();
  for (bool more = stretch.after < stretch.to; more;) {
    const sql::Use use{connection.statement(Query::list_range_ids)};
    use->bind_text(0, subscription.name);
    use->bind(1, after);
    use->bind(2, stretch.to.value());
    use->bind(3, kRangePageRows);
    use->bind_text(4, stretch.snap_from);
    use->bind_text(5, stretch.snap_to);
    std::int64_t rows = 0;
    while (use->step()) {
      ++rows;
      after = use->integer(0);
      if (use->integer(4) != 0 || !subscription.matches(use->text(3))) continue;
      if (!take({Seq{after}, use->event_id(1), std::string{use->text(2)}})) return false;
    }
    more = rows == kRangePageRows;
  }
  return true;
}

}  // namespace

JournalState read_journal_state(sql::Connection& connection, std::string_view subscription) {
  JournalState state;
  const sql::Use use{connection.statement(Query::journal_state)};
  use->bind_text(0, subscription);
  if (!use->step()) return state;
  state.bound = position_of(use->integer(0));
  state.acked = {position_of(use->integer(1)), use->event_id(2)};
  state.acked_log = {.after_seq = Seq{use->integer(3)},
                     .snap_from = std::string{use->text(4)},
                     .snap_to = std::string{use->text(5)}};
  state.chain_hash = use->blob(6);
  state.version = use->integer(7);
  if (!use->is_null(9)) state.last = row_of(*use.operator->(), 8);
  return state;
}

void walk_range(sql::Connection& connection, const SubscriptionInfo& subscription,
                const Cursor& from, const Cursor& to, const std::function<bool(LogEntry)>& take) {
  const auto walk = [&](std::string_view snap_from, std::string_view snap_to, Seq after, Seq last) {
    return walk_stretch(connection, subscription, {snap_from, snap_to, after, last}, take);
  };
  if (is_same_window(from, to)) {
    if (!is_between_windows(from)) walk(to.snap_from, to.snap_to, from.after_seq, to.after_seq);
    return;
  }
  if (!is_between_windows(from) &&
      !walk(from.snap_from, from.snap_to, from.after_seq, Seq{INT64_MAX}))
    return;
  const std::string next = end_of_window(from).snap_from;
  if (next != to.snap_from && !walk(next, to.snap_from, Seq{0}, Seq{INT64_MAX})) return;
  if (!is_between_windows(to)) walk(to.snap_from, to.snap_to, Seq{0}, to.after_seq);
}

void Problems::add(std::string_view kind, Position position, std::string detail,
                   Severity severity) {
  report_.found({.subject = subscription_.name + "@" + number(position) + " " + std::string{kind},
                 .severity = severity,
                 .detail = std::move(detail)});
}

void Problems::add(std::string_view kind, Seq seq, std::string detail, Severity severity) {
  report_.found({.subject = subscription_.name + "@seq:" + number(seq) + " " + std::string{kind},
                 .severity = severity,
                 .detail = std::move(detail)});
}

JournalWalk::JournalWalk(sql::Connection& connection, const SubscriptionInfo& subscription,
                         const JournalState& state, Problems& problems)
    : connection_{connection},
      subscription_{subscription},
      state_{state},
      problems_{problems},
      start_{advance(state.acked.position)} {
  ahead_ = fetch();
  if (ahead_) start_ = ahead_->first;
  if (start_ == Position{1}) {  // The log is known from where the subscription began.
    log_end_ = store::find_start(connection, subscription.name);
    if (log_end_ && log_end_->snap_from.empty() && !state.acked_log.snap_from.empty())
      log_end_->snap_from = kFirstSnapshot;
  }
  next();
}

std::optional<JournalRow> JournalWalk::fetch() {
  if (page_.empty()) {
    const sql::Use use{connection_.statement(Query::list_journal)};
    use->bind_text(0, subscription_.name);
    use->bind(1, static_cast<std::int64_t>(fetched_.value()));
    use->bind(2, static_cast<std::int64_t>(state_.acked.position.value()));
    use->bind(3, kJournalPageRows);
    while (use->step()) page_.push_back(row_of(*use.operator->(), 0));
    if (!page_.empty()) fetched_ = page_.back().first;
  }
  if (page_.empty()) return std::nullopt;
  JournalRow row = std::move(page_.front());
  page_.pop_front();
  return row;
}

Position JournalWalk::end() const {
  Position end = std::min(last_of(*row_), state_.acked.position);
  if (ahead_) end = std::min(end, Position{ahead_->first.value() - 1});
  return end;
}

void JournalWalk::next() {
  if (row_) previous_ = std::move(row_);
  row_ = std::move(ahead_);
  ahead_.reset();
  if (!row_) return;
  ahead_ = fetch();
  check_link(*row_);
  check_range(*row_);
}

/// True if `first` is where the journal begins now: retention took the rows before it.
bool JournalWalk::begins_journal(Position first) {
  const sql::Use use{connection_.statement(Query::journal_start)};
  use->bind_text(0, subscription_.name);
  return use->step() && position_of(use->integer(0)) == first;
}

void JournalWalk::check_link(const JournalRow& row) {
  std::optional<std::string> chain_before;
  if (row.first == Position{1}) chain_before = std::string(kHashBytes, '\0');
  if (previous_) {
    const Position expected = advance(last_of(*previous_));
    if (row.first == expected) {
      chain_before = previous_->chain_hash;
    } else if (row.first < expected) {
      problems_.add("journal", row.first,
                    "the journal's batch at position " + number(previous_->first) +
                        " reaches into the one at position " + number(row.first));
    } else if (begins_journal(row.first)) {
      log_end_.reset();
    } else {
      problems_.add("journal", expected,
                    "the journal has no row for the positions " + number(expected) + " to " +
                        std::to_string(row.first.value() - 1));
    }
  }
  if (chain_before && chain_hash(*chain_before, row.hash, row.first, row.count) != row.chain_hash)
    problems_.add("chain", row.first,
                  "the journal's chain of hashes breaks at position " + number(row.first));
}

void JournalWalk::check_range(const JournalRow& row) {
  if (has_no_window(row)) log_end_.reset();
  if (row.kind != BatchKind::log) return;
  if (is_behind(row.to, row.from) || (log_end_ && is_behind(row.from, *log_end_))) {
    problems_.add("order", row.first,
                  "the batch at position " + number(row.first) + " holds seq " +
                      number(row.from.after_seq) + " to " + text_of(row.to) +
                      ", but the log was read up to " + text_of(log_end_.value_or(row.from)) +
                      " before it");
  } else if (log_end_) {
    check_nothing_lost(*log_end_, row.from);
  }
  if (!log_end_ || reaches(row.to, *log_end_)) log_end_ = row.to;
}

void JournalWalk::check_nothing_lost(const Cursor& from, const Cursor& to) {
  walk_range(connection_, subscription_, from, to, [&](const LogEntry& entry) {
    problems_.add("lost", entry.seq,
                  "event " + entry.id.to_string() + " (seq " + number(entry.seq) +
                      ") was passed over: it is neither published nor parked");
    return true;
  });
}

/// True if a relay has moved on since the walk began, and retention behind it.
bool JournalWalk::overtaken_by_retention() {
  return read_journal_state(connection_, subscription_.name).version != state_.version;
}

void JournalWalk::finish() {
  const JournalRow* last = previous_ ? &*previous_ : nullptr;
  const Position acked = state_.acked.position;
  const Position reached = last == nullptr ? Position{0} : last_of(*last);
  if (reached != acked) {
    if (reached < acked && overtaken_by_retention()) return;
    problems_.add("journal", acked,
                  "the journal ends at position " + number(reached) + ", but position " +
                      number(acked) + " is acknowledged");
  } else if (last != nullptr && last->last_event_id != state_.acked.event_id) {
    problems_.add("journal", acked,
                  "the subscription says that event " + state_.acked.event_id.to_string() +
                      " is at position " + number(acked) + ", the journal says event " +
                      last->last_event_id.to_string());
  }
  const bool pending = state_.last && state_.last->first > acked;
  const Position bound = pending ? last_of(*state_.last) : acked;
  if (bound != state_.bound || (pending && state_.last->first != advance(acked)))
    problems_.add("journal", state_.bound,
                  "the journal binds the positions up to " + number(bound) +
                      ", the subscription those up to " + number(state_.bound));
  std::string chain = last != nullptr ? last->chain_hash : std::string(kHashBytes, '\0');
  if (pending) chain = chain_hash(chain, state_.last->hash, state_.last->first, state_.last->count);
  if (chain != state_.chain_hash)
    problems_.add("chain", state_.bound,
                  "the subscription's chain hash is not the one of its journal");
  if (log_end_ && !is_behind(state_.acked_log, *log_end_))
    check_nothing_lost(*log_end_, state_.acked_log);
}

}  // namespace outseal::reconcile
