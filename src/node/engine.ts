/**
 * Owns opening the engine on a data directory of this machine: store, world and built-in types put together, and put together anew
 * when the store turns out to be damaged while it works. How a damaged store is saved is `salvage.ts`.
 */
import { join } from "node:path";
import type { Engine } from "../engine/engine.ts";
import { openEngine as openCore } from "../engine/engine.ts";
import { isCode } from "../errors.ts";
import type { NetworkPolicy } from "../network.ts";
import type { Json } from "../operation.ts";
import type { Settings } from "../shapes.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { Collection, OperationType, SyncPort } from "../world.ts";
import { makeBlobs } from "./blobs.ts";
import { startCollecting } from "./collector.ts";
import { makeCommandRun } from "./command.ts";
import type { Credentials } from "./credentials.ts";
import { makeCredentials } from "./credentials.ts";
import { removeReserve } from "./disk.ts";
import { checkEngineOptions, checkType } from "./engine-options.ts";
import { packageVersion } from "./package-version.ts";
import type { Probe, ProbeOptions } from "./probe.ts";
import { healthOf, makeProbe } from "./probe.ts";
import { makeHttpRequest } from "./request.ts";
import { openStore } from "./salvage.ts";
import type { SyncOptions } from "./sync-port.ts";
import { makeSyncPort } from "./sync-port.ts";
import { makeFileUpload } from "./upload.ts";
import type { Log } from "./world.ts";
import { nodeWorld } from "./world.ts";

export type OpenEngineOptions = {
  /** The data directory; made, for its owner alone, when it is not there. */
  readonly directory: string;
  /** Your own operation types beside the built-in ones. */
  readonly types?: readonly OperationType[];
  /** Your collections of records, as `collection` of "holdfast" makes them. */
  readonly collections?: readonly Collection[];
  /** The sync server of the records; without it they stay on this device until one is named. */
  readonly sync?: SyncOptions;
  /** Defaults; what was set at run time goes before them. */
  readonly settings?: Partial<Settings>;
  /** Where it differs from the standard policy of reachability; a function is asked again and again, and may change its answer. */
  readonly network?: Partial<NetworkPolicy> | (() => Partial<NetworkPolicy>);
  readonly probe?: ProbeOptions | Probe;
  readonly log?: Log;
  /** Whether `command.run` may be queued and run here; it starts programs of this machine, so it is off by default. */
  readonly commands?: boolean;
  /** Where credentials come from; default: `credentials.json` in the directory, then the environment. */
  readonly credentials?: Credentials;
};

/** An engine on a data directory. */
export type NodeEngine = Engine & {
  /** Syncs with another server from now on, or, with `null`, with none; see `setSync`. */
  readonly useServer: (sync: SyncOptions | null) => Promise<void>;
};

/** What a repair may not do for ever: a store that is damaged again at once has failing hardware under it. */
const repairLimit = 3;

/** How long after a failed attempt a damaged store is tried again, while other processes still hold it. */
const reopenMs = 1_000;
/** A repair must not hold up a working process; the first opening may wait longer. */
const repairPatienceMs = 200;

/**
 * Opens the engine on a data directory, with `http.request` and `file.upload` known, and `command.run` where `commands` says so.
 * Nothing is sent before `start`. A damaged store is kept aside and what can be proven of it is saved: see `engine.info().recovery`.
 * Throws a `TypeError` for an option that does not exist or is of another kind.
 * @example
 * const engine = await openEngine({ directory: "./data" });
 * engine.start();
 * engine.handle("queue.add", { type: "http.request", payload: { method: "POST", url: "https://example.com/notes" } });
 */
export async function openEngine(options: OpenEngineOptions): Promise<NodeEngine> {
  checkEngineOptions(options);
  const credentials =
    options.credentials ??
    makeCredentials({ file: join(options.directory, "credentials.json"), environment: process.env });
  const builtIn = builtInTypes(options, credentials);
  const sync = options.sync === undefined ? undefined : makeSyncPort({ ...options.sync, credentials });
  let server = options.sync ?? null;
  const probe = probeWith(options.probe, () => server);
  const face = newFace({ ...options, probe }, [...builtIn, ...(options.types ?? [])], sync);
  const unsubscribe = credentials.subscribe((changes) => {
    for (const subject of new Set(changes.map((change) => change.subject ?? ""))) face.signIn(subject);
  });
  if (sync !== undefined) face.lookAgain(sync);
  const blobs = makeBlobs(options.directory);
  await blobs.sweep();
  const stopCollecting = startCollecting(face.engine, blobs, options.log ?? (() => {}));
  const close = (): void => {
    stopCollecting();
    unsubscribe();
    face.engine.close();
  };
  let exchange = Promise.resolve();
  const useServer = (next: SyncOptions | null): Promise<void> => {
    const port = next === null ? null : makeSyncPort({ ...next, credentials });
    // One after the other: what was named last is what holds.
    exchange = exchange
      .catch(() => {})
      .then(() => {
        server = next;
        return face.engine.setSync(port);
      })
      .then(() => void (port !== null && face.lookAgain(port)));
    return exchange;
  };
  const register = (type: OperationType): void => {
    checkType(type);
    face.engine.register(type);
  };
  return { ...face.engine, register, close, useServer };
}

/** The sync server is asked for its health, unless the configuration names something else to ask. */
function probeWith(given: OpenEngineOptions["probe"], server: () => SyncOptions | null): Probe {
  const probe = typeof given === "function" ? given : makeProbe(given);
  return (remote, signal) => {
    const sync = server();
    const isServer = sync !== null && new URL(sync.url).origin === remote;
    return probe(remote, signal, isServer ? [healthOf(sync.url)] : []);
  };
}

function builtInTypes(options: OpenEngineOptions, credentials: Credentials): readonly OperationType[] {
  const blobs = makeBlobs(options.directory);
  const http = makeHttpRequest({ credentials, readBlob: blobs.open });
  const upload = makeFileUpload({ blobs, credentials });
  return options.commands === true
    ? [http, upload, makeCommandRun({ isEnabled: () => true, credentials })]
    : [http, upload];
}

type Face = {
  readonly engine: Engine;
  readonly signIn: (subject: string) => void;
  /** A token may have been given while no process looked: the server is asked once more at the start. */
  readonly lookAgain: (sync: SyncPort) => unknown;
};

type Running = {
  readonly core: Engine;
  readonly follow: () => void;
  readonly close: () => void;
  /** A stop that is under way when the store is closed for repair has nothing left to wait for. */
  readonly closed: Promise<void>;
};

/** An engine that outlives its store: when that turns out to be damaged, it is repaired and opened under the same face. */
function newFace(options: OpenEngineOptions, types: readonly OperationType[], sync: SyncPort | undefined): Face {
  const known = new Map(types.map((type) => [type.type, type]));
  const listeners = new Set<(event: HoldfastEvent) => void>();
  const log = options.log ?? (() => {});
  const state = { isStarted: false, isClosed: false, repairs: 0, sync };
  const open = (isSuspect: boolean): Running =>
    openOnce({ options, known, sync: state.sync, listeners, isSuspect, repair: () => repair() });
  let running = withReserve(options.directory, () => open(false));
  const reopen = (): void => {
    if (state.isClosed) return;
    try {
      running = open(true);
      if (state.isStarted) running.core.start();
    } catch (error) {
      log("warn", "the damaged store cannot be opened yet", { error: String(error) });
      setTimeout(reopen, reopenMs).unref();
    }
  };
  const repair = (): void => {
    if (state.isClosed || state.repairs >= repairLimit) return;
    state.repairs += 1;
    log("error", "the store is damaged; it is repaired and opened again", { repairs: state.repairs });
    closeDamaged(running, log);
    reopen();
  };
  const mended = <T>(ask: () => T): T => {
    try {
      return ask();
    } catch (error) {
      if (!isCode(error, "database_corrupt") || state.repairs >= repairLimit) throw error;
      repair();
      return ask();
    }
  };
  const engine: Engine = {
    handle: (verb, input) => mended(() => running.core.handle(verb, input)),
    submit: (verb, input) =>
      running.core.submit(verb, input).catch((error: unknown) => {
        if (!isCode(error, "database_corrupt") || state.repairs >= repairLimit) throw error;
        repair();
        return running.core.submit(verb, input);
      }),
    subscribe: (listener) => {
      listeners.add(listener);
      running.follow();
      return () => listeners.delete(listener);
    },
    register: (type) => {
      known.set(type.type, type);
      running.core.register(type);
    },
    start: () => {
      state.isStarted = true;
      running.core.start();
    },
    setSync: (next, graceMs) => {
      state.sync = next ?? undefined;
      return Promise.race([running.core.setSync(next, graceMs), running.closed]);
    },
    stop: (graceMs) => {
      state.isStarted = false;
      return untilDone(Promise.race([running.core.stop(graceMs), running.closed]));
    },
    close: () => {
      state.isClosed = true;
      running.close();
    },
  };
  return { engine, ...signing(engine, state, log) };
}

function signing(engine: Engine, state: { readonly isClosed: boolean }, log: Log): Omit<Face, "engine"> {
  const signIn = (subject: string): void => {
    if (!state.isClosed) tellSignIn(engine, subject, log);
  };
  return { signIn, lookAgain: (sync) => !state.isClosed && isRefused(engine, sync) && signIn(sync.subject) };
}

/** Who was signed out by a person stays signed out. */
function isRefused(engine: Engine, { subject, remote }: SyncPort): boolean {
  const gates = engine.handle("queue.status", {}).signedOut.filter((each) => each.subject === subject);
  return gates.some((each) => each.remote === remote) && gates.every((each) => each.remote !== "");
}

function tellSignIn(engine: Engine, subject: string, log: Log): void {
  try {
    engine.handle("subject.signIn", { subject });
  } catch (error) {
    log("warn", "fresh credentials could not be told to the queue", { error: String(error) });
  }
}

/** On a full disk the reserve makes just enough room to open; what is queued can then be read, and drained to make more. */
function withReserve<T>(directory: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!isCode(error, "disk_full") || !removeReserve(directory)) throw error;
    return open();
  }
}

/** Timers of a process that no longer drains do not keep it alive, so a stop that is awaited has to. */
function untilDone<T>(task: Promise<T>): Promise<T> {
  const alive = setInterval(() => {}, 60_000);
  return task.finally(() => clearInterval(alive));
}

/** Whatever the damage still spoils at the close is judged again at the opening. */
function closeDamaged(running: Running, log: Log): void {
  try {
    running.close();
  } catch (error) {
    log("warn", "the damaged store did not close cleanly", { error: String(error) });
  }
}

type Opening = {
  readonly options: OpenEngineOptions;
  readonly known: ReadonlyMap<string, OperationType>;
  readonly sync: SyncPort | undefined;
  readonly listeners: ReadonlySet<(event: HoldfastEvent) => void>;
  readonly isSuspect: boolean;
  readonly repair: () => void;
};

function openOnce(opening: Opening): Running {
  const { options, listeners } = opening;
  // Damage that a background check finds is met like damage that a statement met, after this turn.
  const onDamage = (): void => void setImmediate(opening.repair);
  const log = options.log === undefined ? {} : { log: options.log };
  const probe = options.probe === undefined ? {} : { probe: options.probe };
  const patience = opening.isSuspect ? { patienceMs: repairPatienceMs } : {};
  const { database, recovery } = openStore(options.directory, {
    ...log,
    ...patience,
    isSuspect: opening.isSuspect,
    onDamage,
  });
  const world = openOrClose(database, () => nodeWorld({ directory: options.directory, ...log, ...probe }));
  const openWorld = { database, world };
  const core = openOrClose({ close: () => closeBoth(openWorld) }, () =>
    openCore({
      ...openWorld,
      types: [...opening.known.values()],
      version: packageVersion,
      recovery: recovery as Json,
      onDamage,
      ...(opening.sync === undefined ? {} : { sync: opening.sync }),
      ...(options.collections === undefined ? {} : { collections: options.collections }),
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      ...(options.network === undefined ? {} : { network: options.network }),
    }),
  );
  let noteClosed = (): void => {};
  const closed = new Promise<void>((resolve) => {
    noteClosed = resolve;
  });
  const close = (): void => {
    noteClosed();
    core.close();
    world.close();
  };
  const running = { core, follow: followOnce(core, listeners, options.log ?? (() => {})), close, closed };
  if (listeners.size > 0) running.follow();
  return running;
}

/** An opening that fails halfway leaves nothing open behind it. */
function openOrClose<T>(opened: { readonly close: () => void }, open: () => T): T {
  try {
    return open();
  } catch (error) {
    opened.close();
    throw error;
  }
}

function closeBoth(opened: {
  readonly database: { readonly close: () => void };
  readonly world: { readonly close: () => void };
}): void {
  opened.database.close();
  opened.world.close();
}

/** Passes events on from the first listener on: an engine that nobody follows does not read its feed. */
function followOnce(core: Engine, listeners: ReadonlySet<(event: HoldfastEvent) => void>, log: Log): () => void {
  const state = { isFollowing: false };
  return () => {
    if (state.isFollowing) return;
    state.isFollowing = true;
    core.subscribe((event) => {
      for (const listener of listeners) {
        try {
          listener(event);
        } catch (error) {
          log("error", "a listener failed", { error: String(error), kind: event.kind });
        }
      }
    });
  };
}
