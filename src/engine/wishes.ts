/**
 * Owns `collections.sync`: what somebody wants to have from the server now, one record, one collection or everything.
 * The request itself is an errand of `errands.ts`; in which order records come is `pull.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Input, Output } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { listInfos, requireCollection, startResync } from "./collections.ts";
import { wantRecord } from "./errands.ts";
import { isWorkingOffline } from "./gates.ts";
import { findRecord } from "./records.ts";
import { askPull, getSpace } from "./spaces.ts";
import type { Store } from "./store.ts";

export function syncCollections(store: Store, input: Input<"collections.sync">): Output<"collections.sync"> {
  const infos = wanted(store, input);
  const names = infos.map(({ name }) => name);
  if (isWorkingOffline(store)) {
    const sentence = "You work offline: nothing is pulled. `holdfast network online` ends that.";
    return { collections: names, isOffline: true, sentence };
  }
  for (const info of infos) {
    if (input.key !== undefined) {
      const known = findRecord(store, info, input.key);
      wantRecord(store, info.name, known?.key ?? input.key);
      continue;
    }
    if (input.full === true && info.state !== "initial") {
      startResync(store, info, { reason: "asked", head: getSpace(store, info.space).head, floor: 0 });
    }
    askPull(store, info.space);
  }
  const what =
    input.key !== undefined ? `"${input.key}"` : names.length === 1 ? `"${names[0]}"` : `${names.length} collections`;
  return { collections: names, isOffline: false, sentence: `Pulling ${what}.` };
}

function wanted(store: Store, input: Input<"collections.sync">): readonly CollectionInfo[] {
  if (input.collection === undefined) {
    if (input.key === undefined) return listInfos(store).filter(({ isSynced }) => isSynced);
    throw new HoldfastError("invalid_input", "a key belongs to a collection", "name the collection, too");
  }
  const info = requireCollection(store, input.collection);
  if (info.isSynced) return [info];
  throw new HoldfastError(
    "refused_by_state",
    `collection "${info.name}" stays on this device`,
    "declare it without `isSynced: false` to have it synced",
  );
}
