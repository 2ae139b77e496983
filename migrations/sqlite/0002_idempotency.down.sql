DROP TABLE outseal_effect;
DROP TABLE outseal_idempotency;
DELETE FROM outseal_schema_migration WHERE version = 2;
