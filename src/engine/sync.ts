/**
 * Owns the record of a synchronisation run: when it began, what it did, what is left. In the modes `periodic` and `manual`
 * operations go out only while a run is open; in `eager` mode a run merely counts.
 */
import type { Output, SyncRun } from "../verbs.ts";
import { record } from "./history.ts";
import { getMeta, getSettings, setMeta } from "./meta.ts";
import { toOperation } from "./operations.ts";
import type { Brief } from "./queue.ts";
import { getRow } from "./queue.ts";
import { lastRunId, movedSince, runSince } from "./runs.ts";
import type { Store } from "./store.ts";
import { parsed } from "./store.ts";

/** Errors that a run's record lists by name; the counts go on. */
export const runErrorLimit = 50;

/** What moved this long before somebody asked has moved for the one who asks: it was written just before, and went by itself. */
export const justBeforeMs = 10_000;

/** A run as it is kept: with the first and, once it has ended, the last stretch of moving records (`runs.ts`) that counts for it. */
type Kept = SyncRun & { readonly first: number; readonly last: number };

const nothingMoved = { pushed: 0, pulled: 0, merged: 0, first: Number.MAX_SAFE_INTEGER, last: 0 };

export function currentRun(store: Store): Kept | null {
  const stored = getMeta(store, "run");
  const run = stored === null ? null : parsed<Kept | null>(stored, null);
  return run === null ? null : { ...nothingMoved, ...run };
}

export function isRunOpen(store: Store): boolean {
  const run = currentRun(store);
  return run !== null && run.endedAt === null;
}

/** Opens a run, or goes on with the one that is open. */
export function openRun(store: Store, total: number): SyncRun {
  const open = currentRun(store);
  if (open !== null && open.endedAt === null) return open;
  const startedAt = store.world.now();
  const run: Kept = {
    startedAt,
    endedAt: null,
    total,
    succeeded: 0,
    failed: 0,
    conflicts: 0,
    remaining: total,
    errors: [],
    ...nothingMoved,
    // What the run before has told of is not told again.
    first: Math.max(runSince(store, startedAt - justBeforeMs), (open?.last ?? 0) + 1),
  };
  setMeta(store, "run", JSON.stringify(run));
  record(store, { op: 0, id: null, kind: "sync", status: null, detail: { state: "started", total } });
  return run;
}

/** Counts what became of an operation while a run is open. */
export function countInRun(
  store: Store,
  what: "succeeded" | "failed" | "conflicts",
  op: Pick<Brief, "seq" | "id">,
  error: string | null,
): void {
  const run = currentRun(store);
  if (run === null || run.endedAt !== null) return;
  const title = error === null ? "" : toOperation(store, getRow(store, op.seq)).title;
  const errors =
    error === null || run.errors.length >= runErrorLimit ? run.errors : [...run.errors, { id: op.id, title, error }];
  setMeta(store, "run", JSON.stringify({ ...run, [what]: run[what] + 1, errors }));
}

/** Closes the open run once nothing more can move by itself. */
export function closeRun(store: Store, remaining: number): void {
  const run = currentRun(store);
  if (run === null || run.endedAt !== null) return;
  const moved = movedSince(store, run.first);
  const last = lastRunId(store);
  const closed = { ...run, ...moved, last, endedAt: store.world.now(), remaining };
  setMeta(store, "run", JSON.stringify(closed));
  const { succeeded, failed, conflicts } = closed;
  record(store, {
    op: 0,
    id: null,
    kind: "sync",
    status: null,
    detail: { state: "ended", succeeded, failed, conflicts, remaining, ...moved },
  });
}

export function syncStatus(store: Store, remaining: number): Output<"sync.status"> {
  const kept = currentRun(store);
  const isSyncing = kept !== null && kept.endedAt === null;
  const mode = getSettings(store).syncMode;
  if (kept === null) return { isSyncing, mode, run: null };
  const { first, last, ...run } = kept;
  return { isSyncing, mode, run: isSyncing ? { ...run, ...movedSince(store, first), remaining } : run };
}

/** When the next periodic run begins; `null` in other modes or while one is open. */
export function nextRunAt(store: Store): number | null {
  const { syncMode, syncIntervalMs } = getSettings(store);
  if (syncMode !== "periodic" || isRunOpen(store)) return null;
  const last = currentRun(store)?.startedAt ?? 0;
  const now = store.world.now();
  // A last run in the future is a clock that went back.
  return last > now ? now : last + syncIntervalMs;
}
