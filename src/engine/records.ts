/**
 * Owns the tables `record` and `mention`: every record as the person sees it beside the server's snapshot, and which records mention local ids.
 * What a local write does is `writes.ts`; what waits to be sent for a record is `pending.ts`; the changes' log is `record-log.ts`.
 */
import type { Row, SqlValue } from "../database.ts";
import { assert } from "../errors.ts";
import { rewriteReferences } from "../id.ts";
import type { Json } from "../operation.ts";
import { State, textBytes } from "../operation.ts";
import type { Fields, RecordState, RecordView } from "../record.ts";
import { recordStates } from "../record.ts";
import type { CollectionInfo } from "./collections.ts";
import { collectionOf, countRecords } from "./collections.ts";
import { openConflictOf } from "./conflicts.ts";
import { highestGone, noteGone, takeEvicted } from "./evicted.ts";
import { knowsAliases, localIdsIn, serverIdOf } from "./ids.ts";
import { pendingOperations } from "./pending.ts";
import { hiddenDetail, logRecord } from "./record-log.ts";
import { intact, reseal, sealOf } from "./row-seal.ts";
import { collectionCounter } from "./schema.ts";
import type { Store } from "./store.ts";
import { addCount, integer, integerOrNull, parsed, readCount } from "./store.ts";

const columns =
  "id, collection, key, version, value, snapshot, schema, author, confirmed, changed, status, pendings, used, pinned, bytes, mark, seal";
const byKey = `SELECT ${columns} FROM record WHERE collection = ? AND key = ?`;
const byId = `SELECT ${columns} FROM record WHERE id = ?`;
const insert = `INSERT INTO record
  (id, collection, key, version, value, snapshot, schema, author, confirmed, changed, status, pendings, used, bytes, mark, seal)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (collection, key) DO NOTHING`;
/** Pulled records that are inserted by one statement: that costs half of one each. */
export const pulledTogether = 16;
const insertPulled = (rows: number): string => `INSERT OR IGNORE INTO record
  (id, collection, key, version, value, schema, author, confirmed, changed, status, pendings, used, bytes, mark, seal)
  VALUES ${Array.from({ length: rows }, () => "(?,?,?,?,?,?,?,?,?,0,0,?,?,?,?)").join(",")}`;
const insertOnePulled = insertPulled(1);
const insertManyPulled = insertPulled(pulledTogether);
const idsBetween = "SELECT id FROM record WHERE id BETWEEN ? AND ?";
const lastId = "SELECT max(id) AS id FROM record";
const update = `UPDATE record SET version = ?, value = ?, snapshot = ?, schema = ?, author = ?, confirmed = ?, changed = ?, status = ?,
  pendings = ?, used = max(used, ?), bytes = ?, mark = ?, seal = ? WHERE id = ?`;
const setStatus = "UPDATE record SET status = ?, seal = ? WHERE id = ?";
const setMark = "UPDATE record SET mark = ?, confirmed = ? WHERE id = ?";
const setUsed = "UPDATE record SET used = max(used, ?) WHERE id = ?";
const setPinned = "UPDATE record SET pinned = ? WHERE id = ?";
const setKey = "UPDATE record SET key = ? WHERE id = ?";
const removeRow = "DELETE FROM record WHERE id = ?";
const unsentOf = `SELECT ${columns} FROM record WHERE id IN (SELECT record FROM pending) AND +collection = ? AND status IN (1, 2, 3)`;
const anyOf = "SELECT 1 AS n FROM record WHERE collection = ? LIMIT 1";
const addMention = "INSERT OR IGNORE INTO mention (local, record) VALUES (?, ?)";
const mentionsOf = "SELECT record FROM mention WHERE local = ?";
const dropMentions = "DELETE FROM mention WHERE local = ?";
const unmarked = `SELECT ${columns} FROM record WHERE collection = ? AND mark <> ? AND version > ? AND (pendings > 0 OR version > ?)`;
const sweptSize = `SELECT count(*) AS n, sum(bytes) AS bytes FROM record
  WHERE collection = ? AND mark <> ? AND version > 0 AND version <= ? AND pendings = 0 AND value IS NOT NULL`;
const swept = `SELECT ${columns} FROM record WHERE collection = ? AND mark <> ? AND version > 0 AND version <= ? AND pendings = 0`;
const sweep = "UPDATE record SET value = NULL, bytes = 0, changed = ?, mark = ?, version = ?, seal = ? WHERE id = ?";

/** How `mending.ts` puts rows right that storage has changed. */
export const recordRepair = {
  read: "SELECT * FROM record WHERE id = ?",
  seal: "UPDATE record SET seal = ? WHERE id = ?",
  rewrite: `UPDATE record SET collection = ?, key = ?, version = ?, value = ?, snapshot = ?, schema = ?, author = ?, status = ?, pendings = ?,
  seal = ?   WHERE id = ?`,
  insert: `INSERT OR IGNORE INTO record (id, collection, key, version, value, snapshot, schema, author, changed, status, pendings, used,
  bytes, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  drop: "DELETE FROM record WHERE id = ?",
  weigh: `UPDATE record SET bytes = coalesce(length(CAST(value AS BLOB)), 0) WHERE bytes <> coalesce(length(CAST(value AS BLOB)), 0)`,
} as const;

/** Only what nothing speaks of any more: neither unsent work, nor a conflict, a choice, nor history that could restore it. */
const tombstones = `SELECT id FROM record WHERE id > ? AND id <= ? AND value IS NULL AND snapshot IS NULL AND pendings = 0
  AND ((status = 0 AND version > 0 AND confirmed < ?) OR (status = 4 AND changed < ?))
  AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.record = record.id) AND NOT EXISTS (SELECT 1 FROM record_history WHERE record_history.record = record.id)
  AND NOT EXISTS (SELECT 1 FROM conflict WHERE conflict.record = record.id) AND NOT EXISTS (SELECT 1 FROM choice WHERE choice.record = record.id)`;

/** The states of `recordStates` as they are kept. */
export const Status = { synced: 0, pending: 1, failed: 2, conflict: 3, localOnly: 4 } as const;

/** A row of `record`, its columns by their names. `value` and `snapshot` are JSON texts, `null`: no record. */
export type RecordRow = {
  readonly id: number;
  readonly collection: number;
  readonly key: string;
  /** The server's version of the snapshot; 0 while the server does not have it. */
  readonly version: number;
  /** What the person sees. Without anything pending it is the snapshot as well. */
  readonly value: string | null;
  readonly snapshot: string | null;
  readonly schema: number;
  readonly author: string;
  readonly confirmed: number | null;
  readonly changed: number;
  readonly status: number;
  readonly pendings: number;
  readonly used: number;
  readonly pinned: number;
  readonly bytes: number;
  readonly mark: number;
};

export type NewRecord = Omit<RecordRow, "id" | "pinned" | "bytes" | "used">;

const toRow = (row: Row): RecordRow => intact("record", row) as unknown as RecordRow;

type Sealed = Pick<
  RecordRow,
  "collection" | "key" | "version" | "value" | "snapshot" | "schema" | "author" | "status" | "pendings"
>;

/** In the order of the covered columns of `row-seal.ts`. */
const sealed = (row: Sealed): number =>
  sealOf([
    row.collection,
    row.key,
    row.version,
    row.value,
    row.snapshot,
    row.schema,
    row.author,
    row.status,
    row.pendings,
  ]);

/** Finds a record by its key, or by the local key that it had before the server named it. */
export function findRecord(store: Store, collection: Pick<CollectionInfo, "id">, key: string): RecordRow | null {
  const row = store.db.prepare(byKey).get(collection.id, key);
  if (row !== undefined) return toRow(row);
  const server = knowsAliases(store) ? serverIdOf(store, key) : null;
  const named = server === null ? undefined : store.db.prepare(byKey).get(collection.id, server);
  return named === undefined ? null : toRow(named);
}

export function getRecord(store: Store, id: number): RecordRow | null {
  const row = store.db.prepare(byId).get(id);
  return row === undefined ? null : toRow(row);
}

/** A record's value as it stands now; `null`: removed, or gone. */
export const valueNow = (store: Store, id: number): Fields | null => fieldsOf(getRecord(store, id)?.value ?? null);

/** What a person reads on a record that storage has changed, until the server has told it again. */
const corruptRecord = {
  code: "record_corrupt",
  message: "the storage has changed this record; it is not certain what it was",
  hint: "a synced one is read again from the server; for another see `holdfast records history`, and write it anew",
} as const;

/** One record as clients see it; whoever has its collection at hand saves reading it. */
export function toRecordView(store: Store, row: RecordRow, known?: CollectionInfo): RecordView {
  const info = known ?? collectionOf(store, row.collection);
  const operations = row.pendings === 0 ? [] : pendingOperations(store, row.id);
  const refused = operations.find(({ state }) => state === State.parked || state === State.aside);
  return {
    collection: info.name,
    key: row.key,
    value: shownValue(info, row),
    state: recordStates[row.status] as RecordState,
    version: row.version,
    confirmedAt: row.confirmed,
    changedAt: row.changed,
    operations: operations.map(({ id }) => id),
    problem: refused?.problem ?? (row.status === Status.failed && row.pendings === 0 ? corruptRecord : null),
    conflict: refused === undefined ? null : openConflictOf(store, row.id),
    isPinned: row.pinned === 1,
  };
}

/** The value by the schema of this program. One from a newer program is shown as it came. */
export function shownValue(info: CollectionInfo, row: Pick<RecordRow, "value" | "schema">): Fields | null {
  return row.value === null ? null : raised(info, JSON.parse(row.value) as Fields, row.schema);
}

/** Brings a value of an older schema forward. A value that cannot be brought forward is shown as it is. */
export function raised(info: CollectionInfo, value: Fields, schema: number): Fields {
  const { upcast } = info.declared ?? {};
  if (schema >= info.version || upcast === undefined) return value;
  try {
    return upcast(value, schema);
  } catch {
    return value;
  }
}

/** Adds a record that the caller has looked for and not found. */
export function insertRecord(store: Store, row: NewRecord): RecordRow {
  const made: RecordRow = {
    ...row,
    // Counted on from the last one: an id that the statement returns costs as much as half of the insertion.
    id: takeEvicted(store, row.collection, row.key) ?? lastRecordId(store) + 1,
    used: row.changed,
    pinned: 0,
    bytes: row.value === null ? 0 : textBytes(row.value),
  };
  const { changes } = store.db
    .prepare(insert)
    .run(
      made.id,
      made.collection,
      made.key,
      made.version,
      made.value,
      made.snapshot,
      made.schema,
      made.author,
      made.confirmed,
      made.changed,
      made.status,
      made.pendings,
      made.used,
      made.bytes,
      made.mark,
      sealed(made),
    );
  assert(changes === 1, `record "${row.key}" appeared within a transaction`);
  countStatus(store, row.collection, null, row.status);
  return made;
}

/** A record as the server sent it. */
export type PulledRecord = {
  readonly collection: number;
  readonly key: string;
  readonly version: number;
  readonly value: string;
  readonly schema: number;
  readonly author: string;
  readonly bytes: number;
  readonly mark: number;
};

/**
 * Adds pulled records, one or `pulledTogether`, under ids that the caller counts on from `lastRecordId`. Tells which of them were there
 * already, by their places.
 */
export function insertPulledRecords(
  store: Store,
  first: number,
  rows: readonly PulledRecord[],
  at: number,
): readonly number[] {
  const parameters: SqlValue[] = [];
  for (const [place, { collection, key, version, value, schema, author, bytes, mark }] of rows.entries()) {
    const seal = sealed({ collection, key, version, value, snapshot: null, schema, author, status: 0, pendings: 0 });
    parameters.push(first + place, collection, key, version, value, schema, author, at, at, at, bytes, mark, seal);
  }
  const statement = store.db.prepare(rows.length === 1 ? insertOnePulled : insertManyPulled);
  const { changes } = statement.run(...parameters);
  if (changes === rows.length) return [];
  const made = new Set(
    store.db
      .prepare(idsBetween)
      .all(first, first + rows.length - 1)
      .map((row) => integer(row.id)),
  );
  return rows.flatMap((_, place) => (made.has(first + place) ? [] : [place]));
}

export function lastRecordId(store: Store): number {
  const last = integerOrNull(store.db.prepare(lastId).get()?.id) ?? 0;
  return Math.max(last, highestGone(store));
}

/** Writes what a record is now, and keeps its collection's counts true. Returns the row as it is then. */
export function saveRecord(store: Store, before: RecordRow, after: RecordRow): RecordRow {
  const bytes = after.value === null ? 0 : before.value === after.value ? before.bytes : textBytes(after.value);
  store.db
    .prepare(update)
    .run(
      after.version,
      after.value,
      after.snapshot,
      after.schema,
      after.author,
      after.confirmed,
      after.changed,
      after.status,
      after.pendings,
      after.used,
      bytes,
      after.mark,
      sealed(after),
      after.id,
    );
  const records = (after.value === null ? 0 : 1) - (before.value === null ? 0 : 1);
  countRecords(store, after.collection, records, bytes - before.bytes);
  countStatus(store, after.collection, before.status, after.status);
  return { ...after, bytes, used: Math.max(before.used, after.used) };
}

export function markStatus(store: Store, id: number, status: number): void {
  const row = getRecord(store, id);
  if (row === null || row.status === status) return;
  store.db.prepare(setStatus).run(status, sealed({ ...row, status }), id);
  countStatus(store, row.collection, row.status, status);
}

/** A record was read; see `record-cache.ts`. */
export function markUsed(store: Store, id: number, at: number): void {
  store.db.prepare(setUsed).run(at, id);
}

export function markPinned(store: Store, id: number, isPinned: boolean): void {
  store.db.prepare(setPinned).run(isPinned ? 1 : 0, id);
}

/** A resync has met a record that has not changed. */
export function markMet(store: Store, id: number, mark: number, at: number | null): void {
  store.db.prepare(setMark).run(mark, at, id);
}

/** Records that are not as the server has them: pending, failed, or in conflict. */
export function countUnsettled(store: Store, collection: number): number {
  return readCount(store, collectionCounter(collection, "unsettled"));
}

/** Those of them on which a change of ours is pending. */
export function unsentRecords(store: Store, collection: number): readonly RecordRow[] {
  return store.db.prepare(unsentOf).all(collection).map(toRow);
}

const isUnsettled = (status: number): boolean =>
  status === Status.pending || status === Status.failed || status === Status.conflict;

/** Counts a record whose status has become another; `null`: it was not there, or is no more. */
function countStatus(store: Store, collection: number, before: number | null, after: number | null): void {
  const change = (after !== null && isUnsettled(after) ? 1 : 0) - (before !== null && isUnsettled(before) ? 1 : 0);
  if (change !== 0) addCount(store, collectionCounter(collection, "unsettled"), change);
}

export function hasRecords(store: Store, collection: number): boolean {
  return store.db.prepare(anyOf).get(collection) !== undefined;
}

/** Takes a record out of the store: it was evicted, or turned out to be another one. */
export function dropRecord(store: Store, row: RecordRow): void {
  store.db.prepare(removeRow).run(row.id);
  noteGone(store, row.id);
  countRecords(store, row.collection, row.value === null ? 0 : -1, -row.bytes);
  countStatus(store, row.collection, row.status, null);
}

/** Removed records that can be forgotten, among those numbered from one to another: the server has confirmed it long ago. */
export function oldTombstones(store: Store, range: { readonly after: number; readonly to: number }, before: number) {
  const rows = store.db.prepare(tombstones).all(range.after, range.to, before, before);
  return rows.map((row) => getRecord(store, integer(row.id))).filter((row) => row !== null);
}

export function setRecordKey(store: Store, id: number, key: string): void {
  store.db.prepare(setKey).run(key, id);
  reseal(store, "record", recordRepair, id);
}

/** Records that a resync has not met although the server should have them: with unsent work, or above the version `sure`. */
export function unmetRecords(
  store: Store,
  info: CollectionInfo,
  sure: { readonly mark: number; readonly below: number },
): readonly RecordRow[] {
  return store.db.prepare(unmarked).all(info.id, sure.mark, 0, sure.below).map(toRow);
}

type Sweep = {
  readonly mark: number;
  readonly below: number;
  readonly run: number | null;
  /** Versions of a history that is gone must not make those of the new one look old. */
  readonly isForeign: boolean;
  /** It lives on at the server, out of reach. */
  readonly isHidden: boolean;
};

/** Drops what the server no longer has after everything was read again; each keeps its history. Returns how many. */
export function sweepRecords(store: Store, info: CollectionInfo, by: Sweep): number {
  const size = store.db.prepare(sweptSize).get(info.id, by.mark, by.below);
  const gone = integer(size?.n);
  if (gone > 0) countRecords(store, info.id, -gone, -integer(size?.bytes));
  const now = store.world.now();
  for (const row of store.db.prepare(swept).all(info.id, by.mark, by.below).map(toRow)) {
    const { id: record, version, schema, value: before } = row;
    const entry = { record, at: now, origin: "pull", run: by.run, version, before, after: null, schema } as const;
    if (before !== null) logRecord(store, by.isHidden ? { ...entry, detail: hiddenDetail } : entry);
    const after = { ...row, value: null, version: by.isForeign ? 0 : version };
    store.db.prepare(sweep).run(now, by.mark, after.version, sealed(after), record);
  }
  return gone;
}

/** Remembers which local ids a value mentions, so that they are replaced when the server has named them. */
export function noteMentions(store: Store, record: number, value: Fields | null): void {
  if (value === null || !knowsAliases(store)) return;
  for (const local of localIdsIn(store, value)) store.db.prepare(addMention).run(local, record);
}

/** Records whose value mentions a local id that has just been named; the mentions are done with. */
export function takeMentions(store: Store, local: string): readonly RecordRow[] {
  const ids = store.db.prepare(mentionsOf).all(local);
  store.db.prepare(dropMentions).run(local);
  return ids.map((row) => getRecord(store, integer(row.record))).filter((row) => row !== null);
}

/** A JSON text with one local id replaced. */
export function renamedText(written: string | null, local: string, server: string): string | null {
  if (written === null || !written.includes(local)) return written;
  const value = parsed<Json>(written, null);
  return JSON.stringify(rewriteReferences(value, (id) => (id === local ? server : null)));
}

/** The fields that never leave this device. */
export function localFieldsOf(info: CollectionInfo, value: Fields | null): Fields {
  const names = info.spec.localOnly;
  if (names === undefined || value === null) return {};
  return Object.fromEntries(names.flatMap((name) => (Object.hasOwn(value, name) ? [[name, value[name] as Json]] : [])));
}

/** All the others. */
export function sharedFields(info: CollectionInfo, value: Fields | null): Fields | null {
  const { localOnly = [] } = info.spec;
  if (value === null || localOnly.length === 0) return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => !localOnly.includes(name)));
}

/** Reads a stored value; this program wrote it, so a text that cannot be read was changed by the storage. */
export const fieldsOf = (written: string | null): Fields | null =>
  written === null ? null : parsed<Fields>(written, {});
