// Owns `npm run bench [-- P1 P4 …] [--quick] [--write] [--compare]`: it runs the chosen bars one after the other, each in a process
// of its own, with and without the slow disk, and prints them against their limits. Leaves measuring to the files p1 to p12.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Bar } from "./support/bars.ts";
import { bars } from "./support/bars.ts";
import { installPeers, installPullPeers } from "./support/install.ts";
import type { Run } from "./support/report.ts";
import { baselineOf, failures, figureTable, machine, marginShare, rowLists, slowdowns } from "./support/report.ts";
import { slowDisk } from "./support/shim.ts";
import type { Measured } from "./support/types.ts";

const root = join(import.meta.dirname, "..");
const baselineFile = join(import.meta.dirname, "baseline.json");
const resultsFile = join(import.meta.dirname, "RESULTS.md");
const scratch = join(root, ".tmp", "bench");

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean" }, write: { type: "boolean" }, compare: { type: "boolean" } },
});

function chosen(): readonly Bar[] {
  const wanted = positionals.map((name) => name.toUpperCase());
  const unknown = wanted.filter((name) => !bars.some((bar) => bar.name === name));
  if (unknown.length > 0) {
    process.stderr.write(
      `bench: no bar is called ${unknown.join(", ")}; there are ${bars.map(({ name }) => name).join(", ")}\n`,
    );
    process.exit(2);
  }
  return wanted.length === 0 ? bars : bars.filter((bar) => wanted.includes(bar.name));
}

function runBar(bar: Bar, directory: string, env: NodeJS.ProcessEnv | null): Run {
  const isSlowDisk = env !== null;
  process.stderr.write(`bench: ${bar.name}${isSlowDisk ? " with a slow disk" : ""} …\n`);
  const scope = JSON.stringify({ isQuick: flags.quick === true, directory, isSlowDisk });
  const options = ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, "bar.ts"), bar.file, scope];
  const child = spawnSync(process.execPath, options, {
    env: env ?? process.env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 26,
  });
  if (child.status !== 0) throw new Error(`${bar.name} ended with ${child.signal ?? `exit code ${child.status}`}`);
  return { bar, isSlowDisk, measured: JSON.parse(child.stdout.trim().split("\n").pop() ?? "") as Measured };
}

function runAll(wanted: readonly Bar[]): { readonly runs: readonly Run[]; readonly slowReason: string | null } {
  mkdirSync(scratch, { recursive: true });
  const directory = mkdtempSync(join(scratch, "run-"));
  try {
    const slow = slowDisk(directory);
    const runs = wanted.flatMap((bar) => {
      const fast = runBar(bar, directory, null);
      return bar.isDurable && slow.env !== null ? [fast, runBar(bar, directory, slow.env)] : [fast];
    });
    return { runs, slowReason: slow.reason };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

installPeers();
const wanted = chosen();
if (wanted.some(({ name }) => name === "P9")) installPullPeers();
const { runs, slowReason } = runAll(wanted);
const command = ["npm run bench", ...(process.argv.length > 2 ? ["--", ...process.argv.slice(2)] : [])].join(" ");
const slowNote =
  slowReason === null
    ? "Rows with +5 ms: every fsync of the process takes 5 ms longer (bench/shim/slowsync.c)."
    : `Without the rows of the slow disk, because ${slowReason}.`;
const header = `${machine()}\n\n${new Date().toISOString().slice(0, 10)}, \`${command}\`. ${slowNote}`;
const report = `${header}\n\n${figureTable(runs)}\n\n${rowLists(runs)}\n`;
process.stdout.write(report);

if (flags.write === true) {
  writeFileSync(
    resultsFile,
    `# Results of the benchmark\n\nMedians of interleaved rounds; read the ratios, not the times. What each bar means: [docs/speed.md](../docs/speed.md).\n\n${report}`,
  );
  writeFileSync(baselineFile, `${JSON.stringify(baselineOf(runs), null, 2)}\n`);
  process.stderr.write("bench: wrote bench/RESULTS.md and bench/baseline.json\n");
}

const missed = failures(runs);
for (const line of missed) process.stderr.write(`bench: below its must: ${line}\n`);
const slower =
  flags.compare === true && existsSync(baselineFile)
    ? slowdowns(runs, JSON.parse(readFileSync(baselineFile, "utf8")))
    : [];
for (const line of slower) process.stderr.write(`bench: slower by more than ${marginShare * 100} %: ${line}\n`);
process.exitCode = flags.compare === true ? (slower.length > 0 ? 1 : 0) : missed.length > 0 ? 1 : 0;
