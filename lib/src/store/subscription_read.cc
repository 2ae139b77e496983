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

/// Gives the row a position, or sets it aside. False once the page is full.
bool SubscriptionLog::take_row(const sql::EventColumns& row, Batch& batch, const PageLimits& limits,
                               std::set<std::string, std::less<>>& blocked) {
  std::optional<sql::LargeEvent> large;
  EventRow event = row.event();
  if (!event.key.empty() && blocked.contains(event.key)) {
    batch.parked.push_back({event.seq, true, "an earlier event of its key is parked"});
    return true;
  }
  const Position position = advance(batch.first, batch.size());
  // "No event" has the nil id, so a sink whose last event had it would seem to be empty.
  auto reason = event.id.is_nil() ? std::optional<std::string>{"its id is nil"}
                                  : complete(connection_, row, payload_bytes_max_, event, large);
  if (!reason) reason = encoder_.encode(event, position, batch.bytes);
  if (reason) {
    batch.parked.push_back({event.seq, false, std::move(*reason)});
    if (!event.key.empty()) blocked.emplace(event.key);
    return true;
  }
  batch.entries.push_back({event.seq, event.id, batch.bytes.size()});
  return batch.size() < limits.events_max && batch.bytes.size() < limits.bytes_max;
}

Batch SubscriptionLog::read_page(const Cursor& from, const Tail& prior, const PageLimits& limits) {
  const sql::ParkedState parked = sql::look_at_parked(connection_, name_);
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
  sql::Statement& rows = sql::read_queued(connection_, name_, limits.events_max,
                                          from.is_inside() ? from.after_seq : Seq{INT64_MAX});
  const sql::StatementScope use{rows};
  while (rows.step() && take_row(sql::EventColumns{rows}, batch, limits, blocked)) {
  }
  batch.hash = sha256(batch.bytes);
  return batch;
}

Batch SubscriptionLog::read_log(const Cursor& from, const Tail& prior, const PageLimits& limits,
                                sql::ParkedState parked) {
  Batch batch = empty_batch(BatchKind::log, from, prior);
  std::set<std::string, std::less<>> blocked;
  // After a settlement the cursor goes back over events that the same page had set aside, and after
  // a rebase some of the next windows' are in the sink already. From the first row on: the numbers
  // of a window may be lower than those of the one before.
  std::optional<std::vector<Seq>> excluded;
  bool full = false;
  for (int pages = 0; !full && pages < kScanPages; ++pages) {
    const std::unique_ptr<LogPage> page = reader_->open(batch.to, limits);
    while (!full && page->step()) {
      const sql::EventColumns row = page->row();
      if (!excluded && !parked.any) excluded.emplace();
      if (!excluded)
        excluded =
            sql::excluded_seqs(connection_, name_, Seq{row.seq().value() - 1}, Seq{INT64_MAX});
      full = !take_log_row(row, batch, limits, blocked, *excluded, parked.open);
    }
    batch.to = page->cursor();
    if (!full && !page->has_more()) break;
  }
  batch.hash = sha256(batch.bytes);
  return batch;
}

/// Takes the row unless it is none of ours. False once the page is full.
bool SubscriptionLog::take_log_row(const sql::EventColumns& row, Batch& batch,
                                   const PageLimits& limits,
                                   std::set<std::string, std::less<>>& blocked,
                                   const std::vector<Seq>& excluded, bool some_parked) {
  const Seq seq = row.seq();
  if (!matches(row.topic()) || std::binary_search(excluded.begin(), excluded.end(), seq))
    return true;
  const std::string_view key = row.key();
  if (some_parked && !key.empty() && !blocked.contains(key) &&
      sql::is_key_blocked(connection_, name_, key, seq))
    blocked.emplace(key);
  return take_row(row, batch, limits, blocked);
}

JournalRow SubscriptionLog::find_journal(Position position) {
  JournalRow row = sql::find_journal(connection_, name_, position).value_or(JournalRow{});
  // Equal: the cursor stood between two windows, and the batch came from parked events.
  if (row.from.snap_to == row.from.snap_from) row.from.snap_to = row.to.snap_to = "";
  if (row.count == 0 || position >= advance(row.first, row.count))
    throw Error{
        ErrorCode::refused,
        "read_journal",
        "the journal of subscription " + name_ + " has no batch with position " +
            std::to_string(position.value()),
        {.hint = "it was removed by retention or by hand: see what is left with outseal-reconcile"
                 " run --check journal_sink"}};
  return row;
}

std::string chain_before(sql::Connection& connection, std::string_view subscription,
                         Position first) {
  auto before = sql::find_batch_before(connection, subscription, first);
  return before ? std::move(before->chain) : std::string(kHashBytes, '\0');
}

Batch SubscriptionLog::read_journal(Position position) {
  const JournalRow row = find_journal(position);
  const auto before = sql::find_batch_before(connection_, name_, row.first);
  const Tail prior = before ? Tail{Position{row.first.value() - 1}, before->last_event_id} : Tail{};
  Batch batch = empty_batch(row.kind, row.from, prior);
  batch.first = row.first;
  batch.to = row.to;
  const bool log = row.kind == BatchKind::log;
  const auto excluded =
      log ? sql::excluded_seqs(connection_, name_, row.from.after_seq, row.to.after_seq)
          : std::vector<Seq>{};
  std::set<std::string, std::less<>> blocked;
  const PageLimits limits{.events_max = row.count, .bytes_max = SIZE_MAX};
  sql::Statement& rows =
      log ? reader_->open_range(row.from, row.to)
          : sql::read_redriven(connection_, name_, row.first, advance(row.first, row.count - 1));
  const sql::StatementScope use{rows};
  while (rows.step()) {
    const sql::EventColumns event{rows};
    if (!(log ? take_log_row(event, batch, limits, blocked, excluded, false)
              : take_row(event, batch, limits, blocked)))
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
        {.hint = "rows of the outbox were changed or removed, or the sink's format differs: see"
                 " which with outseal-reconcile run --check journal_sink"}};
  return batch;
}

}  // namespace outseal::store
