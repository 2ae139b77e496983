#include "sql/turn.h"

#include "sql/typed.h"

namespace outseal::sql {
namespace {

LockHolder read_holder(Columns& columns) {
  LockHolder holder;
  columns >> holder.process >> holder.user >> holder.application >> holder.prepared >> holder.table;
  return holder;
}

}  // namespace

const Text kLockTurn{.name = "lock_turn", .postgres = "SELECT 1 FROM outseal.turn FOR UPDATE"};

bool lock_turn(Connection& connection) { return Bound{connection, kLockTurn}.step(); }

const Text kLockMigrations{
    .name = "lock_migrations",
    .postgres = "LOCK TABLE outseal.schema_migration IN SHARE ROW EXCLUSIVE MODE"};

void lock_migrations(Connection& connection) { run(connection, kLockMigrations); }

const Text kLockOutbox{.name = "lock_outbox",
                       .postgres = "LOCK TABLE outseal.outbox IN ACCESS EXCLUSIVE MODE"};

void lock_outbox_table(Connection& connection) { run(connection, kLockOutbox); }

// weakest lock that is in the way: 1 to 8 as listed, table or '' for all of them
const Text kFindLockHolder{
    .name = "find_lock_holder",
    .postgres =
        "SELECT a.pid, coalesce(a.usename, p.owner)::text, a.application_name, p.gid,"
        " c.relname::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " AND c.relnamespace = to_regnamespace('outseal')"
        " LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
        // One that is prepared keeps the name that it had in its session, up to a restart.
        " LEFT JOIN (pg_prepared_xacts p JOIN pg_locks t ON t.transactionid = p.transaction"
        "  AND t.pid IS NULL) ON l.pid IS NULL AND t.virtualtransaction = l.virtualtransaction"
        " CROSS JOIN LATERAL (SELECT array_position(ARRAY['AccessShareLock', 'RowShareLock',"
        "  'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',"
        "  'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'], l.mode)) m (rank)"
        " WHERE l.granted AND c.relkind = 'r' AND l.pid IS DISTINCT FROM pg_backend_pid()"
        " AND (a.pid IS NOT NULL OR p.gid IS NOT NULL)"
        " AND m.rank >= $1 AND $2 IN ('', c.relname::text)"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " ORDER BY p.gid IS NULL, EXISTS (SELECT 1 FROM pg_locks w WHERE w.pid = l.pid"
        "  AND NOT w.granted), m.rank DESC, a.xact_start LIMIT 1"};

std::optional<LockHolder> find_lock_holder(Connection& connection, WeakestLock weakest,
                                           std::string_view table) {
  return find_row(connection, kFindLockHolder, read_holder, static_cast<std::int64_t>(weakest),
                  table);
}

// As find_lock_holder.
const Text kFindTurnHolder{
    .name = "find_turn_holder",
    .postgres =
        "SELECT a.pid, coalesce(a.usename, p.owner)::text, a.application_name, p.gid, 'turn'"
        " FROM outseal.turn t JOIN pg_locks l ON l.transactionid = t.xmax AND l.granted"
        " AND l.mode = 'ExclusiveLock' LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
        " LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND p.transaction = l.transactionid"
        " LIMIT 1"};

std::optional<LockHolder> find_turn_holder(Connection& connection) {
  return find_row(connection, kFindTurnHolder, read_holder);
}

}  // namespace outseal::sql
