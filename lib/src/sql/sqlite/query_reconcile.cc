// The reconciler's statements: what its checks read, and the life of runs and findings.
#include "sql/query.h"

namespace outseal::sql::sqlite {
namespace {

std::string_view finding_text(Query query) {
  switch (query) {
    // -> id, owner, started at
    case Query::list_open_runs:
      return "SELECT id, owner, started_at FROM outseal_run WHERE finished_at IS NULL";
    // started at, owner, checks -> id
    case Query::insert_run:
      return "INSERT INTO outseal_run (started_at, owner, checks) VALUES (?1, ?2, ?3) RETURNING id";
    // id, finished at, summary
    case Query::finish_run:
      return "UPDATE outseal_run SET finished_at = ?2, summary = ?3"
             " WHERE id = ?1 AND finished_at IS NULL";
    // check, subject -> id, state
    case Query::find_finding:
      return "SELECT id, state FROM outseal_finding WHERE check_name = ?1 AND subject = ?2";
    // check, subject, severity, detail, run, now
    case Query::insert_finding:
      return "INSERT INTO outseal_finding (check_name, subject, severity, detail, first_run,"
             " last_run, opened_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)";
    // id, severity, detail, run, now, 1 to open it again
    case Query::see_finding:
      return "UPDATE outseal_finding SET severity = ?2, detail = ?3, last_run = ?4,"
             " state = iif(?6, 'open', state), opened_at = iif(?6, ?5, opened_at),"
             " closed_at = iif(?6, NULL, closed_at), decided_by = iif(?6, NULL, decided_by),"
             " decision = iif(?6, NULL, decision) WHERE id = ?1";
    // check, run -> id, subject, state of what an earlier run saw and this one did not
    case Query::list_findings_unseen:
      return "SELECT id, subject, state FROM outseal_finding WHERE check_name = ?1"
             " AND last_run < ?2 AND state IN ('open', 'accepted', 'false_alarm')";
    // id, now
    case Query::close_finding:
      return "UPDATE outseal_finding SET state = 'closed', closed_at = ?2 WHERE id = ?1";
    // check -> open ones
    case Query::count_findings:
      return "SELECT count(*) FROM outseal_finding WHERE check_name = ?1 AND state = 'open'";
    // check or '' for all, 1 for those in any state, after id, rows at most -> as read_finding
    case Query::list_findings:
      return "SELECT id, check_name, subject, severity, state, detail, first_run, last_run,"
             " opened_at, closed_at, decided_by, decision FROM outseal_finding"
             " WHERE (?1 = '' OR check_name = ?1) AND (?2 OR state = 'open') AND id > ?3"
             " ORDER BY id LIMIT ?4";
    // id
    case Query::read_finding:
      return "SELECT id, check_name, subject, severity, state, detail, first_run, last_run,"
             " opened_at, closed_at, decided_by, decision FROM outseal_finding WHERE id = ?1";
    // id, state, decided by, decision, now
    case Query::decide_finding:
      return "UPDATE outseal_finding SET state = ?2, decided_by = ?3, decision = ?4,"
             " closed_at = iif(?2 = 'repaired', ?5, NULL) WHERE id = ?1";
    default:
      return {};
  }
}

// What the checks read. Each is one page of a walk: no read lasts long enough to hold back the
// write-ahead log's checkpoint.
std::string_view check_text(Query query) {
  switch (query) {
    // -> name, sink, event source, state, seq before the first event that may wait
    case Query::list_checked_subscriptions:
      return "SELECT name, sink, event_source, state, acked_seq FROM outseal_subscription"
             " ORDER BY name";
    // subscription -> topic pattern
    case Query::list_topics:
      return "SELECT t.value FROM outseal_subscription s, json_each(s.topics) t"
             " WHERE s.name = ?1 ORDER BY t.key";
    // now, created until, after created, after key hash, rows at most
    case Query::list_open_operations:
      return "SELECT key_hash, scope, state, created_at, attempts, lease_owner, lease_until"
             " FROM outseal_idempotency WHERE state IN ('in_progress', 'unknown')"
             " AND created_at <= ?2 AND (created_at, key_hash) > (?3, ?4)"
             " AND (state = 'unknown' OR coalesce(lease_until, 0) <= ?1)"
             " ORDER BY created_at, key_hash LIMIT ?5";
    // after provider, provider key, id; rows at most
    case Query::list_outcomes:
      return "SELECT provider, provider_key, id, state, external_ref FROM outseal_effect"
             " WHERE (provider, provider_key, id) > (?1, ?2, ?3)"
             " ORDER BY provider, provider_key, id LIMIT ?4";
    // subscription, after key, 1 to include that key, keys at most
    //   -> key, events, queued, oldest seq, oldest parked at
    case Query::list_parked_keys:
      return "SELECT key, count(*), sum(state = 'queued'), min(seq), min(parked_at)"
             " FROM outseal_parked WHERE subscription = ?1 AND (key > ?2 OR (?3 AND key = ?2))"
             " AND state IN ('parked', 'queued') GROUP BY key ORDER BY key LIMIT ?4";
    // after seq, rows -> last seq of that many rows, or NULL if there is none
    case Query::end_of_page:
      return "SELECT max(seq) FROM (SELECT seq FROM outseal_outbox WHERE seq > ?1 ORDER BY seq"
             " LIMIT ?2)";
    // subscription, after seq, to seq, created until
    //   -> topic, events, lowest seq, oldest created at; parked events do not count
    case Query::count_waiting:
      return "SELECT o.topic, count(*), min(o.seq), min(o.created_at) FROM outseal_outbox o"
             " WHERE o.seq > ?2 AND o.seq <= ?3 AND o.created_at <= ?4 AND NOT EXISTS ("
             " SELECT 1 FROM outseal_parked p WHERE p.subscription = ?1 AND p.seq = o.seq)"
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
             " s.acked_snap, s.snap_to, s.chain_hash, s.version, j.kind, j.first_position,"
             " j.event_count, j.from_seq, j.to_seq, j.last_event_id, j.hash, j.chain_hash,"
             " j.snap_from, j.snap_to"
             " FROM outseal_subscription s LEFT JOIN outseal_journal j ON j.subscription = s.name"
             " AND j.first_position = (SELECT max(k.first_position) FROM outseal_journal k"
             "  WHERE k.subscription = s.name) WHERE s.name = ?1";
    // subscription, after first position, up to first position, rows at most -> kind, first, count,
    //   from seq, to seq, last id, hash, chain hash, begin and end of the window
    case Query::list_journal:
      return "SELECT kind, first_position, event_count, from_seq, to_seq, last_event_id, hash,"
             " chain_hash, snap_from, snap_to FROM outseal_journal WHERE subscription = ?1"
             " AND first_position > ?2 AND first_position <= ?3 ORDER BY first_position LIMIT ?4";
    // subscription -> first position of the first row
    case Query::journal_start:
      return "SELECT min(first_position) FROM outseal_journal WHERE subscription = ?1";
    // subscription, after seq, to seq, rows at most, begin and end of the window (not here)
    //   -> seq, event id, key, topic, 1 if it is parked
    case Query::list_range_ids:
      return "SELECT o.seq, o.event_id, o.key, o.topic, EXISTS (SELECT 1 FROM outseal_parked p"
             "  WHERE p.subscription = ?1 AND p.seq = o.seq) FROM outseal_outbox o"
             " WHERE o.seq > ?2 AND o.seq <= ?3 AND ?5 = '' AND ?6 = ''"
             " ORDER BY o.seq LIMIT ?4";
    // subscription, first position, last position
    case Query::list_redriven_ids:
      return "SELECT seq, event_id, key FROM outseal_parked WHERE subscription = ?1"
             " AND position BETWEEN ?2 AND ?3 ORDER BY position";
    // subscription -> key
    case Query::list_redriven_keys:
      return "SELECT DISTINCT key FROM outseal_parked WHERE subscription = ?1"
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

}  // namespace outseal::sql::sqlite
