DROP TABLE outseal.inbox_position;
DROP TABLE outseal.inbox;
