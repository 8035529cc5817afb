/**
 * Owns mending the records of a store of which storage has changed or lost rows: in which order, what follows from it, and the report.
 * How a single row is put right is `mending-rows.ts`; how rows get out of a damaged file is left to whoever opens it.
 */
import type { Row } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import { State } from "../operation.ts";
import type { CollectionSpec } from "../record.ts";
import { applyChange, recordWriteType, touchedFields } from "../record.ts";
import { collectionOf, listInfos, recountRecords, sizeOf, startResync } from "./collections.ts";
import { openConflict, openConflictsOf, openConflictsOfOperation } from "./conflicts.ts";
import { wantRecord } from "./errands.ts";
import { mendEvicted, takeEvicted } from "./evicted.ts";
import { record } from "./history.ts";
import { mendConflict } from "./mending-conflicts.ts";
import type { How, KeyOf } from "./mending-rows.ts";
import {
  breakUncertain,
  brokenPattern,
  brokenRows,
  changesOf,
  mendCollection,
  mendEntry,
  mendedCode,
  mendPending,
  mendRecord,
  recordOfChange,
} from "./mending-rows.ts";
import type { LostWrite } from "./mending-unsent.ts";
import { queueAnew, takeLostWrites } from "./mending-unsent.ts";
import { dropSealed, insertSealed, rewriteSealed } from "./mending-writes.ts";
import { getMeta, setMeta } from "./meta.ts";
import { groundOf, replay } from "./overlay.ts";
import { pendingsOf, pendingsOfOperation, statusFor } from "./pending.ts";
import { getBrief } from "./queue.ts";
import { ensureIndexes } from "./record-query.ts";
import { countUnsettled, fieldsOf, getRecord, lastRecordId, markStatus, recordRepair, Status } from "./records.ts";
import { isIntact } from "./row-seal.ts";
import { getSpace, wantPull } from "./spaces.ts";
import type { Store } from "./store.ts";
import { integer, parsed, text } from "./store.ts";

/** Up to this many records of a collection are fetched one by one; with more missing, everything is read again. */
const fetchLimit = 20;

const ownIndexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND name GLOB 'record_[0-9]*'";
const keysOf = "SELECT id, collection, key FROM record INDEXED BY sqlite_autoindex_record_1";
const reindexed = ["collection", "record", "pending", "record_history", "conflict"] as const;
const homeless =
  "SELECT collection, min(key) AS key, max(status = 4) AS isLocal FROM record WHERE collection NOT IN (SELECT id FROM collection) GROUP BY collection";
const sentFor = `SELECT pending.op AS op, record.key AS key FROM pending JOIN record ON record.id = pending.record WHERE record.collection = ?`;
const toldOf = "SELECT detail FROM history WHERE kind = 'record' ORDER BY seq DESC LIMIT 2000";
const hasKey = "SELECT 1 AS n FROM record WHERE collection = ? AND key = ?";
const byName = "SELECT 1 AS n FROM collection WHERE name = ?";
const lonelyPendings = "SELECT * FROM pending WHERE record NOT IN (SELECT id FROM record)";
const openWrites = `SELECT seq FROM op WHERE type = '${recordWriteType}' AND state < 8 ORDER BY seq`;
const parkedForConflict = `SELECT seq FROM op WHERE type = '${recordWriteType}' AND state IN (5, 6) AND reason = 'conflict'`;
const miscounted = `SELECT id FROM record WHERE pendings <> (SELECT count(*) FROM pending WHERE pending.record = record.id)`;
const unsettled = "SELECT id FROM record WHERE status IN (1, 2, 3) OR pendings > 0";
const collectionId = "SELECT id, spec FROM collection WHERE name = ?";

/** What was found and done in one collection. */
export type MendedCollection = {
  /** Rows that were found changed or missing and are certainly what they were. */
  proven: number;
  /** Records whose value was taken from their history or from what is unsent on them. */
  restored: number;
  /** Records that are asked of the server again. */
  again: number;
  /** Records of which nothing is left here, and that no server has. */
  lost: number;
  /** Entries of the history whose values can only be read, not restored. */
  historyDamaged: number;
  /** Conflicts whose sides were read again from their records. */
  conflictsReopened: number;
  /** Decided conflicts whose sides are gone. */
  conflictsDamaged: number;
  readonly isReadAgain: boolean;
  readonly records: number;
  readonly unsent: number;
  readonly openConflicts: number;
};

type Tally = { -readonly [name in keyof MendedCollection]: MendedCollection[name] };

/** What a salvage could not carry over: collections that lack rows, or all of them where that is not known. */
export type Missing = {
  readonly resync: readonly number[] | "all";
  /** Entries of the history are missing between others. */
  readonly isHistoryTorn?: boolean;
};

type Work = {
  readonly store: Store;
  readonly tallies: Map<number, Tally>;
  readonly touched: Set<number>;
  readonly again: Map<number, string[]>;
  readonly findings: string[];
};

/** Mends what a salvage has carried over, before anything else works on it. */
export function mendAfterSalvage(store: Store): void {
  const missing = getMeta(store, "mend");
  if (missing !== null && missing !== "")
    mendRecords(store, parsed<Missing>(missing, { resync: "all", isHistoryTorn: true }));
}

/** Looks through every row of the records and puts right what no longer fits its seal. In a transaction of its own. */
export function mendRecords(store: Store, missing: Missing = { resync: [] }): void {
  const work: Work = { store, tallies: new Map(), touched: new Set(), again: new Map(), findings: [] };
  store.memory.sync.rows.clear();
  const broken = brokenRows(store, "record");
  const keys = broken.length === 0 ? new Map() : readKeys(store);
  // Indexes hold what rows held before they were changed, and those on values fail for what is no JSON any more.
  for (const row of store.db.prepare(ownIndexes).all()) store.db.exec(`DROP INDEX "${text(row.name)}"`);
  for (const table of reindexed) store.db.exec(`REINDEX ${table}`);
  mendCollections(work);
  for (const row of brokenRows(store, "record_history"))
    tell(work, row.record, mendEntry(store, row), "historyDamaged");
  if (missing.isHistoryTorn === true)
    for (const row of breakUncertain(store)) tell(work, row.record, "rebuilt", "historyDamaged");
  const notes = mendEvicted(store, brokenPattern);
  if (notes.lost > 0)
    work.findings.push(
      `${notes.lost} notes of where the history of an evicted record stands were damaged; it is not found by its key any more`,
    );
  mendPendings(work);
  mendBrokenRecords(work, broken, keys);
  addLonely(work);
  for (const row of store.db.prepare(miscounted).all()) work.touched.add(integer(row.id));
  mendConflicts(work);
  const unsent = takeLostWrites(store);
  for (const { records } of unsent) for (const id of records) work.touched.add(id);
  settleViews(work);
  for (const lost of unsent) tellUnsent(work, lost, queueAnew(store, lost));
  reopenConflicts(work);
  readAgain(work, missing);
  // A row that was given another value still says how large the former one was.
  store.db.prepare(recordRepair.weigh).run();
  for (const info of listInfos(store)) {
    const tally = tallyOf(work, info.id);
    const counted = sizeOf(store, info.id).records;
    tally.records = recountRecords(store, info.id);
    // The collection had counted them: what is fewer now and on no server is lost.
    if (!info.isSynced) tally.lost = Math.max(tally.lost, counted - tally.records);
    ensureIndexes(store, info);
  }
  report(work, missing);
}

function readKeys(store: Store): KeyOf {
  const rows = store.db.prepare(keysOf).all();
  return new Map(rows.map((row) => [integer(row.id), { collection: integer(row.collection), key: text(row.key) }]));
}

function tallyOf({ tallies }: Work, collection: number): Tally {
  const known = tallies.get(collection);
  if (known !== undefined) return known;
  const counts = { proven: 0, restored: 0, again: 0, lost: 0 };
  const damaged = { historyDamaged: 0, conflictsReopened: 0, conflictsDamaged: 0 };
  const tally = { ...counts, ...damaged, isReadAgain: false, records: 0, unsent: 0, openConflicts: 0 };
  tallies.set(collection, tally);
  return tally;
}

type Counted = "historyDamaged" | "restored" | "conflictsDamaged" | "conflictsReopened";

function tell(work: Work, recordId: Row[string] | undefined, how: How, otherwise: Counted): void {
  const row = work.store.db.prepare("SELECT collection FROM record WHERE id = ?").get(recordId ?? 0);
  const tally = tallyOf(work, integer(row?.collection));
  if (how === "proven") tally.proven += 1;
  else tally[otherwise] += 1;
}

function tellUnsent(work: Work, { records }: LostWrite, isQueued: boolean): void {
  for (const id of records) {
    const row = getRecord(work.store, id);
    if (row === null) continue;
    if (isQueued) tallyOf(work, row.collection).restored += 1;
    else {
      const { name } = collectionOf(work.store, row.collection);
      work.findings.push(
        `an unsent change of "${row.key}" of "${name}" was lost; its values are in the record's history`,
      );
    }
  }
}

// ---- rows -----------------------------------------------------------------------------------------------------

function mendCollections(work: Work): void {
  const { store, findings } = work;
  for (const row of brokenRows(store, "collection")) {
    const how = mendCollection(store, row);
    if (how === "proven") tallyOf(work, integer(row.id)).proven += 1;
    else
      findings.push(
        `the declaration of collection "${text(row.name)}" was damaged; declare it again if its rules are missing`,
      );
  }
  for (const row of store.db.prepare(homeless).all()) {
    const id = integer(row.collection);
    const name = nameFor(store, id) ?? `lost_${id}`;
    const isSynced = row.isLocal !== 1;
    const spec: CollectionSpec = { name, ...(isSynced ? {} : { isSynced }) };
    insertSealed(store, "collection", {
      ...{ id, name, space: "", spec: JSON.stringify(spec), cursor: 0, state: isSynced ? "initial" : "local" },
      ...{ floor: 0, mark: 0, resync: null },
    });
    findings.push(`the declaration of a collection was lost; its records are in "${name}"`);
    if (isSynced) tallyOf(work, id).isReadAgain = true;
  }
}

/** What a collection was called: by the operations that change its records, or by the events that told of them. */
function nameFor(store: Store, id: number): string | null {
  for (const row of store.db.prepare(sentFor).all(id)) {
    const change = changesOf(store, row.op ?? 0)?.find(({ key }) => key === row.key);
    if (change !== undefined) return freeName(store, change.collection);
  }
  for (const row of store.db.prepare(toldOf).all()) {
    const detail = parsed<{ readonly collection?: string; readonly keys?: readonly string[] }>(text(row.detail), {});
    const isMeant = detail.keys?.some((key) => store.db.prepare(hasKey).get(id, key) !== undefined) === true;
    if (isMeant && detail.collection !== undefined && freeName(store, detail.collection) !== null)
      return detail.collection;
  }
  return null;
}

const freeName = (store: Store, name: string): string | null =>
  store.db.prepare(byName).get(name) === undefined ? name : null;

function mendPendings(work: Work): void {
  const { store, touched } = work;
  for (const row of brokenRows(store, "pending")) {
    const mended = mendPending(store, row);
    touched.add(integer(row.record));
    if (mended === null) dropSealed(store, "pending", row);
    else rewriteSealed(store, "pending", mended);
    tell(
      work,
      row.record,
      mended !== null && mended.seal === row.seal && isIntact("pending", mended) ? "proven" : "rebuilt",
      "restored",
    );
  }
  for (const { seq } of store.db.prepare(openWrites).all()) {
    const known = pendingsOfOperation(store, integer(seq));
    const changes = changesOf(store, seq ?? 0) ?? [];
    if (known.length >= changes.length) continue;
    changes.forEach((change, place) => {
      if (!known.some((each) => each.place === place)) addMissing(work, { op: integer(seq), place, change });
    });
  }
}

type MissingChange = {
  readonly op: number;
  readonly place: number;
  readonly change: NonNullable<ReturnType<typeof changesOf>>[number];
};

/** What an operation changes is in its payload too: its record is shown with it again. */
function addMissing(work: Work, { op, place, change }: MissingChange): void {
  const { store, touched } = work;
  const { collection, key, ...overlay } = change;
  const row = recordOfChange(store, change) ?? addRecord(work, collection, key, integer(change.base as number));
  if (row === undefined) return;
  const base = isIntact("record", row) ? (row.pendings === 0 ? row.value : row.snapshot) : null;
  const pending = { record: row.id ?? 0, op, place, base_value: base ?? null, acked: 0 };
  if (!insertSealed(store, "pending", { ...pending, overlay: JSON.stringify(overlay) })) return;
  touched.add(integer(row.id));
  tallyOf(work, integer(row.collection)).restored += 1;
}

function addRecord(work: Work, collection: string, key: string, version: number, id?: number): Row | undefined {
  const { store } = work;
  const home = store.db.prepare(collectionId).get(collection);
  if (home === undefined) return undefined;
  const spec = parsed<CollectionSpec>(text(home.spec), { name: collection });
  const now = store.world.now();
  insertSealed(store, "record", {
    // A number that was given before is not given again: another record's history stands under it.
    id: id ?? takeEvicted(store, integer(home.id), key) ?? lastRecordId(store) + 1,
    ...{ collection: home.id ?? 0, key, version, value: null, snapshot: null, schema: spec.version ?? 1, author: "" },
    ...{ changed: now, status: Status.pending, pendings: 1, used: now, bytes: 0 },
  });
  return recordOfChange(store, { collection, key });
}

/** Changes whose record is not there any more bring it back under its old number, so that its history stays its own. */
function addLonely(work: Work): void {
  const { store, touched } = work;
  for (const row of store.db.prepare(lonelyPendings).all()) {
    const change = changesOf(store, row.op ?? 0)?.[integer(row.place)];
    const made =
      change === undefined
        ? undefined
        : addRecord(work, change.collection, change.key, integer(change.base as number), integer(row.record));
    if (made === undefined || made.id !== row.record) {
      dropSealed(store, "pending", row);
      continue;
    }
    rewriteSealed(store, "record", { ...made, snapshot: row.base_value ?? null });
    touched.add(integer(row.record));
    tallyOf(work, integer(made.collection)).restored += 1;
    again(work, integer(made.collection), text(made.key));
  }
}

function mendBrokenRecords(work: Work, broken: readonly Row[], keys: KeyOf): void {
  const { store, touched } = work;
  for (const row of broken) {
    const id = integer(row.id);
    const how = mendRecord(store, row, keys);
    const now = getRecord(store, id);
    if (now === null) continue;
    const tally = tallyOf(work, now.collection);
    touched.add(id);
    if (how === "proven") {
      tally.proven += 1;
      continue;
    }
    if (how === "rebuilt") tally.restored += 1;
    const isSynced =
      parsed<CollectionSpec>(
        text(store.db.prepare("SELECT spec FROM collection WHERE id = ?").get(now.collection)?.spec),
        { name: "" },
      ).isSynced !== false;
    if (isSynced) again(work, now.collection, now.key);
    else if (how === "gone") tally.lost += 1;
  }
}

function again(work: Work, collection: number, key: string): void {
  work.again.set(collection, [...(work.again.get(collection) ?? []), key]);
  tallyOf(work, collection).again += 1;
}

function mendConflicts(work: Work): void {
  for (const row of brokenRows(work.store, "conflict")) {
    const how = mendConflict(work.store, row);
    tell(
      work,
      row.record,
      how === "proven" ? "proven" : "rebuilt",
      how === "open" ? "conflictsReopened" : "conflictsDamaged",
    );
  }
}

// ---- what follows ---------------------------------------------------------------------------------------------

/** Replays what is unsent over what was put right, and says how each record stands. */
function settleViews({ store, touched }: Work): void {
  const detail: Json = { code: mendedCode };
  for (const id of touched) {
    const row = getRecord(store, id);
    if (row === null) continue;
    const info = collectionOf(store, row.collection);
    const count = pendingsOf(store, id).length;
    if (count === 0 && row.pendings === 0) continue;
    replay(store, info, row, groundOf({ ...row, pendings: Math.max(row.pendings, 1) }), {
      origin: "restore",
      run: null,
      isOurs: true,
      detail,
    });
  }
  for (const { id } of store.db.prepare(unsettled).all()) {
    const row = getRecord(store, integer(id));
    if (row !== null && row.pendings > 0)
      markStatus(store, row.id, statusFor(store, collectionOf(store, row.collection), row.id));
  }
}

/** An operation that is parked for a decision has one to make: an entry of the inbox that was lost is made again. */
function reopenConflicts(work: Work): void {
  const { store } = work;
  for (const { seq } of store.db.prepare(parkedForConflict).all()) {
    const op = getBrief(store, integer(seq));
    if (op === null || (op.state !== State.parked && op.state !== State.aside)) continue;
    if (openConflictsOfOperation(store, op.seq).length > 0) continue;
    for (const pending of pendingsOfOperation(store, op.seq)) {
      const row = getRecord(store, pending.record);
      if (row === null) continue;
      const info = collectionOf(store, row.collection);
      const base = fieldsOf(pending.baseValue);
      const remote = fieldsOf(groundOf(row).snapshot);
      const local = applyChange(base ?? remote, pending.change);
      const kind = remote === null ? "deleted_upstream" : local === null ? "deleted_here" : "version_mismatch";
      const fields = touchedFields(pending.change) ?? [];
      const sides = { kind, collection: info.name, key: row.key, base, local, remote } as const;
      const met = {
        info,
        row,
        op,
        sides,
        fields,
        remoteVersion: row.version,
        remoteAuthor: row.author,
        isAtomic: false,
      };
      const words = `"${row.key}" of "${info.name}" is in conflict; its entry was lost with a damaged page, and made again from the record`;
      openConflict(store, met, { how: "manual", strategy: "manual", fields }, words);
      tallyOf(work, info.id).conflictsReopened += 1;
    }
  }
}

/** What the server has is asked of it again: some records one by one, many by reading everything. Unsent work is kept. */
function readAgain(work: Work, { resync }: Missing): void {
  const { store } = work;
  for (const info of listInfos(store)) {
    if (!info.isSynced) continue;
    const keys = work.again.get(info.id) ?? [];
    const isUnknown = info.cursor > 0 && getSpace(store, info.space).history === "";
    const isMissing = resync === "all" || resync.includes(info.id) || tallyOf(work, info.id).isReadAgain;
    // After a salvage nothing more is guessed than needed: whatever the server has is read from the server.
    const isSalvaged = getMeta(store, "mend") !== null && getMeta(store, "mend") !== "";
    if (isMissing || isUnknown || keys.length > (isSalvaged ? 0 : fetchLimit)) {
      if (info.resync === null) startResync(store, info, { reason: "asked", head: 0, floor: 0 });
      tallyOf(work, info.id).isReadAgain = true;
    } else for (const key of keys) wantRecord(store, info.name, key);
    if (isMissing || isUnknown || keys.length > 0 || info.state === "resync") wantPull(store, info.space);
  }
}

function report(work: Work, { resync }: Missing): void {
  const { store, tallies, findings } = work;
  const collections: Record<string, Json> = {};
  for (const info of listInfos(store)) {
    const tally = tallyOf(work, info.id);
    tally.unsent = countUnsettled(store, info.id);
    tally.openConflicts = openConflictsOf(store, info.id);
    collections[info.name] = tally;
    if (isQuiet(tally)) continue;
    const detail = { collection: info.name, state: "mended", ...tally };
    record(store, { op: 0, id: null, kind: "collection", status: null, detail });
  }
  const isSalvaged = resync === "all" || (getMeta(store, "mend") ?? "") !== "";
  const told = { at: store.world.now(), isSalvaged, collections, findings };
  setMeta(store, "mended", JSON.stringify(told));
  setMeta(store, "mend", "");
  if (
    [...tallies.values()].some(({ lost }) => lost > 0) ||
    findings.length > 0 ||
    [...tallies.values()].some((tally) => !isQuiet(tally))
  )
    store.world.log("warn", "records were damaged by the storage and mended", { report: told });
}

const isQuiet = (tally: MendedCollection): boolean =>
  !tally.isReadAgain &&
  [
    tally.proven,
    tally.restored,
    tally.again,
    tally.lost,
    tally.historyDamaged,
    tally.conflictsReopened,
    tally.conflictsDamaged,
  ].every((n) => n === 0);

/** Whether an error says that a row of records is broken, so that mending and asking again can help. */
export const isBrokenRow = (error: unknown): boolean =>
  error instanceof HoldfastError && error.code === "record_corrupt";
