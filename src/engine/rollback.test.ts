/**
 * Owns the rules of undoing a run: records are what they were before it, here and at the server, and what changed since is left alone.
 */
import { expect, test } from "vitest";
import type { Reader } from "../../test/support/record-reader.ts";
import { startReader } from "../../test/support/record-reader.ts";

const notes = { name: "notes" };

/** Records a to d are synced; then somebody else changes a, b and c, removes d and makes e, all in one run. */
async function changedElsewhere(): Promise<{ readonly bench: Reader; readonly run: number }> {
  const bench = startReader([notes], { isSynced: true });
  for (const key of ["a", "b", "c", "d"]) bench.put("notes", key, { n: 1, key });
  await bench.run(60_000);
  bench.ask("network.offline", {});
  for (const key of ["a", "b", "c"]) bench.elsewhere("notes", key, { n: 2, key });
  bench.elsewhere("notes", "d", null);
  bench.elsewhere("notes", "e", { n: 2 });
  bench.ask("network.online", {});
  await bench.run(60_000);
  expect(bench.value("notes", "a")).toEqual({ n: 2, key: "a" });
  expect(bench.value("notes", "d")).toBeNull();
  const [newest] = bench.ask("sync.runs", {}).runs;
  return { bench, run: newest?.id ?? 0 };
}

test("a run's changes are taken back here and at the server; what arrived new is named and left", async () => {
  const { bench, run } = await changedElsewhere();
  using _ = bench;
  const answer = bench.ask("sync.rollback", { run });
  expect(answer).toMatchObject({ run, restored: 4 });
  expect(answer.skipped).toEqual([
    { collection: "notes", key: "e", reason: expect.stringContaining("came with that run") },
  ]);
  await bench.run(60_000);
  for (const key of ["a", "b", "c", "d"]) {
    expect(bench.value("notes", key)).toEqual({ n: 1, key });
    expect(bench.there("notes", key)).toEqual({ n: 1, key });
  }
  expect(bench.ask("records.history", { collection: "notes", key: "a" }).entries[0]).toMatchObject({
    origin: "rollback",
    detail: { run },
  });
  expect(bench.ask("sync.runs", {}).runs.find(({ id }) => id === run)?.rolledBackBy).toBeGreaterThan(run);
});

test("what has changed since, here or elsewhere, is refused by itself and keeps its value", async () => {
  const { bench, run } = await changedElsewhere();
  using _ = bench;
  bench.elsewhere("notes", "a", { n: 3, key: "a" });
  await bench.run(60_000);
  bench.ask("network.offline", {});
  bench.put("notes", "b", { n: 4, key: "b" });
  const { restored, skipped } = bench.ask("sync.rollback", { run });
  expect(restored).toBe(2);
  expect(skipped.map(({ key, reason }) => [key, reason])).toEqual([
    ["a", expect.stringContaining("changed since")],
    ["b", expect.stringContaining("not settled")],
    ["e", expect.any(String)],
  ]);
  expect(bench.value("notes", "a")).toEqual({ n: 3, key: "a" });
  expect(bench.value("notes", "b")).toEqual({ n: 4, key: "b" });
  expect(bench.value("notes", "c")).toEqual({ n: 1, key: "c" });
});

test("a run is rolled back once, and a run that never was is not found", async () => {
  const { bench, run } = await changedElsewhere();
  using _ = bench;
  bench.ask("sync.rollback", { run });
  await bench.run(60_000);
  expect(() => bench.ask("sync.rollback", { run })).toThrow(expect.objectContaining({ code: "refused_by_state" }));
  expect(() => bench.ask("sync.rollback", { run: 9_999 })).toThrow(expect.objectContaining({ code: "not_found" }));
});

test("the first sync takes nothing away when it is rolled back", async () => {
  using bench = startReader([notes], { isSynced: true });
  bench.elsewhere("notes", "a", { n: 1 });
  await bench.run(60_000);
  const [first] = bench.ask("sync.runs", {}).runs;
  expect(bench.ask("sync.rollback", { run: first?.id ?? 0 })).toMatchObject({ restored: 0, skipped: [{ key: "a" }] });
  await bench.run(60_000);
  expect(bench.there("notes", "a")).toEqual({ n: 1 });
});

test("a rollback can itself be undone by the history of each record", async () => {
  const { bench, run } = await changedElsewhere();
  using _ = bench;
  bench.ask("sync.rollback", { run });
  const [entry] = bench.ask("records.history", { collection: "notes", key: "a" }).entries;
  bench.ask("records.restore", { collection: "notes", key: "a", sequence: entry?.sequence ?? 0, side: "before" });
  await bench.run(60_000);
  expect(bench.there("notes", "a")).toEqual({ n: 2, key: "a" });
});

test("a rollback is a run, and rolling that one back brings what it took away, here and at the server", async () => {
  const { bench, run } = await changedElsewhere();
  using _ = bench;
  bench.ask("sync.rollback", { run });
  await bench.run(60_000);
  const by = bench.ask("sync.runs", {}).runs.find(({ id }) => id === run)?.rolledBackBy ?? 0;
  expect(bench.ask("sync.rollback", { run: by })).toEqual({ run: by, restored: 4, skipped: [] });
  await bench.run(60_000);
  for (const key of ["a", "b", "c"]) expect(bench.there("notes", key)).toEqual({ n: 2, key });
  expect(bench.there("notes", "d")).toBeNull();
  expect(bench.value("notes", "d")).toBeNull();
});

test("what was let go for want of room since is named, and not told as rolled back", async () => {
  using bench = startReader([{ ...notes, maxBytes: 300 }], { isSynced: true });
  bench.put("notes", "a", { n: 1 });
  await bench.run(60_000);
  bench.elsewhere("notes", "a", { n: 2 });
  await bench.run(60_000);
  const [newest] = bench.ask("sync.runs", {}).runs;
  for (const key of ["b", "c", "d", "e"]) bench.elsewhere("notes", key, { fat: "x".repeat(100) });
  await bench.run(60_000);
  const { restored, skipped } = bench.ask("sync.rollback", { run: newest?.id ?? 0 });
  expect(restored).toBe(0);
  expect(skipped).toMatchObject([{ collection: "notes", key: "a" }]);
  expect(skipped[0]?.reason).toContain("not kept here");
});
