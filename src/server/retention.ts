/**
 * Owns when the server forgets: removals after a while, with the floor raised in the same transaction, and receipts that no operation can need.
 * The tables are `records.ts`, `receipts.ts` and `spaces.ts`.
 */
import type { Core } from "./core.ts";
import { forgetReceipts } from "./receipts.ts";
import { forgetTombstones } from "./records.ts";
import { saveFloor } from "./spaces.ts";

export type Compacted = { readonly tombstones: number; readonly receipts: number };

/** Forgets what is older than the limits, in small transactions so that pushes come in between. */
export async function compact(core: Pick<Core, "store" | "limits" | "now">): Promise<Compacted> {
  const { limits, store } = core;
  const now = core.now();
  const rows = limits.retentionRows;
  let tombstones = 0;
  for (;;) {
    const forgotten = await store.write(async (tx) => {
      const { count, floors } = await forgetTombstones(tx, { before: now - limits.tombstoneMs, limit: rows });
      for (const [space, floor] of floors) await saveFloor(tx, space, floor);
      return count;
    });
    tombstones += forgotten;
    if (forgotten < rows) break;
  }
  let receipts = 0;
  for (;;) {
    const forgotten = await store.write((tx) => forgetReceipts(tx, { before: now - limits.receiptMs, limit: rows }));
    receipts += forgotten;
    if (forgotten < rows) break;
  }
  return { tombstones, receipts };
}
