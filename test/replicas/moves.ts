// Owns what is drawn in a simulated run, step by step: the table of moves, the writes among them, and what was promised to whom.
// Faults are faults.ts, decisions are decisions.ts; whether the promises were kept is judge.ts and history.ts.
import type { Json } from "../../src/operation.ts";
import type { Fields } from "../../src/record.ts";
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { RecordWriteInput } from "../../src/verbs.ts";
import {
  decideConflict,
  hasten,
  meddleWithQueue,
  preferSide,
  pullAgain,
  rollBackRun,
  switchOffline,
  undoDecision,
} from "./decisions.ts";
import {
  bootReplicas,
  changeCredentials,
  changeReach,
  changeWeather,
  copyServer,
  forgetReceipts,
  jumpClock,
  killReplica,
  killServer,
  passMonths,
  passTime,
  restoreServer,
  setServerBack,
  upgradeSomebody,
} from "./faults.ts";
import type { HistoryEvent } from "./history.ts";
import type { Violation } from "./judge.ts";
import type { Answered, Replica } from "./replica.ts";
import type { ServerHost } from "./server-host.ts";

/** What clients were promised. */
export type Promises = {
  /** Values that a client was told are kept: each is somewhere for ever. By value, the client that wrote it. */
  readonly kept: Map<string, string>;
  /** How far each meter must have counted, and how far it may have. */
  readonly meters: Map<string, { least: number; most: number }>;
  /** Keys that stand until the server names the real ones; none of them may ever be seen there. */
  readonly localKeys: Set<string>;
  writes: number;
  kills: number;
  decisions: number;
  restores: number;
  rollbacks: number;
};

export type Stage = {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly server: ServerHost;
  readonly replicas: readonly Replica[];
  readonly promises: Promises;
  readonly events: HistoryEvent[];
  /** The server keeps no receipt longer than it must, and the line repeats what nobody waits for. */
  readonly isForgetful: boolean;
  /** What clients may read of the tasks changes now and then. */
  readonly isPolitical: boolean;
  readonly note: (line: string) => void;
};

export const noteKeys = ["k1", "k2", "k3", "k4", "k5"] as const;
export const meterKeys = ["m1", "m2"] as const;

/** A move that has something to judge at once answers what it found; the others answer nothing. */
type Move = { readonly weight: number; readonly run: (stage: Stage) => unknown };

/** Draws one step and does it. */
export async function makeMove(stage: Stage): Promise<Violation | null> {
  if (stage.isForgetful && stage.random.chance(0.15)) await forgetReceipts(stage);
  if (stage.isPolitical && stage.random.chance(0.04)) changeReach(stage);
  let at = stage.random.below(totalWeight);
  for (const move of moves) {
    at -= move.weight;
    if (at < 0) return ((await move.run(stage)) as Violation | undefined) ?? null;
  }
  return null;
}

const moves: readonly Move[] = [
  { weight: 120, run: writeOne },
  { weight: 30, run: countUp },
  { weight: 16, run: writeSeveral },
  { weight: 12, run: fillBoxes },
  { weight: 4, run: importRows },
  { weight: 140, run: passTime },
  { weight: 20, run: changeWeather },
  { weight: 6, run: changeCredentials },
  { weight: 12, run: killReplica },
  { weight: 24, run: bootReplicas },
  { weight: 8, run: killServer },
  { weight: 16, run: ({ server }) => server.boot() },
  { weight: 6, run: jumpClock },
  { weight: 20, run: decideConflict },
  { weight: 6, run: undoDecision },
  { weight: 6, run: preferSide },
  { weight: 8, run: meddleWithQueue },
  { weight: 8, run: hasten },
  { weight: 6, run: switchOffline },
  { weight: 4, run: pullAgain },
  { weight: 4, run: rollBackRun },
  { weight: 2, run: upgradeSomebody },
  { weight: 2, run: passMonths },
  { weight: 4, run: forgetReceipts },
  { weight: 3, run: copyServer },
  { weight: 1, run: restoreServer },
  { weight: 2, run: setServerBack },
];
const totalWeight = moves.reduce((sum, move) => sum + move.weight, 0);

export function pickReplica({ random, replicas }: Stage): Replica {
  return replicas[random.below(replicas.length)] as Replica;
}

export const pickSlot = (stage: Stage, replica: Replica): number => stage.random.below(replica.slots.length);

/** What a client shows may be something else from here on, and rightly so. */
export function decided(stage: Stage, replica: Replica): void {
  stage.events.push({ kind: "decide", client: replica.name, record: "*" });
}

/** A value that nobody else ever writes, so that it can be found again. */
export function freshValue(stage: Stage, replica: Replica): string {
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

export const outcome = (answered: Answered<never>): string =>
  answered.kind === "refused" ? answered.code : answered.kind;

function writeOne(stage: Stage): void {
  writeFor(stage, pickReplica(stage));
}

export function writeFor(stage: Stage, replica: Replica): void {
  const write = drawWrite(stage, replica);
  const answered = replica.ask("records.write", write, pickSlot(stage, replica));
  stage.note(`${replica.name} ${JSON.stringify(write)}: ${outcome(answered as never)}`);
  if (answered.kind === "ok") promise(stage, replica, [write]);
  remember(stage, replica, [write], answered.kind === "ok" ? answered.output.operation : answered.kind);
}

function writeSeveral(stage: Stage): void {
  const replica = pickReplica(stage);
  const drawn = Array.from({ length: 2 + stage.random.below(3) }, () => drawWrite(stage, replica));
  // Within one transaction the last write of a record is what was asked for; earlier ones promise nothing.
  const writes = [...new Map(drawn.map((write) => [`${write.collection}/${write.key}`, write])).values()];
  const answered = replica.ask("records.transaction", { writes }, pickSlot(stage, replica));
  stage.note(`${replica.name} transaction ${JSON.stringify(writes)}: ${outcome(answered as never)}`);
  if (answered.kind === "ok") promise(stage, replica, writes);
  remember(stage, replica, writes, answered.kind === "ok" ? answered.output.operation : answered.kind);
}

/** Tells the history what was written, or that it is not known whether it was. Fields with values of their own are enough. */
function remember(
  { events }: Stage,
  { name: client }: Replica,
  writes: readonly RecordWriteInput[],
  operation: string | null,
): void {
  if (operation === "refused") return;
  for (const write of writes) {
    const record = `${write.collection}/${write.key}`;
    const written = write.kind === "update" ? write.fields : "value" in write ? write.value : null;
    // A write that leaves nothing to send took back what was not sent yet.
    if (operation === "died" || operation === null) events.push({ kind: "decide", client, record });
    else if (written === null) events.push({ kind: "write", client, record, fields: null, operation, isWhole: true });
    else {
      const own = Object.entries(written).filter(([field]) => field === "a" || field === "b");
      const fields = Object.fromEntries(own) as Fields;
      events.push({ kind: "write", client, record, fields, operation, isWhole: write.kind !== "update" });
    }
  }
}

/** Makes a record whose key the server gives, and, in the same breath or later, others that mention it. */
function fillBoxes(stage: Stage): void {
  const { random, promises } = stage;
  const replica = pickReplica(stage);
  const slot = pickSlot(stage, replica);
  const made = replica.ask(
    "records.write",
    { kind: "create", collection: "boxes", value: { a: freshValue(stage, replica) } },
    slot,
  );
  stage.note(`${replica.name} makes a box: ${outcome(made as never)}`);
  if (made.kind !== "ok") return;
  const { key, value } = made.output.record;
  promises.localKeys.add(key);
  promises.kept.set(String((value as Fields).a), replica.name);
  if (random.chance(0.3)) return;
  const fields = { box: key, list: [key], a: freshValue(stage, replica) };
  const write: RecordWriteInput = random.chance(0.5)
    ? { kind: "put", collection: "tasks", key: random.pick(noteKeys), value: fields }
    : { kind: "create", collection: "boxes", value: fields };
  const answered = replica.ask("records.write", write, slot);
  stage.note(`${replica.name} mentions it in ${write.collection}: ${outcome(answered as never)}`);
  if (answered.kind !== "ok") {
    decided(stage, replica);
    return;
  }
  promise(stage, replica, [write]);
  if (write.kind === "put") remember(stage, replica, [write], answered.output.operation);
  else promises.localKeys.add(answered.output.record.key);
}

/** Rows of a file; asked again after a death, as a person would, they change nothing twice. */
function importRows(stage: Stage): void {
  const replica = pickReplica(stage);
  const rows = Array.from({ length: 1 + stage.random.below(3) }, () => ({
    id: stage.random.pick(noteKeys),
    b: freshValue(stage, replica),
  }));
  const input = { collection: "tasks", rows, key: "id", source: rows[0]?.b ?? "", offset: 0 };
  const answered = replica.ask("records.import", input, pickSlot(stage, replica));
  stage.note(`${replica.name} imports ${JSON.stringify(rows)}: ${outcome(answered as never)}`);
  decided(stage, replica);
  if (answered.kind !== "ok") return;
  const refused = new Set(answered.output.refused.map(({ position }) => position));
  const last = new Map(rows.map((row) => [row.id, row.b]));
  rows.forEach(({ id, b }, position) => {
    // Rows with the same key are one record in the end.
    if (!refused.has(position) && last.get(id) === b) stage.promises.kept.set(b, replica.name);
  });
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
  const count: RecordWriteInput = { kind: "update", collection: "meters", key, fields };
  // In a transaction with its witness a step is one operation of its own, and is not made one with the next.
  const witness: RecordWriteInput = {
    ...{ kind: "create", collection: "tasks", key: `step ${freshValue(stage, replica)}` },
    value: { of: key },
  };
  const answered = stage.random.chance(0.4)
    ? replica.ask("records.transaction", { writes: [count, witness] }, slot)
    : replica.ask("records.write", count, slot);
  stage.note(`${replica.name} counts ${key} to ${fields.n}: ${outcome(answered as never)}`);
  const meter = stage.promises.meters.get(key);
  if (meter === undefined || answered.kind === "refused") return;
  meter.most += 1;
  if (answered.kind === "ok") meter.least += 1;
}
