DROP FUNCTION outseal.begin_operation(text, text, text, bytea, text, interval, integer);
DROP FUNCTION outseal.finish_operation(bytea, bigint, text, integer, bytea, text, text, interval,
  interval);
DROP FUNCTION outseal.hand_over_operation(bytea, bigint);
DROP FUNCTION outseal.hold_operation(bytea, bigint, text, interval, text);
DROP FUNCTION outseal.take_over_operation(bytea, bigint, text, interval, interval);
DROP FUNCTION outseal.claim_operation(bytea, text, bytea, integer, bytea, text, interval);
DROP FUNCTION outseal.lease_end(interval);
DROP FUNCTION outseal.require_fence(bytea, bigint);
DROP FUNCTION outseal.operation_status(bytea);
DROP FUNCTION outseal.is_locked(bigint);
DROP FUNCTION outseal.effects_of(bytea);
DROP FUNCTION outseal.operation_of(text);
DROP FUNCTION outseal.provider_key_of(bytea, text);
DELETE FROM outseal.schema_migration WHERE version = 6;
