/**
 * Owns the table `collection`: what is declared, where each collection stands, how much it holds.
 * What its records say is `records.ts`; when a collection is pulled is `pull.ts`; the spaces they belong to are `spaces.ts`.
 */
import type { Row } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import type { CollectionSpec } from "../record.ts";
import type { CollectionView, Output } from "../verbs.ts";
import { parseInput } from "../verbs.ts";
import type { Collection } from "../world.ts";
import { openConflictsOf } from "./conflicts.ts";
import { record } from "./history.ts";
import { raisePendings } from "./overlay.ts";
import { ensureIndexes, lacksIndexes } from "./record-query.ts";
import { countUnsettled, hasRecords } from "./records.ts";
import { intact, reseal, sealedTables } from "./row-seal.ts";
import { collectionCounter } from "./schema.ts";
import { getSpace, spaceNameOf, wantPull } from "./spaces.ts";
import type { Store } from "./store.ts";
import { addCount, integer, integerOrNull, parsed, readCount, text } from "./store.ts";

const columns = "id, name, space, spec, cursor, state, checked, problem, floor, mark, resync, view, viewed, seal";
const byName = `SELECT ${columns} FROM collection WHERE name = ?`;
const byId = `SELECT ${columns} FROM collection WHERE id = ?`;
const all = `SELECT ${columns} FROM collection ORDER BY name`;
const insert = "INSERT INTO collection (name, space, spec, state) VALUES (?, ?, ?, ?) RETURNING id";
const setSpec = "UPDATE collection SET spec = ?, space = ? WHERE id = ?";
const setProgress =
  "UPDATE collection SET cursor = ?, floor = ?, state = ?, checked = ?, problem = NULL, resync = ?, view = ?, viewed = ? WHERE id = ?";
const setResync =
  "UPDATE collection SET cursor = 0, state = 'resync', resync = ?, mark = ?, viewed = ?, problem = NULL WHERE id = ?";
const setRefused = "UPDATE collection SET state = 'refused', problem = ? WHERE id = ?";
const setAsked = "UPDATE collection SET state = ?, problem = NULL WHERE id = ?";
const recount = `SELECT count(value) AS records, coalesce(sum(bytes) FILTER (WHERE value IS NOT NULL), 0) AS bytes,
  count(*) FILTER (WHERE status IN (1, 2, 3)) AS unsettled FROM record WHERE collection = ?`;

/** How `mending.ts` puts rows right that storage has changed. */
export const collectionRepair = {
  read: "SELECT * FROM collection WHERE id = ?",
  seal: "UPDATE collection SET seal = ? WHERE id = ?",
  rewrite: `UPDATE collection SET name = ?, space = ?, spec = ?, cursor = ?, state = ?, floor = ?, mark = ?, resync = ?, view = ?, seal = ? WHERE id =
  ?`,
  insert: `INSERT OR IGNORE INTO collection (id, name, space, spec, cursor, state, seal) VALUES (?, ?, ?, ?, ?, ?, ?)`,
} as const;

/** Why everything is read again, and what was known when that began. */
export type Resync = {
  readonly reason: "too_old" | "other_history" | "ahead" | "asked" | "filter" | "view";
  /** The server's newest version when the reset was told. */
  readonly head: number;
  /** Versions below it are no longer told as removed. */
  readonly floor: number;
  /** The reading that met the other history first: marks from it on are of that history. */
  readonly since?: number;
};

export type CollectionState = CollectionView["state"];

/** One collection as the engine works with it. */
export type CollectionInfo = {
  readonly id: number;
  readonly name: string;
  readonly spec: CollectionSpec;
  readonly version: number;
  /** Resolved: never empty. */
  readonly space: string;
  readonly isSynced: boolean;
  readonly cursor: number;
  readonly state: CollectionState;
  readonly checked: number | null;
  readonly problem: Json;
  /** The server's floor when the cursor began at 0: no removal since then was missed. */
  readonly floor: number;
  /** Number of the latest resync; records that it has not met carry an older one. */
  readonly mark: number;
  readonly resync: Resync | null;
  /** What the server said may be read when the records that are here were read: its digest. `null`: it has never said so. */
  readonly view: string | null;
  /** When a reading because of another view last began or ended. */
  readonly viewed: number | null;
  /** The parts that are code, where this program declares them. */
  readonly declared?: Collection;
};

/** Finds a collection by name. Throws `not_found`. */
export function requireCollection(store: Store, name: string): CollectionInfo {
  const row = store.db.prepare(byName).get(name);
  if (row !== undefined) return toInfo(store, row);
  // A name that storage has changed is not found either: looking at all of them finds that out.
  listInfos(store);
  throw new HoldfastError(
    "not_found",
    `there is no collection "${name}"`,
    "declare it first: `holdfast collections declare`, or `collections` of the program that opens the store",
    // A client that has the declaration at hand sees by this that it may declare it.
    { details: { collection: name } },
  );
}

export function findCollection(store: Store, name: string): CollectionInfo | null {
  const row = store.db.prepare(byName).get(name);
  return row === undefined ? null : toInfo(store, row);
}

/** The collection that a record belongs to; collections are never deleted. */
export function collectionOf(store: Store, id: number): CollectionInfo {
  const row = store.db.prepare(byId).get(id);
  if (row !== undefined) return toInfo(store, row);
  throw new HoldfastError("internal", `collection ${id} is gone`, "report this with the output of `holdfast doctor`");
}

export function listInfos(store: Store): readonly CollectionInfo[] {
  return store.db
    .prepare(all)
    .all()
    .map((row) => toInfo(store, row));
}

function toInfo(store: Store, cells: Row): CollectionInfo {
  const row = looked(store, cells);
  const name = text(row.name);
  const spec = specOf(store, name, text(row.spec));
  const declared = store.collections.get(name);
  return {
    id: integer(row.id),
    name,
    spec,
    version: spec.version ?? 1,
    space: spaceNameOf(store, text(row.space)),
    isSynced: spec.isSynced !== false,
    cursor: integer(row.cursor),
    state: text(row.state) as CollectionState,
    checked: integerOrNull(row.checked),
    problem: row.problem === null ? null : parsed<Json>(text(row.problem), null),
    floor: integer(row.floor),
    mark: integer(row.mark),
    resync: row.resync === null ? null : parsed<Resync | null>(text(row.resync), null),
    view: row.view === null ? null : text(row.view),
    viewed: integerOrNull(row.viewed),
    ...(declared === undefined ? {} : { declared }),
  };
}

/** A collection is read with every request: a row that was found intact is only compared with. */
function looked(store: Store, row: Row): Row {
  const { rows } = store.memory.sync;
  const known = rows.get(text(row.name));
  if (known !== undefined && sealedTables.collection.covered.every((column) => known[column] === row[column]))
    if (known.seal === row.seal) return row;
  rows.set(text(row.name), intact("collection", row));
  return row;
}

/** A specification is read with every request, so its text is parsed only when it has changed. */
function specOf(store: Store, name: string, written: string): CollectionSpec {
  const { specs } = store.memory.sync;
  const known = specs.get(name);
  if (known?.text === written) return known.spec;
  const spec = parsed<CollectionSpec>(written, { name });
  specs.set(name, { text: written, spec });
  return spec;
}

/** Stores what the program declares. */
export function declareAll(store: Store): void {
  for (const collection of store.collections.values()) {
    const { check, upcast, decide, decideVersion, ...spec } = collection;
    declare(store, parseInput("collections.declare", spec) as CollectionSpec);
  }
}

/** Collections whose queries would fail for want of an index, as in a file that another build or tool has had in its hands. */
export function unindexedCollections(store: Store): readonly CollectionInfo[] {
  return listInfos(store).filter((info) => lacksIndexes(store, info));
}

export function declareCollection(store: Store, spec: CollectionSpec): CollectionView {
  return viewCollection(store, declare(store, spec));
}

function declare(store: Store, spec: CollectionSpec): CollectionInfo {
  const known = findCollection(store, spec.name);
  const written = JSON.stringify(spec);
  if (known === null) {
    const state = spec.isSynced === false ? "local" : "initial";
    const made = store.db.prepare(insert).get(spec.name, spec.space ?? "", written, state);
    reseal(store, "collection", collectionRepair, integer(made?.id));
    tellCollection(store, spec.name, "declared");
    const fresh = requireCollection(store, spec.name);
    ensureIndexes(store, fresh);
    if (fresh.isSynced) wantPull(store, fresh.space);
    return fresh;
  }
  if (JSON.stringify(known.spec) === written) {
    ensureIndexes(store, known);
    return known;
  }
  refuseMove(store, known, spec);
  store.db.prepare(setSpec).run(written, spec.space ?? "", known.id);
  reseal(store, "collection", collectionRepair, known.id);
  const now = requireCollection(store, spec.name);
  ensureIndexes(store, now);
  if (now.version > known.version) raisePendings(store, now);
  if (now.isSynced && JSON.stringify(known.spec.filter) !== JSON.stringify(spec.filter) && known.cursor > 0) {
    startResync(store, now, { reason: "filter", head: 0, floor: 0 });
    wantPull(store, now.space);
  }
  tellCollection(store, spec.name, "changed");
  return requireCollection(store, spec.name);
}

/** Records that exist belong to their space, and their keys are known by their names: neither changes under them. */
function refuseMove(store: Store, known: CollectionInfo, spec: CollectionSpec): void {
  const changed =
    (known.spec.space ?? "") !== (spec.space ?? "")
      ? "space"
      : known.isSynced !== (spec.isSynced !== false)
        ? "isSynced"
        : (known.spec.keys ?? "client") !== (spec.keys ?? "client")
          ? "keys"
          : null;
  if (changed === null || !hasRecords(store, known.id)) return;
  throw new HoldfastError(
    "refused_by_state",
    `collection "${known.name}" holds records, so its ${changed} cannot change`,
    "declare another collection and move the records there",
  );
}

export function listCollections(store: Store): Output<"collections.list"> {
  const collections = listInfos(store).map((info) => viewCollection(store, info));
  const checked = collections.map(({ asOf }) => asOf).filter((at) => at !== null);
  return {
    collections,
    lastSyncAt: checked.length === 0 ? null : Math.max(...checked),
    clockOffsetMs: getSpace(store, spaceNameOf(store, "")).offsetMs,
  };
}

export function viewCollection(store: Store, info: CollectionInfo): CollectionView {
  const { head } = getSpace(store, info.space);
  const isReading = info.state === "initial" || info.state === "resync" || info.state === "pulling";
  return {
    spec: info.spec as CollectionView["spec"],
    space: info.space,
    ...sizeOf(store, info.id),
    pending: countUnsettled(store, info.id),
    conflicts: openConflictsOf(store, info.id),
    cursor: info.cursor,
    head,
    state: info.state,
    asOf: info.checked,
    problem: info.problem as CollectionView["problem"],
    progress: isReading && head > 0 ? { done: Math.min(info.cursor, head), total: head } : null,
  };
}

/** A page was applied: the cursor moves with its rows. */
export function moveCursor(
  store: Store,
  info: CollectionInfo,
  to: { readonly cursor: number; readonly floor: number; readonly isComplete: boolean; readonly at: number },
): void {
  const reading = info.state === "initial" || info.state === "resync" ? info.state : "pulling";
  const state = to.isComplete ? "idle" : reading;
  const resync = to.isComplete || info.resync === null ? null : JSON.stringify(info.resync);
  const checked = to.isComplete ? to.at : info.checked;
  const viewed = to.isComplete && info.resync?.reason === "view" ? store.world.now() : info.viewed;
  const cursor = Math.max(info.cursor, to.cursor);
  const floor = info.cursor === 0 ? to.floor : info.floor;
  store.db.prepare(setProgress).run(cursor, floor, state, checked, resync, info.view, viewed, info.id);
  reseal(store, "collection", collectionRepair, info.id);
  if (state !== info.state && (to.isComplete || state !== "pulling")) tellCollection(store, info.name, state);
}

/** Everything is read again from the beginning; unsent work is kept. */
export function startResync(store: Store, info: CollectionInfo, wanted: Resync): void {
  const mark = info.mark + 1;
  const resync = governing(info.resync, isForeign(wanted) ? { ...wanted, since: mark } : wanted);
  const viewed = wanted.reason === "view" ? store.world.now() : info.viewed;
  store.db.prepare(setResync).run(JSON.stringify(resync), mark, viewed, info.id);
  reseal(store, "collection", collectionRepair, info.id);
  tellCollection(store, info.name, "resync", { reason: wanted.reason });
}

/** A reading that starts over before it is finished still has to judge what the first one set out to judge. */
function governing(open: Resync | null, wanted: Resync): Resync {
  if (open === null || isForeign(wanted)) return wanted;
  return isForeign(open) || isOfReach(open) ? open : wanted;
}

/** Whether everything is read again because something else is in reach: what is not told any more is not removed on the server. */
export const isOfReach = ({ reason }: Resync): boolean => reason === "filter" || reason === "view";

/** The server refuses to give a collection away; it is asked again later. */
export function refuseCollection(store: Store, info: CollectionInfo, problem: Json): void {
  store.db.prepare(setRefused).run(JSON.stringify(problem), info.id);
  reseal(store, "collection", collectionRepair, info.id);
  if (info.state !== "refused") tellCollection(store, info.name, "refused", { problem });
}

/** A person asks again: an earlier refusal says nothing until the server has refused once more. */
export function retryRefused(store: Store, info: CollectionInfo): void {
  if (info.state !== "refused") return;
  const state = info.resync !== null ? "resync" : info.cursor === 0 ? "initial" : "pulling";
  store.db.prepare(setAsked).run(state, info.id);
  reseal(store, "collection", collectionRepair, info.id);
}

/** Keeps the counts of what a collection holds; they are shown often and must not be counted each time. */
export function countRecords(store: Store, collection: number, records: number, bytes: number): void {
  if (records !== 0) addCount(store, collectionCounter(collection, "records"), records);
  if (bytes !== 0) addCount(store, collectionCounter(collection, "bytes"), bytes);
}

/** How many living records a collection holds, and their bytes. */
export const sizeOf = (store: Store, collection: number): { readonly records: number; readonly bytes: number } => ({
  records: readCount(store, collectionCounter(collection, "records")),
  bytes: readCount(store, collectionCounter(collection, "bytes")),
});

/** Counts what a collection holds anew, after rows were put in or right by themselves. */
export function recountRecords(store: Store, collection: number): number {
  const real = store.db.prepare(recount).get(collection);
  for (const what of ["records", "bytes", "unsettled"] as const) {
    const counter = collectionCounter(collection, what);
    addCount(store, counter, integer(real?.[what]) - readCount(store, counter));
  }
  return integer(real?.records);
}

function tellCollection(store: Store, collection: string, state: string, more: { readonly [name: string]: Json } = {}) {
  record(store, { op: 0, id: null, kind: "collection", status: null, detail: { collection, state, ...more } });
}

/** Whether everything is read again because the server has another history: versions of before compare with none of now. */
export const isForeign = (resync: Resync | null): boolean =>
  resync !== null && (resync.reason === "other_history" || resync.reason === "ahead");

/** Whether a record, by its mark, was not met yet in such a reading: its version is one of the history before. */
export const isOfOldHistory = ({ resync, mark: now }: CollectionInfo, mark: number): boolean =>
  isForeign(resync) && mark < (resync?.since ?? now);

/** The version of a record as far as it can be compared with the server's answers. */
export const versionOf = (
  info: CollectionInfo,
  { mark, version }: { readonly mark: number; readonly version: number },
): number => (isOfOldHistory(info, mark) ? 0 : version);
