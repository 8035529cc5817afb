// Owns the promise of the repository's own two commands: what `npm start` prints can be typed as it stands and ends well,
// and `npm run demo` tells its story to the end. Leaves getting a fitting Node, which takes the network, to scripts/run.mjs.
import type { ChildProcess } from "node:child_process";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { kill, processesOf, until } from "../support/processes.ts";

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, "../..");
const stepTimeoutMs = 40_000;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-commands-"));
});
afterEach(async () => {
  for (const { pid } of processesOf(folder)) kill(pid);
  await until(() => processesOf(folder).length === 0, "every process has ended");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

type Script = { readonly child: ChildProcess; readonly said: () => string };

/** A script of the repository under this Node, which is also the one that a shell below finds. */
function start(name: string): Script {
  const env = { ...process.env, HOLDFAST_HOME: path.join(folder, "home"), TMPDIR: folder, NO_COLOR: "1" };
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", path.join(root, "scripts", name)], {
    ...{ cwd: root, env, stdio: ["ignore", "pipe", "inherit"] },
  });
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { child, said: () => text };
}

const words = /^ {2}((?:cd|export|holdfast|two|kill) .*|two\(\) .*)$/;

test.runIf(process.platform !== "win32")(
  "what npm start prints can be typed as it stands, line by line, and Ctrl-C ends all of it",
  async () => {
    const { child, said } = start("start.ts");
    await until(() => said().includes("Ctrl-C here stops everything"), "it says what to try");
    const lines = said()
      .split("\n")
      .flatMap((line) => words.exec(line)?.[1] ?? [])
      // A tarball of the sources has no history to show.
      .filter((line) => !line.includes("git log") || existsSync(path.join(root, ".git")));
    expect(lines.length).toBeGreaterThan(20);
    // What was set up by the lines before is set up for each, as in one terminal.
    const isSetUp = (line: string): boolean => /^(?:cd|export|two\(\)) /.test(line);
    const setUp: string[] = [];
    const env = { ...process.env, PATH: `${path.dirname(process.execPath)}:${process.env.PATH}`, NO_COLOR: "1" };
    const type = async (line: string): Promise<string> => {
      const script = ["set -e", ...setUp, line].join("\n");
      return (await run("bash", ["-c", script], { cwd: folder, env, timeout: stepTimeoutMs })).stdout;
    };
    const shows = (line: string, text: string): Promise<void> =>
      until(async () => (await type(line)).includes(text), `\`${line}\` shows ${text}`);
    const told = new Map<string, string>();
    for (const line of lines) {
      if (isSetUp(line)) setUp.push(line);
      // The other device hears of it a moment later.
      else if (line.startsWith("two records list")) await shows(line, "Tides");
      else if (line.startsWith("two conflicts list")) await shows(line, "both sides changed it: title");
      else told.set(line, await type(line));
    }
    await shows("holdfast records list notes", "title: Ebb  stars: 5");
    const all = told.get("holdfast queue list --all") ?? "";
    expect(all).not.toMatch(/pending|failed/);
    expect(all.match(/completed/g)?.length).toBeGreaterThanOrEqual(3);
    // The receiver counts what it was given: each once.
    expect(said().match(/done, receipt kept/g)).toHaveLength(2);
    expect(said().match(/package-lock\.json arrived/g)).toHaveLength(1);
    expect(said()).not.toContain("seen before");

    const ended = once(child, "exit");
    child.kill("SIGINT");
    expect(await ended).toEqual([0, null]);
    await until(() => processesOf(folder).length === 0, "nothing runs on");
  },
);

test("npm run demo tells its story to the end", async () => {
  const startedAt = performance.now();
  const { child, said } = start("demo.ts");
  const [code] = await once(child, "exit");
  expect(said()).toContain("All as told");
  expect(said()).not.toContain("✗");
  expect(code).toBe(0);
  // A minute on a machine of its own; here others may be at work.
  console.log(`the demo took ${Math.round((performance.now() - startedAt) / 1_000)} s`);
  await until(() => processesOf(folder).length === 0, "nothing runs on");
});
