/**
 * Owns what happens when an operation is queued: checks, limits, deduplication, references, dependencies, its place.
 * When this returns and the transaction commits, the operation is ours to deliver. How it is sent is `claim.ts` and `settle.ts`.
 */
import { assert, HoldfastError } from "../errors.ts";
import type { Json, Reason } from "../operation.ts";
import { rankOf, State, statusOf, textBytes } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import { limits } from "../shapes.ts";
import type { AddInput, Receipt } from "../verbs.ts";
import type { OperationType } from "../world.ts";
import { adoptWrite } from "./adopting.ts";
import { requireOperation } from "./find.ts";
import { isLanePaused } from "./gates.ts";
import { record } from "./history.ts";
import { addReference, declareLocalId, mentionsIn, rewritePayload } from "./ids.ts";
import { laneHeadOf } from "./lane-rows.ts";
import { addDependency, liftPredecessors, positionGap, settleInto } from "./lanes.ts";
import { channelFor, getChannel, wholePolicy } from "./meta.ts";
import { readOutset } from "./outset.ts";
import type { Brief, Options } from "./queue.ts";
import {
  briefs,
  findById,
  getBrief,
  getRow,
  insertOperation,
  replacePayload,
  replaceTerms,
  selectBrief,
  setDedupe,
} from "./queue.ts";
import { adoptDependents, adoptReferrers, creatorsOf, relinkReferences } from "./references.ts";
import { makeRoom } from "./retention.ts";
import { giveUp } from "./settle.ts";
import type { Store } from "./store.ts";
import { takeSequence, text } from "./store.ts";

const openDedupe = `${selectBrief} WHERE dedupe = ? AND dedupe IS NOT NULL AND state < 8 ORDER BY seq`;
const groupLane = "SELECT lane FROM op WHERE grp = ? AND grp IS NOT NULL ORDER BY seq LIMIT 1";

/** The parts of a new operation that do not depend on what is queued. */
export type Prepared = {
  readonly input: AddInput;
  readonly type: OperationType | undefined;
  readonly payload: Json;
  readonly lane: string;
  readonly remote: string;
};

/** Queues one operation, or finds the one that was queued before under the same id or deduplication key. */
export function addOperation(store: Store, input: AddInput, needed?: readonly Brief[]): Receipt {
  // Changes of records that come from outside are replayed here, too; `writes.ts` comes back with what they wait for.
  if (input.type === recordWriteType && needed === undefined) return adoptWrite(store, input);
  readOutset(store);
  const prepared = prepare(store, input, needed !== undefined);
  if (input.id !== undefined) {
    const known = findById(store, input.id);
    if (known !== null) return repeated(store, known, prepared);
  }
  const open = input.dedupe === undefined ? [] : openUnder(store, input.dedupe.key, input.subject ?? "");
  const first = open[0];
  if (input.dedupe?.mode === "keep-first" && first !== undefined) return receiptOf(first, false, null);
  const waiting = open.find((op) => op.state !== State.inFlight);
  if (input.dedupe?.mode === "replace-pending" && waiting !== undefined)
    return replacePending(store, waiting, prepared);
  return insertNew(store, prepared, { needed });
}

/** Unsent operations of one subject under a deduplication key: nobody's write may be swallowed by another's. */
function openUnder(store: Store, key: string, subject: string): readonly Brief[] {
  return briefs(store.db.prepare(openDedupe).all(key)).filter(
    (op) => getChannel(store, op.channel).subject === subject,
  );
}

export function prepare(store: Store, input: AddInput, isChecked = false): Prepared {
  const type = store.types.get(input.type);
  const checked = isChecked || type?.check === undefined ? (input.payload as Json) : type.check(input.payload as Json);
  const payload = rewritePayload(store, type, checked);
  const own = typeof type?.lane === "function" ? type.lane(payload) : (type?.lane ?? null);
  const given = input.lane === undefined ? own : input.lane;
  const remote = input.remote ?? type?.remoteOf?.(payload) ?? "";
  return { input, type, payload, lane: laneOf(store, input, given), remote };
}

/** A group is one lane: its members go in order, and a refused member holds the rest. */
function laneOf(store: Store, input: AddInput, lane: string | null): string {
  if (input.group === undefined) return lane ?? "";
  const known = store.db.prepare(groupLane).get(input.group);
  const expected = known === undefined ? (lane ?? `group:${input.group}`) : text(known.lane);
  if (lane !== null && lane !== expected) {
    throw new HoldfastError(
      "invalid_input",
      `the group "${input.group}" goes through lane "${expected}", not "${lane}"`,
      "leave the lane out, or give all members the same one",
    );
  }
  return expected;
}

function repeated(store: Store, known: Brief, prepared: Prepared): Receipt {
  const row = getRow(store, known.seq);
  const isSame = known.type === prepared.input.type && text(row.payload) === JSON.stringify(prepared.payload);
  // A payload may have been edited or rewritten since, so only an untouched one can prove a clash.
  if (!isSame && known.revision === 0 && prepared.input.id !== undefined) {
    throw new HoldfastError(
      "refused_by_state",
      `operation ${known.id} exists already with another payload`,
      "mint a fresh id for each operation; repeat an enqueue only unchanged",
    );
  }
  return receiptOf(known, false, null);
}

/** Replaces what has never been sent in place; what was tried before makes way for a fresh operation with a fresh key. */
function replacePending(store: Store, old: Brief, prepared: Prepared): Receipt {
  const isUntouched =
    old.attempts === 0 &&
    !old.isUnsure &&
    old.type === prepared.input.type &&
    old.state !== State.parked &&
    old.state !== State.aside;
  if (!isUntouched) {
    setDedupe(store, old.seq, null);
    const receipt = insertNew(store, prepared, { inPlaceOf: old });
    adoptDependents(store, { from: old, to: receipt.sequence });
    giveUp(store, old, { outcome: "replaced", detail: { by: receipt.id } });
    return takeTurn(store, receipt);
  }
  const payload = payloadText(prepared.payload);
  const channel = channelFor(store, prepared.remote, old.type, prepared.input.subject ?? "");
  replacePayload(store, { ...old, version: prepared.type?.version ?? 1, channel: channel.id }, payload);
  relinkReferences(store, old, prepared);
  describeAnew(store, old, prepared);
  record(store, {
    op: old.seq,
    id: old.id,
    kind: "edited",
    status: statusOf(old.state, null),
    detail: { by: "replace-pending" },
  });
  const now = getBrief(store, old.seq);
  assert(now !== null, "a replaced operation is still there");
  return receiptOf(now, false, null);
}

/** What describes the payload comes with it: title, retries, what a failure and a conflict do, expiry. What gives it its place stays. */
function describeAnew(store: Store, old: Brief, prepared: Prepared): void {
  const { after, notBefore } = old.options;
  const { notBefore: _place, ...described } = optionsOf(store, prepared, []);
  const options = {
    ...(after === undefined ? {} : { after }),
    ...described,
    ...(old.group === null ? {} : { onFailure: "hold" as const }),
    ...(notBefore === undefined ? {} : { notBefore }),
  };
  const expires = prepared.input.expiresAt ?? null;
  if (expires === old.expires && JSON.stringify(options) === JSON.stringify(old.options)) return;
  const { priority, rank } = getBrief(store, old.seq) ?? old;
  replaceTerms(store, old.seq, { priority, rank, expires, options });
}

/** It stands where the old one stood, so it takes the turn of whatever follows there. */
function takeTurn(store: Store, receipt: Receipt): Receipt {
  if (receipt.status !== "draft") settleInto(store, receipt.sequence);
  const now = getBrief(store, receipt.sequence);
  return now === null ? receipt : receiptOf(now, true, receipt.warning);
}

type Among = { readonly inPlaceOf?: Brief; readonly needed?: readonly Brief[] | undefined };

export function insertNew(store: Store, prepared: Prepared, { inPlaceOf, needed = [] }: Among = {}): Receipt {
  const { input, type } = prepared;
  const { written: payload, bytes } = weighPayload(prepared.payload);
  const warning = makeRoom(store, bytes);
  const needs = [...findNeeds(store, input), ...needed];
  const mentions = mentionsIn(store, type, prepared.payload).filter((alias) => alias.server === null);
  const seq = takeSequence(store);
  const id = input.id ?? store.world.newId();
  const priority = input.priority ?? type?.priority ?? 0;
  const now = store.world.now();
  const due = input.notBefore ?? 0;
  const channel = channelFor(store, prepared.remote, input.type, input.subject ?? "");
  const creators = creatorsOf(store, mentions, seq);
  const waitsFor =
    needs.length + creators.length === 0 ? [] : [...new Set([...needs.map(({ seq }) => seq), ...creators])];
  const place = firstPlace(store, {
    lane: prepared.lane,
    waits: waitsFor.length,
    due,
    isDraft: input.isDraft === true,
  });
  insertOperation(store, {
    seq,
    id,
    type: input.type,
    version: type?.version ?? 1,
    channel: channel.id,
    lane: prepared.lane,
    // Behind everything: what makes a place further back takes a number of the same sequence.
    position: inPlaceOf !== undefined && inPlaceOf.lane === prepared.lane ? inPlaceOf.position + 1 : seq * positionGap,
    priority,
    rank: rankOf(seq, priority, store.ageing),
    // Named one by one: a spread in the middle of a literal costs as much as the whole row does to SQLite.
    state: place.state,
    reason: place.reason,
    waits: waitsFor.length,
    due,
    now,
    created: now,
    expires: input.expiresAt ?? null,
    dedupe: input.dedupe?.key ?? null,
    grp: input.group ?? null,
    generation: 0,
    creates: input.creates ?? null,
    options: JSON.stringify(optionsOf(store, prepared, needs)),
    payload,
    bytes,
  });
  for (const need of waitsFor) addDependency(store, need, seq);
  for (const alias of mentions) addReference(store, alias.local, seq);
  if (input.creates !== undefined) {
    const former = declareLocalId(store, input.creates, {
      seq,
      id,
      isFree: (other) => other === inPlaceOf?.seq || isGone(store, other),
    });
    if (former !== null) adoptReferrers(store, input.creates, { from: former, to: seq });
  }
  if (priority > 0 && place.state === State.waiting) liftPredecessors(store, seq, rankOf(seq, priority, store.ageing));
  return { id, sequence: seq, status: statusOf(place.state, null), reason: place.reason, isNew: true, warning };
}

function firstPlace(
  store: Store,
  op: { readonly lane: string; readonly waits: number; readonly due: number; readonly isDraft: boolean },
): { readonly state: State; readonly reason: Reason | null } {
  if (op.isDraft) return { state: State.draft, reason: null };
  if (op.lane !== "" && laneHeadOf(store, op.lane) !== null) return { state: State.waiting, reason: "lane" };
  if (op.waits > 0) return { state: State.waiting, reason: "dependency" };
  if (op.lane !== "" && isLanePaused(store, op.lane)) return { state: State.held, reason: "paused" };
  if (op.due > store.world.now()) return { state: State.scheduled, reason: "schedule" };
  return { state: State.ready, reason: null };
}

/** Operations named in `after` that have not landed yet. One that never will is refused, because nothing could ever follow it. */
function findNeeds(store: Store, input: AddInput): readonly Brief[] {
  return (input.after ?? [])
    .map((given) => requireOperation(store, given))
    .filter((need) => {
      if (need.state !== State.done) return true;
      if (statusOf(need.state, need.outcome) === "completed") return false;
      throw new HoldfastError(
        "refused_by_state",
        `operation ${need.id} was ${need.outcome ?? "given up"}, so nothing can follow it`,
        "leave it out of `after`, or queue it again first",
      );
    });
}

export function optionsOf(store: Store, { input, type }: Prepared, needs: readonly Brief[]): Options {
  const onFailure = input.group === undefined ? (input.onFailure ?? type?.onFailure) : "hold";
  const onCrash = input.onCrash ?? type?.onCrash;
  const options: { -readonly [K in keyof Options]: Options[K] } = {};
  if (needs.length > 0) options.after = needs.map((need) => need.id);
  if (input.retry !== undefined) options.retry = wholePolicy(store, input.retry);
  if (onFailure !== undefined) options.onFailure = onFailure;
  if (onCrash !== undefined) options.onCrash = onCrash;
  // The type's own strategy is looked up when it counts, so that one set at run time can go before it.
  if (input.conflict !== undefined) options.conflict = input.conflict;
  if (input.title !== undefined) options.title = input.title;
  if (input.notBefore !== undefined) options.notBefore = input.notBefore;
  return options;
}

/** The text that is stored, sent and hashed. */
export function payloadText(payload: Json): string {
  return weighPayload(payload).written;
}

export function weighPayload(payload: Json): { readonly written: string; readonly bytes: number } {
  const written = JSON.stringify(payload);
  const bytes = textBytes(written);
  if (bytes > limits.payloadBytes) {
    throw new HoldfastError(
      "payload_too_large",
      `the payload has ${bytes} bytes; ${limits.payloadBytes} are allowed`,
      "send big content as a file: `holdfast upload`, or a request body from a file",
      { details: { bytes, limit: limits.payloadBytes } },
    );
  }
  return { written, bytes };
}

function isGone(store: Store, seq: number): boolean {
  const op = getBrief(store, seq);
  return op === null || (op.state === State.done && statusOf(op.state, op.outcome) !== "completed");
}

function receiptOf(op: Brief, isNew: boolean, warning: string | null): Receipt {
  return { id: op.id, sequence: op.seq, status: statusOf(op.state, op.outcome), reason: op.reason, isNew, warning };
}
