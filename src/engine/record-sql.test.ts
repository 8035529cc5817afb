/**
 * Owns the rules of `records.sql`: a view per collection and nothing beside it. The guard itself is proven by the database contract.
 */
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { startReader } from "../../test/support/record-reader.ts";
import { sqlLimits } from "./record-sql.ts";

/** Before 24.10 what stands in for it knows no table-valued functions and no EXPLAIN. */
const hasAuthorizer = "setAuthorizer" in DatabaseSync.prototype;
const parking = { name: "parking", indexes: ["zone"] };

function filled() {
  const bench = startReader([parking, { name: "op", isSynced: false }]);
  bench.put("parking", "a", { zone: "north", fee: 2.5, tags: ["x"], isPaid: true });
  bench.put("parking", "b", { zone: "south", fee: 4, owner: { name: "Ada" } });
  bench.put("parking", "c", { zone: "north", fee: 1 });
  bench.put("op", "mine", { payload: "visible" });
  return bench;
}
type Bench = ReturnType<typeof filled>;
const ask = (bench: Bench, sql: string, parameters: (string | number | null)[] = []) =>
  bench.ask("records.sql", { sql, parameters });
const refusal = expect.objectContaining({ code: "invalid_input" });

test("each collection is a view with a column per field beside those of the record", () => {
  using bench = filled();
  const answer = ask(bench, "SELECT * FROM parking WHERE zone = ? ORDER BY fee", ["north"]);
  expect(answer.columns.slice(0, 7)).toEqual([
    "_key",
    "_state",
    "_version",
    "_changed",
    "_confirmed",
    "_value",
    "zone",
  ]);
  expect([...answer.columns].slice(7).sort()).toEqual(["fee", "isPaid", "owner", "tags"]);
  expect(answer.rows.map(([key, state]) => [key, state])).toEqual([
    ["c", "pending"],
    ["a", "pending"],
  ]);
  expect(ask(bench, "SELECT zone, sum(fee) AS total, count(*) FROM parking GROUP BY zone ORDER BY 1").rows).toEqual([
    ["north", 3.5, 2],
    ["south", 4, 1],
  ]);
  expect(ask(bench, "SELECT json_extract(owner, '$.name'), isPaid FROM parking ORDER BY _key").rows).toEqual([
    [null, 1],
    ["Ada", null],
    [null, null],
  ]);
  const tables = (): unknown => ask(bench, "SELECT tag.value FROM parking, json_each(tags) AS tag").rows;
  if (hasAuthorizer) expect(tables()).toEqual([["x"]]);
  else expect(tables).toThrow("it reads more than the views");
});

test("a removed record is in no view, and an edit shows at once", () => {
  using bench = filled();
  bench.ask("records.write", { kind: "remove", collection: "parking", key: "a" });
  bench.ask("records.write", { kind: "update", collection: "parking", key: "c", fields: { fee: 9 } });
  expect(ask(bench, "SELECT _key, fee FROM parking ORDER BY fee").rows).toEqual([
    ["b", 4],
    ["c", 9],
  ]);
});

test("a collection named like a table of the store shows its records and never the table", () => {
  using bench = filled();
  expect(ask(bench, "SELECT payload FROM op").rows).toEqual([["visible"]]);
  expect(() => ask(bench, "SELECT * FROM main.op")).toThrow(refusal);
});

test.each([
  "SELECT * FROM record",
  "SELECT * FROM main.record, parking",
  "SELECT * FROM meta",
  "SELECT * FROM history",
  "SELECT count(*) FROM pending",
  "WITH parking AS (SELECT * FROM record) SELECT * FROM parking",
  "SELECT * FROM sqlite_schema",
  "UPDATE parking SET fee = 0",
  "DELETE FROM record",
  "DROP VIEW parking",
  "PRAGMA journal_mode",
  "ATTACH 'x.db' AS x",
  "SELECT 1; SELECT 2",
])("%s is refused with the names of the views", (sql) => {
  using bench = filled();
  expect(() => ask(bench, sql)).toThrow(refusal);
  expect(() => ask(bench, sql)).toThrow(expect.objectContaining({ hint: expect.stringContaining("op, parking") }));
  expect(bench.ask("records.count", { collection: "parking" })).toEqual({ count: 3 });
});

test("an index of a field serves a statement as well", () => {
  using bench = filled();
  if (!hasAuthorizer) {
    expect(ask(bench, "SELECT _key FROM parking WHERE zone = 'south'").rows.length).toBe(1);
    expect(() => ask(bench, "EXPLAIN QUERY PLAN SELECT _key FROM parking")).toThrow(refusal);
    return;
  }
  const steps = ask(bench, "EXPLAIN QUERY PLAN SELECT _key FROM parking WHERE zone = 'north'").rows.map((row) =>
    String(row[3]),
  );
  expect(steps).toEqual([expect.stringMatching(/^SEARCH record USING INDEX record_\d+_\w+ \(<expr>=\?\)$/)]);
});

test("a field that few records have is found when a statement names it", () => {
  using bench = startReader([parking]);
  bench.put("parking", "first", { rare: "here" });
  for (let batch = 0; batch < 6; batch += 1) {
    bench.ask("records.transaction", {
      writes: Array.from({ length: 100 }, (_, n) => ({
        kind: "put" as const,
        collection: "parking",
        key: `k${batch}-${n}`,
        value: { zone: "z" },
      })),
    });
  }
  expect(sqlLimits.sample).toBeLessThan(600);
  const answer = bench.ask("records.sql", { sql: "SELECT rare FROM parking WHERE rare IS NOT NULL" });
  expect(answer.rows).toEqual([["here"]]);
  expect(() => bench.ask("records.sql", { sql: "SELECT nowhere FROM parking" })).toThrow(refusal);
});

test("rows end at the limit, bytes are hex digits, and names of fields cannot leave their quotes", () => {
  using bench = filled();
  bench.put("parking", "d", { 'x" FROM meta; --': 1, "it's": 2, _KEY: "mine", Zone: "other" });
  expect(bench.ask("records.sql", { sql: "SELECT _key FROM parking ORDER BY _key", limit: 2 })).toEqual({
    columns: ["_key"],
    rows: [["a"], ["b"]],
    isTruncated: true,
  });
  expect(ask(bench, "SELECT x'00ff', 1e999").rows).toEqual([["00ff", "Infinity"]]);
  expect(ask(bench, `SELECT "x"" FROM meta; --", "it's", _key, zone FROM parking WHERE _key = 'd'`).rows).toEqual([
    [1, 2, "d", null],
  ]);
});
