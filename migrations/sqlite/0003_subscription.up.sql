-- A subscription: a named cursor over the outbox, a topic filter and one sink.
CREATE TABLE outseal_subscription (
  name            TEXT    NOT NULL,
  -- Topic patterns as a JSON array, '*' matches any characters: ["orders.*"].
  topics          TEXT    NOT NULL DEFAULT '["*"]',
  -- The sink's address: its URL without credentials and options. A relay that is given another
  -- sink refuses to run.
  sink            TEXT    NOT NULL,
  -- What the sink says it is, whatever its address; NULL where it cannot say. Another one at the
  -- same address is refused, the same one at another address is not.
  sink_identity   TEXT,
  -- The CloudEvents attribute "source" of every event. Part of the bytes that are published.
  event_source    TEXT    NOT NULL,
  state           TEXT    NOT NULL DEFAULT 'running',
  -- Cursor: everything up to here is bound to a position, parked or filtered out. SQLite reads by
  -- seq alone; snap_from, snap_to and acked_snap are PostgreSQL's, kept so that both schemas are
  -- one.
  after_seq       INTEGER NOT NULL DEFAULT 0,
  snap_from       TEXT,
  snap_to         TEXT,
  -- Positions up to bound_position are bound to events (journal); up to acked_position the sink has
  -- acknowledged them. Between the two lies the one pending batch.
  bound_position  INTEGER NOT NULL DEFAULT 0,
  acked_position  INTEGER NOT NULL DEFAULT 0,
  -- The event at acked_position, compared with the sink's tail at every start.
  acked_event_id  TEXT    NOT NULL DEFAULT '',
  -- Every event up to here is acknowledged, parked or filtered out: what retention may remove.
  acked_seq       INTEGER NOT NULL DEFAULT 0,
  acked_snap      TEXT,
  -- Chain of all batch hashes up to bound_position.
  chain_hash      BLOB    NOT NULL DEFAULT (zeroblob(32)),
  -- Fencing: each acquisition raises epoch, each write of the relay raises version. Every write is
  -- a compare-and-set on both, so that a relay that lost its lease cannot move anything.
  epoch           INTEGER NOT NULL DEFAULT 0,
  version         INTEGER NOT NULL DEFAULT 0,
  -- The lease only avoids wasted work; nothing rests on its clock (the database's).
  lease_owner     TEXT,
  lease_until     INTEGER NOT NULL DEFAULT 0,
  -- Identity of the cluster that the cursor belongs to (PostgreSQL).
  source_system   TEXT,
  source_timeline INTEGER,
  -- What retention has to say to an operator, if it cannot do what it should.
  retention_note  TEXT,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  CONSTRAINT subscription_pk PRIMARY KEY (name),
  CONSTRAINT subscription_name_valid CHECK (
    length(name) BETWEEN 1 AND 100 AND name NOT GLOB '*[^A-Za-z0-9._-]*'),
  CONSTRAINT subscription_topics_is_array CHECK (topics GLOB '[[]*]'),
  CONSTRAINT subscription_state_known CHECK (state IN ('running', 'paused')),
  CONSTRAINT subscription_ack_not_ahead CHECK (acked_position <= bound_position),
  CONSTRAINT subscription_acked_seq_not_ahead CHECK (acked_seq <= after_seq),
  CONSTRAINT subscription_chain_hash_length CHECK (length(chain_hash) = 32)
) WITHOUT ROWID;

-- The journal: one row a batch, written before a byte of the batch leaves (the intent).
CREATE TABLE outseal_journal (
  subscription   TEXT    NOT NULL,
  first_position INTEGER NOT NULL,
  event_count    INTEGER NOT NULL,
  -- 'log': the events with from_seq < seq <= to_seq that match the filter and are not parked.
  -- 'redrive': the parked events that were bound to these positions. 'rebase': positions that the
  -- sink already held when an operator bound the cursor anew; parked says which events.
  kind           TEXT    NOT NULL DEFAULT 'log',
  from_seq       INTEGER NOT NULL,
  to_seq         INTEGER NOT NULL,
  snap_from      TEXT,
  snap_to        TEXT,
  -- Id of the batch's last event: what the sink's tail must show after it.
  last_event_id  TEXT    NOT NULL,
  -- SHA-256 over the bytes that the sink is given, position by position, and the chain over all
  -- batches: SHA-256(previous chain, hash, first_position, event_count).
  hash           BLOB    NOT NULL,
  chain_hash     BLOB    NOT NULL,
  -- Where the sink said that the batch ends; for operators.
  sink_mark      TEXT,
  epoch          INTEGER NOT NULL,
  bound_at       INTEGER NOT NULL,
  acked_at       INTEGER,
  CONSTRAINT journal_pk PRIMARY KEY (subscription, first_position),
  CONSTRAINT journal_subscription_fk FOREIGN KEY (subscription)
    REFERENCES outseal_subscription (name),
  CONSTRAINT journal_first_position_positive CHECK (first_position >= 1),
  CONSTRAINT journal_event_count_positive CHECK (event_count >= 1),
  CONSTRAINT journal_kind_known CHECK (kind IN ('log', 'redrive', 'rebase')),
  CONSTRAINT journal_hash_length CHECK (length(hash) = 32 AND length(chain_hash) = 32)
) WITHOUT ROWID;

-- Events that were set aside: refused by the sink for good, or behind such a one of the same key.
CREATE TABLE outseal_parked (
  subscription TEXT    NOT NULL,
  seq          INTEGER NOT NULL,
  event_id     TEXT    NOT NULL,
  topic        TEXT    NOT NULL,
  key          TEXT    NOT NULL,
  -- 'refused': the sink will not take it. 'behind': an earlier event of its key is parked.
  cause        TEXT    NOT NULL,
  -- parked -> queued (redrive asked for) -> redriven (bound to a position); or discarded. While a
  -- key has rows in parked or queued it is blocked: its later events are parked behind them.
  state        TEXT    NOT NULL DEFAULT 'parked',
  reason       TEXT    NOT NULL,
  attempts     INTEGER NOT NULL DEFAULT 1,
  -- The position that the redrive gave it.
  position     INTEGER,
  parked_at    INTEGER NOT NULL,
  -- What an operator decided, when and why.
  decided_at   INTEGER,
  decided_by   TEXT,
  decision     TEXT,
  CONSTRAINT parked_pk PRIMARY KEY (subscription, seq),
  CONSTRAINT parked_subscription_fk FOREIGN KEY (subscription)
    REFERENCES outseal_subscription (name),
  CONSTRAINT parked_position_unique UNIQUE (subscription, position),
  CONSTRAINT parked_cause_known CHECK (cause IN ('refused', 'behind')),
  CONSTRAINT parked_state_known CHECK (state IN ('parked', 'queued', 'redriven', 'discarded')),
  CONSTRAINT parked_redriven_has_position CHECK ((state = 'redriven') = (position IS NOT NULL))
) WITHOUT ROWID;

CREATE INDEX outseal_parked_open ON outseal_parked (subscription, key, seq)
  WHERE state IN ('parked', 'queued');
CREATE INDEX outseal_parked_queued ON outseal_parked (subscription, seq) WHERE state = 'queued';

-- The error that ended a relay's work on a subscription, until one leads it again. A row of its
-- own: the subscription may not have been made yet, and the relay may not hold its lease.
CREATE TABLE outseal_halt (
  subscription TEXT    NOT NULL,
  halted_at    INTEGER NOT NULL,
  error        TEXT    NOT NULL,  -- a name of ErrorCode
  message      TEXT    NOT NULL,
  hint         TEXT    NOT NULL,
  CONSTRAINT halt_pk PRIMARY KEY (subscription)
) WITHOUT ROWID;

INSERT INTO outseal_schema_migration (version, name, checksum)
VALUES (3, 'subscription', '{checksum}');
