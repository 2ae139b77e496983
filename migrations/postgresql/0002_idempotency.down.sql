DROP FUNCTION outseal.forget_expired(bytea);
DROP FUNCTION outseal.purge_operations(bigint, bigint);
DROP TABLE outseal.effect;
DROP TABLE outseal.idempotency;
DROP DOMAIN outseal.sha256, outseal.scope, outseal.operation_state;
DELETE FROM outseal.schema_migration WHERE version = 2;
