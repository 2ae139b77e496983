-- A subscription: a named cursor over the outbox, a topic filter and one sink.
CREATE TABLE outseal.subscription (
  name            text        NOT NULL COLLATE "C",
  -- Topic patterns as a JSON array, '*' matches any characters: ["orders.*"].
  topics          jsonb       NOT NULL DEFAULT '["*"]',
  -- The sink's address: its URL without credentials and options. A relay that is given another
  -- sink refuses to run.
  sink            text        NOT NULL COLLATE "C",
  -- What the sink says it is, whatever its address; NULL where it cannot say. Another one at the
  -- same address is refused, the same one at another address is not.
  sink_identity   text        COLLATE "C",
  -- The CloudEvents attribute "source" of every event. Part of the bytes that are published.
  event_source    text        NOT NULL COLLATE "C",
  state           text        NOT NULL DEFAULT 'running' COLLATE "C",
  -- Cursor: the window of what is visible in snap_to and not in snap_from, and how far in it, by
  -- seq. Its content never changes, so that it can be read again after a crash. All before it is
  -- bound to a position, parked or filtered out. Without snap_to the window is closed and the next
  -- one begins at snap_from. In '3:3:' only what initdb wrote is visible: a new subscription begins
  -- with the oldest event that is still there.
  after_seq       bigint      NOT NULL DEFAULT 0,
  snap_from       pg_snapshot NOT NULL DEFAULT '3:3:',
  snap_to         pg_snapshot,
  -- Positions up to bound_position are bound to events (journal); up to acked_position the sink has
  -- acknowledged them. Between the two lies the one pending batch.
  bound_position  bigint      NOT NULL DEFAULT 0,
  acked_position  bigint      NOT NULL DEFAULT 0,
  -- The event at acked_position, compared with the sink's tail at every start; NULL for none.
  acked_event_id  uuid,
  -- Every event that is visible in acked_snap is acknowledged, parked or filtered out: what
  -- retention may remove. So is every one up to acked_seq in the window at hand.
  acked_seq       bigint      NOT NULL DEFAULT 0,
  acked_snap      pg_snapshot NOT NULL DEFAULT '3:3:',
  -- Chain of all batch hashes up to bound_position.
  chain_hash      bytea       NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
  -- Fencing: each acquisition raises epoch, each write of the relay raises version. Every write is
  -- a compare-and-set on both, so that a relay that lost its lease cannot move anything.
  epoch           bigint      NOT NULL DEFAULT 0,
  version         bigint      NOT NULL DEFAULT 0,
  -- The lease only avoids wasted work; nothing rests on its clock (the database's).
  lease_owner     text,
  lease_until     timestamptz NOT NULL DEFAULT 'epoch',
  -- The cluster that the cursor belongs to. Its system identifier is a number of 64 bits without a
  -- sign, hence text. Another cluster is refused, and so is another timeline: a failover may have
  -- lost commits.
  source_system   text        COLLATE "C",
  source_timeline integer,
  -- What retention has to say to an operator, if it cannot do what it should.
  retention_note  text,
  created_at      timestamptz NOT NULL,
  updated_at      timestamptz NOT NULL,
  CONSTRAINT subscription_pk PRIMARY KEY (name),
  CONSTRAINT subscription_name_valid CHECK (
    octet_length(name) <= 100 AND name <> '' AND name !~ '[^A-Za-z0-9._-]'),
  CONSTRAINT subscription_topics_is_array CHECK (jsonb_typeof(topics) = 'array'),
  CONSTRAINT subscription_state_known CHECK (state IN ('running', 'paused')),
  CONSTRAINT subscription_ack_not_ahead CHECK (acked_position <= bound_position),
  CONSTRAINT subscription_chain_hash_length CHECK (octet_length(chain_hash) = 32)
) WITH (
  -- One row, rewritten by each batch. With half of a page free the new version goes beside the old
  -- one (HOT): no index entry is written, and the old version's space is reused without a vacuum.
  fillfactor = 50,
  -- Behind somebody's long transaction old versions do pile up: gone soon after its end.
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_scale_factor = 0
);

-- The journal: one row a batch, written before a byte of the batch leaves (the intent).
CREATE TABLE outseal.journal (
  subscription   text        NOT NULL COLLATE "C",
  first_position bigint      NOT NULL,
  event_count    bigint      NOT NULL,
  -- 'log': the events of the window with from_seq < seq <= to_seq that match the filter and are not
  -- parked. 'redrive': the parked events that were bound to these positions. 'rebase': positions
  -- that the sink already held when an operator bound the cursor anew; parked says which events.
  kind           text        NOT NULL DEFAULT 'log' COLLATE "C",
  from_seq       bigint      NOT NULL,
  to_seq         bigint      NOT NULL,
  -- The window that the batch was read from.
  snap_from      pg_snapshot NOT NULL,
  snap_to        pg_snapshot NOT NULL,
  -- Id of the batch's last event: what the sink's tail must show after it.
  last_event_id  uuid        NOT NULL,
  -- SHA-256 over the bytes that the sink is given, position by position, and the chain over all
  -- batches: SHA-256(previous chain, hash, first_position, event_count).
  hash           bytea       NOT NULL,
  chain_hash     bytea       NOT NULL,
  -- Where the sink said that the batch ends; for operators.
  sink_mark      text,
  epoch          bigint      NOT NULL,
  bound_at       timestamptz NOT NULL,
  acked_at       timestamptz,
  CONSTRAINT journal_pk PRIMARY KEY (subscription, first_position),
  CONSTRAINT journal_subscription_fk FOREIGN KEY (subscription)
    REFERENCES outseal.subscription (name),
  CONSTRAINT journal_first_position_positive CHECK (first_position >= 1),
  CONSTRAINT journal_event_count_positive CHECK (event_count >= 1),
  CONSTRAINT journal_kind_known CHECK (kind IN ('log', 'redrive', 'rebase')),
  CONSTRAINT journal_hash_length CHECK (octet_length(hash) = 32 AND octet_length(chain_hash) = 32)
) WITH (
  -- Each row is updated once, when its batch is acknowledged: leave it room on its page (HOT).
  fillfactor = 70
);

-- Events that were set aside: refused by the sink for good, or behind such a one of the same key.
CREATE TABLE outseal.parked (
  subscription text        NOT NULL COLLATE "C",
  seq          bigint      NOT NULL,
  event_id     uuid        NOT NULL,
  topic        text        NOT NULL COLLATE "C",
  key          text        NOT NULL COLLATE "C",
  -- 'refused': the sink will not take it. 'behind': an earlier event of its key is parked.
  cause        text        NOT NULL COLLATE "C",
  -- parked -> queued (redrive asked for) -> redriven (bound to a position); or discarded. While a
  -- key has rows in parked or queued it is blocked: its later events are parked behind them.
  state        text        NOT NULL DEFAULT 'parked' COLLATE "C",
  reason       text        NOT NULL,
  attempts     bigint      NOT NULL DEFAULT 1,
  -- The position that the redrive gave it.
  position     bigint,
  parked_at    timestamptz NOT NULL,
  -- What an operator decided, when and why.
  decided_at   timestamptz,
  decided_by   text,
  decision     text,
  CONSTRAINT parked_pk PRIMARY KEY (subscription, seq),
  CONSTRAINT parked_subscription_fk FOREIGN KEY (subscription)
    REFERENCES outseal.subscription (name),
  -- The position first: an index that begins like the primary key could be taken for it while the
  -- statistics say that the table is empty.
  CONSTRAINT parked_position_unique UNIQUE (position, subscription),
  CONSTRAINT parked_cause_known CHECK (cause IN ('refused', 'behind')),
  CONSTRAINT parked_state_known CHECK (state IN ('parked', 'queued', 'redriven', 'discarded')),
  CONSTRAINT parked_redriven_has_position CHECK ((state = 'redriven') = (position IS NOT NULL))
);

CREATE INDEX parked_open ON outseal.parked (subscription, key, seq)
  WHERE state IN ('parked', 'queued');
CREATE INDEX parked_queued ON outseal.parked (subscription, seq) WHERE state = 'queued';

-- The error that ended a relay's work on a subscription, until one leads it again. A row of its
-- own: the subscription may not have been made yet, and the relay may not hold its lease.
CREATE TABLE outseal.halt (
  subscription text        NOT NULL COLLATE "C",
  halted_at    timestamptz NOT NULL,
  error        text        NOT NULL,  -- a name of ErrorCode
  message      text        NOT NULL,
  hint         text        NOT NULL,
  CONSTRAINT halt_pk PRIMARY KEY (subscription)
);

INSERT INTO outseal.schema_migration (version, name, checksum)
VALUES (3, 'subscription', '{checksum}');
