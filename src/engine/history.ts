/**
 * Owns the table `history`: what happened to each operation and to the store, and the feed that clients follow.
 * An enqueue has no row of its own here: the operation's row is its record, and one sequence orders both.
 */
import type { Json, Status } from "../operation.ts";
import { State, statusOf } from "../operation.ts";
import type { EventKind, HoldfastEvent } from "../verbs.ts";
import { getMeta, setMeta } from "./meta.ts";
import { Counter } from "./schema.ts";
import type { Store } from "./store.ts";
import { addCount, integer, json, readCount, readSequence, takeSequence, text, textOrNull } from "./store.ts";

/** History rows of the store itself that are kept. */
export const storeHistoryLimit = 10_000;

/** Rows that one pass looks at for those that are too many. */
const prunePass = 50_000;

const insertRow = "INSERT INTO history (seq, op, id, at, kind, status, detail) VALUES (?, ?, ?, ?, ?, ?, ?)";
const readOperation =
  "SELECT seq, at, kind, detail FROM history WHERE op = ? AND op > 0 AND seq > ? ORDER BY seq LIMIT +?";
const readFeed = "SELECT seq, id, at, kind, status, detail FROM history WHERE seq > ? ORDER BY seq LIMIT +?";
const readEnqueued = "SELECT seq, id, created, state, type, lane, priority FROM op WHERE seq > ? ORDER BY seq LIMIT +?";
const deleteOperation = "DELETE FROM history WHERE op = ? AND op > 0 RETURNING seq";
/** No index holds the store's own rows, because each write of a record would pay for it: they are looked for among the oldest. */
const oldestStore = `SELECT seq FROM (SELECT seq, op FROM history WHERE seq > ? ORDER BY seq LIMIT +?) WHERE op = 0 ORDER BY seq LIMIT +?`;
const lastLookedAt = "SELECT max(seq) AS seq FROM (SELECT seq FROM history WHERE seq > ? ORDER BY seq LIMIT +?)";
const deleteRow = "DELETE FROM history WHERE seq = ?";

export type Change = {
  /** The operation's sequence; 0 for what concerns the store. */
  readonly op: number;
  readonly id: string | null;
  readonly kind: EventKind;
  readonly status: Status | null;
  readonly detail: Json;
};

/** Records one change in the transaction that makes it. */
export function record(store: Store, change: Change): void {
  if (change.op === 0) addCount(store, Counter.told, 1);
  store.db
    .prepare(insertRow)
    .run(
      takeSequence(store),
      change.op,
      change.id,
      store.world.now(),
      change.kind,
      change.status,
      JSON.stringify(change.detail),
    );
}

/** What happened to one operation, oldest first. */
export function historyOf(store: Store, seq: number, window: { readonly after: number; readonly limit: number }) {
  return store.db
    .prepare(readOperation)
    .all(seq, window.after, window.limit)
    .map((row) => ({
      sequence: integer(row.seq),
      at: integer(row.at),
      kind: text(row.kind) as EventKind,
      detail: json(row, "detail"),
    }));
}

/** The feed after a sequence: enqueues and changes in the order of their sequence. */
export function readFeedAfter(store: Store, after: number, limit: number): readonly HoldfastEvent[] {
  const changes = store.db.prepare(readFeed).all(after, limit).map(toEvent);
  const added = store.db.prepare(readEnqueued).all(after, limit).map(toEnqueued);
  return [...changes, ...added].sort((a, b) => a.sequence - b.sequence).slice(0, limit);
}

/** Whether rows after `after` were pruned, so that a reader has to read the present state again. */
export function isTruncated(store: Store, after: number): boolean {
  return after < Number(getMeta(store, "floor") ?? 0);
}

export function lastSequence(store: Store): number {
  return readSequence(store);
}

/** Forgets an operation that leaves the store. */
export function forgetOperation(store: Store, seq: number): void {
  raiseFloor(
    store,
    store.db
      .prepare(deleteOperation)
      .all(seq)
      .map((row) => integer(row.seq)),
  );
}

/** Keeps the store's own history bounded. */
export function pruneStoreHistory(store: Store): void {
  const { memory } = store;
  const excess = readCount(store, Counter.told) - storeHistoryLimit;
  if (excess <= 0) return;
  const after = memory.toldPruned;
  const old = store.db
    .prepare(oldestStore)
    .all(after, prunePass, excess)
    .map((row) => integer(row.seq));
  for (const seq of old) store.db.prepare(deleteRow).run(seq);
  addCount(store, Counter.told, -old.length);
  // Rows of before are never added, so what was looked through stays so.
  const lookedAt = integer(store.db.prepare(lastLookedAt).get(after, prunePass - old.length)?.seq);
  memory.toldPruned = old.length < excess ? Math.max(lookedAt, after) : (old.at(-1) ?? after);
  raiseFloor(store, old);
}

function raiseFloor(store: Store, deleted: readonly number[]): void {
  const highest = deleted.reduce((most, seq) => Math.max(most, seq), 0);
  if (highest > Number(getMeta(store, "floor") ?? 0)) setMeta(store, "floor", String(highest));
}

function toEvent(row: Readonly<Record<string, unknown>>): HoldfastEvent {
  const cells = row as Parameters<typeof json>[0];
  return {
    sequence: integer(cells.seq),
    at: integer(cells.at),
    kind: text(cells.kind) as EventKind,
    id: textOrNull(cells.id),
    status: textOrNull(cells.status) as Status | null,
    detail: json(cells, "detail") as HoldfastEvent["detail"],
  };
}

function toEnqueued(row: Readonly<Record<string, unknown>>): HoldfastEvent {
  const cells = row as Parameters<typeof json>[0];
  const isDraft = integer(cells.state) === State.draft;
  return {
    sequence: integer(cells.seq),
    at: integer(cells.created),
    kind: "enqueued",
    id: text(cells.id),
    status: statusOf(isDraft ? State.draft : State.ready, null),
    detail: { type: text(cells.type), lane: text(cells.lane) || null, priority: integer(cells.priority) },
  };
}
