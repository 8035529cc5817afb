// Owns the tests of patches: the published cases of RFC 7396, appendix A, and the json-patch-test-suite for RFC 6902.
// Leaves what a patch of a record becomes to the engine's records.
import { createRequire } from "node:module";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalText } from "./canonical.ts";
import { isCode } from "./errors.ts";
import { maxDepth } from "./json.ts";
import type { Json } from "./operation.ts";
import { applyMergePatch, applyPatch, makePatch } from "./patch.ts";

describe("merge patch, RFC 7396, appendix A", () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', "{}"],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', "null", "null"],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ["[1,2]", '{"a":"b","c":null}', '{"a":"b"}'],
    ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ];
  test.each(cases)("%s with %s is %s", (target, patch, result) => {
    expect(JSON.stringify(applyMergePatch(JSON.parse(target), JSON.parse(patch)))).toBe(result);
  });
});

type Case = {
  readonly comment?: string;
  readonly doc: Json;
  readonly patch: readonly unknown[];
  readonly expected?: Json;
  readonly error?: string;
  readonly disabled?: boolean;
};

const load = createRequire(import.meta.url);

describe.each(["tests.json", "spec_tests.json"])("json-patch-test-suite %s", (file) => {
  const cases = (load(`json-patch-test-suite/${file}`) as readonly Case[]).filter((each) => "patch" in each);
  // A repeated member is gone once the text is parsed, so a parser cannot see it; the suite disables what it withdrew.
  const usable = cases.filter((each) => each.disabled !== true && !/duplicate ops/.test(each.comment ?? ""));

  test(`runs ${usable.length} of ${cases.length} cases`, () => {
    for (const each of usable) {
      const before = canonicalText(each.doc);
      const name = each.comment ?? each.error ?? JSON.stringify(each.patch);
      if (each.error === undefined) {
        const result = canonicalText(applyPatch(each.doc, each.patch));
        if (each.expected !== undefined) expect(result, name).toBe(canonicalText(each.expected));
      } else {
        const attempt = () => applyPatch(each.doc, each.patch);
        // Only a `test` step can find a sound patch and another document.
        const hasTest = each.patch.some((step) => (step as { readonly op?: unknown } | null)?.op === "test");
        expect(attempt, name).toThrow(
          expect.toSatisfy((error) => isCode(error, "invalid_input") || (hasTest && isCode(error, "refused_by_state"))),
        );
      }
      expect(canonicalText(each.doc), "the document itself stays").toBe(before);
    }
    expect(usable.length).toBeGreaterThan(file === "tests.json" ? 70 : 15);
  });
});

test("a test that fails is a refusal by the state of the document, a patch that makes no sense is bad input", () => {
  const code = (code: string) => expect.objectContaining({ code });
  expect(() => applyPatch({ a: 1 }, [{ op: "test", path: "/a", value: 2 }])).toThrow(code("refused_by_state"));
  expect(() => applyPatch({ a: 1 }, [{ op: "test", path: "/b", value: 2 }])).toThrow(code("refused_by_state"));
  expect(() => applyPatch({ a: 1 }, [{ op: "test", path: "b", value: 2 }])).toThrow(code("invalid_input"));
  expect(() => applyPatch({ a: 1 }, [{ op: "remove", path: "/b" }])).toThrow(code("invalid_input"));
});

test("steps that nest a value deeper than JSON may be here are refused as a value of that depth is", () => {
  const copies = (count: number) =>
    Array.from({ length: count }, () => ({ op: "copy", from: "", path: "/b" }) as const);
  expect(applyPatch({ a: 1 }, copies(maxDepth - 1))).toMatchObject({ b: { b: { a: 1 } } });
  const tooDeep = expect.objectContaining({ code: "invalid_input", message: expect.stringContaining("nests deeper") });
  expect(() => applyPatch({ a: 1 }, copies(maxDepth))).toThrow(tooDeep);
});

test("steps that double a value again and again are refused before they fill the memory", () => {
  const doublings = Array.from({ length: 60 }, (_, step) => ({ op: "copy", from: "", path: `/${step}` }) as const);
  const tooMuch = expect.objectContaining({
    code: "invalid_input",
    message: expect.stringContaining("copies more than"),
  });
  expect(() => applyPatch([], doublings)).toThrow(tooMuch);
  expect(applyPatch([], doublings.slice(0, 3))).toEqual([[], [[]], [[], [[]]]]);
});

test("the patch that is made leads from one value to the other", () => {
  const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>;
  fc.assert(
    fc.property(json, json, (before, after) => {
      expect(canonicalText(applyPatch(before, makePatch(before, after)))).toBe(canonicalText(after));
    }),
    { numRuns: 500 },
  );
});

test("members with names of their own kind survive", () => {
  const before = JSON.parse('{"__proto__": 1, "a/b": 1, "m~n": 1}') as Json;
  const after = JSON.parse('{"__proto__": {"x": 2}, "a/b": 2, "m~n": 2}') as Json;
  expect(JSON.stringify(applyPatch(before, makePatch(before, after)))).toBe(JSON.stringify(after));
});
