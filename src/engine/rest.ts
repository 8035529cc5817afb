/**
 * Owns what ends when the drainer comes to rest: the run that a person or the schedule began, and the record of a synchronisation.
 * When nothing is under way is known in `loop.ts`; the runs themselves are `sync.ts` and `runs.ts`.
 */
import type { LoopHost } from "./booking.ts";
import { pullsBefore } from "./errands.ts";
import { countUnsent } from "./retention.ts";
import { endSyncRun, openRunId } from "./runs.ts";
import { movesBefore } from "./status.ts";
import { closeRun, currentRun } from "./sync.ts";

/** A run stays open for what moves by itself within this time. */
export const runPatienceMs = 90_000;

/** Nothing is under way: what will not go on by itself soon has ended. */
export function endRuns(host: LoopHost): void {
  closeFinishedRun(host);
  endIdleRun(host);
}

function closeFinishedRun({ store, commit }: LoopHost): void {
  const run = currentRun(store);
  if (run === null || run.endedAt !== null) return;
  const until = store.world.now() + runPatienceMs;
  if (movesBefore(store, { startedAt: run.startedAt, until }) || pullsBefore(store, until)) return;
  commit(() => closeRun(store, countUnsent(store)));
}

/** The record of a synchronisation ends with the last thing that moved. */
function endIdleRun({ store, commit }: LoopHost): void {
  if (openRunId(store) !== null && !pullsBefore(store, store.world.now())) commit(() => endSyncRun(store));
}
