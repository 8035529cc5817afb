// Owns what the words for a wrong shape must say: the field, and what was expected there.
// Leaves the errors that carry them to the tests of verbs, wire and configuration.
import { describe, expect, test } from "vitest";
import * as z from "zod/mini";
import { firstIssue, issueWords, wordless } from "./issue.ts";

const said = (shape: z.ZodMiniType, value: unknown): string => {
  const { error } = z.safeParse(shape, value, wordless);
  return error === undefined ? "fine" : firstIssue(error, "input");
};

describe("words for what a check found", () => {
  test.each<[string, z.ZodMiniType, unknown, string]>([
    ["a missing field", z.object({ id: z.string() }), {}, "id: expected a string"],
    ["no object at all", z.object({ id: z.string() }), 4, "input: expected an object"],
    ["a fraction", z.object({ n: z.int() }), { n: 1.5 }, "n: expected a whole number"],
    [
      "a short text",
      z.object({ id: z.string().check(z.minLength(4)) }),
      { id: "abc" },
      "id: expected at least 4 characters",
    ],
    ["a single character", z.string().check(z.minLength(1)), "", "input: expected at least 1 character"],
    ["a long list", z.array(z.int()).check(z.maxLength(2)), [1, 2, 3], "input: expected at most 2 entries"],
    ["a number past its limit", z.int().check(z.maximum(10)), 11, "input: expected at most 10"],
    ["a word that is no option", z.enum(["a", "b"]), "c", "input: expected one of a, b"],
    ["an unknown field", z.strictObject({}), { x: 1, y: 2 }, 'input: there is no field "x", "y"'],
    [
      "a union of unlike things",
      z.union([z.enum(["a", "b"]), z.object({})]),
      4,
      "input: expected one of a, b, or an object",
    ],
    [
      "the alternative that nearly fits",
      z.union([z.string(), z.object({ tries: z.int() })]),
      { tries: 1.5 },
      "input: expected tries to be a whole number",
    ],
    [
      "a union that is told apart by a field",
      z.discriminatedUnion("rule", [z.object({ rule: z.literal("max") }), z.object({ rule: z.literal("min") })]),
      { rule: "most" },
      "rule: expected one of max, min",
    ],
  ])("%s", (_name, shape, value, words) => expect(said(shape, value)).toBe(words));

  test("a shape's own words stand", () => {
    const shape = z.string().check(z.regex(/^a/, "begins with a"));
    expect(z.safeParse(shape, "b").error?.issues.map(issueWords)).toEqual(["begins with a"]);
  });
});

test("the words are ours also where a program has set others for all of its shapes", () => {
  const before = z.config();
  const { localeError } = before;
  z.config({ localeError: () => "something else" });
  try {
    expect(said(z.object({ id: z.string() }), {})).toBe("id: expected a string");
    expect(said(z.string().check(z.refine(() => false, "must be kind")), "x")).toBe("input: must be kind");
  } finally {
    z.config(localeError === undefined ? {} : { localeError });
    if (localeError === undefined) delete z.config().localeError;
  }
});
