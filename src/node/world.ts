/**
 * Owns the real world of an engine in Node: clocks, randomness, ids, timers, the drainer's lock, and what its sibling files give.
 * How the database opens and recovers is left to `salvage.ts`; what handlers do is theirs.
 */
import { hash, randomBytes, randomFillSync } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { isCode } from "../errors.ts";
import { newUuidV7, uuidRandomBytes } from "../id.ts";
import type { DrainerLock, LogLevel, World } from "../world.ts";
import { defaultReserveBytes, openDisk } from "./disk.ts";
import { makeFolder } from "./folder.ts";
import type { Probe, ProbeOptions } from "./probe.ts";
import { makeProbe } from "./probe.ts";
import type { FileLock } from "./sqlite.ts";
import { acquireFileLock } from "./sqlite.ts";
import { openWitness } from "./witness.ts";

const drainerLockName = "drainer.lock";
/** The longest delay that Node's timers can hold; longer ones are waited for in several steps. */
const longestDelayMs = 2 ** 31 - 1;
/** The part of an id that counts within a millisecond has 26 bits; it begins in the lower half, so that it never runs out. */
const idCounterLimit = 0x3ff_ffff;

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
  makeFolder(directory);
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
 * Ids that grow also within a millisecond and when the clock goes back: their first random bits are drawn for each millisecond and then
 * counted up (RFC 9562, section 6.2). Random bytes are drawn for many at once, because asking the system for them costs more than all
 * the rest of an id.
 */
function makeIds(): () => string {
  const pool = Buffer.alloc(uuidRandomBytes * 400);
  let used = pool.length;
  let last = 0;
  let counter = 0;
  return () => {
    if (used === pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    const from = used;
    used += uuidRandomBytes;
    const now = Date.now();
    if (now > last || counter === idCounterLimit) {
      last = Math.max(now, last + 1);
      counter = pool.readUInt32BE(from) & (idCounterLimit >>> 1);
    } else counter += 1;
    pool[from] = counter >>> 22;
    pool[from + 1] = counter >>> 14;
    pool[from + 2] = counter >>> 8;
    pool[from + 3] = counter;
    return newUuidV7(last, pool, from);
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
