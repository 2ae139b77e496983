// Pieces of SQLite's SQL that statements of several areas share.
#pragma once

// Columns of an event `o`, as sql/event_row.h reads them: the payload, or NULL if it is to be read
// apart; its length, or NULL if that has to be asked for apart. The length of a text is not known
// without reading it. Headers that no constraint can have let in are NULL, and so is their length;
// others are never read apart.
#define OUTSEAL_LITE_EVENT_COLUMNS_WITH(texts)                                               \
  "o.seq, o.event_id, o.topic, o.key, o.type, CASE WHEN length(o.headers) <= 65536"          \
  " THEN o.headers END, CASE WHEN CASE typeof(o.payload) WHEN 'blob' THEN length(o.payload)" \
  " <= 65536 ELSE " texts                                                                    \
  " END THEN o.payload END, o.content_type, o.created_at,"                                   \
  " CASE typeof(o.payload) WHEN 'blob' THEN length(o.payload) END, NULL"
#define OUTSEAL_LITE_EVENT_COLUMNS OUTSEAL_LITE_EVENT_COLUMNS_WITH("0")

#define OUTSEAL_LITE_NOW_MS "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
// Milliseconds since 1970 UTC; the same clock as Connection::now_ms().
#define OUTSEAL_LITE_NOW                            \
  "CAST(strftime('%s', 'now') AS INTEGER) * 1000 +" \
  " CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER)"
