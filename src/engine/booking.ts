/**
 * Owns the commit that books answers and claims what goes next, how long answers wait to share one, and its fallback when a booking fails.
 * Also the commit of a checkpoint. What an answer does is `settle.ts`; when the commit happens is `loop.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Json, Progress } from "../operation.ts";
import { bareAnswer } from "./attempt.ts";
import type { Claimed } from "./claim.ts";
import { tellLanded } from "./landing.ts";
import { saveCheckpoint } from "./queue.ts";
import type { Settled } from "./settle.ts";
import { settle } from "./settle.ts";
import type { Store } from "./store.ts";
import { isStorageFailure } from "./store.ts";

/**
 * The store, and how the engine commits: durably, with the witness and the listeners told after. `done` comes before the listeners:
 * what they ask for must find what the commit has claimed.
 */
export type LoopHost = {
  readonly store: Store;
  readonly commit: <T>(work: () => T, done?: (output: T) => void) => T;
};

/** What a booking commit does beside booking, and what follows from it. */
type Beside<T> = { readonly work: () => T; readonly done: (output: T) => void };

/** From this long on a commit is slow. */
export const slowCommitMs = 2;

/** No answer waits longer than this for others. */
export const longestGatherMs = 20;

/**
 * How long an answer waits for others, so that one commit books them all: not at all where commits are fast, and where they are slow as
 * long as one takes, because booked at once it would keep the next ones waiting just as long.
 */
export function gatherMsOf(commitMs: number): number {
  return commitMs < slowCommitMs ? 0 : Math.min(commitMs, longestGatherMs);
}

function bookAll(store: Store, booked: readonly Settled[]): void {
  for (const settled of booked) settle(store, settled);
  tellLanded(store);
}

/** Books all answers and claims in one commit. When one booking fails by itself, each is booked alone, so one cannot hold up the rest. */
export function commitBooking<T>(host: LoopHost, booked: readonly Settled[], { work, done }: Beside<T>): T {
  const { store, commit } = host;
  try {
    return commit(() => {
      bookAll(store, booked);
      return work();
    }, done);
  } catch (error) {
    if (isStorageFailure(error)) throw error;
    store.world.log("error", "a booking failed; each answer is booked by itself", { error: String(error) });
  }
  for (const settled of booked) bookAlone(host, settled);
  return commit(work, done);
}

function bookAlone(host: LoopHost, settled: Settled): void {
  const { store, commit } = host;
  try {
    commit(() => bookAll(store, [settled]));
  } catch (error) {
    if (isStorageFailure(error)) throw error;
    store.world.log("error", "an answer could not be booked whole", { error: String(error), sequence: settled.seq });
    commit(() => bookAll(store, [{ ...settled, answer: bareAnswer(settled.answer, error) }]));
  }
}

/** Makes a checkpoint of an attempt durable, in a commit of its own and never within another one. */
export function keepCheckpoint(
  host: LoopHost,
  claimed: Claimed,
  state: { readonly checkpoint: Json; readonly progress: Progress | null },
): Promise<void> {
  const { store, commit } = host;
  return new Promise((resolve, reject) => {
    store.world.defer(() => {
      try {
        if (store.memory.isClosed)
          throw new HoldfastError(
            "engine_closed",
            "the engine is closed",
            "the operation goes on after the next start",
          );
        const isKept = commit(() => saveCheckpoint(store, claimed.seq, claimed.epoch, state));
        if (!isKept)
          throw new HoldfastError(
            "aborted",
            `operation ${claimed.operation.id} belongs to another process now`,
            "stop this attempt",
          );
        resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
}
