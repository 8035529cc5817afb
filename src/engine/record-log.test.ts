/**
 * Owns the rules of the rows that say nothing themselves: what came with a first pull is in the next row, or in the record.
 */
import { expect, test } from "vitest";
import { startReader } from "../../test/support/record-reader.ts";
import { openDatabase } from "../node/sqlite.ts";
import type { World } from "../world.ts";
import { newStore } from "./engine.ts";
import { afterOf, logPulled, logRecord, moveLog } from "./record-log.ts";
import { getRecord, insertPulledRecords, saveRecord } from "./records.ts";
import { migrate } from "./schema.ts";
import { integer, text } from "./store.ts";

const place = { collection: "notes", key: "k" };

test("what came with a pull is told by the record until it changes, and by the next entry from then on", async () => {
  using bench = startReader([{ name: "notes" }], { isSynced: true });
  const sides = () =>
    bench.ask("records.history", place).entries.map(({ origin, before, after }) => [origin, before, after]);
  bench.elsewhere("notes", "k", { n: 1 });
  await bench.run(5_000);
  expect(sides()).toEqual([["pull", null, { n: 1 }]]);
  bench.put("notes", "k", { n: 2 });
  bench.ask("records.write", { kind: "remove", ...place });
  expect(sides()).toEqual([
    ["local", { n: 2 }, null],
    ["local", { n: 1 }, { n: 2 }],
    ["pull", null, { n: 1 }],
  ]);
  const sequence = bench.ask("records.history", place).entries.at(-1)?.sequence ?? 0;
  expect(bench.ask("records.restore", { ...place, sequence }).record.value).toEqual({ n: 1 });
});

test("the rows of two records that turn out to be one keep what each of them says", () => {
  const database = openDatabase(":memory:");
  migrate(database);
  const store = newStore({ database, world: { now: () => 1 } as World, network: {} }, () => {});
  const rows = ["mine", "twin"].map((key) => ({
    ...{
      collection: 1,
      key,
      version: 1,
      value: JSON.stringify({ from: key }),
      schema: 1,
      author: "",
      bytes: 10,
      mark: 0,
    },
  }));
  for (const [index, row] of rows.entries()) expect(insertPulledRecords(store, index + 1, [row], 1)).toEqual([]);
  logPulled(store, { first: 1, last: 2, at: 1, run: 1 });
  const mine = getRecord(store, 1);
  if (mine === null) throw new Error("the record was inserted");
  logRecord(store, {
    record: 1,
    origin: "local",
    run: null,
    version: 1,
    before: mine.value,
    after: '{"n":2}',
    schema: 1,
  });
  saveRecord(store, mine, { ...mine, value: '{"n":2}' });
  moveLog(store, 2, 1);
  const entries = database.prepare(`SELECT record, ${afterOf} AS after FROM record_history ORDER BY seq`).all();
  expect(entries.map((row) => [integer(row.record), text(row.after)])).toEqual([
    [1, '{"from":"mine"}'],
    [1, '{"from":"twin"}'],
    [1, '{"n":2}'],
  ]);
  database.close();
});
