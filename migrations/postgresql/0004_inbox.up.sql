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

-- The same for the relay's sink: where the events end that it has put into outseal.inbox_event. A
-- table of its own, which no service can write: a relay whose tail somebody moves has to stop.
CREATE TABLE outseal.inbox_tail (
  stream        text        NOT NULL COLLATE "C",
  position      bigint      NOT NULL DEFAULT 0,
  last_event_id uuid,  -- NULL for none
  updated_at    timestamptz NOT NULL,
  CONSTRAINT inbox_tail_pk PRIMARY KEY (stream),
  CONSTRAINT inbox_tail_not_negative CHECK (position >= 0)
) WITH (
  fillfactor = 50
);

-- The events that the relay's sink has put here, as they stand in the sender's outbox. Positions of
-- a stream are dense from 1; the service may purge what it has taken.
CREATE TABLE outseal.inbox_event (
  position     bigint      NOT NULL,
  -- By the sender's clock.
  created_at   timestamptz NOT NULL,
  received_at  timestamptz NOT NULL,
  event_id     uuid        NOT NULL,
  stream       text        NOT NULL COLLATE "C",
  topic        text        NOT NULL COLLATE "C",
  key          text        NOT NULL COLLATE "C",
  type         text        NOT NULL COLLATE "C",
  content_type text        NOT NULL COLLATE "C",
  -- json, not jsonb: byte for byte as the sender's database gave it, so that what stands here can
  -- be compared with what was sent.
  headers      json        NOT NULL,
  payload      bytea       NOT NULL,
  CONSTRAINT inbox_event_pk PRIMARY KEY (stream, position),
  -- The position's row makes this true already; a second look, so that a fault is an error and not
  -- a second effect.
  CONSTRAINT inbox_event_id_unique UNIQUE (stream, event_id),
  CONSTRAINT inbox_event_position_positive CHECK (position >= 1)
) WITH (
  -- As for outseal.outbox, and for the same reasons: by a number of rows, not by a share.
  autovacuum_vacuum_insert_threshold = 50000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_analyze_threshold = 50000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_scale_factor = 0.05
);

-- How far the service has taken them. A row of its own: while a service works, it holds this one
-- locked and the relay's is free.
CREATE TABLE outseal.inbox_cursor (
  position   bigint      NOT NULL DEFAULT 0,
  -- Where the last batch ends that was begun. Beyond position: that batch has failed, and its
  -- events are tried one by one.
  tried_to   bigint      NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL,
  stream     text        NOT NULL COLLATE "C",
  CONSTRAINT inbox_cursor_pk PRIMARY KEY (stream),
  CONSTRAINT inbox_cursor_not_negative CHECK (position >= 0)
) WITH (
  -- Rewritten by each transaction of the service (HOT).
  fillfactor = 50
);

-- Events whose handler was begun and has not finished, and events that were set aside: because they
-- failed too often, or behind such an event of their key. One that is finished has no row.
CREATE TABLE outseal.inbox_attempt (
  stream     text        NOT NULL COLLATE "C",
  event_id   uuid        NOT NULL,
  -- Of an event in outseal.inbox_event; NULL for a message that came by other ways.
  position   bigint,
  key        text        NOT NULL COLLATE "C" DEFAULT '',
  -- 'trying', 'parked', 'queued' (to be tried again), 'discarded'.
  state      text        NOT NULL COLLATE "C",
  -- 'failed' itself, or parked 'behind' one that did.
  cause      text        NOT NULL COLLATE "C" DEFAULT 'failed',
  attempts   integer     NOT NULL DEFAULT 0,
  -- The attempt that was begun and has not been reported as failed; NULL for none.
  attempt_id uuid,
  reason     text        NOT NULL COLLATE "C" DEFAULT '',
  changed_at timestamptz NOT NULL,
  CONSTRAINT inbox_attempt_pk PRIMARY KEY (stream, event_id),
  CONSTRAINT inbox_attempt_state_known
    CHECK (state IN ('trying', 'parked', 'queued', 'discarded')),
  CONSTRAINT inbox_attempt_cause_known CHECK (cause IN ('failed', 'behind')),
  CONSTRAINT inbox_attempt_not_negative CHECK (attempts >= 0),
  CONSTRAINT inbox_attempt_reason_short CHECK (length(reason) <= 1000)
);

CREATE INDEX inbox_attempt_open ON outseal.inbox_attempt (stream, position)
  WHERE state IN ('parked', 'queued');
CREATE INDEX inbox_attempt_key ON outseal.inbox_attempt (stream, key, position)
  WHERE state IN ('parked', 'queued');

-- For whoever has just handled the event, in the same transaction.
CREATE FUNCTION outseal.finish_attempt(text, uuid) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM outseal.inbox_attempt WHERE stream = $1 AND event_id = $2
    AND state IN ('trying', 'queued', 'discarded') RETURNING 1
$$;
REVOKE ALL ON FUNCTION outseal.finish_attempt(text, uuid) FROM PUBLIC;

-- What a receiver forgets. Services have no DELETE on these tables, and so no LOCK. Times are
-- milliseconds since 1970; each function returns a row for every one that went.
CREATE FUNCTION outseal.purge_received(bigint, bigint) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  -- And attempts of messages that nobody sends any more; never one that was set aside.
  DELETE FROM outseal.inbox_attempt WHERE position IS NULL AND state IN ('trying', 'discarded')
    AND changed_at < to_timestamp($1::float8 / 1000);
  DELETE FROM outseal.inbox i USING (SELECT stream, event_id FROM outseal.inbox
    WHERE received_at < to_timestamp($1::float8 / 1000) ORDER BY received_at LIMIT $2) old
    WHERE i.stream = old.stream AND i.event_id = old.event_id RETURNING 1
$$;
REVOKE ALL ON FUNCTION outseal.purge_received(bigint, bigint) FROM PUBLIC;

-- Only what the service has taken, and nothing that was set aside and awaits a decision. Looks no
-- further than the rows that may go at once.
CREATE FUNCTION outseal.purge_taken(text, bigint, bigint) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  -- An attempt of an event that is taken is one that another worker overtook.
  DELETE FROM outseal.inbox_attempt WHERE stream = $1
    AND changed_at < to_timestamp($2::float8 / 1000) AND state IN ('trying', 'discarded')
    AND position <= (SELECT c.position FROM outseal.inbox_cursor c WHERE c.stream = $1);
  DELETE FROM outseal.inbox_event WHERE stream = $1 AND position = ANY (ARRAY (
    SELECT w.position FROM (SELECT e.position, e.received_at
      FROM outseal.inbox_event e WHERE e.stream = $1 AND e.position <= (SELECT c.position
        FROM outseal.inbox_cursor c WHERE c.stream = $1)
        AND NOT EXISTS (SELECT 1 FROM outseal.inbox_attempt a WHERE a.stream = $1
          AND a.position = e.position AND a.state IN ('parked', 'queued'))
      ORDER BY e.position LIMIT $3) w
    WHERE w.received_at < to_timestamp($2::float8 / 1000))) RETURNING 1
$$;
REVOKE ALL ON FUNCTION outseal.purge_taken(text, bigint, bigint) FROM PUBLIC;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (4, 'inbox', '{checksum}');
