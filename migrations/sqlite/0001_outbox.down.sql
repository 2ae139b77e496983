-- Takes every event with it. outseal-migrate refuses while unpublished events remain.
DROP TABLE outseal_outbox;
