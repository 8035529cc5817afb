/**
 * Owns the rules of `records.query` and `records.count` as a client meets them. What conditions mean is proven in `record-query.test.ts`.
 */
import { expect, test } from "vitest";
import { startReader } from "../../test/support/record-reader.ts";

const notes = { name: "notes", indexes: ["status", ["status", "fee"]] };

test("records are found by conditions in the order of an index, page by page, as they stand now", () => {
  using bench = startReader([notes]);
  for (let n = 0; n < 10; n += 1) bench.put("notes", `k${n}`, { status: n % 2 === 0 ? "open" : "done", fee: 10 - n });
  bench.ask("records.write", { kind: "update", collection: "notes", key: "k2", fields: { fee: 0 } });
  bench.ask("records.write", { kind: "remove", collection: "notes", key: "k4" });
  const asked = { collection: "notes", where: { status: "open" }, order: [{ field: "fee" }], limit: 3 };
  const first = bench.ask("records.query", asked);
  expect(first.records.map(({ key, value }) => [key, value?.fee])).toEqual([
    ["k2", 0],
    ["k8", 2],
    ["k6", 4],
  ]);
  const second = bench.ask("records.query", { ...asked, cursor: first.next ?? "" });
  expect(second.records.map(({ key }) => key)).toEqual(["k0"]);
  expect(second.next).toBeNull();
  expect(bench.ask("records.count", { collection: "notes" })).toEqual({ count: 9 });
  expect(bench.ask("records.count", { collection: "notes", where: { fee: { gte: 5 } } })).toEqual({ count: 4 });
});

test("records are found by their state, in the order of their change too", async () => {
  using bench = startReader([notes], { isSynced: true });
  bench.put("notes", "old", { status: "open" });
  await bench.run(5_000);
  bench.ask("network.offline", {});
  bench.put("notes", "new", { status: "open" });
  const found = bench.ask("records.query", { collection: "notes", states: ["pending"] });
  expect(found.records.map(({ key, state }) => [key, state])).toEqual([["new", "pending"]]);
  expect(bench.ask("records.count", { collection: "notes", states: ["synced"] })).toEqual({ count: 1 });
  const changed = bench.ask("records.query", {
    collection: "notes",
    order: [{ field: "$changed", direction: "desc" }],
  });
  expect(changed.records.map(({ key }) => key)).toEqual(["new", "old"]);
});

test("an index that is declared later serves what was there before", () => {
  using bench = startReader([notes]);
  for (const [key, title] of [
    ["x", "b"],
    ["y", "a"],
  ] as const)
    bench.put("notes", key, { title });
  const asked = { collection: "notes", order: [{ field: "title" }] };
  expect(() => bench.ask("records.query", asked)).toThrow(expect.objectContaining({ code: "invalid_input" }));
  bench.ask("collections.declare", { ...notes, indexes: [...notes.indexes, "title"] });
  expect(bench.ask("records.query", asked).records.map(({ key }) => key)).toEqual(["y", "x"]);
});

test("a collection that nobody declared is not found", () => {
  using bench = startReader([notes]);
  expect(() => bench.ask("records.query", { collection: "nothing" })).toThrow(
    expect.objectContaining({ code: "not_found" }),
  );
});

test("a filter by what only this device knows is refused, and a query may ask for it", () => {
  using bench = startReader([notes]);
  const declare = () => bench.ask("collections.declare", { name: "late", filter: { $changed: { gt: 0 } } });
  expect(declare).toThrow("filter: asks for $changed, which no server knows");
  bench.put("notes", "n1", { n: 1 });
  const asked = { collection: "notes", where: { $changed: { gt: 0 } } };
  expect(bench.ask("records.query", asked).records).toHaveLength(1);
});
