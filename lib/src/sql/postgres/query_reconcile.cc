// The reconciler's statements on PostgreSQL.
#include "sql/postgres/fragments.h"
#include "sql/query.h"

namespace outseal::sql::postgres {
namespace {

std::string_view finding_text(Query query) {
  switch (query) {
    // -> id, owner, started at
    case Query::list_open_runs:
      return "SELECT id, owner, started_at FROM outseal.run WHERE finished_at IS NULL";
    // started at, owner, checks -> id
    case Query::insert_run:
      return "INSERT INTO outseal.run (started_at, owner, checks)"
             " VALUES (to_timestamp($1::float8 / 1000), $2, $3) RETURNING id";
    // id, finished at, summary
    case Query::finish_run:
      return "UPDATE outseal.run SET finished_at = to_timestamp($2::float8 / 1000), summary = $3"
             " WHERE id = $1 AND finished_at IS NULL";
    // check, subject -> id, state
    case Query::find_finding:
      return "SELECT id, state FROM outseal.finding WHERE check_name = $1 AND subject = $2";
    // check, subject, severity, detail, run, now
    case Query::insert_finding:
      return "INSERT INTO outseal.finding (check_name, subject, severity, detail, first_run,"
             " last_run, opened_at) VALUES ($1, $2, $3, $4, $5, $5,"
             " to_timestamp($6::float8 / 1000))";
    // id, severity, detail, run, now, 1 to open it again
    case Query::see_finding:
      return "UPDATE outseal.finding SET severity = $2, detail = $3, last_run = $4,"
             " state = CASE WHEN a.again THEN 'open' ELSE state END,"
             " opened_at = CASE WHEN a.again THEN to_timestamp($5::float8 / 1000)"
             "  ELSE opened_at END,"
             " closed_at = CASE WHEN a.again THEN NULL ELSE closed_at END,"
             " decided_by = CASE WHEN a.again THEN NULL ELSE decided_by END,"
             " decision = CASE WHEN a.again THEN NULL ELSE decision END"
             " FROM (SELECT $6::int <> 0 AS again) a WHERE id = $1";
    // check, run -> id, subject, state of what an earlier run saw and this one did not
    case Query::list_findings_unseen:
      return "SELECT id, subject, state FROM outseal.finding WHERE check_name = $1"
             " AND last_run < $2 AND state IN ('open', 'accepted', 'false_alarm')";
    // id, now
    case Query::close_finding:
      return "UPDATE outseal.finding SET state = 'closed',"
             " closed_at = to_timestamp($2::float8 / 1000) WHERE id = $1";
    // check -> open ones
    case Query::count_findings:
      return "SELECT count(*) FROM outseal.finding WHERE check_name = $1 AND state = 'open'";
    // check or '' for all, 1 for those in any state, after id, rows at most -> as read_finding
    case Query::list_findings:
      return "SELECT id, check_name, subject, severity, state, detail, first_run, last_run,"
             " opened_at, closed_at, decided_by, decision FROM outseal.finding"
             " WHERE ($1::text = '' OR check_name = $1) AND ($2::int <> 0 OR state = 'open')"
             " AND id > $3 ORDER BY id LIMIT $4";
    // id
    case Query::read_finding:
      return "SELECT id, check_name, subject, severity, state, detail, first_run, last_run,"
             " opened_at, closed_at, decided_by, decision FROM outseal.finding WHERE id = $1";
    // id, state, decided by, decision, now
    case Query::decide_finding:
      return "UPDATE outseal.finding SET state = $2, decided_by = $3, decision = $4,"
             " closed_at = CASE WHEN $2 = 'repaired' THEN to_timestamp($5::float8 / 1000) END"
             " WHERE id = $1";
    default:
      return {};
  }
}

// What the checks read. Each is one page of a walk: no read lasts long enough to hold back vacuum.
// Times come and go in whole milliseconds, so what is compared with them is cut to these as well.
std::string_view check_text(Query query) {
  switch (query) {
    // -> name, sink, event source, state, seq before the first event that may wait. OFFSET 0: by
    // transaction, never along the numbers from the first one on.
    case Query::list_checked_subscriptions:
      return "SELECT s.name, s.sink, s.event_source, s.state, coalesce((SELECT min(w.seq) - 1 FROM"
             "  (SELECT o.seq FROM " OUTSEAL_MAY_WAIT
             " OFFSET 0) w), 9223372036854775807)"
             " FROM outseal.subscription s ORDER BY s.name";
    // subscription -> topic pattern
    case Query::list_topics:
      return "SELECT t.pattern FROM outseal.subscription s CROSS JOIN LATERAL"
             " jsonb_array_elements_text(s.topics) WITH ORDINALITY AS t (pattern, place)"
             " WHERE s.name = $1 ORDER BY t.place";
    // now, created until, after created, after key hash, rows at most
    case Query::list_open_operations:
      return "SELECT key_hash, scope, state, created_at, attempts, lease_owner, lease_until"
             " FROM outseal.idempotency WHERE state IN ('in_progress', 'unknown')"
             " AND created_at < to_timestamp(($2::float8 + 1) / 1000)"
             " AND created_at >= to_timestamp($3::float8 / 1000)"
             " AND (date_trunc('milliseconds', created_at), key_hash)"
             "  > (to_timestamp($3::float8 / 1000), $4)"
             " AND (state = 'unknown' OR lease_until IS NULL"
             "  OR lease_until < to_timestamp(($1::float8 + 1) / 1000))"
             " ORDER BY date_trunc('milliseconds', created_at), key_hash LIMIT $5";
    // after provider, provider key, id; rows at most
    case Query::list_outcomes:
      return "SELECT provider, provider_key, id, state, external_ref FROM outseal.effect"
             " WHERE (provider, provider_key, id) > ($1, $2, $3)"
             " ORDER BY provider, provider_key, id LIMIT $4";
    // subscription, after key, 1 to include that key, keys at most
    //   -> key, events, queued, oldest seq, oldest parked at
    case Query::list_parked_keys:
      return "SELECT key, count(*), count(*) FILTER (WHERE state = 'queued'),"
             " min(seq), min(parked_at) FROM outseal.parked WHERE subscription = $1"
             " AND (key > $2 OR ($3::int <> 0 AND key = $2))"
             " AND state IN ('parked', 'queued') GROUP BY key ORDER BY key LIMIT $4";
    // after seq, rows -> last seq of that many rows, or NULL if there is none
    case Query::end_of_page:
      return "SELECT max(p.seq) FROM (SELECT seq FROM outseal.outbox WHERE seq > $1 ORDER BY seq"
             " LIMIT $2) p";
    // subscription, after seq, to seq, created until
    //   -> topic, events, lowest seq, oldest created at; parked events do not count
    case Query::count_waiting:
      return "SELECT o.topic, count(*), min(o.seq), min(o.created_at) FROM outseal.outbox o"
             " LEFT JOIN outseal.subscription s ON s.name = $1"
             " WHERE o.seq > $2 AND o.seq <= $3"
             " AND o.created_at < to_timestamp(($4::float8 + 1) / 1000)"
             " AND (s.name IS NULL OR " OUTSEAL_WAITS
             ") AND NOT EXISTS (SELECT 1 FROM outseal.parked p"
             "  WHERE p.subscription = $1 AND p.seq = o.seq)"
             " GROUP BY o.topic";
    default:
      return {};
  }
}

std::string_view journal_walk_text(Query query) {
  switch (query) {
    // subscription -> bound, acked, acked id, acked seq, acked snapshot, end of the window that
    // acked seq is in, chain hash, version, and the last journal row as list_journal has it; one
    // statement, so that a relay at work cannot come between
    case Query::journal_state:
      return "SELECT s.bound_position, s.acked_position, s.acked_event_id, s.acked_seq,"
             " s.acked_snap::text, CASE WHEN s.acked_seq > 0 THEN s.snap_to::text END,"
             " s.chain_hash, s.version, j.kind, j.first_position, j.event_count, j.from_seq,"
             " j.to_seq, j.last_event_id, j.hash, j.chain_hash, j.snap_from::text, j.snap_to::text"
             " FROM outseal.subscription s LEFT JOIN outseal.journal j ON j.subscription = s.name"
             " AND j.first_position = (SELECT max(k.first_position) FROM outseal.journal k"
             "  WHERE k.subscription = s.name) WHERE s.name = $1";
    // subscription, after first position, up to first position, rows at most -> kind, first, count,
    //   from seq, to seq, last id, hash, chain hash, begin and end of the window
    case Query::list_journal:
      return "SELECT kind, first_position, event_count, from_seq, to_seq, last_event_id, hash,"
             " chain_hash, snap_from::text, snap_to::text FROM outseal.journal"
             " WHERE subscription = $1 AND first_position > $2 AND first_position <= $3"
             " ORDER BY first_position LIMIT $4";
    // subscription -> first position of the first row
    case Query::journal_start:
      return "SELECT min(first_position) FROM outseal.journal WHERE subscription = $1";
    // subscription, after seq, to seq, rows at most, begin and end of the window
    //   -> seq, event id, key, topic, 1 if it is parked. As read_window_range reads: transactions
    //   from xmax(begin) up to xmax(end), and those that were still running at the begin.
    case Query::list_range_ids:
      return "SELECT r.seq, r.event_id, r.key, r.topic, (SELECT count(*) FROM outseal.parked p"
             "  WHERE p.subscription = $1 AND p.seq = r.seq) FROM ("
             " (SELECT f.seq, f.event_id, f.key, f.topic FROM outseal.outbox f"
             "  WHERE f.tx >= pg_snapshot_xmax($5::pg_snapshot)"
             "  AND f.tx < pg_snapshot_xmax($6::pg_snapshot)"
             "  AND pg_visible_in_snapshot(f.tx, $6::pg_snapshot)"
             "  AND f.seq > $2 AND f.seq <= $3 ORDER BY f.seq LIMIT $4)"
             " UNION ALL"
             " (SELECT l.* FROM pg_snapshot_xip($5::pg_snapshot) AS late (tx) CROSS JOIN LATERAL"
             "  (SELECT e.seq, e.event_id, e.key, e.topic FROM outseal.outbox e"
             "   WHERE e.tx = late.tx AND pg_visible_in_snapshot(late.tx, $6::pg_snapshot)"
             "   AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4) l)"
             " ORDER BY seq LIMIT $4) r ORDER BY r.seq";
    // subscription, first position, last position
    case Query::list_redriven_ids:
      return "SELECT seq, event_id, key FROM outseal.parked WHERE subscription = $1"
             " AND position BETWEEN $2 AND $3 ORDER BY position";
    // subscription -> key
    case Query::list_redriven_keys:
      return "SELECT DISTINCT key FROM outseal.parked WHERE subscription = $1"
             " AND position IS NOT NULL AND key <> ''";
    default:
      return {};
  }
}

}  // namespace

std::string_view reconcile_text(Query query) {
  for (const auto& area : {finding_text, check_text, journal_walk_text}) {
    const std::string_view found = area(query);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace outseal::sql::postgres
