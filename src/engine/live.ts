/**
 * Owns what an attempt is given and what it says while it runs: its time limit, checkpoints, progress, and the events that are only told live.
 * Who runs attempts is `loop.ts`; how an attempt ends is `attempt.ts`.
 */
import type { Json, Progress } from "../operation.ts";
import { State } from "../operation.ts";
import type { Attempt, Signal } from "../world.ts";
import { timeoutOf } from "./attempt.ts";
import type { LoopHost } from "./booking.ts";
import { keepCheckpoint } from "./booking.ts";
import type { Claimed } from "./claim.ts";
import type { Flight } from "./flight.ts";
import { getBrief, saveProgress } from "./queue.ts";
import type { Store } from "./store.ts";

const progressEveryMs = 1_000;

/** The part of the drainer that hears an attempt. */
export type Hearer = {
  readonly host: LoopHost;
  readonly flights: ReadonlyMap<number, Flight>;
  /** Booked with the next commit. */
  readonly news: (() => void)[];
  readonly isOver: boolean;
};

type Line = { readonly signal: Signal; readonly poke: () => void };

export function attemptOf(hearer: Hearer, claimed: Claimed, { signal, poke }: Line): Attempt {
  return {
    operation: claimed.operation,
    input: claimed.operation.payload,
    idempotencyKey: claimed.operation.idempotencyKey,
    signal,
    checkpoint: claimed.operation.checkpoint,
    saveCheckpoint: (value) =>
      keepCheckpoint(hearer.host, claimed, {
        checkpoint: value,
        progress: hearer.flights.get(claimed.seq)?.progress ?? null,
      }),
    reportProgress: (progress) => noteProgress(hearer, claimed, { progress, poke }),
  };
}

type Told = { readonly progress: Progress; readonly poke: () => void };

function noteProgress(hearer: Hearer, claimed: Claimed, { progress, poke }: Told): void {
  const { store } = hearer.host;
  const flight = hearer.flights.get(claimed.seq);
  if (flight === undefined || hearer.isOver) return;
  flight.progress = progress;
  tellLive(store, claimed, "progress", progress as unknown as Json);
  const now = store.world.monotonic();
  if (now - flight.savedAt < progressEveryMs) return;
  flight.savedAt = now;
  hearer.news.push(() => {
    const op = getBrief(store, claimed.seq);
    if (op?.state === State.inFlight && op.lease === claimed.epoch) saveProgress(store, claimed.seq, progress);
  });
  poke();
}

export function tellLive(store: Store, claimed: Claimed, kind: "started" | "progress", detail: Json): void {
  store.tell({
    sequence: 0,
    at: store.world.now(),
    kind,
    id: claimed.operation.id,
    status: "in_progress",
    detail: detail as never,
  });
}

/** Aborts what takes too long; returns how that is called off. */
export function startTimeout(store: Store, batch: readonly Claimed[], abort: (reason: unknown) => void): () => void {
  const timeout = Math.max(0, ...batch.map(({ type, operation }) => timeoutOf(type, operation.payload)));
  return timeout === 0 ? () => {} : store.world.setTimer(timeout, () => abort("timeout"));
}
