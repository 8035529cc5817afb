// Owns the proof that a stage cannot look better than it was: no counts, a bad end and left-over processes all count.
// Leaves the choice of stages to scripts/stages.ts.
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { runCounted, runPlain } from "../scripts/stage-runner.ts";

const program = (text: string): readonly string[] => ["--input-type=module", "--eval", text];

describe("a stage that prints its counts", () => {
  test("is believed when its end agrees", async () => {
    const outcome = await runCounted("sample", program('console.log("3 passed, 0 failed")'));
    expect(outcome).toMatchObject({ passed: 3, failed: 0, summary: "3 passed, 0 failed" });
  });

  test("fails once more when it ends badly although nothing failed", async () => {
    const outcome = await runCounted("sample", program('console.log("3 passed, 0 failed"); process.exitCode = 1'));
    expect(outcome).toMatchObject({ passed: 3, failed: 1 });
  });

  test("fails when it prints none, or ran nothing", async () => {
    const silent = await runCounted("sample", program('console.log("3 passed, 0 failed\\nand more")'));
    expect(silent).toMatchObject({ passed: 0, failed: 1, summary: expect.stringContaining("without counts") });
    const empty = await runCounted("sample", program('console.log("0 passed, 0 failed")'));
    expect(empty).toMatchObject({ passed: 0, failed: 1, summary: expect.stringContaining("ran nothing") });
  });

  test("fails when it does not end in its time", async () => {
    const outcome = await runCounted("sample", program("setInterval(() => {}, 1000)"), 300);
    expect(outcome).toMatchObject({
      passed: 0,
      failed: 1,
      summary: expect.stringContaining("did not end in its time"),
    });
  });
});

test("a step that is one claim passes with exit code 0 alone", async () => {
  expect(await runPlain("sample", program(""))).toMatchObject({ passed: 1, failed: 0 });
  const failed = await runPlain("sample", program('console.log("why"); process.exit(2)'));
  expect(failed).toMatchObject({
    passed: 0,
    failed: 1,
    output: "why\n",
    summary: expect.stringContaining("exit code 2"),
  });
});

test.runIf(process.platform === "linux")("a process that a stage leaves behind is told and killed", async () => {
  const leaving = `
    import { spawn } from "node:child_process";
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60_000)"], { detached: true, stdio: "ignore" });
    child.unref();
    console.log(child.pid);`;
  const outcome = await runPlain("sample", program(leaving));
  const pid = Number(outcome.output);
  expect(outcome).toMatchObject({
    passed: 0,
    failed: 1,
    summary: expect.stringContaining(`left a process running: ${pid} `),
  });
  // A dead process keeps its number until its parent has asked for it, but no command line.
  await expect.poll(() => commandLineOf(pid)).toBe("");
});

function commandLineOf(pid: number): string {
  const file = `/proc/${pid}/cmdline`;
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}
