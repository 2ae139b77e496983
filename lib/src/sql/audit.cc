#include "sql/audit.h"

#include "sql/typed.h"

namespace outseal::sql {

const Text kLastAuditHash{.name = "last_audit_hash",
                          .sqlite = "SELECT hash FROM outseal_audit ORDER BY id DESC LIMIT 1",
                          .postgres = "SELECT hash FROM outseal.audit ORDER BY id DESC LIMIT 1"};

std::optional<std::string> last_audit_hash(Connection& connection) {
  return find_row(connection, kLastAuditHash,
                  [](Columns& columns) { return std::string{columns.bytes()}; });
}

// now, actor, act, subject, detail, previous hash, hash
const Text kInsertAudit{
    .name = "insert_audit",
    .sqlite =
        "INSERT INTO outseal_audit (at, actor, act, subject, detail, prev_hash, hash)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    .postgres =
        "INSERT INTO outseal.audit (at, actor, act, subject, detail, prev_hash, hash)"
        " VALUES (to_timestamp($1::float8 / 1000), $2, $3, $4, $5, $6, $7)"};

void insert_audit(Connection& connection, const AuditRow& row) {
  run(connection, kInsertAudit, row.at_ms, row.actor, row.act, row.subject, row.detail,
      Bytes{row.prev_hash}, Bytes{row.hash});
}

const Text kWalkAudit{.name = "walk_audit",
                      .sqlite =
                          "SELECT id, at, actor, act, subject, detail, prev_hash, hash"
                          " FROM outseal_audit ORDER BY id",
                      .postgres =
                          "SELECT id, at, actor, act, subject, detail, prev_hash, hash"
                          " FROM outseal.audit ORDER BY id"};

// act, subject, detail
const Text kInsertPendingAudit{
    .name = "insert_pending_audit",
    .postgres = "INSERT INTO outseal.audit_pending (act, subject, detail) VALUES ($1, $2, $3)"};

Statement& insert_pending_audit(Connection& connection, const AuditNote& note) {
  return bind_statement(connection, kInsertPendingAudit, note.act, note.subject, note.detail);
}

// rows at most
const Text kTakePendingAudit{
    .name = "take_pending_audit",
    .postgres =
        "WITH taken AS (DELETE FROM outseal.audit_pending p WHERE p.id = ANY (ARRAY (SELECT o.id"
        " FROM outseal.audit_pending o ORDER BY o.id LIMIT $1))"
        " RETURNING p.id, p.at, p.actor, p.act, p.subject, p.detail)"
        " SELECT t.at, t.actor, t.act, t.subject, t.detail FROM taken t ORDER BY t.id"};

std::vector<PendingAudit> take_pending_audit(Connection& connection, std::int64_t rows_max) {
  const auto read = [](Columns& columns) {
    PendingAudit row;
    columns >> row.at_ms >> row.actor >> row.note.act >> row.note.subject >> row.note.detail;
    return row;
  };
  return list_rows(connection, kTakePendingAudit, read, rows_max);
}

void walk_audit(Connection& connection, const std::function<bool(const AuditRow&)>& take) {
  Bound rows{connection, kWalkAudit};
  while (rows.step()) {
    Columns columns = rows.columns();
    AuditRow row;
    columns >> row.id >> row.at_ms >> row.actor >> row.act >> row.subject >> row.detail;
    row.prev_hash = columns.bytes();
    row.hash = columns.bytes();
    if (!take(row)) return;
  }
}

}  // namespace outseal::sql
