// Owns what people decide in a simulated run: conflicts, what is taken back, what is rolled back, retried or given up.
// Writes are moves.ts, faults are faults.ts.
import { canonicalText, isSameJson } from "../../src/canonical.ts";
import type { Json } from "../../src/operation.ts";
import type { Fields } from "../../src/record.ts";
import type { Input, Output } from "../../src/verbs.ts";
import type { Violation } from "./judge.ts";
import type { Stage } from "./moves.ts";
import { decided, freshValue, meterKeys, noteKeys, outcome, pickReplica, pickSlot } from "./moves.ts";
import { collectionNames, inNewestWords } from "./programs.ts";
import type { Replica } from "./replica.ts";
import { highestPriority } from "./sends.ts";

export function decideConflict(stage: Stage): Violation | null {
  const { random, promises } = stage;
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const listed = replica.ask("conflicts.list", { status: "open", limit: 20 }, slot);
  if (listed.kind !== "ok" || listed.output.conflicts.length === 0) return null;
  const conflict = listed.output.conflicts[random.below(listed.output.conflicts.length)];
  if (conflict === undefined) return null;
  const choose = random.pick(["local", "remote", "merge", "value"]);
  const mine = freshValue(stage, replica);
  const input: Input<"conflicts.resolve"> =
    choose === "value" ? { ids: [conflict.id], choose, value: { a: mine } } : { ids: [conflict.id], choose };
  const isMixed = (choose === "local" || choose === "remote") && random.chance(0.3);
  const fields = { [random.pick(["a", "b", "tags"])]: random.pick(["local", "remote"]) } as const;
  const judge = watchDecision(replica, conflict, slot);
  const answered = replica.ask("conflicts.resolve", isMixed ? { ...input, fields } : input, slot);
  const isDone = answered.kind === "ok" && answered.output.done.length > 0;
  if (isDone) {
    promises.decisions += 1;
    if (choose === "value") promises.kept.set(mine, replica.name);
  }
  decided(stage, replica);
  const how = `${choose}${isMixed ? ` with ${JSON.stringify(fields)}` : ""}`;
  stage.note(
    `${replica.name} decides ${conflict.kind} of ${conflict.collection}/${conflict.key}: ${how}, ${outcome(answered as never)}`,
  );
  return isDone && choose !== "value" ? judge(how, isMixed ? Object.keys(fields) : []) : null;
}

/** Looks at what a decision is about before it is made; what is given back judges it afterwards. */
export function watchDecision(
  replica: Replica,
  conflict: Conflict,
  slot = 0,
): (how: string, named?: readonly string[]) => Violation | null {
  const before = shownBy(replica, conflict, slot);
  const isWhole = isOneOfSeveral(replica, conflict, slot);
  return (how, named = []) =>
    judgeUndisputed(conflict, { before, after: shownBy(replica, conflict, slot), how, named, isWhole });
}

type Conflict = Output<"conflicts.list">["conflicts"][number];

function shownBy(replica: Replica, { collection, key }: Conflict, slot: number): Fields | null {
  const seen = replica.ask("records.get", { collection, key }, slot);
  return seen.kind === "ok" ? ((seen.output.record?.value ?? null) as Fields | null) : null;
}

/** A transaction is given up whole; and what else waits on the same record may be decided with it. */
function isOneOfSeveral(replica: Replica, { operation, collection, key }: Conflict, slot: number): boolean {
  const record = replica.ask("records.get", { collection, key }, slot);
  if (record.kind !== "ok" || record.output.record?.operations.length !== 1) return true;
  const seen = operation === null ? null : replica.ask("queue.get", { id: operation }, slot);
  if (seen?.kind !== "ok") return true;
  return ((seen.output.payload as { readonly changes?: readonly Json[] } | null)?.changes ?? []).length !== 1;
}

type Decision = {
  readonly before: Fields | null;
  readonly after: Fields | null;
  readonly how: string;
  readonly named: readonly string[];
  readonly isWhole: boolean;
};

/** I6: a decision loses no side of what was not in dispute: what only this client changed it shows as before. */
function judgeUndisputed(conflict: Conflict, { before, after, how, named, isWhole }: Decision): Violation | null {
  const { kind, base, local, remote, fields } = conflict;
  if (kind !== "version_mismatch" || isWhole || base === null || local === null || remote === null) return null;
  for (const field of ["a", "b"]) {
    const isMine = !isSame(local[field], base[field]) && isSame(remote[field], base[field]);
    if (!isMine || fields.includes(field) || named.includes(field) || isSame(before?.[field], after?.[field])) continue;
    const detail = `${conflict.collection}/${conflict.key} showed ${before?.[field]} in ${field}, ${after?.[field]} after ${how}`;
    return { rule: "I6", detail };
  }
  return null;
}

const isSame = (one: Json | undefined, other: Json | undefined): boolean => isSameJson(one ?? null, other ?? null);

export function undoDecision(stage: Stage): void {
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const listed = replica.ask("conflicts.list", { status: "resolved", limit: 20 }, slot);
  if (listed.kind !== "ok") return;
  const byPerson = listed.output.conflicts.filter((each) => each.decidedBy === "person");
  const conflict = byPerson[stage.random.below(Math.max(1, byPerson.length))];
  if (conflict === undefined) return;
  const answered = replica.ask("conflicts.undo", { ids: [conflict.id] }, slot);
  decided(stage, replica);
  stage.note(`${replica.name} takes back ${conflict.collection}/${conflict.key}: ${outcome(answered as never)}`);
}

export function preferSide(stage: Stage): void {
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const key = stage.random.pick(noteKeys);
  const seen = replica.ask("records.get", { collection: "notes", key }, slot);
  if (seen.kind !== "ok" || seen.output.record === null) return;
  const { version } = seen.output.record;
  const choose = stage.random.pick(["local", "remote", "merge"]);
  const answered = replica.ask("conflicts.prefer", { collection: "notes", key, choose, version }, slot);
  stage.note(`${replica.name} prefers ${choose} for ${key} at ${version}: ${outcome(answered as never)}`);
}

export function meddleWithQueue(stage: Stage): void {
  const { random } = stage;
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const listed = replica.ask("queue.list", { status: ["pending", "failed"], type: "record.write", limit: 20 }, slot);
  if (listed.kind !== "ok" || listed.output.operations.length === 0) return;
  const operation = listed.output.operations[random.below(listed.output.operations.length)];
  if (operation === undefined || JSON.stringify(operation.payload).includes('"meters"')) return;
  const answered = random.chance(0.5)
    ? replica.ask("queue.retry", { ids: [operation.id] }, slot)
    : replica.ask("queue.cancel", { ids: [operation.id], dependents: random.pick(["hold", "cancel", "detach"]) }, slot);
  decided(stage, replica);
  stage.note(`${replica.name} meddles with ${operation.id}: ${outcome(answered as never)}`);
}

/** Lets a write go ahead of others, or behind them again. */
export function hasten(stage: Stage): void {
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const listed = replica.ask("queue.list", { status: ["pending"], type: "record.write", limit: 20 }, slot);
  if (listed.kind !== "ok") return;
  const operation = listed.output.operations[stage.random.below(listed.output.operations.length)];
  if (operation === undefined) return;
  const { id } = operation;
  const priority = stage.random.below(highestPriority + 1);
  const answered = replica.ask("queue.edit", { id, priority }, slot);
  stage.note(`${replica.name} gives ${id} priority ${priority}: ${outcome(answered as never)}`);
}

export function switchOffline(stage: Stage): void {
  const replica = pickReplica(stage);
  const verb = stage.random.pick(["network.offline", "network.online", "network.online"]);
  const answered = replica.ask(verb, {}, pickSlot(stage, replica));
  stage.note(`${replica.name} ${verb}: ${outcome(answered as never)}`);
}

export function pullAgain(stage: Stage): void {
  const replica = pickReplica(stage);
  const answered = replica.ask("collections.sync", { full: stage.random.chance(0.5) }, pickSlot(stage, replica));
  stage.note(`${replica.name} pulls: ${outcome(answered as never)}`);
}

/** I10: what one run changed here is exactly what it was before, or is named with the reason why it is not. */
export async function rollBackRun(stage: Stage): Promise<Violation | null> {
  const replica = pickReplica(stage);
  const [before, known] = [viewOf(replica), runsOf(replica)];
  if (before === null || known === null || known.some(({ endedAt }) => endedAt === null)) return null;
  await stage.scheduler.runFor(1_000 + stage.random.below(60_000));
  const [after, now] = [viewOf(replica), runsOf(replica)];
  const fresh = now?.filter(({ id }) => id > (known[0]?.id ?? 0)) ?? [];
  const [run] = fresh;
  if (after === null || run === undefined || fresh.length !== 1 || run.endedAt === null) return null;
  const answered = replica.ask("sync.rollback", { run: run.id });
  decided(stage, replica);
  stage.note(`${replica.name} rolls run ${run.id} back: ${JSON.stringify(answered)}`);
  const undone = viewOf(replica);
  if (undone === null) return null;
  countRollback(stage, after, undone);
  if (answered.kind !== "ok") return null;
  stage.promises.rollbacks += 1;
  const skipped = new Set(answered.output.skipped.map(({ collection, key }) => `${collection}/${key}`));
  for (const name of new Set([...before.keys(), ...after.keys(), ...undone.keys()])) {
    const wanted = (skipped.has(name) ? after : before).get(name) ?? "nothing";
    // A key that the server gave takes the place of the local one everywhere; going back does not take it away again.
    if (name.startsWith("boxes/") || [...stage.promises.localKeys].some((key) => wanted.includes(key))) continue;
    const got = undone.get(name) ?? "nothing";
    if (got === wanted) continue;
    const detail = `${replica.name}: ${name} is ${got} after run ${run.id} was rolled back; ${wanted} was right`;
    return { rule: "I10", detail };
  }
  return null;
}

/** What was rolled back of a meter is a step back that everybody has to follow. */
function countRollback({ promises }: Stage, after: View, undone: View): void {
  for (const key of meterKeys) {
    const meter = promises.meters.get(key);
    const [was, is] = [after, undone].map((view) => JSON.parse(view.get(`meters/${key}`) ?? "{}").n as number);
    if (meter === undefined || typeof was !== "number" || typeof is !== "number") continue;
    meter.least += is - was;
    meter.most += is - was;
  }
}

type View = ReadonlyMap<string, string>;

function viewOf(replica: Replica): View | null {
  const shown = new Map<string, string>();
  for (const collection of collectionNames) {
    const answered = replica.ask("records.query", { collection, limit: 1000 });
    if (answered.kind !== "ok") return null;
    for (const { key, value } of answered.output.records)
      shown.set(`${collection}/${key}`, canonicalText(inNewestWords(collection, value as Fields) as Json));
  }
  return shown;
}

function runsOf(replica: Replica): Output<"sync.runs">["runs"] | null {
  const answered = replica.ask("sync.runs", { limit: 20 });
  return answered.kind === "ok" ? answered.output.runs : null;
}
