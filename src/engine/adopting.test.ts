/**
 * Owns the proof that unsent changes of records travel in a bundle: shown at once elsewhere, disputed there by the same rules, landed once.
 * The queue's side of bundles is `transfer.ts`; real processes are `test/sync`.
 */
import { expect, test } from "vitest";
import { startRecords } from "../../test/support/record-bench.ts";
import type { Collection } from "../world.ts";

const collections: readonly Collection[] = [{ name: "notes" }, { name: "boxes", keys: "server" }];

async function twoDevices() {
  const bench = startRecords();
  const { server, client, run } = bench;
  server.naming.add("boxes");
  for (const key of ["a", "b", "c"]) server.write("notes", key, { title: `first ${key}`, n: 1 });
  const [ada, bo] = [client({ collections, name: "ada" }), client({ collections, name: "bo" })];
  await run();
  return { ...bench, ada, bo };
}

test("unsent writes and an open conflict go to another device: shown at once, disputed there, landed once", async () => {
  const { server, run, ada, bo } = await twoDevices();
  ada.offline();
  server.write("notes", "c", { title: "theirs", n: 1 });
  ada.update("c", { title: "ours" });
  ada.online();
  await run(60_000);
  expect(ada.state("c")).toBe("conflict");
  ada.offline();
  ada.update("a", { title: "unsent" });
  ada.put("new", { title: "made offline" });
  const { lines } = ada.ask("queue.export", {});
  expect(lines).toHaveLength(3);
  bo.offline();
  const taken = bo.ask("queue.import", { lines });
  expect(taken).toMatchObject({ skipped: [], refused: [] });
  expect(bo.value("a")).toEqual({ title: "unsent", n: 1 });
  expect(bo.value("new")).toEqual({ title: "made offline" });
  expect(bo.state("a")).toBe("pending");
  const [conflict] = bo.conflicts();
  expect(conflict).toMatchObject({
    key: "c",
    base: { title: "first c" },
    local: { title: "ours" },
    remote: { title: "theirs" },
  });
  expect(bo.ask("queue.import", { lines })).toMatchObject({ imported: [], skipped: taken.imported });
  bo.online();
  await run(60_000);
  expect(server.all("notes")).toMatchObject({ a: { title: "unsent", n: 1 }, new: { title: "made offline" } });
  bo.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "local" });
  await run(60_000);
  expect(server.all("notes").c).toEqual({ title: "ours", n: 1 });
  // The device that they came from sends them as well: the server knows them already.
  const applied = server.log.filter(({ what }) => what === "push").length;
  ada.online();
  await run(120_000);
  expect(server.log.filter(({ what }) => what === "push").length).toBeGreaterThan(applied);
  expect(ada.value("a")).toEqual({ title: "unsent", n: 1 });
  expect(server.all("notes")).toMatchObject({ a: { title: "unsent", n: 1 }, new: { title: "made offline" } });
});

test("a device that has not read the records yet shows the changes on what they were made on, and disputes nothing for that", async () => {
  const { server, run, client, ada } = await twoDevices();
  ada.offline();
  ada.update("a", { title: "unsent" });
  const { lines } = ada.ask("queue.export", {});
  server.write("notes", "b", { title: "another", n: 2 });
  const bo = client({ collections, name: "fresh", isStopped: true });
  bo.ask("queue.import", { lines });
  expect(bo.value("a")).toEqual({ title: "unsent", n: 1 });
  bo.crash({ isStopped: false });
  await run(60_000);
  expect(bo.conflicts()).toEqual([]);
  expect(server.all("notes").a).toEqual({ title: "unsent", n: 1 });
  expect(bo.state("a")).toBe("synced");
});

test("references by local keys hold on the other device, and get the key that the server gives", async () => {
  const { server, run, ada, bo } = await twoDevices();
  ada.offline();
  const { key } = ada.ask("records.write", { kind: "create", collection: "boxes", value: { size: 1 } }).record;
  ada.put("n1", { box: key });
  const { lines } = ada.ask("queue.export", {});
  bo.ask("queue.import", { lines });
  expect(bo.value("n1")).toEqual({ box: key });
  await run(120_000);
  const [real] = Object.keys(server.all("boxes"));
  expect(real).not.toBe(key);
  expect(Object.keys(server.all("boxes"))).toHaveLength(1);
  expect(server.all("notes").n1).toEqual({ box: real });
  expect(bo.value("n1")).toEqual({ box: real });
});

test("what is damaged, of another version, of another space or of an unknown collection is refused by its line, and stops no other", async () => {
  const { run, client, ada, bo } = await twoDevices();
  ada.offline();
  for (const key of ["a", "b", "c"]) ada.update(key, { title: `unsent ${key}` });
  const [first = "", second = "", third = ""] = ada.ask("queue.export", {}).lines;
  const other = client({ collections: [{ name: "notes", space: "elsewhere" }], name: "other" });
  const bare = client({ collections: [], name: "bare" });
  await run();
  const damaged = second.replace('"changes":[', '"changes":[{"collection":7},');
  const refused = bo.ask("queue.import", {
    lines: [first.slice(0, -20), damaged, first.replace('"holdfast":1', '"holdfast":9'), third],
  });
  expect(refused.imported).toHaveLength(1);
  expect(refused.refused.map(({ id }) => id)).toEqual(["line 1", "line 2", "line 3"]);
  expect(refused.refused[2]?.message).toContain("version 9");
  expect(bo.value("b")).toEqual({ title: "first b", n: 1 });
  const elsewhere = other.ask("queue.import", { lines: [first] }).refused[0];
  expect(elsewhere).toMatchObject({ code: "refused_by_state" });
  expect(elsewhere?.message).toContain('space "elsewhere"');
  expect(bare.ask("queue.import", { lines: [first] }).refused[0]).toMatchObject({ code: "not_found" });
});

test("what is written after a change that may have landed elsewhere goes out by itself: a receipt of that one does not cover it", async () => {
  const { server, run, ada, bo } = await twoDevices();
  const lost = { code: "timeout", message: "no answer came" };
  server.faults.push({
    what: "push",
    answer: { kind: "unknown", problem: lost, mayHaveLanded: true } as never,
    isApplied: true,
  });
  ada.update("a", { title: "landed unheard" });
  await run(20);
  ada.offline();
  bo.offline();
  expect(bo.ask("queue.import", { lines: ada.ask("queue.export", {}).lines }).imported).toHaveLength(1);
  bo.update("a", { title: "newer" });
  bo.online();
  await run(60_000);
  expect(server.all("notes").a).toEqual({ title: "newer", n: 1 });
  expect(bo.value("a")).toEqual({ title: "newer", n: 1 });
});

test("what is made of a record under its local key is a change of that record here, which has the server's key by then", async () => {
  const { server, run, ada, bo } = await twoDevices();
  ada.offline();
  const made = ada.ask("records.transaction", {
    writes: [
      { kind: "create", collection: "boxes", value: { size: 1 } },
      { kind: "put", collection: "notes", key: "a", value: { title: "first a" } },
    ],
  });
  const key = made.records[0]?.key ?? "";
  bo.ask("queue.import", { lines: ada.ask("queue.export", {}).lines });
  await run(30_000);
  expect(Object.values(server.all("boxes"))).toEqual([{ size: 1 }]);
  ada.update(key, { size: 2 }, "boxes");
  expect(bo.ask("queue.import", { lines: ada.ask("queue.export", {}).lines })).toMatchObject({ refused: [] });
  expect(bo.value(key, "boxes")).toEqual({ size: 2 });
  await run(60_000);
  expect(Object.values(server.all("boxes"))).toEqual([{ size: 2 }]);
  expect(bo.state(key, "boxes")).toBe("synced");
  expect(bo.ask("engine.check", {}).findings).toEqual([]);
});

test("a record that is changed twice by one operation is refused, with words and without a trace", async () => {
  const { bo } = await twoDevices();
  const change = { collection: "notes", key: "new", kind: "create", base: 0, fields: { n: 1 }, schema: 1 };
  const payload = { space: "", at: 1, changes: [change, { ...change, kind: "update" }] } as never;
  const adding = () => bo.ask("queue.add", { type: "record.write", payload });
  expect(adding).toThrow(expect.objectContaining({ code: "invalid_input" }));
  expect(bo.get("new")).toBeNull();
});
