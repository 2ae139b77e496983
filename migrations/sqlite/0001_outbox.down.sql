-- Takes every event with it. outseal-migrate refuses while unpublished events remain.
DROP TABLE outseal_outbox;
DELETE FROM outseal_schema_migration WHERE version = 1;
