DROP TABLE outseal_audit;
DROP TABLE outseal_finding;
DROP TABLE outseal_run;
DELETE FROM outseal_schema_migration WHERE version = 5;
