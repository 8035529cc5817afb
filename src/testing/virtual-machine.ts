/**
 * Owns a machine that exists only in a test: its clocks, its disk, the drainer's lock and the marks that its processes share.
 * What one process on it sees as its `World` is `virtual-world.ts`; when things happen is `scheduler.ts`.
 */
import type { LogLevel, ProbeResult, Signal } from "../world.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

export type VirtualMachineOptions = {
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** SHA-256 of a text's UTF-8 bytes, in hex, e.g. from `node:crypto`. */
  readonly hash: (text: string) => string;
  /** Wall clock at the beginning; default 2026-01-01. */
  readonly startAt?: number;
  /** Answers probes; default: every remote is reachable. */
  readonly probe?: (remote: string, signal: Signal) => Promise<ProbeResult>;
  /** Called when a timer of a process wakes it: a process that wakes without end burns a real machine. */
  readonly onWake?: (process: string) => void;
  readonly log?: (
    process: string,
    level: LogLevel,
    message: string,
    fields?: Readonly<Record<string, unknown>>,
  ) => void;
  /** Longest time until another process hears of a commit; default 50 ms. */
  readonly watchDelayMs?: number;
};

/** What all processes of one machine share. */
export type VirtualMachine = {
  readonly options: VirtualMachineOptions;
  readonly wallClock: {
    readonly now: () => number;
    /** Sets the clock forward or back, as NTP or a person does. */
    readonly jump: (byMs: number) => void;
    /** Wall milliseconds per real millisecond from now on; 1 is a good clock. */
    readonly drift: (rate: number) => void;
  };
  readonly disk: VirtualDisk;
  readonly lock: { holder: string | null };
  readonly witness: { sequence: number };
  /** Told to every process but the writer. */
  readonly watchers: Map<string, Set<() => void>>;
};

export type VirtualDisk = {
  readonly fill: () => void;
  readonly free: () => void;
  readonly isFull: () => boolean;
  readonly freeBytes: () => number;
  readonly releaseReserve: () => boolean;
  readonly restoreReserve: () => boolean;
  /** Takes the room of one commit; false when there is none. */
  readonly takeRoom: () => boolean;
};

/** Commits that fit into the reserve file's space. */
const reserveCommits = 64;
const commitBytes = 4_096;
const roomyBytes = 1_099_511_627_776;
const firstOfJanuary = 1_767_225_600_000;

/**
 * Makes a machine on a timeline.
 * @example
 * const machine = newVirtualMachine({ scheduler: newScheduler(), random: seededRandom("7"), hash });
 * machine.wallClock.jump(-86_400_000);
 */
export function newVirtualMachine(options: VirtualMachineOptions): VirtualMachine {
  const { scheduler } = options;
  let base = options.startAt ?? firstOfJanuary;
  let since = 0;
  let rate = 1;
  const now = (): number => Math.trunc(base + (scheduler.elapsed() - since) * rate);
  const rebase = (to: number, nextRate: number): void => {
    base = to;
    since = scheduler.elapsed();
    rate = nextRate;
  };
  return {
    options,
    wallClock: { now, jump: (byMs) => rebase(now() + byMs, rate), drift: (next) => rebase(now(), next) },
    disk: newVirtualDisk(),
    lock: { holder: null },
    witness: { sequence: 0 },
    watchers: new Map(),
  };
}

function newVirtualDisk(): VirtualDisk {
  let isFull = false;
  let hasReserve = true;
  let room = 0;
  return {
    fill: () => {
      isFull = true;
      room = 0;
    },
    free: () => {
      isFull = false;
    },
    isFull: () => isFull,
    freeBytes: () => (isFull ? room * commitBytes : roomyBytes),
    releaseReserve: () => {
      if (!hasReserve) return false;
      hasReserve = false;
      room = reserveCommits;
      return true;
    },
    restoreReserve: () => {
      if (isFull) return hasReserve;
      hasReserve = true;
      return true;
    },
    takeRoom: () => {
      if (!isFull) return true;
      if (room <= 0) return false;
      room -= 1;
      return true;
    },
  };
}
