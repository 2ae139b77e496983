DROP FUNCTION outseal.forget_expired(bytea);
DROP FUNCTION outseal.purge_operations(bigint, bigint);
DROP FUNCTION outseal.has_open_effect(bytea);
DROP TABLE outseal.effect;
DROP TABLE outseal.idempotency;
DROP FUNCTION outseal.check_record();
DROP FUNCTION outseal.key_hash(text, text, text);
DELETE FROM outseal.schema_migration WHERE version = 2;
