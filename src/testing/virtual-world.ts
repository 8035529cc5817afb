/**
 * Owns one virtual process: the `World` that an engine gets from a virtual machine, and the process's death at any moment.
 * What processes share is `virtual-machine.ts`; the database as a process sees it is `mortal-database.ts`.
 */
import { newUuidV7, uuidRandomBytes } from "../id.ts";
import type { Signal, World } from "../world.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

export type VirtualProcess = {
  readonly name: string;
  readonly world: World;
  readonly isAlive: () => boolean;
  /** Ends it as kill -9 does: its memory, timers and lock are gone, whatever still runs of it fails at its next step outside. */
  readonly kill: () => void;
  /** Ends it at its `calls`-th step outside from now on: a read of the clock, a draw, a statement, a timer. */
  readonly killAfter: (calls: number) => void;
  /** Ends it right before its next commit, or right after it and before anybody is told. */
  readonly killAtCommit: (moment: "before" | "after") => void;
  /** For the database: passes the moment of a commit; throws when the process was to die there. */
  readonly atCommit: (moment: "before" | "after") => void;
  /** Stops it as SIGSTOP or a sleeping laptop does, and takes its lock away; what comes due waits until `thaw`. */
  readonly freeze: () => void;
  readonly thaw: () => void;
  readonly isFrozen: () => boolean;
  /** Counts one step outside; throws when the process has died. For what the test builds around a process. */
  readonly step: () => void;
  /** Runs a callback that belongs to the process: not once it is dead, later while it is frozen. */
  readonly enter: (task: () => void) => void;
};

const deathName = "ProcessDied";

/** Tells whether an error is only the end of a virtual process, which nobody can catch in reality. */
export function isDeath(error: unknown): boolean {
  return error instanceof Error && error.name === deathName;
}

function death(name: string): Error {
  const error = new Error(`the process ${name} is dead`);
  error.name = deathName;
  return error;
}

/**
 * Starts a process on a machine; give its `world` to `openEngine`.
 * @example
 * const process = bootProcess(machine, "daemon");
 * const engine = openEngine({ database: mortalDatabase(database, machine, process), world: process.world });
 * process.kill();
 */
export function bootProcess(machine: VirtualMachine, name: string): VirtualProcess {
  const life = newLife(machine, name);
  return { ...life, world: worldOf(machine, life) };
}

type Life = Omit<VirtualProcess, "world">;

function newLife(machine: VirtualMachine, name: string): Life {
  let state: "running" | "frozen" | "dead" = "running";
  let callsLeft = Number.POSITIVE_INFINITY;
  let fate: "before" | "after" | null = null;
  const waiting: (() => void)[] = [];
  const kill = (): void => {
    // What it had may be held by now by a process that was started anew under its name.
    if (state === "dead") return;
    state = "dead";
    waiting.length = 0;
    machine.watchers.delete(name);
    if (machine.lock.holder === name) machine.lock.holder = null;
  };
  return {
    name,
    isAlive: () => state !== "dead",
    kill,
    killAfter: (calls) => {
      callsLeft = calls;
    },
    killAtCommit: (moment) => {
      fate = moment;
    },
    atCommit: (moment) => {
      if (state === "dead" || fate !== moment) return;
      kill();
      throw death(name);
    },
    freeze: () => {
      if (state !== "running") return;
      state = "frozen";
      if (machine.lock.holder === name) machine.lock.holder = null;
    },
    thaw: () => {
      if (state !== "frozen") return;
      state = "running";
      for (const task of waiting.splice(0)) runMortal(task);
    },
    isFrozen: () => state === "frozen",
    step: () => {
      if (state === "dead") throw death(name);
      callsLeft -= 1;
      if (callsLeft > 0) return;
      kill();
      throw death(name);
    },
    enter: (task) => {
      if (state === "running") task();
      if (state === "frozen") waiting.push(task);
    },
  };
}

function worldOf(machine: VirtualMachine, life: Life): World {
  const { scheduler, hash } = machine.options;
  const random = machine.options.random.fork(`process/${life.name}`);
  /** Every call is a moment at which the process can die. */
  const alive = <T>(work: () => T): T => {
    life.step();
    return work();
  };
  const later = (delayMs: number, task: () => void): (() => void) => {
    let isCancelled = false;
    const run = (): void => {
      if (!isCancelled) task();
    };
    const cancel = scheduler.after(delayMs, () => runMortal(() => life.enter(run)));
    return () => {
      isCancelled = true;
      cancel();
    };
  };
  return {
    now: () => alive(machine.wallClock.now),
    monotonic: () => alive(scheduler.elapsed),
    random: () => alive(random.next),
    newId: () => alive(() => newUuidV7(machine.wallClock.now(), random.bytes(uuidRandomBytes))),
    hash: (text) => alive(() => hash(text)),
    defer: (task) => alive(() => void later(0, task)),
    setTimer: (delayMs, task) =>
      alive(() =>
        later(delayMs, () => {
          machine.options.onWake?.(life.name);
          task();
        }),
      ),
    newAbort,
    probe: (remote, signal) => alive(() => probe(machine, life, { remote, signal })),
    witness: {
      read: () => alive(() => machine.witness.sequence),
      write: (sequence) => alive(() => writeWitness(machine, life, sequence)),
    },
    watch: (listener) => alive(() => watch(machine, life, listener)),
    drainer: {
      name: life.name,
      tryLock: () =>
        alive(() => {
          machine.lock.holder ??= life.name;
          return machine.lock.holder === life.name;
        }),
      unlock: () => {
        if (life.isAlive() && machine.lock.holder === life.name) machine.lock.holder = null;
      },
    },
    disk: machine.disk,
    log: (level, message, fields) => {
      if (life.isAlive()) machine.options.log?.(life.name, level, message, fields);
    },
  };
}

/** Runs a task of a process; its death is no failure of the test. */
function runMortal(task: () => void): void {
  try {
    task();
  } catch (error) {
    if (!isDeath(error)) throw error;
  }
}

function probe(machine: VirtualMachine, life: Life, ask: { readonly remote: string; readonly signal: Signal }) {
  const asked = machine.options.probe?.(ask.remote, ask.signal);
  if (asked === undefined) return Promise.resolve({ isReachable: true, reason: "the virtual remote answers" });
  // An answer reaches the process only while it runs; for a dead one it never comes.
  return new Promise<Awaited<typeof asked>>((resolve) => {
    asked.then((found) => life.enter(() => resolve(found)));
  });
}

function writeWitness(machine: VirtualMachine, life: Life, sequence: number): void {
  machine.witness.sequence = Math.max(machine.witness.sequence, sequence);
  for (const [name, listeners] of machine.watchers) {
    if (name !== life.name) for (const listener of listeners) listener();
  }
}

function watch(machine: VirtualMachine, life: Life, listener: () => void): () => void {
  const { scheduler, random, watchDelayMs = 50 } = machine.options;
  let isTold = false;
  const tell = (): void => {
    // Several commits in a row are one call, as with a real file watch.
    if (isTold) return;
    isTold = true;
    scheduler.after(random.below(watchDelayMs + 1), () => {
      isTold = false;
      runMortal(() => life.enter(() => (machine.watchers.get(life.name)?.has(tell) === true ? listener() : undefined)));
    });
  };
  const own = machine.watchers.get(life.name) ?? new Set();
  machine.watchers.set(life.name, own.add(tell));
  return () => void own.delete(tell);
}

/** An abort signal without an event loop: listeners run at once, in the order of their coming. */
function newAbort(): { readonly signal: Signal; readonly abort: (reason: unknown) => void } {
  const listeners = new Set<() => void>();
  let outcome: { readonly reason: unknown } | null = null;
  const signal: Signal = {
    get aborted() {
      return outcome !== null;
    },
    get reason() {
      return outcome?.reason;
    },
    addEventListener: (_type, listener) => void listeners.add(listener),
    removeEventListener: (_type, listener) => void listeners.delete(listener),
  };
  const abort = (reason: unknown): void => {
    if (outcome !== null) return;
    outcome = { reason };
    for (const listener of listeners) listener();
    listeners.clear();
  };
  return { signal, abort };
}
