/**
 * Owns what the loop does for the store beside sending: pruning now and then, going slowly on a full disk, laying the reserve again.
 * When it is done is `loop.ts`; what is pruned is `retention.ts`.
 */
import type { Settings } from "../shapes.ts";
import { getSettings } from "./meta.ts";
import { prune } from "./retention.ts";
import type { Store } from "./store.ts";

const pruneEveryMs = 10_000;

/** On a full disk a booking must fit into the reserve: that of one operation does, that of many large ones never. */
export function paceOf(store: Store): Settings {
  const settings = getSettings(store);
  return store.memory.isDiskFull ? { ...settings, concurrency: 1, bulkConcurrency: 1 } : settings;
}

export function pruneSometimes(store: Store): void {
  const now = store.world.monotonic();
  if (now - store.memory.lastPruneAt < pruneEveryMs) return;
  store.memory.lastPruneAt = now;
  prune(store);
}

export function recoverSpace(store: Store): void {
  if (!store.memory.isDiskFull) return;
  if (store.world.disk.freeBytes() >= getSettings(store).minFreeBytes && store.world.disk.restoreReserve())
    store.memory.isDiskFull = false;
}
