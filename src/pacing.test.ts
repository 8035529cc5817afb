// Owns every form in which a remote names a wait. Leaves what a wait means to failure.test.ts and network.test.ts.
import { expect, test } from "vitest";
import { instantOf, isExhausted, longestPaceMs, paceOf } from "./pacing.ts";

const instant = Date.UTC(1994, 10, 6, 8, 49, 37);

test("an HTTP date is read in its three forms, and nothing else is", () => {
  expect(instantOf("Sun, 06 Nov 1994 08:49:37 GMT")).toBe(instant);
  expect(instantOf("Sun Nov  6 08:49:37 1994")).toBe(instant);
  expect(instantOf("Sunday, 06-Nov-24 08:49:37 GMT")).toBe(Date.UTC(2024, 10, 6, 8, 49, 37));
  for (const text of ["", "1994", "2024-01-01", "Sun, 06 Foo 1994 08:49:37 GMT", undefined])
    expect(instantOf(text)).toBeNull();
});

test("a wait is never negative and never longer than a day, at the limit and one past it", () => {
  expect(paceOf({ "retry-after": "86400" })).toBe(longestPaceMs);
  expect(paceOf({ "retry-after": "86401" })).toBe(longestPaceMs);
  expect(paceOf({ "retry-after": "0" })).toBe(0);
  expect(paceOf({ "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", date: "Mon, 07 Nov 1994 08:49:37 GMT" })).toBe(0);
});

test("a Retry-After that is neither seconds nor a date is no wait", () => {
  for (const value of ["-1", "soon", "1e3", ""]) expect(paceOf({ "retry-after": value })).toBeNull();
  expect(paceOf({ "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT" })).toBeNull();
});

test("rate-limit headers in every shape tell the wait where nothing is left", () => {
  expect(paceOf({ ratelimit: '"default";r=0;t=30' })).toBe(30_000);
  expect(paceOf({ ratelimit: "limit=10, remaining=0, reset=20" })).toBe(20_000);
  expect(paceOf({ "ratelimit-remaining": "0", "ratelimit-reset": "10" })).toBe(10_000);
  const reset = String(Date.UTC(2026, 0, 1) / 1_000 + 5);
  expect(paceOf({ "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset }, Date.UTC(2026, 0, 1))).toBe(5_000);
  expect(paceOf({ ratelimit: '"default";r=7;t=30' })).toBeNull();
  expect(isExhausted({ ratelimit: '"default";r=7;t=30' })).toBe(false);
});

test("Retry-After counts before the rate limit", () => {
  expect(paceOf({ "retry-after": "1", ratelimit: '"default";r=0;t=30' })).toBe(1_000);
});
