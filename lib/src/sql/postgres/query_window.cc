// What only PostgreSQL has: the log read in windows of snapshots, and cursors bound anew.
#include "sql/postgres/connection.h"
#include "sql/postgres/fragments.h"
#include "sql/query.h"

namespace outseal::sql::postgres {
namespace {

#define OUTSEAL_WINDOW_COLUMNS OUTSEAL_EVENT_COLUMNS_UP_TO("$6")

// A window is what is visible in the snapshot `to` and not in the snapshot `from`: transactions
// from xmax(from) up to xmax(to), and those that were still running in `from` ("late").
std::string_view read_window_text(Query query) {
  switch (query) {
    // -> snapshot, 1 on a standby, timeline, system identifier, incarnation. One cheap statement:
    // it is what an idle relay asks all the time. Takes no xid.
    case Query::source_state:
      return "SELECT pg_current_snapshot()::text, pg_is_in_recovery(),"
             " CASE WHEN NOT pg_is_in_recovery() THEN ('x' || substr(pg_walfile_name("
             "  pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,"
             " (SELECT system_identifier FROM pg_control_system())::text,"
             " " OUTSEAL_INCARNATION;
    // xmax of from, xmax of to, to, late xids, rows at most, bytes inline, incarnation that
    //   the snapshots are of -> event, its payload NULL if it is larger than that; 1 if the server
    //   is of that incarnation. Without an event one row all the same, of NULL.
    // For small windows: by transaction, then sorted. As many rows as asked for: there may be more,
    // and these are not the first ones.
    case Query::read_window:
      return "WITH run AS MATERIALIZED (SELECT $7 IN ('', " OUTSEAL_INCARNATION
             ") AS is_same) SELECT " OUTSEAL_WINDOW_COLUMNS
             ", run.is_same FROM run LEFT JOIN"
             " ((SELECT f.* FROM outseal.outbox f WHERE f.tx >= $1::xid8 AND f.tx < $2::xid8"
             "   AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot) ORDER BY f.tx, f.seq LIMIT $5)"
             "  UNION ALL (SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
             "   (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, 0)"
             "    AND (e.tx, e.seq) <= (late.tx, 9223372036854775807) ORDER BY e.tx, e.seq"
             "    LIMIT $5) l LIMIT $5) LIMIT $5) o ON run.is_same ORDER BY o.seq";
    // xmax of from, xmax of to -> the window's lowest seq, and one that none of its rows is above.
    // If none of the log's oldest rows is in the window, the window's part of the index by
    // transaction is read; "+ 0", because a plain min(seq) may walk the index by seq through all
    // that is published.
    case Query::window_bounds:
      return "SELECT coalesce((SELECT min(h.seq) FROM (SELECT f.seq, f.tx FROM outseal.outbox f"
             "  ORDER BY f.seq LIMIT 10000) h WHERE h.tx >= $1::xid8 AND h.tx < $2::xid8),"
             " (SELECT min(o.seq + 0) FROM outseal.outbox o WHERE o.tx >= $1::xid8"
             "  AND o.tx < $2::xid8)), (SELECT max(m.seq) FROM outseal.outbox m)";
    // xmax of from, xmax of to, to, late xids, rows at most, bytes inline, after seq, highest seq
    //   of the window, after seq in the window's own range, incarnation -> as read_window.
    // For huge windows: by seq, O(page) a page. The rows of a late transaction are found by (tx,
    // seq) whatever the statistics say: the comparison of pairs is one that only that index serves.
    case Query::read_window_page:
      return "WITH run AS MATERIALIZED (SELECT $10 IN ('', " OUTSEAL_INCARNATION
             ") AS is_same) SELECT " OUTSEAL_WINDOW_COLUMNS
             ", run.is_same FROM run LEFT JOIN"
             " ((SELECT f.* FROM outseal.outbox f WHERE f.seq > $9 AND f.seq <= $8"
             "   AND f.tx >= $1::xid8 AND f.tx < $2::xid8"
             "   AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot) ORDER BY f.seq LIMIT $5)"
             "  UNION ALL (SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
             "   (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, $7)"
             "    AND (e.tx, e.seq) <= (late.tx, 9223372036854775807) ORDER BY e.tx, e.seq"
             "    LIMIT $5) l)"
             "  ORDER BY seq LIMIT $5) o ON run.is_same";
    // seq -> payload
    case Query::read_payload:
      return "SELECT payload FROM outseal.outbox WHERE seq = $1";
    // xmax of from, xmax of to, to, late xids, from seq (exclusive), to seq (inclusive)
    case Query::read_window_range:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM (SELECT f.* FROM outseal.outbox f WHERE f.tx >= $1::xid8 AND f.tx < $2::xid8"
             "   AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot) AND f.seq > $5 AND f.seq <= $6"
             "  UNION ALL SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
             "   (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, $5)"
             "    AND (e.tx, e.seq) <= (late.tx, $6)) l) o ORDER BY o.seq";
    default:
      return {};
  }
}

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
#define OUTSEAL_RESTORED(subscription)                                                           \
  "(SELECT CASE WHEN s.source_system = (SELECT system_identifier FROM pg_control_system())"      \
  "::text THEN 0 ELSE least(age(s.xmin), age(c.xmin)) END AS since"                              \
  " FROM outseal.subscription s JOIN pg_constraint c"                                            \
  " ON c.conrelid = 'outseal.outbox'::regclass AND c.contype = 'p' WHERE s.name = " subscription \
  ") r"

std::string_view translate_text(Query query) {
  switch (query) {
    // -> our own xid, snapshot
    case Query::own_transaction:
      return "SELECT pg_current_xact_id(), pg_current_snapshot()::text";
    // -> 1 if there is an event of a transaction that this cluster has not come to yet
    case Query::log_is_ahead:
      return "SELECT EXISTS (SELECT 1 FROM outseal.outbox"
             " WHERE tx >= pg_snapshot_xmax(pg_current_snapshot()))";
    // -> the name of a prepared transaction that has events, of which nobody sees any yet
    case Query::prepared_appender:
      return "SELECT p.gid FROM pg_prepared_xacts p JOIN pg_locks l"
             " ON l.virtualtransaction = '-1/' || p.transaction::text"
             " AND l.relation = 'outseal.outbox'::regclass"
             " WHERE p.database = current_database() ORDER BY p.prepared LIMIT 1";
    // snap from, snap to or NULL, after seq, subscription -> the lowest seq of the log that its
    //   cursor has not passed, or one above all
    case Query::lowest_unpublished:
      return "SELECT coalesce(min(o.seq) FILTER (WHERE NOT " OUTSEAL_IS_PASSED
             "), max(o.seq) + 1, 1) FROM outseal.outbox o CROSS JOIN " OUTSEAL_RESTORED("$4");
    // snap from, snap to or NULL, after seq, subscription, lowest unpublished seq
    case Query::note_published:
      return "INSERT INTO outseal.parked (subscription, seq, event_id, topic, key, cause, state,"
             " reason, parked_at) SELECT $4, o.seq, o.event_id, o.topic, o.key, 'behind',"
             " 'discarded', 'published before the database was restored', clock_timestamp()"
             " FROM outseal.outbox o CROSS JOIN " OUTSEAL_RESTORED(
                 "$4") " WHERE o.seq > $5 AND " OUTSEAL_IS_PASSED
                       " ON CONFLICT (subscription, seq) DO NOTHING";
    // subscription, acked position. Their windows mean nothing any more; their hashes do.
    case Query::forget_windows:
      return "UPDATE outseal.journal SET kind = 'redrive', snap_from = '3:3:', snap_to = '3:3:'"
             " WHERE subscription = $1 AND first_position <= $2 AND kind = 'log'";
    // subscription, after seq, snap from, snap to, timeline
    case Query::translate_subscription:
      return "UPDATE outseal.subscription SET version = version + 1, after_seq = $2,"
             " acked_seq = $2, snap_from = $3::pg_snapshot, acked_snap = $3::pg_snapshot,"
             " snap_to = $4, source_timeline = $5, bound_position = acked_position,"
             " source_system = (SELECT system_identifier FROM pg_control_system())::text"
             " WHERE name = $1";
    case Query::restamp_outbox:
      return "UPDATE outseal.outbox SET tx = pg_current_xact_id()";
    // -> name
    case Query::list_subscriptions:
      return "SELECT name FROM outseal.subscription ORDER BY name";
    default:
      return {};
  }
}

std::string_view rebase_text(Query query) {
  switch (query) {
    // subscription, event id, position, actor -> seq, if the event is in the outbox
    case Query::note_rebased:
      return "INSERT INTO outseal.parked AS p (subscription, seq, event_id, topic, key, cause,"
             " state, reason, position, parked_at, decided_at, decided_by, decision)"
             " SELECT $1, o.seq, o.event_id, o.topic, o.key, 'behind', 'redriven',"
             " 'in the sink already', $3, clock_timestamp(), clock_timestamp(), $4, 'rebase'"
             " FROM outseal.outbox o WHERE o.event_id = $2 ON CONFLICT (subscription, seq)"
             " DO UPDATE SET state = 'redriven', position = excluded.position,"
             " decided_at = excluded.decided_at, decided_by = excluded.decided_by,"
             " decision = excluded.decision RETURNING p.seq";
    // subscription, from first position
    case Query::delete_pending_journal:
      return "DELETE FROM outseal.journal WHERE subscription = $1 AND first_position >= $2";
    // subscription, first, count, last id, hash, chain
    case Query::insert_rebased:
      return "INSERT INTO outseal.journal (subscription, first_position, event_count, kind,"
             " from_seq, to_seq, snap_from, snap_to, last_event_id, hash, chain_hash, epoch,"
             " bound_at, acked_at) SELECT $1, $2, $3, 'rebase', 0, 0, '3:3:', '3:3:', $4, $5, $6,"
             " s.epoch, clock_timestamp(), clock_timestamp() FROM outseal.subscription s"
             " WHERE s.name = $1";
    // subscription, after seq, snap from, snap to or NULL, position, its event id, chain, source
    //   system, source timeline
    case Query::rebase_subscription:
      return "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
             " lease_owner = NULL, lease_until = 'epoch', after_seq = $2, acked_seq = $2,"
             " snap_from = $3::pg_snapshot, acked_snap = $3::pg_snapshot, snap_to = $4,"
             " bound_position = $5, acked_position = $5, acked_event_id = nullif($6, '')::uuid,"
             " chain_hash = $7, source_system = $8, source_timeline = $9,"
             " updated_at = clock_timestamp() WHERE name = $1";
    // name, system, timeline. What is bound stays bound.
    case Query::reanchor_subscription:
      return "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
             " lease_owner = NULL, lease_until = 'epoch', source_system = $2, source_timeline = $3,"
             " updated_at = clock_timestamp() WHERE name = $1";
    default:
      return {};
  }
}

// jit: its compilation costs more than any of these queries, and forbidden plans look dear to it.
#define OUTSEAL_PIN_INDEX                                                      \
  "set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)," \
  " set_config('enable_bitmapscan', 'off', true)"

#define OUTSEAL_PIN_ORDER                     \
  OUTSEAL_PIN_INDEX                           \
  ", set_config('enable_sort', 'off', true)," \
  " set_config('enable_incremental_sort', 'off', true)"

}  // namespace

Setting setting_of(Query query) {
  switch (query) {
    case Query::read_window:
    case Query::window_bounds:
    case Query::read_window_range:
    case Query::list_range_ids:
    case Query::list_checked_subscriptions:
    case Query::read_status:
    case Query::any_unpublished:
      return {OUTSEAL_PIN_INDEX, false};
    case Query::read_window_page:
      // In the order of seq, and stop: never the whole window sorted for each page.
      return {OUTSEAL_PIN_ORDER, false};
    case Query::delete_published:
    case Query::delete_journal_before:
    case Query::purge_operations:
    case Query::purge_received:
    case Query::purge_taken:
      return {OUTSEAL_PIN_ORDER, true};
    case Query::read_inbox_page:
      return {OUTSEAL_PIN_ORDER, false};
    case Query::bind_batch:
    case Query::append_inbox:
      return {
          "set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '4s', true)",
          true};
    default:
      return {};
  }
}

std::string_view window_text(Query query) {
  for (const auto& area : {read_window_text, translate_text, rebase_text}) {
    const std::string_view found = area(query);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace outseal::sql::postgres
