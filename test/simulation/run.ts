// Owns the command `npm run sim`: seeds, steps, mode and replay from the command line, and the exit code.
// Runs are shared out in runs.ts; one run is simulator.ts.
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import type { Plan, Simulation } from "./runs.ts";
import { describeFailure, freshSeeds, modeOf, runOne, runPlan, seedsFrom, shorten } from "./runs.ts";
import type { RunOptions } from "./simulator.ts";

const usage = `npm run sim -- [options]
  --seeds N      how many seeds (default 2000); fresh ones unless --seed is given
  --seed S       the first seed; alone it runs just that one
  --steps N      steps per seed (default 500)
  --replicas     several clients and a sync server instead of one queue (default 60 seeds of 300 steps)
  --mode M       safety, liveness or both (default both)
  --workers N    worker processes (default: the number of cores, at most 8)
  --brief        stop at the first violation and print it as JSON
  --trace        print the whole trace (for one seed)`;

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    seed: { type: "string" },
    steps: { type: "string" },
    replicas: { type: "boolean", default: false },
    mode: { type: "string", default: "both" },
    workers: { type: "string" },
    brief: { type: "boolean", default: false },
    trace: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

process.exitCode = values.help ? help() : await main();

function help(): number {
  console.log(usage);
  return 0;
}

async function main(): Promise<number> {
  const mode = values.mode as Plan["mode"];
  const simulation: Simulation = values.replicas ? "replicas" : "queue";
  const usual = values.replicas ? { steps: 300, seeds: 60 } : { steps: 500, seeds: 2_000 };
  const steps = Number(values.steps ?? usual.steps);
  if (!["safety", "liveness", "both"].includes(mode) || !Number.isSafeInteger(steps)) {
    console.error(usage);
    return 2;
  }
  const count = Number(values.seeds ?? (values.seed === undefined ? usual.seeds : 1));
  const seeds = values.seed === undefined ? freshSeeds(count) : seedsFrom(Number(values.seed), count);
  if (values.trace && seeds[0] !== undefined)
    return await replay(simulation, { seed: seeds[0], steps, mode: modeOf(mode, seeds[0]) });
  const workers = Number(values.workers ?? Math.min(availableParallelism(), 8, count));
  const startedAt = performance.now();
  const report = await runPlan({ simulation, seeds, steps, mode, workers, isBrief: values.brief });
  if (values.brief) {
    console.log(JSON.stringify(report.failures[0] ?? null));
    return report.failures.length === 0 ? 0 : 1;
  }
  for (const failure of report.failures.slice(0, 5))
    console.log(`${describeFailure(simulation, await shorten(simulation, failure))}\n`);
  const { runs, ...counts } = report.totals;
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const told = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  console.log(
    `${runs} runs of ${steps} steps from seed ${seeds[0]} in ${seconds} s: ${told.join(", ")}; ${report.failures.length} violations`,
  );
  return report.failures.length === 0 ? 0 : 1;
}

async function replay(simulation: Simulation, options: RunOptions): Promise<number> {
  const result = await runOne(simulation, { ...options, isTraced: true });
  for (const line of [...result.trace, ...(result.story ?? [])]) console.log(line);
  const { violation, hash } = result;
  console.log(
    `${violation === null ? "no violation" : `breaks ${violation.rule}: ${violation.detail}`}; trace ${hash}`,
  );
  return violation === null ? 0 : 1;
}
