-- Times are epoch milliseconds, ids integers made by the application. Words and names compare byte by byte ("C").
CREATE TABLE meta (name TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
-- Each writer's last transaction, written with it: where the answer to a commit is lost, this says whether there was one. The
-- number that PostgreSQL itself gives a transaction does not: after a crash another may have the same.
CREATE TABLE last_commit (
  process BIGINT NOT NULL, slot BIGINT NOT NULL, token BIGINT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (process, slot)
) WITH (fillfactor = 50);
-- What is numbered without anybody waiting for whoever took the number before.
CREATE SEQUENCE incident_id;
CREATE SEQUENCE broadcast_id;
CREATE SEQUENCE subscriber_id;
CREATE SEQUENCE audience_id;
-- Nodes, and which shards each owns under which epoch, until its lease ends by the server's clock. Who has no row owns nothing.
CREATE SEQUENCE epoch;
-- One that is leaving has no share.
CREATE TABLE node (
  id BIGINT PRIMARY KEY, until BIGINT NOT NULL, leaving BOOLEAN NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TABLE shard (id SMALLINT PRIMARY KEY, node BIGINT NOT NULL, epoch BIGINT NOT NULL) WITH (fillfactor = 50);
INSERT INTO shard SELECT n, 0, 0 FROM generate_series(0, 63) AS n;
CREATE TABLE event (
  source TEXT COLLATE "C" NOT NULL, id TEXT COLLATE "C" NOT NULL, digest BYTEA NOT NULL, incident BIGINT NOT NULL,
  number BIGINT NOT NULL, broadcasts TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (source, id)
);
CREATE INDEX event_at ON event (at);
CREATE INDEX event_incident ON event (incident);
CREATE TABLE incident (
  id BIGINT PRIMARY KEY, key TEXT COLLATE "C" NOT NULL, version BIGINT NOT NULL, mode TEXT NOT NULL, state TEXT NOT NULL,
  last_number BIGINT NOT NULL, opened BIGINT NOT NULL, closed BIGINT
);
CREATE INDEX incident_closed ON incident (closed) WHERE closed IS NOT NULL;
CREATE TABLE incident_alias (name TEXT COLLATE "C" PRIMARY KEY, incident BIGINT NOT NULL);
CREATE INDEX incident_alias_incident ON incident_alias (incident);
CREATE TABLE incident_update (
  incident BIGINT NOT NULL, number BIGINT NOT NULL, source TEXT COLLATE "C" NOT NULL, sequence BIGINT, at BIGINT NOT NULL,
  taken BIGINT NOT NULL, late BOOLEAN NOT NULL, says TEXT NOT NULL, facts TEXT NOT NULL, occasion TEXT NOT NULL,
  said_by TEXT NOT NULL, corrects BIGINT, PRIMARY KEY (incident, number)
);
CREATE TABLE thread (
  incident BIGINT NOT NULL, audience TEXT COLLATE "C" NOT NULL, latest BIGINT NOT NULL, released TEXT NOT NULL, status TEXT,
  severity TEXT, PRIMARY KEY (incident, audience)
);
-- kind: what is to happen at due to subject.
CREATE TABLE timer (
  kind TEXT COLLATE "C" NOT NULL, subject BIGINT NOT NULL, due BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, subject)
);
CREATE INDEX timer_due ON timer (due);
CREATE TABLE frozen (digest BYTEA PRIMARY KEY, kind TEXT NOT NULL, bytes BYTEA NOT NULL);
-- state: 0 held, 1 running, 2 paused; 3 done, 4 cancelled, 5 superseded, 6 expired
CREATE TABLE broadcast (
  id BIGINT PRIMARY KEY, incident BIGINT NOT NULL, audience TEXT COLLATE "C" NOT NULL, number BIGINT NOT NULL,
  version BIGINT NOT NULL, plan TEXT NOT NULL, step TEXT NOT NULL, purpose TEXT NOT NULL, occasion TEXT NOT NULL,
  priority SMALLINT NOT NULL, state SMALLINT NOT NULL, selection TEXT NOT NULL, held TEXT NOT NULL, created BIGINT NOT NULL,
  released BIGINT, ended BIGINT, deadline BIGINT NOT NULL, templates BYTEA NOT NULL, facts TEXT NOT NULL,
  code TEXT COLLATE "C" NOT NULL, shards BIGINT NOT NULL
);
CREATE INDEX broadcast_live ON broadcast (priority, id) WHERE state < 3;
CREATE INDEX broadcast_incident ON broadcast (incident, number);
CREATE INDEX broadcast_thread ON broadcast (incident, audience) WHERE state < 3;
-- told_open: who is told and has something more under way.
CREATE TABLE progress (
  broadcast BIGINT NOT NULL, shard SMALLINT NOT NULL, cursor BIGINT NOT NULL, epoch BIGINT NOT NULL,
  selected BIGINT NOT NULL DEFAULT 0, told BIGINT NOT NULL DEFAULT 0, unknown BIGINT NOT NULL DEFAULT 0,
  unreachable BIGINT NOT NULL DEFAULT 0, skipped BIGINT NOT NULL DEFAULT 0, superseded BIGINT NOT NULL DEFAULT 0,
  cancelled BIGINT NOT NULL DEFAULT 0, expired BIGINT NOT NULL DEFAULT 0, told_open BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (broadcast, shard)
) WITH (fillfactor = 50);
-- What grows with recipients is partitioned by blocks of broadcasts (block.rs makes and drops them), so that retention is not
-- a delete of every row.
CREATE TABLE manifest (
  broadcast BIGINT NOT NULL, number BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, epoch BIGINT NOT NULL,
  at BIGINT NOT NULL, shard SMALLINT NOT NULL, open BOOLEAN NOT NULL, decisions BYTEA NOT NULL,
  PRIMARY KEY (broadcast, shard, number)
) PARTITION BY RANGE (broadcast);
CREATE INDEX manifest_open ON manifest (broadcast, shard, number) WHERE open;
-- state: 0 open, 1 moved, 2 expired, 3 cancelled, 4 superseded, 5 rejected, 6 unknown, 7 told.
-- place 0 is the recipient as a whole, waiting with no way chosen.
CREATE TABLE delivery (
  broadcast BIGINT NOT NULL, subscriber BIGINT NOT NULL, began BIGINT NOT NULL, ended BIGINT NOT NULL, due BIGINT NOT NULL,
  tries BIGINT NOT NULL, place INTEGER NOT NULL, channel INTEGER NOT NULL, lane INTEGER NOT NULL, state SMALLINT NOT NULL,
  priority SMALLINT NOT NULL, detail TEXT, ref TEXT, receipt TEXT,
  -- The epoch of the owner in whose lane an open row is; 0 in none.
  entered BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (broadcast, subscriber, place)
) PARTITION BY RANGE (broadcast);
CREATE INDEX delivery_open ON delivery (lane, priority, due) WHERE state = 0;
-- A told row in lane 65535 waits for its confirmation until due.
CREATE INDEX delivery_unconfirmed ON delivery (priority, due) WHERE lane = 65535;
CREATE TABLE attempt (
  broadcast BIGINT NOT NULL, subscriber BIGINT NOT NULL, began BIGINT NOT NULL, node BIGINT NOT NULL, place INTEGER NOT NULL,
  channel INTEGER NOT NULL, outcome TEXT NOT NULL, fault TEXT, detail TEXT, ref TEXT,
  PRIMARY KEY (broadcast, subscriber, place, began, node)
) PARTITION BY RANGE (broadcast);
CREATE TABLE reference (
  channel INTEGER NOT NULL, ref TEXT COLLATE "C" NOT NULL, broadcast BIGINT NOT NULL, subscriber BIGINT NOT NULL,
  place INTEGER NOT NULL, PRIMARY KEY (channel, ref)
);
CREATE INDEX reference_broadcast ON reference (broadcast);
CREATE TABLE receipt (
  channel INTEGER NOT NULL, ref TEXT COLLATE "C" NOT NULL, status TEXT COLLATE "C" NOT NULL, fault TEXT, at BIGINT NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (channel, ref, status)
);
CREATE INDEX receipt_at ON receipt (at);
CREATE TABLE subscriber (
  id BIGINT PRIMARY KEY, version BIGINT NOT NULL, foreign_key TEXT COLLATE "C", flags BIGINT NOT NULL, name TEXT,
  locale TEXT NOT NULL, zone TEXT NOT NULL, quiet BIGINT NOT NULL, severity SMALLINT NOT NULL, interests BYTEA NOT NULL,
  addresses BYTEA NOT NULL, UNIQUE (foreign_key) DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE subscriber_past (
  id BIGINT NOT NULL, version BIGINT NOT NULL, name TEXT, locale TEXT NOT NULL, zone TEXT NOT NULL, addresses BYTEA NOT NULL,
  -- NULL where a store that was moved here had kept them before it kept these.
  at BIGINT NOT NULL, flags BIGINT, quiet BIGINT, severity SMALLINT, interests BYTEA,
  PRIMARY KEY (id, version)
);
CREATE INDEX subscriber_past_at ON subscriber_past (at);
CREATE TABLE address (blind BYTEA PRIMARY KEY, subscriber BIGINT NOT NULL, place INTEGER NOT NULL);
CREATE TABLE suppression (blind BYTEA PRIMARY KEY, reason TEXT NOT NULL, at BIGINT NOT NULL);
CREATE TABLE audience (id BIGINT PRIMARY KEY, name TEXT COLLATE "C" NOT NULL UNIQUE, shards BIGINT NOT NULL);
CREATE TABLE member (
  audience BIGINT NOT NULL, subscriber BIGINT NOT NULL, since BIGINT NOT NULL, PRIMARY KEY (audience, subscriber)
);
CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT COLLATE "C" NOT NULL UNIQUE, paused BOOLEAN NOT NULL DEFAULT false);
CREATE TABLE message (digest BYTEA PRIMARY KEY, bytes BYTEA NOT NULL);
CREATE TABLE wording (
  broadcast BIGINT NOT NULL, locale TEXT COLLATE "C" NOT NULL, zone TEXT COLLATE "C" NOT NULL, format TEXT COLLATE "C" NOT NULL,
  markup TEXT COLLATE "C" NOT NULL, digest BYTEA NOT NULL, PRIMARY KEY (broadcast, locale, zone, format, markup)
);
CREATE INDEX wording_digest ON wording (digest);
CREATE TABLE breaker (
  channel INTEGER NOT NULL, host TEXT COLLATE "C" NOT NULL, state TEXT NOT NULL, since BIGINT NOT NULL, until BIGINT NOT NULL,
  PRIMARY KEY (channel, host)
);
-- Send times are given out from `next` on, in microseconds.
CREATE TABLE pace (name TEXT COLLATE "C" PRIMARY KEY, next BIGINT NOT NULL) WITH (fillfactor = 50);
CREATE TABLE permit (name TEXT COLLATE "C" NOT NULL, bucket BIGINT NOT NULL, spent BIGINT NOT NULL, PRIMARY KEY (name, bucket));
-- The sequence is the order of commits: its counter is locked until the commit (transaction.rs), so nobody reads past a gap.
CREATE TABLE journal (sequence BIGINT PRIMARY KEY, at BIGINT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX journal_at ON journal (at);
CREATE TABLE journal_end (sequence BIGINT NOT NULL);
INSERT INTO journal_end VALUES (0);
CREATE TABLE dead_record (
  topic TEXT COLLATE "C" NOT NULL, partition BIGINT NOT NULL, "offset" BIGINT NOT NULL, at BIGINT NOT NULL, reason TEXT NOT NULL,
  body BYTEA NOT NULL, PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX dead_record_at ON dead_record (at);
CREATE TABLE token (
  hash BYTEA PRIMARY KEY, name TEXT COLLATE "C" NOT NULL UNIQUE, person BOOLEAN NOT NULL, scopes TEXT NOT NULL,
  created BIGINT NOT NULL
);
-- What somebody outside says of a component: the latest word of each origin. trusted: not just anybody.
CREATE TABLE signal (
  component TEXT COLLATE "C" NOT NULL, origin TEXT COLLATE "C" NOT NULL, trusted BOOLEAN NOT NULL, at BIGINT NOT NULL,
  count BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (component, origin)
);
CREATE INDEX signal_at ON signal (at);
