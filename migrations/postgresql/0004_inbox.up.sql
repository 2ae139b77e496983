-- The receiver's memory of what it has already taken in.
--
-- By id: any order, one row an event. Remembers until it is purged.
CREATE TABLE outseal.inbox (
  stream      text        NOT NULL COLLATE "C",
  event_id    uuid        NOT NULL,
  received_at timestamptz NOT NULL,
  CONSTRAINT inbox_pk PRIMARY KEY (stream, event_id)
);

CREATE INDEX inbox_received_at ON outseal.inbox (received_at);

-- By position: one row a stream, however many events. Takes position + 1 and nothing else.
CREATE TABLE outseal.inbox_position (
  stream        text        NOT NULL COLLATE "C",
  position      bigint      NOT NULL DEFAULT 0,
  last_event_id uuid,  -- NULL for none
  updated_at    timestamptz NOT NULL,
  CONSTRAINT inbox_position_pk PRIMARY KEY (stream),
  CONSTRAINT inbox_position_not_negative CHECK (position >= 0)
) WITH (
  -- Rewritten by each batch, as outseal.subscription is, and for the same reason (HOT).
  fillfactor = 50
);
