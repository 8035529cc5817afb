/**
 * Owns the proof that the past of records is kept as configured: so many entries of each, removed records while something speaks of them.
 * Finished operations are `retention.ts`.
 */
import { expect, test } from "vitest";
import { startRecords } from "../../test/support/record-bench.ts";
import type { Fields } from "../record.ts";
import { keptDecisions } from "./conflicts.ts";

const minuteMs = 60_000;
const count = "SELECT count(*) AS n FROM record";
const decisions = "SELECT json_extract(local, '$.title') AS local FROM conflict ORDER BY seq";

test("of each record the newest entries are kept, and another one's are not counted with them", async () => {
  const { client, run } = startRecords();
  const ada = client({ settings: { recordHistoryCount: 5 }, collections: [{ name: "notes", isSynced: false }] });
  for (let n = 1; n <= 12; n += 1) ada.put("a", { n });
  for (let n = 1; n <= 3; n += 1) ada.put("b", { n });
  await run(60_000);
  const entries = (key: string) => ada.ask("records.history", { collection: "notes", key }).entries;
  expect(entries("a").map(({ after }) => after)).toEqual([12, 11, 10, 9, 8].map((n) => ({ n })));
  expect(entries("b")).toHaveLength(3);
});

test("what an open conflict, or a decision that can be taken back, needs of the history stays beyond the limit", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ settings: { recordHistoryCount: 2 } });
  server.write("notes", "a", { title: "first", n: 0 });
  await run();
  ada.offline();
  server.write("notes", "a", { title: "theirs", n: 0 });
  ada.update("a", { title: "ours" });
  ada.online();
  await run(60_000);
  for (let n = 1; n <= 6; n += 1) {
    server.write("notes", "a", { title: "theirs", n });
    await run(60_000);
  }
  const entries = () => ada.ask("records.history", { collection: "notes", key: "a" }).entries;
  expect(entries().length).toBeGreaterThan(2);
  const [conflict] = ada.conflicts("open");
  ada.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "remote" });
  await run(60_000);
  const losing = entries().find(({ before }) => before?.title === "ours" && before.n === 6);
  expect(losing).toBeDefined();
  const undone = ada.ask("conflicts.undo", { ids: [conflict?.id ?? ""] });
  expect(undone.refused).toEqual([]);
  expect(ada.value("a")).toMatchObject({ title: "ours" });
  for (let n = 0; n < 9; n += 1) ada.update("a", { title: `later ${n}` });
  await run(120_000);
  expect(entries()).toHaveLength(2);
});

test("a decided conflict is kept as long as the history of records, an open one until it is decided", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ settings: { recordHistoryMs: 600 * minuteMs, retainMs: 2_000 * minuteMs } });
  server.write("notes", "a", { title: "first" });
  await run();
  ada.offline();
  server.write("notes", "a", { title: "theirs" });
  ada.update("a", { title: "ours" });
  ada.online();
  await run(700 * minuteMs);
  const [conflict] = ada.conflicts("open");
  ada.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "local" });
  await run(599 * minuteMs);
  expect(ada.rows(decisions)).toEqual([{ local: "ours" }]);
  await run(5 * minuteMs);
  expect(ada.rows(decisions)).toEqual([]);
  expect(server.all("notes")).toEqual({ a: { title: "ours" } });
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});

test("of what rules have decided of one record the newest are kept, and all that a person has decided", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ collections: [{ name: "notes", merge: { n: { rule: "prefer-local" } } }] });
  server.write("notes", "a", { title: "first", n: 0 });
  await run();
  const dispute = async (theirs: Fields, ours: Fields): Promise<void> => {
    ada.offline();
    server.write("notes", "a", { ...server.get("notes", "a")?.value, ...theirs });
    ada.update("a", ours);
    ada.online();
    await run(minuteMs);
  };
  await dispute({ title: "theirs" }, { title: "by hand" });
  const [byHand] = ada.conflicts("open");
  ada.ask("conflicts.resolve", { ids: [byHand?.id ?? ""], choose: "local" });
  await run(minuteMs);
  for (let n = 1; n <= keptDecisions + 20; n += 1) await dispute({ n: -n }, { n });
  const left = ada.rows("SELECT decided_by, json_extract(local, '$.n') AS n FROM conflict ORDER BY seq");
  expect(left).toHaveLength(keptDecisions + 1);
  expect([left[0], left[1], left.at(-1)]).toEqual([
    { decided_by: "person", n: 0 },
    { decided_by: "automatic", n: 21 },
    { decided_by: "automatic", n: keptDecisions + 20 },
  ]);
});

test("a removed record goes once the server has confirmed it long ago and its history is forgotten, never before", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ settings: { retainMs: 10 * minuteMs, recordHistoryMs: 30 * minuteMs } });
  for (const key of ["a", "b", "c"]) server.write("notes", key, { title: key });
  await run();
  ada.remove("a");
  server.write("notes", "b", null);
  await run(60_000);
  await run(15 * minuteMs);
  expect(ada.rows(count)).toEqual([{ n: 3 }]);
  ada.offline();
  ada.remove("c");
  await run(20 * minuteMs);
  // Its removal is unsent, whatever its age.
  expect(ada.rows(count)).toEqual([{ n: 1 }]);
  expect(ada.get("c")).toMatchObject({ value: null, state: "pending" });
  ada.online();
  await run(120_000);
  expect(server.all("notes")).toEqual({});
  await run(31 * minuteMs);
  expect(ada.rows(count)).toEqual([{ n: 0 }]);
  ada.put("a", { title: "again" });
  await run(60_000);
  expect(server.all("notes")).toEqual({ a: { title: "again" } });
  expect(ada.state("a")).toBe("synced");
});
