/**
 * Owns the life of one daemon: lock, configuration, engine, listeners, port file, reload, and an end that loses nothing.
 * Starting it in the background and finding it again is `detached.ts`; what it answers is `routes.ts`.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Config, DaemonConfig, NetworkConfig, SyncConfig } from "../config.ts";
import { daemonConfigOf, networkConfigOf, settingsOf, syncConfigOf } from "../config.ts";
import type { Engine } from "../engine/engine.ts";
import { HoldfastError } from "../errors.ts";
import type { Settings } from "../shapes.ts";
import type { Collection, OperationType } from "../world.ts";
import { applySettings, readConfig, watchConfig } from "./config.ts";
import type { Declarations } from "./declarations.ts";
import { loadDeclarations } from "./declarations.ts";
import type { AcquireFileLock, FileLock, Home, PortFile } from "./home.ts";
import {
  acquireInstance,
  alreadyRunning,
  fitsSocket,
  homeDirectory,
  keepPortFile,
  logToFileVariable,
  openHome,
  readOrCreateToken,
  removePortFile,
  writePortFile,
} from "./home.ts";
import type { Listener, ListenerOptions, ListenPolicy } from "./listen.ts";
import { checkBind, listenTcp, listenUnix } from "./listen.ts";
import type { Log } from "./log.ts";
import { openLog } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { openMetrics } from "./metrics.ts";
import type { App } from "./routes.ts";
import { makeApp } from "./routes.ts";
import { acquireFileLock } from "./sqlite.ts";

/** What the daemon hands to whoever opens the engine. */
export type EngineRequest = {
  readonly directory: string;
  readonly types: readonly OperationType[];
  readonly collections: readonly Collection[];
  readonly settings: Partial<Settings>;
  /** What the file says now: it may change while the engine runs. */
  readonly network: () => NetworkConfig;
  /** `null`: no sync server is configured; records stay here until one is. */
  readonly sync: SyncConfig | null;
  readonly log: Log["write"];
};

/** An engine that can exchange its sync server does so when the file names another one. */
export type DaemonEngine = Engine & { readonly useServer?: (sync: SyncConfig | null) => Promise<void> };

export type DaemonOptions = {
  readonly openEngine: (request: EngineRequest) => Promise<DaemonEngine> | DaemonEngine;
  readonly version: string;
  readonly directory?: string;
  /** Goes before `daemon.port` of the file. */
  readonly port?: number;
  /** Goes before `daemon.host` of the file. */
  readonly host?: string;
  /** Default: config.toml in the data directory. */
  readonly configFile?: string;
  /** Default: to the file where `startDetached` started this process, else to standard output. */
  readonly log?: Log;
  /** Stop on SIGTERM and SIGINT, and end the process on an error that nobody caught. */
  readonly handlesProcess?: boolean;
  /** How long a predecessor that is just stopping is waited for. */
  readonly waitForLockMs?: number;
  readonly acquireFileLock?: AcquireFileLock;
  readonly limits?: NonNullable<ListenerOptions["limits"]>;
};

export type RunningDaemon = {
  readonly home: Home;
  readonly engine: Engine;
  readonly token: string;
  readonly url: string;
  readonly port: number;
  readonly socket: string | null;
  /** Finishes what is being answered, then closes the store. A second call with 0 ends the wait at once. */
  readonly stop: (graceMs?: number) => Promise<void>;
  /** Resolves when the daemon has stopped, for whatever reason. */
  readonly stopped: Promise<void>;
};

const lockRetryMs = 50;
/** Answers are small: one that is not out by then has a client that does not read. */
const answerGraceMs = 3_000;

/**
 * Runs the daemon of a data directory in this process.
 * @example
 * const daemon = await runDaemon({ openEngine, version: "0.1.0", directory: "/var/lib/app" });
 * await daemon.stopped;
 */
export async function runDaemon(options: DaemonOptions): Promise<RunningDaemon> {
  const home = openHome(options.directory ?? homeDirectory());
  const lock = await takeLock(home, options);
  const undo: (() => void)[] = [lock.release];
  try {
    return await start(options, home, undo);
  } catch (error) {
    undoAll(undo);
    throw error;
  }
}

/** Takes back what was opened, the last first; a step that fails keeps none of the others, the lock above all, from their turn. */
function undoAll(undo: (() => void)[]): readonly unknown[] {
  return undo
    .splice(0)
    .reverse()
    .flatMap((step) => {
      try {
        step();
        return [];
      } catch (error) {
        return [error];
      }
    });
}

async function start(options: DaemonOptions, home: Home, undo: (() => void)[]): Promise<RunningDaemon> {
  const startedAt = Date.now();
  const configFile = options.configFile ?? home.config;
  const config = readConfig(configFile);
  const live: Live = {
    daemon: withOverrides(daemonConfigOf(config), options),
    network: networkConfigOf(config),
    isStopping: false,
  };
  checkBind(live.daemon.host, live.daemon.isRemoteAllowed);
  const token = readOrCreateToken(home.token);
  const log = options.log ?? openLog({ level: live.daemon.logLevel, ...(logsToFile() ? { path: home.log } : {}) });
  if (options.log === undefined) undo.push(log.close);
  const declared = await loadDeclarations(config.types, configFile);
  const sync = syncConfigOf(config);
  const engine = await options.openEngine({
    directory: home.directory,
    ...declared,
    settings: settingsOf(config),
    network: () => live.network,
    sync,
    log: log.write,
  });
  undo.push(engine.close);
  applySettings(engine, home.applied, settingsOf(config));
  const parts = assemble({ options, engine, token, log, startedAt, live });
  undo.push(parts.metrics.close);
  const listeners = await listen(parts.listening, { home, daemon: live.daemon, log, undo });
  const tcp = listeners.find((each) => each.port !== null);
  const unix = listeners.find((each) => each.port === null);
  const portFile: PortFile = {
    pid: process.pid,
    host: live.daemon.host,
    port: tcp?.port ?? 0,
    socket: unix === undefined ? null : home.socket,
    startedAt,
    version: options.version,
  };
  writePortFile(home.portFile, portFile);
  undo.push(() => removePortFile(home.portFile, portFile));
  undo.push(keepPortFile(home.portFile, portFile));
  undo.push(watchSettings({ configFile, applied: home.applied, live, options, engine, log, declared, sync }));
  engine.start();
  log.write("info", "the daemon is ready", {
    directory: home.directory,
    port: portFile.port,
    socket: portFile.socket,
    version: options.version,
  });
  const { stop, stopped } = makeStop({ live, engine, app: parts.app, listeners, log, undo });
  if (options.handlesProcess === true) undo.unshift(handleProcess({ stop, stopped, engine, log }));
  const host = live.daemon.host.includes(":") ? `[${live.daemon.host.replace(/[[\]]/g, "")}]` : live.daemon.host;
  return {
    home,
    engine,
    token,
    url: `http://${host}:${portFile.port}`,
    port: portFile.port,
    socket: portFile.socket,
    stop,
    stopped,
  };
}

type Live = { daemon: DaemonConfig; network: NetworkConfig; isStopping: boolean };

async function takeLock(home: Home, options: DaemonOptions): Promise<FileLock> {
  const acquire = options.acquireFileLock ?? acquireFileLock;
  const giveUpAt = performance.now() + (options.waitForLockMs ?? 1_000);
  for (;;) {
    const lock = acquireInstance(home, acquire);
    if (lock !== null) return lock;
    if (performance.now() >= giveUpAt) throw alreadyRunning(home);
    await delay(lockRetryMs);
  }
}

type Assembly = {
  readonly options: DaemonOptions;
  readonly engine: Engine;
  readonly token: string;
  readonly log: Log;
  readonly startedAt: number;
  readonly live: Live;
};

function assemble(from: Assembly): {
  readonly app: App;
  readonly metrics: Metrics;
  readonly listening: ListenerOptions;
} {
  const { options, engine, token, log, startedAt, live } = from;
  const metrics: Metrics = openMetrics({
    engine,
    version: options.version,
    countEventClients: () => app.countEventClients(),
  });
  const app: App = makeApp({
    engine,
    metrics,
    token,
    startedAt,
    version: options.version,
    now: Date.now,
    limits: () => ({ bodyBytes: live.daemon.maxBodyBytes, eventClients: live.daemon.maxEventClients }),
    isStopping: () => live.isStopping,
    log: log.write,
  });
  const policy = (): ListenPolicy => ({
    token,
    allowedOrigins: live.daemon.allowedOrigins,
    allowedHosts: live.daemon.allowedHosts,
    connections: live.daemon.maxConnections,
    requestsPerSecond: live.daemon.requestsPerSecond,
  });
  const limits = options.limits === undefined ? {} : { limits: options.limits };
  const onTrouble = (error: Error): void => log.write("error", "the port failed", { error: String(error) });
  return { app, metrics, listening: { app, policy, onRefusal: metrics.observeRefusal, onTrouble, ...limits } };
}

type Listening = {
  readonly home: Home;
  readonly daemon: DaemonConfig;
  readonly log: Log;
  readonly undo: (() => void)[];
};

async function listen(options: ListenerOptions, at: Listening): Promise<readonly Listener[]> {
  const { home, daemon, log, undo } = at;
  const listeners = [...(await listenTcp(options, daemon.host, daemon.port))];
  undo.push(() => listeners.forEach(cutOff));
  if (daemon.host === "127.0.0.1" && listeners.length === 1)
    log.write("info", "there is no listener on ::1", { port: listeners[0]?.port });
  if (fitsSocket(home.socket)) listeners.push(await listenUnix(options, home.socket));
  else log.write("warn", "no Unix socket: its path would be too long", { path: home.socket });
  return listeners;
}

function cutOff(listener: Listener): void {
  void listener.close();
  listener.cut();
}

type Watching = {
  readonly configFile: string;
  readonly applied: string;
  readonly live: Live;
  readonly options: DaemonOptions;
  readonly engine: DaemonEngine;
  readonly log: Log;
  readonly declared: Declarations;
  readonly sync: SyncConfig | null;
};

/** Applies a changed file; what cannot change while the daemon runs is said in the log. */
function watchSettings({ configFile, applied, live, options, engine, log, declared, sync }: Watching): () => void {
  const known = new Set(declared.types.map((each) => each.type));
  const collections = new Set(declared.collections.map((each) => each.name));
  let server = sync;
  const complain = (error: unknown): void =>
    log.write("warn", "config.toml was not applied; the settings so far stay in force", { error });
  const apply = async (config: Config): Promise<void> => {
    // Whatever can fail comes first, so that a file is applied as a whole or not at all.
    const daemon = withOverrides(daemonConfigOf(config), options);
    const fresh = await loadDeclarations(config.types, configFile);
    const changed = applySettings(engine, applied, settingsOf(config));
    live.network = networkConfigOf(config);
    if (daemon.port !== live.daemon.port || daemon.host !== live.daemon.host)
      log.write("warn", "a new host or port takes effect when the daemon starts again");
    for (const type of fresh.types.filter((each) => !known.has(each.type))) {
      engine.register(type);
      known.add(type.type);
    }
    const later = fresh.collections.map((each) => each.name).filter((name) => !collections.has(name));
    if (later.length > 0)
      log.write("warn", "new collections of a file take effect when the daemon starts again", { collections: later });
    live.daemon = { ...daemon, host: live.daemon.host, port: live.daemon.port };
    log.setLevel(daemon.logLevel);
    log.write("info", "config.toml was applied", { changed });
    const wanted = syncConfigOf(config);
    if (JSON.stringify(wanted) === JSON.stringify(server)) return;
    try {
      await followServer({ engine, log }, wanted);
      server = wanted;
    } catch (error) {
      log.write("warn", "another sync server could not be taken up; everything else of config.toml was applied", {
        error,
      });
    }
  };
  // One after the other: a file that is saved twice must not end with what it said first.
  let last = Promise.resolve();
  const applyNext = (config: Config): void => {
    last = last.then(() => apply(config)).catch(complain);
  };
  return watchConfig(configFile, { onChange: applyNext, onInvalid: complain });
}

/** Nothing is lost by another server: what is unsent goes there, and what it lacks of what is here is kept and asked about. */
async function followServer(
  { engine, log }: Pick<Watching, "engine" | "log">,
  wanted: SyncConfig | null,
): Promise<void> {
  if (engine.useServer === undefined) {
    log.write("warn", "another sync server takes effect when the daemon starts again");
    return;
  }
  await engine.useServer(wanted);
  log.write("info", "another sync server is in use", { url: wanted?.url ?? null, space: wanted?.space ?? null });
}

type Stopping = {
  readonly live: Live;
  readonly engine: Engine;
  readonly app: App;
  readonly listeners: readonly Listener[];
  readonly log: Log;
  readonly undo: (() => void)[];
};

function makeStop(parts: Stopping): {
  readonly stop: (graceMs?: number) => Promise<void>;
  readonly stopped: Promise<void>;
} {
  const { live, engine, app, listeners, log, undo } = parts;
  const over = openPromise();
  const hurry = openPromise();
  const run = async (graceMs: number): Promise<void> => {
    live.isStopping = true;
    log.write("info", "the daemon is stopping", { graceMs });
    app.endEvents();
    const answered = Promise.all(listeners.map((each) => each.close()));
    const limit = delay(Math.min(graceMs, answerGraceMs), undefined, { ref: false });
    const idle = Promise.race([answered, limit, hurry.promise]);
    // Both at once: nothing new is claimed while the last callers get their answers.
    const drained = Promise.race([engine.stop(graceMs), hurry.promise.then(() => engine.stop(0))]);
    const failures = (await Promise.allSettled([idle, drained])).filter((each) => each.status === "rejected");
    for (const failure of failures)
      log.write("error", "stopping met an error; the store is closed all the same", { error: failure.reason });
    for (const listener of listeners) listener.cut();
    log.write("info", "the daemon has stopped");
    const [failed] = undoAll(undo);
    if (failed === undefined) over.resolve();
    else over.reject(failed);
  };
  const stop = (graceMs: number = live.daemon.stopGraceMs): Promise<void> => {
    if (!live.isStopping) run(graceMs).catch(over.reject);
    else if (graceMs === 0) hurry.resolve();
    return over.promise;
  };
  return { stop, stopped: over.promise };
}

type Ending = {
  readonly stop: (graceMs?: number) => Promise<void>;
  readonly stopped: Promise<void>;
  readonly engine: Engine;
  readonly log: Log;
};

/** A first signal stops in good order, a second one at once; both lose nothing, because nothing acknowledged is only in memory. */
function handleProcess({ stop, engine, log }: Ending): () => void {
  let signals = 0;
  const onSignal = (): void => {
    signals += 1;
    void stop(signals === 1 ? undefined : 0);
  };
  const onFailure = (error: unknown): void => {
    log.write("error", "the daemon failed and ends", { error });
    try {
      engine.close();
    } finally {
      process.exit(1);
    }
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("uncaughtException", onFailure);
  process.on("unhandledRejection", onFailure);
  return () => {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
    process.off("uncaughtException", onFailure);
    process.off("unhandledRejection", onFailure);
  };
}

function withOverrides(daemon: DaemonConfig, options: DaemonOptions): DaemonConfig {
  const port = options.port ?? daemon.port;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new HoldfastError(
      "invalid_input",
      `${port} is not a TCP port`,
      "give a number from 0 to 65535; 0 takes any free port",
    );
  }
  return { ...daemon, port, host: options.host ?? daemon.host };
}

type OpenPromise = {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

function openPromise(): OpenPromise {
  let settle: Pick<OpenPromise, "resolve" | "reject"> = { resolve: () => {}, reject: () => {} };
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, resolve: () => settle.resolve(), reject: (error) => settle.reject(error) };
}

function logsToFile(): boolean {
  return process.env[logToFileVariable] === "file";
}
