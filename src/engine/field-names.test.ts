// Owns the proof that a field may have any name: one called `__proto__` stays in every way that a record takes, from the request to the inbox.
// How single rules treat such names is tested beside them.
import { expect, test } from "vitest";
import { apart, startRecords } from "../../test/support/record-bench.ts";
import type { Fields } from "../record.ts";
import type { Input } from "../verbs.ts";

type Conditions = NonNullable<Input<"records.query">["where"]>;

/** As JSON.parse makes it: `__proto__` is a field like any other. */
const fields = (proto: unknown, more: Fields = {}): Fields =>
  Object.defineProperty({ ...more }, "__proto__", {
    value: proto,
    enumerable: true,
    writable: true,
    configurable: true,
  });
const text = (value: unknown): string => JSON.stringify(value);
const sorted = (value: Fields): string => text(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));

test("a field called __proto__ is written, changed, patched, imported, sent, read elsewhere and carried in a bundle", async () => {
  const { server, client, run } = startRecords();
  const [ada, bo] = [client({ name: "ada" }), client({ name: "bo" })];
  ada.put("n1", fields(1, { a: 1 }));
  ada.put("n2", { a: 1 });
  await run();
  ada.update("n2", fields("new", { a: 2 }));
  ada.ask("records.write", { kind: "patch", collection: "notes", key: "n1", patch: fields({ deep: 2 }, { a: 3 }) });
  ada.ask("records.import", { collection: "notes", source: "s", offset: 0, key: "a", rows: [fields(3, { a: "n3" })] });
  await run(3_000);
  const told = { n1: fields({ deep: 2 }, { a: 3 }), n2: fields("new", { a: 2 }), n3: fields(3, { a: "n3" }) };
  for (const [key, value] of Object.entries(told))
    for (const seen of [ada.value(key), bo.value(key), server.all("notes")[key]])
      expect(sorted(seen as Fields)).toBe(sorted(value));
  ada.offline();
  bo.offline();
  ada.update("n1", fields("unsent"));
  bo.ask("queue.import", { lines: ada.ask("queue.export", {}).lines });
  expect(sorted(bo.value("n1") as Fields)).toBe(sorted(fields("unsent", { a: 3 })));
});

test("a dispute about such a field is shown with its three sides, decided by hand, and taken back", async () => {
  const { ada, server, run } = await apart();
  ada.online();
  server.write("notes", "n1", fields("base"));
  await run(3_000);
  ada.offline();
  ada.update("n1", fields("ours"));
  server.write("notes", "n1", fields("theirs"));
  ada.online();
  await run(3_000);
  const [open] = ada.conflicts("open");
  expect(open).toMatchObject({ fields: ["__proto__"] });
  expect([open?.base, open?.local, open?.remote].map(text)).toEqual(
    ["base", "ours", "theirs"].map((each) => text(fields(each))),
  );
  const { done } = ada.ask("conflicts.resolve", { filter: {}, choose: "value", value: fields("both") });
  await run(3_000);
  expect(text(server.all("notes").n1)).toBe(text(fields("both")));
  expect(ada.ask("conflicts.undo", { ids: done }).refused).toEqual([]);
  await run(3_000);
  expect(text(server.all("notes").n1)).toBe(text(fields("ours")));
});

test("a condition on such a field asks for it, in queries, counts, pins, filters and rules, and a wrong one is refused", async () => {
  const { server, client, run } = startRecords();
  const rule = { name: "notes", merge: fields({ rule: "max" }), filter: fields({ gt: 1 }) };
  const [ada, bo] = [client({ name: "ada" }), client({ name: "bo", collections: [] })];
  bo.ask("collections.declare", rule as Input<"collections.declare">);
  expect(text(bo.ask("collections.list", {}).collections[0]?.spec)).toBe(text(rule));
  for (const [key, n] of [
    ["one", 1],
    ["two", 2],
    ["three", 3],
  ] as const)
    server.write("notes", key, fields(n));
  await run(3_000);
  const where = fields({ gte: 2 }) as Conditions;
  const keys = ada.ask("records.query", { collection: "notes", where }).records.map(({ key }) => key);
  expect(keys).toEqual(["three", "two"]);
  expect(ada.ask("records.count", { collection: "notes", where: fields(1) as Conditions })).toEqual({ count: 1 });
  expect(ada.ask("records.pin", { collection: "notes", where, isPinned: true }).changed).toBe(2);
  expect(bo.value("two")).toEqual(fields(2));
  // Both changed it: the rule of the field decides, not a person.
  bo.offline();
  bo.update("two", fields(7));
  ada.update("two", fields(9));
  await run(3_000);
  bo.online();
  await run(3_000);
  expect([bo.conflicts("open"), bo.value("two"), server.all("notes").two]).toEqual([[], fields(9), fields(9)]);
  const wrong = (named: Fields) => () => ada.ask("records.query", { collection: "notes", where: named as Conditions });
  expect(wrong(fields({ above: 1 }))).toThrow('where.__proto__: there is no field "above"');
  expect(wrong(fields([1]))).toThrow("where.__proto__");
});
