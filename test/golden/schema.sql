-- user_version 2, application_id 0x484f4c44

CREATE INDEX alias_open ON alias (seq) WHERE server IS NULL;

CREATE INDEX conflict_decided ON conflict (status, seq);

CREATE INDEX conflict_op ON conflict (op) WHERE status = 'open';

CREATE INDEX conflict_open ON conflict (collection, kind, seq) WHERE status = 'open';

CREATE INDEX conflict_record ON conflict (record, seq);

CREATE INDEX dep_child ON dep (seq, needs);

CREATE INDEX history_op ON history (op, seq) WHERE op > 0;

CREATE INDEX op_dedupe ON op (dedupe) WHERE dedupe IS NOT NULL AND state < 8;

CREATE INDEX op_done ON op (settled, seq) WHERE state = 8;

CREATE INDEX op_due ON op (due) WHERE state = 2;

CREATE INDEX op_expires ON op (expires) WHERE expires IS NOT NULL AND state < 8;

CREATE INDEX op_flight ON op (seq) WHERE state = 3;

CREATE INDEX op_group ON op (grp, seq) WHERE grp IS NOT NULL;

CREATE INDEX op_lane ON op (lane, position) WHERE standing = 1;

CREATE INDEX op_network ON op (channel, seq) WHERE state = 2 AND reason = 'network';

CREATE INDEX op_parked ON op (seq) WHERE state IN (5, 6);

CREATE INDEX op_ready ON op (channel, rank, seq) WHERE state = 0;

CREATE INDEX pending_echo ON pending (due) WHERE acked > 0;

CREATE INDEX pending_op ON pending (op, place);

CREATE INDEX record_history_record ON record_history (record, seq);

CREATE INDEX ref_op ON ref (seq, local);

CREATE INDEX run_open ON run (id) WHERE ended IS NULL;

CREATE TABLE alias (local TEXT PRIMARY KEY, server TEXT, seq INTEGER NOT NULL, op TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE channel (
  id INTEGER PRIMARY KEY, remote TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, UNIQUE (remote, type, subject)
);

CREATE TABLE choice (
  record INTEGER PRIMARY KEY, choose TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL
);

CREATE TABLE collection (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  space TEXT NOT NULL,
  spec TEXT NOT NULL,
  cursor INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL,
  checked INTEGER,
  problem TEXT,
  floor INTEGER NOT NULL DEFAULT 0,
  mark INTEGER NOT NULL DEFAULT 0,
  resync TEXT,
  view TEXT,
  viewed INTEGER,
  seal INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE conflict (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  status TEXT NOT NULL,
  kind TEXT NOT NULL,
  collection INTEGER NOT NULL,
  record INTEGER NOT NULL,
  op INTEGER,
  fields TEXT NOT NULL,
  base TEXT,
  local TEXT,
  remote TEXT,
  remote_version INTEGER NOT NULL,
  remote_author TEXT NOT NULL,
  message TEXT NOT NULL,
  strategy TEXT NOT NULL,
  created INTEGER NOT NULL,
  decided INTEGER,
  decided_by TEXT,
  choice TEXT,
  outcome TEXT,
  detail TEXT,
  seal INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);

CREATE TABLE dep (needs INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (needs, seq)) WITHOUT ROWID;

CREATE TABLE evicted (
  collection INTEGER NOT NULL, key TEXT NOT NULL, record INTEGER NOT NULL UNIQUE, seal INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (collection, key)
) WITHOUT ROWID;

CREATE TABLE gate (
  kind TEXT NOT NULL, name TEXT NOT NULL, remote TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL, since INTEGER NOT NULL,
  until INTEGER, tries INTEGER NOT NULL DEFAULT 0, code TEXT NOT NULL DEFAULT '', PRIMARY KEY (kind, name, remote)
) WITHOUT ROWID;

CREATE TABLE history (
  seq INTEGER PRIMARY KEY, op INTEGER NOT NULL, id TEXT, at INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT, detail TEXT NOT NULL
);

CREATE TABLE lift (lane TEXT NOT NULL, position INTEGER NOT NULL, rank INTEGER NOT NULL, PRIMARY KEY (lane, position)) WITHOUT ROWID;

CREATE TABLE mention (local TEXT NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (local, record)) WITHOUT ROWID;

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE op (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  version INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  lane TEXT NOT NULL,
  position INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  state INTEGER NOT NULL,
  waits INTEGER NOT NULL,
  due INTEGER NOT NULL,
  since INTEGER NOT NULL,
  lease INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  streak INTEGER NOT NULL DEFAULT 0,
  generation INTEGER NOT NULL DEFAULT 0,
  unsure INTEGER NOT NULL DEFAULT 0,
  rounds INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 0,
  created INTEGER NOT NULL,
  expires INTEGER,
  dedupe TEXT,
  grp TEXT,
  creates TEXT,
  options TEXT NOT NULL,
  payload TEXT NOT NULL,
  hash TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  reason TEXT,
  problem TEXT,
  progress TEXT,
  checkpoint TEXT,
  result TEXT,
  remote_version TEXT,
  outcome TEXT,
  settled INTEGER
, standing INTEGER NOT NULL DEFAULT 0);

CREATE TABLE pending (
  record INTEGER NOT NULL,
  op INTEGER NOT NULL,
  place INTEGER NOT NULL,
  base_value TEXT,
  acked INTEGER NOT NULL DEFAULT 0,
  due INTEGER,
  overlay TEXT NOT NULL,
  seal INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (record, op)
) WITHOUT ROWID;

CREATE TABLE record (
  id INTEGER PRIMARY KEY,
  collection INTEGER NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  value TEXT,
  snapshot TEXT,
  schema INTEGER NOT NULL,
  author TEXT NOT NULL,
  confirmed INTEGER,
  changed INTEGER NOT NULL,
  status INTEGER NOT NULL,
  pendings INTEGER NOT NULL DEFAULT 0,
  used INTEGER NOT NULL,
  pinned INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL,
  mark INTEGER NOT NULL DEFAULT 0,
  seal INTEGER NOT NULL DEFAULT 0,
  UNIQUE (collection, key)
);

CREATE TABLE record_history (
  seq INTEGER PRIMARY KEY,
  record INTEGER NOT NULL,
  at INTEGER NOT NULL,
  origin TEXT NOT NULL,
  run INTEGER,
  version INTEGER NOT NULL,
  before TEXT,
  after TEXT,
  detail TEXT,
  seal INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE ref (local TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (local, seq)) WITHOUT ROWID;

CREATE TABLE remote (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  started INTEGER NOT NULL,
  ended INTEGER,
  pushed INTEGER NOT NULL DEFAULT 0,
  pulled INTEGER NOT NULL DEFAULT 0,
  merged INTEGER NOT NULL DEFAULT 0,
  conflicts INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  bytes_sent INTEGER NOT NULL DEFAULT 0,
  bytes_received INTEGER NOT NULL DEFAULT 0,
  rolled_back_by INTEGER,
  first INTEGER NOT NULL,
  last INTEGER
);

CREATE TABLE space (
  name TEXT PRIMARY KEY,
  history TEXT NOT NULL DEFAULT '',
  head INTEGER NOT NULL DEFAULT 0,
  seen INTEGER NOT NULL DEFAULT 0,
  offset_ms INTEGER NOT NULL DEFAULT 0,
  due INTEGER NOT NULL DEFAULT 0,
  pulled INTEGER,
  failures INTEGER NOT NULL DEFAULT 0,
  asked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TRIGGER channel_insert AFTER INSERT ON channel BEGIN
  INSERT INTO counter (id, n) VALUES (1000 + new.id, 0);
END;

CREATE TRIGGER collection_insert AFTER INSERT ON collection BEGIN
  INSERT OR IGNORE INTO counter (id, n) VALUES (1000000000 + new.id * 4, 0), (1000000001 + new.id * 4, 0), (1000000002 + new.id * 4, 0);
END;
