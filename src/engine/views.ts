/**
 * Owns what a client does when the server tells that something else may be read of a collection than before: the collection is read again
 * (decision 0021). What that does to records and unsent work is `resync.ts`; pages are applied by `pull.ts`.
 */
import type { PullResponse } from "../wire.ts";
import type { CollectionInfo } from "./collections.ts";
import { isForeign, startResync } from "./collections.ts";
import type { Store } from "./store.ts";

/**
 * The least time from a reading because of another view to the next. A rule that answers something else at every call, as one with the
 * present instant in it, would make its readers read everything for ever. This is the longest that a client which hears pokes goes without a
 * poll, so nobody who waited for news waits longer for rights.
 */
export const viewRestMs = 300_000;

/** Kept for a view as long as pages of several are here; no server tells it. */
const mixed = "";

/**
 * The collections that the page is applied to, with their views; one that shows something else now begins anew and takes nothing of it.
 * `isAwaited`: somebody has asked for this pull, and it rests for nothing.
 */
export function meetViews(
  store: Store,
  infos: readonly CollectionInfo[],
  { views = {}, head, isAwaited }: Pick<PullResponse, "views" | "head"> & { readonly isAwaited: boolean },
): readonly CollectionInfo[] {
  return infos.flatMap((info): readonly CollectionInfo[] => {
    const view = Object.hasOwn(views, info.name) ? views[info.name] : undefined;
    if (view === undefined || view === info.view) return [info];
    if (info.cursor === 0) return [{ ...withReach(info), view }];
    // A store of before, or a server of before: nothing is known of what could be read then.
    if (info.view === null) return [{ ...info, view }];
    // Whatever is told next, also the view of before, is then another one: this page was not of that.
    if (info.resync !== null || (!isAwaited && isResting(store, info))) return [{ ...info, view: mixed }];
    startResync(store, info, { reason: "view", head, floor: 0 });
    return [];
  });
}

/** A reading that was begun for something else and meets another view judges by it as well: what is not told may only be out of reach. */
function withReach(info: CollectionInfo): CollectionInfo {
  const { resync, view } = info;
  if (resync === null || view === null || isForeign(resync)) return info;
  return { ...info, resync: { ...resync, reason: "view" } };
}

/** An instant that is still to come was set by a clock that went back, and counts as none. */
function isResting({ world }: Store, { viewed }: CollectionInfo): boolean {
  const now = world.now();
  return viewed !== null && viewed <= now && now < viewed + viewRestMs;
}
