// Owns what people and programs do in the simulation: every verb that changes something, with inputs drawn from the seed,
// and what each success means for the model. What the machine and the network do by themselves is faults.ts.
import type { Database } from "../../src/database.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { Random } from "../../src/testing/random.ts";
import { isDeath } from "../../src/testing/virtual-world.ts";
import type { AddInput, Input, Output, Receipt, Verb } from "../../src/verbs.ts";
import { judgeRefusal, judgeRoom, readDropped, readLanded } from "./drops.ts";
import type { Facts, Violation } from "./invariants.ts";
import { highestPriority, judgeEnqueued, judgeStore } from "./invariants.ts";
import type { Model, ModelOperation } from "./model.ts";
import { adopt, adoptAll, adoptGates, adoptLane, laneInStore, needed, withoutBase } from "./model.ts";
import type { Body } from "./model-server.ts";

export type Commands = {
  readonly random: Random;
  readonly facts: Facts;
  readonly db: Database;
  readonly model: Model;
  readonly note: (line: string) => void;
  readonly report: (violation: Violation | null) => void;
  /** A subject has fresh credentials on this machine and at the remotes. */
  readonly renewToken: (subject: string) => void;
  /** Ends the engine's process right before its next commit. */
  readonly doom: (engine: Engine) => void;
  readonly nextName: () => string;
  readonly newId: () => string;
};

/** Refusals that a well-meant command may meet. */
const expectedCodes = [
  "refused_by_state",
  "stale_revision",
  "maybe_landed",
  "dependency_cycle",
  "duplicate_local_id",
  "queue_full",
  "disk_full",
  "confirmation_needed",
  "not_found",
  "invalid_input",
];

export const subjects = ["ann", "bob"] as const;
const lanes = ["a", "b", "c"] as const;
const types = ["write", "write", "make", "note", "bulk", "batch", "later", "job"] as const;

/** Runs a verb; undefined when it was refused or its process died. */
export function ask<V extends Verb>(on: Commands, engine: Engine, verb: V, input: Input<V>): Output<V> | undefined {
  try {
    const output = engine.handle(verb, input);
    on.note(`${verb} ok`);
    return output;
  } catch (error) {
    settleFailure(on, verb, error, input);
    return undefined;
  }
}

function settleFailure(on: Commands, verb: Verb, error: unknown, input: unknown): void {
  if (isDeath(error)) {
    on.note(`${verb} died`);
    adoptAll(on.model, on.db);
    if (verb === "queue.edit") noteForced(on, input as Input<"queue.edit">);
    return;
  }
  const code = (error as { code?: unknown }).code;
  on.note(`${verb} refused ${String(code)}`);
  if (code === "queue_full" && verb === "queue.add") on.report(judgeRefusal(on.facts, (input as AddInput).id));
  if (typeof code === "string" && expectedCodes.includes(code)) return;
  on.report({ rule: "error", detail: `${verb} failed: ${error instanceof Error ? error.stack : String(error)}` });
}

/** Of an edit whose process died nobody knows whether it was done: one that was forced counts as if. */
function noteForced(on: Commands, { id, force }: Input<"queue.edit">): void {
  const op = on.model.operations.get(id);
  if (op !== undefined && force === true) op.isForced = true;
}

type Command = (on: Commands, engine: Engine) => void;

/** Every command with its weight. */
const table: readonly (readonly [number, Command])[] = [
  [46, addOne],
  [5, addMany],
  [7, submitSome],
  [4, edit],
  [6, retry],
  [5, move],
  [4, cancel],
  [3, detach],
  [3, release],
  [1, remove],
  [1, clear],
  [3, pause],
  [5, resume],
  [3, resolve],
  [1, exportAndImport],
  [1, offline],
  [3, online],
  [1, signOut],
  [4, signIn],
  [2, changeSettings],
  [2, sync],
];
const weights = table.reduce((sum, [weight]) => sum + weight, 0);

export function runCommand(on: Commands, engine: Engine): void {
  let draw = on.random.below(weights);
  for (const [weight, command] of table) {
    draw -= weight;
    if (draw >= 0) continue;
    command(on, engine);
    return;
  }
}

/** An operation of the model that fits, drawn at random; null when there is none. */
function someone(on: Commands, fits: (op: ModelOperation) => boolean = () => true): ModelOperation | null {
  const found = [...on.model.operations.values()].filter((op) => !op.isRemoved && op.outcome === null && fits(op));
  return found.length === 0 ? null : (found[on.random.below(found.length)] ?? null);
}

// ---- enqueue ------------------------------------------------------------------------------------------------------

function drawBody(on: Commands, type: string, creates: string | null): Body {
  const { random } = on;
  const creator = random.chance(0.3) ? someone(on, (op) => op.creates !== null && op.creates !== creates) : null;
  const extra = random.chance(0.2) ? { text: "ä\u0000\ud83d\ude00", list: [1.5, null, { __proto__x: -1 }] } : undefined;
  return {
    kind: type === "make" ? "make" : "write",
    name: on.nextName(),
    ...(creator === null || creator.creates === null ? {} : { refs: [creator.creates] }),
    ...(type === "make" || random.chance(0.5) ? {} : { record: `record-${random.below(4)}` }),
    ...(type === "write" && random.chance(0.15) ? { base: random.below(3) } : {}),
    ...(random.chance(0.06) ? { poison: true } : {}),
    ...(extra === undefined ? {} : { extra }),
  };
}

function drawAdd(on: Commands): AddInput {
  const { random } = on;
  const now = on.facts.wallNow();
  const type = random.pick(types);
  const creates = type === "make" && random.chance(0.8) ? `local-${on.nextName()}` : null;
  const isGrouped = random.chance(0.04);
  const after = random.chance(0.15) ? someone(on) : null;
  return {
    type,
    payload: drawBody(on, type, creates) as unknown as AddInput["payload"],
    ...(random.chance(0.3) ? { id: on.newId() } : {}),
    ...(!isGrouped && random.chance(0.55) ? { lane: random.pick(lanes) } : {}),
    ...(random.chance(0.3) ? { priority: random.below(highestPriority + 3) - 2 } : {}),
    ...(after === null ? {} : { after: [after.id] }),
    ...(creates === null ? {} : { creates }),
    ...(isGrouped ? { group: random.pick(["g", "h"]) } : {}),
    ...(random.chance(0.06)
      ? { dedupe: { key: random.pick(["k", "l"]), mode: random.pick(["keep-first", "replace-pending"]) } }
      : {}),
    ...(random.chance(0.7) ? { subject: random.pick(subjects) } : { subject: subjects[0] }),
    ...(random.chance(0.06) ? { notBefore: now + random.below(600_000) } : {}),
    ...(random.chance(0.04) ? { expiresAt: now + 1_000 + random.below(600_000) } : {}),
    ...(random.chance(0.15) ? { onFailure: random.pick(["skip", "hold"]) } : {}),
    ...(type === "job" && random.chance(0.4) ? { onCrash: "ask" as const } : {}),
    ...(random.chance(0.2) ? { conflict: random.pick(["local_wins", "remote_wins", "manual"]) } : {}),
    ...(random.chance(0.05) ? { isDraft: true } : {}),
  };
}

/** An acknowledgement: from here on the operation is the engine's to deliver. */
function acknowledge(on: Commands, input: AddInput, receipt: Receipt): void {
  const { model, db } = on;
  const lane = input.lane ?? "";
  const isReplacing = input.dedupe?.mode === "replace-pending";
  if (!receipt.isNew) {
    if (isReplacing && receipt.id !== input.id) adopt(model, db, receipt.id);
    return;
  }
  on.report(judgeRoom(on.facts));
  const before = model.lanes.get(lane);
  const op = adopt(model, db, receipt.id);
  if (op === null) {
    // One that another of the same call replaced has ended, and a full queue may have dropped it in that call.
    const isReplaced = on.facts.room !== null && readDropped(db, receipt.id)?.outcome === "replaced";
    if (!isReplaced) on.report({ rule: "I1", detail: `${receipt.id} was acknowledged, but it is not in the store` });
    return;
  }
  const sent = JSON.stringify(withoutBase(input.payload as unknown as Body));
  const names = (input.payload as unknown as Body).refs ?? [];
  const isRewritten = names.some((name) => on.facts.server.created(model.creators.get(name) ?? "") !== null);
  if (JSON.stringify(op.body) !== sent && !isRewritten && input.dedupe === undefined)
    on.report({ rule: "payload", detail: `${op.id} was given as ${sent} and is kept as ${JSON.stringify(op.body)}` });
  op.notBefore = input.notBefore ?? null;
  const creators = names.map((name) => model.creators.get(name) ?? "");
  for (const need of [...(input.after ?? []), ...creators]) {
    const known = model.operations.get(need);
    if (known !== undefined && known !== op && !hasLanded(db, need)) {
      op.needs.add(need);
      needed(model, need);
    }
  }
  if (isReplacing || before === undefined) return;
  model.lanes.set(lane, before);
  on.report(judgeEnqueued(on.facts, receipt.id));
}

function hasLanded(db: Database, id: string): boolean {
  const row = readLanded(db, id);
  return row?.state === 8 && ["applied", "duplicate", "superseded"].includes(String(row.outcome));
}

function addOne(on: Commands, engine: Engine): void {
  const input = drawAdd(on);
  const receipt = ask(on, engine, "queue.add", input);
  if (receipt === undefined) return;
  acknowledge(on, input, receipt);
  judgeDedupe(on, input, receipt);
}

/** A key that is to be kept first lets nothing in while an operation with that key is open. */
function judgeDedupe(on: Commands, input: AddInput, receipt: Receipt): void {
  if (input.dedupe?.mode !== "keep-first" || !receipt.isNew) return;
  const open = on.db
    .prepare(
      "SELECT op.id AS id FROM op JOIN channel ON channel.id = op.channel WHERE dedupe = ? AND state < 8 AND op.id <> ? AND subject = ?",
    )
    .get(input.dedupe.key, receipt.id, input.subject ?? "");
  if (open !== undefined)
    on.report({ rule: "dedupe", detail: `${receipt.id} was queued beside ${open.id} with the same key` });
}

function drawPlain(on: Commands): AddInput {
  const payload = drawBody(on, "write", null) as unknown as AddInput["payload"];
  return { type: "write", payload, subject: on.random.pick(subjects) };
}

function addMany(on: Commands, engine: Engine): void {
  const { random } = on;
  // Plain ones are written together, by twenties.
  const operations = random.chance(0.1)
    ? Array.from({ length: 1 + random.below(25) }, () => (random.chance(0.05) ? drawAdd(on) : drawPlain(on)))
    : Array.from({ length: 2 + random.below(4) }, () => drawAdd(on));
  const output = ask(on, engine, "queue.addMany", { operations });
  output?.receipts.forEach((receipt, index) => {
    acknowledge(on, operations[index] as AddInput, receipt);
  });
}

/** Several callers of one tick share a commit; each hears of its own operation only. */
function submitSome(on: Commands, engine: Engine): void {
  if (on.random.chance(0.1)) on.doom(engine);
  for (let count = 1 + on.random.below(4); count > 0; count -= 1) {
    const input = drawAdd(on);
    engine.submit("queue.add", input).then(
      (receipt) => {
        on.note(`submit ok ${receipt.id}`);
        acknowledge(on, input, receipt);
      },
      (error: unknown) => settleFailure(on, "queue.add", error, input),
    );
  }
}

// ---- changes ------------------------------------------------------------------------------------------------------

function edit(on: Commands, engine: Engine): void {
  const op = someone(on);
  if (op === null) return;
  const { random } = on;
  const isPayload = random.chance(0.6);
  const { poison: _poison, ...cured } = op.body;
  const force = random.chance(0.1);
  const body = { ...cured, name: on.nextName() };
  const output = ask(on, engine, "queue.edit", {
    id: op.id,
    ...(isPayload ? { payload: body as never } : { priority: random.below(highestPriority + 3) - 2 }),
    ...(random.chance(0.2) ? { notBefore: on.facts.wallNow() + random.below(300_000) } : {}),
    ...(force ? { force } : {}),
  });
  if (output === undefined) return;
  const { sends, isForced, isInterrupted } = op;
  const fresh = adopt(on.model, on.db, op.id);
  if (fresh === null) return;
  // A payload that was sent before gets a fresh budget, anything else keeps what was charged.
  Object.assign(fresh, { sends, isForced: isForced || force, isInterrupted: isInterrupted && !isPayload });
  fresh.charged = [0, Math.max(output.failures, op.charged[1])];
}

function retry(on: Commands, engine: Engine): void {
  const op = someone(on);
  const isAll = on.random.chance(0.3);
  if (op === null) return;
  const output = ask(on, engine, "queue.retry", isAll ? { filter: { status: ["failed"] } } : { ids: [op.id] });
  for (const id of output?.done ?? []) grantAnother(on, id);
}

/** A person wants another attempt: a fresh budget, no waiting, and consent to an interrupted one going again. */
function grantAnother(on: Commands, id: string): void {
  const op = on.model.operations.get(id);
  if (op === undefined) return;
  op.charged = [0, op.charged[1]];
  op.notBefore = null;
  op.isInterrupted = false;
}

function move(on: Commands, engine: Engine): void {
  const op = someone(on, (each) => each.lane !== "");
  const beside = someone(on, (each) => each.lane !== "" && each !== op);
  if (op === null) return;
  const { random, model, db } = on;
  const isBeside = beside !== null && random.chance(0.5);
  const isBefore = random.chance(0.5);
  const to = random.pick(["first", "last"]);
  const way: Partial<Input<"queue.move">> = isBeside
    ? isBefore
      ? { before: beside.id }
      : { after: beside.id }
    : { to, ...(random.chance(0.3) ? { lane: random.pick(lanes) } : {}) };
  if (ask(on, engine, "queue.move", { id: op.id, ...way }) === undefined) return;
  const others = (lane: string, order: readonly string[]): string =>
    `${lane}: ${order.filter((id) => id !== op.id).join()}`;
  const old = op.lane;
  const lane = isBeside ? beside.lane : (way.lane ?? old);
  for (const each of new Set([old, lane])) {
    const was = model.lanes.get(each) ?? [];
    const now = adoptLaneOf(model, db, each);
    if (
      others(
        each,
        was.filter((id) => now.includes(id) || id === op.id),
      ) !== others(each, now)
    )
      on.report({ rule: "I3", detail: `moving ${op.id} changed the order of others in ${others(each, now)}` });
  }
  op.lane = lane;
  op.isPlain = false;
  const order = model.lanes.get(lane) ?? [];
  if (isBeside && order.indexOf(op.id) < order.indexOf(beside.id) !== isBefore)
    on.report({ rule: "I3", detail: `${op.id} was moved to the wrong side of ${beside.id}` });
}

function adoptLaneOf(model: Model, db: Database, lane: string): readonly string[] {
  adoptLane(model, db, lane);
  return laneInStore(db, lane);
}

function cancel(on: Commands, engine: Engine): void {
  const op = someone(on);
  if (op === null) return;
  const dependents = on.random.pick(["hold", "hold", "cancel", "detach"]);
  const before = cancelledOf(on);
  const output = ask(on, engine, "queue.cancel", { ids: [op.id], dependents });
  if (output === undefined || output.done.length === 0) return;
  on.report(judgeStore(on.facts));
  if (dependents !== "detach") return;
  // Those that were cancelled earlier may hold what depends on them.
  const now = new Set([...cancelledOf(on)].filter((id) => !before.has(id)));
  for (const each of on.model.operations.values()) refreshNeeds(each, now);
}

const cancelledOf = ({ model }: Commands): ReadonlySet<string> =>
  new Set([...model.operations.values()].filter(({ outcome }) => outcome === "cancelled").map(({ id }) => id));

/** Edges that were cut on demand bind no longer. */
function refreshNeeds(op: ModelOperation, cut: ReadonlySet<string>): void {
  for (const need of [...op.needs]) {
    if (cut.has(need)) {
      op.needs.delete(need);
      op.isDetached = true;
    }
  }
}

function detach(on: Commands, engine: Engine): void {
  const op = someone(on, (each) => each.needs.size > 0);
  if (op === null || ask(on, engine, "queue.detach", { id: op.id }) === undefined) return;
  op.needs.clear();
  op.isDetached = true;
}

function release(on: Commands, engine: Engine): void {
  const drafts = on.db
    .prepare("SELECT id FROM op WHERE state = 7 LIMIT 3")
    .all()
    .map((row) => String(row.id));
  if (drafts.length === 0) return;
  ask(on, engine, "queue.release", { ids: drafts });
  for (const id of drafts) adoptLane(on.model, on.db, on.model.operations.get(id)?.lane ?? "");
}

function remove(on: Commands, engine: Engine): void {
  const op = someone(on);
  if (op === null) return;
  const output = ask(on, engine, "queue.remove", { ids: [op.id], confirm: on.random.chance(0.7) });
  forgetRemoved(on, output?.done ?? []);
}

function forgetRemoved(on: Commands, ids: readonly string[]): void {
  for (const id of ids) {
    const op = on.model.operations.get(id);
    if (op !== undefined) op.isRemoved = true;
  }
}

function clear(on: Commands, engine: Engine): void {
  on.report(judgeStore(on.facts));
  ask(on, engine, "queue.clear", { scope: "completed" });
  on.model.mayDrop = true;
}

function resolve(on: Commands, engine: Engine): void {
  const parked = on.db.prepare("SELECT id FROM op WHERE state IN (5, 6) AND reason = 'conflict' LIMIT 1").get();
  if (parked === undefined) return;
  const choose = on.random.pick(["local", "remote"]);
  const output = ask(on, engine, "queue.resolve", { ids: [String(parked.id)], choose });
  for (const id of output?.done ?? []) grantAnother(on, id);
}

/** What is exported and lost comes back by an import, once. */
function exportAndImport(on: Commands, engine: Engine): void {
  const out = ask(on, engine, "queue.export", { status: ["pending", "failed", "draft"] });
  const op = someone(on);
  if (out === undefined || out.lines.length === 0 || op === null) return;
  forgetRemoved(on, ask(on, engine, "queue.remove", { ids: [op.id], confirm: true })?.done ?? []);
  const back = ask(on, engine, "queue.import", { lines: [...out.lines] });
  for (const id of back?.imported ?? []) adopt(on.model, on.db, id);
}

// ---- switches -----------------------------------------------------------------------------------------------------

function drawScope(on: Commands): Input<"queue.pause">["scope"] {
  const { random } = on;
  const kind = random.pick(["lane", "lane", "type", "remote", "all"]);
  if (kind === "all") return { kind };
  const names = { lane: lanes, type: types, remote: ["receipts", "plain"] } as const;
  return { kind, name: random.pick(names[kind] as readonly [string, ...string[]]) };
}

function pause(on: Commands, engine: Engine): void {
  if (ask(on, engine, "queue.pause", { scope: drawScope(on) }) !== undefined) adoptGates(on.model, on.db);
}

function resume(on: Commands, engine: Engine): void {
  const paused = [...on.model.pauses];
  const [kind, name] = (paused[on.random.below(Math.max(1, paused.length))] ?? "").split(":");
  if (kind === undefined || kind === "") return;
  const scope = kind === "all" ? { kind } : { kind: kind as "lane", name: name ?? "" };
  if (ask(on, engine, "queue.resume", { scope } as Input<"queue.resume">) !== undefined) adoptGates(on.model, on.db);
}

function offline(on: Commands, engine: Engine): void {
  if (ask(on, engine, "network.offline", {}) !== undefined) on.model.isWorkingOffline = true;
}

function online(on: Commands, engine: Engine): void {
  hastened(on);
  if (ask(on, engine, "network.online", {}) !== undefined) on.model.isWorkingOffline = false;
}

function signOut(on: Commands, engine: Engine): void {
  const subject = on.random.pick(subjects);
  if (ask(on, engine, "subject.signOut", { subject }) !== undefined) on.model.signedOut.add(subject);
}

function signIn(on: Commands, engine: Engine): void {
  const subject = on.random.pick(subjects);
  on.renewToken(subject);
  if (ask(on, engine, "subject.signIn", { subject }) !== undefined) on.model.signedOut.delete(subject);
}

function changeSettings(on: Commands, engine: Engine): void {
  const { random } = on;
  ask(
    on,
    engine,
    "settings.set",
    random.pick<Input<"settings.set">>([
      { concurrency: 1 + random.below(8) },
      { concurrencyPerRemote: 1 + random.below(4) },
      { retry: { maxAttempts: 2 + random.below(4), initialMs: 500, maxMs: 20_000, jitter: 0.5 } },
      { conflict: random.pick(["manual", "local_wins", "remote_wins"]) },
      { syncMode: random.pick(["eager", "eager", "periodic", "manual"]), syncIntervalMs: 30_000 },
    ]),
  );
}

function sync(on: Commands, engine: Engine): void {
  const retryFailed = on.random.chance(0.3);
  hastened(on);
  if (ask(on, engine, "sync.run", { retryFailed }) === undefined || !retryFailed) return;
  for (const op of on.model.operations.values()) grantAnother(on, op.id);
}

/** What waits for its next attempt may be brought forward, and then a failure is given back, also when nobody hears the answer. */
export function hastened({ model }: Commands): void {
  for (const op of model.operations.values()) op.charged = [Math.max(0, op.charged[0] - 1), op.charged[1]];
}
