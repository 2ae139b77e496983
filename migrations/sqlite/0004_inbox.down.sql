DROP TABLE outseal_inbox_position;
DROP TABLE outseal_inbox;
