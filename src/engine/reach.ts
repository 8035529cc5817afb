/**
 * Owns the list of records that filter or rights do not reach any more and that stay for the unsent work on them: when that has ended, they go.
 * What is unsent is `pending.ts`; how a record goes is `pull.ts`.
 */
import type { WireRecord } from "../wire.ts";
import type { CollectionInfo } from "./collections.ts";
import { getMeta, setMeta } from "./meta.ts";
import { pendingsOf } from "./pending.ts";
import type { RecordRow } from "./records.ts";
import { getRecord, markMet } from "./records.ts";
import type { Store } from "./store.ts";
import { parsed } from "./store.ts";

const listName = "kept";
/** No reading has this number, so that whoever is told of the record again is seen by its mark. */
const outOfReach = -1;

const keptRecords = (store: Store): readonly number[] =>
  parsed<readonly number[]>(getMeta(store, listName) ?? "[]", []);

export function keepOutOfReach(store: Store, rows: readonly RecordRow[]): void {
  if (rows.length === 0) return;
  for (const { id, confirmed } of rows) markMet(store, id, outOfReach, confirmed);
  const kept = new Set([...keptRecords(store), ...rows.map(({ id }) => id)]);
  setMeta(store, listName, JSON.stringify([...kept]));
}

/** Whether the server has told of a record that it lives on where it is not shown, and nothing of it since. */
export const isOutOfReach = ({ mark }: Pick<RecordRow, "mark">): boolean => mark === outOfReach;

/** What may go now that everything up to a version was told, as the server would tell it if it had not done so before. */
export function takeOutOfReach(store: Store, infos: readonly CollectionInfo[], upTo: number): readonly WireRecord[] {
  const kept = keptRecords(store);
  if (kept.length === 0) return [];
  const left: number[] = [];
  const gone: WireRecord[] = [];
  for (const id of kept) {
    const row = getRecord(store, id);
    if (row === null || !isOutOfReach(row)) continue;
    const info = infos.find((each) => each.id === row.collection);
    const acked = pendingsOf(store, id).map((pending) => pending.acked);
    const version = Math.max(row.version, ...acked);
    // Nothing of it has ever been at the server.
    if (version === 0 && acked.length === 0) continue;
    // What has landed and was not shown by now waits for nothing more.
    if (info === undefined || acked.includes(0) || version > upTo) left.push(id);
    else {
      const { key, schema } = row;
      const at = store.world.now();
      gone.push({ collection: info.name, key, version, value: null, schema, author: "", at, isHidden: true });
    }
  }
  if (left.length < kept.length) setMeta(store, listName, JSON.stringify(left));
  return gone;
}
