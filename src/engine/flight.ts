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

/** What goes out as one request: single operations, and batches of one type, remote and subject. */
export function requestsOf(claimed: readonly Claimed[]): readonly (readonly Claimed[])[] {
  const singles: Claimed[][] = [];
  const batches = new Map<string, Claimed[]>();
  for (const each of claimed) {
    if (each.type.runBatch === undefined) {
      singles.push([each]);
      continue;
    }
    const key = `${each.type.type}\n${each.operation.remote}\n${each.operation.subject}`;
    const batch = batches.get(key);
    if (batch === undefined) batches.set(key, [each]);
    else batch.push(each);
  }
  return [...singles, ...[...batches.values()].flatMap(partsOf)];
}

/**
 * Cuts what was claimed together into requests of at most `max`. What one lane contributes stays in one request: two of a lane in two
 * requests would overtake each other.
 */
function partsOf(claimed: readonly Claimed[]): readonly (readonly Claimed[])[] {
  const parts: Claimed[][] = [];
  for (const run of runsOf(claimed)) {
    const max = run[0]?.type.runBatch?.max ?? 1;
    const last = parts.at(-1);
    if (last !== undefined && last.length + run.length <= max) last.push(...run);
    else parts.push([...run]);
  }
  return parts;
}

/** Neighbours of one lane; a claim takes them in a row. */
function runsOf(claimed: readonly Claimed[]): readonly (readonly Claimed[])[] {
  const runs: Claimed[][] = [];
  for (const each of claimed) {
    const run = runs.at(-1);
    const { lane } = each.operation;
    if (run !== undefined && lane !== null && run[0]?.operation.lane === lane) run.push(each);
    else runs.push([each]);
  }
  return runs;
}
