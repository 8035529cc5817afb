/**
 * Owns the table `evicted`: under which number the history of a record stands that was let go for want of room, so that it is found by
 * its key, and goes on when the record comes back. Who is let go is `record-cache.ts`; the rows themselves are `records.ts`.
 */
import { getMeta, setMeta } from "./meta.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull } from "./store.ts";

const note = "INSERT OR REPLACE INTO evicted (collection, key, record) VALUES (?, ?, ?)";
const find = "SELECT record FROM evicted WHERE collection = ? AND key = ?";
const take = "DELETE FROM evicted WHERE collection = ? AND key = ? RETURNING record";
const any = "SELECT 1 AS n FROM evicted WHERE collection = ? LIMIT 1";
// Without a history there is nothing to find.
const forget = `DELETE FROM evicted WHERE record = ?
  AND NOT EXISTS (SELECT 1 FROM record_history WHERE record_history.record = evicted.record)`;
// A number that a record has, or that no history stands under, was changed by the storage.
const unbelievable = `DELETE FROM evicted WHERE record IN (SELECT id FROM record)
  OR record NOT IN (SELECT record FROM record_history)`;
const highestLogged = "SELECT max(record) AS id FROM record_history WHERE detail IS NULL OR detail NOT GLOB ?";

/** The highest number of a record that is gone: none is given twice, or another record would inherit a history. */
export function highestGone(store: Store): number {
  return Number(getMeta(store, "gone") ?? 0);
}

export function noteGone(store: Store, id: number): void {
  if (id > highestGone(store)) setMeta(store, "gone", String(id));
}

export function noteEvicted(
  store: Store,
  row: { readonly id: number; readonly collection: number; readonly key: string },
) {
  store.db.prepare(note).run(row.collection, row.key, row.id);
}

/** The number under which the history of an evicted record stands. */
export function findEvicted(store: Store, collection: number, key: string): number | null {
  return integerOrNull(store.db.prepare(find).get(collection, key)?.record);
}

/** Whether looking is worth it: most collections never let anything go. */
export function hasEvicted(store: Store, collection: number): boolean {
  return highestGone(store) > 0 && store.db.prepare(any).get(collection) !== undefined;
}

/** The record is here again, under the number that it had. */
export function takeEvicted(store: Store, collection: number, key: string): number | null {
  if (highestGone(store) === 0) return null;
  const row = store.db.prepare(take).get(collection, key);
  return row === undefined ? null : integer(row.record);
}

/** Entries of these records were forgotten for their age; a record without any needs no number any more. */
export function pruneEvicted(store: Store, records: readonly number[]): void {
  if (highestGone(store) === 0) return;
  for (const record of new Set(records)) store.db.prepare(forget).run(record);
}

/** After the history was put right: what it speaks of was here, whatever the storage has made of the note about it. */
export function mendEvicted(store: Store, brokenDetail: string): void {
  store.db.prepare(unbelievable).run();
  noteGone(store, integer(store.db.prepare(highestLogged).get(brokenDetail)?.id));
}
