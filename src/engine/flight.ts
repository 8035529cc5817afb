/**
 * Owns what is known of an attempt under way, in memory only, and how much room all of them leave.
 * The store says the same in its rows; who sends is `loop.ts`.
 */
import type { Progress } from "../operation.ts";
import type { Settings } from "../shapes.ts";
import type { Capacity, Claimed } from "./claim.ts";
import { leastShare } from "./claim.ts";

export type Flight = {
  readonly claimed: Claimed;
  readonly startedAt: number;
  readonly abort: (reason: unknown) => void;
  progress: Progress | null;
  savedAt: number;
};

/** What operations take of the room on the wire: requests in all and by remote, bulk ones apart. A batch is one request. */
export type Load = {
  readonly small: Map<string, number>;
  readonly bulk: Map<string, number>;
  smallSum: number;
  bulkSum: number;
};

export function loadOf(claimed: readonly Claimed[]): Load {
  const load: Load = { small: new Map(), bulk: new Map(), smallSum: 0, bulkSum: 0 };
  for (const { type, operation } of claimed) {
    const share = type.runBatch === undefined ? 1 : 1 / type.runBatch.max;
    const counted = type.isBulk === true ? load.bulk : load.small;
    counted.set(operation.remote, (counted.get(operation.remote) ?? 0) + share);
    if (type.isBulk === true) load.bulkSum += share;
    else load.smallSum += share;
  }
  return load;
}

/** The part of a slot that one request takes. */
function shareOf(request: readonly Claimed[]): number {
  const load = loadOf(request);
  return load.smallSum + load.bulkSum;
}

/** The room that is left beside what is under way and what begins next. */
export function capacityOf(flights: Iterable<Flight>, next: readonly Claimed[], settings: Settings): Capacity {
  const busy = loadOf([...flights].map(({ claimed }) => claimed));
  const ahead = loadOf(next);
  // What waits for its remote's other requests keeps no slot from other remotes.
  let reserved = 0;
  for (const [remote, share] of ahead.small) {
    const room = remote === "" ? share : Math.max(0, settings.concurrencyPerRemote - (busy.small.get(remote) ?? 0));
    reserved += Math.min(share, room);
  }
  return {
    slots: Math.max(0, settings.concurrency - busy.smallSum - reserved),
    bulkSlots: Math.max(0, settings.bulkConcurrency - busy.bulkSum - ahead.bulkSum),
    inFlight: (remote, isBulkCounted) =>
      (busy.small.get(remote) ?? 0) +
      (ahead.small.get(remote) ?? 0) +
      (isBulkCounted ? (busy.bulk.get(remote) ?? 0) + (ahead.bulk.get(remote) ?? 0) : 0),
  };
}

/** Whether a request has room beside what is under way. A single one takes what is left of a slot, a batch only what is left whole. */
export function hasSlot(request: readonly Claimed[], load: Load, settings: Settings): boolean {
  const [first] = request;
  if (first === undefined) return true;
  const isBulk = first.type.isBulk === true;
  const busy = isBulk ? load.bulkSum : load.smallSum;
  if (busy < leastShare) return true;
  const needed = first.type.runBatch === undefined ? leastShare : shareOf(request) - leastShare;
  if ((isBulk ? settings.bulkConcurrency : settings.concurrency) - busy < needed) return false;
  const { remote } = first.operation;
  return isBulk || remote === "" || (load.small.get(remote) ?? 0) < settings.concurrencyPerRemote;
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
