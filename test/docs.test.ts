// Owns the promise that the documentation runs: every example of README.md and docs/ is executed as it is printed.
// Leaves reading the pages to test/support/examples.ts. Uses dist/ as the last build left it.
import type { ChildProcess } from "node:child_process";
import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import type { Ran } from "./support/example-host.ts";
import type { Example } from "./support/examples.ts";
import { readExamples } from "./support/examples.ts";

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, "..");
const command = path.join(root, "dist/cli/main.js");
const exampleTimeoutMs = 40_000;
const endTimeoutMs = 10_000;

const pages = globSync(["README.md", "docs/**/*.md"], { cwd: root })
  .map((page) => page.split(path.sep).join("/"))
  .sort();
const examples = pages.flatMap((page) => readExamples(page, readFileSync(path.join(root, page), "utf8")));
const runnable = examples.filter((example) => example.leftOut === undefined);

const work = mkdtempSync(path.join(tmpdir(), "holdfast-docs-"));
afterAll(() => rmSync(work, { recursive: true, force: true, maxRetries: 5 }));

const folderOf = (page: string): string => path.join(work, page.replaceAll("/", "__"));
const fileOf = ({ line, language, name }: Example): string => name ?? `example-${line}.${language}`;

/** A folder as a reader has it: the package installed by name, the command on PATH, a queue of its own. */
function setUpPage(page: string): NodeJS.ProcessEnv {
  const folder = folderOf(page);
  mkdirSync(path.join(folder, "node_modules/.bin"), { recursive: true });
  symlinkSync(root, path.join(folder, "node_modules/holdfast"), "junction");
  symlinkSync(path.join(root, "node_modules/@types"), path.join(folder, "node_modules/@types"), "junction");
  // A schema library of the reader's own; it comes with the package in any case.
  symlinkSync(path.join(root, "node_modules/zod"), path.join(folder, "node_modules/zod"), "junction");
  symlinkSync(command, path.join(folder, "node_modules/.bin/holdfast"));
  writeFileSync(path.join(folder, "package.json"), '{ "type": "module", "private": true }\n');
  for (const example of runnable.filter((candidate) => candidate.page === page)) {
    const file = path.join(folder, fileOf(example));
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, example.text);
  }
  return {
    ...process.env,
    PATH: [path.join(folder, "node_modules/.bin"), path.dirname(process.execPath), process.env.PATH].join(
      path.delimiter,
    ),
    HOME: folder,
    // The same program starts dozens of times here; what V8 made of it is kept from one start to the next.
    NODE_COMPILE_CACHE: path.join(root, ".tmp/compile-cache"),
    HOLDFAST_HOME: path.join(folder, ".holdfast"),
  };
}

async function runScript(example: Example, env: NodeJS.ProcessEnv): Promise<void> {
  const options = { cwd: folderOf(example.page), env, timeout: exampleTimeoutMs, maxBuffer: 10_000_000 };
  try {
    await run("bash", ["-euo", "pipefail", fileOf(example)], options);
  } catch (error) {
    const { stdout, stderr, code, killed } = error as { stdout: string; stderr: string; code: number; killed: boolean };
    const end = killed ? `did not end within ${exampleTimeoutMs} ms` : `ended with exit code ${code}`;
    throw failureOf(example, end, stdout + stderr);
  }
}

function failureOf({ page, line, text }: Example, end: string, output: string): Error {
  return new Error(`${page}:${line} ${end}\n${text}\n--- output\n${output}`);
}

/** The process in which the programs of one page run; started with the first of them. */
function makeHost(page: string, env: NodeJS.ProcessEnv) {
  let child: ChildProcess | null = null;
  let output = "";
  const start = (): ChildProcess => {
    const options = { cwd: folderOf(page), env, execArgv: ["--disable-warning=ExperimentalWarning"], silent: true };
    const started = fork(path.join(root, "test/support/example-host.ts"), options);
    for (const stream of [started.stdout, started.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => (output += text));
    return started;
  };
  return {
    run: async (example: Example): Promise<void> => {
      child ??= start();
      const [host, limit] = [child, AbortSignal.timeout(exampleTimeoutMs)];
      host.send(path.join(folderOf(page), fileOf(example)));
      const { failure } = await Promise.race([
        once(host, "message", { signal: limit }).then(([ran]) => ran as Ran),
        once(host, "exit", { signal: limit }).then(([code]) => ({ failure: `ended with exit code ${code}` })),
      ]).catch(() => ({ failure: `did not end within ${exampleTimeoutMs} ms` }));
      if (failure !== null) throw failureOf(example, failure, output);
    },
    /** Nothing is asked any more, so the process ends, unless a program has left something open. */
    end: async (): Promise<void> => {
      if (child === null) return;
      const gone = once(child, "exit", { signal: AbortSignal.timeout(endTimeoutMs) });
      if (child.connected) child.disconnect();
      const [code] = await gone.catch(() => {
        throw new Error(`a program of ${page} leaves something open: its process does not end\n${output}`);
      });
      expect(code, output).toBe(0);
    },
    kill: (): void => void child?.kill("SIGKILL"),
  };
}

function endProcess(pid: number): void {
  try {
    if (pid > 1) process.kill(pid);
  } catch {
    // It has ended as the page says.
  }
}

const environments = new Map(pages.map((page) => [page, setUpPage(page)]));

for (const page of pages.filter((name) => runnable.some((example) => example.page === name))) {
  describe.concurrent(page, () => {
    const env = environments.get(page) ?? {};
    const host = makeHost(page, env);
    afterAll(async () => {
      host.kill();
      // A server that the page started and did not come to stop.
      for (const found of globSync("*.pid", { cwd: folderOf(page) }))
        endProcess(Number(readFileSync(path.join(folderOf(page), found), "utf8")));
      // Also those in directories of the page's own, which an example that failed midway has left running.
      for (const found of globSync([".holdfast/daemon.json", "*/daemon.json"], { cwd: folderOf(page) })) {
        const home = path.join(folderOf(page), path.dirname(found));
        await run(process.execPath, [command, "--home", home, "daemon", "stop"], { env, timeout: 20_000 }).catch(
          () => undefined,
        );
      }
    });
    const own = runnable.filter((candidate) => candidate.page === page);
    const toRun = own.filter((example) => example.name === undefined);
    for (const example of toRun) {
      test(`line ${example.line}: ${fileOf(example)} works as printed`, { concurrent: false }, () =>
        example.language === "sh" ? runScript(example, env) : host.run(example),
      );
    }
    if (toRun.some((example) => example.language !== "sh"))
      test("its programs leave nothing open", { concurrent: false }, host.end);
  });
}

test
  .runIf(runnable.some((example) => example.language === "ts"))
  .concurrent("every TypeScript example type-checks", async () => {
    const types = runnable.filter((example) => example.language === "ts");
    const options = {
      strict: true,
      noEmit: true,
      module: "NodeNext",
      target: "ES2023",
      types: ["node"],
      skipLibCheck: true,
    };
    const config = {
      compilerOptions: {
        ...options,
        moduleDetection: "force",
        allowImportingTsExtensions: true,
        erasableSyntaxOnly: true,
      },
      files: types.map((example) => path.join(folderOf(example.page), fileOf(example))),
    };
    const file = path.join(work, "tsconfig.json");
    writeFileSync(file, JSON.stringify(config));
    symlinkSync(path.join(root, "node_modules"), path.join(work, "node_modules"), "junction");
    const tsc = path.join(root, "node_modules/typescript-native/bin/tsc");
    await run(process.execPath, [tsc, "-p", file]).catch((error: { readonly stdout: string }) => {
      throw new Error(error.stdout);
    });
  });

test("what is not run is counted, with its reason", () => {
  const leftOut = examples.filter((example) => example.leftOut !== undefined);
  const reasons = leftOut.map((example) => `${example.page}:${example.line} ${example.leftOut?.reason}`);
  console.log([`${runnable.length} examples run, ${leftOut.length} left out`, ...reasons].join("\n  "));
  expect(reasons.every((reason) => reason.length > 0)).toBe(true);
});

test("every link between the pages leads to a file", () => {
  const papers = [...pages, "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
  const dead = papers.flatMap((page) =>
    [...readFileSync(path.join(root, page), "utf8").matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
      .map(([, target = ""]) => target)
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(path.join(root, path.dirname(page), target)))
      .map((target) => `${page} leads to ${target}`),
  );
  expect(dead).toEqual([]);
});

describe("reading a page", () => {
  test("finds blocks with their line, language and text", () => {
    const [example] = readExamples("a.md", "x\n\n```ts\nlet a = 1;\n```\n");
    expect(example).toMatchObject({ page: "a.md", line: 3, language: "ts", text: "let a = 1;\n", leftOut: undefined });
  });

  test("a block without a language, with an unknown one or never closed is refused", () => {
    expect(() => readExamples("a.md", "```\nx\n```\n")).toThrow("a.md:1: name the language");
    expect(() => readExamples("a.md", "```bash\nx\n```\n")).toThrow("a.md:1: name the language");
    expect(() => readExamples("a.md", "\n```sh\nx\n")).toThrow("a.md:2: the block is never closed");
  });

  test("no-run wants a reason in a comment before it", () => {
    expect(() => readExamples("a.md", "```sh no-run\nx\n```\n")).toThrow("no-run needs its reason");
    const [example] = readExamples("a.md", "<!-- wants a remote -->\n```sh no-run\nx\n```\n");
    expect(example?.leftOut).toEqual({ reason: "wants a remote" });
  });

  test("a block may be the content of a named file", () => {
    const [example] = readExamples("a.md", "<!-- file: holdfast.config.ts -->\n\n```ts\nexport {};\n```\n");
    expect(example).toMatchObject({ name: "holdfast.config.ts", leftOut: undefined });
  });
});
