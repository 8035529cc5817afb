/**
 * Owns the rules of imports: every row becomes one record, once, whatever is repeated or broken off, and nobody's later work is undone.
 */
import { expect, test } from "vitest";
import { startRecords } from "../../test/support/record-bench.ts";
import { startReader } from "../../test/support/record-reader.ts";
import { HoldfastError } from "../errors.ts";
import type { Fields } from "../record.ts";

const people = { name: "people" };
const rows = [
  { id: "a", name: "Ada" },
  { id: 7, name: "Bob" },
  { id: "c", name: "Cid" },
];
const base = { collection: "people", source: "people.json", offset: 0 };

test("rows become records under the key of a field, and a repetition changes nothing", () => {
  using bench = startReader([people]);
  const first = bench.ask("records.import", { ...base, rows, key: "id" });
  expect(first).toEqual({ imported: 3, unchanged: 0, refused: [], nextOffset: 3 });
  expect(bench.value("people", "7")).toEqual({ id: 7, name: "Bob" });
  const operations = bench.ask("queue.list", {}).operations.length;
  expect(bench.ask("records.import", { ...base, rows, key: "id" })).toEqual({
    imported: 0,
    unchanged: 3,
    refused: [],
    nextOffset: 3,
  });
  expect(bench.ask("queue.list", {}).operations).toHaveLength(operations);
  expect(bench.ask("records.history", { collection: "people", key: "a" }).entries).toMatchObject([
    { origin: "import", detail: { source: "people.json", position: 0 } },
  ]);
});

test("without a key field, keys come from source and position, so an import goes on where it broke off", () => {
  using bench = startReader([people]);
  bench.ask("records.import", { ...base, rows: rows.slice(0, 2) });
  const again = bench.ask("records.import", { ...base, rows });
  expect(again).toMatchObject({ imported: 1, unchanged: 2, nextOffset: 3 });
  bench.ask("records.import", { ...base, rows: rows.slice(1), offset: 1 });
  expect(bench.ask("records.count", { collection: "people" })).toEqual({ count: 3 });
  const { records } = bench.ask("records.query", { collection: "people" });
  for (const { key } of records)
    expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  bench.ask("records.import", { ...base, source: "others.json", rows: rows.slice(0, 1) });
  expect(bench.ask("records.count", { collection: "people" })).toEqual({ count: 4 });
});

test("a repeated import takes back neither an edit nor a removal; a row that has changed is imported", () => {
  using bench = startReader([people]);
  bench.ask("records.import", { ...base, rows, key: "id" });
  bench.ask("records.write", { kind: "update", collection: "people", key: "a", fields: { name: "Ada Lovelace" } });
  bench.ask("records.write", { kind: "remove", collection: "people", key: "7" });
  const changed = [rows[0], rows[1], { id: "c", name: "Cyd" }] as typeof rows;
  expect(bench.ask("records.import", { ...base, rows: changed, key: "id" })).toMatchObject({
    imported: 1,
    unchanged: 2,
  });
  expect(bench.value("people", "a")).toEqual({ id: "a", name: "Ada Lovelace" });
  expect(bench.value("people", "7")).toBeNull();
  expect(bench.value("people", "c")).toEqual({ id: "c", name: "Cyd" });
});

test("a row that is refused is named with its position and stops no other", () => {
  const check = (value: unknown): Fields => {
    const { name } = value as { readonly name?: string };
    if (name === "Bob") throw new HoldfastError("invalid_input", "name: no Bobs", "take another");
    return value as Fields;
  };
  using bench = startReader([{ ...people, check }]);
  const answer = bench.ask("records.import", {
    ...base,
    offset: 40,
    rows: [...rows, { name: "Dan" }, { id: "", name: "Eve" }],
    key: "id",
  });
  expect(answer).toMatchObject({ imported: 2, unchanged: 0, nextOffset: 45 });
  expect(answer.refused.map(({ position, code }) => [position, code])).toEqual([
    [41, "invalid_input"],
    [43, "invalid_input"],
    [44, "invalid_input"],
  ]);
  expect(bench.ask("records.count", { collection: "people" })).toEqual({ count: 2 });
});

test("a key that stands in several rows is imported once in their order, and a repetition takes back nobody's edit", () => {
  using bench = startReader([people]);
  const twice = [
    { id: "a", name: "Ada" },
    { id: "a", name: "Ada B." },
  ];
  expect(bench.ask("records.import", { ...base, rows: twice, key: "id" })).toMatchObject({ imported: 2 });
  expect(bench.value("people", "a")).toEqual({ id: "a", name: "Ada B." });
  bench.ask("records.write", { kind: "update", collection: "people", key: "a", fields: { name: "Countess" } });
  expect(bench.ask("records.import", { ...base, rows: twice, key: "id" })).toMatchObject({ imported: 0, unchanged: 2 });
  expect(bench.value("people", "a")).toEqual({ id: "a", name: "Countess" });
  // What the file says now is new, also where it says what it once said.
  for (const name of ["Ada C.", "Ada B."]) {
    const changed = [twice[0], { id: "a", name }] as typeof twice;
    expect(bench.ask("records.import", { ...base, rows: changed, key: "id" })).toMatchObject({ imported: 1 });
    expect(bench.value("people", "a")).toEqual({ id: "a", name });
  }
});

test("a number that is too long to be told from its neighbours is no key: two rows would become one record", () => {
  using bench = startReader([people]);
  const long = [...["9007199254740993", "9007199254740992", "1e21"].map((id) => JSON.parse(`{"id":${id}}`) as Fields)];
  const answer = bench.ask("records.import", { ...base, rows: [...long, { id: 9_007_199_254_740_991 }], key: "id" });
  expect(answer).toMatchObject({ imported: 1 });
  expect(answer.refused.map(({ position, code }) => [position, code])).toEqual([
    [0, "invalid_input"],
    [1, "invalid_input"],
    [2, "invalid_input"],
  ]);
  expect(bench.value("people", "9007199254740991")).not.toBeNull();
});

test("a row whose record was let go for want of room has been imported, too", async () => {
  using bench = startReader([{ ...people, maxBytes: 300 }], { isSynced: true });
  const given = { ...base, rows: [{ id: "a", name: "x".repeat(100) }], key: "id" };
  bench.ask("records.import", given);
  await bench.run(3_000);
  bench.elsewhere("people", "a", { id: "a", name: "edited" });
  await bench.run(3_000);
  for (const key of ["b", "c", "d", "e"]) bench.elsewhere("people", key, { name: "x".repeat(100) });
  await bench.run(3_000);
  expect(bench.rows("SELECT key FROM record WHERE key = 'a'")).toEqual([]);
  expect(bench.ask("records.import", given)).toMatchObject({ imported: 0, unchanged: 1 });
});

test("a row that was imported by an older schema has been imported: an upgrade takes back nobody's edit", async () => {
  const { client, run } = startRecords();
  const ada = client({ collections: [people], isAlone: true });
  const given = { ...base, rows: rows.slice(0, 1), key: "id" };
  ada.ask("records.import", given);
  ada.update("a", { name: "Countess" }, "people");
  const rated = (value: unknown): Fields => ({ stars: 0, ...(value as Fields) });
  ada.crash({ collections: [{ ...people, version: 2, check: rated, upcast: rated }] });
  await run();
  expect(ada.ask("records.import", given)).toMatchObject({ imported: 0, unchanged: 1 });
  expect(ada.value("a", "people")).toEqual({ id: "a", name: "Countess", stars: 0 });
});
