DROP FUNCTION outseal.decide_effect(bytea, text, bigint, text, text, text, bigint, text, text);
DROP FUNCTION outseal.answer_effect(bytea, bigint, text, text, text, text, bigint, text, bytea,
  timestamptz, interval, text, interval);
DROP FUNCTION outseal.begin_effect(bytea, bigint, text, text, bytea, text, text[], text, text,
  interval, interval, interval, boolean, bigint, text, jsonb, text, text[], interval, interval);
DROP FUNCTION outseal.effect_step(timestamptz, text, timestamptz, timestamptz, text[], text[], text,
  text, interval, interval, interval, boolean);
DROP FUNCTION outseal.settle_effect(bytea, bigint, text, text, text, text, bytea, text, text,
  text);
DROP FUNCTION outseal.send_effect(bytea, bigint, text, bytea, text, text, text, interval, bigint,
  text, jsonb);
DELETE FROM outseal.schema_migration WHERE version = 7;
