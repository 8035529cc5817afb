// Owns a small engine on virtual time for tests of the engine's rules: one machine, one process at a time, a scripted remote.
// The world itself is src/testing/; whole systems with faults are test/simulation/.
import { createHash } from "node:crypto";
import type { Database } from "../../src/database.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { Answer, Json } from "../../src/operation.ts";
import type { Settings } from "../../src/shapes.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess } from "../../src/testing/virtual-world.ts";
import type { AddInput, HoldfastEvent, Input, Output, Receipt, Verb } from "../../src/verbs.ts";
import type { Attempt, OperationType, ProbeResult } from "../../src/world.ts";

/** What the remote got, in the order of arrival. */
export type Sent = { readonly id: string; readonly key: string; readonly input: Json; readonly at: number };

export type Bench = {
  readonly engine: Engine;
  readonly machine: VirtualMachine;
  /** The store itself, for what no verb shows. */
  readonly database: Database;
  readonly sent: Sent[];
  readonly events: HoldfastEvent[];
  /** Answers the next attempts, first come first served; without any, everything is applied. */
  readonly answers: (Answer | ((attempt: Attempt) => Answer | Promise<Answer>))[];
  probe: ProbeResult;
  readonly add: (input?: Partial<AddInput>) => Receipt;
  readonly ask: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  readonly get: (id: string) => Output<"queue.get">;
  /** Runs everything that happens within this time. */
  readonly run: (ms?: number) => Promise<void>;
  /** Opens the store in one more process, which only queues. */
  readonly another: () => Engine;
  /** Ends the process as kill -9 does and starts another one on the same store. */
  readonly crash: () => void;
  /** Names of the inputs in the order in which they arrived. */
  readonly order: () => readonly Json[];
};

export type BenchOptions = {
  readonly type?: Partial<OperationType>;
  readonly types?: readonly OperationType[];
  readonly settings?: Partial<Settings>;
  readonly ageing?: number;
  readonly wavesAhead?: number;
  readonly isStopped?: boolean;
};

export const remote = "https://remote.example";

export const applied: Answer = { kind: "applied" };
export const refused: Answer = {
  kind: "rejected",
  problem: { code: "http_422", message: "it was refused", status: 422 },
};
export const failed: Answer = {
  kind: "retry",
  problem: { code: "http_500", message: "the server failed", status: 500 },
  isCharged: true,
  scope: "operation",
};
export const silent: Answer = {
  kind: "unknown",
  problem: { code: "connection_refused", message: "nobody answers" },
  mayHaveLanded: false,
};
export const lost: Answer = {
  kind: "unknown",
  problem: { code: "timeout", message: "no answer came" },
  mayHaveLanded: true,
};
export const unauthorized: Answer = {
  kind: "auth",
  problem: { code: "http_401", message: "the token has expired", status: 401 },
};
export const conflicting: Answer = {
  kind: "conflict",
  problem: { code: "http_412", message: "it was changed meanwhile", status: 412 },
  remote: { etag: "2", title: "theirs" },
};

/** Starts an engine with one type, `note`, whose payload may be anything. */
export function startBench(options: BenchOptions = {}): Bench {
  const scheduler = newScheduler();
  const sent: Sent[] = [];
  const events: HoldfastEvent[] = [];
  const answers: Bench["answers"] = [];
  const state = { probe: { isReachable: true, reason: "it answers" } as ProbeResult, boots: 0 };
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("bench"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => state.probe,
  });
  const database = openDatabase(":memory:");
  const note = noteType({ sent, answers, now: scheduler.elapsed }, options.type);
  const open = (): { process: VirtualProcess; engine: Engine } => {
    state.boots += 1;
    const process = bootProcess(machine, `process ${state.boots}`);
    const engine = openEngine({
      database: mortalDatabase(database, machine, process),
      world: process.world,
      types: [note, ...(options.types ?? [])],
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      ...(options.ageing === undefined ? {} : { ageing: options.ageing }),
      ...(options.wavesAhead === undefined ? {} : { wavesAhead: options.wavesAhead }),
    });
    return { process, engine };
  };
  const boot = (): { process: VirtualProcess; engine: Engine } => {
    const { process, engine } = open();
    engine.subscribe((event) => events.push(event));
    if (options.isStopped !== true) engine.start();
    return { process, engine };
  };
  let living = boot();
  const ask: Bench["ask"] = (verb, input) => living.engine.handle(verb, input);
  return {
    get engine() {
      return living.engine;
    },
    machine,
    database,
    sent,
    events,
    answers,
    get probe() {
      return state.probe;
    },
    set probe(probe) {
      state.probe = probe;
    },
    add: (input = {}) => ask("queue.add", { type: "note", payload: null, ...input }),
    ask,
    get: (id) => ask("queue.get", { id }),
    run: (ms = 100) => scheduler.runFor(ms),
    another: () => open().engine,
    crash: () => {
      living.process.kill();
      living = boot();
    },
    order: () => sent.map((each) => each.input),
  };
}

type Heard = { readonly sent: Sent[]; readonly answers: Bench["answers"]; readonly now: () => number };

function noteType({ sent, answers, now }: Heard, given: Partial<OperationType> | undefined): OperationType {
  return {
    type: "note",
    remoteOf: () => remote,
    run: async (attempt) => {
      sent.push({ id: attempt.operation.id, key: attempt.idempotencyKey, input: attempt.input, at: now() });
      const answer = answers.shift() ?? applied;
      return typeof answer === "function" ? answer(attempt) : answer;
    },
    ...given,
  };
}
