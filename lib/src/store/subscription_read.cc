// The reading half: pages of the log and of parked events that are queued again, and batches read a
// second time by their journal row. Nothing here writes, and no transaction stays open.
#include <algorithm>
#include <optional>

#include "base/hash.h"
#include "base/text.h"
#include "outseal/error.h"
#include "store/event_row.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {

/// Pages looked at per page wanted, so that a filter that matches little ends its page all the
/// same.
constexpr int kScanFactor = 10;

BatchKind kind_of(std::string_view text) {
  if (text == "log") return BatchKind::log;
  return text == "redrive" ? BatchKind::redrive : BatchKind::rebase;
}

Batch empty_batch(BatchKind kind, const Cursor& from, const Tail& prior) {
  Batch batch;
  batch.kind = kind;
  batch.first = advance(prior.position);
  batch.prior = prior;
  batch.from = batch.to = from;
  return batch;
}

}  // namespace

bool SubscriptionLog::matches(std::string_view topic) const {
  return topic_matches_any(topics_, topic);
}

SubscriptionLog::ParkedState SubscriptionLog::look_at_parked() {
  const sql::Use any{connection_.statement(sql::Query::any_open_parked)};
  any->bind_text(0, name_);
  any->step();
  return {.open = any->integer(0) != 0, .any = any->integer(1) != 0};
}

bool SubscriptionLog::is_key_blocked(std::string_view key, Seq before) {
  const sql::Use blocked{connection_.statement(sql::Query::is_key_blocked)};
  blocked->bind_text(0, name_);
  blocked->bind_text(1, key);
  blocked->bind(2, before.value());
  return blocked->step() && blocked->integer(0) != 0;
}

std::vector<std::int64_t> SubscriptionLog::excluded_seqs(Seq from, Seq to) {
  std::vector<std::int64_t> seqs;
  const sql::Use excluded{connection_.statement(sql::Query::excluded_seqs)};
  excluded->bind_text(0, name_);
  excluded->bind(1, from.value());
  excluded->bind(2, to.value());
  while (excluded->step()) seqs.push_back(excluded->integer(0));
  return seqs;
}

/// Gives the row a position, or sets it aside. False once the page is full.
bool SubscriptionLog::take_row(sql::Statement& row, Batch& batch, const PageLimits& limits,
                               std::set<std::string, std::less<>>& blocked) {
  std::optional<sql::Use> large;
  const EventRow event = whole_event_row(connection_, row, large);
  if (!event.key.empty() && blocked.contains(event.key)) {
    batch.parked.push_back({event.seq, true, "an earlier event of its key is parked"});
    return true;
  }
  const Position position = advance(batch.first, batch.size());
  // "No event" has the nil id, so a sink whose last event had it would seem to be empty.
  auto reason = event.id.is_nil() ? std::optional<std::string>{"its id is nil"}
                                  : sink_.encode(event, position, batch.bytes);
  if (reason) {
    batch.parked.push_back({event.seq, false, std::move(*reason)});
    if (!event.key.empty()) blocked.emplace(event.key);
    return true;
  }
  batch.entries.push_back({event.seq, event.id, batch.bytes.size()});
  return batch.size() < limits.events_max && batch.bytes.size() < limits.bytes_max;
}

Batch SubscriptionLog::read_page(const Cursor& from, const Tail& prior, const PageLimits& limits) {
  const ParkedState parked = look_at_parked();
  if (parked.open) {
    Batch redrive = read_redrive(from, prior, limits);
    if (!redrive.entries.empty() || !redrive.parked.empty()) return redrive;
  }
  return read_log(from, prior, limits, parked);
}

Batch SubscriptionLog::read_redrive(const Cursor& from, const Tail& prior,
                                    const PageLimits& limits) {
  Batch batch = empty_batch(BatchKind::redrive, from, prior);
  std::set<std::string, std::less<>> blocked;
  sql::Statement& rows = connection_.statement(sql::Query::read_queued);
  const sql::Use use{rows};
  rows.bind_text(0, name_);
  rows.bind(1, static_cast<std::int64_t>(limits.events_max));
  rows.bind(2, from.is_inside() ? from.after_seq.value() : INT64_MAX);
  while (rows.step() && take_row(rows, batch, limits, blocked)) {
  }
  batch.hash = sha256(batch.bytes);
  return batch;
}

Batch SubscriptionLog::read_log(const Cursor& from, const Tail& prior, const PageLimits& limits,
                                ParkedState parked) {
  Batch batch = empty_batch(BatchKind::log, from, prior);
  std::set<std::string, std::less<>> blocked;
  // After a settlement the cursor goes back over events that the same page had set aside, and after
  // a rebase some of the next windows' are in the sink already. From the first row on: the numbers
  // of a window may be lower than those of the one before.
  std::optional<std::vector<std::int64_t>> excluded;
  bool full = false;
  for (int pages = 0; !full && pages < kScanFactor; ++pages) {
    const std::unique_ptr<LogPage> page = reader_->open(batch.to, limits);
    while (!full && page->step()) {
      const Seq seq{page->rows().integer(0)};
      if (!excluded && !parked.any) excluded.emplace();
      if (!excluded) excluded = excluded_seqs(Seq{seq.value() - 1}, Seq{INT64_MAX});
      full = !take_log_row(page->rows(), batch, limits, blocked, *excluded, parked.open);
    }
    batch.to = page->cursor();
    if (!full && !page->goes_on()) break;
  }
  batch.hash = sha256(batch.bytes);
  return batch;
}

/// Takes the row unless it is none of ours. False once the page is full.
bool SubscriptionLog::take_log_row(sql::Statement& row, Batch& batch, const PageLimits& limits,
                                   std::set<std::string, std::less<>>& blocked,
                                   const std::vector<std::int64_t>& excluded, bool some_parked) {
  const Seq seq{row.integer(0)};
  if (!matches(row.text(2)) || std::binary_search(excluded.begin(), excluded.end(), seq.value()))
    return true;
  const std::string_view key = row.text(3);
  if (some_parked && !key.empty() && !blocked.contains(key) && is_key_blocked(key, seq))
    blocked.emplace(key);
  return take_row(row, batch, limits, blocked);
}

JournalRow SubscriptionLog::find_journal(Position position) {
  const sql::Use find{connection_.statement(sql::Query::find_journal)};
  find->bind_text(0, name_);
  find->bind(1, static_cast<std::int64_t>(position.value()));
  JournalRow row;
  if (find->step()) {
    row.kind = kind_of(find->text(0));
    row.first = Position{static_cast<std::uint64_t>(find->integer(1))};
    row.count = static_cast<std::uint64_t>(find->integer(2));
    row.from.after_seq = Seq{find->integer(3)};
    row.to.after_seq = Seq{find->integer(4)};
    row.last_event_id = find->event_id(5);
    row.from.snap_from = row.to.snap_from = find->text(8);
    // Equal: the cursor stood between two windows, and the batch came from parked events.
    if (find->text(9) != find->text(8)) row.from.snap_to = row.to.snap_to = find->text(9);
    row.hash = find->blob(6);
    row.chain_hash = find->blob(7);
  }
  if (row.count == 0 || position >= advance(row.first, row.count))
    throw Error{ErrorCode::refused,
                "read_journal",
                "the journal of subscription " + name_ + " has no batch with position " +
                    std::to_string(position.value()),
                {.hint = "it was removed by retention or by hand"}};
  return row;
}

std::optional<BatchBefore> batch_before(sql::Connection& connection, std::string_view subscription,
                                        Position first) {
  const sql::Use find{connection.statement(sql::Query::previous_chain)};
  find->bind_text(0, subscription);
  find->bind(1, static_cast<std::int64_t>(first.value()));
  if (!find->step()) return std::nullopt;
  return BatchBefore{.last_event_id = find->event_id(0),
                     .chain = std::string{find->blob(1)},
                     .mark = std::string{find->text(2)}};
}

std::string chain_before(sql::Connection& connection, std::string_view subscription,
                         Position first) {
  auto before = batch_before(connection, subscription, first);
  return before ? std::move(before->chain) : std::string(kHashBytes, '\0');
}

Batch SubscriptionLog::read_journal(Position position) {
  const JournalRow row = find_journal(position);
  const auto before = batch_before(connection_, name_, row.first);
  const Tail prior = before ? Tail{Position{row.first.value() - 1}, before->last_event_id} : Tail{};
  Batch batch = empty_batch(row.kind, row.from, prior);
  batch.first = row.first;
  batch.to = row.to;
  const bool log = row.kind == BatchKind::log;
  const auto excluded =
      log ? excluded_seqs(row.from.after_seq, row.to.after_seq) : std::vector<std::int64_t>{};
  std::set<std::string, std::less<>> blocked;
  const PageLimits limits{.events_max = row.count, .bytes_max = SIZE_MAX};
  sql::Statement& rows = log ? reader_->open_range(row.from, row.to)
                             : connection_.statement(sql::Query::read_redriven);
  const sql::Use use{rows};
  if (!log) {
    rows.bind_text(0, name_);
    rows.bind(1, static_cast<std::int64_t>(row.first.value()));
    rows.bind(2, static_cast<std::int64_t>(row.first.value() + row.count - 1));
  }
  while (rows.step()) {
    if (!(log ? take_log_row(rows, batch, limits, blocked, excluded, false)
              : take_row(rows, batch, limits, blocked)))
      break;
  }
  batch.hash = sha256(batch.bytes);
  if (batch.size() != row.count || batch.hash != row.hash)
    throw Error{
        ErrorCode::refused,
        "read_journal",
        "the batch at position " + std::to_string(row.first.value()) + " of subscription " + name_ +
            " is not what was bound: " + std::to_string(batch.size()) + " of " +
            std::to_string(row.count) + " events found" +
            (batch.size() == row.count ? ", with other bytes" : ""),
        {.hint = "rows of the outbox were changed or removed, or the sink's format differs"}};
  return batch;
}

}  // namespace outseal::store
