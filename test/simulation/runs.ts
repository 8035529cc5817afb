// Owns many runs: seeds shared out to worker processes, the shortening of a failing one, and how a failure is told.
// One run is simulator.ts; the command line is run.ts.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Mode, RunOptions } from "./simulator.ts";

/** `queue`: one machine and remotes, simulator.ts. `replicas`: several clients and a sync server, test/replicas/simulator.ts. */
export type Simulation = "queue" | "replicas";

/** What both simulations tell of a run. */
export type RunResult = {
  readonly seed: number;
  readonly steps: number;
  readonly mode?: Mode;
  readonly violation: { readonly rule: string; readonly detail: string } | null;
  readonly hash: string;
  readonly trace: readonly string[];
  readonly story?: readonly string[];
  readonly facts: Readonly<Record<string, number>>;
};

export type Plan = {
  readonly simulation: Simulation;
  readonly seeds: readonly number[];
  readonly steps: number;
  /** `both`: even seeds are safety runs, odd ones liveness runs. */
  readonly mode: Mode | "both";
  readonly workers: number;
  /** Stop at the first violation. */
  readonly isBrief?: boolean;
};

/** Sums over all runs: `runs`, and what a simulation counts. */
export type Totals = Readonly<Record<string, number>>;

export type Report = { readonly failures: readonly RunResult[]; readonly totals: Totals };

/** What goes to a worker and comes back from it. */
export type Job = {
  readonly simulation: Simulation;
  readonly options: readonly RunOptions[];
  readonly isBrief: boolean;
};

export const modeOf = (mode: Plan["mode"], seed: number): Mode =>
  mode === "both" ? (seed % 2 === 0 ? "safety" : "liveness") : mode;

/** Runs all seeds of a plan, in this process or shared out to workers. */
export async function runPlan(plan: Plan): Promise<Report> {
  const options = plan.seeds.map((seed) => ({ seed, steps: plan.steps, mode: modeOf(plan.mode, seed) }));
  const shares = Array.from({ length: plan.workers }, (_, worker) =>
    options.filter((_each, index) => index % plan.workers === worker),
  );
  const run = plan.workers === 1 ? runHere : runInWorker;
  const job = { simulation: plan.simulation, isBrief: plan.isBrief === true };
  const reports = await Promise.all(shares.map((share) => run({ ...job, options: share })));
  return reports.reduce(addReports);
}

const nothing: Report = { failures: [], totals: {} };

function addReports(a: Report, b: Report): Report {
  const names = new Set([...Object.keys(a.totals), ...Object.keys(b.totals)]);
  return {
    failures: [...a.failures, ...b.failures].sort((one, other) => one.seed - other.seed),
    totals: Object.fromEntries([...names].map((name) => [name, (a.totals[name] ?? 0) + (b.totals[name] ?? 0)])),
  };
}

/** One run of either simulation. Only the one that is asked for is loaded. */
export async function runOne(simulation: Simulation, options: RunOptions): Promise<RunResult> {
  if (simulation === "queue") return (await import("./simulator.ts")).simulate(options);
  return (await import("../replicas/simulator.ts")).simulateReplicas(options);
}

export async function runHere(job: Job): Promise<Report> {
  let report = nothing;
  for (const options of job.options) {
    const result = await runOne(job.simulation, options);
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
export async function shorten(simulation: Simulation, failure: RunResult): Promise<RunResult> {
  let best = failure;
  for (let steps = Math.floor(failure.steps / 2); steps >= 1; steps = Math.floor(steps / 2)) {
    const shorter = await runOne(simulation, { seed: failure.seed, steps, mode: failure.mode ?? "safety" });
    if (shorter.violation?.rule !== failure.violation?.rule) break;
    best = shorter;
  }
  return best;
}

/** A failure in words: the one command that replays it, what is wrong, and the end of the trace. */
export function describeFailure(simulation: Simulation, failure: RunResult): string {
  const { seed, steps, mode, violation } = failure;
  const which = simulation === "queue" ? `--mode ${mode}` : "--replicas";
  return [
    `seed ${seed} breaks ${violation?.rule}: ${violation?.detail}`,
    `replay: npm run sim -- --seed ${seed} --steps ${steps} ${which} --trace`,
    ...(failure.story ?? []),
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
