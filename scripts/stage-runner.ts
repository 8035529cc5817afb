// Owns running one stage in a process group of its own and reading what it proved: counts, failures, left-over processes.
// Leaves the choice and the order of stages to scripts/check.ts and scripts/test.ts.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Stage } from "./stages.ts";

export const root: string = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** What one stage proved. `output` is kept for the reader of a failure, `notes` is told in any case. */
export type Outcome = {
  readonly passed: number;
  readonly failed: number;
  readonly summary: string;
  readonly output: string;
  readonly notes: readonly string[];
};

type Ended = {
  readonly code: number;
  readonly output: string;
  readonly timedOut: boolean;
  readonly leftovers: readonly string[];
};

const outputLimitChars = 4_000_000;
/** Children that are told to stop when their parent ends get this long before they count as left over. */
const leftoverGraceMs = 1_500;
/** How long a test run that has written its report may take to go away; what it started may hold it for ever. */
const goodbyeMs = 8_000;
const markName = "HOLDFAST_TEST_STAGE";

/** Runs a program that is one claim: it passes with exit code 0. */
export async function runPlain(name: string, args: readonly string[], timeoutMs = 300_000): Promise<Outcome> {
  const ended = await runGroup(args, { timeoutMs });
  const failures = commonFailures(name, ended);
  if (ended.code !== 0 && !ended.timedOut) failures.push(`${name} ended with exit code ${ended.code}`);
  return outcome(failures.length === 0 ? 1 : 0, failures, ended.output);
}

/** Runs a program whose last line is "N passed, M failed". */
export async function runCounted(name: string, args: readonly string[], timeoutMs = 300_000): Promise<Outcome> {
  const isStreamed = process.env[markName] === undefined && name === "check";
  const ended = await runGroup(args, { timeoutMs, isStreamed });
  const failures = commonFailures(name, ended);
  const counts = ended.output
    .trimEnd()
    .split("\n")
    .at(-1)
    ?.match(/^(\d+) passed, (\d+) failed$/);
  const [passed, failed] = [Number(counts?.[1] ?? 0), Number(counts?.[2] ?? 0)];
  if (!counts && !ended.timedOut) failures.push(`${name} ended with exit code ${ended.code} and without counts`);
  if (counts && ended.code !== 0 && failed === 0) failures.push(`${name} ended with exit code ${ended.code}`);
  if (counts && passed + failed === 0) failures.push(`${name} ran nothing`);
  return outcome(passed, failures, isStreamed ? "" : ended.output, failed);
}

/** Runs the vitest project of a stage and counts its tests one by one. */
export async function runVitest(stage: Stage): Promise<Outcome> {
  const folder = path.join(root, ".tmp");
  mkdirSync(folder, { recursive: true });
  const report = path.join(folder, `vitest-${stage.name}-${randomUUID()}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const workers = stage.workers === undefined ? [] : [`--maxWorkers=${stage.workers}`];
  const args = ["node_modules/vitest/vitest.mjs", "run", "--project", stage.name, ...workers, ...reporters];
  const ended = await runGroup(args, { timeoutMs: stage.stageTimeoutMs, report });
  const failures = commonFailures(stage.name, ended);
  const counts = readReport(report);
  rmSync(report, { force: true });
  if (counts === undefined) {
    if (!ended.timedOut) failures.push(`${stage.name} ended with exit code ${ended.code} and without counts`);
    return outcome(0, failures, ended.output);
  }
  failures.push(...counts.brokenFiles.map((file) => `${file} could not be run`));
  const found = counts.failed + failures.length;
  if (ended.code !== 0 && found === 0)
    failures.push(`${stage.name} ended with exit code ${ended.code}: see its errors`);
  if (counts.passed + found === 0) failures.push(`${stage.name} ran nothing`);
  const notes = counts.skipped.map((name) => `skipped: ${name}`);
  return { ...outcome(counts.passed, failures, ended.output, counts.failed), notes };
}

function outcome(passed: number, failures: readonly string[], output: string, counted = 0): Outcome {
  const failed = counted + failures.length;
  const summary = [`${passed} passed, ${failed} failed`, ...failures].join("; ");
  return { passed, failed, summary, output, notes: [] };
}

function commonFailures(name: string, ended: Ended): string[] {
  const failures = ended.leftovers.map((process) => `${name} left a process running: ${process} (killed)`);
  if (ended.timedOut) failures.push(`${name} did not end in its time`);
  return failures;
}

// ---- the report of vitest ---------------------------------------------------------------------------------------

type Counts = {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly string[];
  readonly brokenFiles: readonly string[];
};

type Report = {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
};

function readReport(file: string): Counts | undefined {
  let report: Report;
  try {
    report = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
  const tests = report.testResults.flatMap((result) => result.assertionResults);
  const isFailed = (status: string) => status === "failed";
  return {
    passed: tests.filter((test) => test.status === "passed").length,
    failed: tests.filter((test) => isFailed(test.status)).length,
    skipped: tests.filter((test) => test.status !== "passed" && !isFailed(test.status)).map((test) => test.fullName),
    brokenFiles: report.testResults
      .filter((result) => isFailed(result.status) && !result.assertionResults.some((test) => isFailed(test.status)))
      .map((result) => path.relative(root, result.name)),
  };
}

// ---- processes --------------------------------------------------------------------------------------------------

type Group = { readonly pid: number; readonly mark: string };

const groups = new Set<Group>();

/** Kills everything that a running stage has started; for the moment in which this process itself is told to stop. */
export function killStages(): void {
  for (const { pid, mark } of groups) {
    killQuietly(-pid);
    for (const leftover of findMarked(mark)) killQuietly(leftover.pid);
  }
}

type GroupOptions = { readonly timeoutMs: number; readonly isStreamed?: boolean; readonly report?: string };

async function runGroup(
  args: readonly string[],
  { timeoutMs, isStreamed = false, report }: GroupOptions,
): Promise<Ended> {
  const outer = process.env[markName];
  const mark = outer === undefined ? randomUUID() : `${outer}/${randomUUID()}`;
  const env = { ...process.env, [markName]: mark, NO_COLOR: "1", FORCE_COLOR: undefined };
  const child = spawn(process.execPath, [...process.execArgv, ...args], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const group = { pid: child.pid ?? 0, mark };
  groups.add(group);
  let output = "";
  const collect = (chunk: Buffer): void => {
    if (isStreamed) process.stdout.write(chunk);
    output = (output + chunk.toString("utf8")).slice(-outputLimitChars);
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  const freed = report === undefined ? undefined : freeHeldRun(group, report);
  const { code, timedOut } = await ending(child, timeoutMs);
  const leftovers = [...(freed?.stop() ?? []), ...(await killLeftovers(mark))];
  groups.delete(group);
  return { code, output, timedOut, leftovers };
}

/** A process that a test left behind can hold the run that waits for its pipe: once the report is written, it is killed. */
function freeHeldRun(group: Group, report: string): { readonly stop: () => readonly string[] } {
  const killed: string[] = [];
  let writtenAt: number | undefined;
  const timer = setInterval(() => {
    if (!existsSync(report)) return;
    writtenAt ??= Date.now();
    if (Date.now() - writtenAt < goodbyeMs) return;
    const held = findMarked(group.mark).filter(({ pid }) => pid !== group.pid);
    for (const { pid } of held) killQuietly(pid);
    killed.push(...held.map(({ pid, command }) => `${pid} ${command}`));
  }, 250);
  return {
    stop: () => {
      clearInterval(timer);
      return killed;
    },
  };
}

/** Waits for the exit, not for the end of the pipes: a daemon left behind holds those open for ever. */
async function ending(
  child: ReturnType<typeof spawn>,
  timeoutMs: number,
): Promise<{ readonly code: number; readonly timedOut: boolean }> {
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    if (child.pid !== undefined) killQuietly(-child.pid);
  }, timeoutMs);
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const code = await new Promise<number>((resolve) => {
    child.once("error", () => resolve(127));
    child.once("exit", (exitCode) => resolve(exitCode ?? 1));
  });
  clearTimeout(timer);
  await Promise.race([closed, sleep(leftoverGraceMs, undefined, { ref: false })]);
  child.stdout?.destroy();
  child.stderr?.destroy();
  return { code, timedOut };
}

type Marked = { readonly pid: number; readonly command: string };

async function killLeftovers(mark: string): Promise<readonly string[]> {
  const deadline = Date.now() + leftoverGraceMs;
  while (findMarked(mark).length > 0 && Date.now() < deadline) await sleep(50);
  const found = findMarked(mark);
  for (const { pid } of found) killQuietly(pid);
  return found.map(({ pid, command }) => `${pid} ${command}`);
}

/** Every descendant inherits the mark in its environment, also one that has left the process group. Linux only. */
function findMarked(mark: string): readonly Marked[] {
  if (process.platform !== "linux") return [];
  const marker = `${markName}=${mark}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), environment: readProc(name, "environ"), command: readProc(name, "cmdline") }))
    .filter(({ environment }) =>
      environment.split("\0").some((entry) => entry === marker || entry.startsWith(`${marker}/`)),
    )
    .map(({ pid, command }) => ({ pid, command: command.split("\0").join(" ").trim().slice(0, 200) }));
}

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended in the meantime, which is what was wanted.
  }
}
