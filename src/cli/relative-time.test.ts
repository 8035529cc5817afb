/**
 * Owns the proof of how times are said to a person, at every change of unit.
 * Where they are shown is tested by the goldens in test/cli/.
 */
import { fc, it as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { formatAge, formatDuration, formatInstant, formatRelative } from "./relative-time.ts";

const now = Date.UTC(2026, 10, 21, 12);
const s = 1_000;
const min = 60 * s;
const h = 60 * min;
const d = 24 * h;

describe("an instant as seen from now", () => {
  it.each([
    [0, "now"],
    [-499, "now"],
    [-500, "1 s ago"],
    [-59_499, "59 s ago"],
    [-59_600, "1 min ago"],
    [-3 * min, "3 min ago"],
    [-h + 400, "1 h ago"],
    [-23 * h, "23 h ago"],
    [-99 * d, "99 d ago"],
    [-100 * d, "2026-08-13"],
    [12 * s, "in 12 s"],
    [90 * min, "in 1 h"],
    [400 * d, "2027-12-26"],
  ])("%d ms away reads %s", (distance, words) => {
    expect(formatRelative(now + distance, now)).toBe(words);
  });

  property.prop([fc.integer({ min: 1, max: 99 * d })])("never says 60 s, 60 min or 24 h", (distance) => {
    for (const words of [formatRelative(now - distance, now), formatRelative(now + distance, now)]) {
      expect(words).not.toMatch(/\b(60 s|60 min|24 h|0 s|0 min)\b/);
    }
  });
});

describe("a duration", () => {
  it.each([
    [0, "0.0 s"],
    [-5, "0.0 s"],
    [1_000, "1.0 s"],
    [5_240, "5.2 s"],
    [9_949, "9.9 s"],
    [9_950, "10 s"],
    [59_600, "1 min"],
    [200 * s, "3 min 20 s"],
    [2 * h + 5 * min, "2 h 5 min"],
    [3 * d + 4 * h, "3 d 4 h"],
  ])("of %d ms reads %s", (ms, words) => {
    expect(formatDuration(ms)).toBe(words);
  });
});

it("an age has one unit and is never negative", () => {
  expect(formatAge(now - 5 * min - 20 * s, now)).toBe("5 min");
  expect(formatAge(now + h, now)).toBe("0 s");
});

it("an instant has its date in universal time", () => {
  expect(formatInstant(now + 123)).toBe("2026-11-21 12:00:00Z");
});

it("an instant that no calendar holds is said all the same", () => {
  for (const at of [8.64e15 + 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    expect(formatInstant(at)).toMatch(/^[+-]\d{6}-\d\d-\d\d /);
    expect(formatRelative(at, now)).toMatch(/^[+-]\d{6}-\d\d-\d\d$/);
  }
});
