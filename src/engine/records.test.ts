// Owns the rules of local writes, coalescing, pushing and acknowledgement; pulling is pull.test.ts, conflicts are conflicts.test.ts.
import { expect, test } from "vitest";
import { silence } from "../../test/support/model-server.ts";
import { startRecords } from "../../test/support/record-bench.ts";
import type { Json } from "../operation.ts";
import type { OperationType } from "../world.ts";

const codeOf = (work: () => unknown): string | null => {
  try {
    work();
  } catch (error) {
    return (error as { readonly code?: string }).code ?? String(error);
  }
  return null;
};
const changesOf = (payload: Json) => (payload as { readonly changes: readonly Record<string, Json>[] }).changes;

test("a write is visible at once, pushed, acknowledged, pulled back, and reaches another client", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  const bob = client();
  await run();
  const written = ada.put("n1", { title: "Kelp", n: 1 });
  expect(written.record).toMatchObject({ value: { title: "Kelp", n: 1 }, state: "pending", version: 0 });
  await run();
  expect(server.all("notes")).toEqual({ n1: { title: "Kelp", n: 1 } });
  expect(ada.get("n1")).toMatchObject({ value: { title: "Kelp", n: 1 }, state: "synced", version: 1, operations: [] });
  expect(bob.get("n1")).toMatchObject({ value: { title: "Kelp", n: 1 }, state: "synced", version: 1 });
  expect(ada.rows("SELECT * FROM pending")).toEqual([]);
});

test("a record and its operation are one transaction: after a crash at the commit there are both or none", () => {
  const { client } = startRecords();
  const ada = client();
  ada.offline();
  ada.put("n1", { title: "kept" });
  ada.crash();
  expect(ada.value("n1")).toEqual({ title: "kept" });
  expect(ada.ask("queue.list", {}).operations).toHaveLength(1);
  expect(codeOf(() => ada.put("n2", { text: "x".repeat(1_048_600) }))).toBe("payload_too_large");
  expect(ada.get("n2")).toBeNull();
  expect(ada.ask("queue.list", {}).operations).toHaveLength(1);
});

test("unsent writes of one record are one operation: create and update make a create, updates make an update", async () => {
  const { server, client, run, pushes } = startRecords();
  const ada = client();
  await run();
  server.write("notes", "old", { title: "old", n: 1 });
  await run();
  ada.offline();
  ada.put("new", { title: "a" });
  ada.update("new", { n: 2 });
  ada.update("old", { title: "b" });
  ada.update("old", { title: "c", n: 3 });
  const { operations } = ada.ask("queue.list", { status: ["pending"] });
  expect(operations.map(({ payload }) => changesOf(payload)[0])).toEqual([
    { collection: "notes", key: "new", kind: "create", base: 0, fields: { title: "a", n: 2 }, schema: 1 },
    { collection: "notes", key: "old", kind: "update", base: 1, fields: { title: "c", n: 3 }, schema: 1 },
  ]);
  ada.online();
  await run();
  expect(server.all("notes")).toEqual({ new: { title: "a", n: 2 }, old: { title: "c", n: 3 } });
  expect(pushes()).toBe(1);
});

test("a record that is created and removed before anything was sent is never sent, and an update that is taken back neither", async () => {
  const { server, client, run, pushes } = startRecords();
  const ada = client();
  server.write("notes", "old", { title: "old" });
  await run();
  ada.offline();
  ada.put("n1", { title: "a" });
  expect(ada.remove("n1").operation).toBeNull();
  ada.update("old", { title: "b" });
  expect(ada.update("old", { title: "old" }).operation).toBeNull();
  expect(ada.get("n1")).toMatchObject({ value: null, operations: [] });
  expect(ada.state("old")).toBe("synced");
  expect(ada.ask("queue.list", {}).operations).toEqual([]);
  expect(ada.rows("SELECT * FROM pending")).toEqual([]);
  ada.online();
  await run();
  expect(pushes()).toBe(0);
});

test("an update and a removal make a removal; writing it again makes an update of what the server has", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.write("notes", "n1", { title: "old", n: 1 });
  await run();
  ada.offline();
  ada.update("n1", { title: "b" });
  ada.remove("n1");
  const kinds = () =>
    ada.ask("queue.list", { status: ["pending"] }).operations.map(({ payload }) => changesOf(payload)[0]?.kind);
  expect(kinds()).toEqual(["remove"]);
  expect(ada.get("n1")).toMatchObject({ value: null, state: "pending" });
  ada.put("n1", { title: "new", n: 1 });
  expect(kinds()).toEqual(["update"]);
  ada.online();
  await run();
  expect(server.all("notes")).toEqual({ n1: { title: "new", n: 1 } });
});

test("an edit while a push is in flight waits for its answer and stands on the version that it names", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  server.delayMs = 200;
  ada.put("n1", { title: "a", n: 1 });
  await run(50);
  ada.update("n1", { n: 2 });
  ada.update("n1", { n: 3 });
  const { operations } = ada.ask("queue.list", { status: ["pending", "in_progress"] });
  expect(operations.map(({ status, reason }) => [status, reason])).toEqual([
    ["in_progress", null],
    ["pending", "dependency"],
  ]);
  await run(450);
  const waiting = ada.ask("queue.list", { status: ["in_progress", "pending"] }).operations;
  expect(changesOf(waiting[0]?.payload ?? null)[0]).toMatchObject({ kind: "update", base: 1, fields: { n: 3 } });
  await run(5_000);
  expect(server.get("notes", "n1")).toMatchObject({ value: { title: "a", n: 3 }, version: 2 });
  expect(ada.state("n1")).toBe("synced");
});

test("a transaction is one operation, applied all or none, and depends on what is unsent of its records", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  ada.offline();
  ada.put("a", { n: 1 });
  const { operation, records } = ada.ask("records.transaction", {
    writes: [
      { kind: "update", collection: "notes", key: "a", fields: { n: 2 } },
      { kind: "create", collection: "notes", key: "b", value: { n: 1 } },
      { kind: "update", collection: "notes", key: "b", fields: { m: 1 } },
    ],
  });
  expect(records.map(({ value }) => value)).toEqual([{ n: 2 }, { n: 1, m: 1 }]);
  const { operations } = ada.ask("queue.list", {});
  expect(operations).toHaveLength(2);
  expect(ada.ask("queue.get", { id: operation ?? "" }).dependsOn).toEqual([operations[0]?.id]);
  // What is not sent of a transaction takes no more of one of its records.
  const later = ada.update("b", { m: 2 });
  expect(later.operation).not.toBe(operation);
  ada.online();
  await run(2_000);
  expect(server.all("notes")).toEqual({ a: { n: 2 }, b: { n: 1, m: 2 } });
  expect(
    codeOf(() =>
      ada.ask("records.transaction", {
        writes: [
          { kind: "put", collection: "notes", key: "c", value: {} },
          { kind: "update", collection: "notes", key: "missing", fields: {} },
        ],
      }),
    ),
  ).toBe("not_found");
  expect(ada.get("c")).toBeNull();
});

test("a transaction that the server refuses is refused whole, in the server's words", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  server.rule = (change) =>
    change.key === "b" ? { code: "no_b", message: "b is taken", field: "n", hint: "take c" } : null;
  ada.ask("records.transaction", {
    writes: [
      { kind: "create", collection: "notes", key: "a", value: { n: 1 } },
      { kind: "create", collection: "notes", key: "b", value: { n: 1 } },
    ],
  });
  await run();
  expect(server.all("notes")).toEqual({});
  const problem = { code: "no_b", message: "b is taken", field: "n", hint: "take c" };
  expect(ada.get("a")).toMatchObject({ value: { n: 1 }, state: "failed", problem });
  expect(ada.get("b")).toMatchObject({ value: { n: 1 }, state: "failed", problem });
  expect(ada.conflicts()).toMatchObject([{ kind: "business_rule", key: "b", fields: ["n"], message: "b is taken" }]);
});

test("what is checked: a creation of what exists, an update of what does not, the program's own check", async () => {
  const { client } = startRecords();
  const check = (value: Json) => {
    if (typeof (value as { readonly title?: Json }).title !== "string") throw new TypeError("title must be a text");
    return value as { readonly title: string };
  };
  const ada = client({ collections: [{ name: "notes", check }] });
  ada.put("n1", { title: "a" });
  const create = { kind: "create", collection: "notes", key: "n1", value: { title: "b" } } as const;
  expect(codeOf(() => ada.ask("records.write", create))).toBe("refused_by_state");
  expect(codeOf(() => ada.update("n2", { title: "b" }))).toBe("not_found");
  expect(codeOf(() => ada.remove("n2"))).toBe("not_found");
  expect(codeOf(() => ada.put("n1", { title: 1 }))).toContain("title must be a text");
  expect(codeOf(() => ada.put("n1", { title: "b" }, "nothing"))).toBe("not_found");
  expect(ada.value("n1")).toEqual({ title: "a" });
  const made = ada.ask("records.write", { kind: "create", collection: "notes", value: { title: "c" } });
  expect(made.record.key).toMatch(/^[0-9a-f-]{36}$/);
  const patch = { kind: "patch", collection: "notes", key: "n1", patch: { title: "d", more: 1 } } as const;
  expect(ada.ask("records.write", patch).record.value).toEqual({ title: "d", more: 1 });
});

test("a collection that is not synced makes no operation and needs no server", async () => {
  const { client, run, pushes } = startRecords();
  const ada = client({ collections: [{ name: "notes", isSynced: false }] });
  expect(ada.put("n1", { title: "a" })).toMatchObject({ operation: null, record: { state: "local-only" } });
  ada.update("n1", { title: "b" });
  await run();
  expect(pushes()).toBe(0);
  expect(ada.get("n1")).toMatchObject({ value: { title: "b" }, state: "local-only" });
  ada.remove("n1");
  expect(ada.value("n1")).toBeNull();
});

test("fields that never leave this device are kept here and survive what the server sends", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ collections: [{ name: "notes", localOnly: ["draft"] }] });
  await run();
  ada.put("n1", { title: "a", draft: "mine" });
  await run();
  expect(server.all("notes")).toEqual({ n1: { title: "a" } });
  expect(ada.value("n1")).toEqual({ title: "a", draft: "mine" });
  server.write("notes", "n1", { title: "b" });
  await run();
  expect(ada.value("n1")).toEqual({ title: "b", draft: "mine" });
  expect(ada.update("n1", { draft: "more" })).toMatchObject({ operation: null, record: { state: "synced" } });
  expect(ada.value("n1")).toEqual({ title: "b", draft: "more" });
});

test("a key that the server gives replaces the local one everywhere, and the local one stays its alias", async () => {
  const { server, client, run } = startRecords();
  server.naming.add("notes");
  const ada = client({
    collections: [{ name: "notes", keys: "server" }, { name: "links" }, { name: "here", isSynced: false }],
  });
  await run();
  ada.offline();
  const { record } = ada.ask("records.write", { kind: "create", collection: "notes", value: { title: "a" } });
  ada.put("l1", { to: record.key }, "links");
  ada.put("h1", { to: [record.key] }, "here");
  ada.online();
  server.delayMs = 100;
  await run(120);
  // Held handles go on with the local key, also while the creation is on the wire.
  ada.update(record.key, { title: "b" });
  await run(5_000);
  const now = ada.get(record.key);
  expect(now).toMatchObject({ value: { title: "b" }, state: "synced" });
  expect(now?.key).toMatch(/^srv-/);
  expect(server.all("notes")).toEqual({ [now?.key ?? ""]: { title: "b" } });
  expect(server.all("links")).toEqual({ l1: { to: now?.key } });
  expect(ada.value("l1", "links")).toEqual({ to: now?.key });
  expect(ada.value("h1", "here")).toEqual({ to: [now?.key] });
  expect(ada.ask("ids.get", { localId: record.key }).serverId).toBe(now?.key);
  expect(ada.rows("SELECT * FROM mention")).toEqual([]);
});

test("a server's record that is pulled before the answer that names it is the same record", async () => {
  const { server, client, run } = startRecords();
  server.naming.add("notes");
  const ada = client({ collections: [{ name: "notes", keys: "server" }] });
  await run();
  server.faults.push({ what: "push", answer: silence, isApplied: true });
  const { record } = ada.ask("records.write", { kind: "create", collection: "notes", value: { title: "a" } });
  await run(30_000);
  expect(Object.keys(server.all("notes"))).toHaveLength(1);
  expect(ada.rows("SELECT key, pendings FROM record")).toEqual([{ key: ada.get(record.key)?.key, pendings: 0 }]);
  expect(ada.get(record.key)).toMatchObject({ value: { title: "a" }, state: "synced" });
});

test("an answer that is lost is no second write: the same key brings the first answer again", async () => {
  const { server, client, run, pushes } = startRecords();
  const ada = client();
  await run();
  server.faults.push({ what: "push", answer: silence, isApplied: true });
  ada.put("n1", { n: 1 });
  await run(10_000);
  expect(pushes()).toBe(2);
  expect(server.head()).toBe(1);
  expect(ada.get("n1")).toMatchObject({ state: "synced", value: { n: 1 } });
});

test("an acknowledged change stays visible until its echo comes, and a lost echo is fetched", async () => {
  const { server, client, run } = startRecords();
  server.isPoking = false;
  let isDeaf = false;
  const ada = client({
    wrap: (port) => ({
      ...port,
      pull: (request, signal) =>
        isDeaf ? Promise.resolve({ kind: "failed", answer: silence } as const) : port.pull(request, signal),
    }),
  });
  await run();
  isDeaf = true;
  ada.put("n1", { n: 1 });
  await run(3_000);
  expect(ada.get("n1")).toMatchObject({ value: { n: 1 }, state: "synced", version: 0 });
  expect(ada.rows("SELECT acked FROM pending")).toEqual([{ acked: 1 }]);
  isDeaf = false;
  server.faults.push({ what: "pull", answer: silence, isApplied: false });
  await run(20_000);
  expect(ada.rows("SELECT acked FROM pending")).toEqual([]);
  expect(ada.get("n1")).toMatchObject({ value: { n: 1 }, state: "synced", version: 1 });
});

test("a write between an acknowledgement and its echo stands on the acknowledged version and conflicts with nobody", async () => {
  const { server, client, run } = startRecords();
  server.isPoking = false;
  const silent = { kind: "failed", answer: silence } as const;
  const ada = client({ wrap: (port) => ({ ...port, pull: async () => silent, fetch: async () => silent }) });
  ada.put("n1", { n: 1 });
  ada.put("n2", { n: 1 });
  await run(3_000);
  expect(ada.rows("SELECT acked FROM pending")).toEqual([{ acked: 1 }, { acked: 2 }]);
  ada.update("n1", { n: 2 });
  ada.remove("n2");
  await run(3_000);
  expect(server.all("notes")).toEqual({ n1: { n: 2 } });
  expect(ada.conflicts()).toEqual([]);
});

test("without a sync server a change waits, and the explanation says what to name", async () => {
  const { client, run } = startRecords();
  const ada = client({ isAlone: true });
  const { operation } = ada.put("n1", { n: 1 });
  await run();
  expect(ada.ask("queue.why", { id: operation ?? "" }).sentence).toContain("no sync server is named");
});

test("cancelling an operation takes its change back; what was written after it on the same record goes on", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.write("notes", "n1", { title: "server", n: 0 });
  await run();
  server.rule = (change) => (change.fields.title === "bad" ? { code: "bad", message: "no" } : null);
  ada.update("n1", { title: "bad" });
  await run();
  ada.update("n1", { n: 1 });
  await run();
  expect(ada.value("n1")).toEqual({ title: "bad", n: 1 });
  const [failed] = ada.ask("queue.list", { status: ["failed"] }).operations;
  ada.ask("queue.cancel", { ids: [failed?.id ?? ""] });
  expect(ada.value("n1")).toEqual({ title: "server", n: 1 });
  expect(ada.conflicts("open")).toEqual([]);
  await run(2_000);
  expect(server.all("notes")).toEqual({ n1: { title: "server", n: 1 } });
  expect(ada.state("n1")).toBe("synced");
  const history = ada.rows("SELECT before, after FROM record_history ORDER BY seq");
  expect(history.some(({ before }) => String(before).includes("bad"))).toBe(true);
});

test("cancelling a creation cancels what stands on it; removing or clearing the queue leaves no record behind", async () => {
  const { client, run } = startRecords();
  const ada = client();
  await run();
  ada.offline();
  const first = ada.ask("records.transaction", {
    writes: [
      { kind: "create", collection: "notes", key: "a", value: { n: 1 } },
      { kind: "create", collection: "notes", key: "b", value: { n: 1 } },
    ],
  });
  ada.update("a", { n: 2 });
  ada.ask("queue.cancel", { ids: [first.operation ?? ""] });
  expect([ada.value("a"), ada.value("b")]).toEqual([null, null]);
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
  const { operation } = ada.put("c", { n: 1 });
  ada.ask("queue.remove", { ids: [operation ?? ""], confirm: true });
  expect(ada.value("c")).toBeNull();
  ada.put("d", { n: 1 });
  ada.ask("queue.clear", { scope: "all", confirm: 1 });
  expect(ada.value("d")).toBeNull();
  expect(ada.rows("SELECT * FROM pending")).toEqual([]);
});

test("the payload of a record change cannot be edited; writing the record again is the way", () => {
  const { client } = startRecords();
  const ada = client();
  ada.offline();
  const { operation } = ada.put("n1", { n: 1 });
  const edit = () => ada.ask("queue.edit", { id: operation ?? "", payload: { x: 1 } });
  expect(codeOf(edit)).toBe("refused_by_state");
  expect(() => edit()).toThrow(expect.objectContaining({ hint: expect.stringContaining("write the record") }));
  expect(ada.ask("queue.edit", { id: operation ?? "", priority: 5 }).priority).toBe(5);
});

test("unsent changes that were exported are replayed on another machine and pushed from there", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.write("notes", "old", { title: "old", n: 1 });
  await run();
  ada.offline();
  ada.put("n1", { title: "a" });
  ada.update("old", { n: 2 });
  const { lines } = ada.ask("queue.export", { status: ["pending"] });
  const bob = client();
  await run();
  expect(bob.ask("queue.import", { lines })).toMatchObject({ refused: [], skipped: [] });
  expect(bob.ask("queue.import", { lines })).toMatchObject({ imported: [] });
  expect(bob.value("n1")).toEqual({ title: "a" });
  expect(bob.value("old")).toEqual({ title: "old", n: 2 });
  await run();
  expect(server.all("notes")).toEqual({ n1: { title: "a" }, old: { title: "old", n: 2 } });
  expect(bob.state("old")).toBe("synced");
});

test("a store that went back in time takes a new name at the server and sends again", async () => {
  const { client, run, server } = startRecords();
  let isStale = true;
  const names: string[] = [];
  const ada = client({
    wrap: (port) => ({
      ...port,
      push: (request, signal) => {
        names.push(request.client);
        if (!isStale) return port.push(request, signal);
        isStale = false;
        const answers = request.items.map(({ id }) => ({ id, outcome: "stale" }) as const);
        return Promise.resolve({ kind: "answered", response: { answers, now: 0 }, sentBytes: 1, receivedBytes: 1 });
      },
    }),
  });
  ada.put("n1", { n: 1 });
  await run(5_000);
  expect(new Set(names).size).toBe(2);
  expect(server.all("notes")).toEqual({ n1: { n: 1 } });
});

test("the floor is the lowest operation that has not ended, and every number above it may still come", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.rule = (change) => (change.key === "bad" ? { code: "bad", message: "no" } : null);
  ada.put("n1", { n: 1 });
  await run();
  const { operation } = ada.put("bad", { n: 1 });
  await run();
  ada.put("n2", { n: 1 });
  await run();
  const floors = server.log
    .filter(({ what }) => what === "push")
    .map(
      ({ request }) => request as { readonly floor: number; readonly items: readonly { readonly number: number }[] },
    );
  const bad = ada.ask("queue.get", { id: operation ?? "" }).sequence;
  expect(floors.at(-1)?.floor).toBe(bad);
  for (const { floor, items } of floors) for (const { number } of items) expect(number).toBeGreaterThanOrEqual(floor);
});

test("one event tells what a write has changed", () => {
  const { client } = startRecords();
  const ada = client();
  ada.put("n1", { n: 1 });
  expect(ada.events.filter(({ kind }) => kind === "record").map(({ detail }) => detail)).toEqual([
    { collection: "notes", keys: ["n1"], origin: "local" },
  ]);
});

test("an id that is named by hand is named in the records that mention it, too, and stays so when they are rebased", async () => {
  const { server, client, run } = startRecords();
  server.naming.add("boxes");
  server.write("notes", "n1", { n: 0 });
  const ada = client({ collections: [{ name: "notes" }, { name: "boxes", keys: "server" }] });
  await run();
  ada.offline();
  const made = ada.ask("records.write", { kind: "create", collection: "boxes", value: { size: 1 } });
  const { operation } = ada.update("n1", { box: made.record.key });
  ada.ask("queue.cancel", { ids: [made.operation ?? ""], dependents: "detach" });
  ada.ask("ids.assign", { localId: made.record.key, serverId: "srv-9" });
  expect(ada.value("n1")).toEqual({ n: 0, box: "srv-9" });
  ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
  server.write("notes", "n1", { n: 1 });
  ada.online();
  await run(5_000);
  const [change] = changesOf(ada.ask("queue.get", { id: operation ?? "" }).payload as Json);
  expect(change).toMatchObject({ base: 2, fields: { box: "srv-9" } });
  ada.ask("queue.resume", { scope: { kind: "type", name: "record.write" } });
  await run(5_000);
  expect(server.all("notes").n1).toEqual({ n: 1, box: "srv-9" });
});

test("what another operation creates is named in the records that mention it, as soon as it has landed", async () => {
  const { server, client, run } = startRecords();
  const type: OperationType = {
    type: "box.create",
    run: async () => ({ kind: "applied", serverId: "box-1" }),
  };
  const ada = client({ types: [type] });
  await run();
  ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
  ada.ask("queue.add", { type: "box.create", payload: null, creates: "local-box" });
  ada.put("n1", { box: "local-box" });
  await run(3_000);
  expect(ada.value("n1")).toEqual({ box: "box-1" });
  ada.ask("queue.resume", { scope: { kind: "type", name: "record.write" } });
  await run(3_000);
  expect(server.all("notes").n1).toEqual({ box: "box-1" });
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});
