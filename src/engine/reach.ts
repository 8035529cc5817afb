/**
 * Owns the list of records that filter or rights do not reach any more and that stay for the unsent work on them: when that has ended, they go.
 * What is unsent is `pending.ts`; how a record goes is `pull.ts`.
 */
import type { WireRecord } from "../wire.ts";
import type { CollectionInfo } from "./collections.ts";
import { getMeta, setMeta } from "./meta.ts";
import type { RecordRow } from "./records.ts";
import { getRecord } from "./records.ts";
import type { Store } from "./store.ts";
import { parsed } from "./store.ts";

/** A record as it was when it went out of reach: told again since, it is another row's business. */
type Kept = Pick<RecordRow, "id" | "version" | "mark">;

const listName = "kept";
const keptRecords = (store: Store): readonly Kept[] => parsed<readonly Kept[]>(getMeta(store, listName) ?? "[]", []);

export function keepOutOfReach(store: Store, { id, version, mark }: RecordRow): void {
  const others = keptRecords(store).filter((each) => each.id !== id);
  setMeta(store, listName, JSON.stringify([...others, { id, version, mark }]));
}

/** What may go now, as the server would tell it, if it had not done so before. */
export function takeOutOfReach(store: Store, infos: readonly CollectionInfo[]): readonly WireRecord[] {
  const kept = keptRecords(store);
  if (kept.length === 0) return [];
  const left: Kept[] = [];
  const gone: WireRecord[] = [];
  for (const each of kept) {
    const row = getRecord(store, each.id);
    // Pulled again since, it is in reach or gone already.
    if (row === null || row.version !== each.version || row.mark !== each.mark) continue;
    const info = infos.find(({ id }) => id === row.collection);
    if (info === undefined || row.pendings > 0) left.push(each);
    else {
      const { key, version, schema } = row;
      const at = store.world.now();
      gone.push({ collection: info.name, key, version, value: null, schema, author: "", at, isHidden: true });
    }
  }
  if (left.length < kept.length) setMeta(store, listName, JSON.stringify(left));
  return gone;
}
