// Owns bar P6: how long a process that was killed in the middle of its work takes from opening its store to its first claim,
// and how much memory it takes for that. Leaves the process itself to support/restart.ts.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { storeOf } from "./support/depths.ts";
import { spreadOf } from "./support/measure.ts";
import type { Measure } from "./support/types.ts";

type Restart = { readonly ms: number; readonly megabytes: number };

export const measure: Measure = async (scope) => {
  const many = scope.isQuick ? 100_000 : 1_000_000;
  const small = storeOf(scope.directory, "spread", 1_000);
  const big = storeOf(scope.directory, "spread", many);
  const low: Restart[] = [];
  const high: Restart[] = [];
  for (let round = -1; round < (scope.isQuick ? 5 : 15); round += 1) {
    const pair = [restart(small), restart(big)] as const;
    // The first one finds a store that was closed; all later ones find one whose process was killed.
    if (round < 0) continue;
    low.push(pair[0]);
    high.push(pair[1]);
  }
  const ratio = (of: (each: Restart) => number) =>
    spreadOf(high.map((each, round) => of(each) / of(low[round] ?? each)));
  return {
    figures: [
      { key: "P6", label: "open to first claim: many / few", ratio: ratio((each) => each.ms) },
      { key: "P6-memory", label: "resident memory then: many / few", ratio: ratio((each) => each.megabytes) },
    ],
    rows: [
      { label: "at 1000 queued", spread: spreadOf(low.map((each) => each.ms)), unit: "ms" },
      { label: `at ${many} queued`, spread: spreadOf(high.map((each) => each.ms)), unit: "ms" },
      { label: `memory at ${many}`, spread: spreadOf(high.map((each) => each.megabytes)), unit: "MB" },
    ],
  };
};

function restart(directory: string): Restart {
  const script = join(import.meta.dirname, "support/restart.ts");
  const options = ["--disable-warning=ExperimentalWarning", script, directory];
  const { stdout, stderr, signal } = spawnSync(process.execPath, options, { encoding: "utf8", timeout: 120_000 });
  if (signal !== "SIGKILL" || stdout === "") throw new Error(`the restarted process did not claim: ${stderr}`);
  return JSON.parse(stdout) as Restart;
}
