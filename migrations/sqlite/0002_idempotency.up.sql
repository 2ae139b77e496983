-- Idempotency records: what a key has already done and what it answered.
--
-- A one-transaction operation inserts one completed row and never updates it before the purge. An
-- operation with external effects inserts it as in_progress, with a lease and a fence, and
-- completes it later.
CREATE TABLE outseal_idempotency (
  -- SHA-256 over scope, principal and key, each with its length before it; behind the key's own 48
  -- bits of time if it has them (UUIDv7, ULID). The raw key is a secret of the client's and is
  -- stored nowhere.
  key_hash      BLOB    NOT NULL,
  scope         TEXT    NOT NULL,
  -- SHA-256 of the request's meaning: the same key with another one is refused. The version says
  -- which canonical form it is of; the service's own number.
  fingerprint   BLOB    NOT NULL,
  fingerprint_version INTEGER NOT NULL DEFAULT 1,
  -- 128 random bits that, behind key_hash, make the handle that a client is given in place of its
  -- key. NULL for a one-transaction operation.
  handle        BLOB,
  state         TEXT    NOT NULL,
  -- The reply that a duplicate gets back, byte for byte; NULL while in progress. A final record
  -- whose body is NULL answers "expired".
  status        INTEGER,
  body          BLOB,
  content_type  TEXT,
  reply_headers TEXT,  -- A JSON object of strings; NULL for none.
  -- Only in progress: who works on it, until when by the database's clock, and the fencing token
  -- that a finish must show; 0 for a one-transaction operation.
  lease_owner   TEXT,
  lease_until   INTEGER,
  fence         INTEGER NOT NULL DEFAULT 0,
  attempts      INTEGER NOT NULL DEFAULT 1,
  -- Milliseconds since 1970 UTC. Until when the key is known: NULL while it is not final.
  created_at    INTEGER NOT NULL,
  completed_at  INTEGER,
  expires_at    INTEGER,
  -- When the purge has next to do with it: at the end of the response's retention it drops the body
  -- and puts expires_at here; then it removes the record. NULL while it is not final.
  purge_at      INTEGER,
  CONSTRAINT idempotency_pk PRIMARY KEY (key_hash),
  CONSTRAINT idempotency_key_hash_length CHECK (length(key_hash) IN (32, 38)),
  CONSTRAINT idempotency_fingerprint_length CHECK (length(fingerprint) = 32),
  CONSTRAINT idempotency_handle_length CHECK (length(handle) = 16),
  CONSTRAINT idempotency_scope_length CHECK (length(CAST(scope AS BLOB)) BETWEEN 1 AND 255),
  CONSTRAINT idempotency_lease_owner_length CHECK (length(CAST(lease_owner AS BLOB)) <= 1024),
  CONSTRAINT idempotency_state_known CHECK (
    state IN ('in_progress', 'succeeded', 'failed', 'unknown')),
  CONSTRAINT idempotency_final_has_reply CHECK (
    state NOT IN ('succeeded', 'failed')
    OR (status IS NOT NULL AND (body IS NULL) = (content_type IS NULL)
        AND completed_at IS NOT NULL AND expires_at IS NOT NULL AND purge_at IS NOT NULL)),
  CONSTRAINT idempotency_open_never_expires CHECK (
    state IN ('succeeded', 'failed') OR (expires_at IS NULL AND purge_at IS NULL)),
  -- Else the reconciler would not come upon one that is stuck.
  CONSTRAINT idempotency_open_has_times CHECK (
    state IN ('succeeded', 'failed') OR (created_at BETWEEN 0 AND 253402300799999
      AND coalesce(lease_until, 0) <= 253402300799999)),
  CONSTRAINT idempotency_attempts_positive CHECK (attempts >= 1)
) WITHOUT ROWID;

-- Purge walks those that are due, the reconciler the open ones; both touch only what they look for.
CREATE INDEX outseal_idempotency_purge ON outseal_idempotency (purge_at)
  WHERE purge_at IS NOT NULL;
CREATE INDEX outseal_idempotency_open ON outseal_idempotency (created_at)
  WHERE state IN ('in_progress', 'unknown');

-- External side effects of an operation, written down before they are tried.
CREATE TABLE outseal_effect (
  id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  operation     BLOB    NOT NULL,  -- key_hash of the operation
  name          TEXT    NOT NULL,  -- which of its effects, for example 'charge'
  request_hash  BLOB    NOT NULL,  -- SHA-256 of the request: a name is not used for two.
  provider      TEXT    NOT NULL,  -- whom we call, for example 'stripe'
  -- The idempotency key sent to the provider. Stable over retries and takeovers.
  provider_key  TEXT    NOT NULL,
  policies      TEXT    NOT NULL,  -- in their order, for example 'rerun,ask,hand_over'
  state         TEXT    NOT NULL,
  -- The provider's own name for the outcome, for example a charge id.
  external_ref  TEXT,
  -- What was asked for, to be compared with what the provider did.
  amount_minor  INTEGER,
  currency      TEXT,
  -- What the provider did, by the word of whoever decided on it; NULL: what was asked for.
  applied_minor INTEGER,
  applied_currency TEXT,
  attributes    TEXT    NOT NULL DEFAULT '{}',
  response      BLOB,     -- What the call returned: a resumed operation gets it again.
  compensation  TEXT,     -- The event that undoes it, as JSON; NULL for none.
  fence         INTEGER NOT NULL DEFAULT 0,
  -- Grows with each change: whoever decides names the version that was looked at.
  version       INTEGER NOT NULL DEFAULT 1,
  attempts      INTEGER NOT NULL DEFAULT 0,
  intended_at   INTEGER NOT NULL,
  -- When the first request may have left at the earliest, and the last one at the latest: the end
  -- of the lease, unless its call ended before. NULL if it is proven that none has left.
  first_sent_at INTEGER,
  last_sent_at  INTEGER,
  -- Until when the same provider key may be sent again; NULL if never.
  rerun_until   INTEGER,
  settled_at    INTEGER,
  -- Who decided on it, and on what evidence, if it was not the call itself.
  decided_by    TEXT,
  evidence      TEXT,
  CONSTRAINT effect_name_unique UNIQUE (operation, name),
  CONSTRAINT effect_operation_length CHECK (length(operation) IN (32, 38)),
  CONSTRAINT effect_request_hash_length CHECK (length(request_hash) = 32),
  -- The reconciler reads them all.
  CONSTRAINT effect_texts_length CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 255
    AND length(CAST(provider AS BLOB)) <= 255 AND length(CAST(provider_key AS BLOB)) <= 255
    AND length(CAST(policies AS BLOB)) <= 255 AND length(CAST(external_ref AS BLOB)) <= 1024
    AND length(CAST(decided_by AS BLOB)) <= 1024 AND length(CAST(evidence AS BLOB)) <= 16384),
  CONSTRAINT effect_attributes_length CHECK (length(CAST(attributes AS BLOB)) <= 16384),
  CONSTRAINT effect_response_length CHECK (length(response) <= 1048576),
  CONSTRAINT effect_compensation_length CHECK (length(CAST(compensation AS BLOB)) <= 2097152),
  CONSTRAINT effect_state_known CHECK (state IN ('intended', 'confirmed', 'not_applied', 'failed',
    'unknown', 'applied', 'abandoned', 'disputed')),
  CONSTRAINT effect_currency_length CHECK (currency IS NULL OR length(currency) = 3),
  CONSTRAINT effect_amount_has_currency CHECK ((amount_minor IS NULL) = (currency IS NULL)),
  CONSTRAINT effect_amount_not_negative CHECK (amount_minor >= 0),
  CONSTRAINT effect_applied_is_amount CHECK ((applied_minor IS NULL) = (applied_currency IS NULL)
    AND applied_minor >= 0 AND length(applied_currency) = 3),
  CONSTRAINT effect_attributes_is_object CHECK (attributes GLOB '{*}')
);

-- Not unique on purpose: two outcomes of one provider key are what the reconciler must be able to
-- see, not something to be refused after it has happened.
CREATE INDEX outseal_effect_provider_key ON outseal_effect (provider, provider_key);
CREATE INDEX outseal_effect_open ON outseal_effect (intended_at)
  WHERE state IN ('intended', 'unknown', 'disputed');

INSERT INTO outseal_schema_migration (version, name, checksum)
VALUES (2, 'idempotency', '{checksum}');
