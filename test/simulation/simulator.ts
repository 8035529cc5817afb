// Owns one simulated run from its seed: a machine, its processes, the network and the remotes, commands and faults, step by step.
// What is drawn in commands is commands.ts and in faults faults.ts; what has to hold is invariants.ts; many runs are runs.ts.
import { createHash } from "node:crypto";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import type { Random } from "../../src/testing/random.ts";
import { seededRandom } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess, isDeath } from "../../src/testing/virtual-world.ts";
import type { Attempt } from "../../src/world.ts";
import type { Commands } from "./commands.ts";
import { ask, runCommand, subjects } from "./commands.ts";
import { watchDrops } from "./drops.ts";
import { calm, runFault } from "./faults.ts";
import type { Facts, Violation } from "./invariants.ts";
import { judgeEffect, judgeSend, judgeStore, noteAnswer } from "./invariants.ts";
import { judgeEnd, judgeReports } from "./liveness.ts";
import { adoptGates, newModel } from "./model.ts";
import type { ModelServer } from "./model-server.ts";
import { newModelServer } from "./model-server.ts";
import type { FaultyNetwork } from "./network.ts";
import { newFaultyNetwork } from "./network.ts";
import type { Trace } from "./trace.ts";
import { newTrace } from "./trace.ts";
import type { Watcher } from "./types.ts";
import { simulatedTypes } from "./types.ts";
import type { Wakes } from "./wakes.ts";
import { newWakes } from "./wakes.ts";

export type Mode = "safety" | "liveness";

export type RunOptions = {
  readonly seed: number;
  readonly steps: number;
  readonly mode: Mode;
  /** Keep every line of the trace. */
  readonly isTraced?: boolean;
};

export type RunResult = {
  readonly seed: number;
  readonly steps: number;
  readonly mode: Mode;
  readonly violation: Violation | null;
  readonly hash: string;
  readonly trace: readonly string[];
  /** What the store says of the operations that a violation names. */
  readonly story: readonly string[];
  readonly facts: {
    readonly operations: number;
    readonly sends: number;
    readonly effects: number;
    readonly kills: number;
  };
};

export type Living = { readonly process: VirtualProcess; readonly engine: Engine };

/** Everything that takes part in one run. */
export type Simulation = {
  readonly options: RunOptions;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly machine: VirtualMachine;
  readonly server: ModelServer;
  readonly network: FaultyNetwork;
  readonly trace: Trace;
  readonly facts: Facts;
  readonly commands: Commands;
  /** By the slot that a process runs in; a restart takes the slot over. */
  readonly slots: (Living | null)[];
  readonly tokens: Map<string, number>;
  /** Under which lease each process has made each attempt. */
  readonly leases: Map<string, number>;
  /** Who made the latest attempt of each operation. */
  readonly latest: Map<string, string>;
  readonly wakes: Wakes;
  readonly counts: { sends: number; effects: number; kills: number; boots: number };
  violation: Violation | null;
  isLaterKnown: boolean;
  /** At rest little goes at once and much is claimed ahead, and people stop it again and again. */
  isHalting: boolean;
};

export const ageing = 5;
const scanEvery = 24;
const checkEvery = 150;
const slotCount = 3;

/** Runs one seed. Equal options give equal results, to the last line of the trace. */
export async function simulate(options: RunOptions): Promise<RunResult> {
  const database = openDatabase(":memory:", { synchronous: "OFF" });
  try {
    const sim = setUp(options, database);
    await play(sim);
    if (sim.violation === null && options.mode === "liveness") await comeToRest(sim);
    const { violation, trace, counts, facts } = sim;
    return {
      seed: options.seed,
      steps: options.steps,
      mode: options.mode,
      violation,
      hash: trace.hash(),
      trace: trace.lines(),
      story: storyOf(sim),
      facts: { operations: facts.model.operations.size, ...counts },
    };
  } finally {
    database.close();
  }
}

const storyRow = `SELECT seq, id, type, lane, position, priority, rank, state, waits, due, reason, attempts, failures, generation,
  unsure, creates, grp, outcome, payload, options FROM op WHERE id = ?`;
const storyHistory = "SELECT seq, at, kind, detail FROM history WHERE id = ? ORDER BY seq";
const storyLane = "SELECT id, position, state FROM op WHERE lane = ? AND lane <> '' AND state < 6 ORDER BY position";
const flyingLease = "SELECT lease FROM op WHERE id = ? AND state = 3";
const anyId = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

function storyOf(sim: Simulation): readonly string[] {
  const detail = sim.violation?.detail ?? "";
  const [, lane = ""] = /lane "(\w+)"/.exec(detail) ?? [];
  const standing = sim.facts.db
    .prepare(storyLane)
    .all(lane)
    .map((row) => `lane ${lane}: ${row.id} at ${row.position} state ${row.state}`);
  return [...new Set([...(detail.match(anyId) ?? []), ...standing.flatMap((line) => line.match(anyId) ?? [])])].flatMap(
    (id) => [
      ...standing.filter((line) => line.includes(id)),
      JSON.stringify(sim.facts.db.prepare(storyRow).get(id) ?? { id, row: "none" }),
      ...sim.facts.db
        .prepare(storyHistory)
        .all(id)
        .map((row) => `  ${row.seq} ${row.kind} ${row.detail}`),
    ],
  );
}

function setUp(options: RunOptions, db: ReturnType<typeof openDatabase>): Simulation {
  const random = seededRandom(`holdfast/${options.seed}`);
  const scheduler = newScheduler();
  const trace = newTrace(options.isTraced === true);
  const counts = { sends: 0, effects: 0, kills: 0, boots: 0 };
  const report = (violation: Violation | null): void => {
    if (violation === null || sim.violation !== null) return;
    sim.violation = violation;
    trace.note(`VIOLATION ${violation.rule}: ${violation.detail}`);
  };
  const server = newModelServer({
    random: random.fork("server"),
    onEffect: (request, count) => {
      counts.effects += 1;
      trace.note(`effect ${request.key}`);
      report(judgeEffect(facts, request, count));
    },
    onOffence: (rule, detail) => report({ rule, detail }),
  });
  const network = newFaultyNetwork({ scheduler, random: random.fork("network"), server });
  const wakes = newWakes(scheduler);
  const machine = newVirtualMachine({ scheduler, random, hash, probe: network.probe, onWake: wakes.note });
  const jobEffects = new Map<string, number>();
  const model = newModel();
  const wallNow = machine.wallClock.now;
  const room = drawRoom(random.fork("room"));
  let latest = 0;
  const latestWall = (): number => {
    latest = Math.max(latest, wallNow());
    return latest;
  };
  const facts: Facts = { model, db, server, wallNow, latestWall, ageing, room, jobEffects };
  const tokens = new Map<string, number>();
  const commands: Commands = {
    random: random.fork("commands"),
    facts,
    db,
    model,
    note: (line) => trace.note(`${scheduler.elapsed()} ${line}`),
    report,
    renewToken: (subject) => renewToken(sim, subject),
    doom: (engine) => sim.slots.find((slot) => slot?.engine === engine)?.process.killAtCommit("before"),
    nextName: nameMaker(),
    newId: idMaker(random.fork("ids")),
  };
  const sim: Simulation = {
    options,
    random,
    scheduler,
    machine,
    server,
    network,
    trace,
    facts,
    commands,
    slots: Array.from({ length: slotCount }, () => null),
    tokens,
    leases: new Map(),
    latest: new Map(),
    wakes,
    counts,
    violation: null,
    isLaterKnown: false,
    isHalting: false,
  };
  for (const subject of subjects) renewToken(sim, subject);
  boot(sim, 0);
  watchDrops(db);
  return sim;
}

/** How many operations the store may keep, or as many as come. */
const drawRoom = (random: Random): number | null => (random.chance(0.25) ? 8 + random.below(25) : null);

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

function nameMaker(): () => string {
  let count = 0;
  return () => {
    count += 1;
    return `n${count}`;
  };
}

/** Ids of callers: any UUID will do, so these are short to draw and easy to read. */
function idMaker(random: Random): () => string {
  return () => {
    const hex = Array.from(random.bytes(16), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
  };
}

/** Signs a subject in: a token that the remotes accept and this machine holds. */
function renewToken(sim: Simulation, subject: string): void {
  const token = (sim.tokens.get(subject) ?? 0) + 1;
  sim.tokens.set(subject, token);
  sim.server.tokens.set(subject, token);
}

/** Starts a process in a slot; most drain, some only queue. */
export function boot(sim: Simulation, slot: number): void {
  const { machine, counts, random, network } = sim;
  counts.boots += 1;
  const process = bootProcess(machine, `p${counts.boots}`);
  const runJob = (attempt: { readonly operation: { readonly id: string } }, done: () => void): void => {
    sim.scheduler.after(1 + random.below(5_000), () => {
      if (!process.isAlive()) return;
      const { id } = attempt.operation;
      (sim.facts.jobEffects as Map<string, number>).set(id, (sim.facts.jobEffects.get(id) ?? 0) + 1);
      done();
    });
  };
  const tokenOf = (subject: string): number => sim.tokens.get(subject) ?? 0;
  const types = simulatedTypes({ process, network, watcher: watcherOf(sim), tokenOf, runJob }, sim.isLaterKnown);
  const narrow = random.fork(`narrow ${counts.boots}`);
  const isNarrow = sim.isHalting || narrow.chance(0.4);
  try {
    const engine = openEngine({
      database: mortalDatabase(sim.facts.db, machine, process),
      world: process.world,
      types,
      ageing,
      // Few at once and many ahead, or the other way round: what is claimed ahead is what has no room.
      wavesAhead: isNarrow ? 1 + narrow.below(4) : 0,
      // Where there is room nothing is dropped unasked, not even on a full disk; where there is little, the oldest that has ended.
      settings: {
        retainMs: 400 * 86_400_000,
        ...(sim.facts.room === null
          ? { overflow: "reject" as const }
          : { overflow: "drop-completed-first" as const, maxOperations: sim.facts.room }),
        ...(isNarrow ? { concurrency: 2, concurrencyPerRemote: 1 + narrow.below(2) } : {}),
      },
    });
    if (slot === 0 || random.chance(0.7)) engine.start();
    // One listener is enough for the trace; the others would only read the same feed again.
    if (slot === 0)
      engine.subscribe((event) => sim.trace.note(`${process.name} ${event.kind} ${event.id} ${event.status}`));
    sim.slots[slot] = { process, engine };
  } catch (error) {
    // An open that fails for want of room is tried again by the next restart.
    process.kill();
    sim.slots[slot] = null;
    const isFull = (error as { code?: unknown }).code === "disk_full";
    if (!isFull && !isDeath(error)) report(sim, { rule: "open", detail: String((error as Error).stack) });
  }
  sim.trace.note(`boot ${process.name} in ${slot}`);
}

export function report(sim: Simulation, violation: Violation | null): void {
  sim.commands.report(violation);
}

/** The lease under which an operation is on the wire; null when it is not. */
function leaseOf(sim: Simulation, id: string): number | null {
  const row = sim.facts.db.prepare(flyingLease).get(id);
  return row === undefined ? null : Number(row.lease);
}

/** A process may hear of an attempt late, when it has begun another one of the same operation. */
const attemptName = ({ name }: VirtualProcess, { operation }: Attempt): string =>
  `${name}/${operation.id}/${operation.attempts}`;

function watcherOf(sim: Simulation): Watcher {
  return {
    onSend: (process, attempts) => {
      sim.counts.sends += attempts.length;
      for (const attempt of attempts) {
        const { operation, idempotencyKey } = attempt;
        sim.trace.note(`${process.name} sends ${operation.type} ${idempotencyKey}`);
        sim.latest.set(operation.id, process.name);
        sim.leases.set(attemptName(process, attempt), leaseOf(sim, operation.id) ?? 0);
      }
      report(sim, judgeSend(sim.facts, attempts));
    },
    onAnswer: (process, attempt, answer) => {
      const op = sim.facts.model.operations.get(attempt.operation.id);
      sim.trace.note(`${process.name} hears ${answer.kind} of ${attempt.idempotencyKey}`);
      // After an abort only a yes still counts.
      const isYes = answer.kind === "applied" || answer.kind === "duplicate";
      if (op === undefined || (attempt.signal.aborted && !isYes)) return;
      if (leaseOf(sim, op.id) === sim.leases.get(attemptName(process, attempt)))
        noteAnswer(op, answer, sim.machine.lock.holder === process.name);
    },
  };
}

async function play(sim: Simulation): Promise<void> {
  const { options, scheduler, random } = sim;
  const faults = random.fork("faults");
  for (let step = 0; step < options.steps && sim.violation === null; step += 1) {
    if (random.chance(0.35)) {
      const living = sim.slots.filter((slot) => slot !== null && !slot.process.isFrozen());
      const slot = living[random.below(Math.max(1, living.length))];
      sim.wakes.noteCommand();
      if (slot !== null && slot !== undefined) runCommand(sim.commands, slot.engine);
      await scheduler.settle();
    } else if (random.chance(0.06)) {
      runFault(sim, faults);
      await scheduler.settle();
    } else {
      await scheduler.runNext();
    }
    bury(sim);
    sim.facts.latestWall();
    if (step % scanEvery === 0) report(sim, sim.wakes.judge() ?? judgeStore(sim.facts));
    if (step % checkEvery === checkEvery - 1) report(sim, judgeReports(sim));
  }
}

/** Empties the slots of processes that died; what they had on the wire is nobody's now. */
export function bury(sim: Simulation): void {
  sim.slots.forEach((slot, index) => {
    if (slot === null || slot.process.isAlive()) return;
    sim.slots[index] = null;
    noteEndOf(sim, slot.process.name);
  });
}

/** A process has ended or lost its lock: answers that it had are not booked, and its attempts are interrupted. */
export function noteEndOf(sim: Simulation, process: string): void {
  sim.counts.kills += 1;
  sim.trace.note(`end of ${process}`);
  const flying = new Set(
    sim.facts.db
      .prepare("SELECT id FROM op WHERE state = 3")
      .all()
      .map((row) => String(row.id)),
  );
  for (const op of sim.facts.model.operations.values()) {
    if (sim.latest.get(op.id) !== process) continue;
    op.charged = [0, op.charged[1]];
    op.hasYes = false;
    if (flying.has(op.id)) op.isInterrupted = true;
  }
}

/** Liveness: the faults stop, everything is allowed again, and then whatever is left must say why. */
async function comeToRest(sim: Simulation): Promise<void> {
  sim.isHalting = sim.random.fork("halting").chance(0.5);
  calm(sim);
  if (sim.isHalting) await haltAndGo(sim);
  await runUntilQuiet(sim);
  // What is scheduled for later comes due, wherever the clock stood when that was asked for.
  sim.machine.wallClock.jump(30 * 86_400_000);
  await runUntilQuiet(sim);
  if (sim.violation === null) report(sim, judgeEnd(sim));
}

const haltRounds = 20;

/**
 * What is claimed ahead is given back whenever somebody holds anything up, in whichever process, and is claimed again: nothing of it is
 * forgotten, and nothing goes that another process has held up a moment ago.
 */
async function haltAndGo(sim: Simulation): Promise<void> {
  const random = sim.random.fork("halts");
  for (const slot of sim.slots.keys()) if (sim.slots[slot] === null) boot(sim, slot);
  const engines = sim.slots.flatMap((slot) => (slot === null ? [] : [slot.engine]));
  for (let round = 0; round < haltRounds && sim.violation === null; round += 1) {
    const engine = engines[random.below(Math.max(1, engines.length))];
    if (engine === undefined) return;
    const scope = random.chance(0.5) ? ({ kind: "lane", name: "a" } as const) : ({ kind: "all" } as const);
    await sim.scheduler.runFor(1 + random.below(100));
    ask(sim.commands, engine, "queue.pause", { scope });
    adoptGates(sim.facts.model, sim.facts.db);
    await sim.scheduler.runFor(1 + random.below(20));
    ask(sim.commands, engine, "queue.resume", { scope });
    adoptGates(sim.facts.model, sim.facts.db);
  }
}

const quietMs = 600_000;
const mostSpans = 300;

/** Runs spans of calm until one of them passes without an attempt. */
async function runUntilQuiet(sim: Simulation): Promise<void> {
  for (let span = 0; span < mostSpans && sim.violation === null; span += 1) {
    const before = sim.counts.sends;
    await sim.scheduler.runFor(quietMs);
    bury(sim);
    report(sim, sim.wakes.judge() ?? judgeStore(sim.facts));
    if (sim.counts.sends === before) return;
  }
  report(sim, { rule: "liveness", detail: `attempts go on after ${mostSpans} spans of calm` });
}
