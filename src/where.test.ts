/**
 * Owns the rules of filters, beside their statement in `where.ts`.
 */
import { expect, test } from "vitest";
import type { Json } from "./operation.ts";
import type { Where } from "./record.ts";
import { parseInput } from "./verbs.ts";
import { comparisons, meets } from "./where.ts";

const value = { status: "open", fee: 7, note: null, tags: ["a"], isDone: false };

const cases: readonly (readonly [Where, boolean])[] = [
  [{}, true],
  [{ status: "open" }, true],
  [{ status: "closed" }, false],
  [{ status: "open", fee: 8 }, false],
  [{ fee: { gt: 6, lte: 7 } }, true],
  [{ fee: { gt: 7 } }, false],
  [{ fee: { gte: 7, lt: 8 } }, true],
  [{ fee: { gt: "6" } }, false],
  [{ fee: { lt: "9" } }, false],
  [{ status: { gt: "opem", lt: "opeo" } }, true],
  [{ status: { prefix: "op" } }, true],
  [{ fee: { prefix: "7" } }, false],
  [{ status: { in: ["new", "open"] } }, true],
  [{ status: { in: ["new"] } }, false],
  [{ note: null }, true],
  [{ missing: null }, true],
  [{ missing: { ne: "x" } }, true],
  [{ missing: { lt: 5 } }, false],
  [{ constructor: null }, true],
  [{ isDone: false }, true],
  [{ isDone: 0 }, false],
  [{ status: { ne: "open" } }, false],
  [{ $key: "k1" }, true],
  [{ $key: { prefix: "k" } }, true],
  [{ $key: "k2" }, false],
];

test.each(cases)("%j is %s", (where, expected) => {
  expect(meets(where, { key: "k1", value })).toBe(expected);
});

test("texts compare by code points, so what is beyond the basic plane comes last", () => {
  const wave: Json = "\u{1f30a}";
  expect(meets({ text: { gt: "\ufb01" } }, { key: "k", value: { text: wave } })).toBe(true);
  expect(meets({ text: { gt: "a" } }, { key: "k", value: { text: "ab" } })).toBe(true);
  expect(meets({ text: { lt: "ab" } }, { key: "k", value: { text: "a" } })).toBe(true);
});

test("every comparison that there is may be asked by clients, and is told from none", () => {
  for (const name of comparisons) {
    const asked = { fee: { [name]: name === "in" ? ["7"] : "7" } };
    expect(parseInput("records.query", { collection: "notes", where: asked as Where }).where).toEqual(asked);
    const values = ["6", "7", "8"].filter((fee) => meets(asked as Where, { key: "k", value: { fee } }));
    expect(values.length, name).toBeGreaterThan(0);
    expect(values.length, name).toBeLessThan(3);
  }
});
