// Every statement that outseal runs, by name. The texts live in <dialect>/query.cc and nowhere
// else.
#pragma once

#include <cstddef>
#include <string_view>

namespace outseal::sql {

/// The parameters of each query, in order, and its columns are written beside its text.
enum class Query : std::size_t {
  // The service: outbox and idempotency.
  append_event,
  append_events,
  restore_events,
  find_operation,
  claim_operation,
  wait_for_lock,
  lock_operation,
  complete_operation,
  insert_operation,
  delete_expired_operation,
  purge_operations,
  savepoint,
  rollback_to_savepoint,
  release_savepoint,

  // The relay: subscriptions, lease and journal.
  insert_subscription,
  redeclare_subscription,
  oldest_event,
  find_start,
  find_subscription,
  acquire_lease,
  read_subscription,
  renew_lease,
  release_lease,
  read_log,
  read_log_range,
  source_state,
  read_window,
  window_bounds,
  read_window_page,
  read_window_range,
  read_payload,
  read_queued,
  read_redriven,
  excluded_seqs,
  any_open_parked,
  is_key_blocked,
  find_journal,
  previous_chain,
  insert_journal,
  acknowledge_journal,
  advance_subscription,
  bind_batch,
  acknowledge_subscription,
  trim_journal,
  delete_journal,
  settle_subscription,
  park_event,
  park_again,
  redrive_event,
  undo_redrive,

  // After a failover or restore (PostgreSQL).
  log_is_ahead,
  prepared_appender,
  own_transaction,
  lowest_unpublished,
  note_published,
  forget_windows,
  translate_subscription,
  restamp_outbox,
  list_subscriptions,
  note_rebased,
  delete_pending_journal,
  insert_rebased,
  rebase_subscription,
  reanchor_subscription,

  // Retention.
  delete_published,
  delete_journal_before,

  // --- appended by area ---

  // The reconciler: runs, findings, and what its checks read.
  list_open_runs,
  insert_run,
  finish_run,
  find_finding,
  insert_finding,
  see_finding,
  list_findings_unseen,
  close_finding,
  count_findings,
  list_findings,
  read_finding,
  decide_finding,
  list_checked_subscriptions,
  list_topics,
  list_open_operations,
  list_outcomes,
  list_parked_keys,
  end_of_page,
  count_waiting,
  journal_state,
  list_journal,
  journal_start,
  list_range_ids,
  list_redriven_ids,
  list_redriven_keys,

  // The operator: migrations, audit trail, status, parked events.
  create_schema,
  create_migration_table,
  has_migration_table,
  list_migrations,
  insert_migration,
  delete_migration,
  take_turns,
  lock_subscription,
  lock_outbox,
  is_database_empty,
  journal_mode,
  set_write_ahead_log,
  any_event,
  any_unpublished,
  any_live_operation,
  last_audit_hash,
  insert_audit,
  read_audit,
  read_status,
  list_parked,
  find_parked,
  parked_before,
  queue_one,
  queue_behind_one,
  queue_all,
  discard_one,
  discard_refused,
  pause_subscription,
  resume_subscription,

  // The inbox: what a receiver remembers, and the sink that fills it.
  receive_event,
  receive_position,
  insert_inbox_position,
  read_inbox_position,
  lock_inbox_position,
  lock_inbox_cursor,
  insert_inbox_cursor,
  move_inbox_cursor,
  read_inbox,
  purge_received,
  purge_taken,
  inbox_trouble,
  move_inbox_tail,
  insert_inbox_event,
  append_inbox,
  read_inbox_page,
  read_inbox_payload,
  lock_inbox,
  any_received,

  count_,
};

inline constexpr std::size_t kQueryCount = static_cast<std::size_t>(Query::count_);

/// The text of `query` in `dialect`.
std::string_view text(std::string_view dialect, Query query);

namespace sqlite {
/// The text of `query` in SQLite's dialect.
std::string_view text(Query query);
/// The reconciler's part of text(); empty for the other queries.
std::string_view reconcile_text(Query query);
/// The operator's part of text(); empty for the other queries.
std::string_view operate_text(Query query);
/// The inbox's part of text(); empty for the other queries.
std::string_view inbox_text(Query query);
}  // namespace sqlite

namespace postgres {
/// As in sqlite, in PostgreSQL's dialect.
std::string_view text(Query query);
std::string_view reconcile_text(Query query);
std::string_view operate_text(Query query);
std::string_view inbox_text(Query query);
/// What only PostgreSQL has: windows of snapshots, and cursors bound anew.
std::string_view window_text(Query query);
}  // namespace postgres

}  // namespace outseal::sql
