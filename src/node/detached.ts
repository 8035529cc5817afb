/**
 * Owns the daemon as seen from outside: finding it, proving that it is ours before anything secret is sent, starting it in the
 * background and stopping it. What it does once it runs is `daemon.ts`.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { errorTable, HoldfastError } from "../errors.ts";
import { isProof } from "./guard.ts";
import type { AcquireFileLock, Home, PortFile } from "./home.ts";
import { homePaths, logToFileVariable, openHome, readPortFile, readToken } from "./home.ts";
import { request } from "./http.ts";
import { acquireFileLock } from "./sqlite.ts";

/** How a daemon can be reached; the Unix socket goes first because only its owner can open it. */
export type Endpoint = { readonly socket: string | null; readonly host: string; readonly port: number };

export type DaemonStatus =
  | {
      readonly state: "running";
      readonly pid: number;
      readonly endpoint: Endpoint;
      readonly token: string;
      readonly version: string;
      readonly startedAt: number;
      readonly uptimeMs: number;
      readonly health: Readonly<Record<string, unknown>>;
    }
  /** `stale` is the port file of a daemon that died without removing it. */
  | { readonly state: "stopped"; readonly stale: PortFile | null }
  /** A process holds the lock and does not answer: it is starting, stopping or stuck. */
  | { readonly state: "silent"; readonly pid: number | null }
  /** Something answers where our daemon should be, and cannot prove that it knows the token. */
  | { readonly state: "untrusted"; readonly endpoint: Endpoint };

export type LookOptions = { readonly timeoutMs?: number; readonly acquireFileLock?: AcquireFileLock };

export type StartOptions = LookOptions & {
  /** The program and its arguments; default: `holdfast daemon run` of this package. */
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly startTimeoutMs?: number;
};

export type StopOptions = LookOptions & {
  readonly waitMs?: number;
  /** How long a daemon that holds the directory and does not answer may be on its way up or down. */
  readonly settleMs?: number;
  readonly force?: boolean;
};

const pollMs = 50;
const logTailLines = 15;
const goneTries = 20;
const settleMs = 5_000;

/** Tells whether the daemon of a directory runs. Never sends the token to anybody who has not proved to know it. */
export async function daemonStatus(directory: string, options: LookOptions = {}): Promise<DaemonStatus> {
  const home = homePaths(directory);
  const found = readPortFile(home.portFile);
  const isLocked = (): boolean => isHeld(home, options.acquireFileLock ?? acquireFileLock);
  if (found === null) return isLocked() ? { state: "silent", pid: null } : { state: "stopped", stale: null };
  if (!existsSync(home.token))
    return isLocked() ? { state: "silent", pid: found.pid } : { state: "stopped", stale: found };
  const token = readToken(home.token);
  let isStranger = false;
  for (const endpoint of endpointsOf(found)) {
    const outcome = await prove(endpoint, { token, timeoutMs: options.timeoutMs ?? 2_000 });
    if (outcome.kind === "proved") return { state: "running", endpoint, token, ...outcome.about };
    isStranger ||= outcome.kind === "stranger";
  }
  // With a free lock the file is what a dead daemon left, and who answers there is just a program that took the port since.
  if (!isLocked()) return { state: "stopped", stale: found };
  return isStranger
    ? { state: "untrusted", endpoint: { ...found, socket: null } }
    : { state: "silent", pid: found.pid };
}

/** The running daemon, or the error that says what to do. */
export async function findDaemon(
  directory: string,
  options: LookOptions = {},
): Promise<Extract<DaemonStatus, { state: "running" }>> {
  const status = await daemonStatus(directory, options);
  if (status.state === "running") return status;
  if (status.state === "untrusted") throw untrusted(status.endpoint);
  refuseLostToken(homePaths(directory), status);
  if (status.state === "silent") throw silent(directory, status.pid);
  throw new HoldfastError(
    "daemon_unreachable",
    `no daemon runs for ${directory}`,
    "start it with `holdfast daemon start`",
    { details: { directory } },
  );
}

function silent(directory: string, pid: number | null): HoldfastError {
  return new HoldfastError(
    "daemon_unreachable",
    `a daemon${pid === null ? "" : ` (process ${pid})`} holds ${directory} and does not answer`,
    "wait a moment; if it stays, see `holdfast daemon logs` and use `holdfast daemon stop --force`",
    { details: { directory, ...(pid === null ? {} : { pid }) } },
  );
}

/** Starts the daemon in the background unless it runs already; returns when it has proved itself. */
export async function startDetached(
  directory: string,
  options: StartOptions,
): Promise<Extract<DaemonStatus, { state: "running" }>> {
  const home = openHome(directory);
  const giveUpAt = performance.now() + (options.startTimeoutMs ?? 20_000);
  const present = await daemonStatus(home.directory, options);
  if (present.state === "running") return present;
  if (present.state === "untrusted") throw untrusted(present.endpoint);
  refuseLostToken(home, present);
  const logStart = statSync(home.log, { throwIfNoEntry: false })?.size ?? 0;
  let end = begin(home, options);
  for (;;) {
    const status = await daemonStatus(home.directory, { ...options, timeoutMs: 1_000 });
    if (status.state === "running") return status;
    // Somebody else held the directory: one that is starting is waited for, one that was stopping leaves room for another try.
    const { reason, code } = end;
    const hasLost = code === errorTable.daemon_running.exit;
    if (reason !== null && !hasLost) throw notStarted(home, reason, logStart);
    if (hasLost && status.state === "stopped") end = begin(home, options);
    if (performance.now() > giveUpAt) {
      // Who held the directory before holds it still; what ours says of that, or has not come to say, would be no help.
      const isHeldByOther = hasLost || present.state === "silent";
      if (isHeldByOther && status.state === "silent") throw silent(home.directory, status.pid);
      throw notStarted(home, "it does not answer", logStart);
    }
    await delay(pollMs);
  }
}

/** How a child ended, once it has. */
type End = { readonly reason: string | null; readonly code: number | null };

function begin(home: Home, options: StartOptions): End {
  const child = spawnDetached(home, options);
  // It outlives whoever started it, also one that does not answer and is not waited for any longer.
  child.unref();
  const end: { reason: string | null; code: number | null } = { reason: null, code: null };
  child.once("error", (error) => Object.assign(end, { reason: `it cannot be started: ${error.message}` }));
  child.once("exit", (code, signal) =>
    Object.assign(end, { reason: `it ended with ${signal ?? `code ${code}`}`, code }),
  );
  return end;
}

/** Stops the daemon and waits for its end. False when none was running. */
export async function stopDaemon(directory: string, options: StopOptions = {}): Promise<boolean> {
  const status = await settledStatus(directory, options);
  if (status.state === "stopped") return false;
  if (status.state === "untrusted") throw untrusted(status.endpoint);
  // A process that is only starting or stopping has no proof to give; it is left alone unless it is meant.
  if (status.state === "silent" && (options.force !== true || status.pid === null))
    await findDaemon(directory, options);
  const pid = status.pid as number;
  signal(pid, status.state === "silent" ? "SIGKILL" : "SIGTERM");
  if (await waitForEnd(directory, pid, options)) return true;
  if (options.force === true) {
    signal(pid, "SIGKILL");
    if (await waitForEnd(directory, pid, { ...options, waitMs: 5_000 })) return true;
  }
  throw new HoldfastError(
    "timed_out",
    `the daemon (process ${pid}) has not stopped yet`,
    "wait, or use `holdfast daemon stop --force`: nothing that was acknowledged is lost",
    {
      details: { pid },
    },
  );
}

/** One that is only starting or stopping is given the time to be through with it. */
async function settledStatus(directory: string, options: StopOptions): Promise<DaemonStatus> {
  const giveUpAt = performance.now() + (options.settleMs ?? settleMs);
  for (;;) {
    const status = await daemonStatus(directory, options);
    const isMoving = status.state === "silent" && options.force !== true && existsSync(homePaths(directory).token);
    if (!isMoving || performance.now() > giveUpAt) return status;
    await delay(pollMs);
  }
}

/** Who holds the directory and whose token is gone can neither be proved nor be asked to stop; waiting would not help. */
function refuseLostToken(home: Home, status: DaemonStatus): void {
  if (status.state !== "silent" || status.pid === null || existsSync(home.token)) return;
  throw new HoldfastError(
    "daemon_unreachable",
    `the token file ${home.token} is gone, and the daemon (process ${status.pid}) listens to nobody without it`,
    "holdfast daemon stop --force; the next command starts it again with a new token, and nothing queued is lost",
    { details: { directory: home.directory, pid: status.pid } },
  );
}

async function waitForEnd(directory: string, pid: number, options: StopOptions): Promise<boolean> {
  const home = homePaths(directory);
  const giveUpAt = performance.now() + (options.waitMs ?? 15_000);
  while (isHeld(home, options.acquireFileLock ?? acquireFileLock)) {
    if (performance.now() > giveUpAt) return false;
    await delay(pollMs);
  }
  // The store is closed; the process is gone in a moment. A parent that does not collect it must not hold anybody up.
  for (let left = goneTries; left > 0 && isAlive(pid); left -= 1) await delay(pollMs);
  return true;
}

type About = {
  readonly pid: number;
  readonly version: string;
  readonly startedAt: number;
  readonly uptimeMs: number;
  readonly health: Readonly<Record<string, unknown>>;
};
type Proving = { readonly token: string; readonly timeoutMs: number };
type Proved =
  | { readonly kind: "proved"; readonly about: About }
  | { readonly kind: "stranger" }
  | { readonly kind: "nobody" };

/** First the challenge, without the token; the token goes only to who has answered it. */
async function prove(endpoint: Endpoint, { token, timeoutMs }: Proving): Promise<Proved> {
  const challenge = randomBytes(24).toString("base64url");
  const first = await ask(endpoint, { path: `/health?challenge=${challenge}`, timeoutMs });
  if (first === null) return { kind: "nobody" };
  const port = endpoint.socket === null ? endpoint.port : 0;
  if (!isProof(token, port, challenge, first.proof)) return { kind: "stranger" };
  const health = await ask(endpoint, { path: "/health", timeoutMs, token });
  if (health === null) return { kind: "nobody" };
  const { pid, version, startedAt, uptimeMs } = health;
  if (typeof pid !== "number" || typeof startedAt !== "number") return { kind: "nobody" };
  return { kind: "proved", about: { pid, startedAt, version: String(version), uptimeMs: Number(uptimeMs), health } };
}

type Question = { readonly path: string; readonly timeoutMs: number; readonly token?: string };

/** A small JSON answer, or `null` when nobody gives one in time. */
function ask(
  endpoint: Endpoint,
  { path, timeoutMs, token }: Question,
): Promise<Readonly<Record<string, unknown>> | null> {
  const where =
    endpoint.socket === null ? { host: endpoint.host, port: endpoint.port } : { socketPath: endpoint.socket };
  // The name in Host must be a loopback name, whatever path or address leads there.
  const host = endpoint.socket === null ? `127.0.0.1:${endpoint.port}` : "localhost";
  return new Promise((resolve) => {
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(timeoutMs);
    const call = request({ ...where, path, agent: false, signal, headers: { host, ...authorization } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > 1_000_000) call.destroy();
      });
      response.on("error", () => resolve(null));
      response.on("end", () => resolve(objectOf(text)));
    });
    call.on("error", () => resolve(null));
    call.end();
  });
}

function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    // An answer, but none of ours: a stranger.
    return {};
  }
}

function endpointsOf(found: PortFile): readonly Endpoint[] {
  const host = found.host === "0.0.0.0" ? "127.0.0.1" : found.host === "::" ? "::1" : found.host.replace(/[[\]]/g, "");
  const tcp = { socket: null, host, port: found.port };
  return found.socket !== null && existsSync(found.socket) ? [{ ...tcp, socket: found.socket }, tcp] : [tcp];
}

function isHeld(home: Home, acquire: AcquireFileLock): boolean {
  if (!existsSync(home.lock)) return false;
  const lock = acquire(home.lock);
  lock?.release();
  return lock === null;
}

function spawnDetached(home: Home, options: StartOptions): ChildProcess {
  const [program = process.execPath, ...parameters] = options.command ?? ownCommand();
  const log = openSync(home.log, "a", 0o600);
  try {
    return spawn(program, parameters, {
      detached: true,
      cwd: home.directory,
      // What the runtime itself prints when it dies belongs into the log as well.
      stdio: ["ignore", log, log],
      env: { ...(options.environment ?? process.env), HOLDFAST_HOME: home.directory, [logToFileVariable]: "file" },
      windowsHide: true,
    });
  } finally {
    closeSync(log);
  }
}

/** The command of this very package, in the sources and in the build alike. */
function ownCommand(): readonly string[] {
  const main = import.meta.url.endsWith(".ts") ? "../cli/main.ts" : "../cli/main.js";
  return [process.execPath, fileURLToPath(new URL(main, import.meta.url)), "daemon", "run"];
}

function notStarted(home: Home, reason: string, logStart: number): HoldfastError {
  const text = existsSync(home.log) ? readFileSync(home.log).subarray(logStart).toString("utf8") : "";
  const tail = text
    .split("\n")
    .filter((line) => line !== "")
    .slice(-logTailLines);
  const said = tail.length === 0 ? "" : `; it said:\n${tail.map((line) => `  ${line}`).join("\n")}`;
  return new HoldfastError(
    "daemon_unreachable",
    `the daemon did not start: ${reason}${said}`,
    `see ${home.log}, or run it in the foreground: holdfast daemon run`,
    {
      details: { directory: home.directory, log: home.log, tail },
    },
  );
}

function untrusted(endpoint: Endpoint): HoldfastError {
  return new HoldfastError(
    "daemon_untrusted",
    `what answers on port ${endpoint.port} is not the daemon of this data directory`,
    "another program has taken the port: remove daemon.json and start the daemon again",
    { details: { port: endpoint.port } },
  );
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
