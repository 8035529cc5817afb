/**
 * Owns how much is kept: limits of the queue with their overflow policy, retention of finished operations, expiry, clearing.
 * Unsent work is never dropped to make room; when only unsent work is left, the enqueue is refused.
 */
import { HoldfastError } from "../errors.ts";
import { State } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import { forgetOperation, pruneStoreHistory, record } from "./history.ts";
import { dropReferencesOf } from "./ids.ts";
import { dropChanges } from "./landing.ts";
import { clearLanes, dropDependencies } from "./lanes.ts";
import { scrub } from "./mending-rows.ts";
import { getSettings } from "./meta.ts";
import { forgetRemotes } from "./network.ts";
import { readOutset } from "./outset.ts";
import type { Brief } from "./queue.ts";
import { briefs, deleteOperation, getRow, selectBrief } from "./queue.ts";
import { pruneLog } from "./record-log.ts";
import { pruneRecords } from "./record-retention.ts";
import { corruptProblem, isGenuine } from "./row-hash.ts";
import { Counter } from "./schema.ts";
import { giveUp, park } from "./settle.ts";
import type { Fullness, Store } from "./store.ts";
import { readCount } from "./store.ts";

/** Share of a limit from which on every enqueue warns. */
export const warnShare = 0.8;

/** Finished operations deleted in one transaction. */
export const pruneLimit = 500;

// An operation that was given up stays while others still wait for it, because it is their explanation.
const oldestDone = `${selectBrief} WHERE state = 8 AND NOT EXISTS (SELECT 1 FROM dep WHERE needs = op.seq) ORDER BY settled, seq LIMIT +?`;
const doneBefore = `${selectBrief} WHERE state = 8 AND settled < ? AND NOT EXISTS (SELECT 1 FROM dep WHERE needs = op.seq) ORDER BY settled, seq LIMIT +?`;
const expired = `${selectBrief} WHERE expires IS NOT NULL AND state < 8 AND expires <= ? AND state <> 3 AND reason IS NOT 'corrupt' ORDER BY expires LIMIT +?`;
const everything = `${selectBrief} ORDER BY seq LIMIT +?`;
const inFlight = "SELECT count(*) AS n FROM op WHERE state = 3";

/** Refuses an enqueue that does not fit, after dropping finished operations where that is the policy. Returns a warning or null. */
export function makeRoom(store: Store, bytes: number): string | null {
  refuseFullDisk(store);
  const { maxOperations, maxBytes, overflow } = getSettings(store);
  let full = readFullness(store);
  while (full.operations + 1 > maxOperations || full.bytes + bytes > maxBytes) {
    const dropped = overflow === "drop-completed-first" ? dropOldestDone(store, pruneLimit / 10) : 0;
    full = readFullness(store);
    if (dropped > 0) continue;
    throw new HoldfastError(
      "queue_full",
      `the queue is full: ${full.operations} of ${maxOperations} operations, ${full.bytes} of ${maxBytes} bytes`,
      "let it drain, clear completed operations, or raise max_operations or max_bytes",
    );
  }
  const share = Math.max((full.unsent + 1) / maxOperations, (full.bytes + bytes) / maxBytes);
  return share >= warnShare ? `the queue is ${Math.floor(share * 100)} % full` : null;
}

/** How much more fits before anybody has to be warned. */
export type Room = { readonly operations: number; readonly bytes: number };

/** What needs more than this, or exactly as many bytes, asks `makeRoom`. Refuses an enqueue where the disk is full. */
export function roomLeft(store: Store): Room {
  refuseFullDisk(store);
  const { maxOperations, maxBytes } = getSettings(store);
  const { unsent, operations, bytes } = readFullness(store);
  const untold = Math.ceil(warnShare * maxOperations - unsent) - 1;
  return { operations: Math.min(maxOperations - operations, untold), bytes: warnShare * maxBytes - bytes };
}

/** The last megabytes of a disk belong to what is queued already: its book-keeping must still fit. */
function refuseFullDisk(store: Store): void {
  const free = store.world.disk.freeBytes();
  if (free >= getSettings(store).minFreeBytes) return;
  throw new HoldfastError(
    "disk_full",
    `only ${free} bytes are free on the disk of the store; the operation was not queued`,
    "free some space; what is queued already keeps draining",
    { details: { freeBytes: free } },
  );
}

export function countUnsent(store: Store): number {
  return readFullness(store).unsent;
}

/** Read once in a transaction; what that one has changed meanwhile is added. */
function readFullness(store: Store): Fullness {
  const { transaction } = store.memory;
  const base = readOutset(store);
  if (transaction === null) return base;
  let { unsent, operations, bytes } = base;
  for (const [counter, change] of transaction.counts) {
    if (counter < State.done) unsent += change;
    if (counter <= State.done) operations += change;
    if (counter === Counter.bytes) bytes += change;
  }
  return { unsent, operations, bytes };
}

/** Forgets what is beyond the retention, some at a time. Tells whether it has left something over. */
export function prune(store: Store): boolean {
  const { retainCount, retainMs } = getSettings(store);
  const excess = Math.min(Math.max(readCount(store, State.done) - retainCount, 0), pruneLimit);
  const byCount = excess === 0 ? 0 : dropOldestDone(store, excess);
  const byAge = dropDone(store, briefs(store.db.prepare(doneBefore).all(store.world.now() - retainMs, pruneLimit)));
  pruneStoreHistory(store);
  forgetRemotes(store, store.world.now() - retainMs);
  const isLogBehind = pruneLog(store);
  const areRecordsBehind = pruneRecords(store);
  scrub(store);
  return Math.max(byCount, byAge) === pruneLimit || isLogBehind || areRecordsBehind;
}

/** Drops the oldest finished operations, as many at most, to make room. Returns how many. */
export function dropOldestDone(store: Store, limit: number): number {
  return dropDone(store, briefs(store.db.prepare(oldestDone).all(limit)));
}

function dropDone(store: Store, ops: readonly Brief[]): number {
  for (const op of ops) dropOperation(store, op);
  return ops.length;
}

/** Takes an operation out of the store; its aliases stay, because somebody may still hold the local id. */
export function dropOperation(store: Store, op: Brief): void {
  if (op.type === recordWriteType && op.state !== State.done) dropChanges(store, op);
  dropReferencesOf(store, op.seq);
  forgetOperation(store, op.seq);
  deleteOperation(store, op.seq);
}

/** Ends what passed its expiry before it could be sent. Returns how many. */
export function expireDue(store: Store): number {
  const due = briefs(store.db.prepare(expired).all(store.world.now(), pruneLimit));
  for (const op of due) {
    if (isGenuine(store, getRow(store, op.seq)))
      giveUp(store, op, { outcome: "expired", detail: { by: "expiry", expiresAt: op.expires } });
    // Whether that was its expiry nobody knows any more, and what is unsent is never given up on a doubt.
    else park(store, op, { reason: "corrupt", problem: corruptProblem, isUnsure: op.isUnsure, settled: null });
  }
  return due.length;
}

export function clearCompleted(store: Store): number {
  let removed = 0;
  for (;;) {
    const dropped = dropOldestDone(store, pruneLimit);
    removed += dropped;
    if (dropped < pruneLimit) break;
  }
  if (removed > 0) record(store, { op: 0, id: null, kind: "removed", status: null, detail: { completed: removed } });
  return removed;
}

/** Empties the store after the caller has confirmed what is lost. */
export function clearAll(store: Store): number {
  const flying = Number(store.db.prepare(inFlight).get()?.n ?? 0);
  if (flying > 0) {
    throw new HoldfastError(
      "refused_by_state",
      `${flying} operations are on the wire`,
      "work offline first, wait for them, then clear",
    );
  }
  let removed = 0;
  for (;;) {
    const ops = briefs(store.db.prepare(everything).all(pruneLimit));
    for (const op of ops) {
      dropDependencies(store, op.seq);
      dropOperation(store, op);
    }
    removed += ops.length;
    if (ops.length < pruneLimit) break;
  }
  clearLanes(store);
  record(store, { op: 0, id: null, kind: "removed", status: null, detail: { everything: removed } });
  return removed;
}
