// Owns the promise that the package installs into an empty project and works there: command, doors and types.
// Leaves the checks that need no installation to scripts/package-checks.ts and other Node versions to test/runtimes/.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Project } from "./support/packed.ts";
import { installPacked, npm, root, run } from "./support/packed.ts";

let project: Project;
beforeAll(async () => {
  project = await installPacked();
});
afterAll(() => project?.[Symbol.dispose]());

const inProject = (command: string, ...args: readonly string[]) =>
  run(command, args, { cwd: project.folder, timeout: 60_000, shell: process.platform === "win32" && command === npm });

test("it installs without anything that compiles or runs on installation", () => {
  const lock = JSON.parse(readFileSync(path.join(project.folder, "package-lock.json"), "utf8"));
  const packages: Record<string, { readonly hasInstallScript?: boolean; readonly gypfile?: boolean }> = lock.packages;
  expect(Object.keys(packages)).toContain("node_modules/holdfast");
  const running = Object.entries(packages).filter(([, entry]) => entry.hasInstallScript || entry.gypfile);
  expect(running.map(([place]) => place)).toEqual([]);
});

test("npx holdfast --help answers", async () => {
  const { stdout } = await inProject(npm, "exec", "--no", "--", "holdfast", "--help");
  expect(stdout).toMatch(/usage:? +holdfast/i);
});

test.each(["holdfast", "holdfast/node", "holdfast/testing"])('import "%s" works', async (door) => {
  const program = `import * as door from "${door}"; console.log(Object.keys(door).length);`;
  const { stdout } = await inProject(process.execPath, "--input-type=module", "--eval", program);
  expect(Number(stdout)).toBeGreaterThan(0);
});

test("a file that is not exported cannot be imported", async () => {
  const program = 'await import("holdfast/dist/index.js");';
  const attempt = inProject(process.execPath, "--input-type=module", "--eval", program);
  await expect(attempt).rejects.toThrow("ERR_PACKAGE_PATH_NOT_EXPORTED");
});

test("a program in TypeScript compiles against the types of every door", async () => {
  const lines = ["holdfast", "holdfast/node", "holdfast/testing"].map(
    (door, at) =>
      `import * as door${at} from "${door}";\nexport const names${at}: readonly string[] = Object.keys(door${at});`,
  );
  writeFileSync(path.join(project.folder, "program.ts"), `${lines.join("\n")}\n`);
  const compilerOptions = {
    module: "NodeNext",
    target: "ES2023",
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    types: ["node"],
    typeRoots: [path.join(root, "node_modules/@types")],
  };
  writeFileSync(path.join(project.folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
  const tsc = path.join(root, "node_modules/typescript/bin/tsc");
  const output = await inProject(process.execPath, tsc, "-p", ".").then(
    ({ stdout }) => stdout,
    (error: { readonly stdout: string }) => error.stdout,
  );
  // Libraries are checked too, and only what lies in another package's own declarations is passed over.
  const ours = output.split("\n").filter((line) => /^(program\.ts|node_modules\/holdfast\/)/.test(line));
  expect(ours).toEqual([]);
});
