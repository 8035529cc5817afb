// Owns the properties of the retry schedule: pure delays, and the instants that the engine really keeps.
// Which failures are worth another attempt is the failure table's.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Answer } from "../../src/operation.ts";
import { retryDelayMs } from "../../src/retry.ts";
import { openStage } from "../support/virtual.ts";

const runs = { numRuns: 150 };
const policies = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 8 }),
  initialMs: fc.integer({ min: 1, max: 60_000 }),
  maxMs: fc.integer({ min: 1, max: 600_000 }),
  jitter: fc.double({ min: 0, max: 1, noNaN: true }),
});
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test("a delay lies between its share of the cap and the cap, and never shrinks with more failures", () => {
  fc.assert(
    fc.property(policies, fc.integer({ min: 1, max: 5_000 }), random, (policy, failures, drawn) => {
      const capped = Math.min(policy.initialMs * 2 ** (failures - 1), policy.maxMs);
      const delay = retryDelayMs(policy, failures, drawn);
      expect(delay).toBeGreaterThanOrEqual(Math.floor(capped * (1 - policy.jitter)));
      expect(delay).toBeLessThanOrEqual(capped);
      expect(retryDelayMs(policy, failures + 1, 0)).toBeGreaterThanOrEqual(retryDelayMs(policy, failures, 0));
    }),
    runs,
  );
});

test("a fixed progression is followed and its last entry repeats", () => {
  const delays = fc.array(fc.integer({ min: 0, max: 3_600_000 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(delays, fc.integer({ min: 1, max: 30 }), (delaysMs, failures) => {
      const policy = { maxAttempts: 9, initialMs: 1, maxMs: Number.MAX_SAFE_INTEGER, jitter: 0, delaysMs };
      expect(retryDelayMs(policy, failures, 0)).toBe(delaysMs[Math.min(failures, delaysMs.length) - 1]);
    }),
    runs,
  );
});

test("a failing operation is tried when its policy says, as often as it says, and then parked", async () => {
  await fc.assert(
    fc.asyncProperty(policies, async (policy) => {
      const tries: number[] = [];
      const run = async (): Promise<Answer> => {
        tries.push(stage.scheduler.elapsed());
        return { kind: "retry", problem: { code: "no", message: "not now" }, isCharged: true, scope: "operation" };
      };
      using stage = openStage({ types: [{ type: "any", retry: policy, run }] });
      const { id } = stage.engine().handle("queue.add", { type: "any", payload: null });
      await stage.scheduler.runFor(policy.maxAttempts * (policy.maxMs + 60_000));
      const operation = stage.get(id);
      expect(operation).toMatchObject({ status: "failed", reason: "gave_up", failures: policy.maxAttempts });
      expect(tries).toHaveLength(policy.maxAttempts);
      tries.slice(1).forEach((at, index) => {
        const capped = Math.min(policy.initialMs * 2 ** index, policy.maxMs);
        const waited = at - (tries[index] ?? 0);
        // A turn of the loop may come a few milliseconds after the instant, never before it.
        expect(waited).toBeGreaterThanOrEqual(Math.floor(capped * (1 - policy.jitter)));
        expect(waited).toBeLessThanOrEqual(capped + 50);
      });
    }),
    runs,
  );
});
