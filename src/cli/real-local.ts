/**
 * Owns what the command does in the data directory itself: configuration, credentials, captured files, the daemon's process,
 * the facts for `doctor`. Each part loads its own modules when it is used.
 */
import { accessSync, constants, lstatSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { HoldfastError, isCode } from "../errors.ts";
import type { Credential } from "../node/credentials.ts";
import type { DaemonStatus } from "../node/detached.ts";
import type { Home } from "../node/home.ts";
import { homePaths, openHome } from "../node/home.ts";
import type { Local } from "./host.ts";
import type { ConfigEntry, DaemonState, Diagnosis } from "./local.ts";
import { nearest } from "./parse.ts";
import { daemonCommand, directoryOf } from "./real-session.ts";
import { toHoldfastError } from "./report.ts";

export async function openLocal(home: string | undefined, main: string): Promise<Local> {
  const paths = homePaths(directoryOf(home));
  return {
    directory: paths.directory,
    config: openConfig(paths),
    credentials: openCredentials(paths),
    daemon: openDaemon(paths, main),
    capture: async (path, mode) => {
      const { makeBlobs } = await import("../node/blobs.ts");
      const payload = await makeBlobs(openHome(paths.directory).directory).captureFile(path, { mode });
      return { payload, sizeBytes: payload.sizeBytes };
    },
    diagnose: () => diagnose(paths),
  };
}

function openConfig(paths: Home): Local["config"] {
  const entryOf = async (key: string): Promise<ConfigEntry> => {
    const { getConfigValue, parseConfigValue } = await import("../node/config.ts");
    const { configKeys } = await import("../config.ts");
    const value = getConfigValue(paths.config, key);
    if (value !== undefined) return { key, value, source: "file" };
    const known = configKeys.find((each) => each.key === key);
    // The table says it as the file would; what it says in words stays words.
    if (known !== undefined) return { key, value: parseConfigValue(known.standard), source: "default" };
    if (configKeys.some((each) => each.key.includes("<") && key.startsWith(`${each.key.split("<")[0]}`))) {
      return { key, value: null, source: "default" };
    }
    const near = nearest(
      key,
      configKeys.map((each) => each.key),
    );
    throw new HoldfastError(
      "not_found",
      `there is no configuration key ${key}`,
      near === undefined ? "see `holdfast config list`" : `did you mean ${near}?`,
    );
  };
  return {
    path: async () => paths.config,
    get: entryOf,
    list: async () => {
      const { configKeys } = await import("../config.ts");
      const keys = configKeys.map(({ key }) => key).filter((key) => !key.includes("<"));
      return Promise.all([...keys, ...(await perType(paths))].map(entryOf));
    },
    set: async (key, typed) => {
      const { parseConfigValue, readConfig, setConfigValue } = await import("../node/config.ts");
      openHome(paths.directory);
      readConfig(paths.config);
      try {
        setConfigValue(paths.config, key, parseConfigValue(typed));
      } catch (error) {
        // The file is sound and stays as it is: what is wrong is what was typed, and it has no line.
        if (!isCode(error, "config_invalid")) throw error;
        await entryOf(key);
        throw new HoldfastError(
          "invalid_input",
          error.message.replace(`${paths.config}:`, "").replace(/^\d+: /, ""),
          `\`holdfast config get ${key}\` shows what it is now`,
          { cause: error },
        );
      }
      return entryOf(key);
    },
  };
}

/** The keys that the file has for single types, e.g. retry.http.request. */
async function perType(paths: Home): Promise<readonly string[]> {
  const { readConfig } = await import("../node/config.ts");
  const { configKeys } = await import("../config.ts");
  const { retry = {}, conflict = {} } = readConfig(paths.config);
  const named = (table: string, types: object): readonly string[] =>
    Object.keys(types)
      .filter((type) => !configKeys.some(({ key }) => key === `${table}.${type}`))
      .map((type) => `${table}."${type}"`);
  return [...named("retry", retry), ...named("conflict", conflict)];
}

const credentialsIn = ({ directory }: Pick<Home, "directory">): string => join(directory, "credentials.json");

function openCredentials(paths: Home): Local["credentials"] {
  const open = async () => {
    const { makeCredentials } = await import("../node/credentials.ts");
    const { directory } = openHome(paths.directory);
    return makeCredentials({ file: credentialsIn({ directory }), environment: process.env });
  };
  return {
    list: async () => (await open()).list(),
    // The copy is for the compiler: a secret of ours is readonly, a stored one is not.
    set: async (name, secret, subject) => (await open()).set(name, structuredClone(secret) as Credential, subject),
    remove: async (name, subject) => (await open()).remove(name, subject),
  };
}

function openDaemon(paths: Home, main: string): Local["daemon"] {
  const look = async (): Promise<DaemonState> =>
    stateOf(paths, await (await import("../node/detached.ts")).daemonStatus(paths.directory));
  return {
    run: async (options) => (await import("./serve.ts")).serve(paths.directory, options),
    start: async ({ port, host }) => {
      const { startDetached } = await import("../node/detached.ts");
      const more = [
        ...(port === undefined ? [] : ["--port", String(port)]),
        ...(host === undefined ? [] : ["--host", host]),
      ];
      return stateOf(paths, await startDetached(paths.directory, { command: daemonCommand(main, more) }));
    },
    stop: async (isForced) => {
      await (await import("../node/detached.ts")).stopDaemon(paths.directory, { force: isForced });
      return look();
    },
    status: look,
    log: (options) => readLines(paths, options),
  };
}

function stateOf(paths: Home, status: DaemonStatus): DaemonState {
  const nothing = {
    isRunning: false,
    isSilent: status.state === "silent" || status.state === "untrusted",
    home: paths.directory,
    pid: status.state === "silent" ? status.pid : null,
    host: null,
    port: null,
    socket: null,
    startedAt: null,
    version: null,
  };
  if (status.state !== "running") return nothing;
  const { pid, endpoint, version, startedAt } = status;
  return {
    isRunning: true,
    isSilent: false,
    home: paths.directory,
    pid,
    host: endpoint.host,
    port: endpoint.port,
    socket: endpoint.socket,
    startedAt,
    version,
  };
}

type LogOptions = Parameters<Local["daemon"]["log"]>[0];

async function* readLines(paths: Home, { lines, isFollowing, signal }: LogOptions): AsyncIterable<string> {
  const { followLog, readLog } = await import("../node/log.ts");
  const waiting: string[] = [];
  let ring = (): void => {};
  const hear = (line: string): void => {
    waiting.push(line);
    ring();
  };
  const stop = isFollowing ? followLog(paths.log, hear) : () => {};
  signal.addEventListener("abort", () => ring());
  try {
    if (statSync(paths.log, { throwIfNoEntry: false }) !== undefined) yield* readLog(paths.log, lines);
    while (isFollowing && !signal.aborted) {
      const next = waiting.shift();
      if (next !== undefined) yield next;
      else
        await new Promise<void>((resolve) => {
          ring = resolve;
        });
    }
  } finally {
    stop();
  }
}

async function diagnose(paths: Home): Promise<Diagnosis> {
  const { daemonStatus } = await import("../node/detached.ts");
  const doesExist = lstatSync(paths.directory, { throwIfNoEntry: false }) !== undefined;
  const daemon = await daemonStatus(paths.directory).catch(() => ({ state: "stopped" as const, stale: null }));
  return {
    nodeVersion: process.version,
    home: paths.directory,
    doesExist,
    loose: doesExist ? findLoose(paths) : [],
    isWritable: !doesExist || isWritable(paths.directory),
    configTrouble: await findConfigTrouble(paths),
    freeBytes: freeBytes(paths.directory),
    daemon: stateOf(paths, daemon),
  };
}

/** The file as the daemon would read it, with the files of types that it names. */
async function findConfigTrouble(paths: Home): Promise<Diagnosis["configTrouble"]> {
  const { readConfig } = await import("../node/config.ts");
  const { loadDeclarations } = await import("../node/declarations.ts");
  try {
    await loadDeclarations(readConfig(paths.config).types ?? [], paths.config);
    return null;
  } catch (error) {
    const { message, hint } = toHoldfastError(error);
    return { message, hint };
  }
}

/** What others than the owner can reach. The configuration holds no secrets, so that others may read it if they get there. */
function findLoose(paths: Home): Diagnosis["loose"] {
  if (process.platform === "win32") return [];
  const wanted = [
    [paths.directory, "700", 0o077],
    [paths.token, "600", 0o077],
    [paths.portFile, "600", 0o077],
    [paths.database, "600", 0o077],
    [credentialsIn(paths), "600", 0o077],
    [paths.log, "600", 0o077],
    [paths.config, "600", 0o022],
  ] as const;
  return wanted.flatMap(([path, mode, refused]) => {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || (found.mode & refused) === 0) return [];
    return [{ path, mode: (found.mode & 0o777).toString(8), wanted: mode }];
  });
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Of the directory, or of the nearest one above it that is there. */
function freeBytes(path: string): number | null {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return dirname(path) === path ? null : freeBytes(dirname(path));
  }
}
