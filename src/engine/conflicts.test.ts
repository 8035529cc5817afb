// Owns the rules of conflicts through the engine: when they arise, what decides them, the inbox, undo, choices made beforehand.
// The merge of fields itself is merge.test.ts.
import { expect, test } from "vitest";
import { apart, base, startRecords } from "../../test/support/record-bench.ts";
import type { Sides } from "../conflict.ts";
import type { Json } from "../operation.ts";
import type { Collection } from "../world.ts";

/** Both have changed the same field of the record and have met; the first of the client's conflicts is handed out, too. */
async function met(collection: Partial<Collection> = {}, theirs: Readonly<Record<string, Json>> = {}) {
  const { ada, server, ...bench } = await apart(collection);
  ada.update("n1", { title: "mine" });
  server.write("notes", "n1", { ...base, title: "theirs", ...theirs });
  ada.online();
  await bench.run(3_000);
  return { ada, server, ...bench, first: ada.conflicts()[0] };
}

test("different fields merge without anybody being asked, whichever side comes first", async () => {
  const { ada, server, run } = await apart();
  ada.update("n1", { title: "mine" });
  server.write("notes", "n1", { ...base, n: 2 });
  ada.online();
  await run(3_000);
  expect(server.all("notes")).toEqual({ n1: { ...base, title: "mine", n: 2 } });
  expect(ada.get("n1")).toMatchObject({ value: { ...base, title: "mine", n: 2 }, state: "synced" });
  expect(ada.conflicts()).toEqual([]);
});

test("the same field changed on both sides waits in the inbox with all sides, visible to its author, and stops nothing else", async () => {
  const { ada, server, run } = await apart();
  ada.update("n1", { title: "mine" });
  server.write("notes", "n1", { ...base, title: "theirs" }, "bob");
  ada.online();
  await run(3_000);
  const [conflict] = ada.conflicts();
  expect(conflict).toMatchObject({
    status: "open",
    kind: "version_mismatch",
    collection: "notes",
    key: "n1",
    fields: ["title"],
    base,
    local: { ...base, title: "mine" },
    remote: { ...base, title: "theirs" },
    remoteVersion: 2,
    remoteAuthor: "bob",
    isStale: false,
  });
  expect(ada.get("n1")).toMatchObject({ value: { title: "mine" }, state: "conflict", conflict: conflict?.id });
  expect(ada.ask("queue.get", { id: conflict?.operation ?? "" })).toMatchObject({
    status: "failed",
    reason: "conflict",
  });
  ada.put("n2", { n: 1 });
  await run();
  expect(server.all("notes")).toMatchObject({ n2: { n: 1 } });
  expect(ada.ask("conflicts.groups", {}).groups).toMatchObject([
    { collection: "notes", kind: "version_mismatch", fields: ["title"], author: "bob", count: 1 },
  ]);
});

test.each([
  ["local", undefined, { ...base, title: "mine", n: 5 }],
  ["remote", undefined, { ...base, title: "theirs", n: 5 }],
  ["merge", undefined, { ...base, title: "mine", n: 5 }],
  ["value", { title: "both", n: 9 }, { title: "both", n: 9 }],
  ["value", null, null],
] as const)("a person chooses %s (%j), offline; what only the server changed stays", async (choose, value, outcome) => {
  const { ada, server, run } = await met({}, { n: 5 });
  ada.offline();
  const [open] = ada.conflicts();
  const answer = ada.ask("conflicts.resolve", {
    ids: [open?.id.slice(-8) ?? ""],
    choose,
    ...(value === undefined ? {} : { value: value as never }),
  });
  expect(answer).toEqual({ done: [open?.id], refused: [] });
  expect(ada.value("n1")).toEqual(outcome);
  expect(ada.conflicts("resolved")).toMatchObject([{ choice: choose, decidedBy: "person", outcome }]);
  expect(ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "local" }).refused).toMatchObject([
    { code: "refused_by_state" },
  ]);
  ada.online();
  await run(5_000);
  expect(server.get("notes", "n1")?.value).toEqual(outcome);
  expect(ada.get("n1")).toMatchObject({ value: outcome, state: "synced", operations: [] });
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
});

test("declared rules and strategies decide at once, are recorded with the side that lost, and nobody is asked", async () => {
  const { ada, server, run } = await apart({ merge: { tags: { rule: "set" }, n: { rule: "counter" } } });
  ada.update("n1", { tags: ["a", "b"], n: 2 });
  server.write("notes", "n1", { ...base, tags: ["a", "c"], n: 2 });
  ada.online();
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ title: "base", n: 3, tags: ["a", "c", "b"] });
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.conflicts("resolved")).toMatchObject([
    { decidedBy: "automatic", choice: "merge", local: { tags: ["a", "b"] }, remote: { tags: ["a", "c"] } },
  ]);
  expect(ada.ask("sync.runs", {}).runs[0]).toMatchObject({ merged: 1, conflicts: 0 });
});

test.each([
  ["local_wins", { ...base, title: "mine", n: 5 }],
  ["remote_wins", { ...base, title: "theirs", n: 5 }],
] as const)("the strategy %s decides whole", async (strategy, outcome) => {
  const { ada, server } = await met({ strategy: { version_mismatch: strategy } }, { n: 5 });
  expect(server.get("notes", "n1")?.value).toEqual(outcome);
  expect(ada.get("n1")).toMatchObject({ value: outcome, state: "synced" });
  expect(ada.conflicts("resolved")).toMatchObject([{ outcome, local: { ...base, title: "mine" } }]);
});

test("a function of the program goes before its strategy; one that fails asks a person", async () => {
  const seen: Sides[] = [];
  const decide = {
    version_mismatch: (sides: Sides) => {
      seen.push(sides);
      if (sides.local?.title === "throw") throw new Error("no idea");
      return { value: { ...sides.remote, title: `${sides.local?.title}+${sides.remote?.title}` } };
    },
  };
  const { ada, server, run } = await met({ decide, decideVersion: 3, strategy: { version_mismatch: "remote_wins" } });
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, title: "mine+theirs" });
  expect(seen[0]).toMatchObject({ base, local: { title: "mine" }, remote: { title: "theirs" } });
  ada.offline();
  ada.update("n1", { title: "throw" });
  server.write("notes", "n1", { ...base, title: "again" });
  ada.online();
  await run(3_000);
  expect(ada.conflicts("open")).toHaveLength(1);
});

test("a conflict that the push meets first is decided the same way", async () => {
  const { client, server, run } = startRecords();
  server.isPoking = false;
  const ada = client();
  server.write("notes", "n1", base);
  await run();
  server.write("notes", "n1", { ...base, n: 2 });
  ada.update("n1", { title: "mine" });
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, n: 2, title: "mine" });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.update("n1", { title: "again" });
  await run(50);
  expect(ada.conflicts("open")).toMatchObject([
    { kind: "version_mismatch", fields: ["title"], remote: { ...base, title: "theirs" } },
  ]);
  expect(ada.ask("sync.runs", {}).runs[0]).toMatchObject({ conflicts: 1 });
});

test("edited here and removed there, removed here and edited there: a person decides, and both ways work", async () => {
  for (const choose of ["local", "remote"] as const) {
    const { ada, server, run } = await apart();
    server.write("notes", "n2", base);
    ada.online();
    await run();
    ada.offline();
    ada.update("n1", { title: "mine" });
    ada.remove("n2");
    server.write("notes", "n1", null);
    server.write("notes", "n2", { ...base, n: 2 });
    ada.online();
    await run(3_000);
    expect(
      ada
        .conflicts("open")
        .map(({ kind, key }) => [kind, key])
        .sort(),
    ).toEqual([
      ["deleted_here", "n2"],
      ["deleted_upstream", "n1"],
    ]);
    expect(ada.value("n1")).toEqual({ ...base, title: "mine" });
    expect(ada.ask("conflicts.resolve", { filter: { collection: "notes" }, choose }).done).toHaveLength(2);
    await run(3_000);
    expect(server.all("notes")).toEqual(
      choose === "local" ? { n1: { ...base, title: "mine" } } : { n2: { ...base, n: 2 } },
    );
    expect(ada.ask("queue.status", {}).unsent).toBe(0);
  }
});

test("removed on both sides is no conflict, and a creation of an equal record neither", async () => {
  const { ada, server, run } = await apart();
  ada.remove("n1");
  ada.put("n2", { n: 1 });
  server.write("notes", "n1", null);
  server.write("notes", "n2", { n: 1 });
  ada.online();
  await run(3_000);
  expect(ada.conflicts()).toEqual([]);
  expect(server.all("notes")).toEqual({ n2: { n: 1 } });
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
  expect(ada.state("n2")).toBe("synced");
});

test("created on both sides with different values: what neither rule nor person decided is kept", async () => {
  const { ada, server, run } = await apart();
  ada.put("n2", { a: 1, same: 1 });
  server.write("notes", "n2", { a: 2, same: 1, b: 3 });
  ada.online();
  await run(3_000);
  expect(ada.conflicts("open")).toMatchObject([{ kind: "version_mismatch", base: null, fields: ["a"] }]);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(3_000);
  expect(server.get("notes", "n2")?.value).toEqual({ a: 1, same: 1, b: 3 });
});

test("a unique value that another record has: the inbox shows that record, a new value goes out", async () => {
  const { ada, server, run } = await apart();
  server.unique.set("notes", "title");
  ada.put("n2", { title: "base" });
  ada.online();
  await run(3_000);
  expect(ada.conflicts("open")).toMatchObject([
    { kind: "unique_violation", key: "n2", fields: ["title"], remote: base, local: { title: "base" } },
  ]);
  expect(ada.state("n2")).toBe("conflict");
  const [open] = ada.conflicts("open");
  ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "value", value: { title: "other" } });
  await run(3_000);
  expect(server.get("notes", "n2")?.value).toEqual({ title: "other" });
  expect(ada.get("n2")).toMatchObject({ state: "synced", problem: null, conflict: null });
});

test("a refusal by a rule of the server shows its words and is in the inbox; a corrected value lands", async () => {
  const { ada, server, run } = await apart();
  const refusal = { code: "fee_too_high", message: "the fee is too high", field: "fee", hint: "at most 10" };
  server.rule = (_change, value) => (Number(value?.fee ?? 0) > 10 ? refusal : null);
  ada.update("n1", { fee: 12 });
  ada.online();
  await run(3_000);
  expect(ada.get("n1")).toMatchObject({ value: { fee: 12 }, state: "failed", problem: refusal });
  const [open] = ada.conflicts("open");
  expect(open).toMatchObject({ kind: "business_rule", fields: ["fee"], message: "the fee is too high" });
  server.write("notes", "n1", { ...base, n: 7 });
  await run();
  expect(ada.value("n1")).toEqual({ ...base, n: 7, fee: 12 });
  ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "value", value: { ...base, n: 7, fee: 9 } });
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, n: 7, fee: 9 });
  expect(ada.state("n1")).toBe("synced");
});

test("retrying what was refused sends it again under a new key, and its conflict ends when it lands", async () => {
  const { ada, server, run } = await apart();
  server.rule = () => ({ code: "closed", message: "closed today" });
  ada.update("n1", { n: 2 });
  ada.online();
  await run(3_000);
  server.rule = null;
  ada.ask("queue.retry", {});
  expect(ada.state("n1")).toBe("pending");
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, n: 2 });
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.state("n1")).toBe("synced");
});

test("the inbox follows the server while it is open; what has become equal is done", async () => {
  const { ada, server, run } = await met();
  server.write("notes", "n1", { ...base, title: "theirs again", n: 8 });
  await run();
  expect(ada.conflicts("open")).toMatchObject([{ remote: { ...base, title: "theirs again", n: 8 }, remoteVersion: 3 }]);
  expect(ada.value("n1")).toEqual({ ...base, title: "mine", n: 8 });
  server.write("notes", "n1", { ...base, title: "mine" });
  await run();
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.get("n1")).toMatchObject({ value: { ...base, title: "mine" }, state: "synced" });
});

test("what the inbox asks about stays what no rule decides, also after the server has moved on", async () => {
  const { ada, server, run } = await apart({ merge: { tags: { rule: "set" } } });
  ada.update("n1", { title: "mine", tags: ["a", "mine"] });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  server.write("notes", "n1", { ...base, title: "theirs again", tags: ["a", "theirs"] });
  await run();
  expect(ada.conflicts("open")).toMatchObject([{ fields: ["title"], remoteVersion: 3 }]);
});

test("undo restores exactly what stood before, as a new write, and refuses what has changed since", async () => {
  const { ada, server, run, first: open } = await met();
  ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "remote" });
  await run(3_000);
  expect(ada.value("n1")).toEqual({ ...base, title: "theirs" });
  expect(ada.ask("conflicts.undo", { ids: [open?.id ?? ""] })).toMatchObject({ done: [open?.id], refused: [] });
  expect(ada.value("n1")).toEqual({ ...base, title: "mine" });
  expect(ada.conflicts("undone")).toHaveLength(1);
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, title: "mine" });
  expect(ada.ask("conflicts.undo", { ids: [open?.id ?? ""] }).refused).toMatchObject([{ code: "refused_by_state" }]);
});

test("a decision by rule can be undone, too, unless what it decided has changed since; other fields stay as they are now", async () => {
  const { ada } = await met({ strategy: { version_mismatch: "remote_wins" } });
  const [decided] = ada.conflicts("resolved");
  ada.update("n1", { title: "newer" });
  expect(ada.ask("conflicts.undo", { ids: [decided?.id ?? ""] }).refused).toMatchObject([
    { code: "refused_by_state", message: expect.stringContaining("changed since") },
  ]);
  ada.update("n1", { title: "theirs", n: 99 });
  expect(ada.ask("conflicts.undo", { ids: [decided?.id ?? ""] }).done).toHaveLength(1);
  expect(ada.value("n1")).toEqual({ ...base, title: "mine", n: 99 });
});

test("a choice made beforehand holds only for the version that the person saw; anything else is asked", async () => {
  for (const [seen, status] of [
    [2, "resolved"],
    [1, "open"],
  ] as const) {
    const { ada, server, run } = await apart();
    ada.update("n1", { title: "mine" });
    ada.ask("conflicts.prefer", { collection: "notes", key: "n1", choose: "local", version: seen });
    server.write("notes", "n1", { ...base, title: "theirs" });
    ada.online();
    await run(3_000);
    expect(ada.conflicts()).toMatchObject([{ status, decidedBy: status === "open" ? null : "prechosen" }]);
    expect(server.get("notes", "n1")?.value?.title).toBe(status === "open" ? "theirs" : "mine");
  }
});

test("a choice made beforehand, and a decision made offline, go stale: they are asked again when the server has moved", async () => {
  const { ada, server, run } = await apart({
    strategy: { version_mismatch: "merge" },
    merge: { title: { rule: "prefer-local" } },
  });
  ada.ask("settings.set", { conflictStaleMs: 60_000 });
  ada.update("n1", { n: 2 });
  server.write("notes", "n1", { ...base, n: 3 });
  ada.online();
  await run(3_000);
  ada.offline();
  const [open] = ada.conflicts();
  ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "value", value: { ...base, title: "mine", n: 2 } });
  ada.put("n2", { n: 1 });
  ada.ask("conflicts.prefer", { collection: "notes", key: "n2", choose: "local", version: 4 });
  await run(70_000);
  expect(ada.conflicts("resolved")).toMatchObject([{ isStale: true }]);
  server.write("notes", "n2", { n: 2 });
  server.write("notes", "n1", { ...base, title: "theirs", n: 3 });
  ada.online();
  await run(600_000);
  expect(
    ada
      .conflicts("open")
      .map(({ key }) => key)
      .sort(),
  ).toEqual(["n1", "n2"]);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, title: "theirs", n: 3 });
});

test("one record of a transaction in conflict holds all of it; giving it up gives up all, deciding it sends all", async () => {
  for (const choose of ["local", "remote"] as const) {
    const { ada, server, run } = await apart({ strategy: { version_mismatch: "remote_wins" } });
    ada.ask("records.transaction", {
      writes: [
        { kind: "update", collection: "notes", key: "n1", fields: { title: "mine" } },
        { kind: "create", collection: "notes", key: "n2", value: { n: 1 } },
      ],
    });
    server.write("notes", "n1", { ...base, title: "theirs" });
    ada.online();
    await run(3_000);
    expect([ada.state("n1"), ada.state("n2")]).toEqual(["conflict", "conflict"]);
    ada.ask("conflicts.resolve", { filter: { key: "n1" }, choose });
    await run(3_000);
    expect(server.all("notes")).toEqual(
      choose === "local" ? { n1: { ...base, title: "mine" }, n2: { n: 1 } } : { n1: { ...base, title: "theirs" } },
    );
    expect([ada.state("n1"), ada.state("n2")]).toEqual(["synced", "synced"]);
    expect(ada.conflicts("open")).toEqual([]);
  }
});

test("the queue's own verbs keep record and conflict consistent: resolve decides, cancel drops the change", async () => {
  const { ada, server, run, first: open } = await met();
  const ids = [open?.operation ?? ""];
  expect(ada.ask("queue.resolve", { ids, choose: "merge", payload: {} }).refused).toMatchObject([
    { code: "refused_by_state" },
  ]);
  expect(ada.ask("queue.resolve", { ids, choose: "local" }).done).toHaveLength(1);
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, title: "mine" });
  ada.offline();
  ada.update("n1", { title: "more" });
  server.write("notes", "n1", { ...base, title: "again" });
  ada.online();
  await run(3_000);
  const [second] = ada.conflicts("open");
  ada.ask("queue.cancel", { ids: [second?.operation ?? ""] });
  expect(ada.get("n1")).toMatchObject({ value: { ...base, title: "again" }, state: "synced", conflict: null });
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.rows("SELECT before FROM record_history ORDER BY seq DESC LIMIT 1")).toEqual([
    { before: JSON.stringify({ ...base, title: "more" }) },
  ]);
});

test("a conflict holds only its own record: what was written after it on the same record waits with it", async () => {
  const { ada, server, run } = await met();
  ada.update("n1", { n: 50 });
  await run(3_000);
  expect(ada.value("n1")).toEqual({ ...base, title: "mine", n: 50 });
  const [open] = ada.conflicts("open");
  ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "remote" });
  expect(ada.value("n1")).toEqual({ ...base, title: "theirs", n: 50 });
  await run(3_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, title: "theirs", n: 50 });
  expect(ada.state("n1")).toBe("synced");
});

test("what was counted on while a person was to decide is counted on from the decision", async () => {
  const { ada, server, run } = await apart({
    merge: { n: { rule: "counter" } },
    strategy: { version_mismatch: "manual" },
  });
  ada.update("n1", { n: 2 });
  server.write("notes", "n1", { ...base, n: 5 });
  ada.online();
  await run(3_000);
  const [conflict] = ada.conflicts();
  ada.update("n1", { n: 3 });
  ada.update("n1", { n: 4 });
  ada.ask("conflicts.resolve", { ids: [conflict?.id ?? ""], choose: "merge" });
  expect(ada.value("n1")).toMatchObject({ n: 8 });
  await run(60_000);
  for (const open of ada.conflicts()) ada.ask("conflicts.resolve", { ids: [open.id], choose: "merge" });
  await run(60_000);
  // From 1 the server counted four up, and this client three.
  expect(server.all("notes").n1).toMatchObject({ n: 8 });
});

test("what waits in the inbox is compared afresh when an earlier change of the same record is given up", async () => {
  const { ada, server, run } = await apart();
  const problem = { code: "timeout", message: "no answer came in time" };
  server.faults.push({ what: "push", answer: { kind: "unknown", problem, mayHaveLanded: true }, isApplied: false });
  const earlier = ada.update("n1", { n: 5 }).operation ?? "";
  ada.online();
  await run(20);
  ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
  ada.update("n1", { title: "mine", n: 6 });
  server.write("notes", "n1", { ...base, title: "theirs", n: 9 });
  ada.ask("collections.sync", {});
  await run(2_000);
  expect(ada.ask("queue.get", { id: earlier }).status).toBe("pending");
  expect(ada.conflicts("open")).toMatchObject([{ fields: ["title"], remote: { title: "theirs", n: 5 } }]);
  ada.ask("queue.cancel", { ids: [earlier], dependents: "detach" });
  expect(ada.conflicts("open")).toMatchObject([{ fields: ["title", "n"], remote: { title: "theirs", n: 9 } }]);
});
