DROP TABLE outseal.effect;
DROP TABLE outseal.idempotency;
