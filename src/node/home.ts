/**
 * Owns the data directory: where it is, that only its owner can reach it, the token, the port file and the lock that keeps
 * one daemon per directory. What is inside the database is the engine's; who may call the daemon is `guard.ts`.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  watch,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import envPaths from "env-paths";
import { HoldfastError } from "../errors.ts";

/** The files of one data directory. */
export type Home = {
  readonly directory: string;
  readonly database: string;
  readonly config: string;
  readonly token: string;
  readonly portFile: string;
  readonly socket: string;
  readonly log: string;
  readonly lock: string;
  /** The settings that config.toml had when it was last applied. */
  readonly applied: string;
};

/** What a running daemon says about itself in `daemon.json`. */
export type PortFile = {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
  /** `null` where the path would be too long for a socket, or the platform has none. */
  readonly socket: string | null;
  readonly startedAt: number;
  readonly version: string;
};

/** A lock that the operating system lets go of when its holder dies, however it dies. */
export type FileLock = { readonly release: () => void };
export type AcquireFileLock = (path: string) => FileLock | null;

/** Set by `startDetached`; tells the daemon that its standard output is not a terminal but the log's own file. */
export const logToFileVariable = "HOLDFAST_DAEMON_LOG";

const ownerOnlyDirectory = 0o700;
const ownerOnlyFile = 0o600;
const tokenBytes = 32;
const tokenPattern = /^[A-Za-z0-9_-]{43}$/;
/** Linux allows 107 bytes, macOS 103; a longer path is cut silently by some systems, so it is not tried. */
const socketPathLimit = 103;

/** Where the data lives: `HOLDFAST_HOME`, else the platform's conventional place. */
export function homeDirectory(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const named = environment.HOLDFAST_HOME;
  if (named !== undefined && named !== "") return resolve(named);
  return envPaths("holdfast", { suffix: "" }).data;
}

/** Names the files of a data directory without touching the disk. */
export function homePaths(directory: string): Home {
  const at = (name: string): string => join(directory, name);
  return {
    directory,
    database: at("holdfast.db"),
    config: at("config.toml"),
    token: at("token"),
    portFile: at("daemon.json"),
    socket: at("daemon.sock"),
    log: at("daemon.log"),
    lock: at("daemon.lock"),
    applied: at("config.applied.json"),
  };
}

/** Makes the data directory when it is missing and refuses one that somebody else could read or write. */
export function openHome(directory: string): Home {
  const whole = resolve(directory);
  if (lstatOrNull(whole) === null) mkdirSync(whole, { recursive: true, mode: ownerOnlyDirectory });
  const found = lstatSync(whole);
  const refuse = (what: string, hint: string): never => {
    throw new HoldfastError("config_invalid", `the data directory ${whole} ${what}`, hint, {
      details: { path: whole },
    });
  };
  if (found.isSymbolicLink()) refuse("is a symbolic link", "set HOLDFAST_HOME to the directory itself");
  if (!found.isDirectory()) refuse("is not a directory", "set HOLDFAST_HOME to a directory");
  if (isForeign(found)) refuse(`belongs to user ${found.uid}`, "set HOLDFAST_HOME to a directory of your own");
  if (process.platform === "win32") return homePaths(whole);
  const isOpen = (found.mode & 0o077) !== 0;
  if ((found.mode & 0o022) !== 0) refuse("can be written by other users", `run: chmod 700 '${whole}'`);
  if (isOpen && !isOurs(whole)) refuse("can be read by other users", `run: chmod 700 '${whole}'`);
  // Readable only, and ours: closing it harms nobody, and the queue's payloads are nobody else's business.
  if (isOpen) chmodSync(whole, ownerOnlyDirectory);
  return homePaths(whole);
}

/** Reads the token, and makes it first when there is none. Two processes that race read the same token. */
export function readOrCreateToken(path: string): string {
  if (lstatOrNull(path) === null) createToken(path);
  return readToken(path);
}

/** Reads the token; refuses a file that others could have read or planted. */
export function readToken(path: string): string {
  const refuse = (what: string, hint: string): never => {
    throw new HoldfastError("config_invalid", `the token file ${path} ${what}`, hint, { details: { path } });
  };
  const found = lstatOrNull(path);
  if (found === null) return refuse("is missing", "start the daemon once: it makes the token");
  if (!found.isFile()) refuse("is not a plain file", "remove it; the daemon makes a new one when it starts");
  // O_NOFOLLOW closes the gap between looking and opening.
  const file = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    const opened = fstatSync(file);
    if (isForeign(opened))
      refuse(`belongs to user ${opened.uid}`, "remove it; the daemon makes a new one when it starts");
    if (process.platform !== "win32" && (opened.mode & 0o077) !== 0) {
      refuse(
        "can be read by other users",
        `remove it, so that the daemon makes a new one, or run: chmod 600 '${path}'`,
      );
    }
    const token = readFileSync(file, "utf8").trim();
    return tokenPattern.test(token)
      ? token
      : refuse("is damaged", "remove it; the daemon makes a new one when it starts");
  } finally {
    closeSync(file);
  }
}

/** Takes the right to be this directory's daemon, or `null` while another process has it. */
export function acquireInstance(home: Home, acquireFileLock: AcquireFileLock): FileLock | null {
  return acquireFileLock(home.lock);
}

/** The refusal that a second daemon gets, naming the first where it has told its address. */
export function alreadyRunning(home: Home): HoldfastError {
  const running = readPortFile(home.portFile);
  const who = running === null ? "another process (still starting)" : `process ${running.pid} on port ${running.port}`;
  return new HoldfastError(
    "daemon_running",
    `a daemon for ${home.directory} is already running: ${who}`,
    "use it as it is, or stop it first with `holdfast daemon stop`",
    {
      details:
        running === null
          ? { directory: home.directory }
          : { directory: home.directory, pid: running.pid, port: running.port },
    },
  );
}

/** Says where the daemon listens; readers see the old file or the whole new one. */
export function writePortFile(path: string, content: PortFile): void {
  writeFileAtomically(path, `${JSON.stringify(content)}\n`);
}

/** What `daemon.json` says, or `null` when there is none or it cannot be read. It may be stale: prove it before trusting it. */
export function readPortFile(path: string): PortFile | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
  if (typeof parsed !== "object" || parsed === null) return null;
  const { pid, host, port, socket, startedAt, version } = parsed as Record<string, unknown>;
  if (!isPositive(pid) || !isPositive(port) || port > 65_535 || typeof startedAt !== "number") return null;
  return {
    pid,
    host: typeof host === "string" ? host : "127.0.0.1",
    port,
    socket: typeof socket === "string" ? socket : null,
    startedAt,
    version: typeof version === "string" ? version : "",
  };
}

/** Writes the port file again when somebody has removed it: without it nobody finds the daemon, nor could stop it. */
export function keepPortFile(path: string, own: PortFile): () => void {
  const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
    if (name === basename(path) && lstatOrNull(path) === null) writePortFile(path, own);
  });
  // The directory itself is gone, or the system has no watchers left: then the file is simply not kept.
  watcher.on("error", () => watcher.close());
  return () => watcher.close();
}

/** Removes the port file, unless a successor has already written its own. */
export function removePortFile(path: string, own: PortFile): void {
  const found = readPortFile(path);
  if (found === null || (found.pid === own.pid && found.startedAt === own.startedAt)) rmSync(path, { force: true });
}

/** Replaces a file by rename after it is on the disk; 0600 from the first byte. */
export function writeFileAtomically(path: string, content: string, mode: number = ownerOnlyFile): void {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    writeDurably(temporary, content, mode);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Whether the path is short enough for a Unix socket on every supported system. */
export function fitsSocket(path: string): boolean {
  return process.platform !== "win32" && Buffer.byteLength(path) <= socketPathLimit;
}

function createToken(path: string): void {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    writeDurably(temporary, `${randomBytes(tokenBytes).toString("base64url")}\n`, ownerOnlyFile);
    // A link never replaces: whoever comes second keeps the first one's token.
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

function writeDurably(path: string, content: string, mode: number): void {
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
  try {
    // The umask may have taken bits away; it never adds any.
    if (process.platform !== "win32") fchmodSync(file, mode);
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function lstatOrNull(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

function isForeign(found: Stats): boolean {
  const user = process.getuid?.();
  return user !== undefined && found.uid !== user;
}

/** Empty, or with our files in it: then nobody put the directory to another use. */
function isOurs(directory: string): boolean {
  const names = readdirSync(directory);
  return (
    names.length === 0 || names.includes("holdfast.db") || names.includes("token") || names.includes("config.toml")
  );
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}
