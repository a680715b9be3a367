-- The first schema. The tables are ours to change; the views are the documented way in.
--
-- Keys are packed integers, so that what belongs together lies together and new rows
-- are appended: a job has a key, its node number n has job * 2^32 + n, the piece of its
-- history that begins with event s has job * 2^32 + s. Transfers, counter-parties and their
-- accesses have keys of the same series, so that one table has the histories of all; round n of
-- an access has access * 2^32 + n. Times are nanoseconds since 1970.

-- Where each partition of the log has been read to. topic_id tells a topic from another
-- one that took its name.
CREATE TABLE log_position (
  topic        TEXT    NOT NULL,
  "partition"  INTEGER NOT NULL,
  topic_id     TEXT    NOT NULL,
  next_offset  INTEGER NOT NULL,
  next_command INTEGER NOT NULL, -- on the aggregate's commands topic: what lies before has been decided
  decided_at   INTEGER NOT NULL,
  PRIMARY KEY (topic, "partition")
) WITHOUT ROWID, STRICT;

-- doc is the job as the HTTP interface shows it, without input, output, nodes and edges.
CREATE TABLE job (
  key     INTEGER PRIMARY KEY,
  id      TEXT    NOT NULL,
  seq     INTEGER NOT NULL, -- of the last event folded in
  origin  INTEGER NOT NULL, -- where its first event lies: partition * 2^48 + offset
  code    INTEGER NOT NULL, -- of the state
  type    TEXT    NOT NULL,
  name    TEXT,             -- of what it deploys, where it has one
  "set"   TEXT,             -- whose it is, where it is somebody's
  created INTEGER NOT NULL,
  doc     TEXT    NOT NULL,
  input   TEXT,             -- a small one; a large one, which must not be written again with each change, is in job_input
  output  TEXT
) STRICT;
CREATE UNIQUE INDEX job_id ON job (id);
CREATE INDEX job_created ON job (created, id);
CREATE INDEX job_type ON job (type, created, id);
-- What the log has let go of is looked for by where it began.
CREATE INDEX job_origin ON job (origin);
-- Few jobs have a name.
CREATE INDEX job_name ON job (name, created, id) WHERE name IS NOT NULL;
CREATE INDEX job_set ON job ("set", created, id) WHERE "set" IS NOT NULL;
-- Nearly all jobs end well; an index over them would cost more than it finds.
CREATE INDEX job_code ON job (code, created, id) WHERE code <> 800;

CREATE TABLE job_input (
  job   INTEGER PRIMARY KEY,
  input TEXT NOT NULL
) STRICT;

CREATE TABLE job_label (
  name    TEXT    NOT NULL,
  value   TEXT    NOT NULL,
  created INTEGER NOT NULL,
  job_id  TEXT    NOT NULL,
  job     INTEGER NOT NULL,
  PRIMARY KEY (name, value, created, job_id)
) WITHOUT ROWID, STRICT;

-- doc is the node as the HTTP interface shows it.
CREATE TABLE node (
  key    INTEGER PRIMARY KEY,
  id     TEXT    NOT NULL,
  seq    INTEGER NOT NULL, -- of the last event that changed it
  state  INTEGER NOT NULL, -- PENDING is 0, up to SKIPPED 9
  waited INTEGER NOT NULL, -- somebody outside was told the work's id
  work   TEXT,             -- the work's id, while somebody may still ask for it
  access TEXT,             -- ids of the negotiations that it acquired access by, JSON
  doc    TEXT    NOT NULL
) STRICT;
-- Work that was done where nobody outside ever knew its id is not looked for.
CREATE INDEX node_work ON node (work) WHERE work IS NOT NULL;

-- Edges that follow from no node: links to nodes that were there already. The others
-- are the parent and the dependsOn of a node.
CREATE TABLE edge (
  key      INTEGER PRIMARY KEY,
  "from"   TEXT NOT NULL,
  "to"     TEXT NOT NULL,
  kind     TEXT NOT NULL
) STRICT;

-- Pieces of history, packed (history.go). How a history is cut into pieces depends on
-- how the log was read, what it says does not.
CREATE TABLE history (
  key    INTEGER PRIMARY KEY,
  events BLOB NOT NULL
) STRICT;

-- doc is the transfer as the HTTP interface shows it; that of one which waits for access names the
-- counter-party in the place of the round.
CREATE TABLE transfer (
  key         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL,
  seq         INTEGER NOT NULL, -- of the last event folded in
  origin      INTEGER NOT NULL, -- as a job's
  code        INTEGER NOT NULL, -- of the state
  created     INTEGER NOT NULL,
  provider    TEXT    NOT NULL,
  connector   TEXT    NOT NULL,
  asset       TEXT    NOT NULL,
  job         TEXT,             -- whose activity asked for it, where one did
  negotiation TEXT,             -- id of the round that gave it access
  doc         TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX transfer_id ON transfer (id);
CREATE INDEX transfer_created ON transfer (created, id);
CREATE INDEX transfer_origin ON transfer (origin);
CREATE INDEX transfer_provider ON transfer (provider, created, id);
CREATE INDEX transfer_asset ON transfer (asset, created, id);
CREATE INDEX transfer_job ON transfer (job, created, id) WHERE job IS NOT NULL;
CREATE INDEX transfer_code ON transfer (code, created, id) WHERE code <> 800;

-- A counter-party: one of our connectors and a provider, whose id they are. tasks are those that are
-- open, JSON.
CREATE TABLE party (
  key   INTEGER PRIMARY KEY,
  id    TEXT    NOT NULL,
  seq   INTEGER NOT NULL, -- of the last event folded in
  tasks TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX party_id ON party (id);

-- What is known of an asset of a counter-party: its rounds, and a history.
CREATE TABLE access (
  key   INTEGER PRIMARY KEY,
  party INTEGER NOT NULL,
  asset TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX access_asset ON access (party, asset);

-- The rounds of accesses. edr is the last one's, sealed as it stands on the log. doc is the round as
-- the HTTP interface shows it, without tasks and waiters.
CREATE TABLE negotiation (
  key       INTEGER PRIMARY KEY,
  id        TEXT    NOT NULL,
  first     INTEGER NOT NULL, -- sequence of its first event
  code      INTEGER NOT NULL,
  created   INTEGER NOT NULL,
  provider  TEXT    NOT NULL,
  connector TEXT    NOT NULL,
  asset     TEXT    NOT NULL,
  edr       TEXT,
  doc       TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX negotiation_id ON negotiation (id);
CREATE INDEX negotiation_created ON negotiation (created, id);
CREATE INDEX negotiation_provider ON negotiation (provider, created, id);
CREATE INDEX negotiation_asset ON negotiation (asset, created, id);
CREATE INDEX negotiation_code ON negotiation (code, created, id) WHERE code <> 1200;

-- Who waits for access, once for each asset; for all of a type the asset is empty until the catalog
-- has answered.
CREATE TABLE waiter (
  waiter TEXT    NOT NULL,
  party  INTEGER NOT NULL,
  asset  TEXT    NOT NULL,
  since  INTEGER NOT NULL,
  job    TEXT,             -- whose activity waits, where one does without a transfer
  doc    TEXT    NOT NULL,
  PRIMARY KEY (waiter, party, asset)
) WITHOUT ROWID, STRICT;
CREATE INDEX waiter_asset ON waiter (party, asset, since, waiter);
CREATE INDEX waiter_job ON waiter (job) WHERE job IS NOT NULL;

-- Wishes for access of those outside, and their answers.
CREATE TABLE wish (
  waiter  TEXT    NOT NULL,
  party   INTEGER NOT NULL,
  created INTEGER NOT NULL,
  doc     TEXT    NOT NULL,
  PRIMARY KEY (waiter, party)
) WITHOUT ROWID, STRICT;
CREATE INDEX wish_created ON wish (created);

-- Definitions as they stand in started events, cut out of the history: each once.
CREATE TABLE plan (
  key  INTEGER PRIMARY KEY,
  body TEXT NOT NULL UNIQUE
) STRICT;

-- Accepted commands by day, so that old ones go in one piece. id is 16 bytes where it is
-- a UUID.
CREATE TABLE command (
  day          INTEGER NOT NULL,
  id           BLOB    NOT NULL,
  aggregate    TEXT    NOT NULL,
  aggregate_id TEXT    NOT NULL,
  first_seq    INTEGER NOT NULL, -- of the events it made happen; 0 for none
  last_seq     INTEGER NOT NULL,
  at           INTEGER NOT NULL,
  PRIMARY KEY (day, id)
) WITHOUT ROWID, STRICT;

CREATE TABLE rejection (
  key          INTEGER PRIMARY KEY,
  command_id   TEXT    NOT NULL,
  hash         TEXT    NOT NULL,
  command_type TEXT    NOT NULL,
  aggregate    TEXT    NOT NULL,
  aggregate_id TEXT    NOT NULL,
  code         TEXT    NOT NULL,
  reason       TEXT    NOT NULL,
  errors       TEXT    NOT NULL,
  at           INTEGER NOT NULL,
  UNIQUE (command_id, hash)
) STRICT;
CREATE INDEX rejection_at ON rejection (at, command_id, hash);

CREATE TABLE deadletter (
  id          TEXT PRIMARY KEY,
  origin      INTEGER NOT NULL, -- where it lies itself, as a job's
  topic       TEXT    NOT NULL, -- of the original, as the offset
  "partition" INTEGER NOT NULL,
  "offset"    INTEGER NOT NULL,
  key         BLOB,
  value       BLOB,
  headers     TEXT    NOT NULL, -- [[name, base64], …] of the original
  error       TEXT    NOT NULL,
  at          INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX deadletter_at ON deadletter (at, id);
CREATE INDEX deadletter_origin ON deadletter (origin);

-- Every version of every definition; the newest that is not deleted is in force. A version
-- that has changed hands is there once for each.
CREATE TABLE definition (
  id       TEXT    NOT NULL, -- orchestration/<type> or activity/<type>
  seq      INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  type     TEXT    NOT NULL,
  version  INTEGER NOT NULL,
  deleted  INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  "set"    TEXT,             -- whose it is, where it is somebody's
  body     TEXT,
  PRIMARY KEY (id, seq)
) WITHOUT ROWID, STRICT;

-- Times in views and documents are 2026-01-02T03:04:05.123456Z: always with the same number
-- of digits, so that text sorts as time.
CREATE VIEW jobs AS SELECT
  j.id,
  j.name,
  j."set",
  j.type,
  json_extract(doc, '$.definitionVersion') AS definition_version,
  json_extract(doc, '$.run') AS run,
  json_extract(doc, '$.state') AS state,
  j.code,
  json_extract(doc, '$.paused') AS paused,
  json_extract(doc, '$.createdAt') AS created_at,
  json_extract(doc, '$.startedAt') AS started_at,
  json_extract(doc, '$.endedAt') AS ended_at,
  json_extract(doc, '$.deadline') AS deadline,
  json_extract(doc, '$.labels') AS labels,
  json_extract(doc, '$.partial') AS partial,
  coalesce(j.input, (SELECT i.input FROM job_input i WHERE i.job = j.key)) AS input,
  j.output,
  json_extract(doc, '$.compensation.state') AS compensation,
  json_extract(doc, '$.disposal.id') AS disposed_by,
  json_extract(doc, '$.disposes.id') AS disposes,
  json_extract(doc, '$.result.path') AS result_path,
  json_extract(doc, '$.result.size') AS result_size,
  json_extract(doc, '$.error') AS error,
  json_extract(doc, '$.failures') AS failures,
  json_extract(doc, '$.progress.total') AS total,
  json_extract(doc, '$.progress.pending') AS pending,
  json_extract(doc, '$.progress.running') AS running,
  json_extract(doc, '$.progress.waiting') AS waiting,
  json_extract(doc, '$.progress.completed') AS completed,
  json_extract(doc, '$.progress.failed') AS failed,
  json_extract(doc, '$.progress.cancelled') AS cancelled,
  json_extract(doc, '$.progress.skipped') AS skipped,
  j.seq AS sequence,
  json_extract(doc, '$.blobsRemovedAt') AS blobs_removed_at,
  json_extract(doc, '$.position') AS position
FROM job j;

-- number counts the nodes of a job from 0, as they were registered.
CREATE VIEW nodes AS SELECT
  j.id AS job_id,
  n.key & 0xffffffff AS number,
  n.id,
  json_extract(n.doc, '$.name') AS name,
  json_extract(n.doc, '$.type') AS type,
  json_extract(n.doc, '$.discriminator') AS discriminator,
  json_extract(n.doc, '$.parent') AS parent,
  json_extract(n.doc, '$.dependsOn') AS depends_on,
  json_extract(n.doc, '$.state') AS state,
  json_extract(n.doc, '$.paused') AS paused,
  json_extract(n.doc, '$.attempt') AS attempt,
  json_extract(n.doc, '$.workId') AS work_id,
  json_extract(n.doc, '$.agent') AS agent,
  json_extract(n.doc, '$.since') AS since,
  json_extract(n.doc, '$.deadline') AS deadline,
  json_extract(n.doc, '$.nextAttemptAt') AS next_attempt_at,
  CASE n.doc ->> '$.waitingOn.kind' WHEN 'transfer' THEN coalesce(
    (SELECT t.waiting_on FROM transfers t WHERE t.id = n.doc ->> '$.transferId'), n.doc ->> '$.waitingOn')
  WHEN 'negotiation' THEN coalesce(
    (SELECT json_object('kind', 'negotiation', 'id', a.negotiation) FROM awaited a WHERE a.job = j.id AND a.node = n.id AND a.negotiation IS NOT NULL LIMIT 1),
    n.doc ->> '$.waitingOn')
  ELSE n.doc ->> '$.waitingOn' END AS waiting_on,
  json_extract(n.doc, '$.transferId') AS transfer_id,
  coalesce(json_extract(n.doc, '$.negotiationId'),
    (SELECT t.negotiation FROM transfer t WHERE t.id = n.doc ->> '$.transferId'),
    (SELECT a.negotiation FROM awaited a WHERE a.waiter = n.doc ->> '$.transferId' AND a.negotiation IS NOT NULL LIMIT 1),
    (SELECT a.negotiation FROM awaited a WHERE a.job = j.id AND a.node = n.id AND a.negotiation IS NOT NULL LIMIT 1)) AS negotiation_id,
  nullif(n.doc -> '$.output', 'null') AS output,
  json_extract(n.doc, '$.error') AS error,
  json_extract(n.doc, '$.startedAt') AS started_at,
  json_extract(n.doc, '$.endedAt') AS ended_at,
  n.seq AS sequence
FROM job j JOIN node n ON n.key BETWEEN j.key << 32 AND (j.key << 32) + 0xffffffff;

-- The round that somebody waits for now, by who waits.
CREATE VIEW awaited AS SELECT w.waiter, w.job, w.doc ->> '$.nodeId' AS node, p.id AS party,
  (SELECT n.id FROM access a JOIN negotiation n ON n.key BETWEEN a.key << 32 AND (a.key << 32) + 0xffffffff
    WHERE a.party = w.party AND a.asset = w.asset ORDER BY n.key DESC LIMIT 1) AS negotiation
FROM waiter w JOIN party p ON p.key = w.party;

-- One row per transfer. waiting_on is {kind, id} of whom it waits for.
CREATE VIEW transfers AS SELECT
  t.id,
  t.job AS job_id,
  json_extract(doc, '$.nodeId') AS node_id,
  json_extract(doc, '$.attempt') AS attempt,
  t.provider,
  json_extract(doc, '$.connector') AS connector,
  json_extract(doc, '$.adapter') AS adapter,
  json_extract(doc, '$.counterPartyId') AS counter_party_id,
  t.asset AS asset_id,
  json_extract(doc, '$.way') AS way,
  json_extract(doc, '$.transferType') AS transfer_type,
  json_extract(doc, '$.state') AS state,
  t.code,
  json_extract(doc, '$.outcome') AS outcome,
  json_extract(doc, '$.reason') AS reason,
  json_extract(doc, '$.by') AS ended_by,
  json_extract(doc, '$.error') AS error,
  json_extract(doc, '$.providerProcessId') AS provider_process_id,
  json_extract(doc, '$.manifest') AS manifest,
  json_extract(doc, '$.resources') AS resources,
  json_extract(doc, '$.createdAt') AS created_at,
  json_extract(doc, '$.since') AS since,
  json_extract(doc, '$.until') AS until,
  json_extract(doc, '$.deadline') AS deadline,
  json_extract(doc, '$.endedAt') AS ended_at,
  CASE WHEN doc ->> '$.waitingOn.kind' = 'negotiation' THEN coalesce(
    (SELECT json_object('kind', 'negotiation', 'id', a.negotiation) FROM awaited a WHERE a.waiter = t.id AND a.negotiation IS NOT NULL LIMIT 1),
    json_object('kind', 'provider', 'id', t.provider))
  ELSE doc ->> '$.waitingOn' END AS waiting_on,
  t.negotiation AS negotiation_id,
  json_extract(doc, '$.agreementId') AS agreement_id,
  json_extract(doc, '$.constraints') AS constraints,
  nullif(doc -> '$.output', 'null') AS output,
  json_extract(doc, '$.history') AS history,
  t.seq AS sequence,
  json_extract(doc, '$.position') AS position
FROM transfer t;

-- One row per round. waiters are the ids of those who wait for the asset now, of its last round.
CREATE VIEW negotiations AS SELECT
  n.id,
  n.key & 0xffffffff AS round,
  n.provider,
  json_extract(doc, '$.connector') AS connector,
  json_extract(doc, '$.counterPartyId') AS counter_party_id,
  n.asset AS asset_id,
  json_extract(doc, '$.state') AS state,
  n.code,
  json_extract(doc, '$.agreementId') AS agreement_id,
  json_extract(doc, '$.agreement.state') AS agreement_state,
  json_extract(doc, '$.edr.state') AS edr_state,
  json_extract(doc, '$.edr.since') AS edr_since,
  json_extract(doc, '$.edr.expiresAt') AS edr_expires_at,
  json_extract(doc, '$.edr.processId') AS edr_process_id,
  (SELECT json_group_array(waiter) FROM (SELECT w.waiter FROM access a JOIN waiter w ON w.party = a.party AND w.asset = a.asset
    WHERE a.key = n.key >> 32 AND NOT EXISTS (SELECT 1 FROM negotiation l WHERE l.key > n.key AND l.key <= (a.key << 32) + 0xffffffff)
    ORDER BY w.since, w.waiter)) AS waiters,
  json_extract(doc, '$.reason') AS reason,
  json_extract(doc, '$.by') AS ended_by,
  json_extract(doc, '$.error') AS error,
  json_extract(doc, '$.constraints') AS constraints,
  json_extract(doc, '$.createdAt') AS created_at,
  json_extract(doc, '$.since') AS since,
  json_extract(doc, '$.deadline') AS deadline,
  json_extract(doc, '$.endedAt') AS ended_at,
  json_extract(doc, '$.history') AS history,
  json_extract(doc, '$.position') AS position
FROM negotiation n;

CREATE VIEW rejections AS SELECT
  command_id, command_type, aggregate, aggregate_id, code, reason, errors,
  strftime('%Y-%m-%dT%H:%M:%S', at / 1000000000, 'unixepoch') || printf('.%06dZ', at / 1000 % 1000000) AS at
FROM rejection;

CREATE VIEW deadletters AS SELECT
  id, topic, "partition", "offset", key, value, headers, error,
  strftime('%Y-%m-%dT%H:%M:%S', at / 1000000000, 'unixepoch') || printf('.%06dZ', at / 1000 % 1000000) AS at
FROM deadletter;

CREATE VIEW positions AS SELECT
  topic, "partition", next_offset, next_command,
  strftime('%Y-%m-%dT%H:%M:%S', decided_at / 1000000000, 'unixepoch') || printf('.%06dZ', decided_at / 1000 % 1000000) AS decided_at
FROM log_position;
