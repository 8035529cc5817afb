/**
 * Owns the commit that books answers and claims what goes next, and its fallback when one of the bookings fails by itself.
 * What an answer does is `settle.ts`; when the commit happens is `loop.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Json, Progress } from "../operation.ts";
import { bareAnswer } from "./attempt.ts";
import type { Claimed } from "./claim.ts";
import { saveCheckpoint } from "./queue.ts";
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

/** Stores where a long transfer stands. Throws when the engine is closed, or when another process has the operation now. */
export function commitCheckpoint(
  { store, commit }: LoopHost,
  claimed: Pick<Claimed, "seq" | "epoch" | "operation">,
  stand: { readonly checkpoint: Json; readonly progress: Progress | null },
): void {
  if (store.memory.isClosed)
    throw new HoldfastError("engine_closed", "the engine is closed", "the operation goes on after the next start");
  if (commit(() => saveCheckpoint(store, claimed.seq, claimed.epoch, stand))) return;
  throw new HoldfastError(
    "aborted",
    `operation ${claimed.operation.id} belongs to another process now`,
    "stop this attempt",
  );
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
