/**
 * Owns what draining does while the disk is full: a pace whose book-keeping fits, finished operations dropped early, the reserve
 * taken back when space returns. What is refused on a full disk, and what is kept in better days, is `retention.ts`.
 */
import { isCode } from "../errors.ts";
import type { Settings } from "../shapes.ts";
import type { LoopHost } from "./booking.ts";
import { getSettings } from "./meta.ts";
import { dropOldestDone, prune } from "./retention.ts";
import type { Store } from "./store.ts";

/** Finished operations dropped in one commit; few, because their removal has to find room in the journal. */
const dropLimit = 4;

const pruneEveryMs = 10_000;

/** While a pass leaves something over: faster than operations can be sent, and most of the time is theirs. */
const pruneAgainMs = 100;

/** Enqueues are refused well before that; only with less free than this may the book-keeping of what is queued have no room. */
const scarceBytes = 1_048_576;

/** On a full disk a booking must fit into the reserve: that of one operation does, that of many large ones never. */
export function paceOf(store: Store): Settings {
  const settings = getSettings(store);
  return store.memory.isDiskFull ? { ...settings, concurrency: 1, bulkConcurrency: 1 } : settings;
}

/**
 * Makes room inside the file for the booking of what goes next: on a full disk the history of what has landed must not keep
 * unsent work from landing. Where finished operations may not be dropped to make room, nothing is.
 */
export function pruneOnFullDisk({ store, commit }: LoopHost, unbooked: number): void {
  if (unbooked === 0 || !store.memory.isDiskFull || store.world.disk.freeBytes() > scarceBytes) return;
  if (getSettings(store).overflow !== "drop-completed-first") return;
  try {
    commit(() => dropOldestDone(store, dropLimit));
  } catch (error) {
    // Without room for that the booking may still find some, and is tried by itself.
    if (!isCode(error, "disk_full")) throw error;
  }
}

/** Prunes what was kept long enough, now and then. */
export function pruneSometimes(store: Store): void {
  const now = store.world.monotonic();
  if (now < store.memory.prune.nextAt) return;
  const isBehind = prune(store);
  store.memory.prune = { nextAt: now + (isBehind ? pruneAgainMs : pruneEveryMs), isBehind };
}

/** How long the loop may sleep before what a pass has left over is due; what comes of itself waits for a turn that is taken anyway. */
export function pruneWaitMs({ memory, world }: Store): number {
  return memory.prune.isBehind ? Math.max(memory.prune.nextAt - world.monotonic(), 1) : Number.POSITIVE_INFINITY;
}

/** Takes the reserve back as soon as there is room for it again. */
export function recoverSpace(store: Store): void {
  if (!store.memory.isDiskFull) return;
  if (store.world.disk.freeBytes() >= getSettings(store).minFreeBytes && store.world.disk.restoreReserve())
    store.memory.isDiskFull = false;
}
