/**
 * Owns putting rows of records right whose seal is broken: proven by a guess that fits the seal, else rebuilt from what stands beside them.
 * When that is done, and what follows for views, conflicts and cursors, is `mending.ts`.
 */
import type { Row, SqlValue } from "../database.ts";
import type { Json } from "../operation.ts";
import { State } from "../operation.ts";
import type { CollectionSpec } from "../record.ts";
import { recordOrigins, recordWriteType } from "../record.ts";
import { scrubEvicted } from "./evicted.ts";
import { rewriteSealed } from "./mending-writes.ts";
import { afterOf, logRecord } from "./record-log.ts";
import { Status } from "./records.ts";
import { isGenuine } from "./row-hash.ts";
import type { SealedTable } from "./row-seal.ts";
import { intact, isIntact, isSilent } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, parsed, text, textOrNull } from "./store.ts";

/** What an entry of the history says of itself when storage has changed it, and when it tells of a record that was put right. */
export const brokenCode = "record_corrupt";
export const mendedCode = "record_mended";

const pageRows = 500;
const pageOf = (table: SealedTable, key: string): string =>
  `SELECT * FROM ${table} WHERE ${key} > ? ORDER BY ${key} LIMIT ${pageRows}`;
const pagePending = `SELECT * FROM pending WHERE (record, op) > (?, ?) ORDER BY record, op LIMIT ${pageRows}`;
const pendingOf = "SELECT * FROM pending WHERE record = ? ORDER BY op";
const historyOf = "SELECT * FROM record_history WHERE record = ? ORDER BY seq DESC";
const historyGaps = `SELECT seq FROM (SELECT seq, lead(seq) OVER (ORDER BY seq) AS next FROM record_history) WHERE next > seq + 1`;
const pageSilent = `SELECT *, ${afterOf} AS shown,
  (SELECT min(next.seq) FROM record_history AS next WHERE next.record = record_history.record AND next.seq > record_history.seq) AS later,
  EXISTS (SELECT 1 FROM record WHERE id = record_history.record AND version = record_history.version AND pendings = 0) AS isSame
  FROM record_history WHERE seq > ? AND origin = 'pull' AND before IS NULL AND after IS NULL AND detail IS NULL
  ORDER BY seq LIMIT ${pageRows}`;
const operation = "SELECT * FROM op WHERE seq = ?";
const recordRow = "SELECT * FROM record WHERE id = ?";
const collectionRow = "SELECT * FROM collection WHERE id = ?";
const recordByKey = `SELECT record.* FROM record JOIN collection ON collection.id = record.collection
  WHERE collection.name = ? AND record.key = ?`;
const idOf = "SELECT found.id AS id FROM record AS found WHERE found.collection = ? AND found.key = ?";
const hasLocal = "SELECT 1 AS n FROM record WHERE collection = ? AND status = 4 LIMIT 1";
const topMark = "SELECT max(mark) AS mark FROM record WHERE collection = ?";

/** How the detail of an entry begins that storage has changed. */
const brokenDetail = `{"code":"${brokenCode}"`;
/** The same for SQL. */
export const brokenPattern = `${brokenDetail}*`;

/** Whether an entry of the history can be read only, because storage has changed it. */
export const isBrokenEntry = (entry: Row): boolean => text(entry.detail).startsWith(brokenDetail);

/** How a broken row was put right. */
export type How = "proven" | "rebuilt" | "gone";

/** Rows of a table whose seal is broken. */
export function brokenRows(store: Store, table: SealedTable): readonly Row[] {
  if (table === "pending") return brokenPendings(store);
  const key = table === "collection" || table === "record" ? "id" : "seq";
  const page = store.db.prepare(pageOf(table, key));
  const broken: Row[] = [];
  for (let after = -1; ; ) {
    const rows = page.all(after);
    for (const row of rows) if (!isIntact(table, row)) broken.push(row);
    if (rows.length < pageRows) return broken;
    after = integer(rows[rows.length - 1]?.[key]);
  }
}

function brokenPendings(store: Store): readonly Row[] {
  const page = store.db.prepare(pagePending);
  const broken: Row[] = [];
  for (let [record, op] = [-1, -1]; ; ) {
    const rows = page.all(record, op);
    for (const row of rows) if (!isIntact("pending", row)) broken.push(row);
    const last = rows[rows.length - 1];
    if (last === undefined || rows.length < pageRows) return broken;
    [record, op] = [integer(last.record), integer(last.op)];
  }
}

/**
 * Looks through some rows more of each table, in idle time: storage changes what nobody reads as well as what somebody does, and of what
 * is found early more is left beside it to mend it with.
 */
export function scrub(store: Store): void {
  for (const [table, key] of scrubbedTables) {
    const rows = store.db.prepare(pageOf(table, key)).all(store.memory.sync.scrubbed.get(table) ?? -1);
    for (const row of rows) {
      intact(table, row);
      // An index that has lost a key would let the record pass for one that is not there.
      if (table === "record" && store.db.prepare(idOf).get(row.collection ?? 0, row.key ?? "")?.id !== row.id)
        intact(table, {});
    }
    store.memory.sync.scrubbed.set(table, rows.length < pageRows ? -1 : integer(rows[rows.length - 1]?.[key]));
  }
  scrubEvicted(store);
}

const scrubbedTables = [
  ["collection", "id"],
  ["record", "id"],
  ["record_history", "seq"],
  ["conflict", "seq"],
] as const;

type Guess = { readonly [column: string]: SqlValue };

/** The first guess that makes the row fit its seal: then nothing about it is uncertain. */
function proven(table: SealedTable, row: Row, guesses: readonly Guess[]): Row | null {
  for (const guess of guesses) {
    const candidate = { ...row, ...guess };
    if (isIntact(table, candidate)) return candidate;
  }
  return null;
}

// ---- collections ----------------------------------------------------------------------------------------------

/** Puts a collection right. Its cursor cannot be believed, so everything is read again. */
export function mendCollection(store: Store, row: Row): How {
  const declared = [...store.collections.values()].map(({ check, upcast, decide, decideVersion, ...spec }) => spec);
  const guesses = declared.map((spec) => ({ name: spec.name, space: spec.space ?? "", spec: JSON.stringify(spec) }));
  const found = proven("collection", row, guesses);
  if (found !== null) {
    rewriteSealed(store, "collection", found);
    return "proven";
  }
  const name = text(row.name);
  const known = declared.find((spec) => spec.name === name) ?? readSpec(text(row.spec), name);
  // Nothing that stayed on this device may begin to be sent because a word of its declaration was lost.
  const isLocal = store.db.prepare(hasLocal).get(row.id ?? 0) !== undefined;
  const spec: CollectionSpec = known ?? { name, ...(isLocal ? { isSynced: false } : {}) };
  const mark = integer(store.db.prepare(topMark).get(row.id ?? 0)?.mark) + 1;
  const isSynced = spec.isSynced !== false;
  rewriteSealed(store, "collection", {
    ...row,
    name: spec.name,
    space: spec.space ?? "",
    spec: JSON.stringify(spec),
    cursor: 0,
    state: isSynced ? "resync" : "local",
    floor: 0,
    mark,
    resync: isSynced ? JSON.stringify({ reason: "asked", head: 0, floor: 0 }) : null,
    view: null,
  });
  return "rebuilt";
}

function readSpec(written: string, name: string): CollectionSpec | null {
  const spec = parsed<CollectionSpec | null>(written, null);
  return spec !== null && typeof spec === "object" && spec.name === name ? spec : null;
}

// ---- history --------------------------------------------------------------------------------------------------

/** Every entry begins with what the one before it ended with, so its neighbours can prove it. */
export function mendEntry(store: Store, row: Row): How {
  const entries = store.db.prepare(historyOf).all(row.record ?? 0);
  const at = entries.findIndex(({ seq }) => seq === row.seq);
  const [later, earlier] = [entries[at - 1], entries[at + 1]];
  const now = store.db.prepare(recordRow).get(row.record ?? 0);
  const found = proven("record_history", row, [
    { before: earlier?.after ?? null },
    { after: later === undefined ? (now?.value ?? null) : (later.before ?? null) },
    { after: null },
    { detail: null },
    { detail: earlier?.detail ?? null },
    { detail: later?.detail ?? null },
    ...recordOrigins.map((origin) => ({ origin })),
  ]);
  if (found !== null) {
    rewriteSealed(store, "record_history", found);
    return "proven";
  }
  const { before = null, after = null } = row;
  if (earlier !== undefined) breakSilent(store, earlier, before);
  breakEntry(store, row, { before, after });
  return "rebuilt";
}

/** An entry that left to the next one, or to the record, what it was: where that is uncertain, so is the entry. */
export function breakSilent(store: Store, entry: Row, after: SqlValue): boolean {
  if (!isSilent(entry) || !isIntact("record_history", entry)) return false;
  breakEntry(store, entry, { before: null, after });
  return true;
}

/** Where entries were lost, one that leaves to the next what it was is believed only if nothing is missing between them. */
export function breakUncertain(store: Store): readonly Row[] {
  const gaps = store.db
    .prepare(historyGaps)
    .all()
    .map(({ seq }) => integer(seq));
  const uncertain: Row[] = [];
  let gap = 0;
  for (let after = -1; ; ) {
    const rows = store.db.prepare(pageSilent).all(after);
    for (const row of rows) {
      after = integer(row.seq);
      while ((gaps[gap] ?? Number.POSITIVE_INFINITY) < after) gap += 1;
      const isTorn =
        row.later === null ? row.isSame !== 1 : (gaps[gap] ?? Number.POSITIVE_INFINITY) < integer(row.later);
      if (isTorn && breakSilent(store, row, row.shown ?? null)) uncertain.push(row);
    }
    if (rows.length < pageRows) return uncertain;
  }
}

function breakEntry(store: Store, row: Row, kept: { readonly before: SqlValue; readonly after: SqlValue }): void {
  rewriteSealed(store, "record_history", {
    ...row,
    record: integer(row.record),
    at: integer(row.at),
    origin: recordOrigins.find((origin) => origin === row.origin) ?? "local",
    version: integer(row.version),
    before: null,
    after: null,
    // What is left of it is kept to be read by a person; nothing writes it anywhere by itself.
    detail: JSON.stringify({ code: brokenCode, kept: { before: readable(kept.before), after: readable(kept.after) } }),
  });
}

const readable = (cell: SqlValue): Json => (typeof cell === "string" ? cell : null);

// ---- what is pending ------------------------------------------------------------------------------------------

export type PayloadChange = { readonly collection: string; readonly key: string; readonly [field: string]: Json };

/** The changes of an operation whose own hash is right; `null` for any other. */
export function changesOf(store: Store, seq: SqlValue): readonly PayloadChange[] | null {
  const op = store.db.prepare(operation).get(seq);
  if (op === undefined || op.type !== recordWriteType || !isGenuine(store, op)) return null;
  const payload = parsed<{ readonly changes?: readonly PayloadChange[] }>(text(op.payload), {});
  return payload.changes ?? [];
}

/** What the operation says of its record is repeated from its payload, which has a hash of its own. `null`: nothing is left of it. */
export function mendPending(store: Store, row: Row): Row | null {
  const changes = changesOf(store, row.op ?? 0);
  const now = store.db.prepare(recordRow).get(row.record ?? 0);
  const named = now === undefined ? null : (store.db.prepare(collectionRow).get(now.collection ?? 0)?.name ?? null);
  const place = changes?.findIndex((each) => each.key === now?.key && each.collection === named) ?? -1;
  const change = changes?.[place >= 0 ? place : integer(row.place)];
  if (change === undefined) return null;
  const { collection, key, ...overlay } = change;
  const first = store.db.prepare(pendingOf).all(row.record ?? 0)[0];
  const base = first?.op === row.op && now !== undefined && isIntact("record", now) ? (now.snapshot ?? null) : null;
  const written = JSON.stringify(overlay);
  const found = proven("pending", row, [{ overlay: written }, { base_value: base }, { place }]);
  if (found !== null) return found;
  const op = store.db.prepare(operation).get(row.op ?? 0);
  const result = parsed<{ readonly changes?: readonly Json[] }>(textOrNull(op?.result) ?? "{}", {});
  const told = (result.changes ?? []).find((each) => (each as PayloadChange).key === key) as PayloadChange | undefined;
  const acked = op?.state === State.done ? told?.version : 0;
  if (typeof acked !== "number") return null;
  return { ...row, place: Math.max(place, 0), base_value: base, acked, overlay: written };
}

// ---- records --------------------------------------------------------------------------------------------------

/** Where a record stands by the index on keys, which damage of its row leaves alone. */
export type KeyOf = ReadonlyMap<number, { readonly collection: number; readonly key: string }>;

/** Puts a record right; what cannot be proven is rebuilt from its history and its unsent changes, or left empty to be fetched. */
export function mendRecord(store: Store, row: Row, keys: KeyOf): How {
  const id = integer(row.id);
  const place = keys.get(id) ?? { collection: integer(row.collection), key: text(row.key) };
  const pendings = store.db.prepare(pendingOf).all(id);
  const first = pendings[0];
  const newest = store.db
    .prepare(historyOf)
    .all(id)
    .find((entry) => !isBrokenEntry(entry));
  // What came with the first pull and was never changed is said by the record alone.
  const last = newest === undefined || isSilent(newest) ? undefined : textOrNull(newest.after);
  const found = proven("record", row, [
    { ...place },
    ...(last === undefined ? [] : [{ value: last }]),
    { snapshot: first === undefined ? null : (first.base_value ?? null) },
    { pendings: pendings.length },
    ...Object.values(Status).map((status) => ({ status })),
  ]);
  if (found !== null) {
    rewriteSealed(store, "record", found);
    return "proven";
  }
  const collection = store.db.prepare(collectionRow).get(place.collection);
  if (collection === undefined || place.key === "") return "gone";
  const spec = parsed<CollectionSpec>(text(collection.spec), { name: "" });
  const isLocal = spec.isSynced === false;
  // What the row and its history say alike is certain, whatever else of the row was changed.
  const isAgreed = last !== undefined && last === (row.value ?? null);
  const value = last ?? null;
  const resting =
    isAgreed || (isLocal && last !== undefined) ? (isLocal ? Status.localOnly : Status.synced) : Status.failed;
  const base = parsed<{ readonly base?: number }>(textOrNull(first?.overlay) ?? "{}", {}).base;
  rewriteSealed(store, "record", {
    ...row,
    ...place,
    version: base ?? 0,
    value,
    snapshot: first === undefined ? null : (first.base_value ?? null),
    schema: spec.version ?? 1,
    author: "",
    status: first === undefined ? resting : Status.pending,
    pendings: pendings.length,
  });
  if (isAgreed) return "rebuilt";
  if (newest !== undefined) breakSilent(store, newest, row.value ?? null);
  const detail = { code: mendedCode, kept: { value: readable(row.value ?? null) } };
  const schema = spec.version ?? 1;
  logRecord(store, {
    record: id,
    origin: "restore",
    run: null,
    version: 0,
    before: null,
    after: value,
    schema,
    detail,
  });
  return last === undefined ? "gone" : "rebuilt";
}

/** The record that a change speaks of, as its row is; `undefined` where there is none. */
export const recordOfChange = (store: Store, change: PayloadChange): Row | undefined =>
  store.db.prepare(recordByKey).get(change.collection, change.key);
