// PostgreSQL's statements. Parameters are numbered in the order of the comment above each text.
#include "sql/query.h"

#include "outseal/error.h"
#include "sql/postgres/fragments.h"

namespace outseal::sql::postgres {
namespace {

std::string_view service_text(Query query) {
  switch (query) {
    // event id, topic, key, type, headers, payload, content type
    case Query::append_event:
      return "INSERT INTO outseal.outbox (event_id, topic, key, type, headers, payload,"
             " content_type) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    // The same as arrays. Numbers are drawn in the order of the arrays.
    case Query::append_events:
      return "INSERT INTO outseal.outbox (event_id, topic, key, type, headers, payload,"
             " content_type) SELECT e.event_id::uuid, e.topic, e.key, e.type, e.headers::jsonb,"
             " e.payload, e.content_type FROM unnest($1::text[], $2::text[], $3::text[],"
             " $4::text[], $5::text[], $6::bytea[], $7::text[]) WITH ORDINALITY"
             " AS e (event_id, topic, key, type, headers, payload, content_type, place)"
             " ORDER BY e.place";
    // As append_events; those that are still there are left as they are.
    case Query::restore_events:
      return "INSERT INTO outseal.outbox (event_id, topic, key, type, headers, payload,"
             " content_type) SELECT e.event_id::uuid, e.topic, e.key, e.type, e.headers::jsonb,"
             " e.payload, e.content_type FROM unnest($1::text[], $2::text[], $3::text[],"
             " $4::text[], $5::text[], $6::bytea[], $7::text[]) WITH ORDINALITY"
             " AS e (event_id, topic, key, type, headers, payload, content_type, place)"
             " ORDER BY e.place ON CONFLICT DO NOTHING";
    // number of the key's lock, key hash -> 1 if we hold the lock now, 1 if there is a record that
    //   counts, fingerprint, state, status, body, content type, 1 if there is one that has expired.
    // The look-up's snapshot is older than the lock: a record committed between the two is missed
    // here and caught by the primary key.
    case Query::claim_operation:
      return "SELECT pg_try_advisory_xact_lock($1), i.key_hash IS NOT NULL"
             " AND coalesce(i.expires_at > clock_timestamp(), true), i.fingerprint, i.state,"
             " i.status, i.body, i.content_type, i.expires_at <= clock_timestamp()"
             " FROM (SELECT 1) one LEFT JOIN outseal.idempotency i ON i.key_hash = $2";
    // limit, for the length of the transaction -> the limit before
    case Query::wait_for_lock:
      return "SELECT current_setting('lock_timeout'), set_config('lock_timeout', $1, true)";
    // key hash -> fingerprint, state, status, body, content type, 1 if it has expired
    case Query::find_operation:
      return "SELECT fingerprint, state, status, body, content_type,"
             " coalesce(expires_at <= clock_timestamp(), false)"
             " FROM outseal.idempotency WHERE key_hash = $1";
    // number of the key's lock
    case Query::lock_operation:
      return "SELECT pg_advisory_xact_lock($1)";
    // key hash, scope, fingerprint, state, status, body, content type, retention in ms
    case Query::complete_operation:
      return "INSERT INTO outseal.idempotency (key_hash, scope, fingerprint, state, status, body,"
             " content_type, created_at, completed_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6,"
             " $7, now(), clock_timestamp(), clock_timestamp() + $8::bigint * interval '1 ms')";
    // key hash. By the same clock as claim_operation, so that both say the same. "IS TRUE" leaves
    // only the primary key to look it up by.
    case Query::delete_expired_operation:
      return "DELETE FROM outseal.idempotency WHERE key_hash = $1"
             " AND (expires_at <= clock_timestamp()) IS TRUE";
    // now, rows at most
    case Query::purge_operations:
      return "DELETE FROM outseal.idempotency WHERE key_hash = ANY (ARRAY (SELECT i.key_hash"
             " FROM outseal.idempotency i WHERE i.expires_at IS NOT NULL"
             " AND i.expires_at <= to_timestamp($1::float8 / 1000) ORDER BY i.expires_at"
             " LIMIT $2 FOR UPDATE SKIP LOCKED))";
    default:
      return {};
  }
}

std::string_view lease_text(Query query) {
  switch (query) {
    // One of the operators' programs at a time, up to the end of its transaction.
    case Query::take_turns:
      return "SELECT pg_advisory_xact_lock(7311704027001)";
    // Nothing is appended from here to the end of the transaction.
    case Query::lock_outbox:
      return "LOCK TABLE outseal.outbox IN ACCESS EXCLUSIVE MODE";
    // name. Nothing that its relay writes comes between.
    case Query::lock_subscription:
      return "SELECT 1 FROM outseal.subscription WHERE name = $1 FOR UPDATE";
    // name, topics, sink, event source, now, 'now' or 'beginning', source system, source timeline.
    // What is visible in the statement's own snapshot is passed, whatever commits later is not. Our
    // commit is durable before anything is read on from there, and with it all that was visible.
    case Query::insert_subscription:
      return "INSERT INTO outseal.subscription (name, topics, sink, event_source, created_at,"
             " updated_at, snap_from, acked_snap, source_system, source_timeline) SELECT $1, $2,"
             " $3, $4, to_timestamp($5::float8 / 1000), to_timestamp($5::float8 / 1000), h.snap,"
             " h.snap, $7, $8 FROM (SELECT CASE $6::text WHEN 'now' THEN pg_current_snapshot()"
             " ELSE '3:3:'::pg_snapshot END AS snap) h ON CONFLICT (name) DO NOTHING";
    // name, topics, sink, event source, now. Only while no position and no cursor rests on it.
    case Query::redeclare_subscription:
      return "UPDATE outseal.subscription SET topics = $2, sink = $3, event_source = $4,"
             " updated_at = to_timestamp($5::float8 / 1000) WHERE name = $1"
             " AND bound_position = 0 AND snap_from::text = '3:3:' AND snap_to IS NULL"
             " AND lease_owner IS NULL";
    // -> seq
    case Query::oldest_event:
      return "SELECT seq FROM outseal.outbox ORDER BY seq LIMIT 1";
    // act, subscription -> detail of the last such act or NULL, source system or ''
    case Query::find_start:
      return "SELECT a.detail, coalesce(s.source_system, '') FROM outseal.subscription s"
             " LEFT JOIN outseal.audit a ON a.act = $1 AND a.subject = s.name WHERE s.name = $2"
             " ORDER BY a.id DESC LIMIT 1";
    // name -> topics, sink, event source
    case Query::find_subscription:
      return "SELECT topics, sink, event_source FROM outseal.subscription WHERE name = $1";
    // name, owner, lease until, now, source system, source timeline
    case Query::acquire_lease:
      return "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
             " lease_owner = $2, lease_until = to_timestamp($3::float8 / 1000),"
             " updated_at = to_timestamp($4::float8 / 1000), source_system = $5,"
             " source_timeline = $6 WHERE name = $1";
    // name -> topics, after_seq, bound, acked, acked id, epoch, version, lease owner, lease until,
    //   snap from, snap to, source system, source timeline, state. Locked, so that two relays take
    //   turns, and a relay and an operator.
    case Query::read_subscription:
      return "SELECT topics, after_seq, bound_position, acked_position, acked_event_id, epoch,"
             " version, lease_owner, lease_until, snap_from::text, snap_to::text, source_system,"
             " source_timeline, state FROM outseal.subscription WHERE name = $1 FOR UPDATE";
    // name, epoch, lease until, now
    case Query::renew_lease:
      return "UPDATE outseal.subscription SET lease_until = to_timestamp($3::float8 / 1000),"
             " updated_at = to_timestamp($4::float8 / 1000) WHERE name = $1 AND epoch = $2";
    // name, epoch, now
    case Query::release_lease:
      return "UPDATE outseal.subscription SET lease_owner = NULL, lease_until = 'epoch',"
             " updated_at = to_timestamp($3::float8 / 1000) WHERE name = $1 AND epoch = $2";
    default:
      return {};
  }
}

std::string_view read_text(Query query) {
  switch (query) {
    // subscription, rows at most, cursor's seq. Not beyond the cursor: after a settlement it has
    // gone back, and what it reads again goes first. Nor before a parked event of the same key.
    case Query::read_queued:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM outseal.parked p JOIN outseal.outbox o ON o.seq = p.seq"
             " WHERE p.subscription = $1 AND p.state = 'queued' AND p.seq <= $3"
             " AND (p.key = '' OR NOT EXISTS (SELECT 1 FROM outseal.parked e"
             "  WHERE e.subscription = $1 AND e.key = p.key AND e.seq < p.seq"
             "  AND e.state IN ('parked', 'queued') AND e.state = 'parked'))"
             " ORDER BY p.seq LIMIT $2";
    // subscription, first position, last position
    case Query::read_redriven:
      return "SELECT " OUTSEAL_EVENT_COLUMNS
             " FROM outseal.parked p JOIN outseal.outbox o ON o.seq = p.seq"
             " WHERE p.subscription = $1 AND p.position BETWEEN $2 AND $3 ORDER BY p.position";
    // subscription, from seq (exclusive), to seq (inclusive) -> seq
    case Query::excluded_seqs:
      return "SELECT seq FROM outseal.parked WHERE subscription = $1 AND seq > $2 AND seq <= $3"
             " ORDER BY seq";
    // subscription -> 1 if any is parked or queued, 1 if any ever was. The order is that of the
    // index of open ones: else the planner may walk all that were ever parked, in the hope of an
    // early hit.
    case Query::any_open_parked:
      return "SELECT EXISTS (SELECT 1 FROM (SELECT 1 FROM outseal.parked"
             " WHERE subscription = $1 AND state IN ('parked', 'queued')"
             " ORDER BY key, seq LIMIT 1) p),"
             " EXISTS (SELECT 1 FROM (SELECT 1 FROM outseal.parked WHERE subscription = $1"
             " ORDER BY subscription, seq LIMIT 1) p)";
    // subscription, key, before seq -> 0 or 1
    case Query::is_key_blocked:
      return "SELECT EXISTS (SELECT 1 FROM outseal.parked WHERE subscription = $1 AND key = $2"
             " AND seq < $3 AND state IN ('parked', 'queued'))";
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
             " chain_hash, snap_from::text, snap_to::text FROM outseal.journal"
             " WHERE subscription = $1 AND first_position <= $2"
             " ORDER BY first_position DESC LIMIT 1";
    // subscription, position -> last event id and chain hash of the batch before it
    case Query::previous_chain:
      return "SELECT last_event_id, chain_hash, sink_mark FROM outseal.journal"
             " WHERE subscription = $1 AND first_position < $2"
             " ORDER BY first_position DESC LIMIT 1";
    // subscription, first, count, kind, from seq, to seq, last id, hash, chain, epoch, now,
    //   snap from, snap to
    case Query::insert_journal:
      return "INSERT INTO outseal.journal (subscription, first_position, event_count, kind,"
             " from_seq, to_seq, last_event_id, hash, chain_hash, epoch, bound_at, snap_from,"
             " snap_to) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
             " to_timestamp($11::float8 / 1000), $12, $13)";
    // subscription, first, mark, now
    case Query::acknowledge_journal:
      return "UPDATE outseal.journal SET acked_at = to_timestamp($4::float8 / 1000),"
             " sink_mark = $3 WHERE subscription = $1 AND first_position = $2";
    // subscription, first, count, to seq, last id, hash, chain, now
    case Query::trim_journal:
      return "UPDATE outseal.journal SET event_count = $3, to_seq = $4, last_event_id = $5,"
             " hash = $6, chain_hash = $7, acked_at = to_timestamp($8::float8 / 1000)"
             " WHERE subscription = $1 AND first_position = $2";
    // subscription, first
    case Query::delete_journal:
      return "DELETE FROM outseal.journal WHERE subscription = $1 AND first_position = $2";
    default:
      return {};
  }
}

std::string_view fence_text(Query query) {
  switch (query) {
    // name, epoch, version, after seq, bound, chain hash, lease until, now, acked seq, snap from,
    //   snap to, acked snap, incarnation of the server that the page was read from
    case Query::advance_subscription:
      return "UPDATE outseal.subscription SET version = version + 1, after_seq = $4,"
             " bound_position = $5, chain_hash = $6, lease_until = to_timestamp($7::float8 / 1000),"
             " updated_at = to_timestamp($8::float8 / 1000), acked_seq = $9, snap_from = $10,"
             " snap_to = $11, acked_snap = $12 WHERE name = $1 AND epoch = $2 AND version = $3"
             " AND $13 IN ('', " OUTSEAL_INCARNATION ")";
    // as advance_subscription, then acked position or NULL, acked id or NULL, first position and
    //   mark of the batch that this acknowledges, then of the new batch: first, count, last id,
    //   hash, from seq, snap from, snap to. Intent and acknowledgement as one statement, in one
    //   round trip; inserts one row if the compare-and-set succeeds, else changes nothing.
    case Query::bind_batch:
      return "WITH moved AS (UPDATE outseal.subscription SET version = version + 1,"
             " after_seq = $4, bound_position = $5, chain_hash = $6,"
             " lease_until = to_timestamp($7::float8 / 1000),"
             " updated_at = to_timestamp($8::float8 / 1000), acked_seq = $9, snap_from = $10,"
             " snap_to = $11, acked_snap = $12, acked_position = coalesce($14, acked_position),"
             " acked_event_id = coalesce($15, acked_event_id)"
             " WHERE name = $1 AND epoch = $2 AND version = $3"
             " AND $13 IN ('', " OUTSEAL_INCARNATION
             ") RETURNING name),"
             " acked AS (UPDATE outseal.journal j SET acked_at = to_timestamp($8::float8 / 1000),"
             " sink_mark = $17 FROM moved WHERE j.subscription = moved.name"
             " AND j.first_position = $16)"
             " INSERT INTO outseal.journal (subscription, first_position, event_count, kind,"
             " from_seq, to_seq, last_event_id, hash, chain_hash, epoch, bound_at, snap_from,"
             " snap_to) SELECT moved.name, $18, $19, 'log', $22, $4, $20, $21, $6, $2,"
             " to_timestamp($8::float8 / 1000), $23, $24 FROM moved";
    // name, epoch, version, acked position, acked id, lease until, now. Nothing is in flight then,
    // so all that the cursor has passed is acknowledged, parked or filtered out.
    case Query::acknowledge_subscription:
      return "UPDATE outseal.subscription SET version = version + 1, acked_position = $4,"
             " acked_event_id = $5, lease_until = to_timestamp($6::float8 / 1000),"
             " updated_at = to_timestamp($7::float8 / 1000),"
             " acked_seq = CASE WHEN snap_to IS NULL THEN 0 ELSE after_seq END,"
             " acked_snap = snap_from WHERE name = $1 AND epoch = $2 AND version = $3";
    // name, epoch, version, after seq, bound = acked, acked id, chain hash, lease until, now,
    //   snap from, snap to
    case Query::settle_subscription:
      return "UPDATE outseal.subscription SET version = version + 1, after_seq = $4,"
             " acked_seq = $4, bound_position = $5, acked_position = $5,"
             " acked_event_id = nullif($6, '')::uuid, chain_hash = $7,"
             " lease_until = to_timestamp($8::float8 / 1000),"
             " updated_at = to_timestamp($9::float8 / 1000), snap_from = $10::pg_snapshot,"
             " acked_snap = $10::pg_snapshot, snap_to = $11"
             " WHERE name = $1 AND epoch = $2 AND version = $3";
    default:
      return {};
  }
}

std::string_view parked_text(Query query) {
  switch (query) {
    // subscription, seq, cause, reason, now. What stands behind only queued events of its key is
    // queued with them: else it would be left alone when they are redriven.
    case Query::park_event:
      return "INSERT INTO outseal.parked (subscription, seq, event_id, topic, key, cause, reason,"
             " parked_at, state) SELECT $1, o.seq, o.event_id, o.topic, o.key, $3, $4,"
             " to_timestamp($5::float8 / 1000),"
             " CASE WHEN $3 = 'refused' OR EXISTS (SELECT 1 FROM outseal.parked p"
             "  WHERE p.subscription = $1 AND p.key = o.key AND p.seq < o.seq"
             "  AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
             " THEN 'parked' ELSE 'queued' END"
             " FROM outseal.outbox o WHERE o.seq = $2";
    // subscription, seq, cause, reason, now. A queued event is set aside again.
    case Query::park_again:
      return "UPDATE outseal.parked SET state = 'parked', position = NULL, cause = $3,"
             " reason = $4, attempts = attempts + 1, parked_at = to_timestamp($5::float8 / 1000)"
             " WHERE subscription = $1 AND seq = $2 AND state IN ('queued', 'redriven')";
    // subscription, seq, position
    case Query::redrive_event:
      return "UPDATE outseal.parked SET state = 'redriven', position = $3"
             " WHERE subscription = $1 AND seq = $2 AND state = 'queued'";
    // subscription, from position. Events that wait behind a parked one of their key stay parked.
    case Query::undo_redrive:
      return "UPDATE outseal.parked AS r SET position = NULL, state = CASE WHEN r.key <> ''"
             " AND EXISTS (SELECT 1 FROM outseal.parked p WHERE p.subscription = $1"
             "  AND p.key = r.key AND p.seq < r.seq"
             "  AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
             " THEN 'parked' ELSE 'queued' END"
             " WHERE r.subscription = $1 AND r.position >= $2";
    default:
      return {};
  }
}

std::string_view retention_text(Query query) {
  switch (query) {
    // created before, rows at most, after seq -> seq of each that went. Only what every
    // subscription has acknowledged; parked events stay while an operator may still want them, and
    // are passed over, however many they are. Looks no further than the rows that may go at once.
    case Query::delete_published:
      return "DELETE FROM outseal.outbox WHERE seq = ANY (ARRAY (SELECT w.seq FROM ("
             " SELECT o.seq, o.tx, o.created_at FROM outseal.outbox o WHERE o.seq > $3"
             "  AND NOT EXISTS (SELECT 1 FROM outseal.subscription s JOIN outseal.parked p"
             "   ON p.subscription = s.name AND p.seq = o.seq"
             "   WHERE p.state IN ('parked', 'queued')"
             "   OR (p.state = 'redriven' AND p.position > s.acked_position))"
             "  ORDER BY o.seq LIMIT $2) w"
             " WHERE w.created_at < to_timestamp($1::float8 / 1000)"
             " AND EXISTS (SELECT 1 FROM outseal.subscription)"
             " AND NOT EXISTS (SELECT 1 FROM outseal.subscription s"
             "  WHERE NOT pg_visible_in_snapshot(w.tx, s.acked_snap)))) RETURNING seq";
    // subscription, acked before, rows at most; the last acknowledged row always stays. Batches are
    // acknowledged in their order, so it looks no further than the rows that may go at once.
    case Query::delete_journal_before:
      return "DELETE FROM outseal.journal WHERE subscription = $1 AND first_position = ANY (ARRAY ("
             " SELECT w.first_position FROM (SELECT j.first_position, j.acked_at"
             "  FROM outseal.journal j WHERE j.subscription = $1"
             "  AND j.first_position < (SELECT max(k.first_position) FROM outseal.journal k"
             "   WHERE k.subscription = $1 AND k.acked_at IS NOT NULL)"
             "  ORDER BY j.first_position LIMIT $3) w"
             " WHERE w.acked_at < to_timestamp($2::float8 / 1000)))";
    default:
      return {};
  }
}

}  // namespace

std::string_view text(Query query) {
  for (const auto& area :
       {service_text, lease_text, window_text, read_text, journal_text, fence_text, parked_text,
        retention_text, reconcile_text, operate_text, inbox_text}) {
    const std::string_view found = area(query);
    if (!found.empty()) return found;
  }
  throw Error{ErrorCode::internal, "query",
              "no PostgreSQL text for query " + std::to_string(static_cast<std::size_t>(query))};
}

}  // namespace outseal::sql::postgres
