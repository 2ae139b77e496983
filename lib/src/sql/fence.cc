#include "sql/fence.h"

#include <string>

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

Position last_bound(const Batch& batch) {
  return batch.entries.empty() ? batch.prior.position : batch.last();
}

/// Up to here everything is acknowledged, parked or filtered out once `batch` is bound.
const Cursor& acked_cursor(const Batch& batch) {
  return batch.entries.empty() ? batch.to : batch.from;
}

}  // namespace

// name, epoch, version, after seq, bound, chain hash, lease until, now, acked seq, snap from, snap
// to, acked snap, incarnation of the server that the page was read from
const Text kAdvanceSubscription{
    .name = "advance_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET version = version + 1, after_seq = ?4,"
        " bound_position = ?5, chain_hash = ?6, lease_until = ?7, updated_at = ?8,"
        " acked_seq = ?9, snap_from = ?10, snap_to = ?11, acked_snap = ?12"
        " WHERE name = ?1 AND epoch = ?2 AND version = ?3 AND ?13 = ''",
    .postgres =
        "UPDATE outseal.subscription SET version = version + 1, after_seq = $4,"
        " bound_position = $5, chain_hash = $6, lease_until = to_timestamp($7::float8 / 1000),"
        " updated_at = to_timestamp($8::float8 / 1000), acked_seq = $9, snap_from = $10,"
        " snap_to = $11, acked_snap = $12 WHERE name = $1 AND epoch = $2 AND version = $3"
        " AND $13 IN ('', " OUTSEAL_INCARNATION ")"};

bool advance_subscription(Connection& connection, const Fence& fence, const Batch& batch,
                          std::string_view chain_hash, std::string_view incarnation) {
  const Cursor& acked = acked_cursor(batch);
  return run(connection, kAdvanceSubscription, fence.subscription, fence.epoch, fence.version,
             batch.to.after_seq, last_bound(batch), Bytes{chain_hash}, fence.lease_until_ms,
             fence.now_ms, acked.inside_seq(), NullIfEmpty{batch.to.snap_from},
             NullIfEmpty{batch.to.snap_to}, NullIfEmpty{acked.snap_from}, incarnation) == 1;
}

// as advance_subscription, then acked position or NULL, acked id or NULL, first position and mark
// of the batch that this acknowledges, then of the new batch: first, count, last id, hash, from
// seq, snap from, snap to. Intent and acknowledgement as one statement, in one round trip; inserts
// one row if the compare-and-set succeeds, else changes nothing.
const Text kBindBatch{
    .name = "bind_batch",
    .postgres =
        "WITH moved AS (UPDATE outseal.subscription SET version = version + 1,"
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
        " to_timestamp($8::float8 / 1000), $23, $24 FROM moved",
    .setting = {"set_config('synchronous_commit', 'on', true),"
                " set_config('lock_timeout', '4s', true)",
                true}};

bool bind_batch(Connection& connection, const Fence& fence, const Batch& batch,
                std::string_view chain_hash, const std::optional<Ack>& ack,
                std::string_view incarnation) {
  const Cursor& acked = acked_cursor(batch);
  std::optional<Position> acked_position;
  std::optional<std::string> acked_id;
  std::optional<Position> acked_first;
  std::optional<std::string_view> mark;
  if (ack) {
    acked_position = ack->tail.position;
    acked_id = ack->tail.event_id.to_string();
    acked_first = ack->first;
    mark = ack->mark;
  }
  return run(connection, kBindBatch, fence.subscription, fence.epoch, fence.version,
             batch.to.after_seq, last_bound(batch), Bytes{chain_hash}, fence.lease_until_ms,
             fence.now_ms, acked.inside_seq(), NullIfEmpty{batch.to.snap_from},
             NullIfEmpty{batch.to.snap_to}, NullIfEmpty{acked.snap_from}, incarnation,
             acked_position, acked_id, acked_first, mark, batch.first, batch.size(),
             batch.entries.back().id.to_string(), Bytes{batch.hash}, batch.from.inside_seq(),
             NullIfEmpty{batch.from.snap_from}, NullIfEmpty{batch.to.window_end()}) == 1;
}

// name, epoch, version, acked position, acked id, lease until, now. Nothing is in flight then, so
// all that the cursor has passed is acknowledged, parked or filtered out.
const Text kAcknowledgeSubscription{
    .name = "acknowledge_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET version = version + 1, acked_position = ?4,"
        " acked_event_id = ?5, lease_until = ?6, updated_at = ?7, acked_seq = after_seq"
        " WHERE name = ?1 AND epoch = ?2 AND version = ?3",
    .postgres =
        "UPDATE outseal.subscription SET version = version + 1, acked_position = $4,"
        " acked_event_id = $5, lease_until = to_timestamp($6::float8 / 1000),"
        " updated_at = to_timestamp($7::float8 / 1000),"
        " acked_seq = CASE WHEN snap_to IS NULL THEN 0 ELSE after_seq END,"
        " acked_snap = snap_from WHERE name = $1 AND epoch = $2 AND version = $3"};

bool acknowledge_subscription(Connection& connection, const Fence& fence, const Tail& tail) {
  return run(connection, kAcknowledgeSubscription, fence.subscription, fence.epoch, fence.version,
             tail.position, tail.event_id.to_string(), fence.lease_until_ms, fence.now_ms) == 1;
}

// name, epoch, version, after seq, bound = acked, acked id or '', chain hash, lease until, now,
// snap from, snap to
const Text kSettleSubscription{
    .name = "settle_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET version = version + 1, after_seq = ?4,"
        " acked_seq = ?4, bound_position = ?5, acked_position = ?5, acked_event_id = ?6,"
        " chain_hash = ?7, lease_until = ?8, updated_at = ?9, snap_from = ?10, snap_to = ?11"
        " WHERE name = ?1 AND epoch = ?2 AND version = ?3",
    .postgres =
        "UPDATE outseal.subscription SET version = version + 1, after_seq = $4,"
        " acked_seq = $4, bound_position = $5, acked_position = $5,"
        " acked_event_id = nullif($6, '')::uuid, chain_hash = $7,"
        " lease_until = to_timestamp($8::float8 / 1000),"
        " updated_at = to_timestamp($9::float8 / 1000), snap_from = $10::pg_snapshot,"
        " acked_snap = $10::pg_snapshot, snap_to = $11"
        " WHERE name = $1 AND epoch = $2 AND version = $3"};

bool settle_subscription(Connection& connection, const Fence& fence, const Cursor& next,
                         const Tail& tail, std::string_view chain_hash) {
  return run(connection, kSettleSubscription, fence.subscription, fence.epoch, fence.version,
             next.after_seq, tail.position, id_text(tail.event_id), Bytes{chain_hash},
             fence.lease_until_ms, fence.now_ms, NullIfEmpty{next.snap_from},
             NullIfEmpty{next.snap_to}) == 1;
}

}  // namespace outseal::sql
