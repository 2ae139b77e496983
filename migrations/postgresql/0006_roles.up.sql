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
--
-- Row locks (FOR UPDATE) need the privilege to UPDATE one column: that is why a producer, which
-- never updates a completed record, has it on lease_until.
CREATE FUNCTION outseal.grant_roles() RETURNS void
LANGUAGE plpgsql SECURITY INVOKER
AS $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN
    SELECT g.role, to_regrole(g.role) IS NOT NULL AS is_there, g.privileges
    FROM (VALUES
      ('outseal_producer', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON outseal.schema_migration',
        'EXECUTE ON FUNCTION outseal.uuid_v7()',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, bytea, jsonb, uuid, text)',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, text, jsonb, uuid, text)',
        'EXECUTE ON FUNCTION outseal.append(text, text, text, jsonb, jsonb, uuid, text)',
        -- Not tx and seq: the relay's order rests on their defaults.
        'INSERT (event_id, topic, key, type, content_type, headers, payload, created_at)'
          ' ON outseal.outbox',
        'SELECT, INSERT, DELETE, UPDATE (lease_until) ON outseal.idempotency',
        'SELECT, INSERT, UPDATE ON outseal.effect',
        'SELECT, INSERT, UPDATE, DELETE ON outseal.inbox, outseal.inbox_position',
        -- A service takes events out of its inbox; only a relay puts them there.
        'SELECT, DELETE ON outseal.inbox_event',
        'SELECT, INSERT, UPDATE ON outseal.inbox_cursor']),
      ('outseal_relay', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON outseal.schema_migration',
        'SELECT, DELETE ON outseal.outbox',
        'SELECT, INSERT, UPDATE ON outseal.subscription, outseal.parked',
        'SELECT, INSERT, UPDATE, DELETE ON outseal.journal',
        'SELECT, INSERT ON outseal.audit']),
      ('outseal_reconciler', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON ALL TABLES IN SCHEMA outseal',
        'INSERT, UPDATE ON outseal.run, outseal.finding',
        'INSERT ON outseal.audit']),
      -- A relay in a database that is not its source but its sink. SELECT is for the way back: what
      -- a rebase and the reconciler compare.
      ('outseal_sink', ARRAY[
        'USAGE ON SCHEMA outseal',
        'SELECT ON outseal.schema_migration',
        'SELECT, INSERT ON outseal.inbox_event',
        'SELECT, INSERT, UPDATE ON outseal.inbox_position'])
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
