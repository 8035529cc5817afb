// Owns the tests of canonical JSON: the examples of RFC 8785 and an independent implementation as the oracle.
// Leaves what is compared by it to merge.test.ts.
import canonicalize from "canonicalize";
import fc from "fast-check";
import { expect, test } from "vitest";
import { canonicalText, isSameJson } from "./canonical.ts";
import type { Json } from "./operation.ts";

test("the example of RFC 8785, section 3.2.2", () => {
  const value = {
    // biome-ignore lint/correctness/noPrecisionLoss: the example of the RFC is about exactly that
    numbers: [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
    string: "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"/",
    literals: [null, true, false],
  };
  expect(canonicalText(value)).toBe(
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

test("members are sorted by UTF-16 code units, RFC 8785, section 3.2.3", () => {
  const names = ["\u20ac", "\r", "\ufb33", "1", "\u{1f600}", "\u0080", "\u00f6"];
  const value = Object.fromEntries(names.map((name) => [name, 0]));
  expect(Object.keys(JSON.parse(canonicalText(value)))).toHaveLength(7);
  expect(
    canonicalText(value)
      .match(/"(.*?)":0/g)
      ?.map((each) => JSON.parse(`{${each}}`)),
  ).toEqual(["\r", "1", "\u0080", "\u00f6", "\u20ac", "\u{1f600}", "\ufb33"].map((name) => ({ [name]: 0 })));
});

test("numbers are written as RFC 8785, appendix B, has them", () => {
  const bits: readonly (readonly [string, string])[] = [
    ["0000000000000000", "0"],
    ["8000000000000000", "0"],
    ["0000000000000001", "5e-324"],
    ["8000000000000001", "-5e-324"],
    ["7fefffffffffffff", "1.7976931348623157e+308"],
    ["4340000000000000", "9007199254740992"],
    ["4430000000000000", "295147905179352830000"],
    ["44b52d02c7e14af5", "9.999999999999997e+22"],
    ["44b52d02c7e14af6", "1e+23"],
    ["444b1ae4d6e2ef4f", "999999999999999900000"],
    ["3eb0c6f7a0b5ed8d", "0.000001"],
    ["41b3de4355555557", "333333333.33333343"],
    ["becbf647612f3696", "-0.0000033333333333333333"],
    ["43143ff3c1cb0959", "1424953923781206.2"],
  ];
  for (const [hex, text] of bits) {
    const number = Buffer.from(hex, "hex").readDoubleBE(0);
    expect(canonicalText(number)).toBe(text);
  }
});

test("what has no canonical text is refused", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", { "\udead": 1 }, ["a\udfff"]])
    expect(() => canonicalText(value)).toThrow(TypeError);
});

const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>;

test("an independent implementation writes the same text", () => {
  fc.assert(
    fc.property(json, (value) => {
      expect(canonicalText(value)).toBe(canonicalize(value));
    }),
    { numRuns: 500 },
  );
});

test("two values are the same exactly when their canonical texts are", () => {
  fc.assert(
    fc.property(json, json, (a, b) => {
      expect(isSameJson(a, b)).toBe(canonicalText(a) === canonicalText(b));
      expect(isSameJson(a, JSON.parse(canonicalText(a)))).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("a missing member is not null, and an inherited name is no member", () => {
  expect(isSameJson({ a: null }, {})).toBe(false);
  expect(isSameJson(undefined, null)).toBe(false);
  expect(isSameJson({ toString: 1 }, { valueOf: 1 })).toBe(false);
  expect(isSameJson([], {})).toBe(false);
});
