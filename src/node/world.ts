/**
 * Owns the real world of an engine in Node: clocks, randomness, ids, timers, the drainer's lock, and what its sibling files give.
 * How the database opens and recovers is left to `salvage.ts`; what handlers do is theirs.
 */
import { hash, randomBytes, randomFillSync } from "node:crypto";
import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { v7 as uuidv7 } from "uuid";
import { isCode } from "../errors.ts";
import type { DrainerLock, LogLevel, World } from "../world.ts";
import { defaultReserveBytes, openDisk } from "./disk.ts";
import type { Probe, ProbeOptions } from "./probe.ts";
import { makeProbe } from "./probe.ts";
import type { FileLock } from "./sqlite.ts";
import { acquireFileLock } from "./sqlite.ts";
import { openWitness } from "./witness.ts";

const drainerLockName = "drainer.lock";
/** The longest delay that Node's timers can hold; longer ones are waited for in several steps. */
const longestDelayMs = 2 ** 31 - 1;
/** What the library for ids takes for one. */
const idRandomBytes = 16;
/** The part of an id that counts within a millisecond has 32 bits; it begins in the lower quarter, so that it never runs out. */
const idSequenceLimit = 0x7fff_ffff;

export type Log = World["log"];

export type NodeWorldOptions = {
  /** The data directory; made, for its owner alone, when it is not there. */
  readonly directory: string;
  /** Where remotes are asked whether they can be reached, or a function that does the asking. */
  readonly probe?: ProbeOptions | Probe;
  readonly log?: Log;
  /** Bytes kept aside for a full disk; 0 keeps none. */
  readonly reserveBytes?: number;
};

export type NodeWorld = World & { readonly close: () => void };

/**
 * Makes the world of an engine in this process. Close it after the engine.
 * @example
 * const world = nodeWorld({ directory: "/var/lib/app" });
 * world.newId(); // "019ab3c1-…"
 */
export function nodeWorld(options: NodeWorldOptions): NodeWorld {
  const { directory } = options;
  const log = options.log ?? logToStderr;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const timers = makeTimers();
  const drainer = makeDrainer(directory, { log, onHeld: timers.keepAlive });
  const witness = openWitness(directory, log);
  const monotonic = (): number => performance.now();
  return {
    now: Date.now,
    monotonic,
    random: Math.random,
    newId: makeIds(),
    hash: (text) => hash("sha256", text, "hex"),
    defer: (task) => {
      setImmediate(task);
    },
    setTimer: timers.set,
    newAbort: () => {
      const controller = new AbortController();
      return { signal: controller.signal, abort: (reason) => controller.abort(reason) };
    },
    probe: typeof options.probe === "function" ? options.probe : makeProbe(options.probe),
    witness: { read: witness.read, write: witness.write },
    watch: witness.watch,
    drainer,
    disk: openDisk({ directory, reserveBytes: options.reserveBytes ?? defaultReserveBytes, monotonic }),
    log,
    close: () => {
      timers.clear();
      drainer.unlock();
      witness.close();
    },
  };
}

type Timers = {
  readonly set: World["setTimer"];
  readonly keepAlive: (isKept: boolean) => void;
  readonly clear: () => void;
};

/**
 * Ids that grow also within a millisecond and when the clock goes back. Random bytes are drawn for many at once, because asking
 * the system for them costs more than all the rest of an id.
 */
function makeIds(): () => string {
  const pool = Buffer.alloc(idRandomBytes * 256);
  let used = pool.length;
  let last = { msecs: 0, seq: 0 };
  return () => {
    if (used === pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    const random = pool.subarray(used, used + idRandomBytes);
    used += idRandomBytes;
    const now = Date.now();
    const isFull = last.seq >= idSequenceLimit;
    if (now > last.msecs || isFull) last = { msecs: Math.max(now, last.msecs + 1), seq: random.readUInt32BE(0) >>> 2 };
    else last = { msecs: last.msecs, seq: last.seq + 1 };
    return uuidv7({ random, ...last });
  };
}

/** Who drains stays alive until its timers are done; who merely enqueues may end at any time, so its timers hold nothing up. */
function makeTimers(): Timers {
  const pending = new Set<{ handle: NodeJS.Timeout }>();
  let isKept = false;
  const arm = (delayMs: number, task: () => void): NodeJS.Timeout => {
    const handle = setTimeout(task, delayMs);
    return isKept ? handle : handle.unref();
  };
  const set: World["setTimer"] = (delayMs, task) => {
    const step = (leftMs: number): NodeJS.Timeout =>
      arm(Math.max(0, Math.min(leftMs, longestDelayMs)), () => {
        if (leftMs > longestDelayMs) {
          timer.handle = step(leftMs - longestDelayMs);
          return;
        }
        pending.delete(timer);
        task();
      });
    const timer = { handle: step(delayMs) };
    pending.add(timer);
    return () => {
      clearTimeout(timer.handle);
      pending.delete(timer);
    };
  };
  return {
    set,
    keepAlive: (shouldKeep) => {
      isKept = shouldKeep;
      for (const { handle } of pending) shouldKeep ? handle.ref() : handle.unref();
    },
    clear: () => {
      for (const { handle } of pending) clearTimeout(handle);
      pending.clear();
    },
  };
}

type DrainerOptions = { readonly log: Log; readonly onHeld: (isHeld: boolean) => void };

function makeDrainer(directory: string, options: DrainerOptions): DrainerLock {
  const path = join(directory, drainerLockName);
  let lock: FileLock | null = null;
  return {
    name: `${hostname()}:${process.pid}:${randomBytes(4).toString("hex")}`,
    tryLock: () => {
      if (lock !== null) return true;
      try {
        lock = acquireFileLock(path);
      } catch (error) {
        // A directory that cannot be written cannot be drained from: marks of progress have nowhere to go.
        const level: LogLevel = isCode(error, "read_only") ? "info" : "warn";
        options.log(level, `${path}: the drainer's lock cannot be taken`, { error: String(error) });
      }
      if (lock === null) return false;
      options.onHeld(true);
      return true;
    },
    unlock: () => {
      if (lock === null) return;
      lock.release();
      lock = null;
      options.onHeld(false);
    },
  };
}

/** Without a log of its own a program still hears what went wrong. */
function logToStderr(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void {
  if (level !== "warn" && level !== "error") return;
  const more = fields === undefined ? "" : ` ${JSON.stringify(fields)}`;
  process.stderr.write(`holdfast: ${level}: ${message}${more}\n`);
}
