-- The outbox: an append-only log of events, written inside the transactions that they tell of.
--
-- Any program may be a producer: INSERT INTO outseal_outbox (topic, key, type, payload)
-- VALUES (...) is enough, the defaults fill the rest. Only the relay's retention deletes rows.
CREATE TABLE outseal_outbox (
  -- AUTOINCREMENT, not a plain rowid: numbers are never reused, and as SQLite has one writer at a
  -- time their order is the order of commits. The relay's cursor rests on both.
  seq          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  -- UUID in canonical lower-case text. The default is a UUIDv7 (RFC 9562, section 5.7): 48 bits of
  -- milliseconds, version, random bits, variant, random bits.
  event_id     TEXT    NOT NULL DEFAULT (
    substr(printf('%012x', CAST(strftime('%s', 'now') AS INTEGER) * 1000
                           + CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER)), 1, 8) || '-' ||
    substr(printf('%012x', CAST(strftime('%s', 'now') AS INTEGER) * 1000
                           + CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER)), 9, 4) || '-7' ||
    substr(lower(hex(randomblob(2))), 2, 3) || '-' ||
    substr('89ab', 1 + (random() & 3), 1) || substr(lower(hex(randomblob(2))), 2, 3) || '-' ||
    lower(hex(randomblob(6)))),
  topic        TEXT    NOT NULL,
  -- Ordering key; the empty string means that the event has no order.
  key          TEXT    NOT NULL DEFAULT '',
  type         TEXT    NOT NULL,
  -- Metadata as one flat JSON object of strings.
  headers      TEXT    NOT NULL DEFAULT '{}',
  payload      BLOB    NOT NULL,
  content_type TEXT    NOT NULL DEFAULT 'application/json',
  -- Milliseconds since 1970 UTC, by the clock at the INSERT.
  created_at   INTEGER NOT NULL DEFAULT (
    CAST(strftime('%s', 'now') AS INTEGER) * 1000
    + CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER)),
  -- One event per id: promise 2 ("once per ID") starts here.
  CONSTRAINT outbox_event_id_unique UNIQUE (event_id),
  -- A column of TEXT keeps a blob that is bound to it, and a blob equals no text: a key bound as
  -- bytes would be another key than the same one bound as text.
  CONSTRAINT outbox_text_is_text CHECK (
    typeof(topic) = 'text' AND typeof(key) = 'text' AND typeof(type) = 'text'
    AND typeof(headers) = 'text' AND typeof(content_type) = 'text'),
  CONSTRAINT outbox_event_id_is_uuid CHECK (
    event_id GLOB '????????-????-????-????-????????????'
    AND length(replace(event_id, '-', '')) = 32 AND event_id NOT GLOB '*[^0-9a-f-]*'),
  CONSTRAINT outbox_topic_valid CHECK (
    length(topic) BETWEEN 1 AND 255 AND topic NOT GLOB '*[^A-Za-z0-9._/-]*'),
  CONSTRAINT outbox_key_length CHECK (length(CAST(key AS BLOB)) <= 512),
  CONSTRAINT outbox_type_length CHECK (length(CAST(type AS BLOB)) BETWEEN 1 AND 255),
  CONSTRAINT outbox_headers_is_object CHECK (
    length(CAST(headers AS BLOB)) <= 65536 AND json_valid(headers)
    AND json_type(headers) = 'object'),
  CONSTRAINT outbox_content_type_length CHECK (length(content_type) BETWEEN 1 AND 255),
  -- Milliseconds up to the year 9999: microseconds by mistake are refused.
  CONSTRAINT outbox_created_at_ms CHECK (
    typeof(created_at) = 'integer' AND created_at BETWEEN 1 AND 253402300799999)
);
