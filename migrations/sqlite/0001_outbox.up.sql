-- Which migrations are applied. Each file notes itself, whatever program runs it. The build puts
-- its checksum, the SHA-256 of the file as it stands here, in place of {checksum}: a file that was
-- edited before it was applied is refused.
CREATE TABLE IF NOT EXISTS outseal_schema_migration (
  version    INTEGER NOT NULL,
  name       TEXT    NOT NULL,
  checksum   TEXT    NOT NULL,
  -- Milliseconds since 1970 UTC.
  applied_at INTEGER NOT NULL DEFAULT (
    CAST(strftime('%s', 'now') AS INTEGER) * 1000
    + CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER)),
  applied_by TEXT    NOT NULL DEFAULT 'another program',
  CONSTRAINT schema_migration_pk PRIMARY KEY (version)
);

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
    printf('%08x-%04x-7%03x-%04x-%012x',
      CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) >> 16,
      CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) & 0xffff,
      random() & 0xfff, 0x8000 | (random() & 0x3fff), random() & 0xffffffffffff)),
  topic        TEXT    NOT NULL,
  -- Ordering key; the empty string means that the event has no order.
  key          TEXT    NOT NULL DEFAULT '',
  type         TEXT    NOT NULL,
  -- Metadata as one flat JSON object of strings. The check looks at braces only: with
  -- trusted_schema=OFF, which sqlite.org recommends, a schema may not call JSON functions. The
  -- relay parks what is no such object.
  headers      TEXT    NOT NULL DEFAULT '{}',
  -- Text or bytes, as it is given. Text is published in UTF-8.
  payload      BLOB    NOT NULL,
  content_type TEXT    NOT NULL DEFAULT 'application/json',
  -- Milliseconds since 1970 UTC, by the clock at the INSERT.
  created_at   INTEGER NOT NULL DEFAULT (
    CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
  -- One event per id: promise 2 ("once per ID") starts here.
  CONSTRAINT outbox_event_id_unique UNIQUE (event_id),
  -- Fails in the trigger below, and nowhere else.
  CONSTRAINT outbox_event_is_never_replaced CHECK (seq <> -2),
  -- A cursor begins at 0 and would never see the others.
  CONSTRAINT outbox_seq_positive CHECK (seq > 0),
  -- A column of TEXT keeps a blob that is bound to it, and a blob equals no text: a key bound as
  -- bytes would be another key than the same one bound as text. Every text is less than every blob.
  CONSTRAINT outbox_text_is_text CHECK (
    event_id < x'' AND topic < x'' AND key < x'' AND type < x'' AND headers < x''
    AND content_type < x''),
  -- length(), GLOB and many programs see nothing of a text behind a NUL.
  CONSTRAINT outbox_text_has_no_nul CHECK (
    instr(event_id || topic || key || type || headers || content_type, x'00') = 0),
  CONSTRAINT outbox_event_id_is_uuid CHECK (
    event_id GLOB '[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]-' ||
      '[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-' ||
      '[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]' ||
      '[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'),
  CONSTRAINT outbox_topic_valid CHECK (
    length(topic) BETWEEN 1 AND 255 AND topic NOT GLOB '*[^A-Za-z0-9._/-]*'),
  CONSTRAINT outbox_key_length CHECK (length(CAST(key AS BLOB)) <= 512),
  CONSTRAINT outbox_type_length CHECK (length(CAST(type AS BLOB)) BETWEEN 1 AND 255),
  CONSTRAINT outbox_headers_is_object CHECK (
    length(CAST(headers AS BLOB)) <= 65536 AND headers GLOB '{*}'),
  CONSTRAINT outbox_content_type_length CHECK (length(content_type) BETWEEN 1 AND 255),
  -- Milliseconds up to the year 9999: microseconds by mistake are refused.
  CONSTRAINT outbox_created_at_ms CHECK (
    typeof(created_at) = 'integer' AND created_at BETWEEN 1 AND 253402300799999)
);

-- A number that is given by hand may lie behind a cursor: nobody would ever read the event. NEW.seq
-- is -1 where SQLite draws it (-1 by hand fails the check). Restores and table rebuilds make
-- triggers after the rows.
--
-- INSERT OR REPLACE with the id of an event would delete that row and append another one, which is
-- published again. The UPDATE has the conflict clause of the INSERT that fires it: OR REPLACE fails
-- the check, and what is no more than a used id goes on to where that is refused, or ignored.
-- Source: sqlite.org, "ON CONFLICT" in CREATE TRIGGER.
CREATE TRIGGER outseal_outbox_insert BEFORE INSERT ON outseal_outbox
WHEN NEW.seq <> -1 OR EXISTS (SELECT 1 FROM outseal_outbox WHERE event_id = NEW.event_id)
BEGIN
  SELECT RAISE(ABORT, 'outseal: the number of an event is not given by hand: leave seq out')
    WHERE NEW.seq <> -1;
  UPDATE OR IGNORE outseal_outbox SET seq = -2 WHERE event_id = NEW.event_id;
END;

INSERT INTO outseal_schema_migration (version, name, checksum)
VALUES (1, 'outbox', '{checksum}');
