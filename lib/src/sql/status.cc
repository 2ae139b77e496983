#include "sql/status.h"

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {

// most events to count. One statement, so that all numbers are of one moment.
const Text kListStatus{
    .name = "list_status",
    .sqlite =
        "SELECT s.name, s.sink, s.state, s.bound_position, s.acked_position, s.epoch,"
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
        "   AND p.key <> '' AND p.state IN ('parked', 'queued')), s.retention_note"
        " FROM outseal_subscription s ORDER BY s.name",
    .postgres =
        "SELECT s.name, s.sink, s.state, s.bound_position, s.acked_position, s.epoch,"
        " s.lease_owner, s.lease_until, w.events, w.oldest, p.parked, p.queued, p.keys,"
        " s.retention_note"
        " FROM outseal.subscription s"
        " CROSS JOIN LATERAL (SELECT count(*) AS events, min(e.created_at) AS oldest FROM ("
        "  SELECT o.created_at FROM " OUTSEAL_MAY_WAIT " WHERE " OUTSEAL_WAITS
        "   LIMIT $1) e) w"
        " CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE e.state = 'parked') AS parked,"
        "  count(*) FILTER (WHERE e.state = 'queued') AS queued,"
        "  count(DISTINCT nullif(e.key, '')) AS keys FROM outseal.parked e"
        "  WHERE e.subscription = s.name AND e.state IN ('parked', 'queued')) p"
        " ORDER BY s.name",
    .setting = {OUTSEAL_PIN_INDEX, false}};

std::vector<StatusRow> list_status(Connection& connection, std::uint64_t waiting_max) {
  const auto read = [](Columns& columns) {
    StatusRow row;
    columns >> row.name >> row.sink >> row.state >> row.bound >> row.acked >> row.epoch >>
        row.lease_owner >> row.lease_until_ms >> row.waiting >> row.oldest_waiting_ms >>
        row.parked >> row.queued >> row.blocked_keys >> row.retention_note;
    return row;
  };
  return list_rows(connection, kListStatus, read, waiting_max);
}

}  // namespace outseal::sql
