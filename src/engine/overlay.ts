/**
 * Owns what is pending over the server's snapshot: replaying it, and rebasing it when the server moves or a person decides.
 * What decides two sides is `conflicts.ts`; the rows are kept by `records.ts` and `pending.ts`; what an answer does is `landing.ts`.
 */
import { isSameJson } from "../canonical.ts";
import type { ConflictKind } from "../conflict.ts";
import { mergeFields } from "../merge.ts";
import type { Json } from "../operation.ts";
import { State } from "../operation.ts";
import type { Fields, RecordOrigin } from "../record.ts";
import { applyChange, touchedFields } from "../record.ts";
import { forgetChoice } from "./choices.ts";
import type { CollectionInfo } from "./collections.ts";
import { versionOf } from "./collections.ts";
import {
  closeConflicts,
  decideSides,
  disputedOf,
  isRefusal,
  noteDecision,
  openConflict,
  openConflictsOfOperation,
} from "./conflicts.ts";
import { addDependency, dependenciesOf, dependentsOf, detachFrom } from "./lanes.ts";
import { logLosing } from "./losing.ts";
import type { Overlay, Pending } from "./pending.ts";
import {
  changeBetween,
  changePending,
  dropPending,
  haveCommonRecord,
  isFrozen,
  pendingsOf,
  pendingsOfOperation,
  rewriteChange,
  statusFor,
} from "./pending.ts";
import type { Brief } from "./queue.ts";
import { addWaits, getBrief } from "./queue.ts";
import { logRecord } from "./record-log.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, getRecord, localFieldsOf, raised, saveRecord, unsentRecords } from "./records.ts";
import { free } from "./resend.ts";
import { countInSyncRun, openRunId } from "./runs.ts";
import { park, supersede } from "./settle.ts";
import type { Store } from "./store.ts";

/** What the server has of a record, as far as is known. */
export type Ground = Pick<RecordRow, "version" | "snapshot" | "schema" | "author" | "confirmed" | "mark">;

/** Why a record is replayed. */
export type Cause = {
  readonly origin: RecordOrigin;
  readonly run: number | null;
  /** The operation that the server has just answered with a conflict: it may be changed although it was sent. */
  readonly answered?: { readonly op: number; readonly kind: ConflictKind };
  /** The ground changed by our own doing, so nothing can be in dispute. */
  readonly isOurs?: boolean;
  /** A change of ours was given up: what stands on it is looked at again. */
  readonly hasLeft?: boolean;
  readonly detail?: Json;
};

/** What the record's row says of the server's side. */
export const groundOf = (row: RecordRow): Ground => ({
  version: row.version,
  snapshot: row.pendings > 0 ? row.snapshot : row.value,
  schema: row.schema,
  author: row.author,
  confirmed: row.confirmed,
  mark: row.mark,
});

type Under = { readonly value: Fields | null; readonly version: number };

/** Replays what is pending on a record over the server's side and writes the view; what can be decided is decided at once. */
export function replay(store: Store, info: CollectionInfo, row: RecordRow, given: Ground, cause: Cause): RecordRow {
  const pendings = pendingsOf(store, row.id);
  const ground = pendings.length === 0 ? given : raisedGround(info, given);
  const local = localFieldsOf(info, fieldsOf(row.value));
  const server = fieldsOf(ground.snapshot);
  const known = versionOf(info, ground);
  let under: Under = { value: server, version: known };
  let isBehind = false;
  let count = 0;
  for (const pending of pendings) {
    if (pending.acked > 0 && pending.acked <= known) {
      dropPending(store, pending);
      continue;
    }
    count += 1;
    if (pending.acked > 0) {
      under = { value: applyChange(under.value, pending.change), version: pending.acked };
      continue;
    }
    const step = rebase(store, { info, row, pending, under, isBehind, ground, cause });
    if (step === null) {
      count -= 1;
      continue;
    }
    under = { value: seen(step, under.value, pending), version: under.version };
    isBehind = true;
  }
  return write(store, { info, row, ground, cause, count, local, sight: under.value });
}

/** A change that has nothing left to stand on stays visible to its author on what it was made on. */
function seen(change: Overlay, under: Fields | null, pending: Pending): Fields | null {
  return applyChange(under ?? (change.kind === "update" ? fieldsOf(pending.baseValue) : null), change);
}

function raisedGround(info: CollectionInfo, ground: Ground): Ground {
  const value = ground.schema < info.version ? fieldsOf(ground.snapshot) : null;
  if (value === null) return ground;
  return { ...ground, snapshot: JSON.stringify(raised(info, value, ground.schema)), schema: info.version };
}

type Sight = {
  readonly info: CollectionInfo;
  readonly row: RecordRow;
  readonly ground: Ground;
  readonly cause: Cause;
  readonly count: number;
  readonly local: Fields;
  readonly sight: Fields | null;
};

function write(store: Store, { info, row, ground, cause, count, local, sight }: Sight): RecordRow {
  const hasLocal = sight !== null && Object.keys(local).length > 0;
  const value =
    count === 0 && !hasLocal ? ground.snapshot : sight === null ? null : JSON.stringify({ ...sight, ...local });
  const isSame = value === row.value || (value !== null && isSameJson(fieldsOf(value) as Json, fieldsOf(row.value)));
  const after: RecordRow = {
    ...row,
    ...ground,
    value,
    snapshot: count === 0 ? null : ground.snapshot,
    changed: isSame ? row.changed : store.world.now(),
    status: statusFor(store, info, row.id),
    pendings: count,
  };
  saveRecord(store, row, after);
  if (count === 0 && row.pendings > 0) forgetChoice(store, row.id);
  if (!isSame) {
    const { origin, run, detail = null } = cause;
    const sides = { before: row.value, after: value, former: row.schema, schema: ground.schema };
    logRecord(store, { record: row.id, origin, run, version: ground.version, ...sides, detail });
  }
  return after;
}

type Step = {
  readonly info: CollectionInfo;
  readonly row: RecordRow;
  readonly pending: Pending;
  readonly under: Under;
  /** Something unsent of the same record goes before it, so its base is known only when that has landed. */
  readonly isBehind: boolean;
  readonly ground: Ground;
  readonly cause: Cause;
};

/** One pending change over what the server has by now. Returns the change as it is from here on; `null`: nothing is left of it. */
function rebase(store: Store, given: Step): Overlay | null {
  const step = metAlone(given);
  const { info, pending, under, isBehind, ground, cause } = step;
  const op = getBrief(store, pending.op);
  const isAnswered = cause.answered?.op === pending.op;
  const isBeside = op !== null && !isAnswered && op.reason === "conflict" && isUndisputed(store, pending);
  if (op !== null && !isAnswered && !isBeside && op.reason === "conflict") return follow(store, step, op);
  // What was sent may have landed as it is, and what is newer than this program is not understood: neither is touched.
  const isFixed = ground.schema > info.version || (isFrozen(op) && !isBeside);
  if (op === null || (!isAnswered && isFixed)) return pending.change;
  const base = fieldsOf(pending.baseValue);
  // What was sent ahead of it by a person's decision and met a conflict has to get beyond the base that was refused.
  const version = isBehind && !isAnswered ? pending.change.base : under.version;
  if (!isAnswered && isSameJson(base, under.value)) {
    return version === pending.change.base ? pending.change : put(store, step, { ...pending.change, base: version });
  }
  const wanted = applyChange(base ?? (pending.change.kind === "update" ? under.value : null), pending.change);
  const meeting = meet(pending.change, { base, local: wanted, remote: under.value });
  if (cause.isOurs === true || meeting.kind === null) {
    if (cause.isOurs !== true && under.value !== null && wanted !== null && ground.version > pending.change.base)
      countInSyncRun(store, { merged: 1 });
    return aim(store, step, op, { value: counted(step, { base, local: wanted }), version });
  }
  return decide(store, step, op, {
    kind: cause.answered?.kind ?? meeting.kind,
    fields: meeting.fields,
    base,
    wanted,
    version,
  });
}

/**
 * A change that was sent ahead of what stands before it here, by a person's decision, has met the server alone. Over a record that is not
 * there it would be refused for ever, however well it goes with the creation that waits before it.
 */
function metAlone(step: Step): Step {
  const { answered } = step.cause;
  const isGone =
    answered?.op === step.pending.op && answered.kind === "deleted_upstream" && step.ground.snapshot === null;
  return isGone ? { ...step, under: { ...step.under, value: null } } : step;
}

/** Its operation is parked for another record of the same transaction: this one can be decided already, or asked about beside it. */
function isUndisputed(store: Store, { op, record }: Pending): boolean {
  const open = openConflictsOfOperation(store, op);
  return open.length > 0 && open.every((each) => each.record !== record);
}

/**
 * A later change of ours on top of what a person decided: its fields as they are, but what it counts is counted on from there.
 * The number that it was counted to knew nothing of the decision.
 */
function counted({ info, pending, under }: Step, { base, local }: Pick<Sides, "base" | "local">): Fields | null {
  const { change } = pending;
  const value = applyChange(under.value, change);
  if (change.strict === undefined || value === null || local === null || under.value === null) return value;
  const merged = mergeFields({ base, local, remote: under.value }, info.spec.merge ?? {});
  const fields = change.strict.filter(
    (field) => !merged.disputed.includes(field) && Object.hasOwn(merged.value, field),
  );
  return { ...value, ...Object.fromEntries(fields.map((field) => [field, merged.value[field] as Json])) };
}

/** The server has moved while a person was to decide: the inbox shows what it has now, and what has become equal is done. */
function follow(store: Store, step: Step, op: Brief): Overlay | null {
  const { info, row, pending, under, ground, cause } = step;
  if (cause.isOurs === true && cause.hasLeft !== true) return pending.change;
  const open = openConflictsOfOperation(store, op.seq).find(({ record }) => record === row.id);
  if (open === undefined || isRefusal(open.kind)) return pending.change;
  // An earlier change of ours that has left makes another remote side of the same version.
  if (ground.version === row.version && isSameJson(open.remote, under.value)) return pending.change;
  const base = fieldsOf(pending.baseValue);
  const local = applyChange(base ?? under.value, pending.change);
  if (isSameJson(local, under.value)) return aim(store, step, op, { value: under.value, version: ground.version });
  const { kind, fields } = meet(pending.change, { base, local, remote: under.value });
  const sides = { kind: kind ?? open.kind, collection: info.name, key: row.key, base, local, remote: under.value };
  const at = {
    info,
    row,
    op,
    sides,
    fields,
    remoteVersion: ground.version,
    remoteAuthor: ground.author,
    isAtomic: false,
  };
  const disputed = disputedOf(at, open.strategy);
  const told = disputed.length > 0 ? disputed : fields;
  openConflict(store, at, { how: "manual", strategy: open.strategy, fields: kind === null ? open.fields : told });
  return pending.change;
}

type Sides = { readonly base: Fields | null; readonly local: Fields | null; readonly remote: Fields | null };

/** Whether two sides dispute anything: the same fields were changed to different values, or one side removed the record. */
function meet(
  change: Overlay,
  { base, local, remote }: Sides,
): { readonly kind: ConflictKind | null; readonly fields: readonly string[] } {
  if (local === null) return { kind: remote === null ? null : "deleted_here", fields: [] };
  if (remote === null) {
    // A creation of what never was there is not in dispute with anything.
    return { kind: change.kind === "create" && base === null ? null : "deleted_upstream", fields: [] };
  }
  const touched = touchedFields(change) ?? [...new Set([...Object.keys(local), ...Object.keys(remote)])];
  const fields = touched.filter((field) => {
    const [then, here, there] = [base?.[field], local[field], remote[field]];
    if (isSameJson(then, there)) return false;
    return change.strict?.includes(field) === true || !isSameJson(here, there);
  });
  return { kind: fields.length === 0 ? null : "version_mismatch", fields };
}

type Dispute = {
  readonly kind: ConflictKind;
  readonly fields: readonly string[];
  readonly base: Fields | null;
  readonly wanted: Fields | null;
  readonly version: number;
};

function decide(store: Store, step: Step, op: Brief, dispute: Dispute): Overlay | null {
  const { info, row, pending, under, ground } = step;
  const sides = {
    kind: dispute.kind,
    collection: info.name,
    key: row.key,
    base: dispute.base,
    local: dispute.wanted,
    remote: under.value,
  };
  const met = {
    info,
    row,
    op,
    sides,
    fields: dispute.fields,
    remoteVersion: ground.version,
    remoteAuthor: ground.author,
    isAtomic: pendingsOfOperation(store, pending.op).length > 1,
  };
  // Rules of this program know nothing of a newer value; sent again as it is, the change would be refused again for ever.
  const isNewer = ground.schema > info.version;
  const verdict = isNewer
    ? ({ how: "manual", strategy: "manual", fields: dispute.fields } as const)
    : decideSides(store, met);
  if (verdict.how === "decided") {
    const { value: outcome, choice } = verdict;
    const lost = { info, row, ...sides, version: ground.version, choice, outcome, disputed: [], run: step.cause.run };
    logLosing(store, lost);
    noteDecision(store, met, verdict);
    countInSyncRun(store, { merged: 1 });
    return aim(store, step, op, { value: verdict.value, version: dispute.version });
  }
  const message = openConflict(store, met, verdict);
  countInSyncRun(store, { conflicts: 1 });
  const problem = { code: dispute.kind, message, hint: "see `holdfast conflicts list`" };
  if (op.reason !== "conflict")
    park(store, op, { reason: "conflict", problem, isUnsure: false, remote: under.value, settled: null });
  return pending.change;
}

/** Makes a pending change lead from what the server has to a value. `null`: the server has that value already. */
function aim(
  store: Store,
  step: Step,
  op: Brief,
  to: { readonly value: Fields | null; readonly version: number },
): Overlay | null {
  const { info, under, pending, row } = step;
  const change = changeBetween(info, { before: under.value, after: to.value }, to.version);
  if (change !== null) return put(store, step, change);
  takeOut(store, pending);
  const left = rewriteChange(store, { op: op.seq, collection: info.name, key: row.key }, null);
  const agreed = { by: "agreement", choice: "remote", outcomeOf: () => under.value } as const;
  if (left === 0) {
    supersede(store, op, { value: under.value });
    closeConflicts(store, op.seq, agreed);
    return null;
  }
  closeConflicts(store, op.seq, { ...agreed, record: row.id });
  const now = getBrief(store, op.seq);
  // Nobody could decide for it any more: the rest of it goes on, unless it is in dispute itself.
  if (now?.state === State.parked && now.reason === "conflict" && openConflictsOfOperation(store, op.seq).length === 0)
    free(store, now);
  return null;
}

function put(store: Store, { info, row, pending, under }: Step, change: Overlay): Overlay {
  changePending(store, pending, under.value === null ? null : JSON.stringify(under.value), change);
  rewriteChange(store, { op: pending.op, collection: info.name, key: row.key }, change);
  return change;
}

/**
 * A change leaves its operation without having landed. What follows it on its record need not wait for that operation any more, but
 * for what the change itself had to wait for: else it would be held for ever, or overtake what is older.
 */
export function takeOut(store: Store, pending: Pending): void {
  dropPending(store, pending);
  const unsent = pendingsOf(store, pending.record).filter(({ acked }) => acked === 0);
  const before = unsent.findLast(({ op }) => op < pending.op);
  const waiting = new Set(dependentsOf(store, pending.op));
  for (const { op } of unsent.filter((each) => waiting.has(each.op))) {
    if (before !== undefined && addDependency(store, before.op, op)) addWaits(store, op, 1);
    if (!haveCommonRecord(store, pending.op, op)) detachFrom(store, pending.op, op);
  }
  const needed = new Set(dependenciesOf(store, pending.op));
  for (const { op } of unsent.filter((each) => needed.has(each.op)))
    if (!haveCommonRecord(store, op, pending.op)) detachFrom(store, op, pending.op);
}

/** A collection's schema has a new version: what waits unsent is brought forward; what was sent goes out as it was. */
export function raisePendings(store: Store, info: CollectionInfo): void {
  for (const row of unsentRecords(store, info.id)) raisePending(store, info, row);
}

function raisePending(store: Store, info: CollectionInfo, row: RecordRow): void {
  const ground = raisedGround(info, groundOf(row));
  for (const pending of pendingsOf(store, row.id)) {
    const op = getBrief(store, pending.op);
    const { change } = pending;
    if (pending.acked > 0 || op === null || isFrozen(op) || change.schema >= info.version) continue;
    const raise = (value: Fields | null): Fields | null => (value === null ? null : raised(info, value, change.schema));
    const base = fieldsOf(pending.baseValue);
    const sides = { before: raise(base), after: raise(applyChange(base, change)) };
    const next = changeBetween(info, sides, change.base) ?? { ...change, schema: info.version };
    changePending(store, pending, sides.before === null ? null : JSON.stringify(sides.before), next);
    rewriteChange(store, { op: op.seq, collection: info.name, key: row.key }, next);
  }
  const value = fieldsOf(row.value);
  const text = value === null ? null : JSON.stringify(raised(info, value, row.schema));
  saveRecord(store, row, { ...row, value: text, snapshot: ground.snapshot, schema: info.version });
}

/** Makes a pending change lead to a value that somebody decided on, from what the server has now; nothing left to send ends the operation. */
export function aimAt(
  store: Store,
  at: { readonly info: CollectionInfo; readonly row: RecordRow; readonly pending: Pending; readonly op: Brief },
  value: Fields | null,
): void {
  const { info, row, pending, op } = at;
  const ground = groundOf(row);
  const under = { value: fieldsOf(ground.snapshot), version: versionOf(info, ground) };
  const cause: Cause = { origin: "resolve", run: openRunId(store), isOurs: true };
  aim(store, { info, row, pending, under, isBehind: false, ground, cause }, op, { value, version: under.version });
  const now = getRecord(store, row.id);
  if (now !== null) replay(store, info, now, groundOf(now), cause);
}
