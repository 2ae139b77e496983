-- Takes every event with it. outseal-migrate refuses while unpublished events remain.
DROP FUNCTION outseal.append(text, text, text, jsonb, jsonb, uuid, text);
DROP FUNCTION outseal.append(text, text, text, text, jsonb, uuid, text);
DROP FUNCTION outseal.append(text, text, text, bytea, jsonb, uuid, text);
DROP TABLE outseal.outbox;
DROP DOMAIN outseal.topic, outseal.ordering_key, outseal.event_type, outseal.content_type,
  outseal.headers, outseal.event_time;
DROP FUNCTION outseal.uuid_v7();
