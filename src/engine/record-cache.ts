/**
 * Owns how many records stay on this device: the budget of a collection, what is pinned, what was used last and what is wanted again.
 * The rows are `records.ts`; fetching what is wanted is left to the pull side.
 */
import { HoldfastError } from "../errors.ts";
import type { Where } from "../record.ts";
import { recordLimits } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { requireCollection, sizeOf } from "./collections.ts";
import { noteEvicted } from "./evicted.ts";
import { record } from "./history.ts";
import { completeLog } from "./record-log.ts";
import { findRecords } from "./record-query.ts";
import { pathOf } from "./record-terms.ts";
import type { RecordRow } from "./records.ts";
import { dropRecord, findRecord, markPinned, markUsed, toRecordView } from "./records.ts";
import type { Store } from "./store.ts";

/** Limits of what is kept in memory and done in one transaction. */
export const cacheLimits = {
  /** Reads that are remembered until the next eviction; beyond it the oldest are forgotten. */
  uses: 50_000,
  /** Keys that wait to be fetched, per collection. */
  wanted: 1_000,
  /** A key that the server was asked for and did not have is asked for again after this long. */
  askAgainMs: 60_000,
  /** Records evicted in one transaction: more than one page of a pull brings. */
  evictions: 5_000,
  /** Share of the budget that is left after an eviction, so that the next page does not evict again. */
  keptShare: 0.9,
} as const;

/** What a process knows of its reads; it is bound to the store and dies with it. */
type Reads = {
  /** When records were used last, by their ids, in the order of use. */
  readonly uses: Map<number, number>;
  /** Keys by collection. */
  readonly wanted: Map<string, Set<string>>;
  /** When the server was asked for keys, by collection and key. */
  readonly asked: Map<string, number>;
  hasNews: boolean;
};
const readsOf = new WeakMap<Store, Reads>();

function reads(store: Store): Reads {
  const known = readsOf.get(store) ?? { uses: new Map(), wanted: new Map(), asked: new Map(), hasNews: false };
  readsOf.set(store, known);
  return known;
}

/** One record, and the note that it was used, or is wanted here although it is not. */
export function readRecord(store: Store, input: Input<"records.get">): Output<"records.get"> {
  const info = requireCollection(store, input.collection);
  const row = findRecord(store, info, input.key);
  if (row === null) {
    wantRecord(store, info, input.key);
    return { record: null };
  }
  if (info.spec.maxBytes !== undefined) noteUse(store, row.id);
  return { record: toRecordView(store, row, info) as Output<"records.get">["record"] };
}

/** A read writes nothing: what was used is kept in memory until somebody has to be evicted. */
export function noteUse(store: Store, id: number): void {
  const { uses } = reads(store);
  // Deleted first, so that the map stays in the order of use.
  uses.delete(id);
  uses.set(id, store.world.now());
  if (uses.size <= cacheLimits.uses) return;
  const oldest = uses.keys().next().value;
  if (oldest !== undefined) uses.delete(oldest);
}

/** Only where not everything is kept can a record exist at the server and not here. */
const isPartial = (info: CollectionInfo): boolean =>
  info.isSynced && (info.spec.filter !== undefined || info.spec.maxBytes !== undefined);

function wantRecord(store: Store, info: CollectionInfo, key: string): void {
  if (!isPartial(info)) return;
  const known = reads(store);
  const askedAt = known.asked.get(placeOf(info.name, key));
  if (askedAt !== undefined && store.world.monotonic() - askedAt < cacheLimits.askAgainMs) return;
  const keys = known.wanted.get(info.name) ?? new Set();
  known.wanted.set(info.name, keys);
  if (keys.size >= cacheLimits.wanted || keys.has(key)) return;
  keys.add(key);
  known.hasNews = true;
}

const placeOf = (collection: string, key: string): string => `${collection}\n${key}`;

/** Whether something has been wanted since this was asked last; then the loop has an errand. */
export function takeWantedNews(store: Store): boolean {
  const known = readsOf.get(store);
  if (known === undefined || !known.hasNews) return false;
  known.hasNews = false;
  return true;
}

/** Keys that were asked for and are not here, oldest first. */
export function wantedKeys(store: Store, collection: string): readonly string[] {
  return [...(reads(store).wanted.get(collection) ?? [])];
}

/** Collections that have wanted keys. */
export function wantingCollections(store: Store): readonly string[] {
  return [...reads(store).wanted].flatMap(([collection, keys]) => (keys.size === 0 ? [] : [collection]));
}

/** The server was asked for them, whatever it had: one that it did not have is not asked for with every read. */
export function forgetWanted(store: Store, collection: string, keys: readonly string[]): void {
  const { wanted, asked } = reads(store);
  const keysHere = wanted.get(collection);
  for (const key of keys) {
    if (keysHere?.delete(key) !== true) continue;
    asked.set(placeOf(collection, key), store.world.monotonic());
    const oldest = asked.size > cacheLimits.uses ? asked.keys().next().value : undefined;
    if (oldest !== undefined) asked.delete(oldest);
  }
}

/** Keeps records here, or lets them go again. */
export function pinRecords(store: Store, input: Input<"records.pin">): Output<"records.pin"> {
  const info = requireCollection(store, input.collection);
  if ((input.keys === undefined) === (input.where === undefined)) {
    throw new HoldfastError(
      "invalid_input",
      "records.pin takes either keys or conditions",
      "pass `keys`, or `where` ({} for all records of the collection)",
    );
  }
  const sought = (input.keys ?? []).map((key) => ({ key, row: byKey(store, info, key) }));
  const rows =
    input.where === undefined ? sought.flatMap(({ row }) => row ?? []) : matching(store, info, input.where as Where);
  const changing = rows.filter((row) => (row.pinned === 1) !== input.isPinned);
  for (const row of changing) markPinned(store, row.id, input.isPinned);
  return { changed: changing.length, missing: sought.filter(({ row }) => row === null).map(({ key }) => key) };
}

function matching(store: Store, info: CollectionInfo, where: Where): readonly RecordRow[] {
  const found: RecordRow[] = [];
  let cursor: string | undefined;
  do {
    const page = findRecords(store, info, { where, limit: recordLimits.page, cursor });
    found.push(...(page.rows as unknown as readonly RecordRow[]));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return found;
}

/** A key that is not here is wanted: it is fetched where the server may have it, and pinned when it is asked for again. */
function byKey(store: Store, info: CollectionInfo, key: string): RecordRow | null {
  const row = findRecord(store, info, key);
  if (row === null) wantRecord(store, info, key);
  return row;
}

/**
 * Evicts until a collection is within its budget, the least recently used first and some at a time: never what is unsent, failed, in
 * conflict, only here (be it one field), or pinned. Returns how many went.
 */
export function keepBudget(store: Store, collection: string): number {
  const info = requireCollection(store, collection);
  const { maxBytes } = info.spec;
  if (maxBytes === undefined || !info.isSynced) return 0;
  let { bytes } = sizeOf(store, info.id);
  if (bytes <= maxBytes) return 0;
  flushUses(store);
  const target = Math.floor(maxBytes * cacheLimits.keptShare);
  let evicted = 0;
  for (const row of store.db.prepare(evictable(info)).all(cacheLimits.evictions) as unknown as readonly RecordRow[]) {
    if (bytes <= target) break;
    completeLog(store, row.id);
    dropRecord(store, row);
    noteEvicted(store, row);
    bytes -= row.bytes;
    evicted += 1;
  }
  if (evicted > 0) {
    const detail = { collection: info.name, state: "evicted", count: evicted };
    record(store, { op: 0, id: null, kind: "collection", status: null, detail });
  }
  return evicted;
}

/**
 * The terms are literals, because they are those of the collection's partial index `record_<id>_used`. What the server does not have could
 * not be fetched again: a record with fields of this device alone stays.
 */
function evictable({ id, spec }: CollectionInfo): string {
  const own = (spec.localOnly ?? []).map((field) => ` AND json_type(record.value, ${pathOf(field)}) IS NULL`);
  return `SELECT record.* FROM record INDEXED BY record_${id}_used
    WHERE record.collection = ${id} AND record.status = 0 AND record.pinned = 0 AND record.pendings = 0 AND record.value IS NOT NULL${own.join("")}
    ORDER BY record.used, record.id LIMIT +?`;
}

function flushUses(store: Store): void {
  const { uses } = reads(store);
  for (const [id, at] of uses) markUsed(store, id, at);
  uses.clear();
}
