/**
 * Owns what draining does while the disk is full: a pace whose book-keeping fits, and the reserve
 * taken back when space returns. What is refused on a full disk, and what is kept in better days, is `retention.ts`.
 */
import type { Settings } from "../shapes.ts";
import { getSettings } from "./meta.ts";
import type { Store } from "./store.ts";

/** On a full disk a booking must fit into the reserve: that of one operation does, that of many large ones never. */
export function paceOf(store: Store): Settings {
  const settings = getSettings(store);
  return store.memory.isDiskFull ? { ...settings, concurrency: 1, bulkConcurrency: 1 } : settings;
}

/** Takes the reserve back as soon as there is room for it again. */
export function recoverSpace(store: Store): void {
  if (!store.memory.isDiskFull) return;
  if (store.world.disk.freeBytes() >= getSettings(store).minFreeBytes && store.world.disk.restoreReserve())
    store.memory.isDiskFull = false;
}
