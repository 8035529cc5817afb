/**
 * Owns local writes of records: checks, coalescing with what is not sent yet, one operation for what must go to the server, all in one transaction.
 * Rows are kept by `records.ts` and `pending.ts`; the operation is queued by `enqueue.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import { State, textBytes } from "../operation.ts";
import { applyMergePatch, applyPatch } from "../patch.ts";
import type { Change, Fields, RecordOrigin, RecordWrite } from "../record.ts";
import { recordLimits, recordWriteType } from "../record.ts";
import type { Input, Output, Receipt, RecordWriteInput } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { countRecords, requireCollection, versionOf } from "./collections.ts";
import { addOperation } from "./enqueue.ts";
import { record } from "./history.ts";
import { declareLocalId, isServerKey, knowsAliases, rewritePayload } from "./ids.ts";
import { hasDependents } from "./lanes.ts";
import { readOutset } from "./outset.ts";
import type { Overlay, Pending } from "./pending.ts";
import {
  addPending,
  changeBetween,
  changePending,
  dropPending,
  newestOperation,
  pendingsOf,
  pendingsOfOperation,
  rewriteChange,
  statusFor,
} from "./pending.ts";
import { clientId } from "./push.ts";
import type { Brief } from "./queue.ts";
import { getBrief } from "./queue.ts";
import { logRecord } from "./record-log.ts";
import type { RecordRow } from "./records.ts";
import {
  fieldsOf,
  findRecord,
  insertRecord,
  noteMentions,
  Status,
  saveRecord,
  shownValue,
  toRecordView,
} from "./records.ts";
import { relinkReferences } from "./references.ts";
import { dropOperation } from "./retention.ts";
import { syncPlace } from "./spaces.ts";
import type { Store } from "./store.ts";
import { refuseTaken } from "./unique.ts";

/** Keys that one event names; more are only counted. */
export const eventKeyLimit = 1_000;

/** Why something is written, as its history says. */
export type WriteCause = { readonly origin: RecordOrigin; readonly run?: number | null; readonly detail?: Json };

export type Written = {
  /** The records as they are now, in the order of their first write. */
  readonly records: readonly Kept[];
  /** The operation that carries it; `null`: nothing to send. */
  readonly operation: string | null;
  readonly warning: string | null;
};

type Kept = { readonly info: CollectionInfo; readonly row: RecordRow };

/** One record under way through a request: what it was, what it shall be. */
export type Draft = {
  readonly info: CollectionInfo;
  readonly key: string;
  readonly row: RecordRow | null;
  readonly before: Fields | null;
  after: Fields | null;
  /** What earlier writes of the same request made of it; each is in the history, as everything that was written is. */
  readonly between: (Fields | null)[];
};

/**
 * Changes records locally, all or none: visible at once, and queued for the server in the same transaction. The one way for whatever
 * changes records here.
 */
export function writeRecords(store: Store, writes: readonly RecordWriteInput[], cause: WriteCause): Written {
  readOutset(store);
  const drafts = draftAll(store, writes);
  const changed = drafts.filter(isChanged);
  refuseTaken(store, changed);
  const synced = changed.filter(({ info }) => info.isSynced);
  const sent = synced.filter((draft) => changeOf(draft, 0) !== null);
  const receipt = sent.length === 0 ? null : send(store, sent);
  const kept = new Map<Draft, RecordRow>();
  for (const draft of changed) {
    if (receipt !== null && sent.includes(draft)) continue;
    kept.set(draft, keep(store, draft, cause, null));
  }
  if (receipt !== null) for (const draft of sent) kept.set(draft, keep(store, draft, cause, receipt));
  tellRecords(store, changed, cause.origin);
  const records = drafts.flatMap((draft) => {
    const row = kept.get(draft) ?? draft.row;
    return row === null ? [] : [{ info: draft.info, row }];
  });
  return { records, operation: receipt?.id ?? null, warning: receipt?.warning ?? null };
}

export function writeRecord(store: Store, input: Input<"records.write">): Output<"records.write"> {
  const { records, operation, warning } = writeRecords(store, [input], { origin: "local" });
  const [kept] = records;
  if (kept === undefined) throw new HoldfastError("internal", "a write left no record", "report this");
  return { record: toRecordView(store, kept.row, kept.info) as Output<"records.write">["record"], operation, warning };
}

export function writeTransaction(store: Store, input: Input<"records.transaction">): Output<"records.transaction"> {
  const { records, operation } = writeRecords(store, input.writes, { origin: "local" });
  return {
    records: records.map(({ row, info }) => toRecordView(store, row, info) as Output<"records.write">["record"]),
    operation,
  };
}

// ---- what each write makes of its record ----------------------------------------------------------------------

/** Several writes of one record in one request are one change of it. */
function draftAll(store: Store, writes: readonly RecordWriteInput[]): readonly Draft[] {
  const drafts = new Map<string, Draft>();
  for (const write of writes) {
    const info = requireCollection(store, write.collection);
    const key = write.key ?? newKey(store, info);
    const row = findRecord(store, info, key);
    const name = `${info.id}\n${row?.key ?? key}`;
    const draft = drafts.get(name) ?? openDraft(info, row?.key ?? key, row);
    if (drafts.has(name)) draft.between.push(draft.after);
    draft.after = checked(store, info, key, wanted(draft, write));
    drafts.set(name, draft);
  }
  return [...drafts.values()];
}

/** A key that the server will replace says so. */
const newKey = (store: Store, info: CollectionInfo): string =>
  info.spec.keys === "server" ? `local-${store.world.newId()}` : store.world.newId();

export function openDraft(info: CollectionInfo, key: string, row: RecordRow | null): Draft {
  if (row !== null && row.value !== null && row.schema > info.version) {
    throw new HoldfastError(
      "refused_by_state",
      `record "${key}" of "${info.name}" has schema version ${row.schema}; this program knows up to ${info.version}`,
      "update the program; the record is kept and shown as it came",
    );
  }
  const before = row === null ? null : shownValue(info, row);
  return { info, key, row, before, after: before, between: [] };
}

function wanted(draft: Draft, write: RecordWriteInput): Fields | null {
  const { info, key, after: now } = draft;
  switch (write.kind) {
    case "create":
      if (now === null) return write.value as Fields;
      throw new HoldfastError(
        "refused_by_state",
        `record "${key}" of "${info.name}" exists already`,
        "update it, or use `put` to create or replace",
      );
    case "put":
      return write.value as Fields;
    case "remove":
      present(draft);
      return null;
    case "update": {
      const next: Record<string, Json> = { ...present(draft), ...(write.fields as Fields) };
      for (const field of write.unset ?? []) delete next[field];
      return next;
    }
    case "patch":
      return patched(present(draft), write.patch as Json);
    default:
      return now;
  }
}

function present({ info, key, after }: Draft): Fields {
  if (after !== null) return after;
  throw new HoldfastError(
    "not_found",
    `there is no record "${key}" in "${info.name}"`,
    "see `holdfast records list` for what there is; `put` creates it",
  );
}

function patched(value: Fields, patch: Json): Fields {
  const next = Array.isArray(patch) ? applyPatch(value, patch) : applyMergePatch(value, patch);
  if (typeof next === "object" && next !== null && !Array.isArray(next)) return next as Fields;
  throw new HoldfastError(
    "invalid_input",
    "the patch leaves no object",
    "a record is a JSON object; remove it instead",
  );
}

/** The value as it is stored: by the program's own check, with known local ids replaced, within the limit. */
export function checked(store: Store, info: CollectionInfo, key: string, value: Fields | null): Fields | null {
  if (value === null) return null;
  const own = info.declared?.check?.(value) ?? value;
  const named = knowsAliases(store) ? (rewritePayload(store, undefined, own) as Fields) : own;
  // A value this short cannot be too long in any encoding, and most are.
  const bytes = textBytes(JSON.stringify(named));
  if (bytes <= recordLimits.valueBytes) return named;
  throw new HoldfastError(
    "payload_too_large",
    `record "${key}" of "${info.name}" has ${bytes} bytes; ${recordLimits.valueBytes} are allowed`,
    "keep big content in files and refer to them",
    { details: { bytes, limit: recordLimits.valueBytes } },
  );
}

const isChanged = ({ before, after, between }: Draft): boolean =>
  between.length > 0 || (before !== after && JSON.stringify(before) !== JSON.stringify(after));

// ---- what goes to the server ----------------------------------------------------------------------------------

const changeOf = (draft: Draft, base: number): Overlay | null =>
  changeBetween(draft.info, { before: draft.before, after: draft.after }, base);

/** The operation that carries the drafts. `changes` is null where it was there already; `id` is null where nothing is left to send. */
export type Sending = {
  readonly id: string | null;
  readonly seq: number;
  readonly warning: string | null;
  readonly changes: readonly Change[] | null;
};

/** The version that the writer sees: the snapshot's, or that of an own change which has landed and whose echo is still to come. */
function baseOf(store: Store, { info, row }: Pick<Draft, "info" | "row">): number {
  const version = row === null ? 0 : versionOf(info, row);
  if (row === null || row.pendings === 0) return version;
  return Math.max(version, ...pendingsOf(store, row.id).map(({ acked }) => acked));
}

/** One record may go with what waits for it already; several are one operation, applied all or none. */
function send(store: Store, drafts: readonly Draft[]): Sending {
  const [only] = drafts;
  const merged = drafts.length === 1 && only !== undefined ? coalesce(store, only) : null;
  if (merged !== null) return merged;
  const [space] = new Set(drafts.map(({ info }) => info.space));
  if (space === undefined || drafts.some(({ info }) => info.space !== space)) {
    throw new HoldfastError(
      "invalid_input",
      "a transaction cannot reach over several spaces",
      "write the records of each space by themselves",
    );
  }
  clientId(store);
  const needs = needsOf(store, drafts);
  const changes = drafts.map((draft) => {
    const change = changeOf(draft, baseOf(store, draft));
    return { collection: draft.info.name, key: draft.key, ...(change as Overlay) };
  });
  // The space of collections that name none is the one that the sync settings name when it goes out.
  const named = drafts[0]?.info.spec.space ?? "";
  const payload: RecordWrite = { space: named, changes, at: store.world.now() };
  const { subject } = syncPlace(store);
  const receipt = addOperation(store, { type: recordWriteType, payload: payload as unknown as Json, subject }, needs);
  for (const draft of drafts) if (draft.before === null) declareKey(store, draft, receipt);
  return { id: receipt.id, seq: receipt.sequence, warning: receipt.warning, changes };
}

/** The newest operations that carry changes of these records: what comes after them waits for them. */
export function needsOf(store: Store, drafts: readonly Pick<Draft, "row">[]): readonly Brief[] {
  const needs = new Map<number, Brief>();
  for (const { row } of drafts) {
    const newest = row === null || row.pendings === 0 ? null : newestOperation(store, row.id);
    if (newest !== null) needs.set(newest.seq, newest);
  }
  return [...needs.values()];
}

/**
 * The server will name it: until then the key is a local id like any other, and stays its alias for ever. A record that the server has
 * named and lost keeps the name that it got (`push.ts`).
 */
export function declareKey(store: Store, { info, key, row }: Draft, by: Receipt): void {
  if (info.spec.keys !== "server" || (row !== null && (row.version > 0 || isServerKey(store, key)))) return;
  declareLocalId(store, key, { seq: by.sequence, id: by.id, isFree: (seq) => isSettled(store, seq) });
}

function isSettled(store: Store, seq: number): boolean {
  const op = getBrief(store, seq);
  return op === null || op.state === State.done;
}

/** Joins a change to the newest one of its record, if that has never been sent and carries nothing else; `null` when it cannot. */
function coalesce(store: Store, draft: Draft): Sending | null {
  const { row, info } = draft;
  if (row === null || row.pendings === 0) return null;
  const last = pendingsOf(store, row.id).findLast(({ acked }) => acked === 0);
  const op = last === undefined ? null : getBrief(store, last.op);
  if (last === undefined || op === null || !canJoin(store, op, last)) return null;
  const change = changeBetween(info, { before: fieldsOf(last.baseValue), after: draft.after }, last.change.base);
  if (change === null) {
    if (hasDependents(store, op.seq)) return null;
    dropPending(store, last);
    dropOperation(store, op);
    record(store, { op: 0, id: op.id, kind: "removed", status: null, detail: { by: "coalescing" } });
    return { id: null, seq: op.seq, warning: null, changes: null };
  }
  changePending(store, last, last.baseValue, change);
  rewriteChange(store, { op: op.seq, collection: info.name, key: draft.key }, change);
  if (knowsAliases(store)) relinkReferences(store, op, { type: undefined, payload: change.fields });
  return { id: op.id, seq: op.seq, warning: null, changes: null };
}

/**
 * A transaction stays what it was: an operation with changes of several records takes no more of one of them. And what another device has
 * tried may have landed under its key: a server with a receipt of it would not look at what has joined it since.
 */
const canJoin = (store: Store, op: Brief, last: Pending): boolean =>
  op.attempts === 0 &&
  !op.isUnsure &&
  op.state <= State.held &&
  op.state !== State.inFlight &&
  pendingsOfOperation(store, last.op).length === 1;

// ---- what is kept here ----------------------------------------------------------------------------------------

/** Writes the record as it is from now on, with its history; the view changes in the transaction of the write. */
export function keep(store: Store, draft: Draft, cause: WriteCause, sending: Sending | null): RecordRow {
  const { info, key, row, after } = draft;
  const now = store.world.now();
  const value = after === null ? null : JSON.stringify(after);
  const added = sending === null ? 0 : sending.changes !== null ? 1 : sending.id === null ? -1 : 0;
  const made = row === null ? addNew(store, draft, { value, now, added }) : null;
  const id = (made ?? row)?.id ?? 0;
  if (sending?.changes) {
    const place = sending.changes.findIndex((each) => each.collection === info.name && each.key === key);
    const change = sending.changes[place];
    if (change !== undefined) {
      const { collection, key: _key, ...overlay } = change;
      addPending(store, { record: id, op: sending.seq, place, baseValue: textOf(draft), change: overlay });
    }
  }
  const kept = made ?? change(store, draft, row as RecordRow, { value, now, added });
  noteMentions(store, id, after);
  const { origin, run = null, detail = null } = cause;
  const version = row?.version ?? 0;
  const steps = [...draft.between.map((each) => (each === null ? null : JSON.stringify(each))), value];
  const { schema } = kept;
  let former = row?.schema ?? schema;
  steps.reduce((before, step) => {
    if (step !== before) {
      logRecord(store, { record: id, origin, run, version, before, after: step, schema, former, detail });
      former = schema;
    }
    return step;
  }, row?.value ?? null);
  return kept;
}

/** What the record was, as text; the stored one where it is still by the schema of this program. */
const textOf = ({ info, row, before }: Draft): string | null =>
  row === null || row.schema >= info.version ? (row?.value ?? null) : before === null ? null : JSON.stringify(before);

type Now = { readonly value: string | null; readonly now: number; readonly added: number };

function addNew(store: Store, { info, key }: Draft, { value, now, added }: Now): RecordRow {
  const row = insertRecord(store, {
    collection: info.id,
    key,
    version: 0,
    value,
    snapshot: null,
    schema: info.version,
    author: "",
    confirmed: null,
    changed: now,
    status: !info.isSynced ? Status.localOnly : added > 0 ? Status.pending : Status.synced,
    pendings: added,
    mark: 0,
  });
  countRecords(store, info.id, value === null ? 0 : 1, row.bytes);
  return row;
}

function change(store: Store, draft: Draft, row: RecordRow, { value, now, added }: Now): RecordRow {
  const { info } = draft;
  const pendings = row.pendings + added;
  const ground = row.pendings === 0 ? textOf(draft) : row.snapshot;
  const isFirst = row.pendings === 0 && added === 1;
  const status = isFirst
    ? Status.pending
    : added === 0 && row.pendings === 0
      ? row.status
      : statusFor(store, info, row.id);
  return saveRecord(store, row, {
    ...row,
    value,
    snapshot: pendings === 0 ? null : ground,
    schema: row.pendings === 0 ? info.version : row.schema,
    changed: now,
    used: now,
    status,
    pendings,
  });
}

/** One event tells of all records of a collection that changed in one go. */
export function tellRecords(
  store: Store,
  changed: readonly { readonly info: CollectionInfo; readonly key: string }[],
  origin: RecordOrigin,
): void {
  const keys = new Map<string, Set<string>>();
  for (const { info, key } of changed) keys.set(info.name, (keys.get(info.name) ?? new Set()).add(key));
  for (const [collection, each] of keys) tellKeys(store, collection, [...each], origin);
}

export function tellKeys(store: Store, collection: string, keys: readonly string[], origin: RecordOrigin): void {
  const told = keys.length <= eventKeyLimit ? { keys } : { count: keys.length };
  record(store, { op: 0, id: null, kind: "record", status: null, detail: { collection, ...told, origin } });
}
