// Holds the plain list of verbs to the verb table. Leaves what each verb does to the engine.
import { expect, test } from "vitest";
import { HoldfastError } from "./errors.ts";
import { isRepeatable, verbKinds } from "./verb-names.ts";
import type { Verb } from "./verbs.ts";
import { parseInput, verbNames, verbs } from "./verbs.ts";

test("the plain list names exactly the verbs of the table, in its order, with their kinds", () => {
  expect(Object.entries(verbKinds)).toEqual(Object.entries(verbs).map(([name, { kind }]) => [name, kind]));
});

test("an enqueue is repeatable only when every operation carries its own id", () => {
  expect(isRepeatable("queue.get", { id: "0190" })).toBe(true);
  expect(isRepeatable("queue.add", { id: "0190", type: "a", payload: 1 })).toBe(true);
  expect(isRepeatable("queue.add", { type: "a", payload: 1 })).toBe(false);
  expect(isRepeatable("queue.addMany", { operations: [{ id: "0190" }, {}] })).toBe(false);
  expect(isRepeatable("queue.addMany", { operations: [{ id: "0190" }] })).toBe(true);
  expect(isRepeatable("queue.edit", { id: "0190" })).toBe(false);
});

test.each(verbNames)(
  "a refused input of %s names where that verb is described, not a command that may not be there",
  (verb) => {
    const refused = (): unknown => parseInput(verb as Verb, { "no such field": 1 });
    expect(refused).toThrow(HoldfastError);
    expect(refused).toThrow(
      expect.objectContaining({ hint: `see \`${verb}\` in docs/http.md, or in /openapi.json of a daemon` }),
    );
  },
);

test("a payload that is missing is called that", () => {
  expect(() => parseInput("queue.add", { type: "note" } as never)).toThrow("queue.add: payload: expected a JSON value");
  expect(() => parseInput("queue.addMany", { operations: [{ type: "note" }] } as never)).toThrow(
    "queue.addMany: operations.0.payload: expected a JSON value",
  );
});
