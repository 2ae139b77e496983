#include "reconcile/sink_comparison.h"

#include <algorithm>

namespace outseal::reconcile {
namespace {

constexpr std::uint64_t kProgressRecords = 20'000;

std::string number(Position position) { return std::to_string(position.value()); }
Position before(Position position) { return Position{position.value() - 1}; }

std::string range(Position from, Position to) {
  return from == to ? "position " + number(from)
                    : "positions " + number(from) + " to " + number(to);
}

std::string at(const SinkRecord& record) {
  return "position " + number(record.position) + " (" + record.where + ")";
}

}  // namespace

SinkComparison::SinkComparison(CheckContext& context, const SubscriptionInfo& subscription,
                               Sink& sink, Report& report)
    : context_{context},
      subscription_{subscription},
      sink_{sink},
      report_{report},
      problems_{subscription, report},
      state_{sql::read_journal_state(context.connection, subscription.name)},
      walk_{context.connection, subscription, state_, problems_},
      exam_{context.connection, subscription, sink, problems_},
      bound_known_{state_.bound} {}

void SinkComparison::run() {
  const auto reader = sink_.read();
  SinkRecord record;
  while (reader->next(record)) {
    take(record);
    if (++records_ % kProgressRecords == 0) report_progress();
  }
  finish();
  report_.looked_at("batches", batches_);
  report_.looked_at("events", records_);
  if (exam_.unretained() != 0) report_.looked_at("batches_by_hash_alone", exam_.unretained());
}

void SinkComparison::report_progress() {
  if (context_.progress) context_.progress("journal_sink", records_, state_.acked.position.value());
}

void SinkComparison::take(const SinkRecord& record) {
  if (record.position == Position{0}) {
    take_foreign(record);
    return;
  }
  if (held_) settle_held(record.position);
  if (!is_bound(record.position)) {
    if (ghosts_.size() < kOddMax) ghosts_.insert(record.event_id);
    problems_.add("ghost", record.position,
                  "event " + record.event_id.to_string() + " stands at " + at(record) +
                      ", but no event was ever bound to that position");
    return;
  }
  if (record.position > expected_) {
    held_ = Held{record, std::string{record.encoded}};
    return;
  }
  if (record.position < expected_)
    place_late(record);
  else
    place(record);
}

/// The held record jumped ahead of expected_; `next` is the position of the record after it.
void SinkComparison::settle_held(Position next) {
  Held held = std::move(*held_);
  held_.reset();
  held.record.encoded = held.encoded;
  const Position jumped = held.record.position;
  const bool has_more =
      next == expected_ || (next == advance(expected_) && jumped > advance(expected_));
  if (!has_more || early_.size() >= kOddMax) {
    note_gap(expected_, before(jumped));
    place(held.record);
    return;
  }
  if (early_.insert(jumped).second)
    problems_.add("order", jumped,
                  "event " + held.record.event_id.to_string() + " of " + at(held.record) +
                      " stands before position " + number(expected_));
  else
    problems_.add("duplicate", jumped, at(held.record) + " stands in the sink twice");
}

/// A record at its place, or behind a gap that was noted.
void SinkComparison::place(const SinkRecord& record) {
  if (early_.erase(record.position) != 0) {
    problems_.add("duplicate", record.position, at(record) + " stands in the sink twice");
  } else {
    feed(record);
  }
  expected_ = advance(record.position);
  while (early_.erase(expected_) != 0) expected_ = advance(expected_);
}

/// A record whose place has passed: it fills a gap, or it is there for the second time.
void SinkComparison::place_late(const SinkRecord& record) {
  auto gap = gaps_.upper_bound(record.position);
  if (gap == gaps_.begin() || (--gap)->second < record.position) {
    problems_.add("duplicate", record.position,
                  "event " + record.event_id.to_string() + " stands at " + at(record) +
                      ", but the sink has that position before");
    return;
  }
  const auto [from, to] = *gap;
  gaps_.erase(gap);
  if (from < record.position) gaps_.emplace(from, before(record.position));
  if (record.position < to) gaps_.emplace(advance(record.position), to);
  problems_.add("order", record.position,
                "event " + record.event_id.to_string() + " of " + at(record) +
                    " stands behind position " + number(before(expected_)));
}

void SinkComparison::note_gap(Position from, Position to) {
  for (auto early = early_.lower_bound(from); early != early_.end() && *early <= to;
       early = early_.erase(early)) {
    if (from < *early) gaps_.emplace(from, before(*early));
    from = advance(*early);
  }
  if (from > to) return;
  if (gaps_.size() < kOddMax)
    gaps_.emplace(from, to);
  else
    gaps_.rbegin()->second = to;
}

void SinkComparison::feed(const SinkRecord& record) {
  close_batches_before(record.position);
  if (record.position > state_.acked.position) {
    if (record.position <= state_.bound) pending_.take(record);
    return;
  }
  const JournalRow* row = walk_.row();
  if (row != nullptr && record.position >= row->first) image_.take(record);
}

void SinkComparison::close_batches_before(Position position) {
  while (walk_.row() != nullptr && position > walk_.end()) close_batch();
}

void SinkComparison::close_batch() {
  exam_.examine(*walk_.row(), walk_.end(), image_);
  image_.clear();
  walk_.next();
  ++batches_;
}

bool SinkComparison::is_bound(Position position) {
  if (position > bound_known_)
    bound_known_ = std::max(bound_known_,
                            sql::read_journal_state(context_.connection, subscription_.name).bound);
  return position <= bound_known_;
}

void SinkComparison::take_foreign(const SinkRecord& record) {
  const Position after = before(held_ ? advance(held_->record.position) : expected_);
  if (after < state_.acked.position)
    report_foreign(after, record.where);
  else if (!tail_foreign_)
    tail_foreign_ = TailForeign{after, record.where, record.torn};
}

void SinkComparison::report_foreign(Position after, const std::string& where) {
  problems_.add("foreign", after,
                "after position " + number(after) + " (" + where +
                    ") stands something that outseal did not write",
                Severity::error);
}

void SinkComparison::finish() {
  if (held_) settle_held(Position{0});
  while (walk_.row() != nullptr) close_batch();
  walk_.finish();
  report_missing();
  report_tail();
  report_repeated();
}

void SinkComparison::report_missing() {
  const Position acked = state_.acked.position;
  if (expected_ <= acked) note_gap(expected_, acked);
  for (const auto& [first, last] : gaps_) {
    const Position from = std::max(first, walk_.start());  // Older ones went with their journal.
    const Position to = std::min(last, acked);  // A gap behind it is what a crash can leave.
    if (from > to) continue;
    problems_.add(
        "missing", from,
        range(from, to) + (from == to ? " is" : " are") + " acknowledged, but not in the sink");
  }
}

/// What stands behind the acknowledged position can be judged if no relay was at work meanwhile.
void SinkComparison::report_tail() {
  if (sql::read_journal_state(context_.connection, subscription_.name).version != state_.version)
    return;
  const Position acked = state_.acked.position;
  const bool is_pending = state_.bound > acked;
  if (is_pending && !pending_.empty() && state_.last && state_.last->first > acked)
    exam_.examine_pending(*state_.last, pending_);
  // A crash may have torn the pending batch; the relay repairs that when it starts.
  if (tail_foreign_ && !(is_pending && tail_foreign_->torn))
    report_foreign(tail_foreign_->after, tail_foreign_->where);
}

/// Reads the sink once more if there are ids in it that do not belong where they stand.
void SinkComparison::report_repeated() {
  std::unordered_set<EventId> wanted = exam_.suspects();
  wanted.insert(ghosts_.begin(), ghosts_.end());
  if (wanted.empty()) return;
  std::map<EventId, Position> first;
  const auto reader = sink_.read();
  SinkRecord record;
  while (reader->next(record)) {
    if (record.position == Position{0} || !wanted.contains(record.event_id)) continue;
    const auto [known, is_new] = first.emplace(record.event_id, record.position);
    if (is_new || known->second == record.position) continue;
    problems_.add("duplicate", record.position,
                  "event " + record.event_id.to_string() + " stands at " + at(record) +
                      ", and at position " + number(known->second) + " as well");
  }
}

}  // namespace outseal::reconcile
