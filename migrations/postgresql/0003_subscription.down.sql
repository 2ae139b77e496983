DROP TABLE outseal.halt;
DROP TABLE outseal.parked;
DROP TABLE outseal.journal;
DROP TABLE outseal.subscription;
DELETE FROM outseal.schema_migration WHERE version = 3;
