// Pieces of SQL that statements of several areas share.
#pragma once

/// Whether the event `o` waits for the subscription `s`: it is neither in the snapshot whose events
/// are all acknowledged, parked or filtered out, nor in the part of the window above it that is.
#define OUTSEAL_WAITS                                                          \
  "(NOT pg_visible_in_snapshot(o.tx, s.acked_snap) AND NOT (s.snap_to IS NOT " \
  "NULL AND o.seq <= s.acked_seq AND pg_visible_in_snapshot(o.tx, s.snap_to)))"

/// The events `o` that may wait for the subscription `s`, as an index finds them: those of later
/// transactions, and those that were still running. Not from the oldest of these on: all that was
/// published beside a long transaction would be passed. Pairs are compared as in read_window_page.
#define OUTSEAL_MAY_WAIT                                                             \
  "(SELECT f.* FROM outseal.outbox f WHERE f.tx >= pg_snapshot_xmax(s.acked_snap)"   \
  " UNION ALL SELECT l.* FROM pg_snapshot_xip(s.acked_snap) AS late (tx) CROSS JOIN" \
  " LATERAL (SELECT e.* FROM outseal.outbox e WHERE (e.tx, e.seq) > (late.tx, 0)"    \
  "  AND (e.tx, e.seq) <= (late.tx, 9223372036854775807)) l) o"

// Columns of an event, in the order in which store/event_row.h takes them. Rows come all at once
// here, so large payloads stay behind: they are NULL, and read one by one.
#define OUTSEAL_EVENT_COLUMNS_UP_TO(bytes)                          \
  "o.seq, o.event_id, o.topic, o.key, o.type, o.headers, CASE WHEN" \
  " octet_length(o.payload) <= " bytes                              \
  " THEN o.payload END, o.content_type, "                           \
  "o.created_at"
#define OUTSEAL_EVENT_COLUMNS OUTSEAL_EVENT_COLUMNS_UP_TO("2048")

// What tells one run of a server from the next: a crash may have taken back transactions that were
// not flushed yet, and behind a pooler nobody would notice. As numbers: the text of a time depends
// on settings of the session, which may be somebody else's.
#define OUTSEAL_INCARNATION                                         \
  "concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),"  \
  " CASE WHEN current_setting('server_version_num')::int >= 150000" \
  " THEN extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()) END)"
