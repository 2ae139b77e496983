-- Idempotency records: what a key has already done and what it answered.
--
-- A one-transaction operation inserts one completed row and never updates it: one tuple, no dead
-- one before the purge, full pages. An operation with external effects inserts it as in_progress,
-- with a lease and a fence, and completes it later.
--
-- Columns of a fixed width stand first: no byte is lost to alignment on the service's hot path. A
-- large body goes to the TOAST table, which only a replay reads.
CREATE TABLE outseal.idempotency (
  -- A record in progress never expires.
  created_at    timestamptz NOT NULL,
  completed_at  timestamptz,
  expires_at    timestamptz,
  -- Only in progress: until when somebody works on it by the database's clock, and the fencing
  -- token that a finish must show. Who it is stands below.
  lease_until   timestamptz,
  fence         bigint      NOT NULL DEFAULT 0,
  attempts      integer     NOT NULL DEFAULT 1,
  -- The reply that a duplicate gets back, byte for byte, with content_type and body; NULL while in
  -- progress.
  status        integer,
  -- SHA-256 over scope, principal and key, each with its length before it. The raw key is a secret
  -- of the client's and is stored nowhere.
  key_hash      bytea       NOT NULL,
  -- SHA-256 of the request's meaning: the same key with another one is refused.
  fingerprint   bytea       NOT NULL,
  scope         text        NOT NULL COLLATE "C",
  state         text        NOT NULL COLLATE "C",
  lease_owner   text,
  content_type  text        COLLATE "C",
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
  IF pg_catalog.octet_length(NEW.key_hash) OPERATOR(pg_catalog.=) 32
    AND pg_catalog.octet_length(NEW.fingerprint) OPERATOR(pg_catalog.=) 32
    AND pg_catalog.octet_length(NEW.scope) OPERATOR(pg_catalog.<=) 255
    AND NEW.scope OPERATOR(pg_catalog.<>) ''
    AND NEW.state OPERATOR(pg_catalog.=) ANY ('{succeeded,failed}')
    AND pg_catalog.num_nulls(NEW.status, NEW.body, NEW.content_type, NEW.completed_at,
                             NEW.expires_at) OPERATOR(pg_catalog.=) 0
    AND NEW.attempts OPERATOR(pg_catalog.=) 1 AND NEW.lease_until IS NULL THEN
    RETURN NEW;
  END IF;
  violated := CASE
    WHEN pg_catalog.octet_length(NEW.key_hash) OPERATOR(pg_catalog.<>) 32
      THEN 'idempotency_key_hash_length'
    WHEN pg_catalog.octet_length(NEW.fingerprint) OPERATOR(pg_catalog.<>) 32
      THEN 'idempotency_fingerprint_length'
    WHEN pg_catalog.octet_length(NEW.scope) OPERATOR(pg_catalog.>) 255
      OR NEW.scope OPERATOR(pg_catalog.=) '' THEN 'idempotency_scope_length'
    WHEN NEW.attempts OPERATOR(pg_catalog.<) 1 THEN 'idempotency_attempts_positive'
    WHEN NEW.state IS NULL THEN NULL
    WHEN NEW.state OPERATOR(pg_catalog.=) ANY ('{succeeded,failed}') THEN
      CASE WHEN pg_catalog.num_nulls(NEW.status, NEW.body, NEW.content_type, NEW.completed_at,
                                     NEW.expires_at) OPERATOR(pg_catalog.>) 0
        THEN 'idempotency_final_has_reply' END
    WHEN NEW.state OPERATOR(pg_catalog.<>) ALL ('{in_progress,unknown}')
      THEN 'idempotency_state_known'
    WHEN NEW.expires_at IS NOT NULL THEN 'idempotency_open_never_expires'
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

-- Purge walks the expired ones, the reconciler the open ones, which have NULL here; both touch only
-- what they look for. One index, without a predicate: each INSERT pays for both.
CREATE INDEX idempotency_expires ON outseal.idempotency (expires_at, created_at);

-- External side effects of an operation, written down before they are tried.
CREATE TABLE outseal.effect (
  id            bigint      NOT NULL GENERATED BY DEFAULT AS IDENTITY (CACHE 1),
  operation     bytea       NOT NULL,  -- key_hash of the operation
  name          text        NOT NULL COLLATE "C",  -- which of its effects, for example 'charge'
  provider      text        NOT NULL COLLATE "C",  -- whom we call, for example 'stripe'
  -- The idempotency key sent to the provider. Stable over retries and takeovers.
  provider_key  text        NOT NULL COLLATE "C",
  state         text        NOT NULL COLLATE "C",
  -- The provider's own name for the outcome, for example a charge id.
  external_ref  text        COLLATE "C",
  -- What was asked for, to be compared with what the provider did.
  amount_minor  bigint,
  currency      text        COLLATE "C",
  attributes    jsonb       NOT NULL DEFAULT '{}',
  fence         bigint      NOT NULL DEFAULT 0,
  attempts      integer     NOT NULL DEFAULT 0,
  intended_at   timestamptz NOT NULL,
  settled_at    timestamptz,
  CONSTRAINT effect_pk PRIMARY KEY (id),
  CONSTRAINT effect_name_unique UNIQUE (operation, name),
  CONSTRAINT effect_operation_length CHECK (octet_length(operation) = 32),
  -- The reconciler reads them all.
  CONSTRAINT effect_texts_length CHECK (octet_length(name) <= 255 AND octet_length(provider) <= 255
    AND octet_length(provider_key) <= 255 AND octet_length(external_ref) <= 1024),
  CONSTRAINT effect_attributes_length CHECK (octet_length(attributes::text) <= 16384),
  CONSTRAINT effect_state_known CHECK (state IN ('intended', 'confirmed', 'failed', 'unknown')),
  CONSTRAINT effect_currency_length CHECK (currency IS NULL OR length(currency) = 3),
  CONSTRAINT effect_amount_has_currency CHECK ((amount_minor IS NULL) = (currency IS NULL)),
  CONSTRAINT effect_attributes_is_object CHECK (jsonb_typeof(attributes) = 'object')
);

-- Not unique on purpose: two outcomes of one provider key are what the reconciler must be able to
-- see, not something to be refused after it has happened.
CREATE INDEX effect_provider_key ON outseal.effect (provider, provider_key);
CREATE INDEX effect_open ON outseal.effect (intended_at)
  WHERE state IN ('intended', 'unknown');

-- Producers delete nothing themselves: with that privilege they could make another service's key
-- execute again, or LOCK the table. These two take away what has expired, and only that; each
-- returns a row for every one that went. The first takes milliseconds since 1970, and never later
-- ones than now.
CREATE FUNCTION outseal.purge_operations(bigint, bigint) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM outseal.idempotency WHERE key_hash = ANY (ARRAY (SELECT i.key_hash
    FROM outseal.idempotency i WHERE i.expires_at IS NOT NULL
    AND i.expires_at <= least(to_timestamp($1::float8 / 1000), statement_timestamp())
    ORDER BY i.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1
$$;
REVOKE ALL ON FUNCTION outseal.purge_operations(bigint, bigint) FROM PUBLIC;

-- By the clock that the look-up uses, so that both say the same. "IS TRUE" leaves only the primary
-- key to look it up by.
CREATE FUNCTION outseal.forget_expired(bytea) RETURNS SETOF integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM outseal.idempotency WHERE key_hash = $1
    AND (expires_at <= clock_timestamp()) IS TRUE RETURNING 1
$$;
REVOKE ALL ON FUNCTION outseal.forget_expired(bytea) FROM PUBLIC;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (2, 'idempotency', '{checksum}');
