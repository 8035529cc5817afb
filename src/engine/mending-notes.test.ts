// Owns the proof that storage hides nothing by changing a note of an evicted record, or a row of a run, which has no seal.
// The sealed tables of records are mending.test.ts; the rows of spaces are test/crash/space-bitflip.test.ts.
import { expect, test } from "vitest";
import { cellOf, flipsOf } from "../../test/support/flips.ts";
import { startRecords } from "../../test/support/record-bench.ts";

/** A client that has forgotten the oldest of forty records, offline. */
async function startEvicted() {
  const { client, server, run } = startRecords();
  const ada = client({ collections: [{ name: "notes", maxBytes: 2_000 }] });
  for (let n = 0; n < 40; n += 1) server.write("notes", `old${n}`, { text: "x".repeat(200), n });
  await run(120_000);
  ada.offline();
  return { ada, run };
}

test("a changed bit in a note of an evicted record is turned back: its history stays under its key, and nobody inherits it", async () => {
  const { ada, run } = await startEvicted();
  const notes = () => ada.rows("SELECT collection, key, record FROM evicted ORDER BY key");
  const whole = notes();
  expect(whole.length).toBeGreaterThan(10);
  const ofKey = (key: string) => ada.ask("records.history", { collection: "notes", key }).entries;
  const { key, record, collection } = whole[3] as { key: string; record: number; collection: number };
  const entries = ofKey(key);
  const damages = [
    ...flipsOf(record).map((cell) => `record = ${cell}`),
    ...flipsOf(key).map((cell) => `key = ${cellOf(cell)}`),
    ...flipsOf(collection).map((cell) => `collection = ${cell}`),
  ];
  for (const [index, damage] of damages.entries()) {
    ada.rows(`UPDATE OR IGNORE evicted SET ${damage} WHERE key = ${cellOf(key)}`);
    if (JSON.stringify(notes()) === JSON.stringify(whole)) continue;
    // Somebody asks for the key, or nobody does and it is met in idle time.
    if (index % 2 === 0 && damage.startsWith("record")) expect(ofKey(key), damage).toEqual(entries);
    await run(60_000);
    expect(notes(), damage).toEqual(whole);
    expect(ofKey(key), damage).toEqual(entries);
  }
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});

test("a run whose bounds the storage has narrowed is rolled back whole", async () => {
  const { client, server, run } = startRecords();
  const ada = client();
  const keys = ["a", "b", "c", "d"];
  for (const key of keys) server.write("notes", key, { n: 1 });
  await run(60_000);
  ada.offline();
  for (const key of keys) server.write("notes", key, { n: 2 });
  ada.online();
  await run(60_000);
  const [newest] = ada.ask("sync.runs", {}).runs;
  const id = newest?.id ?? 0;
  ada.rows(`UPDATE run SET first = first + 2, last = last - 1 WHERE id = ${id}`);
  expect(ada.ask("sync.rollback", { run: id })).toMatchObject({ restored: 4, skipped: [] });
  await run(60_000);
  for (const key of keys) expect(server.get("notes", key)?.value).toEqual({ n: 1 });
});

test("a note of an evicted record of which more than one bit was changed is given up, and the report says so", async () => {
  const { ada, run } = await startEvicted();
  const [{ n } = { n: 0 }] = ada.rows("SELECT count(*) AS n FROM evicted");
  ada.rows("UPDATE evicted SET key = 'somebody else' WHERE record = (SELECT min(record) FROM evicted)");
  await run(60_000);
  expect(ada.rows("SELECT count(*) AS n FROM evicted")).toEqual([{ n: Number(n) - 1 }]);
  expect(JSON.stringify(ada.ask("engine.info", {}).recovery)).toContain("not found by its key any more");
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});
