-- The receiver's memory of what it has already taken in.
--
-- By id: any order, one row an event. Remembers until it is purged.
CREATE TABLE outseal_inbox (
  stream      TEXT    NOT NULL,
  event_id    TEXT    NOT NULL,
  received_at INTEGER NOT NULL,
  CONSTRAINT inbox_pk PRIMARY KEY (stream, event_id)
) WITHOUT ROWID;

CREATE INDEX outseal_inbox_received_at ON outseal_inbox (received_at);

-- By position: one row a stream, however many events. Takes position + 1 and nothing else.
CREATE TABLE outseal_inbox_position (
  stream        TEXT    NOT NULL,
  position      INTEGER NOT NULL DEFAULT 0,
  last_event_id TEXT    NOT NULL DEFAULT '',
  updated_at    INTEGER NOT NULL,
  CONSTRAINT inbox_position_pk PRIMARY KEY (stream),
  CONSTRAINT inbox_position_not_negative CHECK (position >= 0)
) WITHOUT ROWID;

-- The same for the relay's sink: where the events end that it has put into outseal_inbox_event.
CREATE TABLE outseal_inbox_tail (
  stream        TEXT    NOT NULL,
  position      INTEGER NOT NULL DEFAULT 0,
  last_event_id TEXT    NOT NULL DEFAULT '',
  updated_at    INTEGER NOT NULL,
  CONSTRAINT inbox_tail_pk PRIMARY KEY (stream),
  CONSTRAINT inbox_tail_not_negative CHECK (position >= 0)
) WITHOUT ROWID;

-- The events that the relay's sink has put here, as they stand in the sender's outbox. Positions of
-- a stream are dense from 1; the service may purge what it has taken.
--
-- WITHOUT ROWID: they are appended, read and removed in the order of the key, all of them in the
-- one tree, and the name of the stream stands in one index less.
CREATE TABLE outseal_inbox_event (
  stream       TEXT    NOT NULL,
  position     INTEGER NOT NULL,
  event_id     TEXT    NOT NULL,
  topic        TEXT    NOT NULL,
  key          TEXT    NOT NULL,
  type         TEXT    NOT NULL,
  content_type TEXT    NOT NULL,
  -- A JSON object, byte for byte as the sender's database gave it.
  headers      TEXT    NOT NULL,
  -- By the sender's clock.
  created_at   INTEGER NOT NULL,
  received_at  INTEGER NOT NULL,
  payload      BLOB    NOT NULL,
  CONSTRAINT inbox_event_pk PRIMARY KEY (stream, position),
  -- The position's row makes this true already; a second look, so that a fault is an error and not
  -- a second effect.
  CONSTRAINT inbox_event_id_unique UNIQUE (stream, event_id),
  CONSTRAINT inbox_event_position_positive CHECK (position >= 1)
) WITHOUT ROWID;

-- How far the service has taken them. A row of its own: while a service works, it holds this one
-- locked and the relay's is free.
CREATE TABLE outseal_inbox_cursor (
  stream     TEXT    NOT NULL,
  position   INTEGER NOT NULL DEFAULT 0,
  -- Where the last batch ends that was begun. Beyond position: that batch has failed, and its
  -- events are tried one by one.
  tried_to   INTEGER NOT NULL DEFAULT 0,
  updated_at INTEGER NOT NULL,
  CONSTRAINT inbox_cursor_pk PRIMARY KEY (stream),
  CONSTRAINT inbox_cursor_not_negative CHECK (position >= 0)
) WITHOUT ROWID;

-- Events whose handler was begun and has not finished, and events that were set aside: because they
-- failed too often, or behind such an event of their key. One that is finished has no row.
CREATE TABLE outseal_inbox_attempt (
  stream     TEXT    NOT NULL,
  event_id   TEXT    NOT NULL,
  -- Of an event in outseal_inbox_event; NULL for a message that came by other ways.
  position   INTEGER,
  key        TEXT    NOT NULL DEFAULT '',
  -- 'trying', 'parked', 'queued' (to be tried again), 'discarded'.
  state      TEXT    NOT NULL,
  -- 'failed' itself, or parked 'behind' one that did.
  cause      TEXT    NOT NULL DEFAULT 'failed',
  attempts   INTEGER NOT NULL DEFAULT 0,
  -- The attempt that was begun and has not been reported as failed; '' for none.
  attempt_id TEXT    NOT NULL DEFAULT '',
  reason     TEXT    NOT NULL DEFAULT '',
  changed_at INTEGER NOT NULL,
  CONSTRAINT inbox_attempt_pk PRIMARY KEY (stream, event_id),
  CONSTRAINT inbox_attempt_state_known
    CHECK (state IN ('trying', 'parked', 'queued', 'discarded')),
  CONSTRAINT inbox_attempt_cause_known CHECK (cause IN ('failed', 'behind')),
  CONSTRAINT inbox_attempt_not_negative CHECK (attempts >= 0),
  CONSTRAINT inbox_attempt_reason_short CHECK (length(reason) <= 1000)
) WITHOUT ROWID;

CREATE INDEX outseal_inbox_attempt_open ON outseal_inbox_attempt (stream, position)
  WHERE state IN ('parked', 'queued');
CREATE INDEX outseal_inbox_attempt_key ON outseal_inbox_attempt (stream, key, position)
  WHERE state IN ('parked', 'queued');

INSERT INTO outseal_schema_migration (version, name, checksum)
VALUES (4, 'inbox', '{checksum}');
