DROP TABLE outseal_halt;
DROP TABLE outseal_parked;
DROP TABLE outseal_journal;
DROP TABLE outseal_subscription;
DELETE FROM outseal_schema_migration WHERE version = 3;
