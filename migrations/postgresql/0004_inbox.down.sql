DROP TABLE outseal.inbox_cursor;
DROP TABLE outseal.inbox_event;
DROP TABLE outseal.inbox_position;
DROP TABLE outseal.inbox;
