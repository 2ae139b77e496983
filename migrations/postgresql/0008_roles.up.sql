-- Four roles without login, each with what its programs need and nothing else.
--
-- Roles belong to the whole cluster: another database may have made them already, or be making them
-- at this moment. A user who may not create roles goes on without them; an administrator can make
-- up for it at any time:
--   CREATE ROLE outseal_producer; CREATE ROLE outseal_relay; CREATE ROLE outseal_reconciler;
--   CREATE ROLE outseal_sink;
--   SELECT outseal.grant_roles();
DO $$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY
    ARRAY['outseal_producer', 'outseal_relay', 'outseal_reconciler', 'outseal_sink'] LOOP
    CONTINUE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = role);
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL;  -- Another database was faster.
      WHEN insufficient_privilege THEN
        NULL;  -- grant_roles() tells of it.
    END;
  END LOOP;
END
$$;

-- Grants each role its privileges, as far as the role exists. May be called again at any time, by
-- the owner of the schema or a superuser.
CREATE FUNCTION outseal.grant_roles() RETURNS void
LANGUAGE plpgsql SECURITY INVOKER
AS $$
DECLARE
  wanted record;
BEGIN
  -- A restore where a role was missing has lost these with what it could not grant.
  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outseal FROM PUBLIC;
  REVOKE ALL ON ALL TABLES IN SCHEMA outseal FROM PUBLIC;
  FOR wanted IN
    SELECT g.role, to_regrole(g.role) IS NOT NULL AS is_there, g.privileges
    FROM (VALUES
      ('outseal_producer', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON outseal.schema_migration',
        'EXECUTE ON FUNCTION outseal.uuid_v7()',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, bytea, jsonb, uuid, text)',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, text, jsonb, uuid, text)',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, json, jsonb, uuid, text)',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, jsonb, jsonb, uuid, text)',
        'EXECUTE ON FUNCTION outseal.appended_after(xid8, uuid)',
        -- Not tx and seq, on whose defaults the relay's order rests, and not created_at, which
        -- decides when retention removes it.
        'INSERT (event_id, topic, key, type, content_type, headers, payload, payload_bytes)'
          ' ON outseal.outbox',
        -- By columns: to INSERT into a whole table is to be allowed to LOCK it. What is in progress
        -- is changed by functions alone, which demand its fence.
        'SELECT ON outseal.idempotency',
        'INSERT (key_hash, scope, fingerprint, fingerprint_version, state, status, body,'
          ' content_type, reply_headers, created_at, completed_at, purge_at, expires_at)'
          ' ON outseal.idempotency',
        'EXECUTE ON FUNCTION outseal.purge_operations(bigint, bigint)',
        'EXECUTE ON FUNCTION outseal.forget_expired(bytea)',
        'SELECT ON outseal.effect',
        'INSERT (act, subject, detail) ON outseal.audit_pending',
        'EXECUTE ON FUNCTION outseal.key_hash(text, text, text)',
        'EXECUTE ON FUNCTION outseal.operation_of(text)',
        'EXECUTE ON FUNCTION outseal.operation_status(bytea)',
        'EXECUTE ON FUNCTION outseal.effects_of(bytea)',
        'EXECUTE ON FUNCTION outseal.is_locked(bigint)',
        'EXECUTE ON FUNCTION outseal.begin_operation(text, text, text, bytea, text, interval,'
          ' integer)',
        'EXECUTE ON FUNCTION outseal.claim_operation(bytea, text, bytea, integer, bytea, text,'
          ' interval)',
        'EXECUTE ON FUNCTION outseal.take_over_operation(bytea, bigint, text, interval, interval)',
        'EXECUTE ON FUNCTION outseal.hold_operation(bytea, bigint, text, interval, text)',
        'EXECUTE ON FUNCTION outseal.hand_over_operation(bytea, bigint)',
        'EXECUTE ON FUNCTION outseal.finish_operation(bytea, bigint, text, integer, bytea, text,'
          ' text, interval, interval)',
        'EXECUTE ON FUNCTION outseal.begin_effect(bytea, bigint, text, text, bytea, text, text[],'
          ' text, text, interval, interval, interval, boolean, bigint, text, jsonb, text, text[],'
          ' interval, interval)',
        'EXECUTE ON FUNCTION outseal.answer_effect(bytea, bigint, text, text, text, text, bigint,'
          ' text, bytea, timestamptz, interval, text, interval)',
        'EXECUTE ON FUNCTION outseal.effect_step(timestamptz, text, timestamptz, timestamptz,'
          ' text[], text[], text, text, interval, interval, interval, boolean)',
        'EXECUTE ON FUNCTION outseal.provider_key_of(bytea, text)',
        'EXECUTE ON FUNCTION outseal.send_effect(bytea, bigint, text, bytea, text, text, text,'
          ' interval, bigint, text, jsonb)',
        'EXECUTE ON FUNCTION outseal.settle_effect(bytea, bigint, text, text, text, text, bytea,'
          ' text, text, text)',
        'SELECT, INSERT ON outseal.inbox',
        'SELECT, INSERT, UPDATE (position, last_event_id, updated_at) ON outseal.inbox_position',
        'EXECUTE ON FUNCTION outseal.purge_received(bigint, bigint)',
        -- A service takes events out of its inbox; only a relay puts them there.
        'SELECT ON outseal.inbox_event, outseal.inbox_tail',
        'SELECT, INSERT, UPDATE (position, tried_to, updated_at) ON outseal.inbox_cursor',
        -- Not key and position, by which it keeps its place.
        'SELECT, INSERT, UPDATE (state, cause, attempts, attempt_id, reason, changed_at)'
          ' ON outseal.inbox_attempt',
        'EXECUTE ON FUNCTION outseal.finish_attempt(text, uuid)',
        'EXECUTE ON FUNCTION outseal.purge_taken(text, bigint, bigint)']),
      ('outseal_relay', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON outseal.schema_migration',
        'SELECT, DELETE ON outseal.outbox',
        -- Not DELETE: outseal-relay remove is for the schema's owner.
        'SELECT, INSERT, UPDATE ON outseal.subscription, outseal.parked',
        'SELECT, INSERT, UPDATE, DELETE ON outseal.journal, outseal.halt',
        'SELECT, INSERT ON outseal.audit',
        'SELECT, UPDATE ON outseal.turn']),
      ('outseal_reconciler', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON ALL TABLES IN SCHEMA outseal',
        'INSERT, UPDATE ON outseal.run, outseal.finding',
        'INSERT ON outseal.audit',
        'DELETE ON outseal.audit_pending',
        'EXECUTE ON FUNCTION outseal.decide_effect(bytea, text, bigint, text, text, text, bigint,'
          ' text, text)',
        'UPDATE ON outseal.turn']),
      -- A relay in a database that is not its source but its sink. SELECT is for the way back: what
      -- a rebase and the reconciler compare.
      ('outseal_sink', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON outseal.schema_migration',
        'SELECT, INSERT ON outseal.inbox_event',
        'SELECT, INSERT, UPDATE ON outseal.inbox_tail'])
    ) AS g (role, privileges)
  LOOP
    IF NOT wanted.is_there THEN
      RAISE NOTICE 'role % does not exist and was granted nothing', wanted.role
        USING HINT = format('let a user who may create roles run: CREATE ROLE %I; then call '
                            'outseal.grant_roles() again', wanted.role);
      CONTINUE;
    END IF;
    FOR i IN 1 .. cardinality(wanted.privileges) LOOP
      EXECUTE format('GRANT %s TO %I', wanted.privileges[i], wanted.role);
    END LOOP;
  END LOOP;
END
$$;
REVOKE ALL ON FUNCTION outseal.grant_roles() FROM PUBLIC;

DO $$ BEGIN PERFORM outseal.grant_roles(); END $$;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (8, 'roles', '{checksum}');
