// Owns the proof that the simulation would notice: bugs are planted in a copy of the sources, one at a time,
// and each has to be caught by a named rule within 200 seeds. The bugs are listed in mutants.ts and record-mutants.ts.
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "../../scripts/stage-runner.ts";
import type { RunResult, Simulation } from "../simulation/runs.ts";
import type { Mutant } from "./mutants.ts";
import { mutants } from "./mutants.ts";
import { recordMutants } from "./record-mutants.ts";

const seedLimit = 200;
const scratch = path.join(root, ".tmp");
let home = "";

beforeAll(() => {
  mkdirSync(scratch, { recursive: true });
  home = mkdtempSync(path.join(scratch, "planted-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** A copy of what a simulated run needs, with one bug in it. Outside packages are found in the folders above. */
function plant(mutant: Mutant | null): string {
  const folder = mkdtempSync(path.join(home, "copy-"));
  for (const part of ["src", "test/simulation", "test/replicas"])
    cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }\n');
  if (mutant === null) return folder;
  for (const { file: name, find, replace } of [mutant, ...(mutant.also ?? [])]) {
    const file = path.join(folder, name);
    const text = readFileSync(file, "utf8");
    expect(text.split(find).length - 1, `places of "${find}" in ${name}`).toBe(1);
    writeFileSync(
      file,
      text.replace(find, () => replace),
    );
  }
  return folder;
}

/** The first violation within the seeds, or null. */
function simulateIn(folder: string, seeds: number, simulation: Simulation = "queue"): Promise<RunResult | null> {
  const args = ["test/simulation/run.ts", "--seed", "1", "--seeds", String(seeds), "--workers", "1", "--brief"];
  if (simulation === "replicas") args.push("--replicas");
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let [output, errors] = ["", ""];
    child.stdout.on("data", (chunk) => {
      output += String(chunk);
    });
    child.stderr.on("data", (chunk) => {
      errors += String(chunk);
    });
    child.on("error", reject);
    child.on("close", () => {
      const last = output.trim().split("\n").at(-1) ?? "";
      if (last.startsWith("{") || last === "null") resolve(JSON.parse(last) as RunResult | null);
      else reject(new Error(`the simulation of ${folder} failed: ${errors || output}`));
    });
  });
}

test("the copy without a bug breaks no rule", async () => {
  const folder = plant(null);
  expect(await simulateIn(folder, 10)).toBeNull();
  expect(await simulateIn(folder, 10, "replicas")).toBeNull();
});

describe("a planted bug is caught", { concurrent: true }, () => {
  const all = [
    ...mutants.map((mutant) => ["queue", mutant] as const),
    ...recordMutants.map((mutant) => ["replicas", mutant] as const),
  ];
  test.for(all.map(([simulation, mutant]) => [mutant.name, simulation, mutant] as const))(
    "%s",
    async ([name, simulation, mutant]) => {
      const found = await simulateIn(plant(mutant), seedLimit, simulation);
      expect(found, `"${name}" was not noticed in ${seedLimit} seeds`).not.toBeNull();
      console.log(`planted: ${name}: seed ${found?.seed} breaks ${found?.violation?.rule}`);
      expect(mutant.rules, found?.violation?.detail).toContain(found?.violation?.rule);
    },
  );
});
