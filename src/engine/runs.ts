/**
 * Owns the table `run`: one row per run of synchronisation, from the first thing moved until nothing moves any more.
 * What moves is told by `pull.ts` and `pending.ts`; how a run is undone is left to the verb `sync.rollback`.
 */
import type { Row } from "../database.ts";
import type { Input, Output, RunView } from "../verbs.ts";
import { record } from "./history.ts";
import { lastLogged } from "./record-log.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull } from "./store.ts";

/** Runs that are kept. */
export const runLimit = 1_000;

const open = "SELECT id FROM run WHERE ended IS NULL";
const insert = "INSERT INTO run (started, first) VALUES (?, ?) RETURNING id";
const add = `UPDATE run SET pushed = pushed + ?, pulled = pulled + ?, merged = merged + ?, conflicts = conflicts + ?, failures = failures + ?,
  bytes_sent = bytes_sent + ?, bytes_received = bytes_received + ? WHERE id = ?`;
const end = "UPDATE run SET ended = ?, last = ? WHERE id = ?";
const columns =
  "id, started, ended, pushed, pulled, merged, conflicts, failures, bytes_sent, bytes_received, rolled_back_by, first, last";
const newest = `SELECT ${columns} FROM run WHERE id < ? ORDER BY id DESC LIMIT +?`;
const byId = `SELECT ${columns} FROM run WHERE id = ?`;
const firstSince =
  "SELECT min(id) AS id FROM run WHERE id > (SELECT max(id) - 100 FROM run) AND (ended IS NULL OR ended >= ?)";
const lastId = "SELECT max(id) AS id FROM run";
const movedFrom = "SELECT sum(pushed) AS pushed, sum(pulled) AS pulled, sum(merged) AS merged FROM run WHERE id >= ?";
const lastBefore = "SELECT last FROM run WHERE id < ? ORDER BY id DESC LIMIT 1";
const firstAfter = "SELECT first FROM run WHERE id > ? ORDER BY id LIMIT 1";
const setRolledBack = "UPDATE run SET rolled_back_by = ? WHERE id = ?";
const prune = "DELETE FROM run WHERE id <= (SELECT id FROM run ORDER BY id DESC LIMIT 1 OFFSET ?)";

export type RunCounts = {
  readonly pushed?: number;
  readonly pulled?: number;
  readonly merged?: number;
  readonly conflicts?: number;
  readonly failures?: number;
};

/** A run with the rows of record history between which its changes stand. */
export type Run = RunView & { readonly first: number; readonly last: number | null };

/** The run that is under way; `null` while nothing moves. */
export function openRunId(store: Store): number | null {
  return integerOrNull(store.db.prepare(open).get()?.id);
}

/** The run under way, begun now if there is none: something has moved. */
export function ensureRun(store: Store): number {
  const known = openRunId(store);
  if (known !== null) return known;
  const id = integer(store.db.prepare(insert).get(store.world.now(), lastLogged(store) + 1)?.id);
  store.db.prepare(prune).run(runLimit);
  return id;
}

/** The first run that was under way at a time or after it; the next one, if none was. */
export function runSince(store: Store, at: number): number {
  const first = integerOrNull(store.db.prepare(firstSince).get(at)?.id);
  return first ?? lastRunId(store) + 1;
}

export function lastRunId(store: Store): number {
  return integerOrNull(store.db.prepare(lastId).get()?.id) ?? 0;
}

/** How many records moved in a run and all after it. */
export function movedSince(store: Store, first: number) {
  const row = store.db.prepare(movedFrom).get(first);
  const sum = (name: "pushed" | "pulled" | "merged"): number => integerOrNull(row?.[name]) ?? 0;
  return { pushed: sum("pushed"), pulled: sum("pulled"), merged: sum("merged") };
}

/** Counts what moved, with the bytes that crossed the wire since the last count. */
export function countInSyncRun(store: Store, counts: RunCounts): void {
  const { sync } = store.memory;
  const { pushed = 0, pulled = 0, merged = 0, conflicts = 0, failures = 0 } = counts;
  store.db
    .prepare(add)
    .run(pushed, pulled, merged, conflicts, failures, sync.bytesSent, sync.bytesReceived, ensureRun(store));
  sync.bytesSent = 0;
  sync.bytesReceived = 0;
}

/** Nothing moves any more. */
export function endSyncRun(store: Store): void {
  const id = openRunId(store);
  if (id === null) return;
  store.db.prepare(end).run(store.world.now(), lastLogged(store), id);
  const run = getRun(store, id);
  if (run === null) return;
  const { pushed, pulled, merged, conflicts, failures } = run;
  const detail = { state: "ended", run: id, pushed, pulled, merged, conflicts, failures };
  record(store, { op: 0, id: null, kind: "sync", status: null, detail });
}

export function getRun(store: Store, id: number): Run | null {
  const row = store.db.prepare(byId).get(id);
  return row === undefined ? null : toRun(row);
}

/**
 * Between which rows of history the changes of a run stand, at least. No row of `run` has a seal: one that storage has narrowed is widened
 * to its neighbours' again. Each entry of the history, which has one, says itself to which run it belongs.
 */
export function boundsOf(store: Store, { id, first, last }: Run): { readonly first: number; readonly last: number } {
  const before = integerOrNull(store.db.prepare(lastBefore).get(id)?.last) ?? 0;
  const after = integerOrNull(store.db.prepare(firstAfter).get(id)?.first) ?? Number.MAX_SAFE_INTEGER;
  return { first: Math.min(first, before + 1), last: Math.max(last ?? first, after - 1) };
}

export function noteRollback(store: Store, run: number, by: number): void {
  store.db.prepare(setRolledBack).run(by, run);
}

export function listRuns(store: Store, input: Input<"sync.runs">): Output<"sync.runs"> {
  const limit = input.limit ?? 100;
  const rows = store.db.prepare(newest).all(input.before ?? Number.MAX_SAFE_INTEGER, limit);
  const runs = rows.map((row) => {
    const { first, last, ...view } = toRun(row);
    return view;
  });
  return { runs, next: runs.length < limit ? null : (runs.at(-1)?.id ?? null) };
}

function toRun(cells: Row): Run {
  return {
    id: integer(cells.id),
    startedAt: integer(cells.started),
    endedAt: integerOrNull(cells.ended),
    pushed: integer(cells.pushed),
    pulled: integer(cells.pulled),
    merged: integer(cells.merged),
    conflicts: integer(cells.conflicts),
    failures: integer(cells.failures),
    bytesSent: integer(cells.bytes_sent),
    bytesReceived: integer(cells.bytes_received),
    rolledBackBy: integerOrNull(cells.rolled_back_by),
    first: integer(cells.first),
    last: integerOrNull(cells.last),
  };
}
