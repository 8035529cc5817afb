// Owns one campaign of kill -9: a daemon, a receiver and clients as real processes, killed at seeded moments until enough have died.
// Leaves the judgement of what is found afterwards to test/crash/kill.test.ts.
import type { ChildProcess } from "node:child_process";
import { fork, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../../../src/client/client.ts";
import { daemonStatus } from "../../../src/node/detached.ts";
import { connectDaemon } from "../../../src/node/transport.ts";
import type { Random } from "../../../src/testing/random.ts";
import { seededRandom } from "../../../src/testing/random.ts";
import type { Output } from "../../../src/verbs.ts";
import { freePort, isAlive, kill, main, processesOf, runCommand, until } from "../processes.ts";
import type { Acknowledged, Armed, Line, Moment } from "./shapes.ts";
import { isUploadMade } from "./uploads.ts";

type Operation = Output<"queue.get">;

export type Campaign = {
  readonly folder: string;
  readonly home: string;
  readonly kills: { readonly daemon: number; readonly receiver: number };
  readonly acknowledged: readonly Acknowledged[];
  readonly journal: readonly Line[];
  readonly operations: readonly Operation[];
  readonly check: Output<"engine.check">;
  /** Uploads that the tus server holds, by the last segment of their address. */
  readonly uploadOf: (location: string) => Buffer;
  readonly hasCommandRun: (key: string) => boolean;
  readonly leftOver: readonly string[];
  readonly remove: () => void;
};

const settings = `
[daemon]
stop_grace = "3s"
[network]
probe_interval = "100ms"
probe_timeout = "2s"
reconnect_jitter = "50ms"
[retry.default]
preset = "default"
initial = "50ms"
max = "400ms"
max_attempts = 1000
`;

type Run = {
  readonly seed: string;
  readonly random: Random;
  readonly folder: string;
  readonly home: string;
  readonly port: number;
  readonly kills: { daemon: number; receiver: number };
  readonly children: ChildProcess[];
  receiver: ChildProcess;
  isOver: boolean;
};

/** Plays a whole campaign: queue and kill, then let everything come to rest, then look. */
export async function playCampaign(seed: string, killCount: number): Promise<Campaign> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-kill-"));
  const home = path.join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  mkdirSync(path.join(folder, "effects"));
  writeFileSync(path.join(home, "config.toml"), settings);
  const random = seededRandom(seed);
  const port = await freePort();
  const kills = { daemon: 0, receiver: 0 };
  const receiver = startReceiver(folder, port, seed);
  const run: Run = { seed, random, folder, home, port, kills, children: [], receiver, isOver: false };
  try {
    const clients = ["ada", "ben"].map((name) => startClient(run, name));
    const commands = queueByCommand(run);
    for (let left = killCount; left > 0; left -= 1) await killOne(run);
    run.isOver = true;
    await commands;
    await ensureDaemon(run);
    for (const client of clients) client.send("stop");
    await Promise.all(clients.map((client) => endOf(client)));
    if (!run.receiver.connected) run.receiver = startReceiver(folder, port, seed);
    const found = await comeToRest(run);
    await runCommand(["daemon", "stop"], { home });
    run.receiver.disconnect();
    await until(() => processesOf(folder).length === 0, "every process has ended", 10_000).catch(() => undefined);
    const leftOver = processesOf(folder).map(({ pid, command }) => `${pid} ${command}`);
    return {
      folder,
      home,
      kills,
      ...found,
      ...readOutcome(run),
      leftOver,
      remove: () => rmSync(folder, { recursive: true, force: true }),
    };
  } catch (cause) {
    throw new Error(`kill -9 with seed ${seed} failed; its logs are in ${folder}: ${String(cause)}`, { cause });
  } finally {
    run.isOver = true;
    for (const { pid } of processesOf(folder)) kill(pid);
    for (const child of [...run.children, run.receiver]) child.kill("SIGKILL");
  }
}

// ---- processes --------------------------------------------------------------------------------------------------

function startReceiver(folder: string, port: number, seed: string): ChildProcess {
  const log = openSync(path.join(folder, "receiver.log"), "a");
  try {
    return fork(path.join(import.meta.dirname, "receiver.ts"), [folder, String(port), seed], {
      execArgv: ["--no-warnings"],
      stdio: ["ignore", log, log, "ipc"],
    });
  } finally {
    closeSync(log);
  }
}

function startClient({ folder, home, port, seed, children }: Run, name: string): ChildProcess {
  const log = openSync(path.join(folder, `client-${name}.log`), "a");
  const parameters = [home, folder, name, `${seed}/${name}`, String(port)];
  const child = fork(path.join(import.meta.dirname, "client.ts"), parameters, {
    execArgv: ["--no-warnings"],
    stdio: ["ignore", log, log, "ipc"],
  });
  closeSync(log);
  children.push(child);
  return child;
}

/** The daemon in the foreground, as a supervisor would start it. One that a command has started meanwhile wins, and is as good. */
function startDaemon({ home, folder, children }: Run): ChildProcess {
  const log = openSync(path.join(folder, "daemon-output.log"), "a");
  const child = spawn(process.execPath, ["--no-warnings", main, "daemon", "run"], {
    env: { ...process.env, HOLDFAST_HOME: home },
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  children.push(child);
  return child;
}

async function ensureDaemon(run: Run): Promise<number> {
  const giveUpAt = performance.now() + 30_000;
  let child: ChildProcess | null = null;
  for (;;) {
    const status = await daemonStatus(run.home, { timeoutMs: 1_000 });
    if (status.state === "running") return status.pid;
    if (performance.now() > giveUpAt)
      throw new Error(`the daemon does not come up (seed ${run.seed}); see ${run.folder}`);
    if (child === null || child.exitCode !== null) child = startDaemon(run);
    await sleep(20);
  }
}

async function endOf(child: ChildProcess): Promise<void> {
  await until(() => child.exitCode !== null || child.signalCode !== null, "a client has ended");
  if (child.exitCode !== 0) throw new Error(`a client ended with ${child.signalCode ?? child.exitCode}; see its log`);
}

// ---- death ------------------------------------------------------------------------------------------------------

const moments = ["arrived", "recorded", "answered"] as const;

/** One death at a seeded moment: while starting, at any time, or in the very middle of a request. */
async function killOne(run: Run): Promise<void> {
  const { random, kills } = run;
  const moment: Moment = random.pick(moments);
  const after = 1 + random.below(6);
  const draw = random.below(20);
  const delay = random.below(350);
  if (draw < 2) {
    const child = startDaemon(run);
    await sleep(delay);
    await killDaemon(run, child.pid ?? 0);
  } else if (draw < 7) {
    const pid = await ensureDaemon(run);
    await sleep(delay);
    await killDaemon(run, pid);
  } else if (draw < 12) {
    const pid = await ensureDaemon(run);
    await reach(run, { victim: "daemon", moment, after });
    await killDaemon(run, pid);
  } else {
    await ensureDaemon(run);
    if (draw < 17) await reach(run, { victim: "receiver", moment, after });
    else await sleep(delay);
    run.receiver.kill("SIGKILL");
    await until(() => run.receiver.exitCode !== null || run.receiver.signalCode !== null, "the receiver is dead");
    kills.receiver += 1;
    await sleep(random.below(150));
    run.receiver = startReceiver(run.folder, run.port, `${run.seed}/${kills.receiver}`);
  }
}

async function killDaemon({ kills, home }: Run, pid: number): Promise<void> {
  // A start that lost against a daemon that was there already has ended by itself: then it is that one's turn.
  const victim = isAlive(pid) ? pid : ((await daemonStatus(home, { timeoutMs: 500 })) as { readonly pid?: number }).pid;
  if (victim === undefined) return;
  kill(victim);
  await until(() => !isAlive(victim), "the daemon is dead");
  kills.daemon += 1;
}

/** Waits until the receiver has reached the moment, or for as long as a quiet queue may keep it from coming. */
function reach({ receiver }: Run, armed: Armed): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      receiver.off("message", onMessage);
      receiver.off("exit", end);
      resolve();
    };
    const onMessage = (message: unknown): void => {
      if (typeof message === "object" && message !== null && "reached" in message) end();
    };
    const timer = setTimeout(end, 600);
    receiver.on("message", onMessage);
    receiver.once("exit", end);
    if (receiver.connected) receiver.send(armed, () => {});
  });
}

// ---- the command line as a client -------------------------------------------------------------------------------

/** Queues by the command itself, one run after the other; each is repeated under its id until it says that it is safe. */
async function queueByCommand(run: Run): Promise<void> {
  const random = run.random.fork("command");
  const notes = path.join(run.folder, "acknowledged-cli.jsonl");
  writeFileSync(notes, "");
  for (let count = 1; !run.isOver; count += 1) {
    const id = randomUUID();
    const local = `local-cli-${count}`;
    const isCreation = random.chance(0.3);
    const url = `http://127.0.0.1:${run.port}/${isCreation ? "things" : "notes"}`;
    const more = isCreation ? ["--creates", local, "--id-from", "/id"] : [];
    const data = JSON.stringify({ from: "cli", count });
    const words = ["request", "POST", url, "--data", data, "--lane", random.pick(["shared", "lane-cli"]), "--id", id];
    await insist(run, [...words, ...more]);
    const line: Acknowledged = {
      id,
      kind: isCreation ? "create" : "request",
      ...(isCreation ? { creates: local } : {}),
    };
    writeFileSync(notes, `${JSON.stringify(line)}\n`, { flag: "a" });
  }
}

async function insist({ home, folder }: Run, words: readonly string[]): Promise<void> {
  for (;;) {
    const { code, stderr } = await runCommand([...words, "--json"], { home });
    if (code === 0) return;
    writeFileSync(path.join(folder, "cli.log"), `${code} ${stderr}\n`, { flag: "a" });
    // 1 and 3 are what a daemon that dies in the middle looks like; anything else is a mistake of the command.
    if (code !== 1 && code !== 3) throw new Error(`holdfast ${words.join(" ")} ended with ${code}: ${stderr}`);
  }
}

// ---- rest -------------------------------------------------------------------------------------------------------

async function comeToRest(run: Run): Promise<Pick<Campaign, "operations" | "check">> {
  await ensureDaemon(run);
  const client = await connectDaemon({ directory: run.home });
  try {
    await until(() => isAtRest(client), "the queue has drained", 45_000);
    return { operations: await listAll(client), check: await client.engine.check() };
  } finally {
    await client.close();
  }
}

/** Commands that may not run twice ask a person after a crash; this person says: again, its effect knows its key. */
async function isAtRest(client: Client): Promise<boolean> {
  const { counts } = await client.queue.status();
  if ((counts.failed ?? 0) > 0) await client.queue.retry({ filter: { status: ["failed"], reason: "unsure" } });
  return (counts.pending ?? 0) + (counts.in_progress ?? 0) === 0 && (counts.failed ?? 0) === 0;
}

async function listAll(client: Client): Promise<readonly Operation[]> {
  const found: Operation[] = [];
  let cursor: string | null = null;
  do {
    const page: Output<"queue.list"> = await client.queue.list({
      order: "oldest",
      limit: 500,
      status: ["draft", "pending", "in_progress", "completed", "failed", "cancelled", "expired"],
      ...(cursor === null ? {} : { cursor }),
    });
    found.push(...page.operations);
    cursor = page.next;
  } while (cursor !== null);
  return found;
}

function readOutcome({ folder }: Run): Pick<Campaign, "acknowledged" | "journal" | "uploadOf" | "hasCommandRun"> {
  const lines = <T>(file: string): readonly T[] =>
    readFileSync(path.join(folder, file), "utf8")
      .split("\n")
      .flatMap((row) => {
        try {
          return row === "" ? [] : [JSON.parse(row) as T];
        } catch {
          // What a kill has torn in the receiver's journal was never an effect.
          return [];
        }
      });
  const uploads = path.join(folder, "uploads");
  return {
    acknowledged: ["ada", "ben", "cli"].flatMap((name) => lines<Acknowledged>(`acknowledged-${name}.jsonl`)),
    // An address that was noted when the receiver died before it made the upload.
    journal: lines<Line>("receipts.jsonl").filter(
      ({ location }) => location === undefined || isUploadMade(uploads, location),
    ),
    uploadOf: (location) => readFileSync(path.join(uploads, path.basename(location))),
    hasCommandRun: (key) => {
      try {
        return readFileSync(path.join(folder, "effects", key)).length === 0;
      } catch {
        return false;
      }
    },
  };
}
