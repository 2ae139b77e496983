#include "reconcile/journal_walk.h"

#include <algorithm>
#include <cstdint>

#include "base/hash.h"
#include "model/chain.h"
#include "store/snapshot.h"

namespace outseal::reconcile {
namespace {

using sql::Stretch;
using store::Snapshot;

constexpr std::int64_t kJournalPageRows = 256;
constexpr std::int64_t kStretchPageRows = 4'096;
/// Where every log on PostgreSQL begins. Source: its numbers of transactions begin at 3.
constexpr std::string_view kFirstSnapshot = "3:3:";

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

/// False if `take` has ended the walk.
bool walk_stretch(sql::Connection& connection, const SubscriptionInfo& subscription,
                  Stretch stretch, const std::function<bool(LogEntry)>& take) {
  bool wanted = true;
  for (bool more = stretch.after < stretch.to; more && wanted;) {
    std::int64_t rows = 0;
    const auto take_one = [&](const sql::StretchEvent& event) {
      ++rows;
      stretch.after = event.seq;
      if (!event.parked && subscription.matches(event.topic))
        wanted = take({event.seq, event.id, std::string{event.key}});
      return wanted;
    };
    sql::read_stretch(connection, subscription.name, stretch, kStretchPageRows, take_one);
    more = rows == kStretchPageRows;
  }
  return wanted;
}

}  // namespace

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
  report_.found({.subject = {.scope = Scope::of(subscription_.name),
                             .locator = number(position),
                             .kind = std::string{kind}},
                 .severity = severity,
                 .detail = std::move(detail)});
}

void Problems::add(std::string_view kind, Seq seq, std::string detail, Severity severity) {
  report_.found({.subject = {.scope = Scope::of(subscription_.name),
                             .locator = "seq:" + number(seq),
                             .kind = std::string{kind}},
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
    const auto rows = sql::list_journal(connection_, subscription_.name, fetched_,
                                        state_.acked.position, kJournalPageRows);
    page_.assign(rows.begin(), rows.end());
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
  return sql::find_journal_start(connection_, subscription_.name) == first;
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
  return sql::read_journal_state(connection_, subscription_.name).version != state_.version;
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
