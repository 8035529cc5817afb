/**
 * Owns unsent changes of records whose operation was lost: the changes are here, sealed, with what they were made on, and are queued anew.
 * What was lost of records themselves is `mending.ts`; queueing changes that are there already is `adopting.ts`.
 */
import type { Change, Fields } from "../record.ts";
import { recordWriteType } from "../record.ts";
import type { Bases } from "./adopting.ts";
import { adoptWrite, standOn } from "./adopting.ts";
import { collectionOf } from "./collections.ts";
import { closeConflicts } from "./conflicts.ts";
import { dropSealed } from "./mending-writes.ts";
import { pendingsOf, pendingsOfOperation } from "./pending.ts";
import { fieldsOf, getRecord } from "./records.ts";
import type { Store } from "./store.ts";
import { apart, integer } from "./store.ts";

const orphans = "SELECT DISTINCT op FROM pending WHERE acked = 0 AND op NOT IN (SELECT seq FROM op) ORDER BY op";

/** What an operation that is lost would have sent, or `null` where something that was made on it is still there. */
export type LostWrite = {
  readonly records: readonly number[];
  readonly space: string;
  readonly changes: readonly Change[] | null;
  readonly bases: Bases;
};

/** Takes out the changes that no operation carries. The views of their records have to be made again after it. */
export function takeLostWrites(store: Store): readonly LostWrite[] {
  const lost = store.db
    .prepare(orphans)
    .all()
    .map(({ op }) => integer(op));
  const all = new Set(lost);
  const writes = lost.map((op) => readLost(store, op, all));
  for (const op of lost) {
    for (const { record } of pendingsOfOperation(store, op)) dropSealed(store, "pending", { record, op });
    closeConflicts(store, op, { by: "withdrawal", choice: "remote", outcomeOf: () => null });
  }
  return writes;
}

function readLost(store: Store, op: number, lost: ReadonlySet<number>): LostWrite {
  const pendings = pendingsOfOperation(store, op);
  let space = "";
  let isWhole = true;
  const bases: (Fields | null)[] = [];
  const changes = pendings.flatMap((pending, place): readonly Change[] => {
    const row = getRecord(store, pending.record);
    const isBuiltOn = pendingsOf(store, pending.record).some((each) => each.op > op && !lost.has(each.op));
    if (row === null || isBuiltOn || pending.place !== place) {
      isWhole = false;
      return [];
    }
    const { spec, name } = collectionOf(store, row.collection);
    space = spec.space ?? "";
    bases.push(fieldsOf(pending.baseValue));
    return [{ ...pending.change, collection: name, key: row.key }];
  });
  return { records: pendings.map(({ record }) => record), space, changes: isWhole ? changes : null, bases };
}

/** Queues it anew. That is safe even if it had landed: the server finds that its fields are so already. False where it cannot be. */
export function queueAnew(store: Store, { space, changes, bases }: LostWrite): boolean {
  if (changes === null || changes.length === 0) return false;
  const payload = { space, changes, at: store.world.now() };
  const refusal = apart(store, () => {
    const receipt = adoptWrite(store, { type: recordWriteType, payload: payload as never }, bases);
    standOn(store, receipt.sequence, bases);
  });
  return refusal === null;
}
