DROP TABLE outseal.turn;
DROP TABLE outseal.audit_pending;
DROP TABLE outseal.audit;
DROP FUNCTION outseal.refuse_audit_change();
DROP TABLE outseal.finding;
DROP TABLE outseal.run;
DELETE FROM outseal.schema_migration WHERE version = 5;
