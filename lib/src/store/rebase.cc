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
#include "store/audit.h"
#include "store/snapshot.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {

using sql::Query;

constexpr std::chrono::milliseconds kWait{30'000};
constexpr std::size_t kGhostIdsMax = 20;
/// A snapshot in which nothing of a log is visible: numbers of transactions begin at 3.
const std::string kNothing = "3:3:";

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error{ErrorCode::refused, "rebase", message, {.hint = hint}};
}

/// A subscription's row as far as a rebase needs it.
struct Row {
  Cursor cursor;  ///< Where to read on: before the pending batch, if there is one.
  Position bound;
  Tail acked;
  std::string system;
  std::int64_t timeline = 0;
};

Row read_row(sql::Connection& connection, const std::string& name) {
  Row row;
  {
    const sql::Use read{connection.statement(Query::read_subscription)};
    read->bind_text(0, name);
    if (!read->step())
      throw Error{ErrorCode::invalid_argument,
                  "rebase",
                  "there is no subscription '" + name + "'",
                  {.hint = "see the names with: outseal-relay status"}};
    const std::string holder{read->text(7)};
    if (!read->is_null(7) && read->integer(8) > connection.now_ms() && !is_certainly_gone(holder))
      refuse("a relay leads the subscription (" + holder + ")",
             "stop all of its relays; the lease of one that died elsewhere runs out by itself");
    row.cursor = {.after_seq = Seq{read->integer(1)},
                  .snap_from = std::string{read->text(9)},
                  .snap_to = std::string{read->text(10)}};
    row.bound = Position{static_cast<std::uint64_t>(read->integer(2))};
    row.acked.position = Position{static_cast<std::uint64_t>(read->integer(3))};
    row.acked.event_id = read->event_id(4);
    row.system = read->text(11);
    row.timeline = read->integer(12);
  }
  if (row.cursor.snap_to.empty()) row.cursor.after_seq = Seq{0};
  if (row.bound == row.acked.position) return row;
  const sql::Use find{connection.statement(Query::find_journal)};
  find->bind_text(0, name);
  find->bind(1, static_cast<std::int64_t>(row.bound.value()));
  if (!find->step()) return row;
  if (find->text(0) == "log")
    row.cursor = {.after_seq = Seq{find->integer(3)},
                  .snap_from = std::string{find->text(8)},
                  .snap_to = std::string{find->text(9)}};
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
  const auto batch = batch_before(connection, name, advance(acked.position));
  sink.recall(acked, batch ? batch->mark : std::string{});
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
           "restore the sink first; a rebase cannot tell what it has lost");
  Sha256 hash;
  const auto reader = sink.read();
  SinkRecord record;
  while (reader->next(record) && record.position <= found.tail.position) {
    if (record.position == Position{0}) refuse(record.where + " is none of ours", "clean the sink");
    if (record.position == acked.position && record.event_id != acked.event_id)
      refuse("at position " + std::to_string(acked.position.value()) + " the sink has event " +
                 record.event_id.to_string() + ", the database event " + acked.event_id.to_string(),
             "these are two histories: give the relay a new sink and another --subscription");
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

// --- Another cluster: its numbers of transactions mean nothing here ------------------------------

/// A snapshot in which our own transaction has ended and every other one that may still run has
/// not.
std::string snapshot_after_us(sql::Connection& connection) {
  const sql::Use own{connection.statement(Query::own_transaction)};
  own->step();
  const auto xid = static_cast<Xid>(own->integer(0));
  const Snapshot now = Snapshot::parse(own->text(1));
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
  for (const Query query : {Query::undo_redrive, Query::delete_pending_journal}) {
    const sql::Use undo{connection.statement(query)};
    undo->bind_text(0, name);
    undo->bind(1, static_cast<std::int64_t>(acked.value() + 1));
    undo->step();
  }
}

/// Gives a cursor a meaning in this cluster: everything from its first unpublished event on, but
/// for those behind it that are published already, which are noted one by one.
void translate_cursor(sql::Connection& connection, const std::string& name, const Row& row,
                      const std::string& window_end) {
  std::int64_t lowest = 0;
  {
    const sql::Use find{connection.statement(Query::lowest_unpublished)};
    find->bind_text(0, row.cursor.snap_from);
    row.cursor.snap_to.empty() ? find->bind_null(1) : find->bind_text(1, row.cursor.snap_to);
    find->bind(2, row.cursor.after_seq.value());
    find->bind_text(3, name);
    find->step();
    lowest = find->integer(0);
  }
  {
    const sql::Use note{connection.statement(Query::note_published)};
    note->bind_text(0, row.cursor.snap_from);
    row.cursor.snap_to.empty() ? note->bind_null(1) : note->bind_text(1, row.cursor.snap_to);
    note->bind(2, row.cursor.after_seq.value());
    note->bind_text(3, name);
    note->bind(4, lowest);
    note->step();
  }
  {
    const sql::Use forget{connection.statement(Query::forget_windows)};
    forget->bind_text(0, name);
    forget->bind(1, static_cast<std::int64_t>(row.acked.position.value()));
    forget->step();
  }
  const sql::Use move{connection.statement(Query::translate_subscription)};
  move->bind_text(0, name);
  move->bind(1, lowest - 1);
  move->bind_text(2, kNothing);
  move->bind_text(3, window_end);
  move->bind(4, kUnverifiedTimeline);
  move->step();
}

/// Stamps the whole log with our own transaction and translates all cursors. Rows that are appended
/// later are newer than every one of them.
void translate(sql::Connection& connection) {
  sql::Use { connection.statement(Query::lock_outbox) } -> step();
  const std::string window_end = snapshot_after_us(connection);
  std::vector<std::string> names;
  {
    const sql::Use list{connection.statement(Query::list_subscriptions)};
    while (list->step()) names.emplace_back(list->text(0));
  }
  for (const std::string& name : names) {
    const Row row = read_row(connection, name);
    drop_pending(connection, name, row.acked.position);
    translate_cursor(connection, name, row, window_end);
  }
  sql::Use { connection.statement(Query::restamp_outbox) } -> step();
}

// --- This subscription ---------------------------------------------------------------------------

void note_event(sql::Connection& connection, const std::string& name, EventId event,
                Position position, std::string_view actor, RebaseResult& result) {
  const std::string id = event.to_string();
  const sql::Use note{connection.statement(Query::note_rebased)};
  note->bind_text(0, name);
  note->bind_text(1, id);
  note->bind(2, static_cast<std::int64_t>(position.value()));
  note->bind_text(3, actor);
  if (note->step()) {
    ++result.known;
    return;
  }
  ++result.ghosts;
  if (result.ghost_ids.size() < kGhostIdsMax) result.ghost_ids.push_back(id);
}

std::string write_journal(sql::Connection& connection, const std::string& name,
                          const Published& published, const Row& row) {
  std::string chain = chain_before(connection, name, advance(row.acked.position));
  if (published.ids.empty()) return chain;
  const Position first = advance(row.acked.position);
  chain = chain_hash(chain, published.hash, first, published.ids.size());
  const std::string last = published.tail.event_id.to_string();
  const sql::Use insert{connection.statement(Query::insert_rebased)};
  insert->bind_text(0, name);
  insert->bind(1, static_cast<std::int64_t>(first.value()));
  insert->bind(2, static_cast<std::int64_t>(published.ids.size()));
  insert->bind_text(3, last);
  insert->bind_blob(4, published.hash);
  insert->bind_blob(5, chain);
  insert->step();
  return chain;
}

void move_subscription(sql::Connection& connection, const std::string& name, const Row& row,
                       const Published& published, const SourceIdentity& source,
                       const std::string& chain) {
  const std::string id =
      published.tail.event_id.is_nil() ? "" : published.tail.event_id.to_string();
  const sql::Use move{connection.statement(Query::rebase_subscription)};
  move->bind_text(0, name);
  move->bind(1, row.cursor.after_seq.value());
  move->bind_text(2, row.cursor.snap_from);
  row.cursor.snap_to.empty() ? move->bind_null(3) : move->bind_text(3, row.cursor.snap_to);
  move->bind(4, static_cast<std::int64_t>(published.tail.position.value()));
  move->bind_text(5, id);
  move->bind_blob(6, chain);
  move->bind_text(7, source.system);
  move->bind(8, source.timeline);
  move->step();
}

/// The subscription stands where it stood, in this cluster.
void reanchor(sql::Connection& connection, const std::string& name, const SourceIdentity& source) {
  const sql::Use anchor{connection.statement(Query::reanchor_subscription)};
  anchor->bind_text(0, name);
  anchor->bind_text(1, source.system);
  anchor->bind(2, source.timeline);
  anchor->step();
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
  if (!row.system.empty() && row.system != source.system) return true;
  const sql::Use ahead{connection.statement(Query::log_is_ahead)};
  if (ahead->step() && ahead->integer(0) != 0) return true;
  const sql::Use state{connection.statement(Query::source_state)};
  state->step();
  return is_ahead(row.cursor, std::string{state->text(0)});
}

/// Its events cannot be seen and may be in the sink: they would be taken for ghosts now, and be
/// published again when it commits.
void refuse_prepared(sql::Connection& connection) {
  const sql::Use find{connection.statement(Query::prepared_appender)};
  if (find->step())
    refuse("the prepared transaction '" + std::string{find->text(0)} + "' has events",
           "COMMIT PREPARED or ROLLBACK PREPARED it first");
}

/// Gives back the sink's lock also when an exception passes.
struct OpenSink {
  Sink& sink;
  ~OpenSink() { sink.close(); }
};

}  // namespace

RebaseResult rebase(sql::Connection& connection, const std::string& subscription, Sink& sink,
                    std::string_view actor) {
  if (connection.dialect() != "postgresql")
    throw Error{ErrorCode::invalid_argument, "rebase", "only a PostgreSQL database is rebased"};
  const auto reader = make_log_reader(connection);
  const SourceIdentity source = reader->identify({}, std::nullopt);
  const Row before =
      sql::transact(connection, kWait, [&] { return read_row(connection, subscription); });
  RebaseResult result;
  result.unread = !sink.features().has_tail || !sink.features().readable;
  const OpenSink open{sink};
  const Published published = result.unread
                                  ? Published{.tail = before.acked, .ids = {}, .hash = {}}
                                  : read_sink(connection, subscription, sink, before.acked);
  const bool foreign = is_foreign(connection, before, source);
  const bool moved = !before.system.empty() && before.timeline != source.timeline;
  result.acked = result.tail = before.acked.position;
  // A sink that is ahead of what was ever bound: the same cluster, brought back to an older state.
  if (!foreign && !moved && published.tail.position <= before.bound) return result;

  sql::transact(connection, kWait, [&] {
    sql::Use { connection.statement(Query::take_turns) } -> step();
    Row row = read_row(connection, subscription);
    if (row.acked != before.acked)
      refuse("a relay has moved the subscription meanwhile", "stop all of its relays, try again");
    refuse_prepared(connection);
    result.translated = foreign;
    if (foreign) {
      translate(connection);
      row = read_row(connection, subscription);
    } else if (!result.unread) {
      drop_pending(connection, subscription, row.acked.position);
    }
    Position position = row.acked.position;
    for (const EventId& event : published.ids)
      note_event(connection, subscription, event, position = advance(position), actor, result);
    result.tail = published.tail.position;
    if (result.unread) {
      reanchor(connection, subscription, source);
    } else {
      const std::string chain = write_journal(connection, subscription, published, row);
      move_subscription(connection, subscription, row, published, source, chain);
    }
    result.needed = true;
    record(connection, subscription, actor, result);
  });
  return result;
}

}  // namespace outseal::store
