// SQLite's statements for operators: migrations, audit trail, status and parked events.
#include "sql/query.h"

namespace outseal::sql::sqlite {
namespace {

std::string_view migration_text(Query query) {
  switch (query) {
    case Query::create_schema:
      return "SELECT 1";
    case Query::create_migration_table:
      return "CREATE TABLE IF NOT EXISTS outseal_schema_migration ("
             "version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,"
             " applied_at INTEGER NOT NULL, applied_by TEXT NOT NULL,"
             " CONSTRAINT schema_migration_checksum_length CHECK (length(checksum) = 64))";
    // -> 0 or 1
    case Query::has_migration_table:
      return "SELECT EXISTS (SELECT 1 FROM sqlite_schema"
             " WHERE type = 'table' AND name = 'outseal_schema_migration')";
    // -> version, name, checksum, applied at, applied by
    case Query::list_migrations:
      return "SELECT version, name, checksum, applied_at, applied_by"
             " FROM outseal_schema_migration ORDER BY version";
    // version, name, checksum, now, applied by
    case Query::insert_migration:
      return "INSERT INTO outseal_schema_migration (version, name, checksum, applied_at,"
             " applied_by) VALUES (?1, ?2, ?3, ?4, ?5)";
    // version
    case Query::delete_migration:
      return "DELETE FROM outseal_schema_migration WHERE version = ?1";
    // -> 0 or 1
    case Query::is_database_empty:
      return "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)";
    // -> the mode that it has now
    case Query::journal_mode:
      return "PRAGMA journal_mode";
    case Query::set_write_ahead_log:
      return "PRAGMA journal_mode = WAL";
    // -> 0 or 1
    case Query::any_event:
      return "SELECT EXISTS (SELECT 1 FROM outseal_outbox)";
    // -> 0 or 1. No subscription has published anything.
    case Query::any_unpublished:
      return "SELECT EXISTS (SELECT 1 FROM outseal_outbox WHERE seq >"
             "  coalesce((SELECT min(acked_seq) FROM outseal_subscription), 0))"
             " OR EXISTS (SELECT 1 FROM outseal_parked p JOIN outseal_subscription s"
             "  ON s.name = p.subscription WHERE p.state IN ('parked', 'queued')"
             "  OR (p.state = 'redriven' AND p.position > s.acked_position))";
    // now -> 0 or 1. What is in progress or unknown never expires.
    case Query::any_live_operation:
      return "SELECT EXISTS (SELECT 1 FROM outseal_idempotency"
             " WHERE expires_at IS NULL OR expires_at > ?1)";
    default:
      return {};
  }
}

std::string_view audit_text(Query query) {
  switch (query) {
    // -> hash
    case Query::last_audit_hash:
      return "SELECT hash FROM outseal_audit ORDER BY id DESC LIMIT 1";
    // now, actor, act, subject, detail, previous hash, hash
    case Query::insert_audit:
      return "INSERT INTO outseal_audit (at, actor, act, subject, detail, prev_hash, hash)"
             " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    // -> id, at, actor, act, subject, detail, previous hash, hash
    case Query::read_audit:
      return "SELECT id, at, actor, act, subject, detail, prev_hash, hash"
             " FROM outseal_audit ORDER BY id";
    default:
      return {};
  }
}

std::string_view status_text(Query query) {
  switch (query) {
    // most events to count -> name, sink, state, bound, acked, epoch, lease owner, lease until,
    //   waiting, created at of the oldest waiting, parked, queued, blocked keys.
    // One statement, so that all numbers are of one moment.
    case Query::read_status:
      return "SELECT s.name, s.sink, s.state, s.bound_position, s.acked_position, s.epoch,"
             " s.lease_owner, s.lease_until,"
             " (SELECT count(*) FROM (SELECT 1 FROM outseal_outbox o WHERE o.seq > s.acked_seq"
             "   LIMIT ?1)),"
             " (SELECT o.created_at FROM outseal_outbox o WHERE o.seq > s.acked_seq"
             "   ORDER BY o.seq LIMIT 1),"
             " (SELECT count(*) FROM outseal_parked p"
             "   WHERE p.subscription = s.name AND p.state = 'parked'),"
             " (SELECT count(*) FROM outseal_parked p"
             "   WHERE p.subscription = s.name AND p.state = 'queued'),"
             " (SELECT count(DISTINCT p.key) FROM outseal_parked p WHERE p.subscription = s.name"
             "   AND p.key <> '' AND p.state IN ('parked', 'queued'))"
             " FROM outseal_subscription s ORDER BY s.name";
    default:
      return {};
  }
}

std::string_view decision_text(Query query) {
  switch (query) {
    // subscription, state or NULL, key or NULL -> event id, topic, key, cause, state, reason,
    //   attempts, position, parked at, decided by, decision
    case Query::list_parked:
      return "SELECT event_id, topic, key, cause, state, reason, attempts, position, parked_at,"
             " decided_by, decision FROM outseal_parked WHERE subscription = ?1"
             " AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR key = ?3) ORDER BY seq";
    // subscription, event id -> seq, key, state
    case Query::find_parked:
      return "SELECT seq, key, state FROM outseal_parked WHERE subscription = ?1"
             " AND event_id = ?2";
    // subscription, key, seq -> event id
    case Query::parked_before:
      return "SELECT event_id FROM outseal_parked WHERE subscription = ?1 AND key = ?2"
             " AND seq < ?3 AND state = 'parked' ORDER BY seq LIMIT 1";
    // subscription, now, actor, decision, seq
    case Query::queue_one:
      return "UPDATE outseal_parked SET state = 'queued', decided_at = ?2, decided_by = ?3,"
             " decision = ?4 WHERE subscription = ?1 AND seq = ?5 AND state = 'parked'";
    // subscription, now, actor, decision, key, seq. Up to the next event of the key that the sink
    // refused itself; the empty key has no order, so nothing stands behind one of its events.
    case Query::queue_behind_one:
      return "UPDATE outseal_parked SET state = 'queued', decided_at = ?2, decided_by = ?3,"
             " decision = ?4 WHERE subscription = ?1 AND key = ?5 AND key <> '' AND seq > ?6"
             " AND state = 'parked' AND cause = 'behind' AND seq < coalesce((SELECT min(r.seq)"
             "  FROM outseal_parked r WHERE r.subscription = ?1 AND r.key = ?5 AND r.seq > ?6"
             "  AND r.state = 'parked' AND r.cause = 'refused'), 9223372036854775807)";
    // subscription, now, actor, decision, key or NULL
    case Query::queue_all:
      return "UPDATE outseal_parked SET state = 'queued', decided_at = ?2, decided_by = ?3,"
             " decision = ?4 WHERE subscription = ?1 AND state = 'parked'"
             " AND (?5 IS NULL OR key = ?5)";
    // subscription, now, actor, decision, seq
    case Query::discard_one:
      return "UPDATE outseal_parked SET state = 'discarded', decided_at = ?2, decided_by = ?3,"
             " decision = ?4 WHERE subscription = ?1 AND seq = ?5 AND state = 'parked'";
    // subscription, now, actor, decision, key or NULL
    case Query::discard_refused:
      return "UPDATE outseal_parked SET state = 'discarded', decided_at = ?2, decided_by = ?3,"
             " decision = ?4 WHERE subscription = ?1 AND state = 'parked' AND cause = 'refused'"
             " AND (?5 IS NULL OR key = ?5)";
    default:
      return {};
  }
}

std::string_view pause_text(Query query) {
  switch (query) {
    // name, now. Whoever leads is fenced by the same statement: the next thing that it writes is
    // refused, and so is what comes late from any relay before it.
    case Query::pause_subscription:
      return "UPDATE outseal_subscription SET state = 'paused', epoch = epoch + 1,"
             " version = version + 1, lease_owner = NULL, lease_until = 0,"
             " updated_at = ?2 WHERE name = ?1 AND state = 'running'";
    // name, now
    case Query::resume_subscription:
      return "UPDATE outseal_subscription SET state = 'running', version = version + 1,"
             " updated_at = ?2 WHERE name = ?1 AND state = 'paused'";
    default:
      return {};
  }
}

}  // namespace

std::string_view operate_text(Query query) {
  for (const auto& area : {migration_text, audit_text, status_text, decision_text, pause_text}) {
    const std::string_view found = area(query);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace outseal::sql::sqlite
