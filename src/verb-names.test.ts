// Holds the plain list of verbs to the verb table. Leaves what each verb does to the engine.
import { expect, test } from "vitest";
import { isRepeatable, verbKinds } from "./verb-names.ts";
import { verbs } from "./verbs.ts";

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
