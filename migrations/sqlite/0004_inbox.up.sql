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
