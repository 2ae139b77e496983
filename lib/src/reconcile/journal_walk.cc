#include "reconcile/journal_walk.h"

#include <algorithm>

#include "base/hash.h"
#include "model/chain.h"

namespace outseal::reconcile {
namespace {

using sql::Query;
using store::JournalRow;

constexpr std::int64_t kJournalPageRows = 256;
constexpr std::int64_t kRangePageRows = 4'096;

Position position_of(std::int64_t number) { return Position{static_cast<std::uint64_t>(number)}; }

/// Columns: kind, first, count, from seq, to seq, last id, hash, chain hash.
JournalRow row_of(const sql::Statement& columns, int base) {
  JournalRow row;
  row.kind = columns.text(base) == "redrive" ? BatchKind::redrive : BatchKind::log;
  row.first = position_of(columns.integer(base + 1));
  row.count = static_cast<std::uint64_t>(columns.integer(base + 2));
  row.from.after_seq = Seq{columns.integer(base + 3)};
  row.to.after_seq = Seq{columns.integer(base + 4)};
  row.last_event_id = EventId::parse(columns.text(base + 5)).value_or(EventId{});
  row.hash = columns.blob(base + 6);
  row.chain_hash = columns.blob(base + 7);
  return row;
}

std::string number(Position position) { return std::to_string(position.value()); }
std::string number(Seq seq) { return std::to_string(seq.value()); }

Position last_of(const JournalRow& row) { return advance(row.first, row.count - 1); }

}  // namespace

JournalState read_journal_state(sql::Connection& connection, std::string_view subscription) {
  JournalState state;
  const sql::Use use{connection.statement(Query::journal_state)};
  use->bind_text(0, subscription);
  if (!use->step()) return state;
  state.bound = position_of(use->integer(0));
  state.acked = {position_of(use->integer(1)), EventId::parse(use->text(2)).value_or(EventId{})};
  state.acked_seq = Seq{use->integer(3)};
  state.chain_hash = use->blob(4);
  state.version = use->integer(5);
  if (!use->is_null(7)) state.last = row_of(*use.operator->(), 6);
  return state;
}

void walk_range(sql::Connection& connection, const SubscriptionInfo& subscription, Seq from, Seq to,
                const std::function<bool(LogEntry)>& take) {
  std::int64_t after = from.value();
  for (bool more = after < to.value(); more;) {
    more = false;
    const sql::Use use{connection.statement(Query::list_range_ids)};
    use->bind_text(0, subscription.name);
    use->bind(1, after);
    use->bind(2, to.value());
    use->bind(3, kRangePageRows);
    std::int64_t rows = 0;
    while (use->step()) {
      ++rows;
      after = use->integer(0);
      if (use->integer(4) != 0 || !subscription.matches(use->text(3))) continue;
      if (!take({Seq{after}, EventId::parse(use->text(1)).value_or(EventId{}),
                 std::string{use->text(2)}}))
        return;
    }
    more = rows == kRangePageRows;
  }
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
  if (start_ == Position{1}) log_end_ = Seq{0};  // Both begin at their beginning.
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
  if (row.kind != BatchKind::log) return;
  const Seq from = row.from.after_seq;
  const Seq to = row.to.after_seq;
  if (from > to || (log_end_ && from < *log_end_)) {
    problems_.add("order", row.first,
                  "the batch at position " + number(row.first) + " holds seq " + number(from) +
                      " to " + number(to) + ", but the log was read up to seq " +
                      number(log_end_.value_or(from)) + " before it");
  } else if (log_end_) {
    check_nothing_lost(*log_end_, from);
  }
  log_end_ = std::max(to, log_end_.value_or(to));
}

void JournalWalk::check_nothing_lost(Seq from, Seq to) {
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
  if (log_end_ && state_.acked_seq > *log_end_) check_nothing_lost(*log_end_, state_.acked_seq);
}

}  // namespace outseal::reconcile
