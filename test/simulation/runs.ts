// Owns many runs: seeds shared out to worker processes, the shortening of a failing one, and how a failure is told.
// One run is simulator.ts; the command line is run.ts.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Mode, RunOptions, RunResult } from "./simulator.ts";
import { simulate } from "./simulator.ts";

export type Plan = {
  readonly seeds: readonly number[];
  readonly steps: number;
  /** `both`: even seeds are safety runs, odd ones liveness runs. */
  readonly mode: Mode | "both";
  readonly workers: number;
  /** Stop at the first violation. */
  readonly isBrief?: boolean;
};

export type Totals = {
  readonly runs: number;
  readonly operations: number;
  readonly sends: number;
  readonly effects: number;
  readonly kills: number;
};

export type Report = { readonly failures: readonly RunResult[]; readonly totals: Totals };

/** What goes to a worker and comes back from it. */
export type Job = { readonly options: readonly RunOptions[]; readonly isBrief: boolean };

export const modeOf = (mode: Plan["mode"], seed: number): Mode =>
  mode === "both" ? (seed % 2 === 0 ? "safety" : "liveness") : mode;

/** Runs all seeds of a plan, in this process or shared out to workers. */
export async function runPlan(plan: Plan): Promise<Report> {
  const options = plan.seeds.map((seed) => ({ seed, steps: plan.steps, mode: modeOf(plan.mode, seed) }));
  const shares = Array.from({ length: plan.workers }, (_, worker) =>
    options.filter((_each, index) => index % plan.workers === worker),
  );
  const run = plan.workers === 1 ? runHere : runInWorker;
  const reports = await Promise.all(shares.map((share) => run({ options: share, isBrief: plan.isBrief === true })));
  return reports.reduce(addReports);
}

const nothing: Report = { failures: [], totals: { runs: 0, operations: 0, sends: 0, effects: 0, kills: 0 } };

function addReports(a: Report, b: Report): Report {
  return {
    failures: [...a.failures, ...b.failures].sort((one, other) => one.seed - other.seed),
    totals: {
      runs: a.totals.runs + b.totals.runs,
      operations: a.totals.operations + b.totals.operations,
      sends: a.totals.sends + b.totals.sends,
      effects: a.totals.effects + b.totals.effects,
      kills: a.totals.kills + b.totals.kills,
    },
  };
}

export async function runHere(job: Job): Promise<Report> {
  let report = nothing;
  for (const options of job.options) {
    const result = await simulate(options);
    const failures = result.violation === null ? [] : [result];
    report = addReports(report, { failures, totals: { runs: 1, ...result.facts } });
    if (job.isBrief && failures.length > 0) break;
  }
  return report;
}

/** A worker is a process of its own, so that the two cores are used and a crash of one is seen as such. */
function runInWorker(job: Job): Promise<Report> {
  return new Promise((resolve, reject) => {
    const worker = fork(fileURLToPath(new URL("worker.ts", import.meta.url)), {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    worker.once("message", (report) => resolve(report as Report));
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`a simulation worker ended with code ${code}`)));
    worker.send(job);
  });
}

/** The shortest run of the same seed that still breaks the same rule, halving its steps while that is so. */
export async function shorten(failure: RunResult): Promise<RunResult> {
  let best = failure;
  for (let steps = Math.floor(failure.steps / 2); steps >= 1; steps = Math.floor(steps / 2)) {
    const shorter = await simulate({ seed: failure.seed, steps, mode: failure.mode });
    if (shorter.violation?.rule !== failure.violation?.rule) break;
    best = shorter;
  }
  return best;
}

/** A failure in words: the one command that replays it, what is wrong, and the end of the trace. */
export function describeFailure(failure: RunResult): string {
  const { seed, steps, mode, violation } = failure;
  return [
    `seed ${seed} breaks ${violation?.rule}: ${violation?.detail}`,
    `replay: npm run sim -- --seed ${seed} --steps ${steps} --mode ${mode} --trace`,
    ...failure.story,
    ...failure.trace.slice(-25).map((line) => `  | ${line}`),
  ].join("\n");
}

/** Seeds that nobody has seen before. */
export function freshSeeds(count: number): readonly number[] {
  const first = 1_000_000 + Math.floor(Math.random() * 1_000_000_000);
  return Array.from({ length: count }, (_, index) => first + index);
}

export const seedsFrom = (first: number, count: number): readonly number[] =>
  Array.from({ length: count }, (_, index) => first + index);
