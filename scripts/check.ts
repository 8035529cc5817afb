// Owns `npm run check`: the steps that tell in seconds, without a network, whether the tree is sound.
// Leaves building to scripts/build.ts and the verdict on the packed package to scripts/package-checks.ts.
import { availableParallelism } from "node:os";
import { performance } from "node:perf_hooks";
import type { Outcome } from "./stage-runner.ts";
import { runCounted, runPlain, runVitest } from "./stage-runner.ts";
import { checkStages } from "./stages.ts";

type Step = {
  readonly name: string;
  readonly after?: readonly string[];
  readonly run: () => Promise<Outcome>;
};

const biome = "node_modules/@biomejs/biome/bin/biome";

/**
 * The native compiler, which needs a third of the time; what it found out last time is kept, so that it looks again only
 * at what a change can reach.
 */
const tsc = (name: string, project: string): readonly string[] => {
  const memory = ["--incremental", "--tsBuildInfoFile", `.tmp/${name}.tsbuildinfo`];
  return ["node_modules/typescript-native/bin/tsc", "-p", project, ...memory];
};

/** In the order in which they start: what others wait for and the longest first, so that no core stands idle at the end. */
const steps: readonly Step[] = [
  // The step "types" judges the types of the same files beside it.
  { name: "build", run: () => runPlain("build", ["scripts/build.ts", "--unchecked"]) },
  ...checkStages.map((stage) => ({
    name: stage.name,
    after: stage.name === "docs" ? ["build"] : [],
    run: () => runVitest(stage),
  })),
  { name: "types", run: () => runPlain("types", tsc("types", "tsconfig.json")) },
  { name: "package", after: ["build"], run: () => runCounted("package", ["scripts/package-checks.ts"]) },
  { name: "lint", run: () => runPlain("lint", [biome, "check", "--colors=off", "--error-on-warnings", "."]) },
  { name: "pure", run: () => runPlain("pure", tsc("pure", "tsconfig.pure.json")) },
  { name: "web", run: () => runPlain("web", tsc("web", "tsconfig.web.json")) },
];

async function main(wanted: readonly string[]): Promise<number> {
  const unknown = wanted.filter((name) => !steps.some((step) => step.name === name));
  if (unknown.length > 0) {
    console.error(`unknown step ${unknown.join(", ")}; the steps are ${steps.map((step) => step.name).join(", ")}`);
    return 2;
  }
  const chosen = wanted.length === 0 ? steps : steps.filter((step) => wanted.includes(step.name));
  const startedAt = performance.now();
  const outcomes = await runSteps(chosen, Math.min(4, availableParallelism() + 1));
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
  console.log(`check took ${seconds(performance.now() - startedAt)}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

/** Runs the steps side by side as far as one does not wait for another, and prints each one when it ends. */
async function runSteps(chosen: readonly Step[], width: number): Promise<readonly Outcome[]> {
  const done = new Map<string, Promise<Outcome>>();
  const running = new Set<Promise<unknown>>();
  for (const step of chosen) {
    const earlier = (step.after ?? []).map((name) => done.get(name)).filter((promise) => promise !== undefined);
    const isReady = (await Promise.all(earlier)).every((outcome) => outcome.failed === 0);
    while (running.size >= width) await Promise.race(running);
    const finished = timed(isReady ? step : { ...step, run: async () => notRun(step) });
    done.set(step.name, finished);
    running.add(finished);
    void finished.finally(() => running.delete(finished));
  }
  return Promise.all(done.values());
}

async function timed(step: Step): Promise<Outcome> {
  const startedAt = performance.now();
  const outcome = await step.run();
  const mark = outcome.failed > 0 ? "FAIL" : "ok  ";
  console.log(
    `${mark} ${step.name.padEnd(8)} ${seconds(performance.now() - startedAt).padStart(7)}  ${outcome.summary}`,
  );
  if (outcome.failed > 0 && outcome.output !== "") console.log(outcome.output.trimEnd());
  for (const note of outcome.notes) console.log(`     ${note}`);
  return outcome;
}

/** What an earlier step did not make cannot be judged; an old build in its place would be judged in its stead. */
function notRun(step: Step): Outcome {
  const summary = `not run, because ${(step.after ?? []).join(" or ")} failed`;
  return { passed: 0, failed: 1, summary, output: "", notes: [] };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

process.exitCode = await main(process.argv.slice(2));
