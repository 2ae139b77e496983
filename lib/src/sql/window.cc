#include "sql/window.h"

#include <algorithm>

#include "sql/event_row.h"
#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {

// Takes no xid.
const Text kReadSourceState{
    .name = "read_source_state",
    .postgres =
        "SELECT pg_current_snapshot()::text, pg_is_in_recovery(),"
        " CASE WHEN NOT pg_is_in_recovery() THEN ('x' || substr(pg_walfile_name("
        "  pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,"
        " (SELECT system_identifier FROM pg_control_system())::text,"
        " " OUTSEAL_INCARNATION};

SourceState read_source_state(Connection& connection) {
  const auto read = [](Columns& columns) {
    SourceState state;
    columns >> state.snapshot >> state.is_standby >> state.identity.timeline >>
        state.identity.system >> state.incarnation;
    return state;
  };
  return find_row(connection, kReadSourceState, read).value();
}

const Text kIsLogAhead{.name = "is_log_ahead",
                       .postgres =
                           "SELECT EXISTS (SELECT 1 FROM outseal.outbox"
                           " WHERE tx >= pg_snapshot_xmax(pg_current_snapshot()))"};

bool is_log_ahead(Connection& connection) { return get_value<bool>(connection, kIsLogAhead); }

// xmax of from, xmax of to. If none of the log's oldest rows is in the window, the window's part of
// the index by transaction is read; "+ 0", because a plain min(seq) may walk the index by seq
// through all that is published.
const Text kFindWindowBounds{
    .name = "find_window_bounds",
    .postgres =
        "SELECT coalesce((SELECT min(h.seq) FROM (SELECT f.seq, f.tx FROM outseal.outbox f"
        "  ORDER BY f.seq LIMIT 10000) h WHERE h.tx >= $1::xid8 AND h.tx < $2::xid8),"
        " (SELECT min(o.seq + 0) FROM outseal.outbox o WHERE o.tx >= $1::xid8"
        "  AND o.tx < $2::xid8)), (SELECT max(m.seq) FROM outseal.outbox m)",
    .setting = {OUTSEAL_PIN_INDEX, false}};

WindowBounds find_window_bounds(Connection& connection, const WindowSpan& window) {
  const auto read = [](Columns& columns) {
    WindowBounds bounds;
    columns >> bounds.lowest >> bounds.highest;
    return bounds;
  };
  return find_row(connection, kFindWindowBounds, read, window.from_xmax, window.to_xmax).value();
}

#define OUTSEAL_WINDOW_COLUMNS OUTSEAL_EVENT_COLUMNS_UP_TO("$6")

// xmax of from, xmax of to, to, late xids, rows at most, bytes inline, incarnation that the
// snapshots are of. Without an event one row all the same, of NULL. By transaction, then sorted. As
// many rows as asked for: there may be more, and these are not the first ones.
const Text kReadWindow{
    .name = "read_window",
    .postgres =
        "WITH run AS MATERIALIZED (SELECT $7 IN ('', " OUTSEAL_INCARNATION
        ") AS is_same) SELECT " OUTSEAL_WINDOW_COLUMNS
        ", run.is_same FROM run LEFT JOIN"
        " ((SELECT f.* FROM outseal.outbox f WHERE f.tx >= $1::xid8 AND f.tx < $2::xid8"
        "   AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot) ORDER BY f.tx, f.seq LIMIT $5)"
        "  UNION ALL (SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
        "   (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, 0)"
        "    AND (e.tx, e.seq) <= (late.tx, 9223372036854775807) ORDER BY e.tx, e.seq"
        "    LIMIT $5) l LIMIT $5) LIMIT $5) o ON run.is_same ORDER BY o.seq",
    .setting = {OUTSEAL_PIN_INDEX, false}};

std::unique_ptr<Statement> read_window(Connection& connection, const WindowSpan& window,
                                       const WindowFetch& fetch) {
  auto rows = connection.clone(kReadWindow);
  bind_all(*rows, window.from_xmax, window.to_xmax, window.to, window.late, fetch.rows_max,
           fetch.inline_bytes, fetch.incarnation);
  return rows;
}

// xmax of from, xmax of to, to, late xids, rows at most, bytes inline, after seq, highest seq of
// the window, after seq in the window's own range, incarnation. By seq, O(page) a page. The rows of
// a late transaction are found by (tx, seq) whatever the statistics say: the comparison of pairs is
// one that only that index serves.
const Text kReadWindowPage{
    .name = "read_window_page",
    .postgres = "WITH run AS MATERIALIZED (SELECT $10 IN ('', " OUTSEAL_INCARNATION
                ") AS is_same) SELECT " OUTSEAL_WINDOW_COLUMNS
                ", run.is_same FROM run LEFT JOIN"
                " ((SELECT f.* FROM outseal.outbox f WHERE f.seq > $9 AND f.seq <= $8"
                "   AND f.tx >= $1::xid8 AND f.tx < $2::xid8"
                "   AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot) ORDER BY f.seq LIMIT $5)"
                "  UNION ALL (SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
                "   (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, $7)"
                "    AND (e.tx, e.seq) <= (late.tx, 9223372036854775807) ORDER BY e.tx, e.seq"
                "    LIMIT $5) l)"
                "  ORDER BY seq LIMIT $5) o ON run.is_same",
    // In the order of seq, and stop: never the whole window sorted for each page.
    .setting = {OUTSEAL_PIN_ORDER, false}};

std::unique_ptr<Statement> read_window_page(Connection& connection, const WindowSpan& window,
                                            const WindowBounds& bounds, Seq after,
                                            const WindowFetch& fetch) {
  auto rows = connection.clone(kReadWindowPage);
  bind_all(*rows, window.from_xmax, window.to_xmax, window.to, window.late, fetch.rows_max,
           fetch.inline_bytes, after, bounds.highest,
           std::max(after.value(), bounds.lowest.value() - 1), fetch.incarnation);
  return rows;
}

bool is_same_run(const Statement& first) { return first.integer(EventColumns::kEnd) != 0; }

bool has_event(const Statement& first) { return !first.is_null(EventColumns::kSeq); }

// xmax of from, xmax of to, to, late xids, from seq (exclusive), to seq (inclusive)
const Text kReadWindowRange{
    .name = "read_window_range",
    .postgres =
        "SELECT " OUTSEAL_EVENT_COLUMNS
        " FROM (SELECT f.* FROM outseal.outbox f WHERE f.tx >= $1::xid8 AND f.tx < $2::xid8"
        "   AND pg_visible_in_snapshot(f.tx, $3::pg_snapshot) AND f.seq > $5 AND f.seq <= $6"
        "  UNION ALL SELECT l.* FROM unnest($4::xid8[]) AS late (tx) CROSS JOIN LATERAL"
        "   (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, $5)"
        "    AND (e.tx, e.seq) <= (late.tx, $6)) l) o ORDER BY o.seq",
    .setting = {OUTSEAL_PIN_INDEX, false}};

Statement& read_window_range(Connection& connection, const WindowSpan& window, Seq after,
                             Seq up_to) {
  return bind_statement(connection, kReadWindowRange, window.from_xmax, window.to_xmax, window.to,
                        window.late, after, up_to);
}

}  // namespace outseal::sql
