#include "sql/journal.h"

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

std::string_view text_of(BatchKind kind) {
  switch (kind) {
    case BatchKind::log:
      return "log";
    case BatchKind::redrive:
      return "redrive";
    case BatchKind::rebase:
      break;
  }
  return "rebase";
}

BatchKind kind_of(std::string_view text) {
  if (text == "log") return BatchKind::log;
  return text == "redrive" ? BatchKind::redrive : BatchKind::rebase;
}

// A row of the journal `j`, as read_row() takes it.
#define OUTSEAL_JOURNAL_COLUMNS                                                             \
  "j.kind, j.first_position, j.event_count, j.from_seq, j.to_seq, j.last_event_id, j.hash," \
  " j.chain_hash, j.bound_at"

JournalRow read_row(Columns& columns) {
  JournalRow row;
  row.kind = kind_of(columns.get<std::string_view>());
  columns >> row.first >> row.count >> row.from.after_seq >> row.to.after_seq >> row.last_event_id;
  row.hash = columns.bytes();
  row.chain_hash = columns.bytes();
  columns >> row.bound_at_ms >> row.from.snap_from >> row.from.snap_to;
  row.to.snap_from = row.from.snap_from;
  row.to.snap_to = row.from.snap_to;
  return row;
}

}  // namespace

// subscription, position
const Text kFindJournal{
    .name = "find_journal",
    .sqlite = "SELECT " OUTSEAL_JOURNAL_COLUMNS
              ", j.snap_from, j.snap_to FROM outseal_journal j"
              " WHERE j.subscription = ?1 AND j.first_position <= ?2"
              " ORDER BY j.first_position DESC LIMIT 1",
    .postgres = "SELECT " OUTSEAL_JOURNAL_COLUMNS
                ", j.snap_from::text, j.snap_to::text"
                " FROM outseal.journal j WHERE j.subscription = $1 AND j.first_position <= $2"
                " ORDER BY j.first_position DESC LIMIT 1"};

std::optional<JournalRow> find_journal(Connection& connection, std::string_view subscription,
                                       Position position) {
  return find_row(connection, kFindJournal, read_row, subscription, position);
}

// subscription, position
const Text kFindBatchBefore{.name = "find_batch_before",
                            .sqlite =
                                "SELECT last_event_id, chain_hash, sink_mark FROM outseal_journal"
                                " WHERE subscription = ?1 AND first_position < ?2"
                                " ORDER BY first_position DESC LIMIT 1",
                            .postgres =
                                "SELECT last_event_id, chain_hash, sink_mark FROM outseal.journal"
                                " WHERE subscription = $1 AND first_position < $2"
                                " ORDER BY first_position DESC LIMIT 1"};

std::optional<BatchBefore> find_batch_before(Connection& connection, std::string_view subscription,
                                             Position first) {
  const auto read = [](Columns& columns) {
    BatchBefore before;
    columns >> before.last_event_id;
    before.chain = columns.bytes();
    columns >> before.mark;
    return before;
  };
  return find_row(connection, kFindBatchBefore, read, subscription, first);
}

// subscription, first, count, kind, from seq, to seq, last id, hash, chain, epoch, now, snapshots
const Text kInsertJournal{
    .name = "insert_journal",
    .sqlite =
        "INSERT INTO outseal_journal (subscription, first_position, event_count, kind,"
        " from_seq, to_seq, last_event_id, hash, chain_hash, epoch, bound_at, snap_from,"
        " snap_to) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    .postgres =
        "INSERT INTO outseal.journal (subscription, first_position, event_count, kind,"
        " from_seq, to_seq, last_event_id, hash, chain_hash, epoch, bound_at, snap_from,"
        " snap_to) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
        " to_timestamp($11::float8 / 1000), $12, $13)"};

void insert_journal(Connection& connection, std::string_view subscription, const JournalRow& row,
                    Epoch epoch) {
  run(connection, kInsertJournal, subscription, row.first, row.count, text_of(row.kind),
      row.from.inside_seq(), row.to.after_seq, row.last_event_id.to_string(), Bytes{row.hash},
      Bytes{row.chain_hash}, epoch, row.bound_at_ms, NullIfEmpty{row.from.snap_from},
      NullIfEmpty{row.to.window_end()});
}

// subscription, first, mark, now
const Text kAcknowledgeJournal{
    .name = "acknowledge_journal",
    .sqlite =
        "UPDATE outseal_journal SET acked_at = ?4, sink_mark = ?3"
        " WHERE subscription = ?1 AND first_position = ?2",
    .postgres =
        "UPDATE outseal.journal SET acked_at = to_timestamp($4::float8 / 1000),"
        " sink_mark = $3 WHERE subscription = $1 AND first_position = $2"};

void acknowledge_journal(Connection& connection, std::string_view subscription, const Ack& ack,
                         std::int64_t now_ms) {
  run(connection, kAcknowledgeJournal, subscription, ack.first, ack.mark, now_ms);
}

// subscription, first, count, to seq, last id, hash, chain, now
const Text kTrimJournal{
    .name = "trim_journal",
    .sqlite =
        "UPDATE outseal_journal SET event_count = ?3, to_seq = ?4, last_event_id = ?5,"
        " hash = ?6, chain_hash = ?7, acked_at = ?8"
        " WHERE subscription = ?1 AND first_position = ?2",
    .postgres =
        "UPDATE outseal.journal SET event_count = $3, to_seq = $4, last_event_id = $5,"
        " hash = $6, chain_hash = $7, acked_at = to_timestamp($8::float8 / 1000)"
        " WHERE subscription = $1 AND first_position = $2"};

void trim_journal(Connection& connection, std::string_view subscription, const JournalRow& row,
                  std::int64_t now_ms) {
  run(connection, kTrimJournal, subscription, row.first, row.count, row.to.after_seq,
      row.last_event_id.to_string(), Bytes{row.hash}, Bytes{row.chain_hash}, now_ms);
}

// subscription, first
const Text kDeleteJournal{
    .name = "delete_journal",
    .sqlite = "DELETE FROM outseal_journal WHERE subscription = ?1 AND first_position = ?2",
    .postgres = "DELETE FROM outseal.journal WHERE subscription = $1 AND first_position = $2"};

void delete_journal(Connection& connection, std::string_view subscription, Position first) {
  run(connection, kDeleteJournal, subscription, first);
}

// subscription, acked before, rows at most. Batches are acknowledged in their order, so it looks no
// further than the rows that may go at once.
const Text kDeleteJournalBefore{
    .name = "delete_journal_before",
    .sqlite =
        "DELETE FROM outseal_journal WHERE subscription = ?1 AND first_position IN ("
        " SELECT w.first_position FROM (SELECT j.first_position, j.acked_at"
        "  FROM outseal_journal j WHERE j.subscription = ?1"
        "  AND j.first_position < (SELECT max(k.first_position) FROM outseal_journal k"
        "   WHERE k.subscription = ?1 AND k.acked_at IS NOT NULL)"
        "  ORDER BY j.first_position LIMIT ?3) w WHERE w.acked_at < ?2)",
    .postgres =
        "DELETE FROM outseal.journal WHERE subscription = $1 AND first_position ="
        " ANY (ARRAY (SELECT w.first_position FROM (SELECT j.first_position, j.acked_at"
        "  FROM outseal.journal j WHERE j.subscription = $1"
        "  AND j.first_position < (SELECT max(k.first_position) FROM outseal.journal k"
        "   WHERE k.subscription = $1 AND k.acked_at IS NOT NULL)"
        "  ORDER BY j.first_position LIMIT $3) w"
        " WHERE w.acked_at < to_timestamp($2::float8 / 1000)))",
    .setting = {OUTSEAL_PIN_ORDER, true}};

std::int64_t delete_journal_before(Connection& connection, std::string_view subscription,
                                   std::int64_t acked_before_ms, std::int64_t rows_max) {
  return run(connection, kDeleteJournalBefore, subscription, acked_before_ms, rows_max);
}

// subscription, after first position, up to first position, rows at most
const Text kListJournal{
    .name = "list_journal",
    .sqlite = "SELECT " OUTSEAL_JOURNAL_COLUMNS
              ", j.snap_from, j.snap_to FROM outseal_journal j"
              " WHERE j.subscription = ?1 AND j.first_position > ?2 AND j.first_position <= ?3"
              " ORDER BY j.first_position LIMIT ?4",
    .postgres = "SELECT " OUTSEAL_JOURNAL_COLUMNS
                ", j.snap_from::text, j.snap_to::text"
                " FROM outseal.journal j WHERE j.subscription = $1 AND j.first_position > $2"
                " AND j.first_position <= $3 ORDER BY j.first_position LIMIT $4"};

std::vector<JournalRow> list_journal(Connection& connection, std::string_view subscription,
                                     Position after, Position up_to, std::int64_t rows_max) {
  return list_rows(connection, kListJournal, read_row, subscription, after, up_to, rows_max);
}

// subscription
const Text kFindJournalStart{
    .name = "find_journal_start",
    .sqlite = "SELECT min(first_position) FROM outseal_journal WHERE subscription = ?1",
    .postgres = "SELECT min(first_position) FROM outseal.journal WHERE subscription = $1"};

std::optional<Position> find_journal_start(Connection& connection, std::string_view subscription) {
  return get_value<std::optional<Position>>(connection, kFindJournalStart, subscription);
}

#define OUTSEAL_STATE_COLUMNS \
  "s.bound_position, s.acked_position, s.acked_event_id, s.chain_hash, s.version, s.acked_seq,"

// subscription. The columns of a row come last; they are NULL if there is none.
const Text kReadJournalState{
    .name = "read_journal_state",
    .sqlite = "SELECT " OUTSEAL_STATE_COLUMNS
              " s.acked_snap, s.snap_to, j.first_position IS NULL, " OUTSEAL_JOURNAL_COLUMNS
              ", j.snap_from, j.snap_to FROM outseal_subscription s"
              " LEFT JOIN outseal_journal j ON j.subscription = s.name AND j.first_position ="
              "  (SELECT max(k.first_position) FROM outseal_journal k"
              "   WHERE k.subscription = s.name) WHERE s.name = ?1",
    // The end of the window that the acknowledged number is in.
    .postgres = "SELECT " OUTSEAL_STATE_COLUMNS
                " s.acked_snap::text,"
                " CASE WHEN s.acked_seq > 0 THEN s.snap_to::text END, j.first_position IS "
                "NULL, " OUTSEAL_JOURNAL_COLUMNS
                ", j.snap_from::text, j.snap_to::text"
                " FROM outseal.subscription s LEFT JOIN outseal.journal j"
                " ON j.subscription = s.name AND j.first_position ="
                "  (SELECT max(k.first_position) FROM outseal.journal k"
                "   WHERE k.subscription = s.name) WHERE s.name = $1"};

JournalState read_journal_state(Connection& connection, std::string_view subscription) {
  const auto read = [](Columns& columns) {
    JournalState state;
    columns >> state.bound >> state.acked.position >> state.acked.event_id;
    state.chain_hash = columns.bytes();
    columns >> state.version >> state.acked_log.after_seq >> state.acked_log.snap_from >>
        state.acked_log.snap_to;
    if (!columns.get<bool>()) state.last = read_row(columns);
    return state;
  };
  return find_row(connection, kReadJournalState, read, subscription).value_or(JournalState{});
}

}  // namespace outseal::sql
