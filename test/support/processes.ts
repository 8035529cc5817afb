// Owns what tests of whole processes need: the command run as a person runs it, waiting for a daemon, finding what is left of a test.
// Leaves what is asked and expected to the tests.
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const main = path.resolve(import.meta.dirname, "../../src/cli/main.ts");

export type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };
export type Started = { readonly child: ChildProcess; readonly ended: Promise<Ended> };

export type CommandOptions = {
  readonly home: string;
  readonly cwd?: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
};

/** Starts `holdfast` with these words, as a shell would. */
export function startCommand(words: readonly string[], options: CommandOptions): Started {
  const child = spawn(process.execPath, ["--no-warnings", main, ...words], {
    cwd: options.cwd ?? path.dirname(options.home),
    env: { ...process.env, NO_COLOR: "1", ...options.env, HOLDFAST_HOME: options.home },
    stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  if (options.input !== undefined) child.stdin?.end(options.input);
  // The end of the process, not of its pipes: a daemon that it has started does not hold anybody up.
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => setTimeout(() => resolve({ code, stdout, stderr }), 5));
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
  return { child, ended };
}

/** Runs `holdfast` to its end. */
export function runCommand(words: readonly string[], options: CommandOptions): Promise<Ended> {
  return startCommand(words, options).ended;
}

/** A port that is free now and stays the same when a server is started there again and again. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(read(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

export function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

export async function until(isTrue: () => boolean | Promise<boolean>, what: string, timeoutMs = 30_000): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await isTrue())) {
    if (performance.now() > giveUpAt) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await sleep(25);
  }
}

/** Living processes, this one aside, whose environment or command line names the folder. Linux only; elsewhere none is found. */
export function processesOf(folder: string): readonly { readonly pid: number; readonly command: string }[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc")
    .filter((each) => /^\d+$/.test(each) && Number(each) !== process.pid)
    .map((pid) => ({
      pid: Number(pid),
      command: read(`/proc/${pid}/cmdline`),
      environment: read(`/proc/${pid}/environ`),
    }))
    .filter(({ command, environment }) => command.includes(folder) || environment.includes(folder))
    .map(({ pid, command }) => ({ pid, command: command.split("\0").join(" ").slice(0, 200) }));
}

/** Removes a test's folder with every process that works in it, those that are only being started too. */
export async function removeFolder(folder: string): Promise<void> {
  const end = (): boolean => {
    const left = processesOf(folder);
    for (const { pid } of left) kill(pid);
    return left.length === 0;
  };
  await until(end, "every process has ended");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
