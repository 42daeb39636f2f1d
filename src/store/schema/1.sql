-- Times are epoch milliseconds, ids integers made by the application.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE id_block (kind TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
CREATE TABLE shard (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, epoch INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;
CREATE TABLE event (
  source TEXT NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL, incident INTEGER NOT NULL, number INTEGER NOT NULL,
  broadcasts TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_at ON event (at);
CREATE TABLE incident (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, version INTEGER NOT NULL, mode TEXT NOT NULL, state TEXT NOT NULL,
  last_number INTEGER NOT NULL, opened INTEGER NOT NULL, closed INTEGER
) STRICT;
CREATE TABLE incident_alias (name TEXT PRIMARY KEY, incident INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE incident_update (
  incident INTEGER NOT NULL, number INTEGER NOT NULL, source TEXT NOT NULL, sequence INTEGER, at INTEGER NOT NULL,
  taken INTEGER NOT NULL, late INTEGER NOT NULL, says TEXT NOT NULL, facts TEXT NOT NULL, occasion TEXT NOT NULL,
  said_by TEXT NOT NULL, corrects INTEGER, PRIMARY KEY (incident, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE thread (
  incident INTEGER NOT NULL, audience TEXT NOT NULL, latest INTEGER NOT NULL, released TEXT NOT NULL, status TEXT,
  severity TEXT, PRIMARY KEY (incident, audience)
) STRICT, WITHOUT ROWID;
-- kind: what is to happen at due to subject.
CREATE TABLE timer (kind TEXT NOT NULL, subject INTEGER NOT NULL, due INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, subject))
  STRICT, WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due);
CREATE TABLE frozen (digest BLOB PRIMARY KEY, kind TEXT NOT NULL, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE broadcast (
  id INTEGER PRIMARY KEY, incident INTEGER NOT NULL, audience TEXT NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL,
  plan TEXT NOT NULL, step TEXT NOT NULL, purpose TEXT NOT NULL, occasion TEXT NOT NULL, priority INTEGER NOT NULL,
  state INTEGER NOT NULL, selection TEXT NOT NULL, held TEXT NOT NULL, created INTEGER NOT NULL, released INTEGER,
  ended INTEGER, deadline INTEGER NOT NULL, templates BLOB NOT NULL, facts TEXT NOT NULL, code TEXT NOT NULL,
  shards INTEGER NOT NULL, refs TEXT NOT NULL DEFAULT '[]'
) STRICT;
-- state: 0 held, 1 running, 2 paused; 3 done, 4 cancelled, 5 superseded, 6 expired
CREATE INDEX broadcast_live ON broadcast (priority, id) WHERE state < 3;
CREATE INDEX broadcast_incident ON broadcast (incident, number);
CREATE TABLE progress (
  broadcast INTEGER NOT NULL, shard INTEGER NOT NULL, cursor INTEGER NOT NULL, epoch INTEGER NOT NULL,
  selected INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0, unknown INTEGER NOT NULL DEFAULT 0,
  unreachable INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0, superseded INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0, expired INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (broadcast, shard)
) STRICT, WITHOUT ROWID;
CREATE TABLE manifest (
  broadcast INTEGER NOT NULL, shard INTEGER NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  epoch INTEGER NOT NULL, at INTEGER NOT NULL, open INTEGER NOT NULL, decisions BLOB NOT NULL,
  PRIMARY KEY (broadcast, shard, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_open ON manifest (shard, broadcast) WHERE open = 1;
-- state: 0 open, 1 moved, 2 expired, 3 cancelled, 4 superseded, 5 rejected, 6 unknown, 7 told: merging facts is max(state).
-- place 0 is the recipient as a whole, waiting with no way chosen.
CREATE TABLE delivery (
  broadcast INTEGER NOT NULL, subscriber INTEGER NOT NULL, place INTEGER NOT NULL, state INTEGER NOT NULL,
  channel INTEGER NOT NULL, began INTEGER NOT NULL, ended INTEGER NOT NULL, tries INTEGER NOT NULL, detail TEXT, ref TEXT, receipt TEXT,
  priority INTEGER NOT NULL, lane INTEGER NOT NULL, due INTEGER NOT NULL, PRIMARY KEY (broadcast, subscriber, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_open ON delivery (lane, priority, due) WHERE state = 0;
CREATE TABLE attempt (
  broadcast INTEGER NOT NULL, subscriber INTEGER NOT NULL, place INTEGER NOT NULL, began INTEGER NOT NULL, node INTEGER NOT NULL,
  channel INTEGER NOT NULL, outcome TEXT NOT NULL, fault TEXT, detail TEXT, ref TEXT,
  PRIMARY KEY (broadcast, subscriber, place, began, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE reference (
  channel INTEGER NOT NULL, ref TEXT NOT NULL, broadcast INTEGER NOT NULL, subscriber INTEGER NOT NULL, place INTEGER NOT NULL,
  PRIMARY KEY (channel, ref)
) STRICT, WITHOUT ROWID;
CREATE TABLE receipt (
  channel INTEGER NOT NULL, ref TEXT NOT NULL, status TEXT NOT NULL, fault TEXT, at INTEGER NOT NULL, detail TEXT NOT NULL,
  PRIMARY KEY (channel, ref, status)
) STRICT, WITHOUT ROWID;
CREATE TABLE subscriber (
  id INTEGER PRIMARY KEY, version INTEGER NOT NULL, foreign_key TEXT UNIQUE, flags INTEGER NOT NULL, name TEXT, locale TEXT NOT NULL,
  zone TEXT NOT NULL, quiet INTEGER NOT NULL, severity INTEGER NOT NULL, interests BLOB NOT NULL, addresses BLOB NOT NULL
) STRICT;
CREATE TABLE subscriber_past (
  id INTEGER NOT NULL, version INTEGER NOT NULL, name TEXT, locale TEXT NOT NULL, zone TEXT NOT NULL, addresses BLOB NOT NULL,
  at INTEGER NOT NULL, PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE address (blind BLOB PRIMARY KEY, subscriber INTEGER NOT NULL, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE suppression (blind BLOB PRIMARY KEY, reason TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE audience (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, shards INTEGER NOT NULL) STRICT;
CREATE TABLE member (audience INTEGER NOT NULL, subscriber INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (audience, subscriber))
  STRICT, WITHOUT ROWID;
CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE message (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE wording (
  broadcast INTEGER NOT NULL, locale TEXT NOT NULL, zone TEXT NOT NULL, format TEXT NOT NULL, markup TEXT NOT NULL, digest BLOB NOT NULL,
  PRIMARY KEY (broadcast, locale, zone, format, markup)
) STRICT, WITHOUT ROWID;
CREATE TABLE breaker (
  channel INTEGER NOT NULL, host TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
  PRIMARY KEY (channel, host)
) STRICT, WITHOUT ROWID;
CREATE TABLE permit (name TEXT NOT NULL, bucket INTEGER NOT NULL, spent INTEGER NOT NULL, PRIMARY KEY (name, bucket)) STRICT, WITHOUT ROWID;
CREATE TABLE journal (sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE dead_record (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (topic, partition, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE token (
  hash BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, person INTEGER NOT NULL, scopes TEXT NOT NULL, created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
