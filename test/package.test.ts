// Owns the promise that the package installs into an empty project and works there: command, doors and types.
// Leaves the checks that need no installation to scripts/package-checks.ts and other Node versions to test/runtimes/.
import { globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import manifest from "../package.json" with { type: "json" };
import type { Project } from "./support/packed.ts";
import { installPacked, npm, root, run } from "./support/packed.ts";

let project: Project;
beforeAll(async () => {
  project = await installPacked();
});
afterAll(() => project?.[Symbol.dispose]());

/** The doors of the manifest, so that a new one cannot be missed. */
const doors = Object.keys(manifest.exports)
  .filter((place) => place !== "./package.json")
  .map((place) => place.replace(/^\./, "holdfast"));

const installed = (): string => path.join(project.folder, "node_modules/holdfast");
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

test("npx holdfast --version prints the version of the package", async () => {
  const { stdout } = await inProject(npm, "exec", "--no", "--", "holdfast", "--version");
  expect(stdout.trim()).toBe(manifest.version);
});

test("what is bundled into the command comes with its licences", () => {
  const notices = readFileSync(path.join(installed(), "dist/cli/LICENSES.txt"), "utf8");
  const sections = new Map(
    notices
      .split(/^## /m)
      .slice(1)
      .map((text) => [text.slice(0, text.search(/ \d/)), text]),
  );
  const bundled = ["commander", "hono", "@hono/node-server", "pino", "prom-client", "smol-toml", "zod"];
  expect([...sections.keys()]).toEqual(expect.arrayContaining(bundled));
  // A licence is a text, not only its name; these packages come without any, and are named with their licence all the same.
  const textless = ["@bomb.sh/tab", "postgres"];
  const nameless = [...sections].filter(
    ([, text]) => !/copyright|licen[cs]e|permission/i.test(text.split("\n").slice(2).join("\n")),
  );
  expect(nameless.map(([name]) => name)).toEqual(textless);
  expect(notices).toMatch(/^## @bomb\.sh\/tab \S+ \(MIT\)$/m);
  expect(notices).toMatch(/^## postgres \S+ \(Unlicense\)$/m);
});

test("no file points to a source map, to the sources or to a test", () => {
  const files = globSync("dist/**/*.{js,ts}", { cwd: installed() });
  expect(files.length).toBeGreaterThan(50);
  expect(files.filter((file) => /\.test\.|\.map$/.test(file))).toEqual([]);
  const pointing = files.filter((file) => {
    const text = readFileSync(path.join(installed(), file), "utf8");
    return /^\/\/# sourceMappingURL=/m.test(text) || (file.endsWith(".js") && /from "\.[^"]*\.ts"/.test(text));
  });
  expect(pointing).toEqual([]);
});

test("the doors are those that the documents speak of", () => {
  expect(doors).toEqual(["holdfast", "holdfast/node", "holdfast/server", "holdfast/testing"]);
});

test.each(doors)('import "%s" works', async (door) => {
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
  const lines = doors.map(
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
