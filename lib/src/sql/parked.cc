#include "sql/parked.h"

#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

std::string_view cause_of(const ParkedEntry& entry) { return entry.behind ? "behind" : "refused"; }

}  // namespace

// subscription, from seq (exclusive), to seq (inclusive)
const Text kExcludedSeqs{
    .name = "excluded_seqs",
    .sqlite =
        "SELECT seq FROM outseal_parked WHERE subscription = ?1 AND seq > ?2 AND seq <= ?3"
        " ORDER BY seq",
    .postgres =
        "SELECT seq FROM outseal.parked WHERE subscription = $1 AND seq > $2 AND seq <= $3"
        " ORDER BY seq"};

std::vector<Seq> excluded_seqs(Connection& connection, std::string_view subscription, Seq after,
                               Seq up_to) {
  return list_rows(connection, kExcludedSeqs, column<Seq>, subscription, after, up_to);
}

// subscription
const Text kLookAtParked{
    .name = "look_at_parked",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM outseal_parked"
        " WHERE subscription = ?1 AND state IN ('parked', 'queued')),"
        " EXISTS (SELECT 1 FROM outseal_parked WHERE subscription = ?1)",
    // The order is that of the index of open ones: else the planner may walk all that were ever
    // parked, in the hope of an early hit.
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM (SELECT 1 FROM outseal.parked"
        " WHERE subscription = $1 AND state IN ('parked', 'queued')"
        " ORDER BY key, seq LIMIT 1) p),"
        " EXISTS (SELECT 1 FROM (SELECT 1 FROM outseal.parked WHERE subscription = $1"
        " ORDER BY subscription, seq LIMIT 1) p)"};

ParkedState look_at_parked(Connection& connection, std::string_view subscription) {
  const auto read = [](Columns& columns) {
    ParkedState state;
    columns >> state.open >> state.any;
    return state;
  };
  return find_row(connection, kLookAtParked, read, subscription).value();
}

// subscription, key, before seq
const Text kIsKeyBlocked{
    .name = "is_key_blocked",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM outseal_parked INDEXED BY outseal_parked_open"
        " WHERE subscription = ?1 AND key = ?2 AND seq < ?3"
        " AND state IN ('parked', 'queued'))",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.parked WHERE subscription = $1 AND key = $2"
        " AND seq < $3 AND state IN ('parked', 'queued'))"};

bool is_key_blocked(Connection& connection, std::string_view subscription, std::string_view key,
                    Seq before) {
  return get_value<bool>(connection, kIsKeyBlocked, subscription, key, before);
}

// subscription, seq, cause, reason, now. What stands behind only queued events of its key is queued
// with them: else it would be left alone when they are redriven.
const Text kParkEvent{
    .name = "park_event",
    .sqlite =
        "INSERT INTO outseal_parked (subscription, seq, event_id, topic, key, cause, reason,"
        " parked_at, state) SELECT ?1, o.seq, o.event_id, o.topic, o.key, ?3, ?4, ?5,"
        " CASE WHEN ?3 = 'refused' OR EXISTS (SELECT 1 FROM outseal_parked p"
        "  INDEXED BY outseal_parked_open WHERE p.subscription = ?1 AND p.key = o.key"
        "  AND p.seq < o.seq AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
        " THEN 'parked' ELSE 'queued' END"
        " FROM outseal_outbox o WHERE o.seq = ?2",
    .postgres =
        "INSERT INTO outseal.parked (subscription, seq, event_id, topic, key, cause, reason,"
        " parked_at, state) SELECT $1, o.seq, o.event_id, o.topic, o.key, $3, $4,"
        " to_timestamp($5::float8 / 1000),"
        " CASE WHEN $3 = 'refused' OR EXISTS (SELECT 1 FROM outseal.parked p"
        "  WHERE p.subscription = $1 AND p.key = o.key AND p.seq < o.seq"
        "  AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
        " THEN 'parked' ELSE 'queued' END"
        " FROM outseal.outbox o WHERE o.seq = $2"};

// subscription, seq, cause, reason, now. A queued event is set aside again.
const Text kParkAgain{
    .name = "park_again",
    .sqlite =
        "UPDATE outseal_parked SET state = 'parked', position = NULL, cause = ?3, reason = ?4,"
        " attempts = attempts + 1, parked_at = ?5 WHERE subscription = ?1 AND seq = ?2"
        " AND state IN ('queued', 'redriven')",
    .postgres =
        "UPDATE outseal.parked SET state = 'parked', position = NULL, cause = $3,"
        " reason = $4, attempts = attempts + 1, parked_at = to_timestamp($5::float8 / 1000)"
        " WHERE subscription = $1 AND seq = $2 AND state IN ('queued', 'redriven')"};

bool park_event(Connection& connection, std::string_view subscription, BatchKind from,
                const ParkedEntry& entry, std::int64_t now_ms) {
  return run(connection, from == BatchKind::log ? kParkEvent : kParkAgain, subscription, entry.seq,
             cause_of(entry), entry.reason, now_ms) == 1;
}

// subscription, seq, position
const Text kRedriveEvent{.name = "redrive_event",
                         .sqlite =
                             "UPDATE outseal_parked SET state = 'redriven', position = ?3"
                             " WHERE subscription = ?1 AND seq = ?2 AND state = 'queued'",
                         .postgres =
                             "UPDATE outseal.parked SET state = 'redriven', position = $3"
                             " WHERE subscription = $1 AND seq = $2 AND state = 'queued'"};

bool redrive_event(Connection& connection, std::string_view subscription, Seq seq,
                   Position position) {
  return run(connection, kRedriveEvent, subscription, seq, position) == 1;
}

// subscription, from position. Events that wait behind a parked one of their key stay parked.
const Text kUndoRedrive{
    .name = "undo_redrive",
    .sqlite =
        "UPDATE outseal_parked AS r SET position = NULL, state = CASE WHEN r.key <> ''"
        " AND EXISTS (SELECT 1 FROM outseal_parked p INDEXED BY outseal_parked_open"
        "  WHERE p.subscription = ?1 AND p.key = r.key AND p.seq < r.seq"
        "  AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
        " THEN 'parked' ELSE 'queued' END"
        " WHERE r.subscription = ?1 AND r.position >= ?2",
    .postgres =
        "UPDATE outseal.parked AS r SET position = NULL, state = CASE WHEN r.key <> ''"
        " AND EXISTS (SELECT 1 FROM outseal.parked p WHERE p.subscription = $1"
        "  AND p.key = r.key AND p.seq < r.seq"
        "  AND p.state IN ('parked', 'queued') AND p.state = 'parked')"
        " THEN 'parked' ELSE 'queued' END"
        " WHERE r.subscription = $1 AND r.position >= $2"};

void undo_redrive(Connection& connection, std::string_view subscription, Position first) {
  run(connection, kUndoRedrive, subscription, first);
}

// subscription, rows at most, cursor's seq. Not beyond the cursor: after a settlement it has gone
// back, and what it reads again goes first. Nor before a parked event of the same key.
const Text kReadQueued{
    .name = "read_queued",
    .sqlite = "SELECT " OUTSEAL_LITE_EVENT_COLUMNS
              " FROM outseal_parked p CROSS JOIN outseal_outbox o ON o.seq = p.seq"
              " WHERE p.subscription = ?1 AND p.state = 'queued' AND p.seq <= ?3"
              " AND (p.key = '' OR NOT EXISTS (SELECT 1 FROM outseal_parked e"
              "  INDEXED BY outseal_parked_open WHERE e.subscription = ?1 AND e.key = p.key"
              "  AND e.seq < p.seq AND e.state IN ('parked', 'queued') AND e.state = 'parked'))"
              " ORDER BY p.seq LIMIT ?2",
    .postgres = "SELECT " OUTSEAL_EVENT_COLUMNS
                " FROM outseal.parked p JOIN outseal.outbox o ON o.seq = p.seq"
                " WHERE p.subscription = $1 AND p.state = 'queued' AND p.seq <= $3"
                " AND (p.key = '' OR NOT EXISTS (SELECT 1 FROM outseal.parked e"
                "  WHERE e.subscription = $1 AND e.key = p.key AND e.seq < p.seq"
                "  AND e.state IN ('parked', 'queued') AND e.state = 'parked'))"
                " ORDER BY p.seq LIMIT $2"};

Statement& read_queued(Connection& connection, std::string_view subscription, std::size_t rows_max,
                       Seq up_to) {
  return bind_statement(connection, kReadQueued, subscription, rows_max, up_to);
}

// subscription, first position, last position
const Text kReadRedriven{
    .name = "read_redriven",
    .sqlite = "SELECT " OUTSEAL_LITE_EVENT_COLUMNS
              " FROM outseal_parked p CROSS JOIN outseal_outbox o ON o.seq = p.seq"
              " WHERE p.subscription = ?1 AND p.position BETWEEN ?2 AND ?3 ORDER BY p.position",
    .postgres = "SELECT " OUTSEAL_EVENT_COLUMNS
                " FROM outseal.parked p JOIN outseal.outbox o ON o.seq = p.seq"
                " WHERE p.subscription = $1 AND p.position BETWEEN $2 AND $3 ORDER BY p.position"};

Statement& read_redriven(Connection& connection, std::string_view subscription, Position first,
                         Position last) {
  return bind_statement(connection, kReadRedriven, subscription, first, last);
}

}  // namespace outseal::sql
