/**
 * Owns an engine that lives on the files of one data directory, and outlives their damage: it is closed, salvaged and opened again.
 * What the engine does is in `engine/`; how files are judged and rescued in `salvage.ts`.
 */

import type { Engine } from "../engine/engine.ts";
import { openEngine as openOn } from "../engine/engine.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { Json } from "../operation.ts";
import type { Settings } from "../shapes.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { OperationType } from "../world.ts";
import { removeReserve } from "./disk.ts";
import { openStore, readLastReport } from "./salvage.ts";
import type { NodeWorld, NodeWorldOptions } from "./world.ts";
import { nodeWorld } from "./world.ts";

/** How long after a failed attempt a damaged store is tried again, while other processes still hold it. */
const reopenMs = 1_000;
/** A reopening must not hold up the process; the first opening may wait longer. */
const reopenPatienceMs = 200;

export type NodeEngineOptions = NodeWorldOptions & {
  readonly types?: readonly OperationType[];
  readonly settings?: Partial<Settings>;
  readonly version?: string;
  /** FULL unless a test wants to see what less would lose. */
  readonly synchronous?: "FULL" | "NORMAL" | "OFF";
};

type Host = {
  readonly options: NodeEngineOptions;
  readonly world: NodeWorld;
  readonly types: Map<string, OperationType>;
  readonly listeners: Set<(event: HoldfastEvent) => void>;
  /** `null` while a damaged store is being opened again. */
  engine: Engine | null;
  isStarted: boolean;
  isClosed: boolean;
};

/**
 * Opens the engine of a data directory, salvaging its store when that is damaged. Nothing is sent before `start`.
 * @example
 * const engine = await openEngine({ directory: "/var/lib/app" });
 * engine.start();
 */
export async function openEngine(options: NodeEngineOptions): Promise<Engine> {
  const world = withReserve(options, () => nodeWorld(options));
  const types = new Map((options.types ?? []).map((type) => [type.type, type]));
  const host: Host = { options, world, types, listeners: new Set(), engine: null, isStarted: false, isClosed: false };
  try {
    host.engine = withReserve(options, () => openInner(host, false));
  } catch (error) {
    world.close();
    throw error;
  }
  return {
    handle: (verb, input) => current(host).handle(verb, input),
    submit: async (verb, input) => current(host).submit(verb, input),
    subscribe: (listener) => {
      host.listeners.add(listener);
      return () => host.listeners.delete(listener);
    },
    register: (type) => {
      host.types.set(type.type, type);
      host.engine?.register(type);
    },
    start: () => {
      host.isStarted = true;
      current(host).start();
    },
    stop: async (graceMs) => {
      host.isStarted = false;
      await host.engine?.stop(graceMs);
    },
    close: () => close(host),
  };
}

/** On a full disk the reserve makes just enough room to open; what is queued can then be read, and drained to make more. */
function withReserve<T>(options: NodeEngineOptions, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!isCode(error, "disk_full") || !removeReserve(options.directory)) throw error;
    return open();
  }
}

function openInner(host: Host, isSuspect: boolean): Engine {
  const { options, world } = host;
  const { database, report } = openStore(options.directory, {
    log: world.log,
    now: world.now,
    isSuspect,
    ...(isSuspect ? { patienceMs: reopenPatienceMs } : {}),
    ...(options.synchronous === undefined ? {} : { synchronous: options.synchronous }),
    onDamage: (findings) => meetDamage(host, findings),
  });
  try {
    const engine = openOn({
      database,
      world,
      types: [...host.types.values()],
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      ...(options.version === undefined ? {} : { version: options.version }),
      recovery: (report.kind === "clean" ? lastReportOf(database) : report) as Json,
    });
    engine.subscribe((event) => {
      for (const listener of host.listeners) listener(event);
    });
    return engine;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** A store that was never migrated has no reports. */
function lastReportOf(database: Parameters<typeof readLastReport>[0]): Json {
  const { n } = database.prepare("SELECT count(*) AS n FROM pragma_table_info('meta')").get() ?? {};
  return n === 0 ? null : (readLastReport(database) as Json);
}

function meetDamage(host: Host, findings: readonly string[]): void {
  if (host.isClosed || host.engine === null) return;
  host.world.log("error", "the store is damaged; it is closed, salvaged and opened again", { findings });
  const damaged = host.engine;
  host.engine = null;
  try {
    damaged.close();
  } catch (error) {
    // Whatever the damage still spoils at the close is judged again at the opening.
    host.world.log("warn", "the damaged store did not close cleanly", { error: String(error) });
  }
  reopen(host);
}

function reopen(host: Host): void {
  if (host.isClosed) return;
  try {
    host.engine = openInner(host, true);
    if (host.isStarted) host.engine.start();
  } catch (error) {
    host.world.log("warn", "the damaged store cannot be opened yet", { error: String(error) });
    setTimeout(() => reopen(host), reopenMs).unref();
  }
}

function current(host: Host): Engine {
  if (host.engine !== null) return host.engine;
  if (host.isClosed)
    throw new HoldfastError("engine_closed", "the engine is closed", "open it again; what was queued is kept");
  throw new HoldfastError("database_busy", "the damaged store is being salvaged", "try again in a moment");
}

function close(host: Host): void {
  if (host.isClosed) return;
  host.isClosed = true;
  const { engine } = host;
  host.engine = null;
  engine?.close();
  host.world.close();
}
