// Owns one simulated run of several clients and a server from its seed: moves, then healing, then rest and judgement.
// What happens is moves.ts, what has to hold is judge.ts; many runs are runs.ts of test/simulation.
import { pollMs } from "../../src/engine/pull.ts";
import { viewRestMs } from "../../src/engine/views.ts";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { Trace } from "../simulation/trace.ts";
import { newTrace } from "../simulation/trace.ts";
import { watchDecision } from "./decisions.ts";
import { checkHistory } from "./history.ts";
import type { Violation, Witnesses } from "./judge.ts";
import {
  judgeEquality,
  judgeMeters,
  judgePromises,
  judgeServer,
  judgeStore,
  newWitnesses,
  observeReplica,
} from "./judge.ts";
import { calm } from "./line.ts";
import type { Stage } from "./moves.ts";
import { decided, makeMove, meterKeys } from "./moves.ts";
import { openReplica } from "./replica.ts";
import type { ServerBase } from "./server-base.ts";
import { openEmbeddedBase } from "./server-base.ts";
import { openServerHost } from "./server-host.ts";

export type RunOptions = { readonly seed: number; readonly steps: number; readonly isTraced?: boolean };

/** What the server of a run stores in: SQLite, unless told otherwise. */
export type OpenBase = () => Promise<ServerBase> | ServerBase;

export type RunResult = {
  readonly seed: number;
  readonly steps: number;
  readonly violation: Violation | null;
  readonly hash: string;
  readonly trace: readonly string[];
  readonly facts: {
    readonly writes: number;
    readonly kills: number;
    readonly decisions: number;
    readonly restores: number;
    readonly rollbacks: number;
    readonly versions: number;
  };
};

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const storeEvery = 60;
/** Rounds of the rest in which everything that moves by itself has moved. */
const patienceRounds = 7;

/** Runs one seed. Equal options give equal results. */
export async function simulateReplicas(options: RunOptions, openBase: OpenBase = openEmbeddedBase): Promise<RunResult> {
  const trace = newTrace(options.isTraced === true);
  const witnesses = newWitnesses();
  const stage = await setUp(options.seed, trace, await openBase());
  // Right after each request, so that no version is overwritten before anybody has seen it.
  let unseen: Violation | null = null;
  stage.server.onHandled = async () => {
    unseen ??= await judgeServer(stage, witnesses);
    // Nothing that follows could be judged, and a livelock would not come to its end.
    if (unseen !== null) for (let process = 0; process < 2; process += 1) stage.server.kill("now");
  };
  let violation: Violation | null = null;
  try {
    violation = await start(stage);
    for (let step = 1; violation === null && step <= options.steps; step += 1) {
      violation = (await makeMove(stage)) ?? unseen ?? (await judgeStep(stage, witnesses, step));
    }
    violation ??= (await comeToRest(stage, witnesses, () => unseen)) ?? unseen;
    violation ??= checkHistory(stage.events);
  } catch (error) {
    violation = { rule: "crash", detail: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  } finally {
    for (const replica of stage.replicas) {
      for (const slot of replica.slots.keys()) replica.kill(slot, "now");
      replica.database.close();
    }
    for (let process = 0; process < 2; process += 1) stage.server.kill("now");
    await stage.scheduler.settle();
    await stage.server.base.close();
  }
  const { writes, kills, decisions, restores, rollbacks } = stage.promises;
  return {
    ...options,
    violation,
    hash: trace.hash(),
    trace: trace.lines(),
    facts: { writes, kills, decisions, restores, rollbacks, versions: witnesses.head },
  };
}

async function setUp(seed: number, trace: Trace, base: ServerBase): Promise<Stage> {
  const random = seededRandom(`replicas/${seed}`);
  const scheduler = newScheduler(base.turn);
  const server = await openServerHost({
    base,
    scheduler,
    random: random.fork("server"),
    processes: random.chance(0.3) ? 2 : 1,
  });
  const note = (line: string): void => trace.note(`${scheduler.elapsed()} ${line}`);
  const count = 2 + random.below(3);
  const replicas = Array.from({ length: count }, (_, index) => {
    const name = `c${index + 1}`;
    const processes = random.chance(0.25) ? 2 : 1;
    return openReplica({ name, scheduler, random: random.fork(name), server, processes, log: note });
  });
  const isForgetful = random.fork("memory").chance(0.25);
  const isPolitical = random.fork("politics").chance(0.3);
  const counts = { writes: 0, kills: 0, decisions: 0, restores: 0, rollbacks: 0 };
  const promises = { kept: new Map(), meters: new Map(), localKeys: new Set<string>(), ...counts };
  return { scheduler, random, server, replicas, promises, events: [], isForgetful, isPolitical, note };
}

/** The meters exist everywhere before anybody counts. */
async function start(stage: Stage): Promise<Violation | null> {
  const { promises, replicas, scheduler } = stage;
  for (const key of meterKeys) {
    const made = replicas[0]?.ask("records.write", { kind: "create", collection: "meters", key, value: { n: 0 } });
    if (made?.kind !== "ok")
      return { rule: "start", detail: `the meter ${key} cannot be made: ${JSON.stringify(made)}` };
    promises.meters.set(key, { least: 0, most: 0 });
  }
  const isReady = (): boolean =>
    replicas.every((replica) =>
      meterKeys.every((key) => {
        const seen = replica.ask("records.get", { collection: "meters", key });
        return seen.kind === "ok" && seen.output.record?.state === "synced";
      }),
    );
  return (await scheduler.runUntil(isReady, hourMs)) ? null : { rule: "start", detail: "the meters do not arrive" };
}

async function judgeStep(stage: Stage, witnesses: Witnesses, step: number): Promise<Violation | null> {
  const { replicas } = stage;
  const found = await judgeServer(stage, witnesses);
  if (found !== null) return found;
  for (const replica of replicas) {
    observeReplica(stage, replica, witnesses);
    const wrong =
      replica.wakes.judge() ?? replica.sends.judge() ?? (step % storeEvery === 0 ? judgeStore(replica) : null);
    if (wrong !== null) return wrong;
  }
  return null;
}

/** Faults end, everybody is started and decides what is open; then nothing may be left, and all must be equal. */
async function comeToRest(
  stage: Stage,
  witnesses: Witnesses,
  unseen: () => Violation | null,
): Promise<Violation | null> {
  const { promises, replicas, scheduler, server } = stage;
  stage.note("everything heals");
  server.upgrade();
  server.kill("now");
  server.kill("now");
  for (const replica of replicas) {
    Object.assign(replica.weather, calm());
    replica.credentials.pass = "valid";
    // Whoever was not brought up to date yet is half of the time; the others go on with the first program.
    if (stage.random.chance(0.5)) replica.program.version = 2;
    for (const slot of replica.slots.keys()) replica.kill(slot, "now");
  }
  let quietMs = 0;
  for (let round = 0; round < 40; round += 1) {
    await server.boot();
    for (const replica of replicas) {
      for (const slot of replica.slots.keys()) replica.boot(slot);
      replica.ask("network.online", {});
      replica.ask("subject.signIn", { subject: "" });
    }
    // Most runs are quiet after minutes; the longest delays of the engine (auth, breakers, polls) need the later rounds.
    const spanMs = Math.min(hourMs, 2 * minuteMs * 2 ** round);
    await scheduler.runFor(spanMs);
    const wrong = unseen() ?? (await judgeStep(stage, witnesses, round));
    if (wrong !== null) return wrong;
    // Everybody decides, whoever else is not done yet.
    const resting = replicas.map((replica) => isAtRest(stage, replica, round));
    const lost = resting.find((each) => typeof each === "object");
    if (lost !== undefined) return lost;
    // A poke may be lost: news that nobody is told of come with the next poll.
    quietMs = resting.every((isQuiet) => isQuiet === true) ? quietMs + spanMs : 0;
    // A change of what may be read waits for the rest after the last reading for another one, and for the poll after that.
    if (quietMs > 2 * pollMs.withPokes + (stage.isPolitical ? 2 * viewRestMs : 0)) break;
    if (round === 39) return { rule: "liveness", detail: replicas.map((replica) => restOf(replica)).join("\n") };
  }
  // What a restored server has forgotten of a meter is for people to decide: no count of steps can be expected of them.
  return (
    judgePromises(promises, replicas, witnesses) ??
    (await judgeEquality(server, replicas)) ??
    (promises.restores > 0 ? null : await judgeMeters(server, promises)) ??
    replicas.reduce<Violation | null>((found, replica) => found ?? judgeStore(replica), null)
  );
}

/** Decides what waits for a person; true when nothing does and nothing is unsent. */
function isAtRest(stage: Stage, replica: Replica, round: number): boolean | Violation {
  const open = replica.ask("conflicts.list", { status: "open", limit: 1000 });
  if (open.kind !== "ok") return false;
  const ids = open.output.conflicts.map(({ id }) => id);
  if (ids.length > 0) {
    const choose = stage.random.pick(["local", "remote"]);
    const watched = open.output.conflicts.map((conflict) => watchDecision(replica, conflict));
    const answered = replica.ask("conflicts.resolve", { ids, choose });
    decided(stage, replica);
    const isDone = answered.kind === "ok" && answered.output.refused.length === 0;
    const lost = isDone ? watched.map((judge) => judge(choose)).find((each) => each !== null) : undefined;
    if (lost !== undefined && lost !== null) return lost;
    stage.note(`${replica.name} decides ${ids.length} at rest: ${choose}, ${JSON.stringify(answered)}`);
  }
  const waiting = replica.ask("queue.list", { status: ["pending", "in_progress", "failed"], limit: 1000 });
  if (waiting.kind !== "ok") return false;
  const { operations } = waiting.output;
  const failed = operations.filter(({ status }) => status === "failed").map(({ id }) => id);
  // What the server refuses for good is given up at last; its value stays in the history.
  if (failed.length > 0 && ids.length === 0) {
    const answered = replica.ask("queue.cancel", { ids: failed, dependents: "detach" });
    decided(stage, replica);
    stage.note(`${replica.name} gives ${failed.length} up at rest: ${JSON.stringify(answered)}`);
  }
  // What was held when a person gave up what it depends on waits for that person.
  const held = operations.filter(({ reason }) => reason === "dependency").map(({ id }) => id);
  if (round > patienceRounds && held.length === operations.length)
    for (const id of held) stage.note(`${replica.name} detaches ${id}: ${replica.ask("queue.detach", { id }).kind}`);
  return ids.length === 0 && operations.length === 0;
}

function restOf(replica: Replica): string {
  const waiting = replica.ask("queue.list", { status: ["pending", "in_progress", "failed"], limit: 5 });
  if (waiting.kind !== "ok") return `${replica.name}: ${JSON.stringify(waiting)}`;
  const whys = waiting.output.operations.map(({ id }) => replica.ask("queue.why", { id }));
  const open = replica.ask("conflicts.list", { status: "open", limit: 5 });
  return `${replica.name}: ${JSON.stringify(waiting.output.operations)} ${JSON.stringify(whys)} ${JSON.stringify(open)}`;
}

type Replica = Stage["replicas"][number];
