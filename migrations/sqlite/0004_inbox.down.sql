DROP TABLE outseal_inbox_attempt;
DROP TABLE outseal_inbox_cursor;
DROP TABLE outseal_inbox_event;
DROP TABLE outseal_inbox_tail;
DROP TABLE outseal_inbox_position;
DROP TABLE outseal_inbox;
DELETE FROM outseal_schema_migration WHERE version = 4;
