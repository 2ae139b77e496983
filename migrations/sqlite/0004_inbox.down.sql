DROP TABLE outseal_inbox_cursor;
DROP TABLE outseal_inbox_event;
DROP TABLE outseal_inbox_position;
DROP TABLE outseal_inbox;
