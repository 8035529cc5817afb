/**
 * Owns how far each space was ever seen to have come: the highest version that the server named here, in a page, an answer or an acknowledgement.
 * A server that knows less than that was set back without a new history; what is done about it is `resync.ts`.
 */
import type { PushResponse } from "../wire.ts";
import { highestAck } from "./pending.ts";
import type { Space } from "./spaces.ts";
import { forgetSeenVersion, getSpace } from "./spaces.ts";
import type { Store } from "./store.ts";

/** The highest version known of a space's present history. After a restart, once, what is stored says so. */
export function seenOf(store: Store, space: Space): number {
  const known = store.memory.sync.seen.get(space.name);
  if (known !== undefined && known.history === space.history) return Math.max(known.version, space.head);
  const version = Math.max(space.head, space.seen, highestAck(store, space.name));
  store.memory.sync.seen.set(space.name, { history: space.history, version });
  return version;
}

/** The server named a version of a history; one of another history than the known one says nothing. */
export function noteSeen(store: Store, name: string, of: { readonly history: string; readonly version: number }): void {
  const space = getSpace(store, name);
  if (space.history === "" || of.history !== space.history) return;
  if (of.version > seenOf(store, space)) store.memory.sync.seen.set(name, of);
}

/** Everything is read again: what was seen before that was of a past that the server does not have. */
export function forgetSeen(store: Store, name: string): void {
  store.memory.sync.seen.delete(name);
  forgetSeenVersion(store, name);
}

/** The highest version that an answer to a push names. A server of before knows no `head`; its acknowledgements say at least this. */
export function highestIn({ head, answers }: PushResponse): number {
  let highest = head ?? 0;
  for (const answer of answers)
    if (answer.outcome === "applied" || answer.outcome === "duplicate")
      for (const { version } of answer.changes) highest = Math.max(highest, version);
  return highest;
}
