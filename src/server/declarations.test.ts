/**
 * Owns what becomes of mistakes in the declarations of a server: those that show at the start keep it from starting, and those that
 * show when a function answers cost no client its work. What right declarations mean is collections.test.ts.
 */
import { afterEach, describe, expect, test } from "vitest";
import type { Edit } from "../../test/support/sync-server.ts";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import { comparisons } from "../where.ts";
import type { ServerCollection } from "./collections.ts";
import { checkCollections } from "./collections.ts";

afterEach(closeServers);

const notes = (declared: Partial<ServerCollection>) =>
  openTestServer({ collections: [{ name: "notes", ...declared }] });
const create = (key: string, fields: object): Edit => ({ kind: "create", key, fields }) as Edit;

describe("a function of the configuration that answers what it should not", () => {
  const late = Promise.reject(new Error("nobody waits for this"));
  late.catch(() => {});
  test.each<[string, Partial<ServerCollection>, RegExp]>([
    ["a rule with false", { rules: [() => false as never] }, /a rule of collection "notes" must return null or/],
    ["a rule with words", { rules: [() => "no" as never] }, /got "no"/],
    ["a rule without a message", { rules: [() => ({ code: "no" }) as never] }, /got {"code":"no"}/],
    ["a rule that comes later", { rules: [() => Promise.reject(new Error("late")) as never] }, /asynchronous/],
    ["fields that come later", { assign: () => Promise.resolve({ a: 1 }) as never }, /assign of .* asynchronous/],
    ["fields that are a list", { assign: () => ["a"] as never }, /assign of collection "notes" must return an object/],
    ["an upcast that comes later", { version: 2, upcast: () => late as never }, /upcast of .* asynchronous/],
    ["an upcast with nothing", { version: 2, upcast: () => undefined as never }, /must return an object.* got nothing/],
  ])("%s costs the operation nothing but time, and the log says it", async (_name, declared, words) => {
    const { push, pull, log } = await notes(declared);
    expect(await push(create("k1", { a: 1 }), { id: "op-a" })).toMatchObject({
      ...{ outcome: "retry", problem: { code: "rule_failed" } },
    });
    expect(log).toMatchObject([{ operation: "op-a", error: expect.stringMatching(words) }]);
    expect((await pull()).head).toBe(0);
  });

  test("nothing to assign is no mistake", async () => {
    const { push } = await notes({ assign: () => undefined as never });
    expect(await push(create("k1", {}))).toMatchObject({ outcome: "applied" });
  });
});

test.each<[string, unknown, RegExp]>([
  ["a misspelt member", { name: "notes", rule: [] }, /rules/],
  ["a name with capitals", { name: "Notes" }, /lower-case/],
  ["a schema that is none", { name: "notes", schema: {} }, /Standard Schema/],
  ["version 0", { name: "notes", version: 0 }, /version must be/],
  ["a misspelt comparison", { name: "notes", access: { a: { read: { fee: { above: 5 } } } } }, /access of a/],
  [
    "a right that compares with nothing",
    { name: "notes", access: { a: { read: { team: undefined } } } },
    /access of a/,
  ],
  ["unique fields that are no list of lists", { name: "notes", unique: ["email"] }, /unique/],
  ["an empty list of unique fields", { name: "notes", unique: [[]] }, /unique/],
  ["keys of nobody", { name: "notes", keys: "Server" }, /keys/],
  ["rules that are no list", { name: "notes", rules: () => null }, /rules/],
  ["an upcast that is none", { name: "notes", upcast: {} }, /upcast/],
  ["a misspelt right", { name: "notes", access: { a: { reed: true } } }, /read/],
  [
    "a text for a right",
    { name: "notes", access: { a: { read: "true" } } },
    /access of a: read must be true, .* "true"/,
  ],
  ["no rights", { name: "notes", access: null }, /access must be an object of roles/],
  ["a list of rights", { name: "notes", access: [] }, /access must be an object of roles/],
  ["an oldest that is newer", { name: "notes", version: 1, oldest: 3 }, /oldest is 3 and version 1/],
])("a declaration with %s is refused when the server opens", (_name, declaration, message) => {
  expect(() => checkCollections([declaration as ServerCollection])).toThrow(message);
});

test("declarations that are no list are refused when the server opens", () => {
  for (const wrong of ["notes", { name: "notes" }, null])
    expect(() => checkCollections(wrong as never)).toThrow("collections must be a list");
});

test.each(comparisons)("a right may compare by %s", (name) => {
  const access = { a: { read: { fee: { [name]: name === "in" ? ["7"] : "7" } } } };
  expect(checkCollections([{ name: "notes", access }]).get("notes")?.access).toEqual(access);
});
