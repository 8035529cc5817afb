/**
 * Owns the proof that a changed row of records is never believed: it is proven, rebuilt, asked of the server again, or named as lost.
 * Damage of whole files is in `test/crash/records-bitflip.test.ts`.
 */
import { expect, test } from "vitest";
import type { RecordBench, RecordClient } from "../../test/support/record-bench.ts";
import { startRecords } from "../../test/support/record-bench.ts";
import type { Collection } from "../world.ts";
import { sealedTables, sealOf } from "./row-seal.ts";

const collections: readonly Collection[] = [
  { name: "notes", indexes: ["title"] },
  { name: "drafts", isSynced: false },
];

/** Synced, removed, unsent, disputed, decided and local records; what they show, by collection and key. */
async function everything(): Promise<RecordBench & { readonly ada: RecordClient }> {
  const bench = startRecords();
  const { server, client, run } = bench;
  const ada = client({ collections });
  for (const key of ["a", "b", "c", "d", "e"]) server.write("notes", key, { title: `first ${key}`, n: 1 });
  await run();
  ada.update("c", { title: "mine" });
  ada.offline();
  server.write("notes", "d", { title: "theirs", n: 1 });
  ada.update("d", { title: "ours" });
  ada.online();
  await run(60_000);
  const [conflict] = ada.conflicts();
  ada.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "local" });
  await run(60_000);
  ada.offline();
  server.write("notes", "e", { title: "theirs again", n: 1 });
  ada.update("e", { title: "ours again" });
  ada.online();
  await run(60_000);
  ada.offline();
  ada.update("b", { title: "unsent" });
  ada.put("new", { title: "unsent, too" });
  ada.put("draft", { text: "one" }, "drafts");
  ada.put("draft", { text: "two" }, "drafts");
  return { ...bench, ada };
}

const places = [
  ...["a", "b", "c", "d", "e", "new"].map((key) => ["notes", key] as const),
  ["drafts", "draft"] as const,
];
const values = (client: RecordClient) => places.map(([collection, key]) => client.value(key, collection));

/** What rows are found by is in an index as well: those are damaged as files are, in `test/crash`. */
const found = ["record.collection", "record.key", "pending.record", "pending.op", "record_history.record"];
const columns = Object.entries(sealedTables)
  .flatMap(([table, { covered }]) => covered.map((column) => [table, column] as const))
  .filter(([table, column]) => !found.includes(`${table}.${column}`));

test.each(columns)("a changed bit of %s.%s is never believed, and mended as far as can be", async (table, column) => {
  const { ada, server, run } = await everything();
  const before = values(ada);
  const history = ada.ask("records.history", { collection: "notes", key: "d" }).entries;
  const count = Number(ada.rows(`SELECT count(*) AS n FROM ${table}`)[0]?.n);
  expect(count).toBeGreaterThan(0);
  const first = `substr(${column}, 1, 1)`;
  const text =
    column === "value" ? "replace(value, 'it', 'iu')" : `char(unicode(${first}) + 1) || substr(${column}, 2)`;
  const changed = ada.rows(
    `UPDATE ${table} SET ${column} = CASE typeof(${column}) WHEN 'integer' THEN ${column} + 1048576
      WHEN 'text' THEN ${text} ELSE ${column} END RETURNING 1 AS n`,
  );
  expect(changed).toHaveLength(count);
  for (const [index, [collection, key]] of places.entries()) {
    const now = ada.get(key, collection);
    if (JSON.stringify(now?.value) === JSON.stringify(before[index])) continue;
    // What differs says so, and only what no proof is left of may differ.
    expect([now?.problem?.code, table]).toEqual(["record_corrupt", "record"]);
  }
  ada.online();
  await run(600_000);
  expect(values(ada)).toEqual(before);
  expect(server.all("notes")).toMatchObject({ b: { title: "unsent" }, new: { title: "unsent, too" } });
  expect(server.all("notes").e).toEqual({ title: "theirs again", n: 1 });
  const open = ada.conflicts("open");
  expect(open.map(({ key }) => key)).toEqual(["e"]);
  expect(open[0]).toMatchObject({
    base: { title: "first e" },
    local: { title: "ours again" },
    remote: { title: "theirs again" },
  });
  const later = ada.ask("records.history", { collection: "notes", key: "d" }).entries;
  for (const entry of history) {
    const now = later.find(({ sequence }) => sequence === entry.sequence);
    const isMarked = (now?.detail as { readonly code?: string } | null)?.code === "record_corrupt";
    if (!isMarked) expect(now).toEqual(entry);
  }
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
  ada.ask("conflicts.resolve", { ids: [open[0]?.id ?? ""], choose: "local" });
  await run(60_000);
  expect(server.all("notes").e).toEqual({ title: "ours again", n: 1 });
});

test("one changed bit anywhere in a row gives another seal", () => {
  const cells = ["a text", 7, null, "", '{"title":"ü"}', 2 ** 40];
  const seal = sealOf(cells);
  expect(Number.isSafeInteger(seal)).toBe(true);
  const others = [
    ...[..."a text"].flatMap((_, at) =>
      Array.from({ length: 8 }, (_, bit) => {
        const flipped = [..."a text"];
        flipped[at] = String.fromCharCode((flipped[at] ?? "").charCodeAt(0) ^ (1 << bit));
        return [flipped.join(""), ...cells.slice(1)];
      }),
    ),
    ...Array.from({ length: 50 }, (_, bit) => [cells[0] ?? null, 7 + 2 ** bit, ...cells.slice(2)]),
    [cells[0] ?? null, 7, "", null, ...cells.slice(4)],
    ["a tex", "t", ...cells.slice(1)],
  ];
  for (const other of others) expect(sealOf(other)).not.toBe(seal);
});

const afterSalvage = (note: object): string =>
  `INSERT INTO meta (name, value) VALUES ('mend', '${JSON.stringify(note)}') ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

test("unsent changes whose operations were lost are queued anew, and what was disputed is disputed again", async () => {
  const { ada, server, run } = await everything();
  const before = values(ada);
  const lost = ada.rows("DELETE FROM op WHERE state < 8 RETURNING seq");
  expect(lost).toHaveLength(3);
  ada.rows(afterSalvage({ resync: [] }));
  ada.crash();
  expect(values(ada)).toEqual(before);
  ada.online();
  await run(600_000);
  expect(server.all("notes")).toMatchObject({ b: { title: "unsent" }, new: { title: "unsent, too" } });
  expect(server.all("notes").e).toEqual({ title: "theirs again", n: 1 });
  const open = ada.conflicts("open");
  expect(open).toMatchObject([{ key: "e", local: { title: "ours again" }, remote: { title: "theirs again" } }]);
  ada.ask("conflicts.resolve", { ids: [open[0]?.id ?? ""], choose: "local" });
  await run(60_000);
  expect(server.all("notes").e).toEqual({ title: "ours again", n: 1 });
});

test("an unsent change on which a later one was made is not queued after it, but named, and its values are in the history", async () => {
  const { client, server, run } = startRecords();
  const ada = client({ collections });
  server.write("notes", "a", { title: "first", n: 1 });
  await run();
  ada.offline();
  ada.update("a", { title: "second" });
  ada.ask("records.transaction", {
    writes: [
      { kind: "update", collection: "notes", key: "a", fields: { n: 2 } },
      { kind: "put", collection: "notes", key: "b", value: { title: "with it" } },
    ],
  });
  ada.rows("DELETE FROM op WHERE seq = (SELECT min(op) FROM pending)");
  ada.rows(afterSalvage({ resync: [] }));
  ada.crash();
  expect(ada.value("a")).toEqual({ title: "first", n: 2 });
  const { recovery } = ada.ask("engine.info", {});
  expect(recovery).toMatchObject({ records: { findings: [expect.stringContaining('an unsent change of "a"')] } });
  const { entries } = ada.ask("records.history", { collection: "notes", key: "a" });
  expect(entries.some(({ after }) => after?.title === "second")).toBe(true);
  const { operations } = ada.ask("queue.list", { limit: 10 });
  expect(operations.map(({ status }) => status)).toEqual(["pending"]);
});

test("an entry that leaves to the next one what it was is not believed when the next one is lost", async () => {
  const { client, server, run } = startRecords();
  const ada = client({ collections });
  for (const key of ["a", "b", "c"]) server.write("notes", key, { title: "first" });
  await run();
  for (const title of ["second", "third"]) {
    for (const key of ["a", "b"]) ada.update(key, { title });
    await run();
  }
  const history = (key: string) => ada.ask("records.history", { collection: "notes", key }).entries;
  const [first] = history("a").slice(-1);
  expect(first?.after).toEqual({ title: "first" });
  const kept = history("b");
  // The entries of "b" before the gap, and what was never changed, are as certain as ever.
  ada.rows(`DELETE FROM record_history WHERE seq = ${history("a").slice(-2)[0]?.sequence}`);
  ada.rows(afterSalvage({ resync: [], isHistoryTorn: true }));
  ada.crash();
  expect(history("a").slice(-1)).toMatchObject([{ before: null, after: null, detail: { code: "record_corrupt" } }]);
  expect(history("b").slice(0, 2)).toEqual(kept.slice(0, 2));
  expect(history("c")).toMatchObject([{ after: { title: "first" }, detail: null }]);
  expect(() => ada.ask("records.restore", { collection: "notes", key: "a", sequence: first?.sequence ?? 0 })).toThrow(
    /was changed by the storage/,
  );
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});

test("what a lost record number stood for is not taken over: the history says which numbers were given", async () => {
  const { client, server, run } = startRecords();
  const ada = client({ collections: [{ name: "notes", maxBytes: 2_000 }] });
  for (let n = 0; n < 60; n += 1) server.write("notes", `old${n}`, { text: "x".repeat(200) });
  await run(120_000);
  const evicted = ada.rows("SELECT max(record) AS id FROM evicted")[0]?.id;
  expect(Number(evicted)).toBeGreaterThan(0);
  ada.rows("UPDATE evicted SET record = (SELECT max(id) FROM record) WHERE record = (SELECT min(record) FROM evicted)");
  ada.rows("DELETE FROM meta WHERE name = 'gone'");
  ada.rows(afterSalvage({ resync: [] }));
  ada.crash();
  ada.offline();
  ada.put("another", { text: "new" });
  expect(ada.ask("records.history", { collection: "notes", key: "another" }).entries).toHaveLength(1);
  const shared = "SELECT count(*) AS n FROM record JOIN evicted ON evicted.record = record.id";
  expect(ada.rows(shared)).toEqual([{ n: 0 }]);
});
