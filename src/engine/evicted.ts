/**
 * Owns the table `evicted`: under which number the history of a record stands that was let go for want of room, so that it is found by
 * its key, and goes on when the record comes back. Who is let go is `record-cache.ts`; the rows themselves are `records.ts`.
 */
import type { Row } from "../database.ts";
import { getMeta, setMeta } from "./meta.ts";
import { refuseBroken, sealOf } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, text } from "./store.ts";

const columns = "collection, key, record, seal";
const note = `INSERT OR REPLACE INTO evicted (${columns}) VALUES (?, ?, ?, ?)`;
const find = `SELECT ${columns} FROM evicted WHERE collection = ? AND key = ?`;
const byNumber = `SELECT ${columns} FROM evicted WHERE record = ?`;
const take = `DELETE FROM evicted WHERE collection = ? AND key = ? RETURNING ${columns}`;
const page = `SELECT ${columns} FROM evicted WHERE record > ? ORDER BY record LIMIT 500`;
// Without an index: the one of the numbers may be what storage has changed.
const all = `SELECT ${columns} FROM evicted ORDER BY +record`;
const empty = "DELETE FROM evicted";
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
  putNote(store, row.collection, row.key, row.id);
}

function putNote(store: Store, collection: number, key: string, record: number): void {
  store.db.prepare(note).run(collection, key, record, sealOf([collection, key, record]));
}

const isIntactNote = ({ collection, key, record, seal }: Row): boolean => seal === sealOf([collection, key, record]);

/** Another number would show another record's history, or put a record that comes back in another's place. */
const intactNote = (row: Row): Row => (isIntactNote(row) ? row : refuseBroken("evicted"));

/** The number under which the history of an evicted record stands. */
export function findEvicted(store: Store, collection: number, key: string): number | null {
  const row = store.db.prepare(find).get(collection, key);
  return row === undefined ? null : integer(intactNote(row).record);
}

/** Which record's history stands under a number. */
export function findEvictedAs(
  store: Store,
  record: number,
): { readonly collection: number; readonly key: string } | null {
  const row = store.db.prepare(byNumber).get(record);
  return row === undefined ? null : { collection: integer(intactNote(row).collection), key: text(row.key) };
}

/** Whether looking is worth it: most collections never let anything go. */
export function hasEvicted(store: Store, collection: number): boolean {
  return highestGone(store) > 0 && store.db.prepare(any).get(collection) !== undefined;
}

/** The record is here again, under the number that it had. */
export function takeEvicted(store: Store, collection: number, key: string): number | null {
  if (highestGone(store) === 0) return null;
  const row = store.db.prepare(take).get(collection, key);
  return row === undefined ? null : integer(intactNote(row).record);
}

/** Entries of these records were forgotten for their age; a record without any needs no number any more. */
export function pruneEvicted(store: Store, records: readonly number[]): void {
  if (highestGone(store) === 0) return;
  for (const record of new Set(records)) store.db.prepare(forget).run(record);
}

/** After the history was put right: what it speaks of was here, whatever the storage has made of the note about it. */
export function mendEvicted(store: Store, brokenDetail: string): { readonly proven: number; readonly lost: number } {
  const mended = mendNotes(store);
  store.db.prepare(unbelievable).run();
  noteGone(store, integer(store.db.prepare(highestLogged).get(brokenDetail)?.id));
  return mended;
}

export const brokenNotes = (store: Store): number =>
  store.db
    .prepare(all)
    .all()
    .filter((row) => !isIntactNote(row)).length;

/** Looks through some notes more, in idle time: one under a wrong key is met by nobody who asks for the right one. */
export function scrubEvicted(store: Store): void {
  if (highestGone(store) === 0) return;
  const { scrubbed } = store.memory.sync;
  const rows = store.db.prepare(page).all(scrubbed.get("evicted") ?? -1);
  scrubbed.set("evicted", rows.length < 500 ? -1 : integer(rows.at(-1)?.record));
  for (const row of rows) intactNote(row);
}

/** The table is in the order of its keys, which a changed key has broken: so it is written anew. */
function mendNotes(store: Store): { readonly proven: number; readonly lost: number } {
  const rows = store.db.prepare(all).all();
  const mended = rows.map((row) => (isIntactNote(row) ? row : withOneBitBack(row)));
  const lost = mended.filter((row) => row === null).length;
  const proven = mended.filter((row, index) => row !== null && row !== rows[index]).length;
  if (lost + proven === 0) return { proven, lost };
  store.db.prepare(empty).run();
  for (const row of mended)
    if (row !== null) putNote(store, integer(row.collection), text(row.key), integer(row.record));
  return { proven, lost };
}

/** The row with the one bit turned back that makes it fit its seal; then nothing about it is uncertain. */
function withOneBitBack(row: Row): Row | null {
  for (const column of ["collection", "record"] as const)
    for (let bit = 1; bit < 2 ** 52; bit *= 2) {
      const value = integer(row[column]);
      const flipped = { ...row, [column]: Math.floor(value / bit) % 2 === 0 ? value + bit : value - bit };
      // The uppermost bit of one number weighs as much as that of the other: whichever leaves both possible is the one.
      if (isPossible(flipped) && isIntactNote(flipped)) return flipped;
    }
  const key = text(row.key);
  for (let at = 0; at < key.length; at += 1)
    for (let bit = 1; bit < 0x80; bit *= 2) {
      const letter = String.fromCharCode(key.charCodeAt(at) ^ bit);
      const flipped = { ...row, key: key.slice(0, at) + letter + key.slice(at + 1) };
      if (isIntactNote(flipped)) return flipped;
    }
  return null;
}

/** Nobody has given this many numbers. */
const isPossible = ({ collection, record }: Row): boolean =>
  [collection, record].every((each) => integer(each) > 0 && integer(each) < 2 ** 31);
