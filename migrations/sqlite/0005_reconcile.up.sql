-- One row per run of the reconciler. A row without finished_at is a run at work or one that died.
CREATE TABLE outseal_run (
  id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER,
  owner       TEXT    NOT NULL,
  checks      TEXT    NOT NULL,  -- JSON array of the names of the checks
  -- Counts of the run as a JSON object: what was looked at, opened, still open, closed.
  summary     TEXT    NOT NULL DEFAULT '{}',
  CONSTRAINT run_checks_is_array CHECK (checks GLOB '[[]*]'),
  CONSTRAINT run_summary_is_object CHECK (summary GLOB '{*}')
);

-- What a check found. A finding lives across runs: seen again, it is the same row; gone, it is
-- closed, never deleted; back again, it is opened once more.
CREATE TABLE outseal_finding (
  id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  check_name  TEXT    NOT NULL,
  -- What it is about; by these four a finding is recognised when it is seen again. The whole
  -- database, or one subscription; where in it ('17', 'seq:4711', 'key:a', may be empty); and the
  -- kind, if the check knows several.
  scope       TEXT    NOT NULL,
  scope_name  TEXT    NOT NULL,  -- of the subscription, else empty
  locator     TEXT    NOT NULL,
  kind        TEXT    NOT NULL,
  severity    TEXT    NOT NULL,
  state       TEXT    NOT NULL DEFAULT 'open',
  detail      TEXT    NOT NULL,  -- one sentence for a human
  first_run   INTEGER NOT NULL,
  last_run    INTEGER NOT NULL,
  opened_at   INTEGER NOT NULL,
  closed_at   INTEGER,
  decided_by  TEXT,
  decision    TEXT,
  CONSTRAINT finding_unique UNIQUE (check_name, scope, scope_name, locator, kind),
  CONSTRAINT finding_scope_known CHECK (scope = 'database' AND scope_name = ''
    OR scope = 'subscription' AND scope_name <> ''),
  CONSTRAINT finding_severity_known CHECK (severity IN ('warning', 'error', 'critical')),
  -- repaired, accepted and false_alarm are an operator's words; closed is the reconciler's.
  CONSTRAINT finding_state_known CHECK (
    state IN ('open', 'closed', 'repaired', 'accepted', 'false_alarm')),
  CONSTRAINT finding_first_run_fk FOREIGN KEY (first_run) REFERENCES outseal_run (id),
  CONSTRAINT finding_last_run_fk FOREIGN KEY (last_run) REFERENCES outseal_run (id)
);

CREATE INDEX outseal_finding_open ON outseal_finding (check_name) WHERE state = 'open';

-- Decisions and operator acts, append-only, each row chained to the one before it.
CREATE TABLE outseal_audit (
  id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  at        INTEGER NOT NULL,
  actor     TEXT    NOT NULL,
  act       TEXT    NOT NULL,  -- for example 'parked.discard'
  subject   TEXT    NOT NULL,
  detail    TEXT    NOT NULL,
  prev_hash BLOB    NOT NULL,
  -- SHA-256 over prev_hash, at, actor, act, subject and detail, each with its length before it.
  hash      BLOB    NOT NULL,
  CONSTRAINT audit_hash_length CHECK (length(prev_hash) = 32 AND length(hash) = 32),
  -- Two rows with one predecessor would be a fork of the trail.
  CONSTRAINT audit_prev_hash_unique UNIQUE (prev_hash)
);

CREATE TRIGGER outseal_audit_no_update BEFORE UPDATE ON outseal_audit
BEGIN SELECT RAISE(ABORT, 'outseal_audit is append-only'); END;
CREATE TRIGGER outseal_audit_no_delete BEFORE DELETE ON outseal_audit
BEGIN SELECT RAISE(ABORT, 'outseal_audit is append-only'); END;

INSERT INTO outseal_schema_migration (version, name, checksum)
VALUES (5, 'reconcile', '{checksum}');
