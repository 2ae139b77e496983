-- Operations with effects outside the database, for services in any language. The library's own
-- statements call the same functions, so that services in different languages share their records:
-- one begins an operation and dies, another one resumes it.
--
--   begin_operation   who works on the key now, or what it is answered
--   begin_effect      what to do about an effect: one word
--   answer_effect     what the provider has said
--   hold_operation    renews the lease, or gives it back
--   finish_operation  the reply, in the transaction of the business rows and events
--   operation_status  what is recorded
--
-- Every change after the first names the fence that its caller was given, and is refused by the
-- constraint operation_fence once somebody else has the operation. Times are clock_timestamp():
-- now() is when the caller's transaction began. Producers can change neither table by other means,
-- so what writes runs with its owner's rights; what only reads or decides runs with the caller's,
-- under its row policies.

-- --- Keys ---------------------------------------------------------------------------------------

-- The key for the provider of an effect that was given none: a UUIDv8 of SHA-256 over operation and
-- name, each with its length before it; behind the operation's 48 bits of time if it has them.
CREATE FUNCTION outseal.provider_key_of(operation bytea, name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT encode(set_byte(set_byte(h.hash, 6, get_byte(h.hash, 6) & 15 | 128), 8,
                         get_byte(h.hash, 8) & 63 | 128), 'hex')::uuid::text
  FROM (SELECT substr(operation, 1, greatest(octet_length(operation) - 32, 0)) AS time) t,
    LATERAL (SELECT t.time || substr(sha256(int8send(octet_length(operation)) || operation
      || int8send(octet_length(name)) || convert_to(name, 'UTF8')), octet_length(t.time) + 1,
      16 - octet_length(t.time))) AS h (hash)
$$;
REVOKE ALL ON FUNCTION outseal.provider_key_of(bytea, text) FROM PUBLIC;

-- The operation that a handle names, which is URL-safe base64 of the key's hash and of 128 random
-- bits; NULL if there is none.
CREATE FUNCTION outseal.operation_of(handle text) RETURNS bytea
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  bytes bytea;
BEGIN
  -- Of 48 or 54 bytes: without padding.
  IF operation_of.handle !~ '^([A-Za-z0-9_-]{64}|[A-Za-z0-9_-]{72})$' THEN RETURN NULL; END IF;
  bytes := decode(translate(operation_of.handle, '-_', '+/'), 'base64');
  RETURN (SELECT i.key_hash FROM outseal.idempotency i
          WHERE i.key_hash = substr(bytes, 1, length(bytes) - 16)
            AND i.handle = substr(bytes, length(bytes) - 15));
END
$$;
REVOKE ALL ON FUNCTION outseal.operation_of(text) FROM PUBLIC;

-- --- Status -------------------------------------------------------------------------------------

-- Functions, so that a statement which needs neither is not prepared for them.

-- An operation's effects as a JSON array, in the order in which they were intended.
CREATE FUNCTION outseal.effects_of(operation bytea) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', e.name,
      'state', e.state, 'provider', e.provider, 'provider_key', e.provider_key,
      'reference', e.external_ref, 'amount_minor', coalesce(e.applied_minor, e.amount_minor),
      'currency', coalesce(e.applied_currency, e.currency),
      'attributes', e.attributes, 'attempts', e.attempts, 'intended_at', e.intended_at,
      'settled_at', e.settled_at)) ORDER BY e.id), '[]')
    FROM outseal.effect e WHERE e.operation = effects_of.operation);
END
$$;
REVOKE ALL ON FUNCTION outseal.effects_of(bytea) FROM PUBLIC;

-- Whether somebody holds the advisory lock of this number: a key's, while its operation runs in one
-- transaction. (pg_locks shows it in halves, under objsubid 1.)
CREATE FUNCTION outseal.is_locked(lock bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted
    AND l.objsubid = 1 AND l.classid::bigint = (lock >> 32) & 4294967295
    AND l.objid::bigint = lock & 4294967295
    AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
END
$$;
REVOKE ALL ON FUNCTION outseal.is_locked(bigint) FROM PUBLIC;

-- What is recorded, in one row; state is `absent` if nothing that counts is. `reply_is_kept` tells
-- a final operation that is replayed from one whose answer is "result expired". The effects are a
-- JSON array in the order in which they were intended.
CREATE FUNCTION outseal.operation_status(
  operation bytea, OUT state text, OUT scope text, OUT fingerprint bytea,
  OUT fingerprint_version integer, OUT handle text, OUT fence bigint, OUT attempts integer,
  OUT lease_owner text, OUT lease_until timestamptz, OUT created_at timestamptz,
  OUT completed_at timestamptz, OUT expires_at timestamptz, OUT reply_is_kept boolean,
  OUT status integer, OUT body bytea, OUT content_type text, OUT reply_headers text,
  OUT effects jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  now CONSTANT timestamptz := clock_timestamp();
  found_record outseal.idempotency;
BEGIN
  state := 'absent';
  SELECT i.* INTO found_record FROM outseal.idempotency i WHERE i.key_hash = operation;
  IF NOT FOUND THEN RETURN; END IF;
  effects := outseal.effects_of(operation);
  IF found_record.expires_at <= now AND NOT jsonb_path_exists(effects,
      '$[*] ? (@.state == "intended" || @.state == "unknown" || @.state == "disputed")') THEN
    effects := NULL;
    RETURN;
  END IF;
  state := found_record.state;
  scope := found_record.scope;
  fingerprint := found_record.fingerprint;
  fingerprint_version := found_record.fingerprint_version;
  handle := translate(encode(operation || found_record.handle, 'base64'), E'+/=\n', '-_');
  fence := found_record.fence;
  attempts := found_record.attempts;
  lease_owner := found_record.lease_owner;
  lease_until := found_record.lease_until;
  created_at := found_record.created_at;
  completed_at := found_record.completed_at;
  expires_at := found_record.expires_at;
  reply_is_kept := found_record.body IS NOT NULL AND found_record.purge_at > now;
  status := found_record.status;
  IF reply_is_kept THEN
    body := found_record.body;
    content_type := found_record.content_type;
    reply_headers := found_record.reply_headers;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION outseal.operation_status(bytea) FROM PUBLIC;

-- --- Holding an operation -----------------------------------------------------------------------

-- The two below are called by the others, and by nobody else. The first locks the record of an
-- operation that is held with `fence`, and returns when its lease ends.
CREATE FUNCTION outseal.require_fence(operation bytea, fence bigint) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  until timestamptz;
BEGIN
  SELECT i.lease_until INTO until FROM outseal.idempotency i
  WHERE i.key_hash = require_fence.operation AND i.fence = require_fence.fence
    AND i.state = 'in_progress' FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the operation is not held with fence %', coalesce(fence::text, 'NULL')
      USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = 'outseal',
        TABLE = 'idempotency', CONSTRAINT = 'operation_fence',
        HINT = 'another attempt has taken it over or ended it: stop, and begin it again';
  END IF;
  RETURN until;
END
$$;
REVOKE ALL ON FUNCTION outseal.require_fence(bytea, bigint) FROM PUBLIC;

-- When a lease ends that begins now. Also makes the commit durable, whatever the session's
-- synchronous_commit: what follows outside must not be forgotten by a crash of the server.
CREATE FUNCTION outseal.lease_end(lease interval) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  now CONSTANT timestamptz := clock_timestamp();
BEGIN
  -- By its end: intervals are compared with months of 30 days, and added by the calendar, by
  -- which a day may have 25 hours.
  IF (now + lease BETWEEN now AND now + interval '25 hours') IS NOT TRUE THEN
    RAISE EXCEPTION 'the lease % is out of range', coalesce(lease::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'give an interval from 0 to 1 day';
  END IF;
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  RETURN now + lease;
END
$$;
REVOKE ALL ON FUNCTION outseal.lease_end(interval) FROM PUBLIC;

-- Begins an operation. Returns its first fence; NULL if the key has a record that counts.
CREATE FUNCTION outseal.claim_operation(
  operation bytea, scope text, fingerprint bytea, fingerprint_version integer, handle bytea,
  owner text, lease interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  until CONSTANT timestamptz := outseal.lease_end(lease);
BEGIN
  FOR turn IN 1 .. 2 LOOP
    INSERT INTO outseal.idempotency (created_at, lease_until, fence, fingerprint_version, key_hash,
      fingerprint, handle, scope, state, lease_owner)
    VALUES (clock_timestamp(), until, 1, claim_operation.fingerprint_version,
      operation, claim_operation.fingerprint, claim_operation.handle, claim_operation.scope,
      'in_progress', owner)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN RETURN 1; END IF;
    PERFORM outseal.forget_expired(operation);
    EXIT WHEN NOT FOUND;
  END LOOP;
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION
  outseal.claim_operation(bytea, text, bytea, integer, bytea, text, interval) FROM PUBLIC;

-- Takes over an operation that still has `fence`, and whose lease ended at least `idle` ago; not
-- while one of its effects waits for an operator. Returns its new fence; NULL if it was not taken.
CREATE FUNCTION outseal.take_over_operation(
  operation bytea, fence bigint, owner text, lease interval, idle interval DEFAULT '0')
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  taken bigint;
BEGIN
  IF (clock_timestamp() - idle <= clock_timestamp()) IS NOT TRUE THEN
    RAISE EXCEPTION 'idle is %', coalesce(idle::text, 'NULL') USING
      ERRCODE = 'invalid_parameter_value', HINT = 'a lease that has not ended is never taken';
  END IF;
  -- A statement of its own, so that the next one sees what was committed while this one waited. It
  -- waits, and locks, only for who knows the fence.
  PERFORM FROM outseal.idempotency i WHERE i.key_hash = operation
    AND i.fence = take_over_operation.fence AND i.state IN ('in_progress', 'unknown') FOR UPDATE;
  UPDATE outseal.idempotency i SET state = 'in_progress', fence = i.fence + 1,
    attempts = i.attempts + 1, lease_owner = owner, lease_until = outseal.lease_end(lease)
  WHERE i.key_hash = operation AND i.fence = take_over_operation.fence
    AND i.state IN ('in_progress', 'unknown')
    AND (i.lease_until > clock_timestamp() - idle) IS NOT TRUE
    AND NOT EXISTS (SELECT FROM outseal.effect e WHERE e.operation = i.key_hash
                    AND e.state IN ('unknown', 'disputed'))
  RETURNING i.fence INTO taken;
  RETURN taken;
END
$$;
REVOKE ALL ON FUNCTION
  outseal.take_over_operation(bytea, bigint, text, interval, interval) FROM PUBLIC;

-- Renews the lease: it ends `lease` from now. Without an owner it is given back: others leave the
-- operation alone for as long, and then anybody may take it over. `sending` names the effect whose
-- call is running meanwhile. Returns the lease's end.
CREATE FUNCTION outseal.hold_operation(
  operation bytea, fence bigint, owner text, lease interval, sending text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  until CONSTANT timestamptz := outseal.lease_end(lease);
BEGIN
  UPDATE outseal.idempotency i SET lease_until = until, lease_owner = owner
  WHERE i.key_hash = operation AND i.fence = hold_operation.fence AND i.state = 'in_progress';
  IF NOT FOUND THEN PERFORM outseal.require_fence(operation, fence); END IF;
  IF sending IS NOT NULL THEN
    UPDATE outseal.effect e SET last_sent_at = until, fence = hold_operation.fence,
      version = e.version + 1
    WHERE e.operation = hold_operation.operation AND e.name = sending AND e.state = 'intended';
  END IF;
  RETURN until;
END
$$;
REVOKE ALL ON FUNCTION
  outseal.hold_operation(bytea, bigint, text, interval, text) FROM PUBLIC;

-- Leaves the operation to an operator: it is `unknown` from now on.
CREATE FUNCTION outseal.hand_over_operation(operation bytea, fence bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM outseal.require_fence(operation, fence);
  UPDATE outseal.idempotency i SET state = 'unknown', lease_until = NULL, lease_owner = NULL
  WHERE i.key_hash = operation;
END
$$;
REVOKE ALL ON FUNCTION outseal.hand_over_operation(bytea, bigint) FROM PUBLIC;

-- Completes the operation with its reply, in the caller's transaction with its rows and events.
-- `state` is succeeded or failed.
CREATE FUNCTION outseal.finish_operation(
  operation bytea, fence bigint, state text, status integer, body bytea DEFAULT '',
  content_type text DEFAULT 'application/json', reply_headers text DEFAULT NULL,
  response_retention interval DEFAULT '7 days', key_retention interval DEFAULT '400 days')
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  now CONSTANT timestamptz := clock_timestamp();
  unsettled text;
BEGIN
  IF (finish_operation.state IN ('succeeded', 'failed')) IS NOT TRUE THEN
    RAISE EXCEPTION 'an operation does not finish as %', coalesce(state, 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'give succeeded or failed';
  END IF;
  IF (now + response_retention >= now + interval '1 minute'
      AND now + key_retention >= now + response_retention) IS NOT TRUE THEN
    RAISE EXCEPTION 'the retentions % and % are out of range',
      coalesce(response_retention::text, 'NULL'), coalesce(key_retention::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'keep the response for a minute or more,'
        ' and the key no shorter: a key that is forgotten executes again';
  END IF;
  UPDATE outseal.idempotency i SET state = finish_operation.state, status = finish_operation.status,
    body = finish_operation.body, content_type = finish_operation.content_type,
    reply_headers = finish_operation.reply_headers, completed_at = now,
    purge_at = now + least(response_retention, key_retention), expires_at = now + key_retention,
    lease_until = NULL, lease_owner = NULL
  WHERE i.key_hash = operation AND i.fence = finish_operation.fence AND i.state = 'in_progress';
  IF NOT FOUND THEN PERFORM outseal.require_fence(operation, fence); END IF;
  SELECT e.name INTO unsettled FROM outseal.effect e
  WHERE e.operation = finish_operation.operation
    AND e.state IN ('intended', 'unknown', 'disputed') LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the effect % is not settled', quote_ident(unsettled)
      USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = 'outseal', TABLE = 'effect',
        CONSTRAINT = 'operation_effects_are_settled', HINT = 'call begin_effect until it is';
  END IF;
END
$$;
REVOKE ALL ON FUNCTION outseal.finish_operation(
  bytea, bigint, text, integer, bytea, text, text, interval, interval) FROM PUBLIC;

-- --- Beginning one ------------------------------------------------------------------------------

-- Begins the operation of a key, or takes it over, or tells its answer:
--   begun, resumed   the caller has it until its lease ends, with `fence`
--   replayed         it is final: state, status, body, content_type and reply_headers
--   expired          it is final, and its reply is no longer kept
--   in_progress      somebody has it; come back after `retry_after`
--   unknown          an effect waits for an operator
--   mismatch         the key is known for another request (of the same fingerprint_version)
-- Commit before anything happens outside.
CREATE FUNCTION outseal.begin_operation(
  scope text, principal text, key text, fingerprint bytea, owner text,
  lease interval DEFAULT '1 minute', fingerprint_version integer DEFAULT 1,
  OUT answer text, OUT operation bytea, OUT fence bigint, OUT handle text,
  OUT retry_after interval, OUT state text, OUT status integer, OUT body bytea,
  OUT content_type text, OUT reply_headers text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  seen record;
  secret CONSTANT bytea := uuid_send(gen_random_uuid());
BEGIN
  IF num_nulls(scope, principal, key, fingerprint, fingerprint_version) > 0 THEN
    RAISE EXCEPTION 'an operation has scope, principal, key, fingerprint and its version'
      USING ERRCODE = 'null_value_not_allowed', HINT = 'none of them may be NULL';
  END IF;
  operation := outseal.key_hash(scope, principal, key);
  FOR turn IN 1 .. 3 LOOP
    SELECT * INTO seen FROM outseal.operation_status(operation);
    state := seen.state;
    handle := seen.handle;
    IF state = 'absent' THEN
      fence := outseal.claim_operation(operation, scope, fingerprint, fingerprint_version,
        secret, owner, lease);
      handle := translate(encode(operation || secret, 'base64'), E'+/=\n', '-_');
      answer := 'begun';
    ELSIF seen.fingerprint_version = fingerprint_version AND seen.fingerprint <> fingerprint THEN
      answer := 'mismatch';
      RETURN;
    ELSE
      IF state IN ('in_progress', 'unknown') THEN
        fence := outseal.take_over_operation(operation, seen.fence, owner, lease);
      END IF;
      IF fence IS NULL THEN
        answer := CASE WHEN state IN ('in_progress', 'unknown') THEN state
          WHEN seen.reply_is_kept THEN 'replayed' ELSE 'expired' END;
        IF state = 'in_progress' THEN
          retry_after := greatest(seen.lease_until - clock_timestamp(), '1 second');
        END IF;
        status := seen.status;
        body := seen.body;
        content_type := seen.content_type;
        reply_headers := seen.reply_headers;
        RETURN;
      END IF;
      answer := 'resumed';
    END IF;
    IF fence IS NOT NULL THEN
      state := 'in_progress';
      RETURN;
    END IF;
  END LOOP;
  -- Somebody is always faster, or a policy or an old snapshot hides the record.
  answer := 'in_progress';
  retry_after := '1 second';
END
$$;
REVOKE ALL ON FUNCTION
  outseal.begin_operation(text, text, text, bytea, text, interval, integer) FROM PUBLIC;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (6, 'operation', '{checksum}');
