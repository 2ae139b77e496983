-- Leaves the schema and schema_migration: an administrator may have made the first.
--
-- Takes every event with it. outseal-migrate refuses while unpublished events remain.
DROP FUNCTION outseal.appended_after(xid8, uuid);
DROP FUNCTION outseal.append(text, text, text, jsonb, jsonb, uuid, text);
DROP FUNCTION outseal.append(text, text, text, json, jsonb, uuid, text);
DROP FUNCTION outseal.append(text, text, text, bytea, jsonb, uuid, text);
DROP FUNCTION outseal.append(text, text, text, text, jsonb, uuid, text);
DROP TABLE outseal.outbox;
DROP FUNCTION outseal.check_event();
DROP FUNCTION outseal.uuid_v7();
DELETE FROM outseal.schema_migration WHERE version = 1;
