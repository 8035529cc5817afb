/**
 * Owns the proof that a failing file call is a typed refusal or a retry, never a false acknowledgement (T5).
 * HOLDFAST_SYSCALL_POINTS makes it longer.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { errorTable } from "../../src/errors.ts";
import { buildShim, exitOf, forkShimmed } from "./shim.ts";
import type { Finding, Point } from "./syscalls-writer.ts";

const wantedPoints = Number(process.env.HOLDFAST_SYSCALL_POINTS ?? 200);
const scratch = mkdtempSync(join(tmpdir(), "holdfast-syscalls-"));
const shim = buildShim(scratch);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** EINTR for ever is left out: no kernel does that, and retrying EINTR is what every program must do. */
const failures = [
  { errno: constants.errno.EIO, isForEver: false },
  { errno: constants.errno.EIO, isForEver: true },
  { errno: constants.errno.ENOSPC, isForEver: false },
  { errno: constants.errno.ENOSPC, isForEver: true },
  { errno: constants.errno.EINTR, isForEver: false },
] as const;
const runs = 4;
const never = 1_000_000_000;

if ("reason" in shim) {
  test.skip(`failing calls: ${shim.reason}`, () => {});
  console.log(`skipped: failing calls: ${shim.reason}`);
} else {
  test(`a failing file call is refused or retried, at ${wantedPoints} points`, async () => {
    const rehearsal = [true, false].map((isFresh) => ({ at: never, errno: 0, isForEver: false, isFresh }));
    const [fresh, used] = await runPoints(shim.path, rehearsal);
    expect(fresh?.wrongs).toEqual([]);
    expect(fresh?.refusals).toEqual([]);
    expect(fresh?.acknowledged).toBe(5);
    const points = spread({ fresh: fresh?.calls ?? 0, used: used?.calls ?? 0 });
    // Most of the time is spent waiting for retries, so several runs share the machine.
    const shares = Array.from({ length: runs }, (_, run) => points.filter((_, index) => index % runs === run));
    const findings = (await Promise.all(shares.map((share) => runPoints(shim.path, share)))).flat();
    const wrong = findings.filter((finding) => finding.wrongs.length > 0);
    expect(wrong.slice(0, 5)).toEqual([]);
    expect(findings).toHaveLength(points.length);
    const refused = new Set(findings.flatMap((finding) => finding.refusals));
    for (const code of refused) expect(Object.keys(errorTable)).toContain(code);
    // Failures that nobody noticed would prove nothing.
    expect(findings.filter((finding) => finding.failed > 0).length).toBeGreaterThan(points.length * 0.9);
    expect(refused.size).toBeGreaterThan(1);
    // A failing disk has codes of its own; "internal" would blame the program.
    expect(findings.filter((finding) => finding.refusals.includes("internal"))).toEqual([]);
    const calls = `${fresh?.calls ?? 0} and ${used?.calls ?? 0}`;
    console.log(`failing calls: ${points.length} points of ${calls}; refusals: ${[...refused].sort().join(", ")}`);
  });
}

/** Points evenly over the calls of a run, for a fresh store and a used one, with every failure. */
function spread(calls: { readonly fresh: number; readonly used: number }): readonly Point[] {
  const perFailure = Math.ceil(wantedPoints / failures.length);
  return failures.flatMap((failure, row) =>
    Array.from({ length: perFailure }, (_, index) => {
      const isFresh = index % 2 === 0;
      const total = isFresh ? calls.fresh : calls.used;
      const at = 1 + Math.floor(((index + row / failures.length) / perFailure) * total);
      return { ...failure, at, isFresh };
    }),
  );
}

async function runPoints(shimPath: string, points: readonly Point[]): Promise<readonly Finding[]> {
  const directory = mkdtempSync(join(scratch, "run-"));
  const child = forkShimmed("./syscalls-writer.ts", {
    shim: shimPath,
    directory,
    arguments: [directory, JSON.stringify(points)],
  });
  const findings: Finding[] = [];
  child.on("message", (finding) => findings.push(finding as Finding));
  expect(await exitOf(child)).toBe(0);
  return findings;
}
