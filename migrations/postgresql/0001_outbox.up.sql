-- All columns of names and keys have the collation "C": they compare byte by byte as on SQLite, at
-- no cost, and an upgrade of the system's locales cannot spoil their indexes.
--
-- Functions do not trust the caller's search_path: whatever stands in them has its schema before
-- it. ("SET search_path" would do as well, at the price of some microseconds a call.)

DO $$
DECLARE
  owner pg_catalog.name;
BEGIN
  IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
    RAISE EXCEPTION 'the encoding of this database is %, outseal needs UTF8',
      pg_catalog.getdatabaseencoding()
      USING ERRCODE = 'feature_not_supported',
            HINT = 'CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0';
  END IF;
  -- IF NOT EXISTS would want the privilege to create schemas although there is nothing to create.
  IF pg_catalog.to_regnamespace('outseal') IS NULL THEN
    CREATE SCHEMA outseal;
  END IF;
  -- Who owns a schema may put things into it that run with the rights of the user who migrates.
  SELECT pg_catalog.pg_get_userbyid(n.nspowner) INTO owner FROM pg_catalog.pg_namespace n
  WHERE n.nspname OPERATOR(pg_catalog.=) 'outseal';
  IF owner OPERATOR(pg_catalog.<>) current_user THEN
    RAISE EXCEPTION 'the schema outseal belongs to %, not to %, who migrates', owner, current_user
      USING ERRCODE = 'insufficient_privilege',
            HINT = 'migrate as its owner, or drop it if it is somebody else''s';
  END IF;
END
$$;

-- Which migrations are applied. Each file notes itself, whatever program runs it. The build puts
-- its checksum, the SHA-256 of the file as it stands here, in place of {checksum}: a file that was
-- edited before it was applied is refused.
CREATE TABLE IF NOT EXISTS outseal.schema_migration (
  version    integer     NOT NULL,
  name       text        NOT NULL,
  checksum   text        NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  applied_by text        NOT NULL DEFAULT current_user,
  CONSTRAINT schema_migration_pk PRIMARY KEY (version)
);

-- UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, version, random bits, variant, random
-- bits. A random UUID gets the time over its first 6 bytes; setting bits 52 and 53 makes version 7
-- of its version 4. One expression, so that it is inlined where it is the default of a column.
CREATE FUNCTION outseal.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
  SELECT pg_catalog.encode(pg_catalog.set_bit(pg_catalog.set_bit(
    overlay(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
            PLACING substring(pg_catalog.int8send(pg_catalog.floor(
                      pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())
                      OPERATOR(pg_catalog.*) 1000)::bigint) FROM 3)
            FROM 1 FOR 6),
    52, 1), 53, 1), 'hex')::pg_catalog.uuid
$$;
REVOKE ALL ON FUNCTION outseal.uuid_v7() FROM PUBLIC;

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
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  event_id     uuid        NOT NULL DEFAULT outseal.uuid_v7(),
  topic        text        NOT NULL COLLATE "C",
  -- Ordering key; the empty string means that the event has no order.
  key          text        NOT NULL COLLATE "C" DEFAULT '',
  type         text        NOT NULL COLLATE "C",
  content_type text        NOT NULL COLLATE "C" DEFAULT 'application/json',
  -- Metadata as one flat JSON object of strings. json, not jsonb: its text is what is bounded, what
  -- is stored and what is published, and no number in it grows when it is read.
  headers      json        NOT NULL DEFAULT '{}',
  -- Exactly one of the two. JSON and other text stands in the first, where a string of any driver
  -- keeps each character: as the value of a bytea its backslashes would be read as escapes.
  payload      text,
  payload_bytes bytea,
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

-- What a row of the outbox may hold. A trigger, because every append pays for it: a CHECK of the
-- table is read anew by each INSERT, at several microseconds a piece, and a domain is no text to a
-- driver that looks at types. Names of constraints are reported as those of a CHECK would be.
--
-- A transaction pays for each operand of an expression of PL/pgSQL, needed or not. So one short
-- expression first tells the usual rows, and what it does not know is looked at one by one.
-- (Backslashes stand in E'': what they mean in '' is a setting of the caller's.)
--
-- In a header's object strings are all that may stand between colons and commas; that it is valid
-- JSON is known from its type.
CREATE FUNCTION outseal.check_event() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
  violated pg_catalog.text;
BEGIN
  IF greatest(pg_catalog.octet_length(NEW.topic), pg_catalog.octet_length(NEW.type),
              pg_catalog.octet_length(NEW.content_type)) OPERATOR(pg_catalog.<=) 255
    AND '' OPERATOR(pg_catalog.<>) ALL (ARRAY[NEW.topic, NEW.type, NEW.content_type])
    AND NEW.topic OPERATOR(pg_catalog.!~) '[^A-Za-z0-9._/-]'
    AND pg_catalog.octet_length(NEW.key) OPERATOR(pg_catalog.<=) 512
    AND NEW.headers::pg_catalog.text OPERATOR(pg_catalog.=) '{}'
    AND (NEW.payload IS NULL) OPERATOR(pg_catalog.<>) (NEW.payload_bytes IS NULL)
    AND pg_catalog.starts_with(NEW.payload, E'\\x') IS NOT TRUE
    AND NEW.created_at OPERATOR(pg_catalog.>=) '1970-01-01 00:00:00.001+00'
    AND NEW.created_at OPERATOR(pg_catalog.<) '10000-01-01 00:00:00+00' THEN
    RETURN NEW;
  END IF;
  violated := CASE
    WHEN pg_catalog.octet_length(NEW.topic) OPERATOR(pg_catalog.>) 255
      OR NEW.topic OPERATOR(pg_catalog.!~) '^[A-Za-z0-9._/-]+$' THEN 'outbox_topic_valid'
    WHEN pg_catalog.octet_length(NEW.key) OPERATOR(pg_catalog.>) 512 THEN 'outbox_key_length'
    WHEN pg_catalog.octet_length(NEW.type) OPERATOR(pg_catalog.>) 255
      OR NEW.type OPERATOR(pg_catalog.=) '' THEN 'outbox_type_length'
    WHEN pg_catalog.octet_length(NEW.content_type) OPERATOR(pg_catalog.>) 255
      OR NEW.content_type OPERATOR(pg_catalog.=) '' THEN 'outbox_content_type_length'
    WHEN NEW.headers::pg_catalog.text OPERATOR(pg_catalog.<>) '{}' AND (
      pg_catalog.octet_length(NEW.headers::pg_catalog.text) OPERATOR(pg_catalog.>) 65536
      OR NEW.headers::pg_catalog.text OPERATOR(pg_catalog.!~)
         E'^\\s*\\{(?:\\s*"(?:[^"\\\\]|\\\\.)*"\\s*[:,]?)*\\s*\\}\\s*$')
      THEN 'outbox_headers_are_strings'
    WHEN (NEW.payload IS NULL) OPERATOR(pg_catalog.=) (NEW.payload_bytes IS NULL)
      THEN 'outbox_payload_is_one'
    WHEN pg_catalog.starts_with(NEW.payload, E'\\x')
      AND NEW.payload OPERATOR(pg_catalog.~) E'^\\\\x(?:[0-9a-fA-F]{2})*$'
      THEN 'outbox_payload_is_no_hex'
    WHEN NEW.created_at OPERATOR(pg_catalog.<) '1970-01-01 00:00:00.001+00'
      OR NEW.created_at OPERATOR(pg_catalog.>=) '10000-01-01 00:00:00+00'
      THEN 'outbox_created_at_ms'
  END;
  IF violated IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "outbox" violates check constraint "%"', violated
      USING ERRCODE = 'check_violation', SCHEMA = 'outseal', TABLE = 'outbox',
        CONSTRAINT = violated, HINT = CASE violated
          WHEN 'outbox_topic_valid'
            THEN 'a topic has 1 to 255 of the characters A-Z a-z 0-9 . _ / -'
          WHEN 'outbox_key_length' THEN 'a key has up to 512 bytes'
          WHEN 'outbox_type_length' THEN 'a type has 1 to 255 bytes'
          WHEN 'outbox_content_type_length' THEN 'a content type has 1 to 255 bytes'
          WHEN 'outbox_headers_are_strings'
            THEN 'headers are one flat JSON object of strings, of up to 65536 bytes'
          WHEN 'outbox_payload_is_one' THEN 'set payload (text) or payload_bytes, and only one'
          WHEN 'outbox_payload_is_no_hex' THEN 'bytes have arrived as text: give them as'
            ' payload_bytes, or call outseal.append with $4::bytea'
          ELSE 'a time lies between 1970 and the year 9999' END;
  END IF;
  RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION outseal.check_event() FROM PUBLIC;
CREATE TRIGGER outbox_check BEFORE INSERT OR UPDATE OF created_at, event_id, topic, key, type,
  content_type, headers, payload, payload_bytes ON outseal.outbox
FOR EACH ROW EXECUTE FUNCTION outseal.check_event();

-- Appends one event in the caller's transaction and returns its id; without an event_id it makes a
-- UUIDv7. NULL stands for a default: no key, no headers, and application/json as in a plain INSERT
-- and in append() of C++. With the caller's rights.
--
-- There is no RETURNING: a producer need not be allowed to read the outbox. A row that somebody's
-- trigger has swept away has no id.
CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload text, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
AS $$
DECLARE
  id CONSTANT pg_catalog.uuid := coalesce(append.event_id, outseal.uuid_v7());
BEGIN
  INSERT INTO outseal.outbox (event_id, topic, key, type, content_type, headers, payload)
  VALUES (id, append.topic, coalesce(append.key, ''), append.type,
          coalesce(append.content_type, 'application/json'),
          coalesce(append.headers::pg_catalog.json, '{}'), append.payload);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'event % was not appended: a trigger on outseal.outbox dropped its row', id
      USING ERRCODE = 'triggered_data_change_violation',
            HINT = 'see which triggers of outseal.outbox are not outseal''s';
  END IF;
  RETURN id;
END
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, text, jsonb, uuid, text) FROM PUBLIC;

-- The same for bytes. An untyped literal or parameter means the one above, so a driver that binds
-- bytes without a type has to say $4::bytea.
CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload bytea, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
AS $$
DECLARE
  id CONSTANT pg_catalog.uuid := coalesce(append.event_id, outseal.uuid_v7());
BEGIN
  INSERT INTO outseal.outbox (event_id, topic, key, type, content_type, headers, payload_bytes)
  VALUES (id, append.topic, coalesce(append.key, ''), append.type,
          coalesce(append.content_type, 'application/json'),
          coalesce(append.headers::pg_catalog.json, '{}'), append.payload);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'event % was not appended: a trigger on outseal.outbox dropped its row', id
      USING ERRCODE = 'triggered_data_change_violation',
            HINT = 'see which triggers of outseal.outbox are not outseal''s';
  END IF;
  RETURN id;
END
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, bytea, jsonb, uuid, text) FROM PUBLIC;

-- The same for JSON values, in the text form that PostgreSQL gives them: of json the text itself.
CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload json, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY INVOKER
AS $$
  SELECT outseal.append(topic, key, type, payload::pg_catalog.text, headers, event_id, content_type)
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, json, jsonb, uuid, text) FROM PUBLIC;

CREATE FUNCTION outseal.append(
  topic text, key text, type text, payload jsonb, headers jsonb DEFAULT '{}',
  event_id uuid DEFAULT NULL, content_type text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY INVOKER
AS $$
  SELECT outseal.append(topic, key, type, payload::pg_catalog.text, headers, event_id, content_type)
$$;
REVOKE ALL ON FUNCTION outseal.append(text, text, text, jsonb, jsonb, uuid, text) FROM PUBLIC;

-- Whether the transaction `tx` holds events newer than `event_id`, one of its own; NULL if that one
-- is not in it (any more). Without an event_id: whether it holds any. So a producer that sends
-- its events with COMMIT proves that no trigger has appended before them, and finds out what a
-- return to a savepoint has left; it may not read the outbox.
--
-- STABLE: it sees what was there before the statement that calls it. With its owner's rights and
-- the caller's search_path, hence the qualified operators.
CREATE FUNCTION outseal.appended_after(tx xid8, event_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
AS $$
BEGIN
  IF appended_after.event_id IS NULL THEN
    RETURN EXISTS (SELECT FROM outseal.outbox o
                   WHERE o.tx OPERATOR(pg_catalog.=) appended_after.tx);
  END IF;
  RETURN (SELECT EXISTS (SELECT FROM outseal.outbox n
                         WHERE n.tx OPERATOR(pg_catalog.=) appended_after.tx
                           AND n.seq OPERATOR(pg_catalog.>) o.seq)
          FROM outseal.outbox o
          WHERE o.event_id OPERATOR(pg_catalog.=) appended_after.event_id
            AND o.tx OPERATOR(pg_catalog.=) appended_after.tx);
END
$$;
REVOKE ALL ON FUNCTION outseal.appended_after(xid8, uuid) FROM PUBLIC;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (1, 'outbox', '{checksum}');
