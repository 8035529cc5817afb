/**
 * Owns what is known of an attempt under way, in memory only, and how much room all of them leave.
 * The store says the same in its rows; who sends is `loop.ts`.
 */
import type { Progress } from "../operation.ts";
import type { Settings } from "../shapes.ts";
import type { Capacity, Claimed } from "./claim.ts";

export type Flight = {
  readonly claimed: Claimed;
  readonly startedAt: number;
  readonly abort: (reason: unknown) => void;
  progress: Progress | null;
  savedAt: number;
};

/** The room that is left beside what is under way. */
export function capacityOf(flights: Iterable<Flight>, settings: Settings): Capacity {
  const busy = { small: new Map<string, number>(), bulk: new Map<string, number>() };
  let small = 0;
  let bulk = 0;
  for (const { claimed } of flights) {
    const share = claimed.type.runBatch === undefined ? 1 : 1 / claimed.type.runBatch.max;
    const { remote } = claimed.operation;
    const counted = claimed.type.isBulk === true ? busy.bulk : busy.small;
    counted.set(remote, (counted.get(remote) ?? 0) + share);
    if (claimed.type.isBulk === true) bulk += share;
    else small += share;
  }
  return {
    slots: Math.max(0, settings.concurrency - small),
    bulkSlots: Math.max(0, settings.bulkConcurrency - bulk),
    inFlight: (remote, isBulkCounted) =>
      (busy.small.get(remote) ?? 0) + (isBulkCounted ? (busy.bulk.get(remote) ?? 0) : 0),
  };
}
