DROP TABLE outseal_effect;
DROP TABLE outseal_idempotency;
