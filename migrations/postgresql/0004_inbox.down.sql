DROP FUNCTION outseal.purge_taken(text, bigint, bigint);
DROP FUNCTION outseal.purge_received(bigint, bigint);
DROP TABLE outseal.inbox_cursor;
DROP TABLE outseal.inbox_event;
DROP TABLE outseal.inbox_tail;
DROP TABLE outseal.inbox_position;
DROP TABLE outseal.inbox;
DELETE FROM outseal.schema_migration WHERE version = 4;
