// Owns the rules of the inbox where several disputes hang together, and of what ended each of them.
// When conflicts arise and what decides them is conflicts.test.ts.
import { expect, test } from "vitest";
import { apart, base, startRecords } from "../../test/support/record-bench.ts";
import { HoldfastError } from "../errors.ts";
import type { Fields } from "../record.ts";
import { recordLimits } from "../record.ts";

test("two disputes of one transaction are asked about at once, and go out in one request when both are decided", async () => {
  for (const choices of [
    ["local", "merge"],
    ["value", "local"],
  ] as const) {
    const { ada, server, run, pushes } = await apart();
    server.write("notes", "n2", base);
    ada.online();
    await run();
    ada.offline();
    ada.ask("records.transaction", {
      writes: ["n1", "n2", "n3"].map((key) =>
        key === "n3"
          ? ({ kind: "create", collection: "notes", key, value: { n: 3 } } as const)
          : ({ kind: "update", collection: "notes", key, fields: { title: "mine" } } as const),
      ),
    });
    server.write("notes", "n1", { ...base, title: "theirs" });
    server.write("notes", "n2", { ...base, title: "theirs", n: 2 });
    ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
    ada.online();
    await run(3_000);
    ada.ask("queue.resume", { scope: { kind: "type", name: "record.write" } });
    await run(3_000);
    expect(ada.conflicts("open").map(({ key }) => key)).toEqual(["n2", "n1"]);
    const before = pushes();
    for (const [at, choose] of choices.entries()) {
      expect(pushes()).toBe(before);
      const value = choose === "value" ? { value: { title: "both" } } : {};
      const key = at === 0 ? "n1" : "n2";
      expect(ada.ask("conflicts.resolve", { filter: { key }, choose, ...value }).done).toHaveLength(1);
      await run();
    }
    await run(3_000);
    expect(pushes()).toBe(before + 1);
    expect(server.all("notes")).toEqual({
      n1: choices[0] === "value" ? { title: "both" } : { ...base, title: "mine" },
      n2: { ...base, title: "mine", n: 2 },
      n3: { n: 3 },
    });
    expect(["n1", "n2", "n3"].map((key) => ada.state(key))).toEqual(["synced", "synced", "synced"]);
    expect(ada.conflicts("resolved").map(({ decidedBy }) => decidedBy)).toEqual(["person", "person"]);
    expect(ada.ask("engine.check", {}).findings).toEqual([]);
  }
});

test("an inbox tells what really ended a dispute: a person, both sides saying the same, or an operation that was given up", async () => {
  const { ada, server, run } = await apart();
  const dispute = async (title: string): Promise<void> => {
    ada.offline();
    ada.update("n1", { title });
    server.write("notes", "n1", { ...base, title: `not ${title}` });
    ada.online();
    await run(3_000);
  };
  await dispute("a");
  server.write("notes", "n1", { ...base, title: "a" });
  await run(3_000);
  expect(ada.conflicts("resolved")).toMatchObject([{ decidedBy: "agreement" }]);
  await dispute("b");
  ada.ask("queue.cancel", { ids: [ada.conflicts("open")[0]?.operation ?? ""] });
  expect(ada.conflicts("resolved")[0]).toMatchObject({ decidedBy: "withdrawal", choice: "remote" });
  await dispute("c");
  ada.ask("conflicts.resolve", { filter: {}, choose: "remote" });
  expect(ada.conflicts("resolved")[0]).toMatchObject({ decidedBy: "person", choice: "remote" });
});

/** Two records disputed within one transaction that creates a third. */
async function disputedTransaction() {
  const bench = await apart();
  const { ada, server, run } = bench;
  server.write("notes", "n2", base);
  ada.online();
  await run();
  ada.offline();
  ada.ask("records.transaction", {
    writes: [
      ...["n1", "n2"].map(
        (key) => ({ kind: "update", collection: "notes", key, fields: { title: "mine", n: 7 } }) as const,
      ),
      { kind: "create", collection: "notes", key: "n3", value: { n: 3 } },
    ],
  });
  for (const key of ["n1", "n2"]) server.write("notes", key, { ...base, title: "theirs" });
  ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
  ada.online();
  await run(3_000);
  ada.ask("queue.resume", { scope: { kind: "type", name: "record.write" } });
  await run(3_000);
  expect(ada.conflicts("open")).toHaveLength(2);
  return bench;
}

test("a transaction that is given up for the other side is decided whole, and an undo brings all of it back as one", async () => {
  for (const isOneByOne of [false, true]) {
    const { ada, server, run, pushes } = await disputedTransaction();
    const ids = ada.conflicts("open").map(({ id }) => id);
    const which = isOneByOne ? { ids } : { filter: {} };
    expect(ada.ask("conflicts.resolve", { ...which, choose: "remote" })).toEqual({ done: ids, refused: [] });
    await run(3_000);
    const theirs = { ...base, title: "theirs" };
    expect(["n1", "n2", "n3"].map((key) => ada.value(key))).toEqual([theirs, theirs, null]);
    expect(ada.conflicts("resolved").map(({ outcome }) => outcome)).toEqual([theirs, theirs]);
    const before = pushes();
    const undone = ada.ask("conflicts.undo", { ids: isOneByOne ? [ids[0] ?? ""] : ids });
    expect(undone.refused).toEqual([]);
    await run(3_000);
    expect(ada.conflicts("undone")).toHaveLength(2);
    expect(pushes()).toBe(before + 1);
    const ours = { ...base, title: "mine", n: 7 };
    expect(server.all("notes")).toEqual({ n1: ours, n2: ours, n3: { n: 3 } });
    expect(ada.ask("engine.check", {}).findings).toEqual([]);
  }
});

test("a transaction of which a record has changed since it was given up is not brought back in part", async () => {
  const { ada, run } = await disputedTransaction();
  const { done } = ada.ask("conflicts.resolve", { filter: {}, choose: "remote" });
  ada.put("n3", { n: 4 });
  await run(3_000);
  const { refused } = ada.ask("conflicts.undo", { ids: done.slice(0, 1) });
  expect(refused).toMatchObject([{ code: "refused_by_state" }]);
  expect(refused[0]?.message).toContain('"n3" has changed since');
  expect(ada.value("n1")).toEqual({ ...base, title: "theirs" });
});

test("a decision beneath a later change of ours is taken back, and that change stays", async () => {
  for (const choose of ["local", "remote"] as const) {
    const { ada, server, run } = await apart();
    ada.update("n1", { title: "ours" });
    server.write("notes", "n1", { ...base, title: "theirs" });
    ada.online();
    await run(3_000);
    ada.update("n1", { n: 5 });
    const { done } = ada.ask("conflicts.resolve", { filter: {}, choose });
    await run(3_000);
    const title = choose === "local" ? "ours" : "theirs";
    expect(server.all("notes").n1).toEqual({ ...base, title, n: 5 });
    // What was kept as it stood here is not said to be taken back.
    const { refused } = ada.ask("conflicts.undo", { ids: done });
    expect(refused.map(({ message }) => message)).toEqual(
      choose === "local"
        ? [`conflict ${done[0]}: it kept what was written here, so there is nothing to take back`]
        : [],
    );
    expect(ada.conflicts(choose === "local" ? "resolved" : "undone").map(({ id }) => id)).toEqual(done);
    await run(3_000);
    expect(server.all("notes").n1).toEqual({ ...base, title: "ours", n: 5 });
  }
});

test("what a cancelled operation had changed comes back when its dispute is taken back", async () => {
  const { ada, server, run } = await apart();
  ada.update("n1", { title: "ours" });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  ada.ask("queue.cancel", { ids: [ada.conflicts("open")[0]?.operation ?? ""] });
  const [conflict] = ada.conflicts("resolved");
  expect(conflict).toMatchObject({ decidedBy: "withdrawal", outcome: { ...base, title: "theirs" } });
  expect(ada.ask("conflicts.undo", { ids: [conflict?.id ?? ""] }).refused).toEqual([]);
  expect(ada.value("n1")).toEqual({ ...base, title: "ours" });
});

test("a decision is taken back whatever is kept of the record on this device alone, and leaves that as it is", async () => {
  const { ada, server, run } = await apart({ localOnly: ["mine"] });
  ada.update("n1", { mine: "a note" });
  ada.update("n1", { title: "ours" });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  const { done } = ada.ask("conflicts.resolve", { filter: {}, choose: "remote" });
  ada.update("n1", { mine: "another note" });
  await run(3_000);
  expect(ada.value("n1")).toEqual({ ...base, title: "theirs", mine: "another note" });
  expect(ada.ask("conflicts.undo", { ids: done }).refused).toEqual([]);
  expect(ada.value("n1")).toEqual({ ...base, title: "ours", mine: "another note" });
});

test("a value made by hand that mentions what is not created yet waits for that, and gets the server's key", async () => {
  const bench = startRecords();
  const { server, client, run } = bench;
  server.naming.add("boxes");
  server.write("notes", "n1", base);
  const ada = client({ collections: [{ name: "notes" }, { name: "boxes", keys: "server" }] });
  await run();
  ada.offline();
  ada.update("n1", { title: "ours" });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  ada.offline();
  const { key } = ada.ask("records.write", { kind: "create", collection: "boxes", value: { size: 1 } }).record;
  ada.ask("conflicts.resolve", { filter: {}, choose: "value", value: { title: "both", box: key } });
  ada.online();
  await run(60_000);
  const [real] = Object.keys(server.all("boxes"));
  expect(real).not.toBe(key);
  expect(server.all("notes").n1).toEqual({ title: "both", box: real });
  expect(ada.value("n1")).toEqual({ title: "both", box: real });
});

test("the server's side can be chosen though the program's schema refuses it; what is made here must pass, and fit", async () => {
  const check = (value: unknown): Fields => {
    if ((value as Fields).title === "theirs") throw new HoldfastError("invalid_input", "title: not theirs", "");
    return value as Fields;
  };
  const { ada, server, run } = await apart({ check });
  ada.update("n1", { title: "ours" });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  const choose = (value: Fields) => ada.ask("conflicts.resolve", { filter: {}, choose: "value", value }).refused;
  expect(choose({ title: "theirs", n: 2 })).toMatchObject([{ code: "invalid_input" }]);
  expect(choose({ title: "x".repeat(recordLimits.valueBytes) })).toMatchObject([{ code: "payload_too_large" }]);
  expect(ada.ask("conflicts.resolve", { filter: {}, choose: "remote" }).refused).toEqual([]);
  await run(3_000);
  expect(ada.value("n1")).toEqual({ ...base, title: "theirs" });
  expect(ada.state("n1")).toBe("synced");
});

test("a choice made beforehand is about the change that was unsent then: rules decide about the next one", async () => {
  for (const isCancelled of [false, true]) {
    const { ada, server, run } = await apart({ strategy: { version_mismatch: "remote_wins" } });
    const { operation } = ada.update("n1", { title: "ours" });
    ada.ask("conflicts.prefer", { collection: "notes", key: "n1", choose: "local", version: 9 });
    if (isCancelled) ada.ask("queue.cancel", { ids: [operation ?? ""] });
    ada.online();
    await run(3_000);
    expect(ada.state("n1")).toBe("synced");
    ada.offline();
    ada.update("n1", { title: "ours again" });
    server.write("notes", "n1", { ...base, title: "theirs" });
    ada.online();
    await run(3_000);
    expect(ada.conflicts("open")).toEqual([]);
    expect(ada.value("n1")).toEqual({ ...base, title: "theirs" });
    expect(ada.rows("SELECT * FROM choice")).toEqual([]);
  }
});
