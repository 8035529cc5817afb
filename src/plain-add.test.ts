// Owns the promise that the quick way through the check of an enqueue never lets through what the schema refuses or reads differently.
// Leaves what is refused, and in which words, to the tests of the verbs.
import fc from "fast-check";
import { expect, test } from "vitest";
import * as z from "zod/mini";
import { plainAdd, plainAddMany } from "./plain-add.ts";
import { addInput, limits } from "./shapes.ts";
import { parseInput, verbs } from "./verbs.ts";

const name = fc.oneof(
  fc.string({ maxLength: 5 }),
  fc.constant("x".repeat(limits.nameLength)),
  fc.constant("x".repeat(limits.nameLength + 1)),
);
const odd = fc.oneof(fc.jsonValue(), fc.constantFrom(undefined, Number.NaN, 1n, new Date(0), new Map()));
const payload = fc.oneof(fc.jsonValue(), odd, fc.dictionary(fc.string({ maxLength: 4 }), odd));
const input = fc.oneof(
  fc.record({ type: name, payload: fc.jsonValue(), lane: name }, { requiredKeys: ["type", "payload"] }),
  fc.record({ type: name, payload, lane: name }, { requiredKeys: [] }),
  fc.record({ type: name, payload, lane: odd, priority: odd, other: odd, __proto__: odd }, { requiredKeys: ["type"] }),
  odd,
);

test("what the quick way lets through is what the schema makes of it", () => {
  let quick = 0;
  fc.assert(
    fc.property(input, (given) => {
      const plain = plainAdd(given);
      if (plain === null) return;
      quick += 1;
      const parsed = z.safeParse(addInput, given);
      expect(parsed.success && parsed.data).toStrictEqual(plain);
      expect(parsed.success && parsed.data.payload).toBe(plain.payload);
    }),
    { numRuns: 2_000 },
  );
  expect(quick).toBeGreaterThan(100);
});

test("a batch goes the quick way as a whole or not at all", () => {
  fc.assert(
    fc.property(fc.record({ operations: fc.array(input, { maxLength: 4 }) }), (given) => {
      const plain = plainAddMany(given);
      const parsed = z.safeParse(verbs["queue.addMany"].input, given);
      if (plain !== null) expect(parsed.success && parsed.data).toStrictEqual(plain);
    }),
    { numRuns: 500 },
  );
  expect(plainAddMany({ operations: [] })).toBeNull();
  expect(plainAddMany({ operations: [{ type: "a", payload: 1 }], more: 1 })).toBeNull();
  const many = Array.from({ length: limits.batch + 1 }, () => ({ type: "a", payload: 1 }));
  expect(plainAddMany({ operations: many })).toBeNull();
  expect(plainAddMany({ operations: many.slice(1) })?.operations).toHaveLength(limits.batch);
});

test("what is not plain is refused in the schema's words", () => {
  expect(() => parseInput("queue.add", { type: "", payload: 1 })).toThrow("queue.add: type: ");
  expect(() => parseInput("queue.add", { type: "a", payload: { when: new Date(0) } })).toThrow("queue.add: payload: ");
});
