// Owns the invariants: what has to hold when an attempt leaves, when it takes effect, when an answer is booked, and at any time.
// What is known to be true is model.ts; breaking what is not allowed is left to the engine under test.
import type { Database, Row } from "../../src/database.ts";
import type { Answer } from "../../src/operation.ts";
import type { Attempt } from "../../src/world.ts";
import { readDropped, readLanded, replacementOf } from "./drops.ts";
import type { Model, ModelOperation } from "./model.ts";
import { adopt, adoptLane, mentioned, resolved, withoutBase } from "./model.ts";
import type { Body, ModelServer, Request } from "./model-server.ts";

export type Violation = { readonly rule: string; readonly detail: string };

export type Facts = {
  readonly model: Model;
  readonly db: Database;
  readonly server: ModelServer;
  readonly wallNow: () => number;
  /** The latest that the wall clock ever showed: what was due once stays due when the clock goes back. */
  readonly latestWall: () => number;
  readonly ageing: number;
  /** Operations that the store may hold before finished ones are dropped for new ones; null: as many as come. */
  readonly room: number | null;
  /** Effects of jobs that need no network. */
  readonly jobEffects: ReadonlyMap<string, number>;
};

/** Highest priority that the simulation gives. */
export const highestPriority = 3;

const flightOf = "SELECT state, position FROM op WHERE id = ?";
const standing = "SELECT id, state, type FROM op WHERE lane = ? AND lane <> '' AND state < 6";
const passedOver = `SELECT op.id, op.seq, op.priority FROM op JOIN channel ON channel.id = op.channel
  WHERE op.state = 0 AND channel.remote = ? AND channel.type = ? AND channel.subject = ?
    AND op.seq - op.priority * ? < ? AND op.since < ? LIMIT 1`;
const allRows =
  "SELECT id, state, outcome, failures, attempts, reason, due, bytes, length(payload) AS size FROM op ORDER BY seq";
const counters = "SELECT id, n FROM counter WHERE id < 9 OR id = 101";

const landed = ["applied", "duplicate", "superseded"];
const text = (value: Row[string] | undefined): string => (typeof value === "string" ? value : "");
const number = (value: Row[string] | undefined): number => (typeof value === "number" ? value : -1);
const says = (rule: string, detail: string): Violation => ({ rule, detail });

/** Judges what is about to go over the wire; the first thing that is wrong, or null. */
export function judgeSend(facts: Facts, attempts: readonly Attempt[]): Violation | null {
  const together = attempts.map((attempt) => attempt.operation.id);
  for (const attempt of attempts) {
    const op = facts.model.operations.get(attempt.operation.id) ?? adopt(facts.model, facts.db, attempt.operation.id);
    if (op === null) return says("I1", `${attempt.operation.id} is sent, but it is not in the store`);
    const found =
      judgeGates(facts, op) ??
      judgeMessage(facts, op, attempt) ??
      judgeLane(facts, op, together) ??
      judgeNeeds(facts, op) ??
      judgeAge(facts, op, attempt);
    if (found !== null) return found;
    op.sends += 1;
  }
  return null;
}

function judgeGates(facts: Facts, op: ModelOperation): Violation | null {
  const { model } = facts;
  if (number(facts.db.prepare(flightOf).get(op.id)?.state) !== 3)
    return says("claim", `${op.id} is sent, but the store does not say that it is in flight`);
  if (model.isWorkingOffline) return says("offline", `${op.id} is sent while working offline`);
  if (model.signedOut.has(op.subject)) return says("subject", `${op.id} is sent although ${op.subject} is signed out`);
  const scopes = ["all:", `lane:${op.lane}`, `type:${op.type}`, `remote:${op.remote}`];
  const paused = scopes.find((scope) => model.pauses.has(scope));
  if (paused !== undefined) return says("paused", `${op.id} is sent although ${paused} is paused`);
  if (op.outcome !== null) return says("terminal", `${op.id} is sent although it ended as ${op.outcome}`);
  if (op.notBefore !== null && facts.latestWall() < op.notBefore)
    return says("schedule", `${op.id} is sent before its time`);
  if (op.expiresAt !== null && facts.wallNow() > op.expiresAt)
    return says("expiry", `${op.id} is sent after it expired`);
  if (op.onCrash === "ask" && op.isInterrupted) return says("onCrash", `${op.id} is sent again after a crash, unasked`);
  return null;
}

function judgeMessage(facts: Facts, op: ModelOperation, attempt: Attempt): Violation | null {
  const { operation, idempotencyKey, input } = attempt;
  const body = input as unknown as Body;
  const isOwnKey = idempotencyKey === op.id || /^-\d+$/.test(idempotencyKey.slice(op.id.length));
  if (!idempotencyKey.startsWith(op.id) || !isOwnKey)
    return says("I2", `${op.id} is sent under the key ${idempotencyKey}`);
  if (operation.subject !== op.subject)
    return says("subject", `${op.id} of ${op.subject} is sent for ${operation.subject}`);
  // An operation may tell the remote the local id that it creates; no other.
  const open = mentioned(body).find((name) => name !== op.creates && facts.model.creators.has(name));
  if (open !== undefined)
    return says("I9", `${op.id} is sent with the local id ${open} of ${facts.model.creators.get(open)}`);
  const expected = JSON.stringify(
    resolved(op.body, (local) => (local === op.creates ? null : serverIdOf(facts, local))),
  );
  const sent = JSON.stringify(withoutBase(body));
  return sent === expected ? null : says("payload", `${op.id} is sent as ${sent}, it should be ${expected}`);
}

function serverIdOf(facts: Facts, local: string): string | null {
  const creator = facts.model.creators.get(local);
  return creator === undefined ? null : facts.server.created(creator);
}

function judgeLane(facts: Facts, op: ModelOperation, together: readonly string[]): Violation | null {
  if (op.lane === "") return null;
  const order = facts.model.lanes.get(op.lane) ?? [];
  const place = order.indexOf(op.id);
  for (const row of facts.db.prepare(standing).all(op.lane)) {
    const id = text(row.id);
    if (id === op.id) continue;
    if (number(row.state) === 3 && !together.includes(id))
      return says("I3", `${op.id} is sent while ${id} of the same lane is in flight`);
    const other = order.indexOf(id);
    if (other >= 0 && other < place && !together.slice(0, together.indexOf(op.id)).includes(id))
      return says("I3", `${op.id} is sent before ${id}, which stands in front of it (state ${row.state})`);
  }
  return null;
}

const creatorsOf = ({ model }: Facts, op: ModelOperation): readonly string[] =>
  mentioned(op.body)
    .flatMap((local) => model.creators.get(local) ?? [])
    .filter((creator) => creator !== op.id);

/** What an operation comes after. One that was replaced is waited for as the one in its place, unless it creates what is mentioned. */
function needsOf(facts: Facts, op: ModelOperation): readonly string[] {
  const creators = creatorsOf(facts, op);
  const needs = [...op.needs].map((need) => (creators.includes(need) ? need : replacementOf(facts.db, need)));
  return needs.filter((need) => need !== op.id);
}

function judgeNeeds(facts: Facts, op: ModelOperation): Violation | null {
  for (const need of needsOf(facts, op)) {
    const known = facts.model.operations.get(need);
    const row = readLanded(facts.db, need);
    const outcome = row === undefined ? (known?.outcome ?? null) : number(row.state) === 8 ? text(row.outcome) : null;
    // What was removed on demand had landed: an operation that others wait for cannot be removed.
    if (row === undefined && known?.isRemoved === true) continue;
    if (outcome === null || !landed.includes(outcome))
      return says("I4", `${op.id} is sent before ${need}, which it depends on (${outcome ?? "unsettled"})`);
  }
  return null;
}

/**
 * No ready operation of the same channel may be passed over by one that was queued later than the ageing allows. What waits
 * lends its rank to what it waits for, so only those are judged that nothing ever waited for. What became ready in the very claim,
 * because the one before it had to be parked, is taken by the next one.
 */
function judgeAge(facts: Facts, op: ModelOperation, attempt: Attempt): Violation | null {
  if (!op.isPlain) return null;
  const bound = attempt.operation.sequence - highestPriority * facts.ageing;
  const row = facts.db
    .prepare(passedOver)
    .get(attempt.operation.remote, op.type, attempt.operation.subject, facts.ageing, bound, attempt.operation.since);
  return row === undefined ? null : says("I7", `${op.id} is sent before ${text(row.id)}, which is older than allowed`);
}

/** Judges an effect at the moment in which the remote takes it. */
export function judgeEffect(facts: Facts, request: Request, count: number): Violation | null {
  const op = facts.model.operations.get(request.operation);
  if (op === undefined) return says("I1", `${request.operation} took effect, but nobody queued it`);
  if (request.remote === "receipts" && count > 1 && !op.isForced)
    return says("I2", `${op.id} took effect ${count} times at a remote that keeps receipts, now under ${request.key}`);
  if (count > op.sends) return says("I2", `${op.id} took effect ${count} times in ${op.sends} attempts`);
  // A request that arrives when nobody waits for it any more is no claim about order.
  if (number(facts.db.prepare(flightOf).get(op.id)?.state) !== 3 || count > 1) return null;
  return judgeNeeds(facts, op);
}

/**
 * Books what an answer means for the model. `canBook`: who heard it holds the drainer's lock; without it the next drainer may recover the
 * operation before the answer is booked.
 */
export function noteAnswer(op: ModelOperation, answer: Answer, canBook: boolean): void {
  if (answer.kind === "retry" && answer.isCharged) op.charged = [op.charged[0] + (canBook ? 1 : 0), op.charged[1] + 1];
  if (answer.kind === "conflict") op.charged = [0, op.charged[1]];
  if (answer.kind === "applied" || answer.kind === "duplicate") {
    if (canBook) op.hasYes = true;
    op.everYes = true;
  }
}

/** Looks through the whole store. */
export function judgeStore(facts: Facts): Violation | null {
  const { model, db } = facts;
  const seen = new Set<string>();
  const states = new Map<number, number>();
  let bytes = 0;
  for (const row of db.prepare(allRows).all()) {
    const id = text(row.id);
    seen.add(id);
    states.set(number(row.state), (states.get(number(row.state)) ?? 0) + 1);
    bytes += number(row.bytes);
    const op = model.operations.get(id) ?? adopt(model, db, id);
    const found = op === null ? null : (judgeRow(facts, op, row) ?? judgeWait(facts, op, row));
    if (found !== null) return found;
  }
  for (const op of model.operations.values()) {
    if (seen.has(op.id) || op.isRemoved) continue;
    const found = judgeDropped(facts, op);
    if (found !== null) return found;
    op.isRemoved = true;
  }
  model.mayDrop = false;
  for (const row of db.prepare(counters).all()) {
    const id = number(row.id);
    const real = id === 101 ? bytes : (states.get(id) ?? 0);
    if (number(row.n) !== real) return says("I8", `counter ${id} says ${row.n}, a recount says ${real}`);
  }
  return null;
}

/** Only what has ended may leave unasked, and only where that is the policy or was asked for; how it ended is judged all the same. */
function judgeDropped(facts: Facts, op: ModelOperation): Violation | null {
  const row = readDropped(facts.db, op.id);
  const isAllowed = facts.model.mayDrop || facts.room !== null;
  if (row === undefined || number(row.state) !== 8 || !isAllowed)
    return says("I1", `${op.id} was acknowledged and is gone (it was in state ${row?.state})`);
  return judgeRow(facts, op, row);
}

function judgeRow(facts: Facts, op: ModelOperation, row: Row): Violation | null {
  const state = number(row.state);
  const outcome = state === 8 ? text(row.outcome) : null;
  if (op.isRemoved) return says("removed", `${op.id} was removed and is back`);
  if (op.outcome !== null && op.outcome !== outcome)
    return says("terminal", `${op.id} ended as ${op.outcome} and is now ${outcome ?? `in state ${state}`}`);
  op.outcome = outcome;
  const failures = number(row.failures);
  if (failures > op.charged[1])
    return says("charge", `${op.id} is charged ${failures} failures, the remote failed at most ${op.charged[1]} times`);
  if (failures < op.charged[0] && state !== 3 && state !== 8)
    return says("charge", `${op.id} is charged ${failures} failures, the remote failed ${op.charged[0]} times`);
  if ((state === 5 || state === 6) && op.hasYes)
    return says("booking", `${op.id} is parked (${text(row.reason)}) although the remote said yes`);
  if ((outcome === "applied" || outcome === "duplicate") && !op.everYes)
    return says("I11", `${op.id} is completed, but nobody who held its lease has heard a yes`);
  const known = row.reason === "no_server_id" && !op.isDetached ? mentioned(op.body) : [];
  const named = known.find((name) => serverIdOf(facts, name) !== null && hasLanded(facts, name));
  if (named !== undefined) return says("I9", `${op.id} is parked for the id of ${named}, which is known`);
  return judgeOutcome(facts, op, outcome);
}

/**
 * I12: what waits is held by its own lane or by what it depends on, as the model has them. An answer to one operation, whatever it is,
 * keeps nobody else waiting.
 */
function judgeWait(facts: Facts, op: ModelOperation, row: Row): Violation | null {
  if (number(row.state) !== 1 || isHeldByLane(facts, op)) return null;
  for (const need of [...needsOf(facts, op), ...creatorsOf(facts, op)]) {
    const found = readLanded(facts.db, need);
    if (found !== undefined && !(number(found.state) === 8 && landed.includes(text(found.outcome)))) return null;
  }
  return says("I12", `${op.id} waits, although neither its lane "${op.lane}" nor anything that it depends on holds it`);
}

function isHeldByLane(facts: Facts, op: ModelOperation): boolean {
  if (op.lane === "") return false;
  const order = facts.model.lanes.get(op.lane) ?? [];
  const place = order.indexOf(op.id);
  return facts.db
    .prepare(standing)
    .all(op.lane)
    .some((row) => {
      const other = order.indexOf(text(row.id));
      return text(row.id) !== op.id && (number(row.state) === 3 || other < place);
    });
}

function hasLanded(facts: Facts, local: string): boolean {
  const creator = facts.model.operations.get(facts.model.creators.get(local) ?? "");
  return creator?.outcome === "applied" || creator?.outcome === "duplicate";
}

function judgeOutcome(facts: Facts, op: ModelOperation, outcome: string | null): Violation | null {
  if (outcome !== "applied" && outcome !== "duplicate") return null;
  const effects = op.type === "job" ? (facts.jobEffects.get(op.id) ?? 0) : facts.server.effects(op.id);
  if (effects === 0) return says("I2", `${op.id} is completed, but it never took effect`);
  if (op.type !== "note" && op.type !== "job" && effects !== 1 && !op.isForced)
    return says("I2", `${op.id} is completed and took effect ${effects} times`);
  return null;
}

/** After an acknowledged enqueue the lane keeps its order and the new operation stands last. */
export function judgeEnqueued(facts: Facts, id: string): Violation | null {
  const op = facts.model.operations.get(id);
  if (op === undefined || op.lane === "") return null;
  const before = adoptLane(facts.model, facts.db, op.lane);
  const now = facts.model.lanes.get(op.lane) ?? [];
  const kept = now.filter((each) => before.includes(each)).join();
  const was = before.filter((each) => now.includes(each)).join();
  return kept === was ? null : says("I3", `the order of lane ${op.lane} changed: ${was} is now ${kept}`);
}
