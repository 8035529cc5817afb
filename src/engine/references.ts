/**
 * Owns whom an operation waits for because of the local ids that its payload mentions. Where ids and mentions are kept is `ids.ts`;
 * what a wait does to readiness is `lanes.ts`.
 */
import type { Json } from "../operation.ts";
import { State, statusOf } from "../operation.ts";
import type { OperationType } from "../world.ts";
import type { Alias } from "./ids.ts";
import { addReference, dropReferencesOf, mentionsIn, referrersOf } from "./ids.ts";
import { addDependency, dependentsOf, detachFrom, refuseCycle } from "./lanes.ts";
import type { Brief } from "./queue.ts";
import { addWaits, getBrief, setSchedule } from "./queue.ts";
import type { Store } from "./store.ts";

/**
 * The operations that create what is mentioned. One that was removed, or that has landed without naming an id, cannot be waited for: then
 * the operation is parked when its turn comes, with the local id that nobody creates.
 */
export function creatorsOf(store: Store, mentions: readonly Alias[], seq: number): readonly number[] {
  return mentions.map((alias) => alias.seq).filter((creator) => creator !== seq && canBeAwaited(store, creator));
}

function canBeAwaited(store: Store, creator: number): boolean {
  const op = getBrief(store, creator);
  return op !== null && statusOf(op.state, op.outcome) !== "completed";
}

/**
 * A person has named the id that a creation did not bring: nothing has to wait for that creation any more because it mentions the id.
 * What was told to come after it still does.
 */
export function stopAwaiting(store: Store, creation: Alias, referrers: readonly number[]): void {
  for (const seq of referrers) {
    const isToldTo = getBrief(store, seq)?.options.after?.includes(creation.op) === true;
    if (!isToldTo) detachFrom(store, creation.seq, seq);
  }
}

/** A local id whose creation was given up is created anew: whatever mentions it waits for the new creation instead. */
export function adoptReferrers(
  store: Store,
  local: string,
  creation: { readonly from: number; readonly to: number },
): void {
  for (const seq of referrersOf(store, local)) waitInstead(store, seq, creation);
}

/**
 * Another operation goes out in place of one that was tried: what waits for that waits for the other from now on. But what mentions the local
 * id that it was to create stays held until somebody creates that: the other one's landing would not bring the id.
 */
export function adoptDependents(store: Store, { from, to }: { readonly from: Brief; readonly to: number }): void {
  const referrers = from.creates === null ? [] : referrersOf(store, from.creates);
  for (const seq of dependentsOf(store, from.seq))
    if (!referrers.includes(seq)) waitInstead(store, seq, { from: from.seq, to });
}

function waitInstead(store: Store, seq: number, { from, to }: { readonly from: number; readonly to: number }): void {
  const op = getBrief(store, seq);
  if (op === null || op.state === State.done || op.state === State.inFlight) return;
  // What was to come after the one that it replaces does not wait for itself.
  if (seq !== to && addDependency(store, to, seq)) waitForMore(store, op, 1);
  detachFrom(store, from, seq);
}

/** A payload was replaced: what it mentions now is what counts, and the operation waits for the creators of that. */
export function relinkReferences(
  store: Store,
  op: Brief,
  prepared: { readonly type: OperationType | undefined; readonly payload: Json },
): void {
  dropReferencesOf(store, op.seq);
  let added = 0;
  // What it creates itself it need not wait for.
  const mentions = mentionsIn(store, prepared.type, prepared.payload).filter(
    (alias) => alias.server === null && alias.seq !== op.seq,
  );
  for (const alias of mentions) addReference(store, alias.local, op.seq);
  for (const creator of creatorsOf(store, mentions, op.seq)) if (addDependency(store, creator, op.seq)) added += 1;
  if (added > 0) waitForMore(store, op, added);
}

function waitForMore(store: Store, op: Brief, added: number): void {
  addWaits(store, op.seq, added);
  const now = getBrief(store, op.seq);
  if (now === null) return;
  refuseCycle(store, now);
  if (op.state <= State.held && op.state !== State.waiting) {
    setSchedule(store, op.seq, { state: State.waiting, reason: "dependency", due: op.due });
  }
}
