/**
 * Owns what a person or a program does to operations that are queued already: edit, retry, move, cancel, detach, release,
 * remove, clear, resolve. Each refuses by state with words, and none of them can lose an operation unasked.
 */
import { HoldfastError } from "../errors.ts";
import type { Json, Operation } from "../operation.ts";
import { rankOf, State, statusOf } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { Input, Output, Refusal } from "../verbs.ts";
import { payloadText } from "./enqueue.ts";
import { requireOperation } from "./find.ts";
import { record } from "./history.ts";
import { rewritePayload } from "./ids.ts";
import { resolveOperation } from "./inbox.ts";
import { followOperation } from "./landing.ts";
import { laneAfter, laneHeadOf, laneLastOf } from "./lane-rows.ts";
import {
  demoteFollowers,
  dependenciesOf,
  dependentsOf,
  detachFrom,
  dropDependencies,
  firstWaitingFor,
  hasDependents,
  leaveLane,
  liftPredecessors,
  placeAfter,
  placeBefore,
  positionGap,
  promoteLane,
  refuseCycle,
  settleInto,
} from "./lanes.ts";
import { matching, viewOperation } from "./list.ts";
import { channelFor, getChannel, wholePolicy } from "./meta.ts";
import { refuseEdit } from "./push.ts";
import type { Brief } from "./queue.ts";
import {
  briefs,
  getBrief,
  getRow,
  placeOperation,
  replacePayload,
  replaceTerms,
  resetBudget,
  selectBrief,
  setSchedule,
} from "./queue.ts";
import { relinkReferences } from "./references.ts";
import { clearAll, clearCompleted, countUnsent, dropOperation } from "./retention.ts";
import { decideConflict, giveUp } from "./settle.ts";
import type { Store } from "./store.ts";
import { apart, json } from "./store.ts";

const unsentOfGroup = `${selectBrief} WHERE grp = ? AND grp IS NOT NULL AND state < 8 ORDER BY seq`;

const isParked = (op: Brief): boolean => op.state === State.parked || op.state === State.aside;

function refuse(op: Brief, what: string, hint: string): never {
  throw new HoldfastError("refused_by_state", `operation ${op.id} is ${statusOf(op.state, op.outcome)}: ${what}`, hint);
}

function refuseSettledOrFlying(op: Brief, verb: string): void {
  if (op.state === State.done) refuse(op, `it can no longer be ${verb}`, "queue a new operation instead");
  if (op.state === State.inFlight)
    refuse(op, `it is on the wire and cannot be ${verb} now`, "wait for its answer, or cancel it after");
}

/** Applies `act` to each operation by itself; what one refuses does not stop the others. */
function each(store: Store, ids: readonly string[], act: (op: Brief) => void): { done: string[]; refused: Refusal[] } {
  const done: string[] = [];
  const refused: Refusal[] = [];
  for (const given of ids) {
    const refusal = apart(store, () => {
      const op = requireOperation(store, given);
      act(op);
      done.push(op.id);
    });
    if (refusal !== null) refused.push({ id: given, ...refusal });
  }
  return { done, refused };
}

export function editOperation(store: Store, input: Input<"queue.edit">): Operation {
  const op = requireOperation(store, input.id);
  refuseSettledOrFlying(op, "edited");
  if (input.revision !== undefined && input.revision !== op.revision) {
    throw new HoldfastError(
      "stale_revision",
      `operation ${op.id} was edited meanwhile: it has revision ${op.revision}, not ${input.revision}`,
      "read it again, then edit what it says now",
      { details: { revision: op.revision } },
    );
  }
  if (input.payload !== undefined && op.type === recordWriteType) refuseEdit(op.id);
  if (input.payload !== undefined) editPayload(store, op, input.payload as Json, input.force === true);
  editTerms(store, op, input);
  record(store, {
    op: op.seq,
    id: op.id,
    kind: "edited",
    status: statusOf(op.state, op.outcome),
    detail: { fields: changedFields(input) },
  });
  return viewOperation(store, op.seq);
}

const changedFields = (input: Input<"queue.edit">): string[] =>
  Object.keys(input).filter((field) => !["id", "revision", "force"].includes(field));

function editPayload(store: Store, op: Brief, given: Json, isForced: boolean): void {
  if (op.isUnsure && !isForced) {
    throw new HoldfastError(
      "maybe_landed",
      `an earlier attempt of operation ${op.id} may have landed; another payload could take effect a second time`,
      "check the remote first; then edit with --force, or cancel it and queue a new one",
    );
  }
  const type = store.types.get(op.type);
  const checked = type?.check === undefined ? given : type.check(given);
  const payload = rewritePayload(store, type, checked);
  const written = payloadText(payload);
  const old = getChannel(store, op.channel);
  const channel = channelFor(store, type?.remoteOf?.(payload) ?? old.remote, op.type, old.subject);
  replacePayload(store, { ...op, version: type?.version ?? 1, channel: channel.id }, written);
  // Another body under the same key would be refused by every remote that keeps receipts.
  if (op.attempts > 0 || op.isUnsure)
    resetBudget(store, op.seq, { generation: op.generation + 1, isUnsure: false, rounds: 0 });
  relinkReferences(store, op, { type, payload });
}

function editTerms(store: Store, op: Brief, input: Input<"queue.edit">): void {
  const priority = input.priority ?? op.priority;
  // It may go ahead of its own priority for the sake of what waits for it.
  const waiting = dependentsOf(store, op.seq).map((seq) => getBrief(store, seq)?.rank ?? op.rank);
  const rank = input.priority === undefined ? op.rank : Math.min(rankOf(op.seq, priority, store.ageing), ...waiting);
  const { conflict: oldConflict, notBefore: oldNotBefore, ...rest } = op.options;
  const conflict = input.conflict === undefined ? oldConflict : input.conflict;
  const notBefore = input.notBefore === undefined ? oldNotBefore : input.notBefore;
  const options = {
    ...rest,
    ...(conflict === undefined || conflict === null ? {} : { conflict }),
    ...(notBefore === undefined || notBefore === null ? {} : { notBefore }),
    ...(input.title === undefined ? {} : { title: input.title }),
    ...(input.retry === undefined ? {} : { retry: wholePolicy(store, input.retry) }),
  };
  const expires = input.expiresAt === undefined ? op.expires : input.expiresAt;
  replaceTerms(store, op.seq, { priority, rank, expires, options });
  if (priority > op.priority) liftPredecessors(store, op.seq, rank);
  if (input.notBefore !== undefined) reschedule(store, op.seq, input.notBefore ?? 0);
}

function reschedule(store: Store, seq: number, due: number): void {
  const op = getBrief(store, seq);
  if (op === null) return;
  setSchedule(store, seq, { state: op.state, reason: op.reason, due });
  if (op.state === State.ready || op.state === State.scheduled) settleInto(store, seq);
}

export function retryOperations(store: Store, input: Input<"queue.retry">): Output<"queue.retry"> {
  const filter = input.filter ?? (input.ids === undefined ? { status: ["failed" as const] } : undefined);
  const found =
    filter === undefined ? [] : matching(store, { ...filter, status: filter.status ?? ["failed"] }).map((op) => op.id);
  return each(store, [...(input.ids ?? []), ...found], (op) => retryOne(store, op));
}

function retryOne(store: Store, op: Brief): void {
  if (op.state === State.done) refuse(op, "there is nothing left to try", "queue a new operation instead");
  if (op.state === State.inFlight) refuse(op, "it is being tried right now", "wait for its answer");
  if (op.state === State.draft) refuse(op, "it was never submitted", "submit it: `holdfast queue release`");
  if (op.state === State.waiting || op.state === State.held) {
    refuse(op, "it waits for something else", "see `holdfast queue why` for what it waits for");
  }
  // A definite refusal is kept by remotes with receipts; only a fresh key makes them look again. All else keeps its key.
  // A skipped operation comes back in front of its lane; what it was edited to wait for must not stand behind it.
  if (op.state === State.aside) refuseCycle(store, { ...op, state: State.waiting });
  const isDefinite = op.reason === "rejected" || op.reason === "conflict";
  const generation = op.generation + (isDefinite && !op.isUnsure ? 1 : 0);
  resetBudget(store, op.seq, { generation, isUnsure: op.isUnsure, rounds: 0 });
  setSchedule(store, op.seq, { state: State.waiting, reason: "lane", due: 0 });
  settleInto(store, op.seq);
  if (op.type === recordWriteType) followOperation(store, op);
  record(store, { op: op.seq, id: op.id, kind: "retried", status: "pending", detail: { from: op.reason } });
}

export function moveOperation(store: Store, input: Input<"queue.move">): Operation {
  const op = requireOperation(store, input.id);
  refuseSettledOrFlying(op, "moved");
  const anchor = input.before ?? input.after;
  const beside = anchor === undefined ? null : requireOperation(store, anchor);
  const lane = beside?.lane ?? (input.lane === undefined ? op.lane : (input.lane ?? ""));
  if (beside !== null && (beside.lane === "" || beside.state >= State.aside)) {
    refuse(beside, "it stands in no lane, so nothing can be put beside it", "name an operation that waits in a lane");
  }
  if (op.group !== null && lane !== op.lane)
    refuse(op, `it belongs to the group "${op.group}", which stays in one lane`, "move it within its lane");
  const place =
    lane === ""
      ? op.position
      : findPlace(store, lane, { op, beside, isBefore: input.before !== undefined, to: input.to ?? "last" });
  placeOperation(store, op.seq, lane, place);
  const moved = getBrief(store, op.seq);
  if (moved !== null) refuseCycle(store, moved);
  if (moved !== null && moved.state <= State.held) settleInto(store, op.seq);
  // A parked operation holds the lane that it is moved into, from its new place on.
  if (moved?.state === State.parked) demoteFollowers(store, moved);
  if (op.lane !== lane) leaveLane(store, op);
  else promoteLane(store, lane);
  record(store, {
    op: op.seq,
    id: op.id,
    kind: "moved",
    status: statusOf(op.state, op.outcome),
    detail: { lane: lane || null },
  });
  return viewOperation(store, op.seq);
}

type Wish = {
  readonly op: Brief;
  readonly beside: Brief | null;
  readonly isBefore: boolean;
  readonly to: "first" | "last";
};

/** Where an operation goes that is moved. */
function findPlace(store: Store, lane: string, wish: Wish): number {
  const { op, beside } = wish;
  if (beside === null && wish.to === "last") {
    const last = laneLastOf(store, lane);
    return last === null || last.seq === op.seq ? Math.max(op.position, 1) : last.position + positionGap;
  }
  const second = beside ?? laneHeadOf(store, lane);
  if (second === null || second.seq === op.seq) return op.position;
  if (wish.isBefore || beside === null) {
    refuseBeforeFlying(second);
    return placeBefore(store, lane, second.position);
  }
  const [next] = laneAfter(store, lane, second.position, 1);
  if (next !== undefined) refuseBeforeFlying(next);
  return placeAfter(store, lane, second.position);
}

function refuseBeforeFlying(op: Brief): void {
  if (op.state === State.inFlight) refuse(op, "it is on the wire, so nothing can go before it", "wait for its answer");
}

export function cancelOperations(store: Store, input: Input<"queue.cancel">): Output<"queue.cancel"> {
  const open = new Set<string>();
  each(store, input.ids, (op) => void (op.state === State.done || open.add(op.id)));
  // A member of a group or a dependent may have been cancelled by an earlier id of the same request.
  const isCancelled = (op: Brief): boolean => op.outcome === "cancelled" && open.has(op.id);
  return each(store, input.ids, (op) => isCancelled(op) || cancelOne(store, op, input.dependents ?? "hold"));
}

function cancelOne(store: Store, op: Brief, dependents: "hold" | "cancel" | "detach"): void {
  refuseSettledOrFlying(op, "cancelled");
  const members = op.group === null ? [op] : briefs(store.db.prepare(unsentOfGroup).all(op.group));
  const flying = members.find((member) => member.state === State.inFlight);
  if (flying !== undefined)
    refuse(flying, "a member of the group is on the wire", "wait for its answer, then cancel the rest");
  for (const member of members) {
    // It may depend on one before it, and be cancelled with that already.
    if (getBrief(store, member.seq)?.state === State.done) continue;
    const children = dependentsOf(store, member.seq);
    giveUp(store, member, { outcome: "cancelled", detail: { by: "request", group: op.group } });
    if (dependents !== "hold") treatDependents(store, member, { children, isCancelled: dependents === "cancel" });
  }
}

function treatDependents(
  store: Store,
  op: Brief,
  how: { readonly children: readonly number[]; readonly isCancelled: boolean },
): void {
  for (const seq of how.children) {
    const child = getBrief(store, seq);
    if (child === null || child.state === State.done) continue;
    if (how.isCancelled) cancelOne(store, child, "cancel");
    else detachFrom(store, op.seq, seq);
  }
}

export function detachOperation(store: Store, input: Input<"queue.detach">): Operation {
  const op = requireOperation(store, input.id);
  refuseSettledOrFlying(op, "detached");
  const from = input.from?.map((given) => requireOperation(store, given).seq) ?? dependenciesOf(store, op.seq);
  const freed = from.filter((needs) => detachFrom(store, needs, op.seq));
  if (freed.length === 0) refuse(op, "it depends on none of these", "see `holdfast queue why` for what it waits for");
  const ids = freed.map((needs) => getBrief(store, needs)?.id ?? null);
  record(store, { op: op.seq, id: op.id, kind: "detached", status: "pending", detail: { from: ids } });
  return viewOperation(store, op.seq);
}

export function releaseDrafts(store: Store, input: Input<"queue.release">): Output<"queue.release"> {
  return each(store, input.ids, (op) => {
    if (op.state !== State.draft)
      refuse(op, "only drafts are submitted", "see `holdfast queue why` for what it waits for");
    const place = op.lane === "" ? op.position : placeOfReleased(store, op);
    placeOperation(store, op.seq, op.lane, place);
    refuseCycle(store, { ...op, state: State.waiting, position: place });
    settleInto(store, op.seq);
    if (op.priority > 0) liftPredecessors(store, op.seq, op.rank);
    record(store, { op: op.seq, id: op.id, kind: "released", status: "pending", detail: null });
  });
}

/** A draft goes to the end of its lane, or in front of the first that waits for it there: behind that it would wait for ever. */
function placeOfReleased(store: Store, op: Brief): number {
  const waiting = firstWaitingFor(store, op);
  if (waiting !== null) return placeBefore(store, op.lane, waiting.position);
  const last = laneLastOf(store, op.lane);
  return last === null ? op.position : Math.max(op.position, last.position + positionGap);
}

export function removeOperations(store: Store, input: Input<"queue.remove">): Output<"queue.remove"> {
  return each(store, input.ids, (op) => {
    if (op.state === State.inFlight) refuse(op, "it is on the wire", "wait for its answer");
    if (op.state !== State.done && input.confirm !== true) {
      throw new HoldfastError(
        "confirmation_needed",
        `operation ${op.id} is unsent; removing it loses it`,
        "export it first (`holdfast queue export`), or confirm with --yes; `queue cancel` keeps it visible",
      );
    }
    if (hasDependents(store, op.seq)) refuse(op, "others wait for it", "detach or cancel those first");
    if (op.state !== State.done) {
      setSchedule(store, op.seq, { state: State.draft, reason: null, due: 0 });
      dropDependencies(store, op.seq);
      leaveLane(store, op);
    }
    dropOperation(store, op);
    record(store, {
      op: 0,
      id: op.id,
      kind: "removed",
      status: null,
      detail: { status: statusOf(op.state, op.outcome) },
    });
  });
}

export function clearOperations(store: Store, input: Input<"queue.clear">): Output<"queue.clear"> {
  if (input.scope === "completed") return { removed: clearCompleted(store), unsent: 0 };
  const unsent = countUnsent(store);
  if (unsent > 0 && input.confirm !== unsent) {
    throw new HoldfastError(
      "confirmation_needed",
      `${unsent} unsent ${unsent === 1 ? "operation" : "operations"} would be lost`,
      "export them first (`holdfast queue export`), then confirm that number",
      { details: { unsent } },
    );
  }
  return { removed: clearAll(store), unsent };
}

export function resolveConflicts(store: Store, input: Input<"queue.resolve">): Output<"queue.resolve"> {
  if (input.choose === "merge" && (input.payload === undefined || input.ids.length > 1)) {
    throw new HoldfastError(
      "invalid_input",
      "a merge needs the merged payload and exactly one id",
      "give payload, or choose local or remote",
    );
  }
  return each(store, input.ids, (op) => {
    if (op.type === recordWriteType && resolveOperation(store, op, input)) return;
    if (!isParked(op) || op.reason !== "conflict") refuse(op, "it is not in conflict", "see `holdfast queue why`");
    const remote = json(getRow(store, op.seq), "remote_version");
    const type = store.types.get(op.type);
    const payload =
      input.payload === undefined ? undefined : (type?.check?.(input.payload as Json) ?? (input.payload as Json));
    const strategy = input.choose === "remote" ? "remote_wins" : "local_wins";
    decideConflict(store, { ...op, rounds: -1 }, strategy, {
      problem: null,
      remote,
      settled: null,
      ...(payload === undefined ? {} : { payload }),
    });
  });
}
