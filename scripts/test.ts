// Owns `npm test`: every stage of scripts/stages.ts one after another, their real counts summed, one line at the end.
// Leaves the running of one stage to scripts/stage-runner.ts.
import { globSync } from "node:fs";
import path from "node:path";
import { performance } from "node:perf_hooks";
import type { Outcome } from "./stage-runner.ts";
import { killStages, root, runCounted, runVitest } from "./stage-runner.ts";
import type { Stage } from "./stages.ts";
import { checkStages, stages } from "./stages.ts";

async function main(wanted: readonly string[]): Promise<number> {
  const unknown = wanted.filter((name) => !stages.some((stage) => stage.name === name));
  if (unknown.length > 0) {
    console.error(
      `unknown stage ${unknown.join(", ")}; the stages are ${stages.map((stage) => stage.name).join(", ")}`,
    );
    return 2;
  }
  const chosen = wanted.length === 0 ? stages : stages.filter((stage) => wanted.includes(stage.name));
  const times: string[] = [];
  let [passed, failed] = [0, 0];
  for (const file of findHomeless()) {
    console.log(`FAIL ${file} belongs to no stage of scripts/stages.ts, so nothing would run it`);
    failed += 1;
  }
  for (const file of findTwiceHoused()) {
    console.log(`FAIL ${file} belongs to two stages of scripts/stages.ts, so it would count twice`);
    failed += 1;
  }
  for (const stage of chosen) {
    if (findFiles(stage).length === 0) {
      console.log(`-- ${stage.name}: no test files, left out`);
      continue;
    }
    const startedAt = performance.now();
    console.log(`== ${stage.name}`);
    const outcome = await runStage(stage);
    const took = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
    report(stage, outcome, took);
    times.push(`   ${stage.name.padEnd(12)} ${took.padStart(8)}  ${outcome.passed} passed, ${outcome.failed} failed`);
    passed += outcome.passed;
    failed += outcome.failed;
  }
  if (passed + failed === 0) {
    console.log("FAIL nothing ran");
    failed = 1;
  }
  console.log(["", ...times].join("\n"));
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

function runStage(stage: Stage): Promise<Outcome> {
  if (stage.command === undefined) return runVitest(stage);
  return runCounted(stage.name, stage.command, stage.stageTimeoutMs);
}

function report(stage: Stage, outcome: Outcome, took: string): void {
  if (outcome.failed > 0) console.log(outcome.output.trimEnd());
  for (const note of outcome.notes) console.log(`   ${note}`);
  console.log(`${outcome.failed > 0 ? "FAIL" : "ok  "} ${stage.name} in ${took}: ${outcome.summary}`);
}

function findFiles(stage: Stage): readonly string[] {
  const excluded = new Set(findAll(stage.exclude ?? []));
  return findAll(stage.include).filter((file) => !excluded.has(file));
}

function findAll(patterns: readonly string[]): readonly string[] {
  return globSync([...patterns], { cwd: root }).map((file) => file.split(path.sep).join("/"));
}

/** A test file in a folder that no stage names would never run and never fail. */
function findHomeless(): readonly string[] {
  const housed = new Set(housings());
  return findAll(["{src,test,bench,scripts}/**/*.test.ts"])
    .filter((file) => !file.includes("node_modules"))
    .filter((file) => !housed.has(file));
}

/** A test that ran in two stages would be counted twice. */
function findTwiceHoused(): readonly string[] {
  const all = housings();
  return [...new Set(all.filter((file, at) => all.indexOf(file) !== at))];
}

/** The files of every stage that vitest runs; those of `check` are the ones of its own stages. */
function housings(): readonly string[] {
  return [...checkStages, ...stages.filter((stage) => stage.command === undefined)].flatMap(findFiles);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    killStages();
    process.exit(1);
  });
}

process.exitCode = await main(process.argv.slice(2));
