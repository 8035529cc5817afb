/**
 * Owns what becomes of an operation's changes when it is answered, parked or given up: acknowledged, decided afresh, or taken back.
 * Replaying what is left is `overlay.ts`; which answer means what is `answers.ts`; the operation's own way is `settle.ts`.
 */
import type { ConflictKind } from "../conflict.ts";
import type { Json } from "../operation.ts";
import { State } from "../operation.ts";
import type { Fields } from "../record.ts";
import { forgetChoice, hasChoices } from "./choices.ts";
import { collectionOf } from "./collections.ts";
import { closeConflicts } from "./conflicts.ts";
import type { Ground } from "./overlay.ts";
import { groundOf, replay, takeOut } from "./overlay.ts";
import {
  ackPending,
  dropPending,
  newestOperation,
  pendingsOf,
  pendingsOfOperation,
  statusFor,
  wholeOf,
} from "./pending.ts";
import type { Brief } from "./queue.ts";
import { getBrief } from "./queue.ts";
import { isOutOfReach } from "./reach.ts";
import type { RecordRow } from "./records.ts";
import { getRecord, markStatus, valueNow } from "./records.ts";
import { renameRecord } from "./renaming.ts";
import { sendAgain } from "./resend.ts";
import { countInSyncRun, ensureRun, openRunId } from "./runs.ts";
import { giveUp } from "./settle.ts";
import { wantPull } from "./spaces.ts";
import type { Store } from "./store.ts";
import { tellKeys, tellRecords } from "./writes.ts";

/** How long the echo of an acknowledged change may take before its record is fetched. */
const echoMs = 10_000;

/** How soon after an acknowledgement the server is asked for what else is new. */
const ackPullMs = 100;

type Applied = {
  readonly collection: string;
  readonly key: string;
  readonly serverKey?: string;
  readonly version: number;
  readonly value?: Fields | null;
};

/** The server has the changes of an operation. They stay replayed until its snapshot has come that far. */
export function landRecords(store: Store, op: Brief, result: Json): void {
  const applied = (result as { readonly changes?: readonly Applied[] } | null)?.changes ?? [];
  const now = store.world.now();
  const run = ensureRun(store);
  const landed = store.memory.transaction?.landed ?? { operations: 0, records: [] };
  landed.operations += 1;
  for (const pending of pendingsOfOperation(store, op.seq)) {
    const row = getRecord(store, pending.record);
    if (row === null) continue;
    const info = collectionOf(store, row.collection);
    const entry = applied.find(({ collection, key }) => collection === info.name && key === row.key);
    // An answer whose content was lost is a yes all the same; what it said is fetched.
    const version = entry?.version ?? Math.max(row.version, pending.change.base) + 1;
    const change = entry?.value === undefined ? pending.change : wholeOf(pending.change, entry.value);
    // A removal of what the server does not know, or not any more, has no version, and no echo comes.
    const isGone = entry?.version === 0;
    if (isGone) dropPending(store, pending);
    else ackPending(store, pending, { version, due: entry === undefined ? now : now + echoMs, change });
    if (hasChoices(store) && newestOperation(store, row.id) === null) forgetChoice(store, row.id);
    const named =
      entry?.serverKey === undefined ? row : renameRecord(store, { info, row, op, server: entry.serverKey });
    const ground = { ...groundOf(named), confirmed: now, ...(isGone ? { snapshot: null } : {}) };
    replay(store, info, named, ground, { origin: "push", run });
    landed.records.push({ info, key: named.key });
  }
  closeConflicts(store, op.seq, { by: "agreement", choice: "local", outcomeOf: (record) => valueNow(store, record) });
}

/** Tells of everything that has landed in this transaction by one event for each collection, counts it, and has what else is new asked for. */
export function tellLanded(store: Store): void {
  const { landed } = store.memory.transaction ?? {};
  if (landed === undefined || landed.operations === 0) return;
  const records = landed.records.splice(0);
  countInSyncRun(store, { pushed: landed.operations });
  landed.operations = 0;
  for (const space of new Set(records.map(({ info }) => info.space))) wantPull(store, space, ackPullMs);
  tellRecords(store, records, "push");
}

/** An operation was parked, retried or put back: its records say so. */
export function followOperation(store: Store, op: Brief): void {
  for (const { record } of pendingsOfOperation(store, op.seq)) {
    const row = getRecord(store, record);
    if (row === null) continue;
    const info = collectionOf(store, row.collection);
    const status = statusFor(store, info, row.id);
    if (status === row.status) continue;
    markStatus(store, row.id, status);
    tellKeys(store, info.name, [row.key], "local");
  }
}

type Met = { readonly row: RecordRow; readonly kind: ConflictKind; readonly ground: Ground };

/** The server has another value, which its answer brings: what it says is taken as a fetch of that record, and the change is decided. */
export function meetAnswer(store: Store, op: Brief, met: Met): void {
  const { row, kind, ground } = met;
  const info = collectionOf(store, row.collection);
  const run = openRunId(store);
  const known = groundOf(row);
  // An answer that is older than what a pull has brought was overtaken by it. But a server that was restored, or has forgotten the
  // removal, would give the same answer for ever: only a pull can tell, so it is asked for one before the change goes out again.
  const version = reachedBy(store, op, met);
  const isOlder = version < known.version;
  const newest = isOlder ? known : { ...ground, version, mark: row.mark };
  if (isOlder) wantPull(store, info.space);
  replay(store, info, row, newest, { origin: "merge", run, answered: { op: op.seq, kind } });
  tellKeys(store, info.name, [row.key], "merge");
  sendAgain(store, op);
}

/**
 * How far the server's side has come with an answer. One that has nothing at all (version 0) has forgotten the record with its removal, so
 * what it had acknowledged before this change is removed as well: replayed any longer, the change would stand on it and go out for ever.
 */
function reachedBy(store: Store, op: Brief, { row, ground }: Met): number {
  if (ground.version > 0) return ground.version;
  const before = pendingsOf(store, row.id).filter((each) => each.op < op.seq);
  // What is out of reach no pull will tell of, so its word counts there, whatever was known.
  return Math.max(isOutOfReach(row) ? row.version : 0, ...before.map(({ acked }) => acked));
}

/** An operation leaves without having landed: its changes are taken back, and the losing values are in the history. */
export function dropChanges(store: Store, op: Brief): void {
  for (const pending of pendingsOfOperation(store, op.seq)) {
    takeOut(store, pending);
    const row = getRecord(store, pending.record);
    if (row === null) continue;
    const info = collectionOf(store, row.collection);
    // What stands on a creation has nothing to stand on without it.
    if (pending.change.kind === "create" && row.version === 0) giveUpLater(store, op, row);
    const now = getRecord(store, row.id) ?? row;
    const detail = { operation: op.id };
    replay(store, info, now, groundOf(now), { origin: "local", run: null, isOurs: true, hasLeft: true, detail });
    tellKeys(store, info.name, [row.key], "local");
  }
  closeConflicts(store, op.seq, { by: "withdrawal", choice: "remote", outcomeOf: (record) => valueNow(store, record) });
}

function giveUpLater(store: Store, op: Brief, row: RecordRow): void {
  for (const later of pendingsOf(store, row.id)) {
    const next = later.acked === 0 && later.op > op.seq ? getBrief(store, later.op) : null;
    if (next === null || next.state === State.done || next.state === State.inFlight) continue;
    giveUp(store, next, { outcome: "cancelled", detail: { by: "creation", operation: op.id } });
  }
}
