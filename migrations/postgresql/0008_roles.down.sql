-- Takes back all privileges in this schema. The roles stay: they belong to the whole cluster, other
-- databases may use them, and users may be members. When none does any more: DROP ROLE.
DO $$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY
    ARRAY['outseal_producer', 'outseal_relay', 'outseal_reconciler', 'outseal_sink'] LOOP
    CONTINUE WHEN to_regrole(role) IS NULL;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA outseal FROM %I', role);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outseal FROM %I', role);
    EXECUTE format('REVOKE ALL ON SCHEMA outseal FROM %I', role);
  END LOOP;
END
$$;

DROP FUNCTION outseal.grant_roles();
DELETE FROM outseal.schema_migration WHERE version = 8;
