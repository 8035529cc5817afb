/**
 * Owns the rules of a record's history: every change, newest first, and each state can be had again.
 */
import { expect, test } from "vitest";
import { startRecords } from "../../test/support/record-bench.ts";
import { startReader } from "../../test/support/record-reader.ts";
import type { Fields } from "../record.ts";

const notes = { name: "notes" };
const place = { collection: "notes", key: "k" };

test("every change of a record is in its history, newest first, in pages", async () => {
  using bench = startReader([notes], { isSynced: true });
  bench.put("notes", "k", { n: 1 });
  bench.put("notes", "other", { n: 9 });
  await bench.run(5_000);
  bench.elsewhere("notes", "k", { n: 2 });
  await bench.run(5_000);
  bench.ask("records.write", { kind: "remove", ...place });
  const { entries } = bench.ask("records.history", place);
  expect(entries.map(({ origin, before, after }) => [origin, before, after])).toEqual([
    ["local", { n: 2 }, null],
    ["pull", { n: 1 }, { n: 2 }],
    ["local", null, { n: 1 }],
  ]);
  expect(entries[1]?.run).toBeGreaterThan(0);
  const first = bench.ask("records.history", { ...place, limit: 2 });
  expect(first.entries).toEqual(entries.slice(0, 2));
  expect(bench.ask("records.history", { ...place, limit: 2, before: first.next ?? 0 })).toEqual({
    entries: entries.slice(2),
    next: null,
  });
});

test("what a record was before or after an entry is written again, and the server follows", async () => {
  using bench = startReader([notes], { isSynced: true });
  bench.put("notes", "k", { n: 1 });
  await bench.run(5_000);
  bench.elsewhere("notes", "k", { n: 2 });
  await bench.run(5_000);
  const [pulled] = bench.ask("records.history", place).entries;
  const restored = bench.ask("records.restore", { ...place, sequence: pulled?.sequence ?? 0, side: "before" });
  expect(restored.record.value).toEqual({ n: 1 });
  expect(restored.operation).not.toBeNull();
  await bench.run(5_000);
  expect(bench.there("notes", "k")).toEqual({ n: 1 });
  expect(bench.ask("records.history", place).entries[0]).toMatchObject({
    origin: "restore",
    detail: { sequence: pulled?.sequence, side: "before" },
  });
});

test("a removed record comes back, and a record goes back to not being there", () => {
  using bench = startReader([notes]);
  bench.put("notes", "k", { n: 1 });
  bench.ask("network.offline", {});
  const [made] = bench.ask("records.history", place).entries;
  bench.put("notes", "k", { n: 2 });
  const sequence = made?.sequence ?? 0;
  expect(bench.ask("records.restore", { ...place, sequence }).record.value).toEqual({ n: 1 });
  expect(bench.ask("records.restore", { ...place, sequence, side: "before" }).record.value).toBeNull();
  expect(bench.ask("records.restore", { ...place, sequence, side: "before" })).toMatchObject({ operation: null });
  expect(bench.ask("records.restore", { ...place, sequence }).record.value).toEqual({ n: 1 });
});

test("an entry of another record, and a record that never was, are not found", () => {
  using bench = startReader([notes]);
  bench.put("notes", "k", { n: 1 });
  bench.put("notes", "other", { n: 1 });
  const [entry] = bench.ask("records.history", { collection: "notes", key: "other" }).entries;
  const missing = expect.objectContaining({ code: "not_found" });
  expect(() => bench.ask("records.restore", { ...place, sequence: entry?.sequence ?? 0 })).toThrow(missing);
  expect(() => bench.ask("records.history", { collection: "notes", key: "nobody" })).toThrow(missing);
});

test("a state of an older schema comes back by the present one, whoever wrote it, and so does what a rollback restores", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "pulled", { name: "a" });
  const ada = client();
  await run();
  ada.put("mine", { name: "b" });
  await run();
  // Not idempotent on purpose: what is by the present schema must not be brought forward again.
  const upcast = (value: Fields): Fields => ({ title: `was ${String(value.name ?? value.title)}` });
  ada.crash({ collections: [{ name: "notes", version: 2, upcast }] });
  await run(60_000);
  server.write("notes", "pulled", { title: "theirs" }, "bob", 2);
  await run(400_000);
  const [newest] = ada.ask("sync.runs", {}).runs;
  ada.update("mine", { title: "mine now" });
  ada.update("mine", { title: "mine later" });
  await run(60_000);
  const of = { collection: "notes", key: "mine" };
  const { entries } = ada.ask("records.history", of);
  const written = entries.findLast(({ after }) => after?.title === "mine later");
  const restore = (sequence = 0, side: "before" | "after" = "after") =>
    ada.ask("records.restore", { ...of, sequence, side }).record.value;
  expect(restore(entries.at(-1)?.sequence)).toEqual({ title: "was b" });
  expect(restore(written?.sequence)).toEqual({ title: "mine later" });
  expect(restore(written?.sequence, "before")).toEqual({ title: "mine now" });
  expect(written?.detail).toEqual({ schema: 2 });
  ada.ask("sync.rollback", { run: newest?.id ?? 0 });
  expect(ada.value("pulled")).toEqual({ title: "was a" });
});
