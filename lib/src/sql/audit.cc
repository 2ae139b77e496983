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
