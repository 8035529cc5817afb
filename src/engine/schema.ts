/**
 * Owns the tables: numbered migrations, appended and frozen once released, and the refusal of a store from a newer version.
 * What the rows mean and who writes them is each owner's: `queue.ts`, `lanes.ts`, `dependencies.ts`, `ids.ts`, `history.ts`, `gates.ts` ...
 */
import type { Database } from "../database.ts";
import { HoldfastError } from "../errors.ts";

/** Marks a SQLite file as ours ("HOLD" in ASCII), so that a foreign file is recognised before anything is written to it. */
export const applicationId = 0x484f4c44;

/** Keys of the `counter` table beyond the states 0 to 8. The engine keeps them (`store.ts`): triggers would cost as much as the row. */
export const Counter = { sequence: 100, bytes: 101, told: 102, completed: 110, cancelled: 111, expired: 112 } as const;

/** The counter of unsent operations of one channel. */
export const channelCounter = (channel: number): number => 1000 + channel;

/** What a collection holds is counted from here on: three counters for each, above the channels'. */
const collectionCounters = 1_000_000_000;

/** A counter of one collection: living records, their bytes, and how many records are not as the server has them. */
export const collectionCounter = (collection: number, what: "records" | "bytes" | "unsettled"): number =>
  collectionCounters + collection * 4 + (what === "records" ? 0 : what === "bytes" ? 1 : 2);

/**
 * State numbers (see `State` in `operation.ts`) are literals here and in every query on a partial index, because SQLite uses
 * a partial index only when the query repeats its terms literally. A bound limit is written `LIMIT +?`: SQLite looks at a bare
 * parameter there to plan by its value, and then prepares the statement anew at every call, which costs ten times the query.
 */
const migrations: readonly string[] = [
  `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO counter (id, n) VALUES (0,0),(1,0),(2,0),(3,0),(4,0),(5,0),(6,0),(7,0),(8,0),(100,0),(101,0),(110,0),(111,0),(112,0);
CREATE TABLE channel (
  id INTEGER PRIMARY KEY, remote TEXT NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, UNIQUE (remote, type, subject)
);
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
);
CREATE INDEX op_ready ON op (channel, rank, seq) WHERE state = 0;
CREATE INDEX op_due ON op (due) WHERE state = 2;
CREATE INDEX op_network ON op (channel, seq) WHERE state = 2 AND reason = 'network';
CREATE INDEX op_flight ON op (seq) WHERE state = 3;
CREATE INDEX op_parked ON op (seq) WHERE state IN (5, 6);
CREATE INDEX op_done ON op (settled, seq) WHERE state = 8;
CREATE INDEX op_lane ON op (lane, position) WHERE state < 6 AND lane <> '';
CREATE INDEX op_expires ON op (expires) WHERE expires IS NOT NULL AND state < 8;
CREATE INDEX op_dedupe ON op (dedupe) WHERE dedupe IS NOT NULL AND state < 8;
CREATE INDEX op_group ON op (grp, seq) WHERE grp IS NOT NULL;
CREATE TRIGGER channel_insert AFTER INSERT ON channel BEGIN
  INSERT INTO counter (id, n) VALUES (1000 + new.id, 0);
END;
CREATE TABLE dep (needs INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (needs, seq)) WITHOUT ROWID;
CREATE INDEX dep_child ON dep (seq, needs);
CREATE TABLE lift (lane TEXT NOT NULL, position INTEGER NOT NULL, rank INTEGER NOT NULL, PRIMARY KEY (lane, position)) WITHOUT ROWID;
CREATE TABLE alias (local TEXT PRIMARY KEY, server TEXT, seq INTEGER NOT NULL, op TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX alias_open ON alias (seq) WHERE server IS NULL;
CREATE TABLE ref (local TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (local, seq)) WITHOUT ROWID;
CREATE INDEX ref_op ON ref (seq, local);
CREATE TABLE history (
  seq INTEGER PRIMARY KEY, op INTEGER NOT NULL, id TEXT, at INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT, detail TEXT NOT NULL
);
CREATE INDEX history_op ON history (op, seq);
CREATE TABLE gate (
  kind TEXT NOT NULL, name TEXT NOT NULL, remote TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL, since INTEGER NOT NULL,
  until INTEGER, tries INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, name, remote)
) WITHOUT ROWID;
CREATE TABLE remote (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
`,
  `
DROP INDEX history_op;
CREATE INDEX history_op ON history (op, seq) WHERE op > 0;
INSERT INTO counter (id, n) SELECT 102, count(*) FROM history WHERE op = 0;
ALTER TABLE gate ADD COLUMN code TEXT NOT NULL DEFAULT '';
ALTER TABLE op ADD COLUMN standing INTEGER NOT NULL DEFAULT 0;
UPDATE op SET standing = 1 WHERE lane <> '' AND state < 6;
DROP INDEX op_lane;
CREATE INDEX op_lane ON op (lane, position) WHERE standing = 1;
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
CREATE TRIGGER collection_insert AFTER INSERT ON collection BEGIN
  INSERT OR IGNORE INTO counter (id, n) VALUES (1000000000 + new.id * 4, 0), (1000000001 + new.id * 4, 0), (1000000002 + new.id * 4, 0);
END;
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
CREATE INDEX pending_op ON pending (op, place);
CREATE INDEX pending_echo ON pending (due) WHERE acked > 0;
CREATE TABLE mention (local TEXT NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (local, record)) WITHOUT ROWID;
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
CREATE INDEX record_history_record ON record_history (record, seq);
CREATE TABLE evicted (
  collection INTEGER NOT NULL, key TEXT NOT NULL, record INTEGER NOT NULL UNIQUE, seal INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (collection, key)
) WITHOUT ROWID;
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
CREATE INDEX conflict_open ON conflict (collection, kind, seq) WHERE status = 'open';
CREATE INDEX conflict_op ON conflict (op) WHERE status = 'open';
CREATE INDEX conflict_record ON conflict (record, seq);
CREATE INDEX conflict_decided ON conflict (status, seq);
CREATE TABLE choice (
  record INTEGER PRIMARY KEY, choose TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL
);
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
CREATE INDEX run_open ON run (id) WHERE ended IS NULL;
`,
];

export const schemaVersion = migrations.length;

const readVersion = "PRAGMA user_version";
const readApplication = "PRAGMA application_id";
const countTables = "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'";

/**
 * Brings a store to this version, keeping every row. Throws `database_newer` for a store of a later version and
 * `database_corrupt` for a SQLite file that is not ours; neither is touched.
 */
export function migrate(db: Database): void {
  const version = Number(db.prepare(readVersion).get()?.user_version ?? 0);
  refuseForeign(db, version);
  if (version > schemaVersion) {
    throw new HoldfastError(
      "database_newer",
      `the store has schema version ${version}; this program knows up to ${schemaVersion}`,
      "update Holdfast to the version that wrote the store; nothing was changed",
    );
  }
  if (version === schemaVersion) return;
  if (db.isReadOnly) {
    throw new HoldfastError(
      "read_only",
      "the store needs a migration but cannot be written",
      "open it once where it can be written",
    );
  }
  for (let next = version; next < schemaVersion; next += 1) apply(db, next);
}

function apply(db: Database, index: number): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    // Another process may have migrated while this one waited for the write lock.
    if (Number(db.prepare(readVersion).get()?.user_version) === index) {
      db.exec(`${migrations[index] ?? ""};PRAGMA application_id = ${applicationId};PRAGMA user_version = ${index + 1}`);
    }
    db.exec("COMMIT");
  } catch (error) {
    undo(db);
    throw error;
  }
}

/** SQLite has rolled back by itself after some failures; the first error is the one to tell. */
function undo(db: Database): void {
  try {
    db.exec("ROLLBACK");
  } catch {}
}

function refuseForeign(db: Database, version: number): void {
  const owner = Number(db.prepare(readApplication).get()?.application_id ?? 0);
  if (owner === applicationId) return;
  const tables = Number(db.prepare(countTables).get()?.n ?? 0);
  if (owner === 0 && version === 0 && tables === 0) return;
  throw new HoldfastError(
    "database_corrupt",
    "the file is a SQLite database, but not a Holdfast store",
    "name another directory; this file was not touched",
  );
}
