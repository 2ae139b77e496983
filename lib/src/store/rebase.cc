// Invariants: an event that the sink holds behind the acknowledged position gets a row in parked,
// with its position, so that the relay passes over it; the journal gets one row for these
// positions, with the hash of what the sink holds. All others stay where they are in the log.
#include "store/rebase.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/hash.h"
#include "base/owner.h"
#include "model/chain.h"
#include "outseal/error.h"
#include "sql/parked.h"
#include "sql/rebase.h"
#include "sql/window.h"
#include "store/audit.h"
#include "store/passage.h"
#include "store/snapshot.h"
#include "store/subscription.h"
#include "store/turns.h"

namespace outseal::store {
namespace {

constexpr std::size_t kGhostIdsMax = 20;
/// A snapshot in which nothing of a log is visible: numbers of transactions begin at 3.
const std::string kNothing = "3:3:";

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error{ErrorCode::refused, "rebase", message, {.hint = hint}};
}

/// Not on SQLite, where numbers are all that a cursor needs: there they come back with the file.
bool has_windows(const sql::Connection& connection) { return connection.dialect() != "sqlite"; }

/// A subscription's row as far as a rebase needs it.
struct Row {
  Cursor cursor;  ///< Where to read on: before the pending batch, if there is one.
  Position bound;
  Tail acked;
  SourceIdentity source;
};

Row read_row(sql::Connection& connection, const std::string& name) {
  auto found = sql::read_subscription(connection, name);
  if (!found)
    throw Error{ErrorCode::invalid_argument,
                "rebase",
                "there is no subscription '" + name + "'",
                {.hint = "see the names with: outseal-relay status"}};
  if (found->lease_owner && found->lease_until_ms > connection.now_ms() &&
      !is_certainly_gone(*found->lease_owner))
    refuse("a relay leads the subscription (" + *found->lease_owner + ")",
           "stop all of its relays, see outseal-relay status; the lease of one that died "
           "elsewhere runs"
           " out by itself");
  Row row{.cursor = std::move(found->cursor),
          .bound = found->bound,
          .acked = found->acked,
          .source = std::move(found->source).value_or(SourceIdentity{})};
  if (has_windows(connection) && row.cursor.snap_to.empty()) row.cursor.after_seq = Seq{0};
  if (row.bound == row.acked.position) return row;
  const auto batch = sql::find_journal(connection, name, row.bound);
  if (batch && batch->kind == BatchKind::log) row.cursor = batch->from;
  return row;
}

/// What the sink holds behind the acknowledged position.
struct Published {
  Tail tail;
  std::vector<EventId> ids;
  std::string hash;  ///< Over their bytes.
};

Published read_sink(sql::Connection& connection, const std::string& name, Sink& sink,
                    const Tail& acked) {
  const auto batch = sql::find_batch_before(connection, name, advance(acked.position));
  sink.resume_from(acked, batch ? batch->mark : std::string{});
  const OpenResult opened = sink.open();
  if (opened.status == OpenResult::Status::refused) refuse(opened.detail, opened.hint);
  if (opened.status != OpenResult::Status::opened || !sink.features().readable)
    throw Error{ErrorCode::sink_unreachable, "rebase", opened.detail, {.hint = opened.hint}};
  Published found;
  found.tail = opened.tail.value_or(Tail{});
  if (found.tail.position < acked.position)
    refuse("the sink ends at position " + std::to_string(found.tail.position.value()) +
               ", before position " + std::to_string(acked.position.value()) +
               ", which it has acknowledged",
           "let outseal-relay run --rebuild send it what it has lost first; a rebase cannot tell");
  Sha256 hash;
  const auto reader = sink.read();
  SinkRecord record;
  while (reader->next(record) && record.position <= found.tail.position) {
    if (record.position == Position{0})
      refuse(record.where + " is none of ours",
             "take it out of the sink; outseal-reconcile run --check journal_sink lists all of it");
    if (record.position == acked.position && record.event_id != acked.event_id)
      refuse(
          "at position " + std::to_string(acked.position.value()) + " the sink has event " +
              record.event_id.to_string() + ", the database event " + acked.event_id.to_string(),
          "these are two histories: give up this one with outseal-relay remove, and begin another"
          " --subscription with a new sink");
    if (record.position <= acked.position) continue;
    found.ids.push_back(record.event_id);
    hash.add(record.encoded);
  }
  if (found.ids.size() != found.tail.position.value() - acked.position.value())
    refuse("the sink lacks positions behind " + std::to_string(acked.position.value()),
           "see what with: outseal-reconcile run --check journal_sink");
  found.hash = hash.finish();
  return found;
}

/// Whether what the sink holds behind the acknowledged position is the batch that was bound there,
/// or a part of it: then the next relay goes on by itself.
bool is_bound_batch(sql::Connection& connection, const std::string& name, SinkEncoder& encoder,
                    const Published& published, Position bound) {
  if (published.ids.empty()) return true;
  SubscriptionLog log{connection, name, encoder};
  log.set_topics(sql::find_subscription(connection, name).value().topics);
  try {
    const Batch batch = log.read_journal(bound);
    return std::equal(published.ids.begin(), published.ids.end(), batch.entries.begin(),
                      [](EventId id, const BatchEntry& entry) { return id == entry.id; });
  } catch (const Error& error) {  // No relay can send it any more.
    if (error.code() != ErrorCode::refused) throw;
    return false;
  }
}

// --- Another cluster: its numbers of transactions mean nothing here ------------------------------

/// A snapshot in which our own transaction has ended and every other one that may still run has
/// not.
std::string snapshot_after_us(sql::Connection& connection) {
  const auto [xid, snapshot] = sql::read_own_number(connection);
  const Snapshot now = Snapshot::parse(snapshot);
  std::vector<Xid> running;
  for (const Xid other : now.running)
    if (other < xid) running.push_back(other);
  for (Xid other = now.xmax; other < xid; ++other) running.push_back(other);
  std::string text = std::to_string(running.empty() ? xid + 1 : running.front()) + ":" +
                     std::to_string(xid + 1) + ":";
  for (const Xid other : running) text += (text.back() == ':' ? "" : ",") + std::to_string(other);
  return text;
}

/// Unbinds what was bound and not acknowledged; the sink decides about it anew.
void drop_pending(sql::Connection& connection, const std::string& name, Position acked) {
  sql::undo_redrive(connection, name, advance(acked));
  sql::delete_pending_journal(connection, name, advance(acked));
}

/// Gives a cursor a meaning in this cluster: everything from its first unpublished event on, but
/// for those behind it that are published already, which are noted one by one.
void translate_cursor(sql::Connection& connection, const std::string& name, const Row& row,
                      const std::string& window_end) {
  const Seq lowest = sql::find_lowest_unpublished(connection, name, row.cursor);
  sql::note_published(connection, name, row.cursor, lowest);
  sql::forget_windows(connection, name, row.acked.position);
  sql::translate_subscription(
      connection, name,
      {.after_seq = Seq{lowest.value() - 1}, .snap_from = kNothing, .snap_to = window_end},
      kUnverifiedTimeline);
}

/// Stamps the whole log with our own transaction and translates all cursors. Rows that are appended
/// later are newer than every one of them.
void translate(sql::Connection& connection) {
  lock_outbox(connection);
  const std::string window_end = snapshot_after_us(connection);
  for (const std::string& name : sql::list_subscriptions(connection)) {
    const Row row = read_row(connection, name);
    drop_pending(connection, name, row.acked.position);
    translate_cursor(connection, name, row, window_end);
  }
  sql::restamp_outbox(connection);
}

// --- This subscription ---------------------------------------------------------------------------

void note_event(sql::Connection& connection, const std::string& name, EventId event,
                Position position, std::string_view actor, RebaseResult& result) {
  if (sql::note_rebased(connection, name, event, position, actor)) {
    ++result.known;
    return;
  }
  ++result.ghosts;
  if (result.ghost_ids.size() < kGhostIdsMax) result.ghost_ids.push_back(event.to_string());
}

std::string chain_with(sql::Connection& connection, const std::string& name,
                       const Published& published, const Row& row) {
  const Position first = advance(row.acked.position);
  const std::string before = chain_before(connection, name, first);
  if (published.ids.empty()) return before;
  return chain_hash(before, published.hash, first, published.ids.size());
}

/// After the subscription was moved: on SQLite the batch stands where the cursor does.
void write_journal(sql::Connection& connection, const std::string& name, const Published& published,
                   const Row& row, const std::string& chain) {
  if (published.ids.empty()) return;
  sql::insert_rebased(connection, name,
                      {.first = advance(row.acked.position),
                       .count = published.ids.size(),
                       .last_event_id = published.tail.event_id,
                       .hash = published.hash,
                       .chain_hash = chain});
}

void record(sql::Connection& connection, const std::string& name, std::string_view actor,
            const RebaseResult& result) {
  const std::string detail = "{\"acked\":" + std::to_string(result.acked.value()) +
                             ",\"tail\":" + std::to_string(result.tail.value()) +
                             ",\"known\":" + std::to_string(result.known) +
                             ",\"ghosts\":" + std::to_string(result.ghosts) +
                             ",\"unread\":" + (result.unread ? "true" : "false") +
                             ",\"translated\":" + (result.translated ? "true" : "false") + "}";
  append_audit(connection, {actor, "rebase", name, detail});
}

/// Whether the numbers of transactions in the cursor or in the log are another cluster's.
bool is_foreign(sql::Connection& connection, const Row& row, const SourceIdentity& source) {
  if (!has_windows(connection)) return false;
  if (!row.source.system.empty() && row.source.system != source.system) return true;
  if (sql::is_log_ahead(connection)) return true;
  return is_ahead(row.cursor, sql::read_source_state(connection).snapshot);
}

/// Its events cannot be seen and may be in the sink: they would be taken for ghosts now, and be
/// published again when it commits.
void refuse_prepared(sql::Connection& connection) {
  if (!has_windows(connection)) return;
  if (const auto prepared = sql::find_prepared_appender(connection))
    refuse("the prepared transaction '" + *prepared + "' has events",
           "COMMIT PREPARED or ROLLBACK PREPARED it first, then: outseal-relay rebase");
}

/// Gives back the sink's lock also when an exception passes.
struct OpenSink {
  SinkSession& sink;
  ~OpenSink() { sink.close(); }
};

}  // namespace

RebaseResult rebase(sql::Connection& connection, const std::string& subscription, Sink& sink,
                    std::string_view actor, std::chrono::milliseconds wait) {
  const auto reader = make_log_reader(connection);
  const SourceIdentity source = reader->identify({}, std::nullopt);
  const Row before =
      sql::transact(connection, wait, [&] { return read_row(connection, subscription); });
  RebaseResult result;
  result.unread = !sink.features().has_tail() || !sink.features().readable;
  const OpenSink open{sink};
  const Published published = result.unread
                                  ? Published{.tail = before.acked, .ids = {}, .hash = {}}
                                  : read_sink(connection, subscription, sink, before.acked);
  const bool foreign = is_foreign(connection, before, source);
  const bool moved = !before.source.system.empty() && before.source.timeline != source.timeline;
  // What a restore into another cluster has brought is all stamped anew anyhow.
  if (!foreign)
    as_owner("rebase", [&] { result.renumbered = renumber_passed_over(connection, actor); });
  result.acked = result.tail = before.acked.position;
  // Else the sink is ahead of what was bound, or has other events there: the same cluster, brought
  // back to an older state.
  if (!foreign && !moved && published.tail.position <= before.bound &&
      is_bound_batch(connection, subscription, sink, published, before.bound))
    return result;

  sql::transact(connection, wait, [&] {
    take_turns(connection);
    Row row = read_row(connection, subscription);
    if (row.acked != before.acked)
      refuse("a relay has moved the subscription meanwhile",
             "stop all of its relays, see outseal-relay status, and try again");
    refuse_prepared(connection);
    result.translated = foreign;
    if (foreign) {
      as_owner("rebase", [&] { translate(connection); });
      row = read_row(connection, subscription);
    } else if (!result.unread) {
      drop_pending(connection, subscription, row.acked.position);
    }
    Position position = row.acked.position;
    for (const EventId& event : published.ids)
      note_event(connection, subscription, event, position = advance(position), actor, result);
    result.tail = published.tail.position;
    if (result.unread) {
      sql::reanchor_subscription(connection, subscription, source);  // It stands where it stood.
    } else {
      const std::string chain = chain_with(connection, subscription, published, row);
      sql::rebase_subscription(connection, subscription, row.cursor, published.tail, chain, source);
      write_journal(connection, subscription, published, row, chain);
    }
    result.needed = true;
    record(connection, subscription, actor, result);
  });
  return result;
}

}  // namespace outseal::store
