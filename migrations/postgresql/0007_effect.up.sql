-- Effects outside the database: an operation's calls of its providers. See 0006_operation.
--
-- An effect is written down as intended, durably, before its request leaves, and settled after it.
-- Whoever finds one that was not settled follows its policies. That rule stands in effect_step;
-- the library has the same one in lib/src/operation/effect_core_policies.cc, and a test compares
-- the two.

-- Notes that a request is about to leave: from now until the lease ends, it may. A second request
-- leaves only within `rerun_for` of the first, unless it was proven that none has arrived. Returns
-- how many there were.
CREATE FUNCTION outseal.send_effect(
  operation bytea, fence bigint, name text, request_hash bytea, provider text, provider_key text,
  policies text, rerun_for interval DEFAULT NULL, amount_minor bigint DEFAULT NULL,
  currency text DEFAULT NULL, attributes jsonb DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  now CONSTANT timestamptz := clock_timestamp();
  until timestamptz;
  sent integer;
BEGIN
  -- As lease_end(): what follows outside must not be forgotten.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  -- Demands the fence and holds the record as require_fence() does, at the price of one statement.
  INSERT INTO outseal.effect (amount_minor, fence, intended_at, first_sent_at, last_sent_at,
    rerun_until, attempts, operation, request_hash, name, provider, provider_key, policies, state,
    currency, attributes)
  SELECT send_effect.amount_minor, i.fence, now, now, i.lease_until, now + rerun_for, 1,
    i.key_hash, send_effect.request_hash, send_effect.name, send_effect.provider,
    send_effect.provider_key, send_effect.policies, 'intended', send_effect.currency,
    coalesce(send_effect.attributes, '{}')
  FROM outseal.idempotency i
  WHERE i.key_hash = send_effect.operation AND i.fence = send_effect.fence
    AND i.state = 'in_progress' FOR UPDATE
  ON CONFLICT DO NOTHING;
  IF FOUND THEN RETURN 1; END IF;
  until := outseal.require_fence(operation, fence);
  UPDATE outseal.effect e SET fence = send_effect.fence, version = e.version + 1,
    attempts = e.attempts + 1, first_sent_at = coalesce(e.first_sent_at, now),
    last_sent_at = until, rerun_until = coalesce(e.first_sent_at, now) + rerun_for
  WHERE e.operation = send_effect.operation AND e.name = send_effect.name AND e.state = 'intended'
    AND e.request_hash = send_effect.request_hash
    AND (e.last_sent_at IS NULL OR now < e.first_sent_at + rerun_for)
  RETURNING e.attempts INTO sent;
  IF FOUND THEN RETURN sent; END IF;
  RAISE EXCEPTION 'effect % must not be sent', quote_literal(name)
    USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = 'outseal', TABLE = 'effect',
      CONSTRAINT = 'effect_may_be_sent',
      HINT = 'it is settled, or the provider''s window for its key has ended';
END
$$;
REVOKE ALL ON FUNCTION outseal.send_effect(bytea, bigint, text, bytea, text, text, text, interval,
  bigint, text, jsonb) FROM PUBLIC;

-- Settles an effect that was intended: as confirmed, not_applied, failed, unknown or disputed. Or
-- notes, as `intended`, what is known of its requests: `open`, the last one has left by now;
-- `absent`, none was applied and none can still arrive, so the next one is sent as a new one;
-- `never`, none has ever left, so the window has not begun. Returns the effect's new version.
CREATE FUNCTION outseal.settle_effect(
  operation bytea, fence bigint, name text, state text, sent text DEFAULT 'open',
  reference text DEFAULT NULL, response bytea DEFAULT NULL,
  compensation text DEFAULT NULL, decided_by text DEFAULT NULL, evidence text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_version bigint;
  now CONSTANT timestamptz := clock_timestamp();
  intended CONSTANT boolean := settle_effect.state = 'intended';
  never CONSTANT boolean := intended AND sent = 'never';
BEGIN
  IF (settle_effect.state IN ('intended', 'confirmed', 'not_applied', 'failed', 'unknown',
                              'disputed') AND sent IN ('open', 'absent', 'never')) IS NOT TRUE THEN
    RAISE EXCEPTION 'an effect is not settled as % and %', coalesce(state, 'NULL'),
      coalesce(sent, 'NULL') USING ERRCODE = 'invalid_parameter_value',
        HINT = 'give intended, confirmed, not_applied, failed, unknown or disputed; and open,'
          ' absent or never';
  END IF;
  -- Demands the fence and holds the record as require_fence() does, at the price of one statement.
  WITH held AS MATERIALIZED (
    SELECT FROM outseal.idempotency i WHERE i.key_hash = settle_effect.operation
      AND i.fence = settle_effect.fence AND i.state = 'in_progress' FOR UPDATE
  )
  UPDATE outseal.effect e SET state = settle_effect.state, fence = settle_effect.fence,
    version = e.version + 1, external_ref = reference, response = settle_effect.response,
    compensation = settle_effect.compensation, decided_by = settle_effect.decided_by,
    evidence = settle_effect.evidence,
    settled_at = CASE WHEN NOT intended THEN now END,
    first_sent_at = CASE WHEN NOT never THEN e.first_sent_at END,
    last_sent_at = CASE WHEN intended AND sent <> 'open' THEN NULL
                        WHEN intended AND e.last_sent_at > now THEN now ELSE e.last_sent_at END,
    rerun_until = CASE WHEN NOT never THEN e.rerun_until END
  FROM held
  WHERE e.operation = settle_effect.operation AND e.name = settle_effect.name
    AND e.state = 'intended'
  RETURNING e.version INTO new_version;
  IF NOT FOUND THEN
    PERFORM outseal.require_fence(operation, fence);
    RAISE EXCEPTION 'no effect % is intended', quote_literal(name)
      USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = 'outseal', TABLE = 'effect',
        CONSTRAINT = 'effect_is_intended', HINT = 'see what is recorded: operation_status';
  END IF;
  RETURN new_version;
END
$$;
REVOKE ALL ON FUNCTION outseal.settle_effect(bytea, bigint, text, text, text, text, bytea, text,
  text, text) FROM PUBLIC;

-- --- The rule -----------------------------------------------------------------------------------

-- What to do about an effect that is recorded like this at the time `now`; `state` is NULL for a
-- new one. `tried` are the steps of this attempt to which the provider had no answer.
CREATE FUNCTION outseal.effect_step(
  now timestamptz, state text, first_sent_at timestamptz, last_sent_at timestamptz,
  policies text[], tried text[], replays text, rerun_needs text, rerun_window interval,
  margin interval, max_in_flight interval, cancels_by_key boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN state IS NULL THEN 'call'
    WHEN state IN ('unknown', 'disputed') THEN 'handed_over'
    WHEN state <> 'intended' THEN 'recorded'
    WHEN last_sent_at IS NULL THEN 'call'
    -- Nothing is decided while a request on its way can still make it wrong: one that the provider
    -- would take for a new one, or a cancellation, which would undo what was confirmed.
    WHEN (replays <> 'any' OR 'cancel_by_key' = ANY (policies))
      AND now < last_sent_at + max_in_flight THEN 'wait'
    ELSE coalesce((
      SELECT CASE p.policy WHEN 'cancel_by_key' THEN 'cancel' WHEN 'hand_over' THEN 'handed_over'
             ELSE p.policy END
      FROM unnest(policies) WITH ORDINALITY AS p (policy, place)
      WHERE CASE p.policy
        -- With a second for the call. Sent in the future: the clock was set back, by nobody knows
        -- how much; the margin is there for less.
        WHEN 'rerun' THEN first_sent_at <= now + margin
          AND array_position('{nothing,success,any}'::text[], replays)
            >= array_position('{nothing,success,any}'::text[], rerun_needs)
          AND now + interval '1 second' <= first_sent_at + rerun_window - margin
        WHEN 'ask' THEN 'ask' <> ALL (tried)
        WHEN 'cancel_by_key' THEN cancels_by_key AND 'cancel' <> ALL (tried)
        ELSE true END
      ORDER BY p.place LIMIT 1), 'handed_over')
  END
$$;
REVOKE ALL ON FUNCTION outseal.effect_step(timestamptz, text, timestamptz, timestamptz, text[],
  text[], text, text, interval, interval, interval, boolean) FROM PUBLIC;

-- --- In one word --------------------------------------------------------------------------------

-- Says what to do about an effect, and writes down what has to be known before it is done. COMMIT
-- before anything is done; then tell answer_effect what the provider has said.
--   call, rerun   send the request with `provider_key`; rerun: it may have arrived before
--   ask, cancel   ask the provider about `provider_key`, or let it cancel what that has done
--   recorded      nothing is left to do: state, reference, response
--   wait          come back at `wait_until`: give the operation back with hold_operation
--   handed_over   an operator decides; so is the operation
-- What is done must have ended `call_for` from now: the lease is renewed for `lease`, and ends
-- `lease_margin` after that. An effect is given the same request, provider and amount each time.
CREATE FUNCTION outseal.begin_effect(
  operation bytea, fence bigint, owner text, name text, request_hash bytea, provider text,
  policies text[] DEFAULT '{hand_over}', replays text DEFAULT 'nothing',
  rerun_needs text DEFAULT 'success', rerun_window interval DEFAULT '0',
  margin interval DEFAULT '5 minutes', max_in_flight interval DEFAULT '2 minutes',
  cancels_by_key boolean DEFAULT false, amount_minor bigint DEFAULT NULL,
  currency text DEFAULT NULL, attributes jsonb DEFAULT '{}', INOUT provider_key text DEFAULT NULL,
  tried text[] DEFAULT '{}', lease interval DEFAULT '1 minute',
  lease_margin interval DEFAULT '5 seconds',
  OUT step text, OUT call_for interval, OUT decided_at timestamptz, OUT wait_until timestamptz,
  OUT attempts integer, OUT state text, OUT reference text, OUT response bytea)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  seen outseal.effect;
  rerun_for CONSTANT interval := CASE
    WHEN array_position('{nothing,success,any}'::text[], replays)
      >= array_position('{nothing,success,any}'::text[], rerun_needs)
      AND rerun_window > margin THEN rerun_window - margin END;
BEGIN
  IF NOT (policies <@ '{rerun,ask,cancel_by_key,hand_over}'
      AND ARRAY[replays, rerun_needs] <@ '{nothing,success,any}') IS TRUE THEN
    RAISE EXCEPTION 'a policy, or what is replayed, is not known'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'policies are rerun, ask, cancel_by_key'
        ' and hand_over; replays and rerun_needs are nothing, success or any';
  END IF;
  decided_at := clock_timestamp();
  IF (least(decided_at + max_in_flight, decided_at + margin, decided_at + rerun_window,
        decided_at + lease_margin) >= decided_at AND decided_at + lease > decided_at + lease_margin
      AND num_nulls(max_in_flight, margin, rerun_window, lease_margin, request_hash, provider,
                    cancels_by_key, tried) = 0) IS NOT TRUE THEN
    RAISE EXCEPTION 'an argument is NULL, negative, or a lease no longer than its margin'
      USING ERRCODE = 'invalid_parameter_value', HINT = 'request_hash, provider and times are'
        ' needed; leave out what has a default';
  END IF;
  PERFORM outseal.hold_operation(operation, fence, owner, lease);
  SELECT e.* INTO seen FROM outseal.effect e
  WHERE e.operation = begin_effect.operation AND e.name = begin_effect.name;
  IF seen.request_hash <> request_hash OR seen.provider <> provider
    OR seen.provider_key <> nullif(provider_key, '') OR seen.id IS NOT NULL
      AND (seen.amount_minor, seen.currency) IS DISTINCT FROM
          (begin_effect.amount_minor, begin_effect.currency) THEN
    RAISE EXCEPTION 'effect % is recorded with another request', quote_literal(name)
      USING ERRCODE = 'check_violation', SCHEMA = 'outseal', TABLE = 'effect',
        CONSTRAINT = 'effect_request_is_same', HINT = 'request, provider and amount stay the same;'
          ' give each effect of an operation its own name';
  END IF;
  decided_at := clock_timestamp();
  step := outseal.effect_step(decided_at, seen.state, seen.first_sent_at, seen.last_sent_at,
    policies, tried, replays, rerun_needs, rerun_window, margin, max_in_flight, cancels_by_key);
  provider_key := coalesce(seen.provider_key, nullif(provider_key, ''),
                           outseal.provider_key_of(operation, name));
  attempts := coalesce(seen.attempts, 0);
  call_for := greatest(lease - lease_margin, '0');
  IF step IN ('call', 'rerun') THEN
    IF step = 'rerun' THEN
      call_for := least(call_for, seen.first_sent_at + rerun_for - decided_at);
    END IF;
    attempts := outseal.send_effect(operation, fence, name, request_hash, provider, provider_key,
      array_to_string(policies, ','), rerun_for, amount_minor, currency, attributes);
  ELSIF step = 'cancel' THEN
    PERFORM outseal.hold_operation(operation, fence, owner, lease, sending => name);
  ELSIF step = 'wait' THEN
    wait_until := seen.last_sent_at + max_in_flight;
  ELSIF step = 'handed_over' THEN
    IF seen.state = 'intended' THEN
      PERFORM outseal.settle_effect(operation, fence, name, 'unknown', decided_by => 'hand_over',
        evidence => concat_ws('; ', 'tried: ' || nullif(array_to_string(tried, ', '), ''),
                              'no policy is left'));
    END IF;
    PERFORM outseal.hand_over_operation(operation, fence);
  END IF;
  state := CASE WHEN step = 'handed_over' AND seen.state = 'intended' THEN 'unknown'
           ELSE coalesce(seen.state, 'intended') END;
  reference := seen.external_ref;
  response := seen.response;
END
$$;
REVOKE ALL ON FUNCTION outseal.begin_effect(bytea, bigint, text, text, bytea, text, text[], text,
  text, interval, interval, interval, boolean, bigint, text, jsonb, text, text[], interval,
  interval) FROM PUBLIC;

-- Records what the provider has said to a `step` of begin_effect:
--   call, rerun   applied, refused (for good), not_sent (proven: it never left), or uncertain
--   ask           applied, not_applied_proven, not_found_yet, or cannot_tell
--   cancel        cancelled, applied, or cannot_tell
-- "Not found yet" is a proof only of a question that was asked `absence_after` the last request,
-- and nothing proves an absence while that may be on its way, for `max_in_flight`; `asked_at` is
-- the decided_at of begin_effect. An amount other than the one asked for makes the
-- effect disputed. Returns the effect's state. If that is `intended`, call begin_effect again: at
-- once, or after `retry_after` if it is set; behind cannot_tell with the step added to `tried`.
CREATE FUNCTION outseal.answer_effect(
  operation bytea, fence bigint, name text, step text, answer text, reference text DEFAULT NULL,
  amount_minor bigint DEFAULT NULL, currency text DEFAULT NULL, response bytea DEFAULT NULL,
  asked_at timestamptz DEFAULT NULL, absence_after interval DEFAULT '10 minutes',
  compensation text DEFAULT NULL, max_in_flight interval DEFAULT '2 minutes', OUT state text,
  OUT retry_after interval)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  seen outseal.effect;
  sent text := 'open';
  evidence text;
BEGIN
  IF (answer = ANY (CASE WHEN step IN ('call', 'rerun')
        THEN '{applied,refused,not_sent,uncertain}'::text[]
      WHEN step = 'ask' THEN '{applied,not_applied_proven,not_found_yet,cannot_tell}'
      WHEN step = 'cancel' THEN '{cancelled,applied,cannot_tell}' END)) IS NOT TRUE THEN
    RAISE EXCEPTION '% is no answer to %', coalesce(answer, 'NULL'), coalesce(step, 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'step is the word of begin_effect; the'
        ' answers to each are in migrations/README.md';
  END IF;
  IF asked_at > clock_timestamp() OR (clock_timestamp() + absence_after >= clock_timestamp()
      AND clock_timestamp() + max_in_flight >= clock_timestamp()) IS NOT TRUE THEN
    RAISE EXCEPTION 'the question was asked at %, and absence counts after % and %', asked_at,
      coalesce(absence_after::text, 'NULL'), coalesce(max_in_flight::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value',
        HINT = 'asked_at is the decided_at of begin_effect; an absence counts only after a time';
  END IF;
  SELECT e.* INTO seen FROM outseal.effect e
  WHERE e.operation = answer_effect.operation AND e.name = answer_effect.name;
  state := CASE answer WHEN 'applied' THEN 'confirmed' WHEN 'refused' THEN 'failed'
           WHEN 'cancelled' THEN 'not_applied' ELSE 'intended' END;
  IF step IN ('ask', 'cancel') AND state <> 'intended' THEN
    evidence := 'the provider says ' || answer;
  END IF;
  -- One that is not given is not compared; half of one is another one.
  IF answer = 'applied' AND seen.amount_minor IS NOT NULL
    AND num_nonnulls(answer_effect.amount_minor, answer_effect.currency) > 0
    AND (seen.amount_minor, seen.currency) IS DISTINCT FROM
        (answer_effect.amount_minor, answer_effect.currency) THEN
    state := 'disputed';
    evidence := format('asked for %s minor units of %s, the provider says %s minor units of %s',
      seen.amount_minor, seen.currency, coalesce(answer_effect.amount_minor::text, 'no'),
      coalesce(answer_effect.currency, 'no currency'));
  ELSIF answer = 'not_sent' THEN
    -- Earlier requests may have left, even if it was proven that they are over.
    sent := CASE WHEN step <> 'call' THEN 'open' WHEN seen.attempts = 1 THEN 'never'
            ELSE 'absent' END;
    retry_after := '1 second';
  ELSIF answer = 'uncertain' THEN
    retry_after := '1 second';
  ELSIF answer = 'not_applied_proven' THEN
    IF coalesce(asked_at, clock_timestamp()) >= seen.last_sent_at + max_in_flight THEN
      sent := 'absent';
    ELSE
      retry_after := greatest(seen.last_sent_at + max_in_flight - clock_timestamp(), '1 second');
    END IF;
  ELSIF answer = 'not_found_yet' THEN
    IF asked_at >= seen.last_sent_at + absence_after THEN
      sent := 'absent';
    ELSE
      retry_after := greatest(seen.last_sent_at + absence_after - clock_timestamp(), '1 second');
    END IF;
  END IF;
  PERFORM outseal.settle_effect(operation, fence, name, state, sent, reference, response,
    compensation, CASE WHEN state <> 'intended' OR sent <> 'open' THEN
      CASE step WHEN 'ask' THEN 'ask' WHEN 'cancel' THEN 'cancel_by_key'
      ELSE CASE WHEN state = 'disputed' THEN 'call' END END END, evidence);
  IF state = 'disputed' THEN PERFORM outseal.hand_over_operation(operation, fence); END IF;
END
$$;
REVOKE ALL ON FUNCTION outseal.answer_effect(bytea, bigint, text, text, text, text, bigint, text,
  bytea, timestamptz, interval, text, interval) FROM PUBLIC;

-- --- Decisions ----------------------------------------------------------------------------------

-- Records what a person has found out about an effect whose end is open: that it was `applied`,
-- with the provider's reference and maybe another amount than was asked for; that it is
-- `not_applied`, proven, and can no longer arrive; or that nobody will ever know, `abandoned`.
-- `version` is the one that was looked at. Nobody may be at work on the operation: after the last
-- decision it is taken over as one that was left. Whoever still thinks to hold it is fenced.
-- Returns the effect's new version. A reconciler's run moves the note of it to the audit trail.
CREATE FUNCTION outseal.decide_effect(
  operation bytea, name text, version bigint, state text, reason text,
  reference text DEFAULT NULL, amount_minor bigint DEFAULT NULL, currency text DEFAULT NULL,
  actor text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  held outseal.idempotency;
  seen outseal.effect;
  decider CONSTANT text := coalesce(nullif(actor, ''), session_user);
BEGIN
  IF (decide_effect.state IN ('applied', 'not_applied', 'abandoned')
      AND reason <> '' AND octet_length(reason) <= 4096) IS NOT TRUE
    OR num_nonnulls(reference, amount_minor, currency) > 0 AND state <> 'applied'
    OR num_nulls(amount_minor, currency) = 1 THEN
    RAISE EXCEPTION 'this is no decision about an effect' USING
      ERRCODE = 'invalid_parameter_value', HINT = 'give applied, not_applied or abandoned, and a'
        ' reason of at most 4096 bytes; a reference, and an amount with its currency, for applied';
  END IF;
  -- Statements of their own, so that each sees what was committed while the one before it waited.
  SELECT i.* INTO held FROM outseal.idempotency i
  WHERE i.key_hash = decide_effect.operation FOR UPDATE;
  SELECT e.* INTO seen FROM outseal.effect e
  WHERE e.operation = decide_effect.operation AND e.name = decide_effect.name FOR UPDATE;
  IF held.state = 'in_progress' AND held.lease_until > clock_timestamp() THEN
    RAISE EXCEPTION 'somebody is at work on the operation until %', held.lease_until
      USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = 'outseal',
        TABLE = 'idempotency', CONSTRAINT = 'operation_is_left',
        HINT = 'wait until it is done, and look again';
  END IF;
  IF (seen.version = decide_effect.version
      AND seen.state IN ('intended', 'unknown', 'disputed')) IS NOT TRUE THEN
    RAISE EXCEPTION 'effect % is % in version %, nothing to be decided in version %',
      quote_literal(name), coalesce(seen.state, 'absent'), coalesce(seen.version, 0),
      coalesce(version::text, 'NULL')
      USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = 'outseal', TABLE = 'effect',
        CONSTRAINT = 'effect_is_as_seen', HINT = 'look at it again before you decide';
  END IF;
  UPDATE outseal.effect e SET state = decide_effect.state, version = e.version + 1,
    settled_at = clock_timestamp(), external_ref = coalesce(nullif(reference, ''), e.external_ref),
    applied_minor = decide_effect.amount_minor, applied_currency = decide_effect.currency,
    decided_by = decider, evidence = concat_ws('; ', e.evidence, reason)
  WHERE e.id = seen.id;
  UPDATE outseal.idempotency i SET fence = i.fence + 1
  WHERE i.key_hash = held.key_hash AND i.state = 'in_progress';
  INSERT INTO outseal.audit_pending (actor, act, subject, detail)
  VALUES (decider, 'effect.' || state, 'operation ' || encode(operation, 'hex'),
    json_strip_nulls(json_build_object('effect', name, 'was', seen.state, 'version', version,
      'reference', reference, 'amount_minor', amount_minor, 'currency', currency,
      'reason', reason, 'user', nullif(session_user::text, decider)))::text);
  RETURN seen.version + 1;
END
$$;
REVOKE ALL ON FUNCTION outseal.decide_effect(bytea, text, bigint, text, text, text, bigint, text,
  text) FROM PUBLIC;

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (7, 'effect', '{checksum}');
