-- The schema `outseal` and its table schema_migration are made before the first migration.
--
-- All columns of names and keys have the collation "C": they compare byte by byte as on SQLite, at
-- no cost, and an upgrade of the system's locales cannot spoil their indexes.

-- UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, version, random bits, variant, random
-- bits. A random UUID gets the time over its first 6 bytes; setting bits 52 and 53 makes version 7
-- of its version 4. One expression, so that it is inlined where it is the default of a column.
CREATE FUNCTION outseal.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
  SELECT encode(set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send(floor(date_part('epoch', clock_timestamp()) * 1000)::bigint)
                              FROM 3)
            FROM 1 FOR 6),
    52, 1), 53, 1), 'hex')::uuid
$$;
REVOKE ALL ON FUNCTION outseal.uuid_v7() FROM PUBLIC;

-- What a column of the outbox may hold. Every append pays for these checks, so they are cheap ones,
-- and they are domains: a session keeps a domain's check ready, while a table's is read anew by
-- each INSERT, at about two microseconds a piece. A negated set needs no counting automaton.
CREATE DOMAIN outseal.topic AS text COLLATE "C" CONSTRAINT outbox_topic_valid CHECK (
  octet_length(VALUE) BETWEEN 1 AND 255 AND VALUE !~ '[^A-Za-z0-9._/-]');
CREATE DOMAIN outseal.ordering_key AS text COLLATE "C" CONSTRAINT outbox_key_length CHECK (
  octet_length(VALUE) <= 512);
CREATE DOMAIN outseal.event_type AS text COLLATE "C" CONSTRAINT outbox_type_length CHECK (
  octet_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN outseal.content_type AS text COLLATE "C"
  CONSTRAINT outbox_content_type_length CHECK (octet_length(VALUE) BETWEEN 1 AND 255);
-- The datum's size bounds the headers without printing them.
CREATE DOMAIN outseal.headers AS jsonb CONSTRAINT outbox_headers_is_object CHECK (
  jsonb_typeof(VALUE) = 'object' AND pg_column_size(VALUE) <= 65536);
-- Milliseconds since 1970 up to the year 9999; no infinity.
CREATE DOMAIN outseal.event_time AS timestamptz CONSTRAINT outbox_created_at_ms CHECK (
  VALUE >= '1970-01-01 00:00:00.001+00' AND VALUE < '10000-01-01 00:00:00+00');

-- The outbox: an append-only log of events, written inside the transactions that they tell of.
--
-- Any program may be a producer: outseal.append(...), or INSERT INTO outseal.outbox (topic, key,
-- type, payload) VALUES (...); the defaults fill the rest. Only the relay's retention deletes rows.
--
-- Columns of 8 bytes stand first, then the 16 of the id, then those of any length: no byte is lost
-- to alignment, and the payload, which may be large, is in nobody's way.
CREATE TABLE outseal.outbox (
  -- The transaction that appends. The order of seq is not the order of commits, so the relay reads
  -- the difference of two snapshots: which transactions are visible in the later one only.
  tx           xid8        NOT NULL DEFAULT pg_current_xact_id(),
  -- Order within such a window. A producer draws it while it holds the lock that orders its key; a
  -- larger cache would give numbers out earlier, in another order. Gaps are fine.
  seq          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
  -- By the clock at the INSERT; now() is the begin of the transaction, which may be long ago.
  created_at   outseal.event_time NOT NULL DEFAULT clock_timestamp(),
  event_id     uuid        NOT NULL DEFAULT outseal.uuid_v7(),
  topic        outseal.topic NOT NULL,
  -- Ordering key; the empty string means that the event has no order.
  key          outseal.ordering_key NOT NULL DEFAULT '',
  type         outseal.event_type NOT NULL,
  content_type outseal.content_type NOT NULL DEFAULT 'application/json',
  -- Metadata as one flat JSON object of strings. Its text form is what is published, the same at
  -- each reading.
  headers      outseal.headers NOT NULL DEFAULT '{}',
  payload      bytea       NOT NULL,
  CONSTRAINT outbox_pk PRIMARY KEY (seq),
  -- One event per id: promise 2 ("once per ID") starts here. UUIDv7 grows, so that this index grows
  -- at its right end, as the other two do: few pages are written, whatever the table's size.
  CONSTRAINT outbox_event_id_unique UNIQUE (event_id)
) WITH (
  -- By a number of rows, not by a share of the table: at the head of the log the pages soon count
  -- as all visible, so that the bounds of a window are read off the index alone, and the statistics
  -- know of a backlog while it builds up. A vacuum after plain inserts passes over the indexes.
  autovacuum_vacuum_insert_threshold = 50000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_analyze_threshold = 50000,
  autovacuum_analyze_scale_factor = 0,
  -- What retention has deleted is soon reused.
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_scale_factor = 0.05
);

-- A window's rows: by range of transactions, and by one probe for each that was still running.
CREATE INDEX outbox_tx_seq ON outseal.outbox (tx, seq);

-- Appends one event in the caller's transaction and returns its id; without an event_id it makes a
-- UUIDv7. Without a content_type it is application/json, as in a plain INSERT and in append() of
-- C++. No RETURNING: a producer need not be allowed to read the outbox.
--
-- With the caller's rights and the caller's search_path: every name is qualified.
CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload bytea, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
AS $$
DECLARE
  id CONSTANT uuid := coalesce(append.event_id, outseal.uuid_v7());
BEGIN
  INSERT INTO outseal.outbox (event_id, topic, key, type, content_type, headers, payload)
  VALUES (id, append.topic, append.key, append.type,
          coalesce(append.content_type, 'application/json'), append.headers, append.payload);
  RETURN id;
END
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, bytea, jsonb, uuid, text) FROM PUBLIC;

-- The same for text: its bytes in UTF-8, whatever the encoding of the database. An untyped literal
-- or parameter means this one, so a driver that binds bytes has to say so: $4::bytea.
CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload text, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY INVOKER
AS $$
  SELECT outseal.append(topic, key, type, convert_to(payload, 'UTF8'), headers, event_id,
                        content_type)
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, text, jsonb, uuid, text) FROM PUBLIC;

-- The same for a JSON value, in the text form that PostgreSQL gives it.
CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload jsonb, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY INVOKER
AS $$
  SELECT outseal.append(topic, key, type, convert_to(payload::text, 'UTF8'), headers, event_id,
                        content_type)
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, jsonb, jsonb, uuid, text) FROM PUBLIC;
