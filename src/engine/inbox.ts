/**
 * Owns the inbox: the verbs that list, group, show, decide, undo and pre-decide conflicts. Deciding works offline: it is a change like any other.
 * The rows are kept by `conflicts.ts`; a decision becomes a change in `overlay.ts` or, when undone, in `writes.ts`.
 */
import { isSameJson } from "../canonical.ts";
import type { Choice, ConflictStatus, ConflictView } from "../conflict.ts";
import { HoldfastError } from "../errors.ts";
import type { Side } from "../merge.ts";
import { chooseSide, mergeFields } from "../merge.ts";
import type { Json } from "../operation.ts";
import { State } from "../operation.ts";
import type { Fields } from "../record.ts";
import { applyChange } from "../record.ts";
import type { Input, Output, RecordWriteInput } from "../verbs.ts";
import { chooseBeforehand } from "./choices.ts";
import type { CollectionInfo } from "./collections.ts";
import { collectionOf, requireCollection } from "./collections.ts";
import type { ConflictRow } from "./conflicts.ts";
import {
  conflictColumns,
  findConflict,
  isRefusal,
  localValue,
  openConflictsOfOperation,
  settleConflict,
  toConflict,
  toConflictView,
  withdrawnOn,
} from "./conflicts.ts";
import { knowsAliases } from "./ids.ts";
import { followOperation } from "./landing.ts";
import { logLosing } from "./losing.ts";
import { aimAt, groundOf } from "./overlay.ts";
import type { Pending } from "./pending.ts";
import { pendingsOfOperation } from "./pending.ts";
import type { Brief } from "./queue.ts";
import { getBrief, getRow } from "./queue.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, findRecord, getRecord, noteMentions, sharedFields, shownValue, valueNow } from "./records.ts";
import { relinkReferences } from "./references.ts";
import { free } from "./resend.ts";
import { openRunId } from "./runs.ts";
import { giveUp } from "./settle.ts";
import type { Store } from "./store.ts";
import { apart, integer, json, text } from "./store.ts";
import { checked, tellKeys, writeRecords } from "./writes.ts";

/** Conflicts that one bulk decision takes; the rest is left for the next one. */
export const resolveLimit = 10_000;

// A filter that is not given is NULL, and each is given twice: Node 22.18 cannot bind numbered parameters by their place.
const filtered = `FROM conflict JOIN record ON record.id = conflict.record
  WHERE conflict.status = ? AND conflict.seq < ? AND (? IS NULL OR conflict.collection = ?) AND (? IS NULL OR conflict.kind = ?)
  AND (? IS NULL OR remote_author = ?) AND (? IS NULL OR record.key = ?)
  AND (? IS NULL OR EXISTS (SELECT 1 FROM json_each(conflict.fields) WHERE json_each.value = ?))`;
const page = `SELECT ${conflictColumns} ${filtered} ORDER BY conflict.seq DESC LIMIT +?`;
const openCount = "SELECT count(*) AS n FROM conflict WHERE status = 'open'";
const groups = `SELECT collection, kind, fields, remote_author, count(*) AS n, min(created) AS oldest FROM conflict WHERE status = 'open'
  GROUP BY collection, kind, fields, remote_author ORDER BY n DESC`;
const idByEnd = "SELECT id FROM conflict WHERE id LIKE '%' || ? LIMIT 3";
const idByBeginning = "SELECT id FROM conflict WHERE id >= ? AND id < ? ORDER BY id LIMIT 3";

type Filter = NonNullable<Input<"conflicts.resolve">["filter"]>;

// The open ones come first: they are one list, what is decided the next, what was undone the last.
const order = ["open", "resolved", "undone"] as const;

export function listConflicts(store: Store, input: Input<"conflicts.list">): Output<"conflicts.list"> {
  const limit = input.limit ?? 100;
  const start = cursorOf(input.cursor);
  const wanted = order.filter((status) => input.status === undefined || status === input.status);
  const found: ConflictRow[] = [];
  let before = start.before;
  for (const status of wanted.slice(Math.max(wanted.indexOf(start.status ?? "open"), 0))) {
    found.push(...search(store, { ...input, status }, before, limit - found.length));
    before = Number.MAX_SAFE_INTEGER;
    if (found.length >= limit) break;
  }
  const last = found.at(-1);
  return {
    conflicts: found.map((conflict) => view(store, conflict)) as Output<"conflicts.list">["conflicts"],
    next: found.length < limit || last === undefined ? null : `${last.status} ${last.seq}`,
    open: integer(store.db.prepare(openCount).get()?.n),
  };
}

function cursorOf(cursor: string | undefined): {
  readonly status: (typeof order)[number] | null;
  readonly before: number;
} {
  if (cursor === undefined) return { status: null, before: Number.MAX_SAFE_INTEGER };
  const [status, before] = cursor.split(" ");
  const known = order.find((each) => each === status);
  if (known !== undefined && /^\d+$/.test(before ?? "")) return { status: known, before: Number(before) };
  throw new HoldfastError("invalid_input", `"${cursor}" is no cursor of this list`, "pass `next` of the page before");
}

function search(store: Store, filter: Filter, before: number, limit: number): readonly ConflictRow[] {
  if (limit <= 0) return [];
  const collection = filter.collection === undefined ? null : requireCollection(store, filter.collection).id;
  const filters = [collection, filter.kind, filter.author, filter.key, filter.field];
  const twice = filters.flatMap((value) => [value ?? null, value ?? null]);
  return store.db
    .prepare(page)
    .all(filter.status ?? "open", before, ...twice, limit)
    .map(toConflict);
}

function view(store: Store, conflict: ConflictRow): ConflictView {
  const row = getRecord(store, conflict.record);
  const op = conflict.op === null ? null : getBrief(store, conflict.op);
  return toConflictView(store, conflict, {
    collection: collectionOf(store, conflict.collection).name,
    key: row?.key ?? "",
    operation: op?.id ?? null,
    isUnsent: op !== null && op.state !== State.done,
  });
}

export function groupConflicts(store: Store): Output<"conflicts.groups"> {
  const rows = store.db.prepare(groups).all();
  return {
    groups: rows.map((row) => ({
      collection: collectionOf(store, integer(row.collection)).name,
      kind: text(row.kind) as ConflictView["kind"],
      fields: JSON.parse(text(row.fields)) as string[],
      author: text(row.remote_author),
      count: integer(row.n),
      oldestAt: integer(row.oldest),
    })),
  };
}

export function getConflict(store: Store, input: Input<"conflicts.get">): Output<"conflicts.get"> {
  return view(store, requireConflict(store, input.id)) as Output<"conflicts.get">;
}

/** Finds a conflict by its whole id, or by a beginning or end of it that is unique. */
function requireConflict(store: Store, given: string): ConflictRow {
  const id = given.toLowerCase();
  const exact = findConflict(store, id);
  if (exact !== null) return exact;
  const found = new Set(
    [
      ...store.db.prepare(idByBeginning).all(id, `${id}\u{10ffff}`),
      ...(/^[0-9a-f-]+$/.test(id) ? store.db.prepare(idByEnd).all(id) : []),
    ].map((row) => text(row.id)),
  );
  const [only] = found;
  const conflict = found.size === 1 && only !== undefined ? findConflict(store, only) : null;
  if (conflict !== null) return conflict;
  throw found.size > 1
    ? new HoldfastError("ambiguous_id", `"${given}" fits several conflicts`, "give more of the id")
    : new HoldfastError("not_found", `there is no conflict "${given}"`, "see `holdfast conflicts list`");
}

// ---- deciding -------------------------------------------------------------------------------------------------

export function resolveMany(store: Store, input: Input<"conflicts.resolve">): Output<"conflicts.resolve"> {
  if (input.choose === "value" && input.value === undefined) {
    throw new HoldfastError("invalid_input", "a hand-made merge needs its value", "give `value`, or choose a side");
  }
  if (input.ids === undefined && input.filter === undefined) {
    throw new HoldfastError("invalid_input", "neither ids nor a filter say which conflicts", "give one of them");
  }
  const found =
    input.filter === undefined
      ? []
      : search(store, { ...input.filter, status: "open" }, Number.MAX_SAFE_INTEGER, resolveLimit).map(({ id }) => id);
  const named = Object.keys(input.fields ?? {}).length > 0;
  if (named && input.choose !== "local" && input.choose !== "remote") {
    const hint = "choose local or remote for the rest, and name the fields that are taken from the other side";
    throw new HoldfastError("invalid_input", "`fields` goes with a side for the other fields", hint);
  }
  const wanted: Wanted = {
    choose: input.choose,
    ...(named ? { fields: input.fields as Wanted["fields"] & object } : {}),
    ...(input.value === undefined ? {} : { value: input.value as Fields | null }),
  };
  const act = (conflict: ConflictRow): void => resolveOne(store, conflict, wanted);
  return each(store, [...new Set([...(input.ids ?? []), ...found])], { from: "open", act });
}

/** What a person wants of a conflict; `fields` names the side of single fields. */
type Wanted = {
  readonly choose: Choice;
  readonly fields?: Readonly<Record<string, Side>>;
  readonly value?: Fields | null;
};

function each(
  store: Store,
  ids: readonly string[],
  { from, act }: { readonly from: ConflictStatus; readonly act: (conflict: ConflictRow) => void },
): Output<"conflicts.resolve"> {
  const done: string[] = [];
  const refused: Output<"conflicts.resolve">["refused"] = [];
  const asked = new Set(ids.filter((given) => isOf(store, given, from)));
  for (const given of ids) {
    let id = given;
    const refusal = apart(store, () => {
      const conflict = requireConflict(store, given);
      id = conflict.id;
      // What belongs together is decided, and taken back, together: an earlier id of the same request may have done it.
      if (conflict.status === from || !asked.has(given)) act(conflict);
    });
    if (refusal === null) done.push(id);
    else refused.push({ id: given, ...refusal });
  }
  return { done, refused };
}

function isOf(store: Store, given: string, status: ConflictStatus): boolean {
  let found: ConflictStatus | null = null;
  apart(store, () => {
    found = requireConflict(store, given).status;
  });
  return found === status;
}

function refuse(conflict: ConflictRow, what: string, hint: string): never {
  throw new HoldfastError("refused_by_state", `conflict ${conflict.id}: ${what}`, hint);
}

type Place = { readonly info: CollectionInfo; readonly row: RecordRow; readonly pending: Pending };

function resolveOne(store: Store, conflict: ConflictRow, by: Wanted): void {
  if (conflict.status !== "open") refuse(conflict, `it is ${conflict.status} already`, "see `holdfast conflicts show`");
  const op = conflict.op === null ? null : getBrief(store, conflict.op);
  const row = getRecord(store, conflict.record);
  if (op === null || row === null || op.state === State.done)
    refuse(conflict, "its operation is gone", "write the record again");
  if (op.state === State.inFlight) refuse(conflict, "its operation is on the wire", "wait for its answer");
  const pendings = pendingsOfOperation(store, op.seq);
  const pending = pendings.find(({ record }) => record === row.id);
  if (pending === undefined) refuse(conflict, "its change has landed meanwhile", "see `holdfast records history`");
  const info = collectionOf(store, row.collection);
  const before = fieldsOf(row.value);
  const wanted = wantedValue(conflict, by, { info, row, pending });
  let outcome = isSameJson(wanted as Json, fieldsOf(groundOf(row).snapshot) as Json)
    ? wanted
    : checked(store, info, row.key, wanted);
  // What belongs together is applied all or none: giving up one of its records gives up all of them.
  const isGivenUp = by.choose === "remote" && by.fields === undefined && pendings.length > 1;
  const others = isGivenUp
    ? pendings
        .filter(({ record }) => record !== row.id)
        .map(({ record }) => ({ record, before: valueNow(store, record) }))
    : [];
  if (isGivenUp) {
    giveUp(store, op, { outcome: "cancelled", detail: { by: "conflict" } });
    outcome = valueNow(store, row.id);
  } else {
    const remote = fieldsOf(groundOf(row).snapshot);
    const sides = { base: fieldsOf(pending.baseValue), remote, version: row.version, outcome };
    const { kind, fields: disputed } = conflict;
    const run = openRunId(store);
    logLosing(store, { info, row, kind, ...sides, choice: choiceOf(by), disputed, run });
    // While another record of the same transaction waits for a decision, it stays parked, and both are asked about at once.
    if (openConflictsOfOperation(store, op.seq).every(({ record }) => record === row.id)) free(store, op);
    aimAt(store, { info, row, pending, op }, outcome);
    linkMentions(store, op.seq, { record: row.id, value: outcome });
  }
  // Later changes of ours stay on top of what is decided, before as after.
  const after = valueNow(store, row.id);
  const detail = {
    before,
    ...(isSameJson(after as Json, outcome as Json) ? {} : { after }),
    ...(by.fields === undefined ? {} : { fields: by.fields }),
    ...(others.length === 0
      ? {}
      : { others: others.map((each) => ({ ...each, outcome: valueNow(store, each.record) })) }),
  };
  const choice = choiceOf(by);
  const open = findConflict(store, conflict.id) ?? conflict;
  settleConflict(store, open, { status: "resolved", by: "person", choice, outcome, detail });
  const now = getBrief(store, op.seq);
  if (now !== null) followOperation(store, now);
  tellKeys(store, info.name, [row.key], "resolve");
}

/** Of two sides together something is made that neither of them is. */
const choiceOf = ({ choose, fields }: Wanted): Choice => (fields === undefined ? choose : "value");

/** What a value made by hand mentions may not be created yet: the operation waits for that, and takes the server's key. */
function linkMentions(store: Store, seq: number, of: { readonly record: number; readonly value: Fields | null }): void {
  const op = knowsAliases(store) ? getBrief(store, seq) : null;
  if (op === null || op.state === State.done) return;
  relinkReferences(store, op, { type: undefined, payload: json(getRow(store, seq), "payload") });
  noteMentions(store, of.record, of.value);
}

/** What a choice makes of the change, over what the server has by now: the inbox has followed it. */
function wantedValue(conflict: ConflictRow, by: Wanted, at: Place): Fields | null {
  const { info, row, pending } = at;
  const remote = fieldsOf(groundOf(row).snapshot);
  const base = fieldsOf(pending.baseValue);
  const local = applyChange(base ?? remote, pending.change);
  const rules = info.spec.merge ?? {};
  if (by.fields !== undefined) return mixedValue(conflict, by, { ...at, local, remote });
  switch (by.choose) {
    case "value":
      return by.value ?? null;
    case "remote":
      if (local === null || remote === null || isRefusal(conflict.kind)) return remote;
      return chooseSide({ base, local, remote }, { rules, disputed: conflict.fields, side: "remote" });
    case "local":
      if (isRefusal(conflict.kind)) return applyChange(remote, pending.change);
      return localValue({ kind: conflict.kind, collection: info.name, key: row.key, base, local, remote });
    case "merge":
      if (local === null || remote === null || isRefusal(conflict.kind))
        refuse(conflict, "there are no two values to merge", "choose local, remote, or give a value");
      return mergeFields({ base, local, remote }, rules).value;
  }
}

/** Single fields from one side, the rest of what is in dispute from the other. What the server refused was written on what it has. */
function mixedValue(
  conflict: ConflictRow,
  { choose, fields = {} }: Wanted,
  { info, pending, local, remote }: Place & { readonly local: Fields | null; readonly remote: Fields | null },
): Fields {
  const mine = isRefusal(conflict.kind) ? applyChange(remote, pending.change) : local;
  if (mine === null || remote === null)
    refuse(conflict, "there are no two values to take fields from", "choose local, remote, or give a value");
  const unknown = Object.keys(fields).find((field) => !Object.hasOwn(mine, field) && !Object.hasOwn(remote, field));
  if (unknown !== undefined)
    refuse(
      conflict,
      `neither side has a field "${unknown}"`,
      `see \`holdfast conflicts show ${conflict.id.slice(-8)}\``,
    );
  const base = isRefusal(conflict.kind) ? remote : fieldsOf(pending.baseValue);
  const side = choose === "remote" ? "remote" : "local";
  const whole = isRefusal(conflict.kind) && side === "remote" ? Object.keys(mine) : conflict.fields;
  const rules = side === "remote" ? (info.spec.merge ?? {}) : {};
  return chooseSide({ base, local: mine, remote }, { rules, disputed: whole, side, each: fields });
}

/** `queue.resolve` of an operation with record changes decides its open conflicts; false: it has none. */
export function resolveOperation(store: Store, op: Brief, input: Input<"queue.resolve">): boolean {
  const open = openConflictsOfOperation(store, op.seq);
  if (open.length === 0) return false;
  if (input.payload !== undefined) {
    throw new HoldfastError(
      "refused_by_state",
      `operation ${op.id} carries record changes, whose payload is made from the record`,
      "decide its conflict with a value: `holdfast conflicts resolve <id> --choose value --data …`",
    );
  }
  for (const conflict of open) {
    const now = findConflict(store, conflict.id);
    if (now?.status === "open") resolveOne(store, now, { choose: input.choose });
  }
  return true;
}

// ---- taking back, and deciding beforehand ---------------------------------------------------------------------

export function undoConflicts(store: Store, input: Input<"conflicts.undo">): Output<"conflicts.undo"> {
  return each(store, [...new Set(input.ids)], { from: "resolved", act: (conflict) => undoOne(store, conflict) });
}

/** A record that a decision changed, with what stood before and what it made of it. */
type Decided = { readonly record: number; readonly before: Fields | null; readonly outcome: Fields | null };

/**
 * Writes again what stood before the decision, in the fields that it changed. What has changed in them since is not overwritten. A
 * transaction that was given up with it comes back as one.
 */
function undoOne(store: Store, conflict: ConflictRow): void {
  if (conflict.status !== "resolved") refuse(conflict, `it is ${conflict.status}`, "only a decision can be taken back");
  const {
    before,
    after,
    others = [],
  } = (conflict.detail ?? {}) as {
    readonly before?: Fields | null;
    readonly after?: Fields | null;
    readonly others?: readonly Decided[];
  };
  if (before === undefined) refuse(conflict, "what stood before is not known", "see `holdfast records history`");
  const outcome = after === undefined ? conflict.outcome : after;
  const decided = [{ record: conflict.record, before, outcome }, ...others];
  const writes = decided.flatMap((each) => writeBack(store, conflict, each));
  // A side that stays as it was written here leaves nothing to write again: to say "taken back" would be a lie.
  if (writes.length === 0)
    refuse(
      conflict,
      "it kept what was written here, so there is nothing to take back",
      "what the server had is in the record's history: `holdfast records history`, then `holdfast records restore`",
    );
  writeRecords(store, writes, { origin: "undo", detail: { conflict: conflict.id } });
  const together = others.flatMap(({ record }) => withdrawnOn(store, record, conflict.op));
  for (const each of [conflict, ...together]) {
    const { decidedBy: by, choice, detail } = each;
    settleConflict(store, each, { status: "undone", by, choice, outcome: each.outcome, detail });
  }
}

function writeBack(
  store: Store,
  conflict: ConflictRow,
  { record, before, outcome }: Decided,
): readonly RecordWriteInput[] {
  const row = getRecord(store, record);
  if (row === null) refuse(conflict, "its record is gone", "see `holdfast records history`");
  const info = collectionOf(store, row.collection);
  // What never leaves this device was in nobody's dispute.
  const shared = (value: Fields | null): Fields | null => sharedFields(info, value);
  const back = backFrom({ before: shared(before), outcome: shared(outcome), now: shared(shownValue(info, row)) });
  if (back === "changed") {
    refuse(conflict, `"${row.key}" has changed since`, "restore what you want: `holdfast records restore`");
  }
  const place = { collection: info.name, key: row.key };
  if (back === null) return [];
  return [back.kind === "put" && before !== null ? { ...place, kind: "put", value: before } : { ...back, ...place }];
}

type Undone = { readonly before: Fields | null; readonly outcome: Fields | null; readonly now: Fields | null };
type Back =
  | { readonly kind: "remove" }
  | { readonly kind: "put"; readonly value: Fields }
  | { readonly kind: "update"; readonly fields: Fields; readonly unset: string[] };

/**
 * The write that takes a decision back; `null`: it changed nothing. An answer of the server may have brought other fields meanwhile: those
 * are nobody's decision, so they neither stand in the way nor go back.
 */
function backFrom({ before, outcome, now }: Undone): Back | "changed" | null {
  if (before === null || outcome === null || now === null) {
    if (!isSameJson(now as Json, outcome as Json)) return "changed";
    if (isSameJson(now as Json, before as Json)) return null;
    return before === null ? { kind: "remove" } : { kind: "put", value: before };
  }
  const decided = [...new Set([...Object.keys(before), ...Object.keys(outcome)])].filter(
    (field) => !isSameField(before, outcome, field),
  );
  if (decided.some((field) => !isSameField(now, outcome, field))) return "changed";
  if (decided.length === 0) return null;
  const kept = decided.filter((field) => Object.hasOwn(before, field));
  return {
    kind: "update",
    fields: Object.fromEntries(kept.map((field) => [field, before[field] as Json])),
    unset: decided.filter((field) => !Object.hasOwn(before, field)),
  };
}

const isSameField = (one: Fields, other: Fields, field: string): boolean =>
  Object.hasOwn(one, field) === Object.hasOwn(other, field) && isSameJson(one[field], other[field]);

export function preferSide(store: Store, input: Input<"conflicts.prefer">): Output<"conflicts.prefer"> {
  const row = findRecord(store, requireCollection(store, input.collection), input.key);
  if (row === null || row.pendings === 0) {
    throw new HoldfastError(
      row === null ? "not_found" : "refused_by_state",
      `nothing is pending on "${input.key}" of "${input.collection}"`,
      "a choice beforehand is about a change that is not sent yet",
    );
  }
  const { version } = groundOf(row);
  if (input.version < version) {
    throw new HoldfastError(
      "stale_revision",
      `the server has version ${version} of "${input.key}", not ${input.version}`,
      "look at what it says now, then choose",
      { details: { version } },
    );
  }
  chooseBeforehand(store, row.id, { choose: input.choose, version: input.version });
  return { collection: input.collection, key: row.key };
}
