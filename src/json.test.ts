// Proves what may travel as JSON and what is refused, with its path. Leaves schemas to verbs.test.ts.

import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { expect, test } from "vitest";
import { maxDepth, toJson } from "./json.ts";
import { parseInput } from "./verbs.ts";

test("every JSON value comes back as the same object", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(toJson(value, "input")).toBe(value);
    }),
  );
});

test("properties that are undefined are left out, as JSON.stringify does", () => {
  expect(toJson({ a: undefined, b: { c: undefined, d: [{ e: undefined }] } }, "input")).toEqual({ b: { d: [{}] } });
});

test("what JSON would bend or drop is refused with its path", () => {
  const wrong: readonly (readonly [unknown, string])[] = [
    [{ a: { b: Number.NaN } }, "input.a.b is NaN"],
    [{ a: [1, Number.POSITIVE_INFINITY] }, "input.a[1] is Infinity"],
    [{ at: new Date(0) }, "input.at is a Date"],
    [{ a: new Map() }, "input.a is a Map"],
    [[undefined], "input[0] is undefined"],
    [{ n: 1n }, "input.n is a bigint"],
    [{ f: () => 1 }, "input.f is a function"],
    [Symbol("s"), "input is a symbol"],
  ];
  for (const [value, message] of wrong) expect(() => toJson(value, "input")).toThrow(message);
});

test("a plain object of another realm is plain, too", () => {
  expect(toJson(runInNewContext("({ a: [1] })"), "input")).toEqual({ a: [1] });
});

test(`${maxDepth} levels pass, and pass the verb's schema; one more is refused`, () => {
  const nest = (depth: number): unknown => (depth === 0 ? 1 : [nest(depth - 1)]);
  const payload = nest(maxDepth);
  expect(toJson(payload, "input")).toBe(payload);
  expect(parseInput("queue.add", { type: "a", payload })).toEqual({ type: "a", payload });
  expect(() => toJson(nest(maxDepth + 1), "input")).toThrow(`nests deeper than ${maxDepth}`);
});

test("a cycle is refused and not walked for ever", () => {
  const loop: unknown[] = [];
  loop.push(loop);
  expect(() => toJson(loop, "input")).toThrow("nests deeper");
});
