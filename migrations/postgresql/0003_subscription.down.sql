DROP TABLE outseal.parked;
DROP TABLE outseal.journal;
DROP TABLE outseal.subscription;
