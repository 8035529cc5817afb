// Owns one client of a simulated run: a machine with its own clock, a database that outlives its processes, and the engine in them.
// What it does is drawn in moves.ts; what has to hold is judge.ts.
import { createHash } from "node:crypto";
import type { Database } from "../../src/database.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { isCode } from "../../src/errors.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess, isDeath } from "../../src/testing/virtual-world.ts";
import type { Input, Output, Verb } from "../../src/verbs.ts";
import type { Wakes } from "../simulation/wakes.ts";
import { newWakes } from "../simulation/wakes.ts";
import type { Weather } from "./line.ts";
import { calm, makeLine } from "./line.ts";
import type { Reach } from "./programs.ts";
import { collectionsOf } from "./programs.ts";
import type { Sends } from "./sends.ts";
import { ageing, newSends } from "./sends.ts";
import type { Pass, ServerHost } from "./server-host.ts";

export type Answered<V extends Verb> =
  | { readonly kind: "ok"; readonly output: Output<V> }
  /** Refused by the engine, with its code. */
  | { readonly kind: "refused"; readonly code: string }
  /** The process died over it: it may have been committed. */
  | { readonly kind: "died" };

export type Replica = {
  readonly name: string;
  readonly machine: VirtualMachine;
  readonly database: Database;
  readonly weather: Weather;
  readonly ask: <V extends Verb>(verb: V, input: Input<V>, slot?: number) => Answered<V>;
  /** Processes that share the store. */
  readonly slots: ({ readonly process: VirtualProcess; readonly engine: Engine } | null)[];
  readonly boot: (slot: number) => void;
  /** What it shows at the server's door; a person may get a fresh one at any time. */
  readonly credentials: { pass: Pass; reach: Reach; viewBefore?: string };
  /** The schema version of the program that is installed; processes have it from their next start on. */
  readonly program: { version: 1 | 2 };
  readonly kill: (slot: number, moment: "before" | "after" | "now") => void;
  readonly wakes: Wakes;
  readonly sends: Sends;
};

export type ReplicaParts = {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly server: ServerHost;
  readonly processes: number;
  readonly log: (line: string) => void;
};

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

export function openReplica(parts: ReplicaParts): Replica {
  const { name, random, scheduler, server } = parts;
  const database = openDatabase(":memory:", { synchronous: "OFF" });
  const weather = calm();
  const credentials: Replica["credentials"] = { pass: "valid", reach: "everything" };
  const program: { version: 1 | 2 } = { version: 1 };
  const wakes = newWakes(scheduler);
  const sends = newSends(name, database);
  const ends = { scheduler, weather, credentials, server, onPush: sends.note };
  const machine = newVirtualMachine({
    scheduler,
    random: random.fork("machine"),
    hash: sha256,
    probe: (_remote) =>
      new Promise((resolve) => {
        const isReachable = !weather.isCut && weather.instead !== "portal" && server.isUp();
        scheduler.after(1 + random.below(40), () =>
          resolve({ isReachable, reason: isReachable ? "it answers" : "nobody answers" }),
        );
      }),
    onWake: wakes.note,
    log: (process, level, message, fields) => {
      if (level === "error") parts.log(`${process}: ${message} ${JSON.stringify(fields ?? {})}`);
    },
  });
  const slots: Replica["slots"] = Array.from({ length: parts.processes }, () => null);
  let boots = 0;
  const pace = paceOf(random.fork("pace"));
  const boot = (slot: number): void => {
    if (slots[slot]?.process.isAlive() === true) return;
    boots += 1;
    const process = bootProcess(machine, `${name}.${boots}`);
    try {
      const engine = openEngine({
        database: mortalDatabase(database, machine, process),
        world: process.world,
        ageing,
        collections: collectionsOf(program.version),
        ...pace,
        sync: makeLine({ ...ends, random: random.fork(`line/${boots}`) }, process),
      });
      engine.start();
      slots[slot] = { process, engine };
    } catch (error) {
      if (!isDeath(error)) throw error;
    }
  };
  for (const slot of slots.keys()) boot(slot);
  const ask = <V extends Verb>(verb: V, input: Input<V>, slot = 0): Answered<V> =>
    askProcess(slots[slot] ?? null, verb, input);
  return {
    name,
    machine,
    database,
    weather,
    credentials,
    program,
    ask,
    slots,
    boot,
    wakes,
    sends,
    kill: (slot, moment) => {
      const living = slots[slot];
      if (living === null || living === undefined) return;
      if (moment === "now") living.process.kill();
      else living.process.killAtCommit(moment);
    },
  };
}

/** Where few go at once, others are ready and stay behind. */
const paceOf = (random: Random) => ({
  pushBatch: random.pick([2, 5, 200]),
  // Clocks jump by months here; what was overwritten has to be found at the end all the same.
  settings: {
    concurrency: random.pick([1, 2, 16]),
    ...{ recordHistoryMs: 1e13, recordHistoryCount: 1e9, retainMs: 1e13 },
  },
});

function askProcess<V extends Verb>(living: Replica["slots"][number], verb: V, input: Input<V>): Answered<V> {
  if (living === null || !living.process.isAlive()) return { kind: "refused", code: "down" };
  try {
    return { kind: "ok", output: living.engine.handle(verb, input) };
  } catch (error) {
    if (isDeath(error) || !living.process.isAlive()) return { kind: "died" };
    const code = (error as { readonly code?: string }).code;
    if (code === undefined || isCode(error, "internal")) throw error;
    return { kind: "refused", code };
  }
}
