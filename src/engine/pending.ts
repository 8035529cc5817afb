/**
 * Owns the table `pending`: which operations carry changes of which record, what each change stands on, and what the server has acknowledged.
 * How changes are replayed over the server's snapshot and decided is `overlay.ts`; the operations themselves are in `queue.ts`.
 */

import { isSameJson } from "../canonical.ts";
import type { Row } from "../database.ts";
import type { Json, Problem, State } from "../operation.ts";
import { State as States } from "../operation.ts";
import type { Change, Fields, RecordWrite } from "../record.ts";
import type { CollectionInfo } from "./collections.ts";
import type { Brief } from "./queue.ts";
import { getBrief, getRow, replacePayload, resetBudget, toBrief } from "./queue.ts";
import { Status } from "./records.ts";
import { intact, sealOf } from "./row-seal.ts";
import { spaceNameOf } from "./spaces.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull, json, parsed, text, textOrNull } from "./store.ts";

const columns = "record, op, place, base_value, acked, due, overlay, seal";
const ofRecord = `SELECT ${columns} FROM pending WHERE record = ? ORDER BY op`;
const ofOperation = `SELECT ${columns} FROM pending WHERE op = ? ORDER BY place`;
const newestOf = "SELECT max(op) AS op FROM pending WHERE record = ? AND acked = 0";
// What is acknowledged waits for its echo for a moment only, so few rows are passed on the way to the lowest.
const lowest = "SELECT op FROM pending WHERE acked = 0 ORDER BY op LIMIT 1";
const echoes = "SELECT record, op, due FROM pending WHERE acked > 0 AND due <= ? ORDER BY due LIMIT +?";
const misdatedEchoes = "SELECT record, op, due FROM pending WHERE acked > 0 AND due > ? ORDER BY due LIMIT +?";
const records = "SELECT DISTINCT record FROM pending";
const nextEcho = "SELECT min(due) AS due FROM pending WHERE acked > 0";
const highest = `SELECT max(pending.acked) AS acked FROM pending JOIN record ON record.id = pending.record
  JOIN collection ON collection.id = record.collection WHERE pending.acked > 0 AND collection.space IN (?, ?)`;
const operations = `SELECT op.id AS id, op.state AS state, op.reason AS reason, op.problem AS problem FROM pending
  JOIN op ON op.seq = pending.op WHERE pending.record = ? AND pending.acked = 0 ORDER BY pending.op`;
const insert = "INSERT INTO pending (record, op, place, base_value, overlay, seal) VALUES (?, ?, ?, ?, ?, ?)";
const setAck = "UPDATE pending SET acked = ?, due = ?, overlay = ?, seal = ? WHERE record = ? AND op = ?";
const setChange = "UPDATE pending SET base_value = ?, overlay = ?, seal = ? WHERE record = ? AND op = ?";
const setDue = "UPDATE pending SET due = ? WHERE record = ? AND op = ?";
const setRecord = "UPDATE pending SET record = ?, seal = ? WHERE record = ? AND op = ?";
const remove = "DELETE FROM pending WHERE record = ? AND op = ?";

/** How `mending.ts` puts rows right that storage has changed. */
export const pendingRepair = {
  rewrite: `UPDATE pending SET place = ?, base_value = ?, acked = ?, overlay = ?, seal = ?   WHERE record = ? AND op = ?`,
  insert: `INSERT OR IGNORE INTO pending (record, op, place, base_value, acked, overlay, seal) VALUES (?, ?, ?, ?, ?, ?, ?)`,
  drop: "DELETE FROM pending WHERE record = ? AND op = ?",
} as const;

/** A change as it is replayed: without the names of its record. */
export type Overlay = Omit<Change, "collection" | "key">;

/** One operation's change of one record. */
export type Pending = {
  readonly record: number;
  readonly op: number;
  readonly place: number;
  /** JSON text of the value that the change was made on; `null`: there was none, or it is not known. */
  readonly baseValue: string | null;
  /** The version that the server gave it; 0 until then. */
  readonly acked: number;
  readonly due: number | null;
  readonly change: Overlay;
};

const toPending = (cells: Row): Pending => read(intact("pending", cells));

const read = (row: Row): Pending => ({
  record: integer(row.record),
  op: integer(row.op),
  place: integer(row.place),
  baseValue: textOrNull(row.base_value),
  acked: integer(row.acked),
  due: integerOrNull(row.due),
  change: parsed<Overlay>(text(row.overlay), { kind: "update", base: 0, fields: {}, schema: 1 }),
});

/** Everything pending on one record, oldest first. */
export function pendingsOf(store: Store, record: number): readonly Pending[] {
  return store.db.prepare(ofRecord).all(record).map(toPending);
}

/** What one operation changes, in the order of its payload. */
export function pendingsOfOperation(store: Store, op: number): readonly Pending[] {
  return store.db.prepare(ofOperation).all(op).map(toPending);
}

export function addPending(store: Store, pending: Omit<Pending, "acked" | "due">): void {
  const { record, op, place, baseValue, change } = pending;
  const overlay = JSON.stringify(change);
  const seal = sealOf([record, op, place, baseValue, 0, overlay]);
  store.db.prepare(insert).run(record, op, place, baseValue, overlay, seal);
}

/** Records on which anything is pending. */
export function pendingRecords(store: Store): readonly number[] {
  return store.db
    .prepare(records)
    .all()
    .map((row) => integer(row.record));
}

/** The newest operation that carries a change of the record and has not landed. */
export function newestOperation(store: Store, record: number): Brief | null {
  const op = integerOrNull(store.db.prepare(newestOf).get(record)?.op);
  return op === null ? null : getBrief(store, op);
}

/** Below this number every operation with record changes has ended: the server may forget their receipts. */
export function lowestUnsettled(store: Store): number | null {
  return integerOrNull(store.db.prepare(lowest).get()?.op);
}

/** The highest version that the server gave to anything of a space whose echo has not come. */
export function highestAck(store: Store, space: string): number {
  // A collection without a space of its own belongs to the server's.
  const unnamed = spaceNameOf(store, "") === space ? "" : space;
  return integerOrNull(store.db.prepare(highest).get(space, unnamed)?.acked) ?? 0;
}

export function changePending(store: Store, pending: Pending, baseValue: string | null, change: Overlay): void {
  const { record, op, place, acked } = pending;
  const overlay = JSON.stringify(change);
  const seal = sealOf([record, op, place, baseValue, acked, overlay]);
  store.db.prepare(setChange).run(baseValue, overlay, seal, record, op);
}

/** The server has it: it stays replayed until the snapshot has come that far. */
export function ackPending(
  store: Store,
  pending: Pending,
  ack: { readonly version: number; readonly due: number; readonly change: Overlay },
): void {
  const { record, op, place, baseValue } = pending;
  const overlay = JSON.stringify(ack.change);
  const seal = sealOf([record, op, place, baseValue, ack.version, overlay]);
  store.db.prepare(setAck).run(ack.version, ack.due, overlay, seal, record, op);
}

export function dropPending(store: Store, pending: Pick<Pending, "record" | "op">): void {
  store.db.prepare(remove).run(pending.record, pending.op);
}

/** Two rows turned out to be one record. */
export function movePendings(store: Store, from: number, to: number): void {
  for (const { op, place, baseValue, acked, change } of pendingsOf(store, from)) {
    const seal = sealOf([to, op, place, baseValue, acked, JSON.stringify(change)]);
    store.db.prepare(setRecord).run(to, seal, from, op);
  }
}

/** No echo is looked for later than this: one that is due further away was dated by a clock that went back since. */
const furthestEchoMs = 120_000;

/** Acknowledged changes whose echo has not come in time. */
export function missingEchoes(store: Store, limit: number) {
  const now = store.world.now();
  const missing = store.db.prepare(echoes).all(now, limit);
  const misdated = store.db.prepare(misdatedEchoes).all(now + furthestEchoMs, limit - missing.length);
  return [...missing, ...misdated].map((row) => ({ record: integer(row.record), op: integer(row.op) }));
}

export function postponeEcho(store: Store, echo: { readonly record: number; readonly op: number }, due: number): void {
  store.db.prepare(setDue).run(due, echo.record, echo.op);
}

export function nextEchoAt(store: Store): number | null {
  return integerOrNull(store.db.prepare(nextEcho).get()?.due);
}

export type PendingOperation = {
  readonly id: string;
  readonly state: State;
  readonly reason: string | null;
  readonly problem: Problem | null;
};

/** Operations that carry what is unsent or refused of a record, oldest first. */
export function pendingOperations(store: Store, record: number): readonly PendingOperation[] {
  return store.db
    .prepare(operations)
    .all(record)
    .map((row) => ({
      id: text(row.id),
      state: integer(row.state) as State,
      reason: textOrNull(row.reason),
      problem: json(row, "problem") as Problem | null,
    }));
}

/** How a record stands, by the operations that carry its changes. */
export function statusFor(store: Store, info: CollectionInfo, record: number): number {
  const open = pendingOperations(store, record);
  const parked = open.filter(({ state }) => state === States.parked || state === States.aside);
  if (parked.some(({ reason }) => reason === "conflict")) return Status.conflict;
  if (parked.length > 0) return Status.failed;
  if (open.length > 0) return Status.pending;
  return info.isSynced ? Status.synced : Status.localOnly;
}

/** Whether an operation's payload may still change: nobody has seen it, or it was refused for good. */
export function isFrozen(op: Brief | null): boolean {
  return (
    op === null ||
    op.state === States.inFlight ||
    op.state === States.parked ||
    op.state === States.aside ||
    op.isUnsure
  );
}

/** Replaces what one operation says of one record; `null` takes it out. Returns how many changes are left. */
export function rewriteChange(
  store: Store,
  at: { readonly op: number; readonly collection: string; readonly key: string },
  change: Overlay | null,
): number {
  const row = getRow(store, at.op);
  const op = toBrief(row);
  const payload = json(row, "payload") as unknown as RecordWrite;
  const changes = payload.changes.flatMap((each) => {
    if (each.collection !== at.collection || each.key !== at.key) return [each];
    return change === null ? [] : [{ collection: at.collection, key: at.key, ...change }];
  });
  if (changes.length === 0) return 0;
  const next = { ...payload, changes };
  replacePayload(store, { seq: op.seq, version: integer(row.version), channel: op.channel }, JSON.stringify(next));
  // Another body under the same key would be refused by a server that keeps receipts.
  if (op.attempts > 0) {
    resetBudget(store, op.seq, { generation: op.generation + 1, isUnsure: false, rounds: op.rounds });
  }
  return changes.length;
}

/** Replaces what a change has seen, and nothing of what it does: it stays the same to a server that has a receipt of it. */
export function rewriteBase(
  store: Store,
  at: { readonly op: number; readonly collection: string; readonly key: string },
  base: number,
): void {
  const row = getRow(store, at.op);
  const op = toBrief(row);
  const payload = json(row, "payload") as unknown as RecordWrite;
  const changes = payload.changes.map((each) =>
    each.collection === at.collection && each.key === at.key ? { ...each, base } : each,
  );
  const place = { seq: op.seq, version: integer(row.version), channel: op.channel };
  replacePayload(store, place, JSON.stringify({ ...payload, changes }));
}

/** The change that leads from one value to another; `null` when there is nothing to send. */
export function changeBetween(
  info: CollectionInfo,
  sides: { readonly before: Fields | null; readonly after: Fields | null },
  base: number,
): Overlay | null {
  const { before, after } = sides;
  const schema = info.version;
  const hidden = info.spec.localOnly;
  const isHidden = (field: string): boolean => hidden?.includes(field) === true;
  if (after === null) return before === null ? null : { kind: "remove", base, fields: {}, schema };
  if (before === null) return { kind: "create", base, fields: without(after, hidden), schema };
  const fields: Record<string, Json> = {};
  for (const [field, value] of Object.entries(after)) {
    if (isHidden(field) || (Object.hasOwn(before, field) && isSameJson(before[field], value))) continue;
    Object.defineProperty(fields, field, { value, writable: true, enumerable: true, configurable: true });
  }
  const unset = Object.keys(before).filter((field) => !Object.hasOwn(after, field) && !isHidden(field));
  const touched = Object.keys(fields);
  if (touched.length === 0 && unset.length === 0) return null;
  const strict = touched.filter((field) => info.spec.merge?.[field]?.rule === "counter");
  return {
    kind: "update",
    base,
    fields,
    ...(unset.length === 0 ? {} : { unset }),
    ...(strict.length === 0 ? {} : { strict }),
    schema,
  };
}

function without(value: Fields, hidden: readonly string[] | undefined): Fields {
  if (hidden === undefined || hidden.length === 0) return value;
  return Object.fromEntries(Object.entries(value).filter(([field]) => !hidden.includes(field)));
}

/** The server told the whole value: at that version nothing has to be guessed. */
export const wholeOf = (change: Overlay, value: Fields | null): Overlay =>
  value === null
    ? { kind: "remove", base: change.base, fields: {}, schema: change.schema }
    : { kind: "create", base: change.base, fields: value, schema: change.schema };

/** Whether two operations change a record that is the same. */
export function haveCommonRecord(store: Store, op: number, other: number): boolean {
  const records = new Set(pendingsOfOperation(store, op).map(({ record }) => record));
  return pendingsOfOperation(store, other).some(({ record }) => records.has(record));
}
