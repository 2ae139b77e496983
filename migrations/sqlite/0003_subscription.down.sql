DROP TABLE outseal_parked;
DROP TABLE outseal_journal;
DROP TABLE outseal_subscription;
