// Owns the record side of the pains: what happens to a record where existing systems lose it. The queue's side is in the files beside.
// Leaves the rules in detail to src/engine, and random schedules to test/replicas.
import { expect, test } from "vitest";
import type { Fields } from "../../src/record.ts";
import type { Collection } from "../../src/world.ts";
import { silence } from "../support/model-server.ts";
import { startRecords } from "../support/record-bench.ts";

const refusal = { code: "too_dear", message: "more than 10 is not allowed", field: "fee", hint: "ask for less" };
const monthMs = 30 * 86_400_000;

test("pains 1 and 2: a refused record stays with its author, with the reason, over a restart, and nothing else waits for it", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  server.rule = (_change, value) => (Number(value?.fee ?? 0) > 10 ? refusal : null);
  ada.put("n1", { fee: 11 });
  ada.put("n2", { fee: 1 });
  await run();
  ada.crash();
  await run();
  expect(ada.get("n1")).toMatchObject({ value: { fee: 11 }, state: "failed", problem: refusal });
  expect(server.all("notes")).toEqual({ n2: { fee: 1 } });
  const [conflict] = ada.conflicts();
  ada.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "value", value: { fee: 9 } });
  await run();
  expect(server.all("notes")).toMatchObject({ n1: { fee: 9 } });
  expect(ada.state("n1")).toBe("synced");
});

test("pain 10: a key that the server gives takes the local one's place in every record, sent and unsent, also after a death", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ collections: [{ name: "notes" }, { name: "boxes", keys: "server" }] });
  server.naming.add("boxes");
  await run();
  ada.offline();
  const { key } = ada.ask("records.write", { kind: "create", collection: "boxes", value: { a: 1 } }).record;
  ada.put("n1", { box: key });
  ada.crash();
  ada.online();
  await run(120_000);
  const [real] = Object.keys(server.all("boxes"));
  expect(real).not.toBe(key);
  expect(server.all("notes")).toEqual({ n1: { box: real } });
  expect(ada.value("n1")).toEqual({ box: real });
});

test("pain 13: giving a queued write up takes it out of the view, and it does not come back with the next start", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.write("notes", "n1", { title: "old" });
  await run();
  ada.offline();
  const { operation } = ada.update("n1", { title: "new" });
  ada.ask("queue.cancel", { ids: [operation ?? ""] });
  expect(ada.value("n1")).toEqual({ title: "old" });
  ada.crash();
  ada.online();
  await run();
  expect(ada.value("n1")).toEqual({ title: "old" });
  expect(server.all("notes")).toEqual({ n1: { title: "old" } });
});

test("pain 16: a record is synced only once the server has said so, and a collection says as of when it is complete", async () => {
  const { client, run } = startRecords();
  const ada = client();
  await run();
  const [before] = ada.ask("collections.list", {}).collections;
  ada.offline();
  ada.put("n1", { a: 1 });
  await run(3_600_000);
  expect(ada.state("n1")).toBe("pending");
  const [then] = ada.ask("collections.list", {}).collections;
  expect(then).toMatchObject({ pending: 1, asOf: before?.asOf });
  ada.online();
  await run(120_000);
  expect(ada.state("n1")).toBe("synced");
  expect(ada.ask("collections.list", {}).collections[0]?.asOf).toBeGreaterThan(before?.asOf ?? 0);
});

test("pain 23: who edited what somebody removed is asked, and what loses can be had back in one action", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.write("notes", "n1", { title: "old" });
  await run();
  ada.offline();
  ada.update("n1", { title: "mine" });
  server.write("notes", "n1", null);
  ada.online();
  await run(120_000);
  const [conflict] = ada.conflicts();
  expect(conflict).toMatchObject({ kind: "deleted_upstream", local: { title: "mine" }, remote: null });
  ada.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "remote" });
  await run();
  expect(ada.get("n1")?.value ?? null).toBeNull();
  ada.ask("conflicts.undo", { ids: [conflict?.id ?? ""] });
  await run(120_000);
  expect(server.all("notes")).toEqual({ n1: { title: "mine" } });
});

test("pain 24: a pull that is killed between pages goes on where its rows end, and reads nothing twice", async () => {
  const { server, client, run } = startRecords();
  server.isLimited.page = 2;
  for (let n = 1; n <= 9; n += 1) server.write("notes", `n${n}`, { n });
  const ada = client();
  for (let step = 0; step < 20; step += 1) {
    await run(15);
    const [{ cursor = 0 } = {}] = ada.rows("SELECT cursor FROM collection WHERE name = 'notes'") as {
      cursor: number;
    }[];
    const [{ top = 0 } = {}] = ada.rows("SELECT coalesce(max(version), 0) AS top FROM record") as { top: number }[];
    expect(cursor).toBe(top);
    ada.crash();
  }
  await run(120_000);
  expect(Object.keys(server.all("notes")).every((key) => ada.state(key) === "synced")).toBe(true);
});

test("pain 25: a clock that is months off decides nothing: the later write at the server is the later one", async () => {
  const { server, client, run } = startRecords();
  const [ada, bob] = [client(), client()];
  await run();
  ada.machine.wallClock.jump(-6 * monthMs);
  bob.machine.wallClock.jump(6 * monthMs);
  bob.put("n1", { title: "bob" });
  await run(60_000);
  ada.update("n1", { title: "ada" });
  await run(120_000);
  expect(server.all("notes")).toEqual({ n1: { title: "ada" } });
  expect([ada.value("n1"), bob.value("n1")]).toEqual([{ title: "ada" }, { title: "ada" }]);
});

test("pain 3: what is refused or in dispute is listed with its reason, counted, and its losing values are in the history", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  server.rule = (_change, value) => (Number(value?.fee ?? 0) > 10 ? refusal : null);
  ada.put("n1", { fee: 11 });
  await run();
  const { records } = ada.ask("records.query", { collection: "notes", states: ["failed", "conflict"] });
  expect(records).toMatchObject([{ key: "n1", problem: refusal }]);
  expect(ada.ask("collections.list", {}).collections[0]).toMatchObject({ pending: 1, conflicts: 1 });
  ada.ask("conflicts.resolve", { ids: [ada.conflicts()[0]?.id ?? ""], choose: "remote" });
  const { entries } = ada.ask("records.history", { collection: "notes", key: "n1" });
  expect(entries.some(({ before }) => before?.fee === 11)).toBe(true);
});

test("pain 4: however long the network is bad, it makes no record fail, and what was written meanwhile lands", async () => {
  const { server, client, run } = startRecords();
  let isDown = false;
  const heard = <T>(reply: Promise<T>) =>
    isDown ? Promise.resolve({ kind: "failed", answer: silence } as const) : reply;
  const ada = client({
    wrap: (port) => ({
      ...port,
      push: (request, signal) => heard(port.push(request, signal)),
      pull: (request, signal) => heard(port.pull(request, signal)),
    }),
  });
  await run();
  isDown = true;
  ada.put("n1", { a: 1 });
  await run(4 * 3_600_000);
  expect(ada.state("n1")).toBe("pending");
  isDown = false;
  await run(3_600_000);
  expect(server.all("notes")).toEqual({ n1: { a: 1 } });
  expect(ada.state("n1")).toBe("synced");
});

test("pain 21: a full disk or a full queue refuses a write of a record before anything of it is shown, and evicts nothing unsent", async () => {
  const { server, client, run } = startRecords();
  const ada = client({
    settings: { maxOperations: 3 },
    collections: [{ name: "notes", maxBytes: 2_000 }],
  });
  for (let n = 0; n < 60; n += 1) server.write("notes", `old${n}`, { text: "x".repeat(200) });
  await run();
  ada.offline();
  for (const key of ["a", "b", "c"]) ada.put(key, { text: `unsent ${key}`.repeat(60) });
  expect(() => ada.put("d", { text: "too much" })).toThrow(/the queue is full/);
  expect(ada.get("d")).toBeNull();
  ada.update("a", { text: "another" });
  ada.machine.disk.fill();
  expect(() => ada.put("e", { text: "no room" })).toThrow(/disk/);
  expect(ada.get("e")).toBeNull();
  ada.machine.disk.free();
  ada.crash();
  for (const key of ["a", "b", "c"]) expect(ada.state(key)).toBe("pending");
  // The budget is spent by unsent work alone: everything else may go, none of that does.
  server.write("notes", "new", { text: "y".repeat(200) });
  ada.online();
  await run(120_000);
  expect(server.all("notes")).toMatchObject({ a: { text: "another" }, b: { text: "unsent b".repeat(60) } });
});

test("pain 22: an update of the app brings unsent writes forward and never drops them; a newer value is shown as it came", async () => {
  const { server, client, run } = startRecords();
  const first: Collection = { name: "notes", version: 1 };
  const ada = client({ collections: [first] });
  server.write("notes", "n1", { title: "server" });
  await run();
  ada.offline();
  ada.update("n1", { title: "unsent" });
  ada.put("n2", { title: "new" });
  const upcast = (value: Fields): Fields => {
    const { title, ...rest } = value;
    return title === undefined ? value : { ...rest, name: title };
  };
  ada.crash({ collections: [{ name: "notes", version: 2, upcast }] });
  expect(ada.value("n1")).toEqual({ name: "unsent" });
  expect(ada.value("n2")).toEqual({ name: "new" });
  expect(ada.state("n1")).toBe("pending");
  ada.online();
  await run(120_000);
  expect(server.all("notes")).toMatchObject({ n2: { name: "new" } });
  expect((server.all("notes").n1 as Fields).name).toBe("unsent");
  // A program that went back to the older version neither drops nor writes over what it does not understand.
  ada.crash({ collections: [first] });
  await run(60_000);
  expect(ada.value("n2")).toEqual({ name: "new" });
  expect(() => ada.update("n2", { title: "old form" })).toThrow(/schema version 2/);
});
