// SQLite's statements. Parameters are numbered in the order of the comment above each text.
#include "sql/query.h"

#include "outseal/error.h"

namespace outseal::sql::sqlite {
namespace {

// Columns of an event, in the order in which store/subscription_read.cc takes them.
#define OUTSEAL_EVENT_COLUMNS                                                         \
  "o.seq, o.event_id, o.topic, o.key, o.type, o.headers, o.payload, o.content_type, " \
  "o.created_at"

std::string_view service_text(Query query) {
  switch (query) {
    // event id, topic, key, type, headers, payload, content type
    case Query::append_event:
      return "INSERT INTO outseal_outbox (event_id, topic, key, type, headers, payload,"
             " content_type) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    // key hash -> fingerprint, state, status, body, content type, expires at
    case Query::find_operation:
      return "SELECT fingerprint, state, status, body, content_type, expires_at"
             " FROM outseal_idempotency WHERE key_hash = ?1";
    // key hash, scope, fingerprint, state, status, body, content type, created, completed, expires
    case Query::insert_operation:
      return "INSERT INTO outseal_idempotency (key_hash, scope, fingerprint, state, status, body,"
             " content_type, created_at, completed_at, expires_at)"
             " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    // key hash, now
    case Query::delete_expired_operation:
      return "DELETE FROM outseal_idempotency WHERE key_hash = ?1 AND expires_at <= ?2";
    // now, rows at most
    case Query::purge_operations:
      return "DELETE FROM outseal_idempotency WHERE key_hash IN (SELECT key_hash"
             " FROM outseal_idempotency WHERE expires_at IS NOT NULL AND expires_at <= ?1"
             " ORDER BY expires_at LIMIT ?2)";
    // What a handler did can be undone while the record of its failure is kept.
    case Query::savepoint:
      return "SAVEPOINT outseal_handler";
    case Query::rollback_to_savepoint:
      return "ROLLBACK TO outseal_handler";
    case Query::release_savepoint:
      return "RELEASE outseal_handler";
    default:
      return {};
  }
}

std::string_view lease_text(Query query) {
  switch (query) {
    // BEGIN IMMEDIATE has excluded all other writers already.
    case Query::take_turns:
    case Query::lock_outbox:
      return "SELECT 1";
    // name
    case Query::lock_subscription:
      return "SELECT 1 FROM outseal_subscription WHERE name = ?1";
    // name, topics, sink, event source, now, 'now' or 'beginning', source system, source timeline.
    // All that is in the log was committed before: there is one writer, and it is us.
    case Query::insert_subscription:
      return "INSERT INTO outseal_subscription (name, topics, sink, event_source, created_at,"
             " updated_at, after_seq, acked_seq, source_system, source_timeline)"
             " SELECT ?1, ?2, ?3, ?4, ?5, ?5, h.seq, h.seq, ?7, ?8 FROM (SELECT CASE ?6"
             " WHEN 'now' THEN coalesce((SELECT max(seq) FROM outseal_outbox), 0) ELSE 0 END AS seq"
             ") h WHERE true ON CONFLICT (name) DO NOTHING";
    // name, topics, sink, event source, now. Only while no position and no cursor rests on it.
    case Query::redeclare_subscription:
      return "UPDATE outseal_subscription SET topics = ?2, sink = ?3, event_source = ?4,"
             " updated_at = ?5 WHERE name = ?1 AND bound_position = 0 AND after_seq = 0"
             " AND lease_owner IS NULL";
    // -> seq
    case Query::oldest_event:
      return "SELECT seq FROM outseal_outbox ORDER BY seq LIMIT 1";
    // act, subscription -> detail of the last such act or NULL, source system or ''
    case Query::find_start:
      return "SELECT a.detail, coalesce(s.source_system, '') FROM outseal_subscription s"
             " LEFT JOIN outseal_audit a ON a.act = ?1 AND a.subject = s.name WHERE s.name = ?2"
             " ORDER BY a.id DESC LIMIT 1";
    // name -> topics, sink, event source
    case Query::find_subscription:
      return "SELECT topics, sink, event_source FROM outseal_subscription WHERE name = ?1";
    // name, owner, lease until, now, source system, source timeline
    case Query::acquire_lease:
      return "UPDATE outseal_subscription SET epoch = epoch + 1, version = version + 1,"
             " lease_owner = ?2, lease_until = ?3, updated_at = ?4, source_system = ?5,"
             " source_timeline = ?6 WHERE name = ?1";
    // name -> topics, after_seq, bound, acked, acked id, epoch, version, lease owner, lease until,
    //   snap from, snap to, source system, source timeline, state
    case Query::read_subscription:
      return "SELECT topics, after_seq, bound_position, acked_position,"
             " acked_event_id, epoch, version, lease_owner, lease_until,"
             " snap_from, snap_to, source_system, source_timeline, state"
             " FROM outseal_subscription WHERE name = ?1";
    // name, epoch, lease until, now
    case Query::renew_lease:
      return "UPDATE outseal_subscription SET lease_until = ?3, updated_at = ?4"
             " WHERE name = ?1 AND epoch = ?2";
    // name, epoch, now
    case Query::release_lease:
      return "UPDATE outseal_subscription SET lease_owner = NULL, lease_until = 0, updated_at = ?3"
             " WHERE name = ?1 AND epoch = ?2";
    default:
      return {};
  }
}

std::string_view read_text(Query query) {
  switch (query) {
    // after seq, rows at most
    case Query::read_log:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM outseal_outbox o WHERE o.seq > ?1 ORDER BY o.seq LIMIT ?2";
    // from seq (exclusive), to seq (inclusive)
    case Query::read_log_range:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM outseal_outbox o WHERE o.seq > ?1 AND o.seq <= ?2 ORDER BY o.seq";
    // subscription, rows at most, cursor's seq. Not beyond the cursor: after a settlement it has
    // gone back, and what it reads again goes first. Nor before a parked event of the same key.
    case Query::read_queued:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM outseal_parked p CROSS JOIN outseal_outbox o ON o.seq = p.seq"
             " WHERE p.subscription = ?1 AND p.state = 'queued' AND p.seq <= ?3"
             " AND (p.key = '' OR NOT EXISTS (SELECT 1 FROM outseal_parked e"
             "  INDEXED BY outseal_parked_open WHERE e.subscription = ?1 AND e.key = p.key"
             "  AND e.seq < p.seq AND e.state IN ('parked', 'queued') AND e.state = 'parked'))"
             " ORDER BY p.seq LIMIT ?2";
    // subscription, first position, last position
    case Query::read_redriven:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM outseal_parked p CROSS JOIN outseal_outbox o ON o.seq = p.seq"
             " WHERE p.subscription = ?1 AND p.position BETWEEN ?2 AND ?3 ORDER BY p.position";
    // subscription, from seq (exclusive), to seq (inclusive) -> seq
    case Query::excluded_seqs:
      return "SELECT seq FROM outseal_parked WHERE subscription = ?1 AND seq > ?2 AND seq <= ?3"
             " ORDER BY seq";
    // subscription -> 1 if any is parked or queued, 1 if any ever was
    case Query::any_open_parked:
      return "SELECT EXISTS (SELECT 1 FROM outseal_parked"
             " WHERE subscription = ?1 AND state IN ('parked', 'queued')),"
             " EXISTS (SELECT 1 FROM outseal_parked WHERE subscription = ?1)";
    // subscription, key, before seq -> 0 or 1
    case Query::is_key_blocked:
      return "SELECT EXISTS (SELECT 1 FROM outseal_parked INDEXED BY outseal_parked_open"
             " WHERE subscription = ?1 AND key = ?2 AND seq < ?3"
             " AND state IN ('parked', 'queued'))";
    default:
      return {};
  }
}

std::string_view journal_text(Query query) {
  switch (query) {
    // subscription, position -> kind, first, count, from seq, to seq, last id, hash, chain,
    //   snap from, snap to
    case Query::find_journal:
      return "SELECT kind, first_position, event_count, from_seq, to_seq, last_event_id, hash,"
             " chain_hash, snap_from, snap_to FROM outseal_journal"
             " WHERE subscription = ?1 AND first_position <= ?2"
             " ORDER BY first_position DESC LIMIT 1";
    // subscription, position -> last event id and chain hash of the batch before it
    case Query::previous_chain:
      return "SELECT last_event_id, chain_hash, sink_mark FROM outseal_journal"
             " WHERE subscription = ?1 AND first_position < ?2"
             " ORDER BY first_position DESC LIMIT 1";
    // subscription, first, count, kind, from seq, to seq, last id, hash, chain, epoch, now,
    //   snap from, snap to
    case Query::insert_journal:
      return "INSERT INTO outseal_journal (subscription, first_position, event_count, kind,"
             " from_seq, to_seq, last_event_id, hash, chain_hash, epoch, bound_at,"
             " snap_from, snap_to)"
             " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    // subscription, first, mark, now
    case Query::acknowledge_journal:
      return "UPDATE outseal_journal SET acked_at = ?4, sink_mark = ?3"
             " WHERE subscription = ?1 AND first_position = ?2";
    // subscription, first, count, to seq, last id, hash, chain, now
    case Query::trim_journal:
      return "UPDATE outseal_journal SET event_count = ?3, to_seq = ?4, last_event_id = ?5,"
             " hash = ?6, chain_hash = ?7, acked_at = ?8"
             " WHERE subscription = ?1 AND first_position = ?2";
    // subscription, first
    case Query::delete_journal:
      return "DELETE FROM outseal_journal WHERE subscription = ?1 AND first_position = ?2";
    default:
      return {};
  }
}

std::string_view fence_text(Query query) {
  switch (query) {
    // name, epoch, version, after seq, bound, chain hash, lease until, now, acked seq, snap from,
    //   snap to, acked snap, incarnation of the server that the page was read from
    case Query::advance_subscription:
      return "UPDATE outseal_subscription SET version = version + 1, after_seq = ?4,"
             " bound_position = ?5, chain_hash = ?6, lease_until = ?7, updated_at = ?8,"
             " acked_seq = ?9, snap_from = ?10, snap_to = ?11, acked_snap = ?12"
             " WHERE name = ?1 AND epoch = ?2 AND version = ?3 AND ?13 = ''";
    // name, epoch, version, acked position, acked id, lease until, now. Nothing is in flight then,
    // so all that the cursor has passed is acknowledged, parked or filtered out.
    case Query::acknowledge_subscription:
      return "UPDATE outseal_subscription SET version = version + 1, acked_position = ?4,"
             " acked_event_id = ?5, lease_until = ?6, updated_at = ?7, acked_seq = after_seq"
             " WHERE name = ?1 AND epoch = ?2 AND version = ?3";
    // name, epoch, version, after seq, bound = acked, acked id, chain hash, lease until, now,
    //   snap from, snap to
    case Query::settle_subscription:
      return "UPDATE outseal_subscription SET version = version + 1, after_seq = ?4,"
             " acked_seq = ?4, bound_position = ?5, acked_position = ?5, acked_event_id = ?6,"
             " chain_hash = ?7, lease_until = ?8, updated_at = ?9, snap_from = ?10, snap_to = ?11"
             " WHERE name = ?1 AND epoch = ?2 AND version = ?3";
    default:
      return {};
  }
}

std::string_view parked_text(Query query) {
  switch (query) {
    // subscription, seq, cause, reason, now. What stands behind only queued events of its key is
    // queued with them: else it would be left alone when they are redriven.
    case Query::park_event:
      return "INSERT INTO outseal_parked (subscription, seq, event_id, topic, key, cause, reason,"
             " parked_at, state) SELECT ?1, o.seq, o.event_id, o.topic, o.key, ?3, ?4, ?5,"
             " CASE WHEN ?3 = 'refused' OR EXISTS (SELECT 1 FROM outseal_parked p"
             "  INDEXED BY outseal_parked_open WHERE p.subscription = ?1 AND p.key = o.key"
             "  AND p.seq < o.seq AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
             " THEN 'parked' ELSE 'queued' END"
             " FROM outseal_outbox o WHERE o.seq = ?2";
    // subscription, seq, cause, reason, now. A queued event is set aside again.
    case Query::park_again:
      return "UPDATE outseal_parked SET state = 'parked', position = NULL, cause = ?3, reason = ?4,"
             " attempts = attempts + 1, parked_at = ?5 WHERE subscription = ?1 AND seq = ?2"
             " AND state IN ('queued', 'redriven')";
    // subscription, seq, position
    case Query::redrive_event:
      return "UPDATE outseal_parked SET state = 'redriven', position = ?3"
             " WHERE subscription = ?1 AND seq = ?2 AND state = 'queued'";
    // subscription, from position. Events that wait behind a parked one of their key stay parked.
    case Query::undo_redrive:
      return "UPDATE outseal_parked AS r SET position = NULL, state = CASE WHEN r.key <> ''"
             " AND EXISTS (SELECT 1 FROM outseal_parked p INDEXED BY outseal_parked_open"
             "  WHERE p.subscription = ?1 AND p.key = r.key AND p.seq < r.seq"
             "  AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
             " THEN 'parked' ELSE 'queued' END"
             " WHERE r.subscription = ?1 AND r.position >= ?2";
    default:
      return {};
  }
}

std::string_view retention_text(Query query) {
  switch (query) {
    // created before, rows at most, after seq -> seq of each that went. Looks at no more rows than
    // it may delete, beside the parked ones, which stay while an operator may still want them.
    case Query::delete_published:
      return "DELETE FROM outseal_outbox WHERE seq IN (SELECT w.seq FROM ("
             " SELECT o.seq, o.created_at FROM outseal_outbox o WHERE o.seq > ?3"
             " AND o.seq <= (SELECT min(acked_seq) FROM outseal_subscription) AND NOT EXISTS ("
             "  SELECT 1 FROM outseal_subscription s CROSS JOIN outseal_parked p"
             "  ON p.subscription = s.name AND p.seq = o.seq WHERE p.state IN ('parked', 'queued')"
             "  OR (p.state = 'redriven' AND p.position > s.acked_position))"
             " ORDER BY o.seq LIMIT ?2) w WHERE w.created_at < ?1) RETURNING seq";
    // subscription, acked before, rows at most; the last acknowledged row always stays. Batches are
    // acknowledged in their order, so it looks no further than the rows that may go at once.
    case Query::delete_journal_before:
      return "DELETE FROM outseal_journal WHERE subscription = ?1 AND first_position IN ("
             " SELECT w.first_position FROM (SELECT j.first_position, j.acked_at"
             "  FROM outseal_journal j WHERE j.subscription = ?1"
             "  AND j.first_position < (SELECT max(k.first_position) FROM outseal_journal k"
             "   WHERE k.subscription = ?1 AND k.acked_at IS NOT NULL)"
             "  ORDER BY j.first_position LIMIT ?3) w WHERE w.acked_at < ?2)";
    default:
      return {};
  }
}

}  // namespace

std::string_view text(Query query) {
  for (const auto& area : {service_text, lease_text, read_text, journal_text, fence_text,
                           parked_text, retention_text, reconcile_text, operate_text, inbox_text}) {
    const std::string_view found = area(query);
    if (!found.empty()) return found;
  }
  throw Error{ErrorCode::internal, "query",
              "no SQLite text for query " + std::to_string(static_cast<std::size_t>(query))};
}

}  // namespace outseal::sql::sqlite
