-- Idempotency records: what a key has already done and what it answered.
--
-- A one-transaction operation inserts one completed row and never updates it. An operation with
-- external effects inserts it as in_progress, with a lease and a fence, and completes it later.
CREATE TABLE outseal_idempotency (
  -- SHA-256 over scope, principal and key, each with its length before it. The raw key is a secret
  -- of the client's and is stored nowhere.
  key_hash      BLOB    NOT NULL,
  scope         TEXT    NOT NULL,
  -- SHA-256 of the request's meaning: the same key with another one is refused.
  fingerprint   BLOB    NOT NULL,
  state         TEXT    NOT NULL,
  -- The reply that a duplicate gets back, byte for byte; NULL while in progress.
  status        INTEGER,
  body          BLOB,
  content_type  TEXT,
  -- Only in progress: who works on it, until when by the database's clock, and the fencing token
  -- that a finish must show.
  lease_owner   TEXT,
  lease_until   INTEGER,
  fence         INTEGER NOT NULL DEFAULT 0,
  attempts      INTEGER NOT NULL DEFAULT 1,
  -- Milliseconds since 1970 UTC. A record in progress never expires.
  created_at    INTEGER NOT NULL,
  completed_at  INTEGER,
  expires_at    INTEGER,
  CONSTRAINT idempotency_pk PRIMARY KEY (key_hash),
  CONSTRAINT idempotency_key_hash_length CHECK (length(key_hash) = 32),
  CONSTRAINT idempotency_fingerprint_length CHECK (length(fingerprint) = 32),
  CONSTRAINT idempotency_scope_length CHECK (length(CAST(scope AS BLOB)) BETWEEN 1 AND 255),
  CONSTRAINT idempotency_state_known CHECK (
    state IN ('in_progress', 'succeeded', 'failed', 'unknown')),
  CONSTRAINT idempotency_final_has_reply CHECK (
    state NOT IN ('succeeded', 'failed')
    OR (status IS NOT NULL AND body IS NOT NULL AND content_type IS NOT NULL
        AND completed_at IS NOT NULL AND expires_at IS NOT NULL)),
  CONSTRAINT idempotency_open_never_expires CHECK (
    state IN ('succeeded', 'failed') OR expires_at IS NULL),
  -- Else the reconciler would not come upon one that is stuck.
  CONSTRAINT idempotency_open_has_times CHECK (
    state IN ('succeeded', 'failed') OR (created_at BETWEEN 0 AND 253402300799999
      AND coalesce(lease_until, 0) <= 253402300799999)),
  CONSTRAINT idempotency_attempts_positive CHECK (attempts >= 1)
) WITHOUT ROWID;

-- Purge walks the expired ones, the reconciler the open ones; both touch only what they look for.
CREATE INDEX outseal_idempotency_expires ON outseal_idempotency (expires_at)
  WHERE expires_at IS NOT NULL;
CREATE INDEX outseal_idempotency_open ON outseal_idempotency (created_at)
  WHERE state IN ('in_progress', 'unknown');

-- External side effects of an operation, written down before they are tried.
CREATE TABLE outseal_effect (
  id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  operation     BLOB    NOT NULL,  -- key_hash of the operation
  name          TEXT    NOT NULL,  -- which of its effects, for example 'charge'
  provider      TEXT    NOT NULL,  -- whom we call, for example 'stripe'
  -- The idempotency key sent to the provider. Stable over retries and takeovers.
  provider_key  TEXT    NOT NULL,
  state         TEXT    NOT NULL,
  -- The provider's own name for the outcome, for example a charge id.
  external_ref  TEXT,
  -- What was asked for, to be compared with what the provider did.
  amount_minor  INTEGER,
  currency      TEXT,
  attributes    TEXT    NOT NULL DEFAULT '{}',
  fence         INTEGER NOT NULL DEFAULT 0,
  attempts      INTEGER NOT NULL DEFAULT 0,
  intended_at   INTEGER NOT NULL,
  settled_at    INTEGER,
  CONSTRAINT effect_name_unique UNIQUE (operation, name),
  CONSTRAINT effect_operation_length CHECK (length(operation) = 32),
  -- The reconciler reads them all.
  CONSTRAINT effect_texts_length CHECK (length(CAST(name AS BLOB)) <= 255
    AND length(CAST(provider AS BLOB)) <= 255 AND length(CAST(provider_key AS BLOB)) <= 255
    AND length(CAST(external_ref AS BLOB)) <= 1024),
  CONSTRAINT effect_attributes_length CHECK (length(CAST(attributes AS BLOB)) <= 16384),
  CONSTRAINT effect_state_known CHECK (state IN ('intended', 'confirmed', 'failed', 'unknown')),
  CONSTRAINT effect_currency_length CHECK (currency IS NULL OR length(currency) = 3),
  CONSTRAINT effect_amount_has_currency CHECK ((amount_minor IS NULL) = (currency IS NULL)),
  CONSTRAINT effect_attributes_is_object CHECK (attributes GLOB '{*}')
);

-- Not unique on purpose: two outcomes of one provider key are what the reconciler must be able to
-- see, not something to be refused after it has happened.
CREATE INDEX outseal_effect_provider_key ON outseal_effect (provider, provider_key);
CREATE INDEX outseal_effect_open ON outseal_effect (intended_at)
  WHERE state IN ('intended', 'unknown');

INSERT INTO outseal_schema_migration (version, name, checksum)
VALUES (2, 'idempotency', '{checksum}');
