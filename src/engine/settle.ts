/**
 * Owns what an answer does to an operation: done, tried again, parked, or a conflict decided by its strategy.
 * Everything that follows from an answer (ids rewritten, dependents released, lane promoted) commits with it or not at all.
 */
import { unreachable } from "../errors.ts";
import type { Answer, Json, Operation, Outcome, Problem, Reason, Status, Strategy } from "../operation.ts";
import { State, statusOf } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import { retryDelayMs } from "../retry.ts";
import { historyChanged } from "../wire.ts";
import { comparable, settleRecords } from "./answers.ts";
import { acceptCredentials, authRetryMs, readGates, refuseCredentials } from "./gates.ts";
import { record } from "./history.ts";
import { dropReferencesOf, referrersOf, rewritePayload, settleLocalId, unnamedBy } from "./ids.ts";
import { dropChanges, followOperation, landRecords } from "./landing.ts";
import { laneJustBefore } from "./lane-rows.ts";
import { dropDependencies, leaveLane, promoteLane, releaseDependents, settleInto } from "./lanes.ts";
import { channelFor, getChannel, getSettings, policyOf } from "./meta.ts";
import { toOperation } from "./operations.ts";
import type { Brief } from "./queue.ts";
import {
  failOperation,
  finishLeased,
  finishOperation,
  getBrief,
  getRow,
  replacePayload,
  resetBudget,
  setSchedule,
} from "./queue.ts";
import { nameMentions } from "./renaming.ts";
import { isGenuine } from "./row-hash.ts";
import type { Store } from "./store.ts";
import { integer, json, text } from "./store.ts";
import { countInRun } from "./sync.ts";

/** How often `local_wins` and `merge` send again by themselves before a person is asked. */
export const conflictRounds = 3;

/** A retry that the remote asked for never waits longer than this. */
export const longestPaceMs = 86_400_000;

/** A shorter wait than this is none. */
const leastPaceMs = 100;

export type Settled = {
  readonly seq: number;
  readonly epoch: number;
  /** As it was claimed; what of it may change on the wire is read again. */
  readonly operation?: Operation;
  readonly answer: Answer;
  readonly startedAt: number;
};

/**
 * Books one answer. An answer that comes under a lease that was lost meanwhile changes nothing: another process has the
 * operation, and its key makes the repetition harmless.
 */
export function settle(store: Store, settled: Settled): void {
  if (landAlone(store, settled)) return;
  const op = getBrief(store, settled.seq);
  if (op === null || op.state !== State.inFlight || op.lease !== settled.epoch) {
    if (op !== null)
      record(store, { op: op.seq, id: op.id, kind: "attempt", status: null, detail: lateDetail(settled) });
    return;
  }
  const answer = op.type === recordWriteType ? comparable(store, op, settled.answer) : settled.answer;
  noteCredentials(store, op, answer);
  if (op.type === recordWriteType && settleRecords(store, op, { ...settled, answer })) return;
  switch (answer.kind) {
    case "applied":
    case "duplicate":
      land(store, op, { ...settled, answer });
      break;
    case "rejected":
      park(store, op, {
        reason: "rejected",
        problem: answer.problem,
        isUnsure: answer.mayHaveLanded === true,
        settled,
      });
      break;
    case "conflict":
      meetConflict(store, op, { problem: answer.problem, remote: answer.remote ?? null, settled });
      break;
    case "retry":
      tryAgain(store, op, { ...settled, answer });
      break;
    case "auth":
      holdForCredentials(store, op, { ...settled, answer });
      break;
    case "unknown":
      tryUnknown(store, op, { ...settled, answer });
      break;
    default:
      unreachable(answer);
  }
}

type Landed = Pick<Brief, "seq" | "id" | "channel" | "attempts">;

/** Most answers are a yes to something that stands in no lane: nothing of its row has to be read. Tells whether this is one. */
function landAlone(store: Store, settled: Settled): boolean {
  const { operation, answer, seq } = settled;
  if (answer.kind !== "applied" && answer.kind !== "duplicate") return false;
  const { serverId = null } = answer;
  if (operation === undefined || operation.lane !== null || operation.type === recordWriteType) return false;
  const channel = finishLeased(store, settled, { outcome: answer.kind, result: answer.result ?? null });
  if (channel === null) return false;
  const op = { seq, id: operation.id, channel, attempts: operation.attempts };
  noteCredentials(store, op, answer);
  note(store, op, { kind: "settled", settled, next: answer.kind, status: statusOf(State.done, answer.kind) });
  countInRun(store, "succeeded", op, null);
  nameCreated(store, op, serverId);
  dropReferencesOf(store, seq);
  releaseDependents(store, seq);
  return true;
}

function land(
  store: Store,
  op: Brief,
  settled: Settled & { readonly answer: Extract<Answer, { kind: "applied" | "duplicate" }> },
): void {
  const { answer } = settled;
  finishOperation(store, op, { outcome: answer.kind, result: answer.result ?? null, problem: null });
  note(store, op, { kind: "settled", settled, next: answer.kind, status: statusOf(State.done, answer.kind) });
  countInRun(store, "succeeded", op, null);
  if (op.type === recordWriteType) landRecords(store, op, answer.result ?? null);
  nameCreated(store, op, answer.serverId ?? null);
  release(store, op);
}

/** Nothing is left to send: the remote has what the operation wanted, or its own version won. */
export function supersede(store: Store, op: Brief, result: Json): void {
  // What led here may have freed the operation already; the counters want the state that it has now.
  finishOperation(store, getBrief(store, op.seq) ?? op, { outcome: "superseded", result, problem: null });
  note(store, op, { kind: "settled", settled: null, next: "superseded" });
  countInRun(store, "succeeded", op, null);
  nameCreated(store, op, null);
  release(store, op);
}

/** An operation has landed: its references are done, its dependents may go, its lane moves on. */
function release(store: Store, op: Brief): void {
  dropReferencesOf(store, op.seq);
  releaseDependents(store, op.seq);
  leaveLane(store, op);
}

/** Writes the server's id into everything that mentions the local one; without an id, what mentions it is parked with the reason. */
function nameCreated(store: Store, op: Landed, serverId: string | null): void {
  for (const local of unnamedBy(store, op.seq)) {
    if (serverId !== null) {
      nameMentions(store, local, serverId);
      continue;
    }
    for (const seq of referrersOf(store, local)) {
      const referrer = getBrief(store, seq);
      if (referrer !== null) parkUnnamed(store, referrer, local);
    }
  }
}

/**
 * Rewrites a local id to the server's in all that is queued, in the transaction that makes it known, and lets go what was parked
 * for want of it. Returns how many changed.
 */
export function assignServerId(store: Store, local: string, server: string): number {
  const referrers = referrersOf(store, local);
  settleLocalId(store, local, server);
  for (const seq of referrers) {
    rewriteRow(store, seq);
    if (getBrief(store, seq)?.reason !== "no_server_id") continue;
    setSchedule(store, seq, { state: State.waiting, reason: "lane", due: 0 });
    settleInto(store, seq);
  }
  return referrers.length;
}

function rewriteRow(store: Store, seq: number): void {
  const row = getRow(store, seq);
  // What storage has changed is parked when its turn comes; a fresh hash would make it pass for genuine.
  if (!isGenuine(store, row)) return;
  const typeName = text(row.type);
  const type = store.types.get(typeName);
  const payload = rewritePayload(store, type, json(row, "payload"));
  const old = getChannel(store, integer(row.channel));
  const remote = type?.remoteOf?.(payload) ?? old.remote;
  const channel = remote === old.remote ? old : channelFor(store, remote, old.type, old.subject);
  replacePayload(store, { seq, version: integer(row.version), channel: channel.id }, JSON.stringify(payload));
}

function parkUnnamed(store: Store, op: Brief, local: string): void {
  if (op.state === State.done || op.state === State.inFlight) return;
  const problem: Problem = {
    code: "no_server_id",
    message: `it mentions "${local}", and the answer that created it named no id`,
    hint: `give the id by hand: \`holdfast ids assign ${local} <server id>\``,
  };
  park(store, op, { reason: "no_server_id", problem, isUnsure: op.isUnsure, settled: null });
}

const kept = (op: Brief) => ({ failures: op.failures, streak: op.streak, isUnsure: op.isUnsure });

type Parking = {
  readonly reason: Reason;
  readonly problem: Problem;
  readonly isUnsure: boolean;
  readonly remote?: Json;
  readonly failures?: number;
  readonly settled: Settled | null;
};

/** Parks an operation with its reason. It blocks its lane only where it was declared so, and its dependents; nothing else. */
export function park(store: Store, op: Brief, parking: Parking): void {
  const isSkipped = op.options.onFailure === "skip";
  failOperation(store, op.seq, {
    state: isSkipped ? State.aside : State.parked,
    reason: parking.reason,
    due: 0,
    failures: parking.failures ?? op.failures,
    streak: op.streak + 1,
    isUnsure: parking.isUnsure,
    problem: parking.problem,
    remoteVersion: parking.remote ?? null,
  });
  note(store, op, { kind: "parked", settled: parking.settled, next: parking.reason, problem: parking.problem });
  countInRun(store, parking.reason === "conflict" ? "conflicts" : "failed", op, parking.problem.message);
  if (isSkipped) leaveLane(store, op);
  else promoteLane(store, op.lane);
  if (op.type === recordWriteType) followOperation(store, op);
}

function tryAgain(
  store: Store,
  op: Brief,
  settled: Settled & { readonly answer: Extract<Answer, { kind: "retry" }> },
): void {
  const { answer } = settled;
  const policy = policyOf(store, op.type, op.options.retry ?? null);
  const failures = op.failures + (answer.isCharged ? 1 : 0);
  if (answer.isCharged && failures >= policy.maxAttempts) {
    const problem = givenUp(answer.problem, failures);
    park(store, op, { reason: "gave_up", problem, isUnsure: true, failures, settled });
    return;
  }
  const asked = Math.min(answer.afterMs ?? 0, longestPaceMs);
  // Who asks for no wait, by a zero or a date that is over, may ask for it for ever: then our own delay holds, which grows.
  const delay = asked < leastPaceMs ? retryDelayMs(policy, op.streak + 1, store.world.random()) : asked;
  const reason = answer.afterMs === undefined ? "retry" : "paced";
  // A remote that paces everybody has turned the request away; one that failed may have failed after the effect.
  const isTurnedAway = answer.scope === "remote" || answer.problem.code === historyChanged;
  const isUnsure = op.isUnsure || !isTurnedAway;
  putBack(store, op, { delay, reason, failures, isUnsure, problem: answer.problem, settled });
}

/** A hint that promises the next attempt holds no more when there will be none. */
function givenUp(problem: Problem, failures: number): Problem {
  const { message, hint } = problem;
  const next = "`holdfast queue retry` tries it again";
  return {
    ...problem,
    message: `gave up after ${failures} ${failures === 1 ? "attempt" : "attempts"}: ${message}`,
    hint: hint === undefined || /\bby itself\b/.test(hint) ? next : `${hint}; ${next}`,
  };
}

/** No answer costs nothing: the remote's reachability is judged apart, and the same key goes out again. */
function tryUnknown(
  store: Store,
  op: Brief,
  settled: Settled & { readonly answer: Extract<Answer, { kind: "unknown" }> },
): void {
  const { answer } = settled;
  const policy = policyOf(store, op.type, op.options.retry ?? null);
  const delay = answer.problem.code === "stopped" ? 0 : retryDelayMs(policy, op.streak + 1, store.world.random());
  const isUnsure = op.isUnsure || answer.mayHaveLanded;
  if (op.options.onCrash === "ask" && answer.mayHaveLanded) {
    // A stop and a lost answer leave the same doubt as a crash: what must never repeat asks.
    park(store, op, { reason: "unsure", problem: answer.problem, isUnsure, settled });
    return;
  }
  putBack(store, op, { delay, reason: "network", failures: op.failures, isUnsure, problem: answer.problem, settled });
}

type PutBack = {
  readonly delay: number;
  readonly reason: Reason;
  readonly failures: number;
  readonly isUnsure: boolean;
  readonly problem: Problem;
  readonly settled: Settled;
};

/** An operation waits for its next attempt. It keeps its place: a retry holds its lane. */
function putBack(store: Store, op: Brief, back: PutBack): void {
  const due = store.world.now() + back.delay;
  const isBehind = op.lane !== "" && laneJustBefore(store, op.lane, op.position) !== null;
  const isStopped = back.problem.code === "stopped";
  failOperation(store, op.seq, {
    state: isBehind ? State.waiting : back.delay === 0 ? State.ready : State.scheduled,
    reason: isBehind ? "lane" : back.reason,
    due: back.delay === 0 ? 0 : due,
    failures: back.failures,
    streak: isStopped || isBehind ? op.streak : op.streak + 1,
    isUnsure: back.isUnsure,
    problem: back.problem,
    remoteVersion: null,
  });
  if (isBehind) promoteLane(store, op.lane);
  else if (back.delay === 0) settleInto(store, op.seq);
  note(store, op, { kind: "attempt", settled: back.settled, next: back.reason, problem: back.problem, nextAt: due });
}

/** 401 pauses the subject's operations for that remote; the attempt is not charged and the operation keeps its place. */
function holdForCredentials(
  store: Store,
  op: Brief,
  settled: Settled & { readonly answer: Extract<Answer, { kind: "auth" }> },
): void {
  const { problem, mayHaveLanded } = settled.answer;
  const isUnsure = op.isUnsure || mayHaveLanded === true;
  // Without a status it was not the remote that refused: a credential of that name is missing here, which concerns this operation alone.
  if (problem.status === undefined) {
    const delay = Math.min(authRetryMs.first * 2 ** op.streak, authRetryMs.most);
    putBack(store, op, { delay, reason: "auth", failures: op.failures, isUnsure, problem, settled });
    return;
  }
  const channel = getChannel(store, op.channel);
  if (refuseCredentials(store, channel, problem)) {
    const detail = { subject: channel.subject, remote: channel.remote, state: "refused", message: problem.message };
    record(store, { op: 0, id: null, kind: "subject", status: null, detail });
  }
  failOperation(store, op.seq, {
    ...kept(op),
    state: State.waiting,
    reason: "lane",
    due: 0,
    isUnsure,
    problem,
    remoteVersion: null,
  });
  settleInto(store, op.seq);
  note(store, op, { kind: "attempt", settled, next: "auth", problem });
}

function noteCredentials(store: Store, op: Landed, answer: Answer): void {
  if (answer.kind === "auth" || answer.kind === "unknown") return;
  const gates = readGates(store);
  if (gates.auth.length === 0) return;
  const channel = getChannel(store, op.channel);
  if (acceptCredentials(store, channel.subject, channel.remote)) {
    const detail = { subject: channel.subject, remote: channel.remote, state: "accepted" };
    record(store, { op: 0, id: null, kind: "subject", status: null, detail });
  }
}

type Meeting = { readonly problem: Problem; readonly remote: Json; readonly settled: Settled };

function meetConflict(store: Store, op: Brief, meeting: Meeting): void {
  const settings = getSettings(store);
  const type = store.types.get(op.type);
  const strategy = op.options.conflict ?? settings.conflictByType[op.type] ?? type?.conflict ?? settings.conflict;
  // A conflict that comes back after every round is one that no rule settles: a person decides.
  const chosen: Strategy = op.rounds >= conflictRounds && strategy !== "remote_wins" ? "manual" : strategy;
  if (!decideConflict(store, op, chosen, meeting)) {
    park(store, op, {
      reason: "conflict",
      problem: meeting.problem,
      isUnsure: false,
      remote: meeting.remote,
      settled: meeting.settled,
    });
  }
}

/** Applies a strategy to a conflict; false when it has to wait for a person. */
export function decideConflict(
  store: Store,
  op: Brief,
  strategy: Strategy,
  meeting: {
    readonly problem: Problem | null;
    readonly remote: Json;
    readonly settled: Settled | null;
    readonly payload?: Json;
  },
): boolean {
  if (strategy === "manual") return false;
  if (strategy === "remote_wins") {
    finishOperation(store, getBrief(store, op.seq) ?? op, {
      outcome: "superseded",
      result: meeting.remote,
      problem: meeting.problem,
    });
    note(store, op, { kind: "settled", settled: meeting.settled, next: "superseded" });
    countInRun(store, "succeeded", op, null);
    nameCreated(store, op, null);
    release(store, op);
    return true;
  }
  const type = store.types.get(op.type);
  const local = toOperation(store, getRow(store, op.seq)).payload;
  const chosen = meeting.payload ?? (strategy === "merge" ? type?.merge?.(local, meeting.remote) : undefined);
  // A merge that the type cannot make is left to a person; `null` is its way to say so.
  if (strategy === "merge" && (chosen === undefined || chosen === null)) return false;
  const payload = chosen ?? type?.resend?.(local, meeting.remote) ?? local;
  const row = getRow(store, op.seq);
  replacePayload(store, { ...op, version: integer(row.version) }, JSON.stringify(payload));
  // The refusal was definite, so the next attempt is a new one under a new key.
  resetBudget(store, op.seq, { generation: op.generation + 1, isUnsure: false, rounds: op.rounds + 1 });
  setSchedule(store, op.seq, { state: State.waiting, reason: "lane", due: 0 });
  note(store, op, { kind: "resolved", settled: meeting.settled, next: strategy });
  settleInto(store, op.seq);
  return true;
}

/** Ends an operation that will not land: cancelled, replaced or expired. What depends on it stays held, visibly. */
export function giveUp(store: Store, op: Brief, end: { readonly outcome: Outcome; readonly detail: Json }): void {
  finishOperation(store, getBrief(store, op.seq) ?? op, { outcome: end.outcome, result: null, problem: null });
  record(store, {
    op: op.seq,
    id: op.id,
    kind: "cancelled",
    status: statusOf(State.done, end.outcome),
    detail: end.detail,
  });
  dropReferencesOf(store, op.seq);
  dropDependencies(store, op.seq);
  leaveLane(store, op);
  if (op.type === recordWriteType) dropChanges(store, op);
}

type Note = {
  readonly kind: "settled" | "parked" | "attempt" | "resolved";
  readonly settled: Settled | null;
  readonly next: string;
  /** Where it is known already; else it is read. */
  readonly status?: Status;
  readonly problem?: Problem;
  readonly nextAt?: number;
};

function note(store: Store, op: Landed, what: Note): void {
  const detail = {
    attempt: op.attempts,
    answer: what.settled?.answer.kind ?? null,
    next: what.next,
    ...(what.settled === null ? {} : { startedAt: what.settled.startedAt }),
    ...(what.problem === undefined ? {} : { problem: what.problem as unknown as Json }),
    ...(what.nextAt === undefined ? {} : { nextAt: what.nextAt }),
  };
  record(store, {
    op: op.seq,
    id: op.id,
    kind: what.kind,
    status: what.status ?? statusNow(store, op.seq),
    detail,
  });
}

function statusNow(store: Store, seq: number): Status | null {
  const now = getBrief(store, seq);
  return now === null ? null : statusOf(now.state, now.outcome);
}

function lateDetail(settled: Settled): Json {
  return { answer: settled.answer.kind, next: "ignored", late: true, startedAt: settled.startedAt };
}
