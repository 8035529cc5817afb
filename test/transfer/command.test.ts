// Owns the promise that a queued command runs as it was queued, in its own bounds, and leaves nothing running behind.
// Leaves the meaning of exit codes to src/command.test.ts.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import { makeCommandRun } from "../../src/node/command.ts";
import type { Answer, Json } from "../../src/operation.ts";
import { mostGrownDuring } from "../support/live-memory.ts";
import type { AttemptOptions } from "./support/attempts.ts";
import { makeAttempt, operationId } from "./support/attempts.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-command-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

const deps = {
  isEnabled: () => true,
  graceMs: 300,
  credentials: {
    secretFor: async (name: string) => {
      if (name === "ci") return "very-secret-value";
      if (name === "broken") return "half-a-secret\0";
      throw new HoldfastError("credential_missing", `no credential ${name}`, "add it");
    },
  },
};

const node = (script: string, ...rest: readonly string[]) => [process.execPath, "-e", script, ...rest];

function begin(input: object, options: AttemptOptions = {}) {
  const recorded = makeAttempt({ cwd: folder, ...input }, options);
  const running = makeCommandRun(deps).run?.(recorded.attempt);
  if (running === undefined) throw new Error("the type has no run");
  return { ...recorded, running };
}
const run = (input: object): Promise<Answer> => begin(input).running;

async function isSoon(what: () => boolean, withinMs = 20_000): Promise<boolean> {
  const until = Date.now() + withinMs;
  while (Date.now() < until) {
    if (what()) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return what();
}
const isAlive = (pid: number) => {
  try {
    // A zombie answers signals and runs no more.
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

describe("a command", () => {
  test("gets its arguments untouched, its folder, its input, and a small environment", async () => {
    process.env.HOLDFAST_TEST_LEAK = "ours";
    const script = `const {env} = process; let text = ""; process.stdin.on("data", (d) => (text += d)).on("end", () =>
      console.log(JSON.stringify({ argv: process.argv.slice(1), cwd: process.cwd(), env, text })))`;
    const argv = node(script, "a b", "$HOME", "*", "; exit 3", "");
    const answer = await run({ argv, env: { GREETING: "hi" }, envCredentials: { TOKEN: "ci" }, stdin: "zażółć" });
    delete process.env.HOLDFAST_TEST_LEAK;
    if (answer.kind !== "applied") throw new Error(JSON.stringify(answer));
    const { stdout, exitCode, durationMs } = answer.result as { stdout: string; exitCode: number; durationMs: number };
    const seen = JSON.parse(stdout);
    expect(exitCode).toBe(0);
    expect(durationMs).toBeGreaterThan(0);
    expect(seen).toMatchObject({ argv: ["a b", "$HOME", "*", "; exit 3", ""], cwd: folder, text: "zażółć" });
    const { TOKEN, ...env } = seen.env;
    expect(env).toMatchObject({
      GREETING: "hi",
      HOLDFAST_OPERATION_ID: operationId,
      HOLDFAST_IDEMPOTENCY_KEY: operationId,
      HOLDFAST_ATTEMPT: "1",
    });
    const allowed = ["PATH", "HOME", "LANG", "TZ", "USER", "TMPDIR", "GREETING"];
    const others = Object.keys(env).filter((name) => !allowed.includes(name) && !name.startsWith("HOLDFAST_"));
    expect(others).toEqual([]);
    expect(env).not.toHaveProperty("HOLDFAST_TEST_LEAK");
    // It got the secret, and what is kept of its output does not show it.
    expect(TOKEN).toBe("*".repeat("very-secret-value".length));
  });

  test("that fails parks with its code and what it said", async () => {
    const answer = await run({ argv: node("console.error('fatal: no'); process.exit(7)") });
    expect(answer).toMatchObject({
      kind: "rejected",
      problem: {
        code: "command_failed",
        status: 7,
        message: expect.stringContaining("fatal: no"),
        detail: { exitCode: 7 },
      },
    });
  });

  test("that says 'not now' is tried again", async () => {
    expect(await run({ argv: ["sh", "-c", "exit 75"] })).toMatchObject({ kind: "retry", isCharged: true });
  });

  test("that a signal ends is tried again", async () => {
    const answer = await run({ argv: ["sh", "-c", "kill -SEGV $$"] });
    expect(answer).toMatchObject({ kind: "retry", problem: { code: "command_killed" } });
  });

  test("that cannot be started parks with a hint, and tells program and folder apart", async () => {
    const plain = path.join(folder, "plain.sh");
    writeFileSync(plain, "echo hi\n", { mode: 0o644 });
    const codes = [];
    for (const input of [
      { argv: ["no-such-program"] },
      { argv: [plain] },
      { argv: ["true"], cwd: path.join(folder, "gone") },
    ]) {
      const answer = await run(input);
      codes.push(answer.kind === "rejected" ? answer.problem.code : answer.kind);
    }
    expect(codes).toEqual(["command_not_found", "command_not_allowed", "command_no_folder"]);
  });

  test("because its arguments are too long parks", async () => {
    const argv = ["true", ...Array.from({ length: 100 }, () => "x".repeat(131_000))];
    expect(await run({ argv })).toMatchObject({ kind: "rejected", problem: { code: "command_too_long" } });
  });

  test("because its secret cannot stand in an environment parks, and does not show it", async () => {
    const answer = await run({ argv: ["true"], envCredentials: { TOKEN: "broken" } });
    expect(answer).toMatchObject({ kind: "rejected", problem: { code: "command_unusable" } });
    expect(JSON.stringify(answer)).not.toContain("half-a-secret");
  });

  test("and may have run in an earlier attempt keeps that doubt", async () => {
    const { running } = begin({ argv: ["no-such-program"] }, { mayHaveLanded: true });
    expect(await running).toMatchObject({ kind: "rejected", mayHaveLanded: true });
  });

  test("because something in its path is no folder, or its name is too long, parks", async () => {
    writeFileSync(path.join(folder, "plain"), "");
    for (const program of [path.join(folder, "plain", "tool"), "x".repeat(5_000)])
      expect(await run({ argv: [program] })).toMatchObject({
        kind: "rejected",
        problem: { code: "command_not_found" },
      });
  });

  test("does not run where commands are switched off, or without its credential", async () => {
    const mark = path.join(folder, "ran");
    const input = { argv: ["touch", mark], cwd: folder };
    const off = await makeCommandRun({ ...deps, isEnabled: () => false }).run?.(makeAttempt(input).attempt);
    expect(off).toMatchObject({ kind: "rejected", problem: { code: "command_disabled" } });
    const without = await run({ ...input, envCredentials: { TOKEN: "nobody" } });
    expect(without).toMatchObject({ kind: "auth", problem: { code: "credential_missing" } });
    expect(existsSync(mark)).toBe(false);
  });

  test("may end without reading its input", async () => {
    expect(await run({ argv: ["true"], stdin: "x".repeat(200_000) })).toMatchObject({ kind: "applied" });
  });

  test("may leave somebody behind who keeps its output open, and is not waited for", async () => {
    const note = path.join(folder, "left-behind");
    const answer = await run({ argv: ["sh", "-c", `echo done; sleep 50 & echo $! > ${note}`] });
    expect(answer).toMatchObject({ kind: "applied", result: { stdout: "done\n" } });
    // It is still there to be ended: nobody has waited for it.
    expect(process.kill(Number(readFileSync(note, "utf8")), "SIGKILL")).toBe(true);
  });
});

describe("output", () => {
  test("of 400 MB is kept by its head and tail, in bounded memory", async () => {
    const script = `const block = Buffer.alloc(1e6, "x"); process.stdout.write("first\\n");
      let left = 400; const go = () => { while (left-- > 0) if (!process.stdout.write(block)) return process.stdout.once("drain", go);
      process.stdout.write("\\nlast\\n"); }; go();`;
    const { result: answer, grown } = await mostGrownDuring(() => run({ argv: node(script), outputBytes: 1_000 }));
    if (answer.kind !== "applied") throw new Error(JSON.stringify(answer).slice(0, 500));
    const result = answer.result as { stdout: string; stdoutBytes: number; isTruncated: boolean };
    expect(result.stdoutBytes).toBe(400_000_012);
    expect(result.isTruncated).toBe(true);
    expect(result.stdout).toMatch(/^first\nx+\n… 39999\d+ bytes left out …\nx+\nlast\n$/);
    expect(result.stdout.length).toBeLessThan(1_100);
    // What is on its way through the pipe, and a little of everything: far less than what came, however much that was.

    expect(grown).toBeLessThan(16_000_000);
  });

  test("that is binary becomes text that JSON can carry", async () => {
    const answer = await run({ argv: node("process.stdout.write(Buffer.from(Array.from({length:256},(_, i) => i)))") });
    if (answer.kind !== "applied") throw new Error(JSON.stringify(answer));
    const { stdout, stdoutBytes } = answer.result as { stdout: string; stdoutBytes: number };
    expect(stdoutBytes).toBe(256);
    expect(stdout).toContain("ABCDEF");
    expect(JSON.parse(JSON.stringify(stdout))).toBe(stdout);
    expect(stdout).toContain("\ufffd");
  });
});

describe("a command that has to end", () => {
  // Ignores the polite signal, and so does what it starts.
  const stubborn = `trap '' TERM; (trap '' TERM; sleep 300) & echo $! > grandchild; (trap '' TERM; sleep 300) & echo $$ > child; wait`;
  const pidIn = (name: string) => Number(readFileSync(path.join(folder, name), "utf8"));
  const started = () =>
    existsSync(path.join(folder, "child")) && readFileSync(path.join(folder, "child"), "utf8") !== "";

  test("because its time is up goes with all that it started, however stubborn", async () => {
    const answer = await run({ argv: ["sh", "-c", stubborn], timeoutMs: 700 });
    expect(answer).toMatchObject({ kind: "retry", isCharged: true, problem: { code: "command_timed_out" } });
    expect(isAlive(pidIn("child"))).toBe(false);
    expect(await isSoon(() => !isAlive(pidIn("grandchild")))).toBe(true);
  });

  test("because Holdfast stops is not known to have failed, and goes with all that it started", async () => {
    const { running, abort } = begin({ argv: ["sh", "-c", stubborn] });
    expect(await isSoon(started)).toBe(true);
    abort();
    expect(await running).toMatchObject({ kind: "unknown", mayHaveLanded: true, problem: { code: "stopped" } });
    expect(isAlive(pidIn("child"))).toBe(false);
    expect(await isSoon(() => !isAlive(pidIn("grandchild")))).toBe(true);
  });

  test("and keeps making children is ended all the same", async () => {
    const bomb = `trap '' TERM; n=0; while [ $n -lt 400 ]; do (trap '' TERM; sleep 300) & n=$((n+1)); done; wait`;
    const id = randomUUID();
    const mark = `HOLDFAST_OPERATION_ID=${id}`;
    const { running } = begin({ argv: ["sh", "-c", bomb], timeoutMs: 1_500 }, { id });
    expect(await isSoon(() => processesWith(mark).length > 20)).toBe(true);
    expect(await running).toMatchObject({ kind: "retry" });
    expect(await isSoon(() => processesWith(mark).length === 0)).toBe(true);
  });

  test("is not taken for done when it answers SIGTERM with 0", async () => {
    const answer = await run({ argv: ["sh", "-c", "trap 'exit 0' TERM; sleep 300 & wait"], timeoutMs: 500 });
    expect(answer).toMatchObject({ kind: "retry", problem: { code: "command_timed_out" } });
  });

  test("because its Holdfast was killed is ended before it runs again", async () => {
    const script = path.join(import.meta.dirname, "support/commander.ts");
    const holder = spawn(process.execPath, [script, folder, JSON.stringify(["sh", "-c", stubborn])], {
      stdio: "inherit",
    });
    const note = path.join(folder, "checkpoint.json");
    expect(await isSoon(() => started() && existsSync(note))).toBe(true);
    const leftOver = pidIn("child");
    holder.kill("SIGKILL");
    await new Promise((resolve) => holder.once("exit", resolve));
    expect(isAlive(leftOver)).toBe(true);
    const checkpoint = JSON.parse(readFileSync(note, "utf8")) as Json;
    const { running } = begin({ argv: ["true"] }, { checkpoint });
    expect(await running).toMatchObject({ kind: "applied" });
    expect(await isSoon(() => !isAlive(leftOver))).toBe(true);
  });

  test("leaves a stranger alone who got its number since", async () => {
    const stranger = spawn("sleep", ["300"], { detached: true });
    const { running } = begin(
      { argv: ["true"] },
      { checkpoint: { pid: stranger.pid ?? 0, startedAt: "another time" } },
    );
    expect(await running).toMatchObject({ kind: "applied" });
    expect(isAlive(stranger.pid ?? 0)).toBe(true);
    stranger.kill("SIGKILL");
  });
});

/** Processes of this machine that were given this variable, zombies left out. */
function processesWith(mark: string): readonly string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name) || !isAlive(Number(name))) return false;
    try {
      return readFileSync(`/proc/${name}/environ`, "utf8").includes(mark);
    } catch {
      return false;
    }
  });
}
