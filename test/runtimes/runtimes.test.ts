// Owns the promise that the package runs on Node 22, 24 and 26: the smoke program on real binaries of each, the engine's tests on the oldest.
// Leaves the program itself to test/runtimes/smoke.mjs.
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import type { Project } from "../support/packed.ts";
import { installPacked, npm, root, run } from "../support/packed.ts";

/** The oldest version that the manifest allows, then the newest of each supported line at the time of writing. */
const versions = ["22.18.0", "22.23.3", "24.21.0", "26.10.0"];

const isWindows = process.platform === "win32";
const name = `node-${isWindows ? "win" : process.platform}-${process.arch}`;

let project: Project;
beforeAll(async () => {
  project = await installPacked();
  copyFileSync(path.join(import.meta.dirname, "smoke.mjs"), path.join(project.folder, "smoke.mjs"));
});
afterAll(() => project?.[Symbol.dispose]());

test("the oldest version tried is the oldest one allowed", () => {
  expect(manifest.engines.node).toBe(`>=${versions[0]?.replace(/\.0$/, "")}`);
});

test.each(versions)("the package works on Node %s", async (version) => {
  const binary = await installNode(version);
  const { stdout } = await run(binary, ["smoke.mjs"], { cwd: project.folder, timeout: 60_000 });
  expect(stdout).toContain(`smoke ok on v${version}`);
});

test("the tests of the engine and of its SQLite pass on the oldest version, whose SQLite binding knows less", async () => {
  const binary = await installNode(versions[0] as string);
  const vitest = path.join(root, "node_modules/vitest/vitest.mjs");
  const tested = ["src/engine", "src/server", "src/node/sqlite.test.ts", "src/node/salvage.test.ts"];
  const args = [
    "--disable-warning=ExperimentalWarning",
    vitest,
    "run",
    "--project",
    "unit",
    "--project",
    "integration",
  ];
  const ran = await run(binary, [...args, ...tested], { cwd: root, timeout: 240_000, maxBuffer: 16 * 1_048_576 }).then(
    ({ stdout }) => stdout,
    (error: { readonly stdout: string }) => error.stdout,
  );
  expect(ran.split("\n").filter((line) => /FAIL|Error: /.test(line))).toEqual([]);
  expect(Number(/Tests .*?(\d+) passed/.exec(ran)?.[1])).toBeGreaterThan(500);
});

/** Kept from run to run. It appears under its name only when it is complete, so an interrupted download is repeated. */
async function installNode(version: string): Promise<string> {
  const place = path.join(root, ".toolchain", version);
  const binary = path.join(place, "node_modules", name, "bin", isWindows ? "node.exe" : "node");
  if (existsSync(binary)) return binary;
  const scratch = path.join(root, ".toolchain", `${version}-${process.pid}`);
  mkdirSync(scratch, { recursive: true });
  const quiet = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
  await run(npm, ["install", "--prefix", scratch, ...quiet, `${name}@${version}`], { cwd: scratch, shell: isWindows });
  if (!existsSync(place)) renameSync(scratch, place);
  rmSync(scratch, { recursive: true, force: true });
  return binary;
}
