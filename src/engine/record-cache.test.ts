/**
 * Owns the rules of a collection's budget: what goes first, what never goes, and how what went comes back.
 */
import { expect, test } from "vitest";
import { startReader } from "../../test/support/record-reader.ts";
import { cacheLimits } from "./record-cache.ts";

const fat = "x".repeat(1_000);
const docs = { name: "docs", maxBytes: 10_000 };
const keysOf = (bench: ReturnType<typeof startReader>): readonly string[] =>
  bench.ask("records.query", { collection: "docs" }).records.map(({ key }) => key);
const bytesOf = (bench: ReturnType<typeof startReader>): number =>
  bench.ask("collections.list", {}).collections[0]?.bytes ?? 0;

test("a collection stays within its budget, and the least recently used go first, reads included", async () => {
  using bench = startReader([docs], { isSynced: true });
  for (const key of ["a", "b", "c", "d", "e", "f", "g", "h"]) {
    bench.elsewhere("docs", key, { fat });
    await bench.run(2_000);
  }
  expect(keysOf(bench)).toHaveLength(8);
  bench.ask("records.get", { collection: "docs", key: "a" });
  await bench.run(2_000);
  for (const key of ["i", "j"]) {
    bench.elsewhere("docs", key, { fat });
    await bench.run(2_000);
  }
  const kept = keysOf(bench);
  expect(bytesOf(bench)).toBeLessThanOrEqual(docs.maxBytes);
  expect(kept).toEqual(expect.arrayContaining(["a", "i", "j"]));
  expect(kept).not.toContain("b");
  expect(bench.events).toContainEqual(
    expect.objectContaining({ kind: "collection", detail: { collection: "docs", state: "evicted", count: 2 } }),
  );
});

test("what is unsent, refused or pinned is never evicted, and no pin hides from the budget what is over it", async () => {
  using bench = startReader([docs], { isSynced: true });
  bench.elsewhere("docs", "pinned", { fat });
  await bench.run(2_000);
  expect(bench.ask("records.pin", { collection: "docs", keys: ["pinned"], isPinned: true })).toEqual({
    changed: 1,
    missing: [],
  });
  expect(bench.ask("records.get", { collection: "docs", key: "pinned" }).record?.isPinned).toBe(true);
  bench.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
  bench.put("docs", "unsent", { fat });
  await bench.run(2_000);
  for (let n = 0; n < 30; n += 1) bench.elsewhere("docs", `k${n}`, { fat });
  await bench.run(5_000);
  const kept = keysOf(bench);
  expect(kept).toEqual(expect.arrayContaining(["pinned", "unsent"]));
  expect(bytesOf(bench)).toBeLessThanOrEqual(docs.maxBytes);
  expect(bench.ask("records.count", { collection: "docs" }).count).toBe(kept.length);
});

test("a record with a field that never leaves this device stays: the server could not give it back", async () => {
  using bench = startReader([{ ...docs, localOnly: ["mine", 'a "b"'] }], { isSynced: true });
  for (const key of ["own", "other", "plain"]) bench.elsewhere("docs", key, { fat });
  await bench.run(2_000);
  const note = (key: string, fields: Record<string, string>) =>
    bench.ask("records.write", { kind: "update", collection: "docs", key, fields });
  note("own", { mine: "only here" });
  note("other", { 'a "b"': "" });
  for (let n = 0; n < 30; n += 1) bench.elsewhere("docs", `k${n}`, { fat });
  await bench.run(5_000);
  expect(keysOf(bench)).toEqual(expect.arrayContaining(["own", "other"]));
  expect(keysOf(bench)).not.toContain("plain");
  expect(bench.value("docs", "own")).toEqual({ fat, mine: "only here" });
  expect(bytesOf(bench)).toBeLessThanOrEqual(docs.maxBytes);
});

test("what was written here stays until it has landed, and counts against the budget from then on", async () => {
  using bench = startReader([docs], { isSynced: true });
  bench.ask("network.offline", {});
  for (let n = 0; n < 30; n += 1) bench.put("docs", `k${n}`, { fat });
  await bench.run(60_000);
  expect(keysOf(bench)).toHaveLength(30);
  bench.ask("network.online", {});
  await bench.run(120_000);
  expect(bytesOf(bench)).toBeLessThanOrEqual(docs.maxBytes);
  for (let n = 0; n < 30; n += 1) expect(bench.there("docs", `k${n}`)).toEqual({ fat });
});

test("records are pinned by conditions too, and let go again", async () => {
  using bench = startReader([docs], { isSynced: true });
  for (let n = 0; n < 5; n += 1) bench.elsewhere("docs", `k${n}`, { n });
  await bench.run(2_000);
  const pin = (isPinned: boolean) =>
    bench.ask("records.pin", { collection: "docs", where: { n: { lt: 3 } }, isPinned }).changed;
  expect([pin(true), pin(true), pin(false)]).toEqual([3, 0, 3]);
  const named = bench.ask("records.pin", { collection: "docs", keys: ["k1", "nope"], isPinned: true });
  expect(named).toEqual({ changed: 1, missing: ["nope"] });
  const refusal = expect.objectContaining({ code: "invalid_input" });
  expect(() => bench.ask("records.pin", { collection: "docs", isPinned: true })).toThrow(refusal);
});

test("a record that was evicted is fetched again when it is asked for", async () => {
  using bench = startReader([docs], { isSynced: true });
  for (let n = 0; n < 30; n += 1) bench.elsewhere("docs", `k${n}`, { fat, n });
  await bench.run(5_000);
  const gone = Array.from({ length: 30 }, (_, n) => `k${n}`).find((key) => !keysOf(bench).includes(key)) ?? "";
  expect(bench.value("docs", gone)).toBeNull();
  await bench.run(500);
  expect(bench.value("docs", gone)).toMatchObject({ fat });
  expect(bytesOf(bench)).toBeLessThanOrEqual(docs.maxBytes);
});

test("what was evicted keeps its history under its key, which goes on when it comes back, and nobody inherits it", async () => {
  using bench = startReader([docs], { isSynced: true });
  const history = (key: string) => bench.ask("records.history", { collection: "docs", key }).entries;
  for (let n = 0; n < 30; n += 1) bench.elsewhere("docs", `k${n}`, { fat, n });
  await bench.run(5_000);
  const goneKeys = Array.from({ length: 30 }, (_, n) => `k${n}`).filter((key) => !keysOf(bench).includes(key));
  expect(goneKeys.length).toBeGreaterThan(10);
  for (const key of goneKeys) expect(history(key)).toMatchObject([{ origin: "pull", after: { fat } }]);
  const [gone = "", other = ""] = goneKeys;
  expect(() => bench.ask("records.restore", { collection: "docs", key: gone, sequence: 1 })).toThrow(
    expect.objectContaining({ code: "refused_by_state", hint: expect.stringContaining("collections sync docs") }),
  );
  bench.value("docs", gone);
  await bench.run(500);
  expect(history(gone)).toHaveLength(2);
  bench.put("docs", gone, { n: -1 });
  expect(history(gone)).toMatchObject([{ origin: "local", after: { n: -1 } }, { origin: "pull" }, { origin: "pull" }]);
  const [first] = history(gone).slice(-1);
  bench.ask("records.restore", { collection: "docs", key: gone, sequence: first?.sequence ?? 0 });
  expect(bench.value("docs", gone)).toMatchObject({ fat });
  bench.put("docs", "new", { n: 1 });
  expect(history("new")).toMatchObject([{ origin: "local", before: null }]);
  // A key that is written again without having been fetched is the same record.
  bench.put("docs", other, { n: -2 });
  expect(history(other)).toMatchObject([{ origin: "local" }, { origin: "pull" }]);
  const ids = bench.rows("SELECT id FROM record UNION ALL SELECT record FROM evicted").map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

test("the number of an evicted record is forgotten with its history, and never given to another one", async () => {
  using bench = startReader([docs], { isSynced: true });
  for (let n = 0; n < 30; n += 1) bench.elsewhere("docs", `k${n}`, { fat, n });
  await bench.run(5_000);
  const [most] = bench.rows("SELECT max(record) AS id FROM record_history");
  bench.ask("settings.set", { recordHistoryMs: 1 });
  await bench.run(3_600_000);
  expect(bench.rows("SELECT count(*) AS n FROM evicted")).toEqual([{ n: 0 }]);
  expect(() => bench.ask("records.history", { collection: "docs", key: "k0" })).toThrow(
    expect.objectContaining({ code: "not_found" }),
  );
  bench.put("docs", "new", { n: 1 });
  expect(bench.rows("SELECT id FROM record WHERE key = 'new'")).toEqual([{ id: Number(most?.id) + 1 }]);
});

test("a key that the server does not have is asked for once, not with every read", async () => {
  using bench = startReader([docs], { isSynced: true });
  bench.elsewhere("docs", "k", { n: 1 });
  await bench.run(2_000);
  for (let round = 0; round < 5; round += 1) {
    expect(bench.value("docs", "nobody")).toBeNull();
    await bench.run(500);
  }
  expect(bench.fetches()).toBe(1);
  await bench.run(cacheLimits.askAgainMs);
  bench.value("docs", "nobody");
  await bench.run(500);
  expect(bench.fetches()).toBe(2);
});

test("a collection that is kept whole asks the server for nothing that is not here", async () => {
  using bench = startReader([{ name: "docs" }], { isSynced: true });
  bench.elsewhere("docs", "k", { n: 1 });
  await bench.run(2_000);
  bench.value("docs", "nobody");
  await bench.run(2_000);
  expect(bench.fetches()).toBe(0);
});

test("the eviction walks along its index", () => {
  using bench = startReader([docs]);
  const [index] = bench.rows("SELECT name FROM sqlite_schema WHERE type = 'index' AND name GLOB 'record_[0-9]*_used'");
  const id = String(index?.name).split("_")[1];
  const steps =
    bench.rows(`EXPLAIN QUERY PLAN SELECT record.* FROM record INDEXED BY ${index?.name} WHERE record.collection = ${id}
    AND record.status = 0 AND record.pinned = 0 AND record.pendings = 0 AND record.value IS NOT NULL ORDER BY record.used, record.id LIMIT 1`);
  expect(steps.map(({ detail }) => detail)).toEqual([`SCAN record USING INDEX ${index?.name}`]);
});
