// Proves what a declared collection checks and keeps, with two schema libraries. Leaves what is done with it to the engine.
import * as v from "valibot";
import { describe, expect, expectTypeOf, test } from "vitest";
import * as z from "zod";
import * as mini from "zod/mini";
import type { DeclaredCollection } from "./collection.ts";
import { collection, keySourceOf } from "./collection.ts";
import { HoldfastError } from "./errors.ts";

const libraries = {
  zod: z.object({ title: z.string().min(1), body: z.string().default(""), fee: z.number().optional() }),
  "zod/mini": mini.object({
    title: mini.string().check(mini.minLength(1)),
    body: mini._default(mini.string(), ""),
    fee: mini.optional(mini.number()),
  }),
  valibot: v.object({
    title: v.pipe(v.string(), v.minLength(1)),
    body: v.optional(v.string(), ""),
    fee: v.optional(v.number()),
  }),
};

describe.each(Object.entries(libraries))("with a schema of %s", (_, schema) => {
  const notes = collection({ name: "notes", schema });

  test("defaults are filled in, and what is kept passes again unchanged", () => {
    const kept = notes.check?.({ title: "Tides" });
    expect(kept).toEqual({ title: "Tides", body: "" });
    expect(notes.check?.(kept ?? {})).toEqual(kept);
  });

  test("fields that the schema does not know are left alone, because a newer program may have written them", () => {
    expect(notes.check?.({ title: "Tides", colour: "red", deep: { a: [1] } })).toEqual({
      title: "Tides",
      body: "",
      colour: "red",
      deep: { a: [1] },
    });
  });

  test("a refusal names collection and field", () => {
    let refused: unknown = null;
    try {
      notes.check?.({ title: "" });
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(HoldfastError);
    expect(refused).toMatchObject({ code: "invalid_input", details: { field: "title" } });
    expect((refused as HoldfastError).message).toMatch(/^collection "notes": title: /);
    expect(() => notes.check?.("text")).toThrow(/value: /);
  });
});

test("an unknown field named like a member of every object stays as well", () => {
  const { check } = collection({ name: "notes", schema: z.object({ title: z.string() }) });
  const given = JSON.parse('{"title":"a","constructor":1,"toString":"b"}');
  expect(check?.(given)).toEqual(given);
});

test("unknown fields below known objects stay as well", () => {
  const sites = collection({ name: "sites", schema: z.object({ place: z.object({ lat: z.number() }) }) });
  expect(sites.check?.({ place: { lat: 1, alt: 30 } })).toEqual({ place: { lat: 1, alt: 30 } });
});

test("the declaration becomes what the engine takes, and the schema stays here", () => {
  const declared = collection({
    name: "bookings",
    schema: libraries.zod,
    key: "title",
    version: 2,
    upcast: (value) => ({ ...value, fee: 0 }),
    indexes: ["title", ["fee", "title"]],
    unique: [["title"]],
    merge: { fee: { rule: "max" } },
    strategy: "remote_wins",
    decide: { deleted_here: () => "manual" },
    decideVersion: 3,
    filter: { fee: { gt: 5 } },
  });
  expect(Object.keys(declared).sort()).toEqual([
    ...[
      "check",
      "decide",
      "decideVersion",
      "filter",
      "indexes",
      "merge",
      "name",
      "strategy",
      "unique",
      "upcast",
      "version",
    ],
  ]);
  expect(declared.strategy?.business_rule).toBe("remote_wins");
  expect(keySourceOf(declared)).toBe("title");
  expect(declared.upcast?.({ title: "a" }, 1)).toEqual({ title: "a", fee: 0 });
});

test("the types follow from the schema", () => {
  const notes = collection({ name: "notes", schema: libraries.zod });
  expectTypeOf(notes).toEqualTypeOf<DeclaredCollection<typeof libraries.zod>>();
  // @ts-expect-error no such field
  expect(() => collection({ name: "notes", schema: libraries.zod, merge: { titel: { rule: "max" } } })).not.toThrow();
  // @ts-expect-error no such field
  expect(() => collection({ name: "notes", schema: libraries.zod, filter: { titel: "a" } })).not.toThrow();
});

test("what JSON cannot carry, and what is no object, is a mistake of the schema", () => {
  const dated = collection({ name: "dated", schema: z.object({ at: z.string().transform((text) => new Date(text)) }) });
  expect(() => dated.check?.({ at: "2026-01-01" })).toThrow(
    /collection "dated"\.at is a Date, which JSON cannot carry/,
  );
  const bare = collection({ name: "bare", schema: z.string() as never });
  expect(() => bare.check?.("x")).toThrow(TypeError);
  const slow = collection({ name: "slow", schema: z.object({}).refine(async () => true) });
  expect(() => slow.check?.({})).toThrow(/its schema is asynchronous/);
});

test.each<readonly [string, object, RegExp]>([
  ["a misspelt option", { strategi: "merge" }, /the option "strategi" does not exist; did you mean "strategy"/],
  ["a name with capitals", { name: "Notes" }, /name must be lower-case letters/],
  ["no schema", { schema: { type: "object" } }, /schema must be a Standard Schema/],
  ["a version that is none", { version: 0 }, /version must be 1, 2, 3/],
  ["a newer version without a way to it", { version: 2 }, /version 2 needs upcast/],
  ["an upcast that is no function", { upcast: {} }, /upcast must be a function/],
  ["a key that is neither", { key: 1 }, /key must be the name of a field/],
  ["unique as a flat list", { unique: ["email"] }, /unique must list lists of fields, e\.g\. \[\["email"\]/],
  ["indexes as one name", { indexes: "title" }, /indexes must list fields/],
  ["a misspelt rule", { merge: { fee: { rule: "prefer_local" } } }, /did you mean "prefer-local"/],
  ["a rule without its object", { merge: { fee: "max" } }, /merge\.fee must be an object with a rule/],
  ["a misspelt strategy", { strategy: "local_win" }, /did you mean "local_wins"/],
  ["a misspelt kind", { strategy: { version_mismach: "merge" } }, /did you mean "version_mismatch"/],
  ["a decision that is no function", { decide: { deleted_here: "manual" } }, /decide\.deleted_here must be a function/],
  ["a misspelt kind to decide", { decide: { deleted_her: () => "manual" } }, /did you mean "deleted_here"/],
  ["local fields as one name", { localOnly: "a" }, /localOnly must list fields/],
  ["a filter as a list", { filter: ["a"] }, /filter must name fields/],
])("misuse is a TypeError that names the right spelling: %s", (_, wrong, words) => {
  const declare = () => collection({ name: "notes", schema: libraries.zod, ...wrong } as never);
  expect(declare).toThrow(TypeError);
  expect(declare).toThrow(words);
});
