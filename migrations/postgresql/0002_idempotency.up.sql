-- Idempotency records: what a key has already done and what it answered.
--
-- A one-transaction operation inserts one completed row and never updates it before the purge: one
-- tuple, no dead one, full pages. An operation with external effects inserts it as in_progress,
-- with a lease and a fence, and completes it later.
--
-- Columns of a fixed width stand first: no byte is lost to alignment on the service's hot path. A
-- large body goes to the TOAST table, which only a replay reads.
CREATE TABLE outseal.idempotency (
  created_at    timestamptz NOT NULL,
  completed_at  timestamptz,
  -- Until when the key is known. NULL while it is not final: such a record never expires.
  expires_at    timestamptz,
  -- When the purge has next to do with it: at the end of the response's retention it drops the body
  -- and puts expires_at here; then it removes the record. NULL while it is not final.
  purge_at      timestamptz,
  -- Only in progress: until when somebody works on it by the database's clock, and the fencing
  -- token that a finish must show; 0 for a one-transaction operation. Who it is stands below.
  lease_until   timestamptz,
  fence         bigint      NOT NULL DEFAULT 0,
  attempts      integer     NOT NULL DEFAULT 1,
  -- Which canonical form the fingerprint is of; the service's own number.
  fingerprint_version integer NOT NULL DEFAULT 1,
  -- The reply that a duplicate gets back, byte for byte, with content_type, reply_headers and body;
  -- NULL while in progress. A final record whose body is NULL answers "expired".
  status        integer,
  -- SHA-256 over scope, principal and key, each with its length before it; behind the key's own 48
  -- bits of time if it has them (UUIDv7, ULID). The raw key is a secret of the client's and is
  -- stored nowhere.
  key_hash      bytea       NOT NULL,
  -- SHA-256 of the request's meaning: the same key with another one is refused.
  fingerprint   bytea       NOT NULL,
  -- 128 random bits that, behind key_hash, make the handle that a client is given in place of its
  -- key. NULL for a one-transaction operation.
  handle        bytea,
  scope         text        NOT NULL COLLATE "C",
  state         text        NOT NULL COLLATE "C",
  lease_owner   text,
  content_type  text        COLLATE "C",
  reply_headers text,  -- A JSON object of strings; NULL for none.
  body          bytea,
  CONSTRAINT idempotency_pk PRIMARY KEY (key_hash)
) WITH (
  -- As many rows are purged as are inserted: reuse their space before the table has grown by a
  -- fifth, the server's default.
  autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_threshold = 10000,
  -- A service keeps the plans of its statements. One that was made while the table was known to
  -- have a few rows would read it from end to end, and go on doing so while it grows. So it is not
  -- analyzed while it is small, and does not become small again when all is purged.
  autovacuum_analyze_threshold = 10000,
  vacuum_truncate = false
);

-- What a record may hold; a trigger, for the reasons told beside the outbox. What is final has its
-- reply and expires; what is not, never does.
CREATE FUNCTION outseal.check_record() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
  violated pg_catalog.text;
BEGIN
  IF pg_catalog.octet_length(NEW.key_hash) OPERATOR(pg_catalog.=) ANY ('{32,38}')
    AND pg_catalog.octet_length(NEW.fingerprint) OPERATOR(pg_catalog.=) 32
    AND pg_catalog.octet_length(NEW.scope) OPERATOR(pg_catalog.<=) 255
    AND NEW.scope OPERATOR(pg_catalog.<>) ''
    AND NEW.state OPERATOR(pg_catalog.=) ANY ('{succeeded,failed}')
    AND pg_catalog.num_nulls(NEW.status, NEW.body, NEW.content_type, NEW.completed_at,
                             NEW.expires_at, NEW.purge_at) OPERATOR(pg_catalog.=) 0
    AND NEW.fence OPERATOR(pg_catalog.=) 0 AND NEW.attempts OPERATOR(pg_catalog.=) 1
    AND NEW.lease_until IS NULL AND NEW.handle IS NULL
    AND NEW.status OPERATOR(pg_catalog.>=) 0 AND NEW.status OPERATOR(pg_catalog.<=) 999
    AND pg_catalog.octet_length(NEW.body) OPERATOR(pg_catalog.<=) 16777216
    AND NEW.content_type OPERATOR(pg_catalog.~) '^[ -~]{0,255}$' AND NEW.reply_headers IS NULL THEN
    RETURN NEW;
  END IF;
  violated := CASE
    WHEN pg_catalog.octet_length(NEW.key_hash) OPERATOR(pg_catalog.<>) ALL ('{32,38}')
      THEN 'idempotency_key_hash_length'
    WHEN pg_catalog.octet_length(NEW.fingerprint) OPERATOR(pg_catalog.<>) 32
      THEN 'idempotency_fingerprint_length'
    WHEN pg_catalog.octet_length(NEW.handle) OPERATOR(pg_catalog.<>) 16
      THEN 'idempotency_handle_length'
    WHEN pg_catalog.octet_length(NEW.scope) OPERATOR(pg_catalog.>) 255
      OR NEW.scope OPERATOR(pg_catalog.=) '' THEN 'idempotency_scope_length'
    WHEN pg_catalog.octet_length(NEW.lease_owner) OPERATOR(pg_catalog.>) 1024
      THEN 'idempotency_lease_owner_length'
    WHEN NEW.attempts OPERATOR(pg_catalog.<) 1 THEN 'idempotency_attempts_positive'
    WHEN NEW.state IS NULL THEN NULL
    WHEN NEW.state OPERATOR(pg_catalog.=) ANY ('{succeeded,failed}') THEN
      CASE WHEN pg_catalog.num_nulls(NEW.status, NEW.completed_at, NEW.expires_at, NEW.purge_at)
                  OPERATOR(pg_catalog.>) 0
                -- Without a body: its retention has passed.
                OR (NEW.body IS NULL) OPERATOR(pg_catalog.<>) (NEW.content_type IS NULL)
        THEN 'idempotency_final_has_reply'
        -- What the library would not write it would not read either, or hand on to a browser.
        WHEN NEW.status OPERATOR(pg_catalog.<) 0 OR NEW.status OPERATOR(pg_catalog.>) 999
          THEN 'idempotency_status_range'
        WHEN pg_catalog.octet_length(NEW.body) OPERATOR(pg_catalog.>) 16777216
          THEN 'idempotency_body_length'
        WHEN NEW.content_type OPERATOR(pg_catalog.!~) '^[ -~]{0,255}$'
          THEN 'idempotency_content_type_printable'
        WHEN pg_catalog.octet_length(NEW.reply_headers) OPERATOR(pg_catalog.>) 65536
          THEN 'idempotency_reply_headers_length'
        WHEN pg_catalog.jsonb_typeof(NEW.reply_headers::pg_catalog.jsonb)
            OPERATOR(pg_catalog.<>) 'object' OR pg_catalog.jsonb_path_exists(
              NEW.reply_headers::pg_catalog.jsonb, '$.* ? (@.type() != "string")')
          THEN 'idempotency_reply_headers_are_texts' END
    WHEN NEW.state OPERATOR(pg_catalog.<>) ALL ('{in_progress,unknown}')
      THEN 'idempotency_state_known'
    -- Only the functions that hand out fences begin one: a producer's own INSERT could hide it.
    WHEN NEW.fence OPERATOR(pg_catalog.<) 1 THEN 'idempotency_open_has_fence'
    WHEN pg_catalog.num_nonnulls(NEW.expires_at, NEW.purge_at) OPERATOR(pg_catalog.>) 0
      THEN 'idempotency_open_never_expires'
    WHEN NEW.created_at OPERATOR(pg_catalog.<) '1970-01-01 00:00:00+00'
      OR greatest(NEW.created_at, NEW.lease_until) OPERATOR(pg_catalog.>=) '10000-01-01 00:00:00+00'
      THEN 'idempotency_open_has_times'
  END;
  IF violated IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "idempotency" violates check constraint "%"', violated
      USING ERRCODE = 'check_violation', SCHEMA = 'outseal', TABLE = 'idempotency',
        CONSTRAINT = violated;
  END IF;
  RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION outseal.check_record() FROM PUBLIC;
CREATE TRIGGER idempotency_check BEFORE INSERT OR UPDATE ON outseal.idempotency
FOR EACH ROW EXECUTE FUNCTION outseal.check_record();

-- Purge walks those that are due, the reconciler the open ones, which have NULL here; both touch
-- only what they look for. One index, without a predicate: each INSERT pays for both.
CREATE INDEX idempotency_purge ON outseal.idempotency (purge_at, created_at);

-- What a record is kept under, as the library makes it: SHA-256 over the three, each with its
-- length as 8 bytes before it; behind the key's own 48 bits of time if it is a UUIDv7 or a ULID.
CREATE FUNCTION outseal.key_hash(scope text, principal text, key text) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN key ~* '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
      THEN decode(substr(key, 1, 8) || substr(key, 10, 4), 'hex')
    WHEN key ~* '^[0-7][0-9a-hjkmnp-tv-z]{25}$'
      THEN substr(int8send((SELECT sum(
        (strpos('0123456789abcdefghjkmnpqrstvwxyz', lower(substr(key, place, 1))) - 1)::bigint
        << (5 * (10 - place))) FROM generate_series(1, 10) place)::bigint), 3)
    ELSE '' END
    || sha256(int8send(octet_length(scope)) || convert_to(scope, 'UTF8')
      || int8send(octet_length(principal)) || convert_to(principal, 'UTF8')
      || int8send(octet_length(key)) || convert_to(key, 'UTF8'))
$$;
REVOKE ALL ON FUNCTION outseal.key_hash(text, text, text) FROM PUBLIC;

-- External side effects of an operation, written down before they are tried.
CREATE TABLE outseal.effect (
  id            bigint      NOT NULL GENERATED BY DEFAULT AS IDENTITY (CACHE 1),
  -- What was asked for, to be compared with what the provider did.
  amount_minor  bigint,
  -- What the provider did, by the word of whoever decided on it; NULL: what was asked for.
  applied_minor bigint,
  fence         bigint      NOT NULL DEFAULT 0,
  -- Grows with each change: whoever decides names the version that was looked at.
  version       bigint      NOT NULL DEFAULT 1,
  intended_at   timestamptz NOT NULL,
  -- When the first request may have left at the earliest, and the last one at the latest: the end
  -- of the lease, unless its call ended before. NULL if it is proven that none has left.
  first_sent_at timestamptz,
  last_sent_at  timestamptz,
  -- Until when the same provider key may be sent again; NULL if never.
  rerun_until   timestamptz,
  settled_at    timestamptz,
  attempts      integer     NOT NULL DEFAULT 0,
  operation     bytea       NOT NULL,  -- key_hash of the operation
  request_hash  bytea       NOT NULL,  -- SHA-256 of the request: a name is not used for two.
  name          text        NOT NULL COLLATE "C",  -- which of its effects, for example 'charge'
  provider      text        NOT NULL COLLATE "C",  -- whom we call, for example 'stripe'
  -- The idempotency key sent to the provider. Stable over retries and takeovers.
  provider_key  text        NOT NULL COLLATE "C",
  policies      text        NOT NULL COLLATE "C",  -- in order, for example 'rerun,ask,hand_over'
  state         text        NOT NULL COLLATE "C",
  currency      text        COLLATE "C",
  applied_currency text     COLLATE "C",
  -- The provider's own name for the outcome, for example a charge id.
  external_ref  text        COLLATE "C",
  attributes    jsonb       NOT NULL DEFAULT '{}',
  response      bytea,      -- What the call returned: a resumed operation gets it again.
  compensation  text,       -- The event that undoes it, as JSON; NULL for none.
  -- Who decided on it, and on what evidence, if it was not the call itself.
  decided_by    text,
  evidence      text,
  CONSTRAINT effect_pk PRIMARY KEY (id),
  CONSTRAINT effect_name_unique UNIQUE (operation, name),
  CONSTRAINT effect_operation_length CHECK (octet_length(operation) IN (32, 38)),
  CONSTRAINT effect_request_hash_length CHECK (octet_length(request_hash) = 32),
  -- The reconciler reads them all. (BETWEEN would come back from a dump with other brackets.)
  CONSTRAINT effect_texts_length CHECK (octet_length(name) >= 1 AND octet_length(name) <= 255
    AND octet_length(provider) <= 255 AND octet_length(provider_key) <= 255
    AND octet_length(policies) <= 255 AND octet_length(external_ref) <= 1024
    AND octet_length(decided_by) <= 1024 AND octet_length(evidence) <= 16384),
  CONSTRAINT effect_attributes_length CHECK (octet_length(attributes::text) <= 32768),
  CONSTRAINT effect_response_length CHECK (octet_length(response) <= 1048576),
  CONSTRAINT effect_compensation_length CHECK (octet_length(compensation) <= 2097152),
  CONSTRAINT effect_state_known CHECK (state IN ('intended', 'confirmed', 'not_applied', 'failed',
    'unknown', 'applied', 'abandoned', 'disputed')),
  CONSTRAINT effect_currency_length CHECK (currency IS NULL OR length(currency) = 3),
  CONSTRAINT effect_amount_has_currency CHECK ((amount_minor IS NULL) = (currency IS NULL)),
  CONSTRAINT effect_amount_not_negative CHECK (amount_minor >= 0),
  CONSTRAINT effect_applied_is_amount CHECK ((applied_minor IS NULL) = (applied_currency IS NULL)
    AND applied_minor >= 0 AND length(applied_currency) = 3),
  CONSTRAINT effect_attributes_is_object CHECK (jsonb_typeof(attributes) = 'object')
);

-- Not unique on purpose: two outcomes of one provider key are what the reconciler must be able to
-- see, not something to be refused after it has happened.
CREATE INDEX effect_provider_key ON outseal.effect (provider, provider_key);
CREATE INDEX effect_open ON outseal.effect (intended_at)
  WHERE state IN ('intended', 'unknown', 'disputed');

-- Whether the end of one of an operation's effects is open: such a record stays, whatever its
-- times. Whoever opens an effect anew locks the record first. Volatile, so that it sees, for a
-- record that is locked, all that was committed before.
CREATE FUNCTION outseal.has_open_effect(bytea) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM outseal.effect e WHERE e.operation = $1
    AND e.state IN ('intended', 'unknown', 'disputed'))
$$;
REVOKE ALL ON FUNCTION outseal.has_open_effect(bytea) FROM PUBLIC;

-- Producers delete nothing themselves: with that privilege they could make another service's key
-- execute again, or LOCK the table. These two take away what is over, and only that, by the
-- server's clock.
--
-- The first takes milliseconds since 1970, and never later ones than now, and how many rows at
-- most. It drops responses whose retention has passed, and removes records with their effects.
CREATE FUNCTION outseal.purge_operations(bigint, bigint, OUT responses bigint, OUT records bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH due AS MATERIALIZED (
    SELECT i.key_hash, i.fence,
      i.expires_at <= least(to_timestamp(least($1, 253402300799000)::float8 / 1000),
        statement_timestamp()) AS is_over
    FROM outseal.idempotency i
    WHERE i.purge_at <= least(to_timestamp(least($1, 253402300799000)::float8 / 1000),
      statement_timestamp())
    AND (i.fence = 0 OR NOT outseal.has_open_effect(i.key_hash))
    ORDER BY i.purge_at LIMIT $2 FOR UPDATE SKIP LOCKED
  ), removed AS (
    DELETE FROM outseal.idempotency WHERE key_hash = ANY (ARRAY (SELECT d.key_hash FROM due d
      WHERE d.is_over AND (d.fence = 0 OR NOT outseal.has_open_effect(d.key_hash))))
    RETURNING key_hash, fence
  ), their_effects AS (
    DELETE FROM outseal.effect
    WHERE operation = ANY (ARRAY (SELECT r.key_hash FROM removed r WHERE r.fence > 0))
  ), dropped AS (
    UPDATE outseal.idempotency SET body = NULL, content_type = NULL, reply_headers = NULL,
      purge_at = expires_at
    WHERE key_hash = ANY (ARRAY (SELECT d.key_hash FROM due d WHERE NOT d.is_over))
    RETURNING 1
  )
  SELECT (SELECT count(*) FROM dropped), (SELECT count(*) FROM removed)
$$;
REVOKE ALL ON FUNCTION outseal.purge_operations(bigint, bigint) FROM PUBLIC;

-- Removes a key's record if it has expired, by the clock that the look-up uses, so that both say
-- the same. "IS TRUE" leaves only the primary key to look it up by.
CREATE FUNCTION outseal.forget_expired(bytea) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH due AS MATERIALIZED (
    SELECT i.key_hash, i.fence FROM outseal.idempotency i
    WHERE i.key_hash = $1 AND (i.expires_at <= clock_timestamp()) IS TRUE FOR UPDATE
  ), removed AS (
    DELETE FROM outseal.idempotency WHERE key_hash = ANY (ARRAY (SELECT d.key_hash FROM due d
      WHERE d.fence = 0 OR NOT outseal.has_open_effect(d.key_hash)))
    RETURNING key_hash, fence
  ), their_effects AS (
    DELETE FROM outseal.effect
    WHERE operation = ANY (ARRAY (SELECT r.key_hash FROM removed r WHERE r.fence > 0))
  )
  SELECT 1 FROM removed
$$;
REVOKE ALL ON FUNCTION outseal.forget_expired(bytea) FROM PUBLIC;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (2, 'idempotency', '{checksum}');
