/**
 * Owns `collections.sync`: what somebody wants to have from the server now, one record, one collection or everything.
 * The request itself is an errand of `errands.ts`; in which order records come is `pull.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Input, Output } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { listInfos, requireCollection, retryRefused, startResync } from "./collections.ts";
import { wantRecord } from "./errands.ts";
import { acceptCredentials, isWorkingOffline } from "./gates.ts";
import { askForProbe, getReachability } from "./network.ts";
import { hastenCredentials } from "./queue.ts";
import { findRecord } from "./records.ts";
import { askPull, getSpace, syncPlace } from "./spaces.ts";
import type { Store } from "./store.ts";

export function syncCollections(store: Store, input: Input<"collections.sync">): Output<"collections.sync"> {
  const infos = wanted(store, input);
  const names = infos.map(({ name }) => name);
  if (isWorkingOffline(store)) {
    const sentence = "You work offline: nothing is pulled. `holdfast network online` ends that.";
    return { collections: names, isOffline: true, sentence };
  }
  refuseWithoutServer(store);
  lookAtServerAgain(store);
  for (const info of infos) {
    retryRefused(store, info);
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

/** Who sends and has no way to a server would let everybody wait for ever. Another process may be the one that sends. */
function refuseWithoutServer(store: Store): void {
  if (store.sync !== null || store.memory.epoch === 0) return;
  throw new HoldfastError(
    "refused_by_state",
    "no sync server is known to the process that sends, so nothing can be pulled",
    "name it with `holdfast config set sync.url https://…`",
  );
}

/** What was found out before, a refused token or silence, is looked at once more when a person asks. */
function lookAtServerAgain(store: Store): void {
  const { remote, subject } = syncPlace(store);
  if (remote === "") return;
  if (acceptCredentials(store, subject, remote)) hastenCredentials(store, subject);
  if (getReachability(store, remote).status === "offline") askForProbe(store, remote);
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
