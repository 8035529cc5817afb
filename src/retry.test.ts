// Owns the tests of the schedule: presets, cap, jitter, fixed progressions. Leaves what is charged to engine/settle.test.ts.
import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { retryDelayMs, retryPresets } from "./retry.ts";

const delays = (preset: keyof typeof retryPresets, count: number): readonly number[] =>
  Array.from({ length: count }, (_, index) => retryDelayMs({ ...retryPresets[preset], jitter: 0 }, index + 1, 0.5));

test("each preset grows to its cap and stays there", () => {
  expect(delays("default", 8)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  expect(delays("lock", 6)).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  expect(delays("transfer", 7)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  expect(delays("progressive", 6)).toEqual([30_000, 300_000, 1_800_000, 3_600_000, 3_600_000, 3_600_000]);
});

test("locks are tried five times, transfers three times", () => {
  expect(retryPresets.lock.maxAttempts).toBe(5);
  expect(retryPresets.transfer.maxAttempts).toBe(3);
});

test("a progression without entries falls back to doubling", () => {
  expect(retryDelayMs({ ...retryPresets.default, jitter: 0, delaysMs: [] }, 3, 0)).toBe(4_000);
});

test("no delay stays no delay after any number of failures", () => {
  for (const failures of [1, 1_024, 1_025, 1_000_000])
    expect(retryDelayMs({ ...retryPresets.default, initialMs: 0 }, failures, 0.5)).toBe(0);
});

test("jitter comes after the cap, so that a fleet stays spread out when every delay is at its cap", () => {
  const waits = [0, 0.25, 0.5, 0.75].map((random) => retryDelayMs(retryPresets.default, 30, random));
  expect(waits).toEqual([60_000, 45_000, 30_000, 15_000]);
});

property.prop([
  fc.record({
    maxAttempts: fc.integer({ min: 1, max: 100 }),
    initialMs: fc.integer({ min: 0, max: 86_400_000 }),
    maxMs: fc.integer({ min: 0, max: 86_400_000 }),
    jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  fc.integer({ min: 1, max: 100_000 }),
  fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
])("a delay is a whole number up to the cap, however many failures came before", (policy, failures, random) => {
  const delay = retryDelayMs(policy, failures, random);
  expect(Number.isInteger(delay)).toBe(true);
  expect(delay).toBeGreaterThanOrEqual(0);
  expect(delay).toBeLessThanOrEqual(policy.maxMs);
});
