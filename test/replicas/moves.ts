// Owns what happens in a simulated run: writes, decisions, faults and time, drawn step by step, and what was promised to whom.
// Whether the promises were kept is judge.ts; the run itself is simulator.ts.
import type { Json } from "../../src/operation.ts";
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { Input, RecordWriteInput } from "../../src/verbs.ts";
import { calm } from "./line.ts";
import type { Answered, Replica } from "./replica.ts";
import type { ServerHost } from "./server-host.ts";

/** What clients were promised. */
export type Promises = {
  /** Values that a client was told are kept: each is somewhere for ever. By value, the client that wrote it. */
  readonly kept: Map<string, string>;
  /** How far each meter must have counted, and how far it may have. */
  readonly meters: Map<string, { least: number; most: number }>;
  writes: number;
  kills: number;
  decisions: number;
};

export type Stage = {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly server: ServerHost;
  readonly replicas: readonly Replica[];
  readonly promises: Promises;
  readonly note: (line: string) => void;
};

export const noteKeys = ["k1", "k2", "k3", "k4", "k5"] as const;
export const meterKeys = ["m1", "m2"] as const;
const minuteMs = 60_000;
const monthMs = 30 * 24 * 3_600_000;

type Move = { readonly weight: number; readonly run: (stage: Stage) => void | Promise<void> };

/** Draws one step and does it. */
export async function makeMove(stage: Stage): Promise<void> {
  const total = moves.reduce((sum, move) => sum + move.weight, 0);
  let at = stage.random.below(total);
  for (const move of moves) {
    at -= move.weight;
    if (at < 0) return await move.run(stage);
  }
}

const moves: readonly Move[] = [
  { weight: 60, run: writeOne },
  { weight: 15, run: countUp },
  { weight: 8, run: writeSeveral },
  { weight: 70, run: passTime },
  { weight: 10, run: changeWeather },
  { weight: 6, run: killReplica },
  { weight: 12, run: bootReplicas },
  { weight: 4, run: killServer },
  { weight: 8, run: ({ server }) => server.boot() },
  { weight: 3, run: jumpClock },
  { weight: 10, run: decideConflict },
  { weight: 3, run: undoDecision },
  { weight: 3, run: preferSide },
  { weight: 4, run: meddleWithQueue },
  { weight: 3, run: switchOffline },
  { weight: 2, run: pullAgain },
  { weight: 1, run: ({ server }) => server.compact() },
];

function pickReplica({ random, replicas }: Stage): Replica {
  return replicas[random.below(replicas.length)] as Replica;
}

const pickSlot = (stage: Stage, replica: Replica): number => stage.random.below(replica.slots.length);

/** A value that nobody else ever writes, so that it can be found again. */
function freshValue(stage: Stage, replica: Replica): string {
  stage.promises.writes += 1;
  return `${replica.name}-${stage.promises.writes}`;
}

function fieldsFor(stage: Stage, replica: Replica): Record<string, Json> {
  const { random } = stage;
  const fields: Record<string, Json> = {};
  for (const field of ["a", "b"]) if (random.chance(0.5)) fields[field] = freshValue(stage, replica);
  if (random.chance(0.1)) fields.best = random.below(100);
  if (random.chance(0.1)) fields.tags = ["x", "y", "z"].filter(() => random.chance(0.5));
  if (random.chance(0.1)) fields.slug = `slug ${random.below(4)}`;
  if (random.chance(0.03)) fields.a = `forbidden ${freshValue(stage, replica)}`;
  return fields;
}

function drawWrite(stage: Stage, replica: Replica): RecordWriteInput {
  const { random } = stage;
  const collection = random.pick(["notes", "notes", "tasks"]);
  const key = random.pick(noteKeys);
  const kind = random.below(10);
  if (kind === 0) return { kind: "remove", collection, key };
  if (kind <= 2) return { kind: "create", collection, key, value: fieldsFor(stage, replica) };
  if (kind === 3) return { kind: "put", collection, key, value: fieldsFor(stage, replica) };
  return { kind: "update", collection, key, fields: fieldsFor(stage, replica) };
}

function promise(stage: Stage, replica: Replica, written: readonly RecordWriteInput[]): void {
  for (const write of written) {
    const values =
      write.kind === "update" ? write.fields : write.kind === "remove" ? {} : "value" in write ? write.value : {};
    for (const value of Object.values(values))
      if (typeof value === "string" && value.includes(`${replica.name}-`)) stage.promises.kept.set(value, replica.name);
  }
}

const outcome = (answered: Answered<never>): string => (answered.kind === "refused" ? answered.code : answered.kind);

function writeOne(stage: Stage): void {
  const replica = pickReplica(stage);
  const write = drawWrite(stage, replica);
  const answered = replica.ask("records.write", write, pickSlot(stage, replica));
  stage.note(`${replica.name} ${JSON.stringify(write)}: ${outcome(answered as never)}`);
  if (answered.kind === "ok") promise(stage, replica, [write]);
}

function writeSeveral(stage: Stage): void {
  const replica = pickReplica(stage);
  const drawn = Array.from({ length: 2 + stage.random.below(3) }, () => drawWrite(stage, replica));
  // Within one transaction the last write of a record is what was asked for; earlier ones promise nothing.
  const writes = [...new Map(drawn.map((write) => [`${write.collection}/${write.key}`, write])).values()];
  const answered = replica.ask("records.transaction", { writes }, pickSlot(stage, replica));
  stage.note(`${replica.name} transaction ${JSON.stringify(writes)}: ${outcome(answered as never)}`);
  if (answered.kind === "ok") promise(stage, replica, writes);
}

/** Counts a meter one up from what the person sees; nobody else may swallow it. */
function countUp(stage: Stage): void {
  const replica = pickReplica(stage);
  const key = stage.random.pick(meterKeys);
  const slot = pickSlot(stage, replica);
  const seen = replica.ask("records.get", { collection: "meters", key }, slot);
  if (seen.kind !== "ok") return;
  const value = seen.output.record?.value;
  if (value === undefined || value === null || typeof value.n !== "number") return;
  const fields = { n: value.n + 1 };
  const answered = replica.ask("records.write", { kind: "update", collection: "meters", key, fields }, slot);
  stage.note(`${replica.name} counts ${key} to ${fields.n}: ${outcome(answered as never)}`);
  const meter = stage.promises.meters.get(key);
  if (meter === undefined || answered.kind === "refused") return;
  meter.most += 1;
  if (answered.kind === "ok") meter.least += 1;
}

async function passTime(stage: Stage): Promise<void> {
  const { random, scheduler } = stage;
  const span = random.chance(0.02)
    ? random.below(20 * minuteMs)
    : random.chance(0.2)
      ? random.below(minuteMs)
      : random.below(500);
  await scheduler.runFor(span);
  stage.note(`${span} ms pass`);
}

function changeWeather(stage: Stage): void {
  const { random } = stage;
  const replica = pickReplica(stage);
  const weather = calm();
  if (random.chance(0.35)) weather.isCut = true;
  if (random.chance(0.3)) weather.dropRequest = random.next() * 0.5;
  if (random.chance(0.4)) weather.dropAnswer = random.next() * 0.6;
  if (random.chance(0.3)) weather.double = random.next() * 0.5;
  if (random.chance(0.3)) weather.late = random.next() * 0.3;
  if (random.chance(0.15)) weather.instead = random.pick(["portal", "503", "429", "401"]);
  Object.assign(replica.weather, weather);
  stage.note(`${replica.name} has ${JSON.stringify(weather)}`);
}

function killReplica(stage: Stage): void {
  const replica = pickReplica(stage);
  const moment = stage.random.pick(["before", "after", "now"]);
  replica.kill(pickSlot(stage, replica), moment);
  stage.promises.kills += 1;
  stage.note(`${replica.name} dies ${moment}`);
}

function bootReplicas(stage: Stage): void {
  for (const replica of stage.replicas) for (const slot of replica.slots.keys()) replica.boot(slot);
}

function killServer(stage: Stage): void {
  const moment = stage.random.pick(["before", "after", "now"]);
  stage.server.kill(moment);
  stage.promises.kills += 1;
  stage.note(`the server dies ${moment}`);
}

function jumpClock(stage: Stage): void {
  const { random } = stage;
  const byMs = (random.chance(0.5) ? 1 : -1) * random.below(random.chance(0.3) ? 4 * monthMs : minuteMs);
  if (random.chance(0.2)) stage.server.jumpClock(byMs);
  else pickReplica(stage).machine.wallClock.jump(byMs);
  stage.note(`a clock jumps ${byMs} ms`);
}

function decideConflict(stage: Stage): void {
  const { random, promises } = stage;
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const listed = replica.ask("conflicts.list", { status: "open", limit: 20 }, slot);
  if (listed.kind !== "ok" || listed.output.conflicts.length === 0) return;
  const conflict = listed.output.conflicts[random.below(listed.output.conflicts.length)];
  if (conflict === undefined) return;
  const choose = random.pick(["local", "remote", "merge", "value"]);
  const mine = freshValue(stage, replica);
  const input: Input<"conflicts.resolve"> =
    choose === "value" ? { ids: [conflict.id], choose, value: { a: mine } } : { ids: [conflict.id], choose };
  const answered = replica.ask("conflicts.resolve", input, slot);
  if (answered.kind === "ok" && answered.output.done.length > 0) {
    promises.decisions += 1;
    if (choose === "value") promises.kept.set(mine, replica.name);
  }
  stage.note(
    `${replica.name} decides ${conflict.kind} of ${conflict.collection}/${conflict.key}: ${choose}, ${outcome(answered as never)}`,
  );
}

function undoDecision(stage: Stage): void {
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const listed = replica.ask("conflicts.list", { status: "resolved", limit: 20 }, slot);
  if (listed.kind !== "ok") return;
  const decided = listed.output.conflicts.filter((each) => each.decidedBy === "person");
  const conflict = decided[stage.random.below(Math.max(1, decided.length))];
  if (conflict === undefined) return;
  const answered = replica.ask("conflicts.undo", { ids: [conflict.id] }, slot);
  stage.note(`${replica.name} takes back ${conflict.collection}/${conflict.key}: ${outcome(answered as never)}`);
}

function preferSide(stage: Stage): void {
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

function meddleWithQueue(stage: Stage): void {
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
  stage.note(`${replica.name} meddles with ${operation.id}: ${outcome(answered as never)}`);
}

function switchOffline(stage: Stage): void {
  const replica = pickReplica(stage);
  const verb = stage.random.pick(["network.offline", "network.online", "network.online"]);
  const answered = replica.ask(verb, {}, pickSlot(stage, replica));
  stage.note(`${replica.name} ${verb}: ${outcome(answered as never)}`);
}

function pullAgain(stage: Stage): void {
  const replica = pickReplica(stage);
  const answered = replica.ask("collections.sync", { full: stage.random.chance(0.5) }, pickSlot(stage, replica));
  stage.note(`${replica.name} pulls: ${outcome(answered as never)}`);
}
