// Owns the rules of several pending changes of one record: in which order they go out, and what becomes of the others when one leaves.
// What decides two sides is conflicts.test.ts; what a write queues is records.test.ts.
import { expect, test } from "vitest";
import type { ModelServer } from "../../test/support/model-server.ts";
import type { RecordBench, RecordClient } from "../../test/support/record-bench.ts";
import { newLine, rewriting, startRecords } from "../../test/support/record-bench.ts";

const base = { title: "base", n: 1 };

const update = (key: string, fields: { readonly [name: string]: string | number }) =>
  ({ kind: "update", collection: "notes", key, fields }) as const;

/** A client that has three records and works offline. */
async function apart(): Promise<RecordBench & { readonly ada: RecordClient }> {
  const bench = startRecords();
  const ada = bench.client();
  for (const key of ["n1", "n2", "n3"]) bench.server.write("notes", key, base);
  await bench.run();
  ada.offline();
  return { ...bench, ada };
}

test("what follows a change that left its transaction does not wait for the rest of that, whose end it would not see", async () => {
  const { ada, server, run } = await apart();
  ada.ask("records.transaction", { writes: [update("n1", { title: "mine" }), update("n2", { title: "mine" })] });
  ada.update("n1", { n: 7 });
  // Of the first record nothing is left to send, and the second one waits for a person.
  server.write("notes", "n1", { ...base, title: "mine" });
  server.write("notes", "n2", { ...base, title: "theirs" });
  const scope = { kind: "type", name: "record.write" } as const;
  ada.ask("queue.pause", { scope });
  ada.online();
  await run(3_000);
  expect(ada.conflicts("open")).toMatchObject([{ key: "n2" }]);
  ada.ask("queue.resume", { scope });
  await run(3_000);
  expect(server.all("notes")).toMatchObject({ n1: { title: "mine", n: 7 } });
  expect(ada.get("n1")).toMatchObject({ state: "synced" });
  ada.ask("conflicts.resolve", { filter: { collection: "notes" }, choose: "remote" });
  await run(3_000);
  expect(ada.ask("queue.list", { status: ["pending", "failed"] }).operations).toEqual([]);
  expect(ada.value("n2")).toEqual({ ...base, title: "theirs" });
});

test("a change that is given up between two others leaves them in their order", async () => {
  const { ada, server, run } = await apart();
  ada.ask("records.transaction", { writes: [update("n1", { title: "first" }), update("n2", { title: "mine" })] });
  const { operation } = ada.ask("records.transaction", {
    writes: [update("n1", { title: "second" }), update("n3", { title: "mine" })],
  });
  const last = ada.update("n1", { title: "third" });
  server.write("notes", "n2", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  ada.ask("queue.cancel", { ids: [operation ?? ""] });
  await run(3_000);
  expect(ada.ask("queue.get", { id: last.operation ?? "" })).toMatchObject({ status: "pending", reason: "dependency" });
  ada.ask("conflicts.resolve", { filter: { collection: "notes" }, choose: "local" });
  await run(3_000);
  expect(server.all("notes")).toMatchObject({ n1: { title: "third" }, n2: { title: "mine" }, n3: base });
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.get("n1")).toMatchObject({ state: "synced" });
});

test("a transaction whose change of a record is done already does not wait for what was written before it there", async () => {
  const { ada, server, run } = await apart();
  ada.ask("records.transaction", { writes: [update("n1", { n: 5 }), update("n2", { title: "mine" })] });
  ada.ask("records.transaction", { writes: [update("n1", { title: "same" }), update("n3", { title: "mine" })] });
  server.write("notes", "n1", { ...base, title: "same" });
  server.write("notes", "n2", { ...base, title: "theirs" });
  const scope = { kind: "type", name: "record.write" } as const;
  ada.ask("queue.pause", { scope });
  ada.online();
  await run(3_000);
  ada.ask("queue.resume", { scope });
  await run(3_000);
  expect(ada.conflicts("open")).toMatchObject([{ key: "n2" }]);
  expect(server.all("notes")).toMatchObject({ n3: { title: "mine" } });
  ada.ask("conflicts.resolve", { filter: { collection: "notes" }, choose: "remote" });
  await run(3_000);
  expect(ada.ask("queue.list", { status: ["pending", "failed"] }).operations).toEqual([]);
});

test("a transaction goes on when the dispute about one of its records has ended by itself", async () => {
  const { ada, server, run } = await apart();
  ada.ask("records.transaction", { writes: [update("n1", { title: "mine" }), update("n2", { n: 2 })] });
  server.write("notes", "n1", { ...base, title: "theirs" });
  ada.online();
  await run(3_000);
  expect(ada.conflicts("open")).toMatchObject([{ key: "n1" }]);
  server.write("notes", "n1", { ...base, title: "mine" });
  await run(3_000);
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.ask("queue.list", { status: ["pending", "failed"] }).operations).toEqual([]);
  expect(server.all("notes")).toMatchObject({ n1: { title: "mine" }, n2: { n: 2 } });
  expect([ada.state("n1"), ada.state("n2")]).toEqual(["synced", "synced"]);
});

test("a removal that the server answers without a version, because it knows of no such record, hides nothing that gets its key", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "k", { n: 1 });
  const ada = client({
    wrap: (port) =>
      rewriting(port, {
        // As a server does that has forgotten the removal of a record, too.
        push: (response) => {
          const answers = response.answers.map((answer) =>
            answer.outcome === "applied"
              ? { ...answer, changes: answer.changes.map((each) => ({ ...each, version: 0 })) }
              : answer,
          );
          return { ...response, answers };
        },
        pull: (response) => ({ ...response, records: response.records.filter(({ value }) => value !== null) }),
      }),
  });
  await run();
  ada.offline();
  server.write("notes", "k", null);
  ada.remove("k");
  ada.online();
  await run(5_000);
  expect(ada.get("k")?.value ?? null).toBeNull();
  server.write("notes", "k", { n: 9 });
  await run(60_000);
  expect(ada.get("k")).toMatchObject({ value: { n: 9 }, state: "synced" });
  expect(ada.rows("SELECT count(*) AS n FROM pending")).toEqual([{ n: 0 }]);
});

test("whoever follows a record hears when its change is refused, tried again, and lands", async () => {
  const { ada, server, run } = await apart();
  const heard: string[] = [];
  ada.engine.subscribe(({ kind, detail }) => {
    const { keys, origin } = (detail ?? {}) as { readonly keys?: readonly string[]; readonly origin?: string };
    if (kind === "record" && keys?.includes("n1") === true) heard.push(`${origin}: ${ada.get("n1")?.state}`);
  });
  server.rule = () => ({ code: "no", message: "not this one" });
  const { operation } = ada.update("n1", { title: "mine" });
  ada.online();
  await run(3_000);
  expect(heard).toEqual(["local: pending", "local: failed"]);
  server.rule = null;
  ada.offline();
  ada.ask("queue.retry", { ids: [operation ?? ""] });
  await run(10);
  expect(heard.slice(2)).toEqual(["local: pending"]);
  ada.online();
  await run(3_000);
  expect(heard[3]).toMatch(/^push: /);
});

test("what stands on a creation of which the server has forgotten even the removal goes to a person, not out again and again", async () => {
  const { server, client, run, pushes } = startRecords();
  const line = newLine();
  const ada = client({ wrap: line.wrap });
  await run();
  // Acknowledged, and away before the echo comes.
  line.isDeaf = true;
  ada.put("n1", base);
  await run(1_000);
  expect(server.all("notes")).toEqual({ n1: base });
  ada.offline();
  ada.update("n1", { title: "mine" });
  server.write("notes", "n1", null);
  forget(server, "n1");
  const sent = pushes();
  ada.online();
  await run(9_000);
  expect(pushes() - sent).toBe(1);
  expect(ada.conflicts("open")).toMatchObject([{ key: "n1", kind: "deleted_upstream", local: { title: "mine" } }]);
  line.isDeaf = false;
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(30_000);
  expect(server.all("notes")).toEqual({ n1: { ...base, title: "mine" } });
  expect(ada.get("n1")).toMatchObject({ state: "synced", value: { ...base, title: "mine" } });
});

/** As a server does once the removal of a record is older than what it keeps. */
function forget(server: ModelServer, key: string): void {
  const state = server.backup() as { readonly records: Map<string, unknown> };
  state.records.delete(`notes\n${key}`);
  server.restore(state, server.history);
  server.floor = server.head();
}

test("a change that a person sends ahead of a creation that was refused meets that nothing is there, and asks, once", async () => {
  const bench = startRecords();
  const { server, run } = bench;
  const ada = bench.client();
  await run();
  server.rule = (_change, value) =>
    value?.title === "forbidden" ? { code: "forbidden", message: "not this title", hint: "take another" } : null;
  ada.ask("records.transaction", {
    writes: [
      { kind: "create", collection: "notes", key: "n8", value: base },
      { kind: "create", collection: "notes", key: "n9", value: { title: "forbidden" } },
    ],
  });
  await run(10_000);
  const late = ada.update("n9", { n: 2 });
  await run(10_000);
  const pushed: unknown[] = [];
  const { rule } = server;
  server.rule = (change, value) => {
    pushed.push(change);
    return rule?.(change, value) ?? null;
  };
  ada.ask("queue.detach", { id: late.operation ?? "" });
  await run(600_000);
  expect(ada.ask("queue.get", { id: late.operation ?? "" })).toMatchObject({
    ...{ status: "failed", reason: "conflict", attempts: 1 },
  });
  expect(ada.conflicts("open").filter(({ kind }) => kind === "deleted_upstream")).toMatchObject([
    { key: "n9", remote: null, local: { title: "forbidden", n: 2 } },
  ]);
  expect(ada.value("n9")).toEqual({ title: "forbidden", n: 2 });
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});
