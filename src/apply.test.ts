/**
 * Owns the rules of a server's judgement on one change, beside their statement in `apply.ts`.
 */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import type { Held } from "./apply.ts";
import { differingFields, holdValue, judgeChange } from "./apply.ts";
import type { Fields } from "./record.ts";

const held: Held = { version: 7, created: 2, value: { a: 1, b: 2 }, fieldVersions: { b: 7 } };
const removed: Held = { version: 9, created: 9, value: null, fieldVersions: {} };
const update = (base: number, fields: Fields, more: { readonly unset?: string[]; readonly strict?: string[] } = {}) =>
  ({ kind: "update", base, fields, ...more }) as const;

test("a field named like a member of every object has a version of its own, and its conflicts are found", () => {
  const name = "__proto__";
  const [before, after] = [JSON.parse('{"__proto__":1}') as Fields, JSON.parse('{"__proto__":2}') as Fields];
  const now = holdValue({ ...held, value: before, fieldVersions: {} }, after, 8);
  expect(Object.entries(now.fieldVersions)).toEqual([[name, 8]]);
  const change = update(7, JSON.parse('{"__proto__":3}') as Fields);
  expect(judgeChange(now, change)).toMatchObject({ kind: "conflict", fields: [name] });
});

describe("an update", () => {
  test("of a field that nobody else changed goes over the current value", () => {
    expect(judgeChange(held, update(3, { a: 5 }))).toEqual({ kind: "applied", value: { a: 5, b: 2 } });
  });
  test("of a field that changed after its base to another value is in conflict, and names it", () => {
    expect(judgeChange(held, update(3, { a: 5, b: 9 }))).toEqual({
      ...{ kind: "conflict", conflict: "version_mismatch", fields: ["b"] },
    });
  });
  test("of a field that changed to the very same value agrees", () => {
    expect(judgeChange(held, update(3, { b: 2 }))).toEqual({ kind: "unchanged" });
  });
  test("of a strict field that changed is in conflict even where the values agree", () => {
    const change = update(3, { b: 2 }, { strict: ["b"] });
    expect(judgeChange(held, change)).toMatchObject({ kind: "conflict", fields: ["b"] });
    expect(judgeChange(held, { ...change, base: 7 })).toEqual({ kind: "unchanged" });
  });
  test("that takes a field away conflicts with a change of that field", () => {
    expect(judgeChange(held, update(7, {}, { unset: ["b"] }))).toEqual({ kind: "applied", value: { a: 1 } });
    expect(judgeChange(held, update(3, {}, { unset: ["b"] }))).toMatchObject({ kind: "conflict", fields: ["b"] });
  });
  test("with a base before this life of the record knows none of its fields", () => {
    expect(judgeChange(held, update(1, { a: 5 }))).toMatchObject({ kind: "conflict", fields: ["a"] });
  });
  test("of a record that is gone is deleted upstream", () => {
    expect(judgeChange(removed, update(3, { a: 5 }))).toMatchObject({ conflict: "deleted_upstream", fields: ["a"] });
    expect(judgeChange(null, update(3, { a: 5 }))).toMatchObject({ conflict: "deleted_upstream" });
  });
  test("of a field called like a member of every object finds no such member", () => {
    expect(judgeChange(held, update(7, { constructor: 1 }))).toEqual({
      ...{ kind: "applied", value: { a: 1, b: 2, constructor: 1 } },
    });
  });
});

describe("a creation", () => {
  const create = (base: number, fields: Fields) => ({ kind: "create", base, fields }) as const;
  test("of a new or removed record applies", () => {
    expect(judgeChange(null, create(0, { a: 1 }))).toEqual({ kind: "applied", value: { a: 1 } });
    expect(judgeChange(removed, create(0, { a: 1 }))).toEqual({ kind: "applied", value: { a: 1 } });
  });
  test("of what is there already agrees when it is equal, and else is in conflict", () => {
    expect(judgeChange(held, create(0, { b: 2, a: 1 }))).toEqual({ kind: "unchanged" });
    expect(judgeChange(held, create(0, { a: 1, b: 3 }))).toMatchObject({ conflict: "version_mismatch", fields: ["b"] });
  });
  test("over the version that its writer saw replaces it", () => {
    expect(judgeChange(held, create(7, { c: 1 }))).toEqual({ kind: "applied", value: { c: 1 } });
  });
});

describe("a removal", () => {
  const remove = (base: number) => ({ kind: "remove", base, fields: {} }) as const;
  test("of what did not change applies", () => {
    expect(judgeChange(held, remove(7))).toEqual({ kind: "applied", value: null });
  });
  test("of what changed is deleted here, and names what changed", () => {
    expect(judgeChange(held, remove(6))).toEqual({ kind: "conflict", conflict: "deleted_here", fields: ["b"] });
  });
  test("of what is gone changes nothing", () => {
    expect(judgeChange(removed, remove(1))).toEqual({ kind: "unchanged" });
    expect(judgeChange(null, remove(1))).toEqual({ kind: "unchanged" });
  });
});

describe("a held value", () => {
  test("gives the new version to the fields that differ, those taken away included", () => {
    expect(holdValue(held, { a: 1, c: 3 }, 8)).toEqual({
      ...{ version: 8, created: 2, value: { a: 1, c: 3 }, fieldVersions: { b: 8, c: 8 } },
    });
  });
  test("begins a new life after a removal", () => {
    expect(holdValue(removed, { a: 1 }, 10)).toEqual({ version: 10, created: 10, value: { a: 1 }, fieldVersions: {} });
  });
});

const fields = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.integer({ min: 0, max: 2 }), { noNullPrototype: true });

property.prop([fields, fields, fields])(
  "two updates from one base conflict exactly where both changed a field to different values",
  (base, mine, theirs) => {
    const start = holdValue(null, base, 1);
    const next = holdValue(start, { ...base, ...theirs }, 2);
    const judged = judgeChange(next, update(1, mine));
    const clashing = Object.keys(mine).filter(
      (field) => differingFields(base, next.value ?? {}).includes(field) && mine[field] !== theirs[field],
    );
    if (clashing.length > 0) expect(judged).toMatchObject({ kind: "conflict", fields: clashing });
    else if (judged.kind === "applied") expect(judged.value).toEqual({ ...base, ...theirs, ...mine });
    else expect(judged).toEqual({ kind: "unchanged" });
  },
);
