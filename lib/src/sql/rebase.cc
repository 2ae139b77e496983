#include "sql/rebase.h"

#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

// Whether the cursor ($1, $2, $3) of snapshots and seq has passed the event `o`. None of those that
// were appended in this cluster, behind a restore: their numbers may be lower than the cursor's.
#define OUTSEAL_IS_PASSED                                                                \
  "((pg_visible_in_snapshot(o.tx, $1::pg_snapshot) OR ($2::pg_snapshot IS NOT"           \
  " NULL AND o.seq <= $3 AND pg_visible_in_snapshot(o.tx, $2::pg_snapshot)))"            \
  " AND pg_current_xact_id()::text::bigint - o.tx::text::bigint NOT BETWEEN age(o.xmin)" \
  " AND r.since - 1)"

// How many transactions ago the row of the subscription and the outbox's key were restored; 0 if
// the cursor is of this cluster. A row `o` was appended behind that if its transaction is younger,
// and no younger than what wrote the row: by a restore `o.tx` comes from elsewhere, and the row is
// older than the key. (A savepoint's number is higher than its transaction's.)
#define OUTSEAL_RESTORED(subscription)                                                      \
  "(SELECT CASE WHEN s.source_system = (SELECT system_identifier FROM pg_control_system())" \
  "::text THEN 0 ELSE least(age(s.xmin), " OUTSEAL_AGE_OF_KEY                               \
  ") END AS since"                                                                          \
  " FROM outseal.subscription s WHERE s.name = " subscription ") r"

namespace outseal::sql {

const Text kFindPreparedAppender{
    .name = "find_prepared_appender",
    .postgres =
        "SELECT p.gid FROM pg_prepared_xacts p JOIN pg_locks t"
        " ON t.transactionid = p.transaction AND t.pid IS NULL JOIN pg_locks l"
        " ON l.virtualtransaction = t.virtualtransaction AND l.pid IS NULL"
        " AND l.relation = 'outseal.outbox'::regclass"
        " WHERE p.database = current_database() ORDER BY p.prepared LIMIT 1"};

std::optional<std::string> find_prepared_appender(Connection& connection) {
  return find_row(connection, kFindPreparedAppender, column<std::string>);
}

const Text kReadOwnNumber{.name = "read_own_number",
                          .postgres = "SELECT pg_current_xact_id(), pg_current_snapshot()::text"};

OwnNumber read_own_number(Connection& connection) {
  const auto read = [](Columns& columns) {
    OwnNumber own;
    columns >> own.xid >> own.snapshot;
    return own;
  };
  return find_row(connection, kReadOwnNumber, read).value();
}

// snap from, snap to or NULL, after seq, subscription
const Text kFindLowestUnpublished{
    .name = "find_lowest_unpublished",
    .postgres = "SELECT coalesce(min(o.seq) FILTER (WHERE NOT " OUTSEAL_IS_PASSED
                "), max(o.seq) + 1, 1) FROM outseal.outbox o CROSS JOIN " OUTSEAL_RESTORED("$4")};

Seq find_lowest_unpublished(Connection& connection, std::string_view subscription,
                            const Cursor& cursor) {
  return get_value<Seq>(connection, kFindLowestUnpublished, cursor.snap_from,
                        NullIfEmpty{cursor.snap_to}, cursor.after_seq, subscription);
}

// snap from, snap to or NULL, after seq, subscription, lowest unpublished seq
const Text kNotePublished{
    .name = "note_published",
    .postgres =
        "INSERT INTO outseal.parked (subscription, seq, event_id, topic, key, cause, state,"
        " reason, parked_at) SELECT $4, o.seq, o.event_id, o.topic, o.key, 'behind',"
        " 'discarded', 'published before the database was restored', clock_timestamp()"
        " FROM outseal.outbox o CROSS JOIN " OUTSEAL_RESTORED(
            "$4") " WHERE o.seq > $5 AND " OUTSEAL_IS_PASSED
                  " ON CONFLICT (subscription, seq) DO NOTHING"};

void note_published(Connection& connection, std::string_view subscription, const Cursor& cursor,
                    Seq lowest_unpublished) {
  run(connection, kNotePublished, cursor.snap_from, NullIfEmpty{cursor.snap_to}, cursor.after_seq,
      subscription, lowest_unpublished);
}

// subscription, acked position
const Text kForgetWindows{
    .name = "forget_windows",
    .postgres =
        "UPDATE outseal.journal SET kind = 'redrive', snap_from = '3:3:', snap_to = '3:3:'"
        " WHERE subscription = $1 AND first_position <= $2 AND kind = 'log'"};

void forget_windows(Connection& connection, std::string_view subscription, Position acked) {
  run(connection, kForgetWindows, subscription, acked);
}

// subscription, after seq, snap from, snap to, timeline
const Text kTranslateSubscription{
    .name = "translate_subscription",
    .postgres =
        "UPDATE outseal.subscription SET version = version + 1, after_seq = $2,"
        " acked_seq = $2, snap_from = $3::pg_snapshot, acked_snap = $3::pg_snapshot,"
        " snap_to = $4, source_timeline = $5, bound_position = acked_position,"
        " source_system = (SELECT system_identifier FROM pg_control_system())::text"
        " WHERE name = $1"};

void translate_subscription(Connection& connection, std::string_view subscription,
                            const Cursor& cursor, std::int64_t timeline) {
  run(connection, kTranslateSubscription, subscription, cursor.after_seq, cursor.snap_from,
      cursor.snap_to, timeline);
}

const Text kRestampOutbox{.name = "restamp_outbox",
                          .postgres = "UPDATE outseal.outbox SET tx = pg_current_xact_id()"};

void restamp_outbox(Connection& connection) { run(connection, kRestampOutbox); }

// subscription, event id, position, actor
const Text kNoteRebased{
    .name = "note_rebased",
    .sqlite =
        "INSERT INTO outseal_parked (subscription, seq, event_id, topic, key, cause,"
        " state, reason, position, parked_at, decided_at, decided_by, decision)"
        " SELECT ?1, o.seq, o.event_id, o.topic, o.key, 'behind', 'redriven',"
        " 'in the sink already', ?3, " OUTSEAL_LITE_NOW_MS ", " OUTSEAL_LITE_NOW_MS
        ", ?4, 'rebase'"
        " FROM outseal_outbox o WHERE o.event_id = ?2 ON CONFLICT (subscription, seq)"
        " DO UPDATE SET state = 'redriven', position = excluded.position,"
        " decided_at = excluded.decided_at, decided_by = excluded.decided_by,"
        " decision = excluded.decision RETURNING seq",
    .postgres =
        "INSERT INTO outseal.parked AS p (subscription, seq, event_id, topic, key, cause,"
        " state, reason, position, parked_at, decided_at, decided_by, decision)"
        " SELECT $1, o.seq, o.event_id, o.topic, o.key, 'behind', 'redriven',"
        " 'in the sink already', $3, clock_timestamp(), clock_timestamp(), $4, 'rebase'"
        " FROM outseal.outbox o WHERE o.event_id = $2 ON CONFLICT (subscription, seq)"
        " DO UPDATE SET state = 'redriven', position = excluded.position,"
        " decided_at = excluded.decided_at, decided_by = excluded.decided_by,"
        " decision = excluded.decision RETURNING p.seq"};

bool note_rebased(Connection& connection, std::string_view subscription, EventId event,
                  Position position, std::string_view actor) {
  return find_row(connection, kNoteRebased, column<Seq>, subscription, event.to_string(), position,
                  actor)
      .has_value();
}

// subscription, from first position
const Text kDeletePendingJournal{
    .name = "delete_pending_journal",
    .sqlite = "DELETE FROM outseal_journal WHERE subscription = ?1 AND first_position >= ?2",
    .postgres = "DELETE FROM outseal.journal WHERE subscription = $1 AND first_position >= $2"};

void delete_pending_journal(Connection& connection, std::string_view subscription, Position first) {
  run(connection, kDeletePendingJournal, subscription, first);
}

// subscription, first, count, last id, hash, chain
const Text kInsertRebased{
    .name = "insert_rebased",
    .sqlite =
        "INSERT INTO outseal_journal (subscription, first_position, event_count, kind,"
        " from_seq, to_seq, last_event_id, hash, chain_hash, epoch, bound_at, acked_at)"
        " SELECT ?1, ?2, ?3, 'rebase', s.after_seq, s.after_seq, ?4, ?5, ?6, s.epoch,"
        " " OUTSEAL_LITE_NOW_MS ", " OUTSEAL_LITE_NOW_MS
        " FROM outseal_subscription s"
        " WHERE s.name = ?1",
    .postgres =
        "INSERT INTO outseal.journal (subscription, first_position, event_count, kind,"
        " from_seq, to_seq, snap_from, snap_to, last_event_id, hash, chain_hash, epoch,"
        " bound_at, acked_at) SELECT $1, $2, $3, 'rebase', 0, 0, '3:3:', '3:3:', $4, $5, $6,"
        " s.epoch, clock_timestamp(), clock_timestamp() FROM outseal.subscription s"
        " WHERE s.name = $1"};

void insert_rebased(Connection& connection, std::string_view subscription, const JournalRow& row) {
  run(connection, kInsertRebased, subscription, row.first, row.count, row.last_event_id.to_string(),
      Bytes{row.hash}, Bytes{row.chain_hash});
}

// subscription, after seq, snap from, snap to or NULL, position, its event id or '', chain, source
// system, source timeline
const Text kRebaseSubscription{
    .name = "rebase_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = NULL, lease_until = 0, after_seq = ?2, acked_seq = ?2,"
        " snap_from = ?3, snap_to = ?4, bound_position = ?5, acked_position = ?5,"
        " acked_event_id = ?6, chain_hash = ?7, source_system = ?8, source_timeline = ?9,"
        " updated_at = " OUTSEAL_LITE_NOW_MS " WHERE name = ?1",
    .postgres =
        "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = NULL, lease_until = 'epoch', after_seq = $2, acked_seq = $2,"
        " snap_from = $3::pg_snapshot, acked_snap = $3::pg_snapshot, snap_to = $4,"
        " bound_position = $5, acked_position = $5, acked_event_id = nullif($6, '')::uuid,"
        " chain_hash = $7, source_system = $8, source_timeline = $9,"
        " updated_at = clock_timestamp() WHERE name = $1"};

void rebase_subscription(Connection& connection, std::string_view subscription,
                         const Cursor& cursor, const Tail& tail, std::string_view chain_hash,
                         const SourceIdentity& source) {
  run(connection, kRebaseSubscription, subscription, cursor.after_seq, cursor.snap_from,
      NullIfEmpty{cursor.snap_to}, tail.position, id_text(tail.event_id), Bytes{chain_hash},
      source.system, source.timeline);
}

// name, system, timeline
const Text kReanchorSubscription{
    .name = "reanchor_subscription",
    .postgres =
        "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = NULL, lease_until = 'epoch', source_system = $2, source_timeline = $3,"
        " updated_at = clock_timestamp() WHERE name = $1"};

void reanchor_subscription(Connection& connection, std::string_view subscription,
                           const SourceIdentity& source) {
  run(connection, kReanchorSubscription, subscription, source.system, source.timeline);
}

}  // namespace outseal::sql
