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

// The payload of the event `o`: its bytes, and how many they are without reading them. The database
// is in UTF-8, so a text has as many bytes as are published.
#define OUTSEAL_PAYLOAD "coalesce(convert_to(o.payload, 'UTF8'), o.payload_bytes)"
#define OUTSEAL_PAYLOAD_LENGTH "coalesce(octet_length(o.payload), octet_length(o.payload_bytes))"

// How many bytes the headers of the event `o` are as text; NULL if no constraint can have let them
// in, and they are not looked at.
#define OUTSEAL_HEADERS_LENGTH \
  "CASE WHEN pg_column_size(o.headers) <= 65600 THEN octet_length(o.headers::text) END"

// Columns of an event `o`, as sql/event_row.h reads them. Rows come all at once
// here, so large payloads and headers stay behind: they are NULL, and read one by one if their
// length allows.
#define OUTSEAL_EVENT_COLUMNS_UP_TO(bytes)                                                       \
  "o.seq, o.event_id, o.topic, o.key, o.type, CASE WHEN " OUTSEAL_HEADERS_LENGTH " <= " bytes    \
  " THEN o.headers END, CASE WHEN " OUTSEAL_PAYLOAD_LENGTH " <= " bytes " THEN " OUTSEAL_PAYLOAD \
  " END, o.content_type, o.created_at, " OUTSEAL_PAYLOAD_LENGTH ", " OUTSEAL_HEADERS_LENGTH
#define OUTSEAL_EVENT_COLUMNS OUTSEAL_EVENT_COLUMNS_UP_TO("2048")

// jit: its compilation costs more than any of these queries, and forbidden plans look dear to it.
#define OUTSEAL_PIN_INDEX                                                      \
  "set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)," \
  " set_config('enable_bitmapscan', 'off', true)"

#define OUTSEAL_PIN_ORDER                     \
  OUTSEAL_PIN_INDEX                           \
  ", set_config('enable_sort', 'off', true)," \
  " set_config('enable_incremental_sort', 'off', true)"

// How many transactions ago the outbox got its key. A dump gives a table its rows before its keys,
// so rows that are as old came with a whole restored schema, cursors and journal with them: their
// numbers of transactions mean what they meant. (Not to be told after 2^31 transactions.)
#define OUTSEAL_AGE_OF_KEY                   \
  "(SELECT age(c.xmin) FROM pg_constraint c" \
  " WHERE c.conrelid = 'outseal.outbox'::regclass AND c.contype = 'p')"

// Whether the event `o`, whose xmin is `writer`, was written by the transaction that it names, here
// or where it was restored from; and the whole number of `writer`.
#define OUTSEAL_WROTE_ITSELF(writer) \
  "(" writer " = o.tx::xid OR age(" writer ") >= " OUTSEAL_AGE_OF_KEY ")"
#define OUTSEAL_NUMBER_OF(writer) "(pg_current_xact_id()::text::bigint - age(" writer "))"

// What tells one run of a server from the next: a crash may have taken back transactions that were
// not flushed yet, and behind a pooler nobody would notice. As numbers: the text of a time depends
// on settings of the session, which may be somebody else's.
#define OUTSEAL_INCARNATION                                         \
  "concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),"  \
  " CASE WHEN current_setting('server_version_num')::int >= 150000" \
  " THEN extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()) END)"

// What an error's message holds when a statement refuses to run in another transaction than the one
// that it was meant for, when it would append behind events of others, and when a trigger has
// dropped a row. See refusal_of().
#define OUTSEAL_ANOTHER_TRANSACTION "outseal: another transaction"
#define OUTSEAL_OVERTAKEN "outseal: overtaken events"
#define OUTSEAL_DROPPED "outseal: dropped a row of "  // Then the table, then a space.

// A branch of a CASE whose value is of `type`: an error in any other transaction than `xid`.
// Nothing that stands behind such a statement in a pipeline runs, COMMIT least of all. Here and
// below the text of the error depends on the transaction, so that no planner evaluates its cast
// beforehand.
#define OUTSEAL_UNLESS_OWN(xid, type)                                              \
  "WHEN pg_current_xact_id() <> " xid "::xid8 THEN ('" OUTSEAL_ANOTHER_TRANSACTION \
  " ' || pg_current_xact_id()::text)::" type

// A branch of a CASE: an error unless the CTE `rows`, which ends with "RETURNING 1", has stored a
// row of `table`, or `count` rows. A trigger of somebody's may drop some without a word.
#define OUTSEAL_UNLESS_STORED(rows, table) \
  " WHEN NOT EXISTS (SELECT FROM " rows ")" OUTSEAL_THEN_DROPPED(table)
#define OUTSEAL_UNLESS_ALL_STORED(rows, count, table) \
  " WHEN (SELECT count(*) FROM " rows ") <> " count OUTSEAL_THEN_DROPPED(table)
#define OUTSEAL_THEN_DROPPED(table) \
  " THEN ('" OUTSEAL_DROPPED table " ' || pg_current_xact_id()::text)::boolean"

// `insert`, a text that ends behind an INSERT, and `unless`, one of the two above for "stored".
#define OUTSEAL_STORED(insert, unless) \
  "WITH stored AS (" insert " RETURNING 1) SELECT CASE" unless " END"
