/**
 * Owns the rules of merging lists of parts: what meets is an overlap, what does not is kept of both sides, and the work is bounded.
 * Texts and fields are in merge.test.ts.
 */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { editsLimit, partsLimit, regionsOf } from "./merge-parts.ts";

const letters = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 12 });
const merged = (base: string, local: string, remote: string): string =>
  (regionsOf({ base: [...base], local: [...local], remote: [...remote] }) ?? [])
    .map((region) =>
      region.kind === "settled"
        ? region.parts.join("")
        : `<${region.base.join("")}|${region.local.join("")}|${region.remote.join("")}>`,
    )
    .join("");

describe("two sides over a base", () => {
  test.each([
    ["abcdef", "aBcdef", "abcdEf", "aBcdEf"],
    ["abcdef", "abcdefg", "zabcdef", "zabcdefg"],
    ["abcdef", "adef", "abcdf", "adf"],
    ["abcdef", "abXdef", "abXdef", "abXdef"],
    ["abcdef", "abXdef", "abYdef", "ab<c|X|Y>def"],
    ["abcdef", "abXdef", "abcYef", "ab<cd|Xd|cY>ef"],
    ["abcdef", "aXcYef", "aMNOef", "a<bcd|XcY|MNO>ef"],
    ["abc", "abXc", "abYc", "ab<|X|Y>c"],
    ["abc", "", "abcd", "<abc||abcd>"],
    ["", "x", "", "x"],
  ])("%j with %j and %j gives %j", (base, local, remote, expected) => {
    expect(merged(base, local, remote)).toBe(expected);
  });

  property.prop([letters, letters, letters], { numRuns: 2_000 })(
    "each side can be read out of the regions again, and so can the base",
    (base, local, remote) => {
      const regions = regionsOf({ base, local, remote }) ?? [];
      for (const [side, name] of [
        [local, "local"],
        [remote, "remote"],
      ] as const) {
        const alone = regionsOf({ base, local: base, remote: side }) ?? [];
        expect(alone.flatMap((each) => (each.kind === "settled" ? each.parts : ["?"]))).toEqual(side);
        // What overlaps is there with all of its parts, in order.
        const theirs = regions.flatMap((each) => (each.kind === "overlap" ? each[name] : []));
        expect(isPartOf(theirs, side)).toBe(true);
      }
      expect(
        isPartOf(
          regions.flatMap((each) => (each.kind === "overlap" ? each.base : [])),
          base,
        ),
      ).toBe(true);
    },
  );

  property.prop([letters, letters])(
    "a side that changed nothing has no say, and equal sides agree",
    (base, changed) => {
      const kept = (three: readonly string[][]) =>
        regionsOf({ base: three[0] ?? [], local: three[1] ?? [], remote: three[2] ?? [] });
      for (const three of [
        [base, base, changed],
        [base, changed, base],
        [base, changed, changed],
      ])
        expect(kept(three)?.flatMap((each) => (each.kind === "settled" ? each.parts : ["?"]))).toEqual(changed);
    },
  );
});

const isPartOf = (parts: readonly string[], whole: readonly string[]): boolean => {
  let at = 0;
  for (const part of whole) if (at < parts.length && part === parts[at]) at += 1;
  return at === parts.length;
};

describe("the work", () => {
  const numbers = (length: number, mark = ""): readonly string[] => Array.from({ length }, (_, n) => `${mark}${n}`);
  const isCompared = (base: readonly string[], local: readonly string[]): boolean =>
    regionsOf({ base, local, remote: [...base, "end"] }) !== null;

  test("ends at its limit of parts: at the limit they are merged, one past it left to a person", () => {
    expect(isCompared(numbers(partsLimit - 1), ["new", ...numbers(partsLimit - 1)])).toBe(true);
    expect(isCompared(numbers(partsLimit), ["new", ...numbers(partsLimit)])).toBe(false);
  });

  test("ends at its limit of edits: at the limit they are merged, one past it left to a person", () => {
    // Half of the edits remove, half add.
    const changed = (count: number) => numbers(count, "x");
    expect(isCompared(numbers(editsLimit / 2), changed(editsLimit / 2))).toBe(true);
    expect(isCompared(numbers(editsLimit / 2), changed(editsLimit / 2 + 1))).toBe(false);
  });

  test("does not count one stretch that was added or removed, however long it is", () => {
    const long = numbers(10_000);
    expect(isCompared(long.slice(0, 10), long)).toBe(true);
    expect(isCompared(long, long.slice(0, 10))).toBe(true);
  });
});
