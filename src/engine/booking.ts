/**
 * Owns the commit that books answers and claims what goes next, and its fallback when one of the bookings fails by itself.
 * What an answer does is `settle.ts`; when the commit happens is `loop.ts`.
 */
import { bareAnswer } from "./attempt.ts";
import type { Claimed } from "./claim.ts";
import type { Settled } from "./settle.ts";
import { settle } from "./settle.ts";
import type { Store } from "./store.ts";
import { isStorageFailure } from "./store.ts";

/** The store, and how the engine commits: durably, with the witness and the listeners told after. */
export type LoopHost = { readonly store: Store; readonly commit: <T>(work: () => T) => T };

/** Books all answers and claims in one commit. When one booking fails by itself, each is booked alone, so one cannot hold up the rest. */
export function commitBooking(
  host: LoopHost,
  booked: readonly Settled[],
  then: () => readonly Claimed[],
): readonly Claimed[] {
  const { store, commit } = host;
  try {
    return commit(() => {
      for (const settled of booked) settle(store, settled);
      return then();
    });
  } catch (error) {
    if (isStorageFailure(error)) throw error;
    store.world.log("error", "a booking failed; each answer is booked by itself", { error: String(error) });
  }
  for (const settled of booked) bookAlone(host, settled);
  return commit(then);
}

function bookAlone(host: LoopHost, settled: Settled): void {
  const { store, commit } = host;
  try {
    commit(() => settle(store, settled));
  } catch (error) {
    if (isStorageFailure(error)) throw error;
    store.world.log("error", "an answer could not be booked whole", { error: String(error), sequence: settled.seq });
    commit(() => settle(store, { ...settled, answer: bareAnswer(settled.answer, error) }));
  }
}
