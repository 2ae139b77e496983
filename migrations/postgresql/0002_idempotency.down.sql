DROP TABLE outseal.effect;
DROP TABLE outseal.idempotency;
DROP DOMAIN outseal.sha256, outseal.scope, outseal.operation_state;
