// Owns a short way to a virtual machine with one engine on it, for tests that tell one story each.
// The machine is src/testing; random lives are test/simulation.
import { createHash } from "node:crypto";
import type { Database } from "../../src/database.ts";
import type { Engine, EngineOptions } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { Operation } from "../../src/operation.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import { seededRandom } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess } from "../../src/testing/virtual-world.ts";
import type { OperationType, ProbeResult } from "../../src/world.ts";

export type StageOptions = {
  readonly types?: readonly OperationType[] | ((process: VirtualProcess) => readonly OperationType[]);
  readonly settings?: NonNullable<EngineOptions["settings"]>;
  readonly ageing?: number;
  readonly seed?: string;
  readonly isReachable?: () => boolean;
  readonly database?: Database;
};

export type VirtualStage = {
  readonly scheduler: Scheduler;
  readonly machine: VirtualMachine;
  readonly database: Database;
  /** The process that runs now. */
  readonly now: () => { readonly process: VirtualProcess; readonly engine: Engine };
  readonly engine: () => Engine;
  readonly get: (id: string) => Operation;
  /** kill -9, then a new process on the same store, which drains. */
  readonly restart: () => Engine;
  /** One more process beside the one that runs. */
  readonly boot: (name: string) => { readonly process: VirtualProcess; readonly engine: Engine };
  readonly [Symbol.dispose]: () => void;
};

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** A machine with one started engine on a store in memory. */
export function openStage(options: StageOptions = {}): VirtualStage {
  const scheduler = newScheduler();
  const isReachable = options.isReachable ?? (() => true);
  const probe = async (): Promise<ProbeResult> => ({
    isReachable: isReachable(),
    reason: isReachable() ? "up" : "down",
  });
  const machine = newVirtualMachine({ scheduler, random: seededRandom(options.seed ?? "stage"), hash: sha256, probe });
  const database = options.database ?? openDatabase(":memory:", { synchronous: "OFF" });
  let count = 0;
  const boot = (name: string) => {
    const process = bootProcess(machine, name);
    const { types = [] } = options;
    const engine = openEngine({
      database: mortalDatabase(database, machine, process),
      world: process.world,
      types: typeof types === "function" ? types(process) : types,
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      ...(options.ageing === undefined ? {} : { ageing: options.ageing }),
    });
    engine.start();
    return { process, engine };
  };
  const next = () => {
    count += 1;
    return boot(`process-${count}`);
  };
  let current = next();
  return {
    scheduler,
    machine,
    database,
    now: () => current,
    engine: () => current.engine,
    get: (id) => current.engine.handle("queue.get", { id }) as Operation,
    restart: () => {
      current.process.kill();
      current = next();
      return current.engine;
    },
    boot,
    [Symbol.dispose]: () => database.close(),
  };
}
