// Owns the rules of pulling: when, in which order, across failures, resets and schema versions; conflicts are conflicts.test.ts.
import { expect, test } from "vitest";
import { silence } from "../../test/support/model-server.ts";
import { startRecords } from "../../test/support/record-bench.ts";
import type { Answer, Json } from "../operation.ts";
import type { Fields } from "../record.ts";

const pullsOf = (log: readonly { readonly what: string; readonly request: Json }[]) =>
  log
    .filter(({ what }) => what === "pull")
    .map(({ request }) => request as { readonly wants: readonly { collection: string; after: number }[] });

test("pull never waits for push: a refused write, and one without an answer, stop no reading", async () => {
  const { server, client, run } = startRecords();
  server.rule = () => ({ code: "no", message: "never" });
  const ada = client();
  await run();
  ada.put("bad", { n: 1 });
  await run();
  server.faults.push(
    ...Array.from(
      { length: 50 },
      () =>
        ({
          what: "push",
          answer: { ...silence, kind: "retry", isCharged: false, scope: "operation" } as never,
          isApplied: false,
        }) as const,
    ),
  );
  ada.put("stuck", { n: 1 });
  await run();
  server.write("notes", "news", { n: 1 });
  await run();
  expect(ada.get("news")).toMatchObject({ state: "synced", value: { n: 1 } });
  expect(ada.state("bad")).toBe("failed");
  expect(ada.state("stuck")).toBe("pending");
});

test("a first pull comes in pages with progress, and goes on after a crash exactly where it stopped", async () => {
  const { server, client, run } = startRecords();
  for (let n = 1; n <= 95; n += 1) server.write("notes", `n${n}`, { n });
  server.isLimited.page = 10;
  server.delayMs = 50;
  const ada = client();
  await run(350);
  const view = ada.ask("collections.list", {}).collections[0];
  expect(view).toMatchObject({ state: "initial", head: 95, asOf: null });
  expect(view?.progress).toEqual({ done: view?.cursor, total: 95 });
  expect(view?.cursor).toBeGreaterThanOrEqual(20);
  expect(view?.records).toBe(view?.cursor);
  ada.crash();
  await run(5_000);
  const after = pullsOf(server.log).flatMap(({ wants }) => wants.map((want) => want.after));
  expect(after.filter((each) => each === 0)).toHaveLength(1);
  const done = ada.ask("collections.list", {});
  expect(done.collections[0]).toMatchObject({ state: "idle", records: 95, cursor: 95, pending: 0, progress: null });
  expect(done.lastSyncAt).not.toBeNull();
  expect(ada.rows("SELECT count(*) AS n FROM record_history")).toEqual([{ n: 95 }]);
});

test("several collections go in one request, each from its own cursor", async () => {
  const { server, client, run } = startRecords();
  server.write("a", "1", { n: 1 });
  const ada = client({ collections: [{ name: "a" }, { name: "b" }] });
  await run();
  server.write("b", "1", { n: 1 });
  server.write("c", "1", { n: 1 });
  await run();
  ada.crash({ collections: [{ name: "a" }, { name: "b" }, { name: "c" }] });
  await run();
  expect(ada.value("1", "c")).toEqual({ n: 1 });
  const last = pullsOf(server.log).at(-1);
  expect(last?.wants.map(({ collection }) => collection)).toEqual(["a", "b", "c"]);
  expect(ada.ask("collections.list", {}).collections.map(({ cursor }) => cursor)).toEqual([3, 3, 3]);
});

test("a poke pulls at once; without pokes a space is asked every half minute, with them every five", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run(1_000);
  server.write("notes", "n1", { n: 1 });
  await run(200);
  expect(ada.value("n1")).toEqual({ n: 1 });
  const count = pullsOf(server.log).length;
  await run(140_000);
  expect(pullsOf(server.log)).toHaveLength(count);
  await run(170_000);
  expect(pullsOf(server.log).length).toBeGreaterThan(count);
  server.isPoking = false;
  server.write("notes", "n1", { n: 2 });
  await run(310_000);
  expect(ada.value("n1")).toEqual({ n: 2 });
  const before = pullsOf(server.log).length;
  await run(300_000);
  expect(pullsOf(server.log).length - before).toBeGreaterThanOrEqual(9);
  expect(pullsOf(server.log).length - before).toBeLessThanOrEqual(21);
});

test("after an acknowledgement a pull comes soon, also without pokes", async () => {
  const { server, client, run } = startRecords();
  server.isPoking = false;
  const ada = client();
  await run();
  server.write("notes", "other", { n: 1 });
  ada.put("n1", { n: 1 });
  await run(500);
  expect(ada.value("other")).toEqual({ n: 1 });
  expect(ada.get("n1")).toMatchObject({ state: "synced", version: 2 });
});

test("manual and periodic modes pull when they are told, working offline and pauses pull nothing", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "n1", { n: 1 });
  const ada = client({ settings: { syncMode: "manual" } });
  await run(60_000);
  expect(ada.get("n1")).toBeNull();
  ada.ask("sync.run", {});
  await run();
  expect(ada.value("n1")).toEqual({ n: 1 });
  server.write("notes", "n1", { n: 2 });
  await run(60_000);
  expect(ada.value("n1")).toEqual({ n: 1 });
  expect(ada.ask("collections.sync", { collection: "notes" })).toMatchObject({
    isOffline: false,
    collections: ["notes"],
  });
  await run();
  expect(ada.value("n1")).toEqual({ n: 2 });
  ada.offline();
  expect(ada.ask("collections.sync", {}).isOffline).toBe(true);
  ada.ask("settings.set", { syncMode: "periodic", syncIntervalMs: 10_000 });
  server.write("notes", "n1", { n: 3 });
  await run(60_000);
  expect(ada.value("n1")).toEqual({ n: 2 });
  ada.online();
  await run(23_000);
  expect(ada.value("n1")).toEqual({ n: 3 });
  ada.ask("settings.set", { syncMode: "eager" });
  ada.ask("queue.pause", { scope: { kind: "remote", name: "https://sync.example" } });
  server.write("notes", "n1", { n: 4 });
  await run(60_000);
  expect(ada.value("n1")).toEqual({ n: 3 });
  ada.ask("queue.resume", { scope: { kind: "remote", name: "https://sync.example" } });
  await run();
  expect(ada.value("n1")).toEqual({ n: 4 });
});

test("refused credentials stop pulls until there are fresh ones, and nothing is charged", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ subject: "ada" });
  await run();
  const problem = { code: "token_expired", message: "the token has expired", status: 401 };
  server.faults.push({ what: "pull", answer: { kind: "auth", problem }, isApplied: false });
  server.write("notes", "n1", { n: 1 });
  await run(10_000);
  expect(ada.get("n1")).toBeNull();
  expect(ada.ask("queue.status", {}).signedOut).toMatchObject([
    { subject: "ada", reason: "the token has expired", code: "token_expired" },
  ]);
  ada.ask("subject.signIn", { subject: "ada" });
  await run(5_000);
  expect(ada.value("n1")).toEqual({ n: 1 });
  ada.ask("subject.signOut", { subject: "ada" });
  server.write("notes", "n1", { n: 2 });
  await run(60_000);
  expect(ada.value("n1")).toEqual({ n: 1 });
});

test("asking looks at a refused token once more, and a run that is refused ends at once", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  const problem = { code: "unauthorized", message: "the token has expired" };
  const refuse = () => {
    for (const what of ["pull", "push", "pull"] as const)
      server.faults.push({ what, answer: { kind: "auth", problem }, isApplied: false });
  };
  const signedOut = () => ada.ask("queue.status", {}).signedOut.length;
  refuse();
  ada.ask("collections.sync", {});
  await run();
  expect(signedOut()).toBe(1);
  ada.put("n1", { n: 1 });
  ada.ask("sync.run", {});
  expect(signedOut()).toBe(0);
  await run(3_000);
  expect(ada.ask("sync.status", {})).toMatchObject({ isSyncing: false, run: { remaining: 1, failed: 0 } });
  expect(signedOut()).toBe(1);
  server.faults.length = 0;
  const before = pullsOf(server.log).length;
  ada.ask("collections.sync", {});
  await run();
  expect(pullsOf(server.log).length).toBeGreaterThan(before);
  expect([signedOut(), ada.state("n1")]).toEqual([0, "synced"]);
});

test("a collection that was refused is judged anew when somebody asks", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  const problem = { code: "collection_forbidden", message: "not for you" };
  const refuse = () => server.faults.push({ what: "pull", answer: { kind: "rejected", problem }, isApplied: false });
  const state = () => ada.ask("collections.list", {}).collections[0]?.state;
  refuse();
  await run(100);
  expect(state()).toBe("refused");
  refuse();
  ada.ask("collections.sync", {});
  expect(state()).toBe("initial");
  await run(100);
  expect(state()).toBe("refused");
  ada.ask("collections.sync", {});
  await run(100);
  expect(state()).toBe("idle");
});

test("who sends and knows no sync server says so instead of pulling for ever", async () => {
  const { client, run } = startRecords();
  const alone = client({ isAlone: true });
  await run();
  expect(() => alone.ask("collections.sync", {})).toThrow(
    expect.objectContaining({ code: "refused_by_state", hint: expect.stringContaining("config set sync.url") }),
  );
});

test.each<[string, Exclude<Answer, { kind: "applied" | "duplicate" }>]>([
  ["silence", silence],
  ["a refusal", { kind: "rejected", problem: { code: "space_forbidden", message: "not yours", status: 403 } }],
  [
    "a failing server",
    {
      kind: "retry",
      problem: { code: "http_500", message: "broken", status: 500 },
      isCharged: true,
      scope: "operation",
    },
  ],
])("%s backs off and never stops for ever", async (_name, answer) => {
  const { server, client, run } = startRecords();
  const faults = Array.from({ length: 12 }, () => ({ what: "pull", answer, isApplied: false }) as const);
  server.faults.push(...faults);
  server.write("notes", "n1", { n: 1 });
  const ada = client();
  await run(120_000);
  const early = pullsOf(server.log).length;
  expect(early).toBeLessThan(60);
  if (answer.kind === "rejected") {
    expect(ada.ask("collections.list", {}).collections[0]).toMatchObject({
      state: "refused",
      problem: { code: "space_forbidden" },
    });
  }
  await run(3_600_000);
  expect(ada.value("n1")).toEqual({ n: 1 });
  expect(ada.ask("collections.list", {}).collections[0]?.state).toBe("idle");
});

test("a removal at the server is a removal here; what was never here leaves no trace", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "never", { n: 1 });
  server.write("notes", "never", null);
  server.write("notes", "n1", { n: 1 });
  const ada = client();
  await run();
  server.write("notes", "n1", null);
  await run();
  expect(ada.get("n1")).toMatchObject({ value: null, state: "synced", version: 4 });
  expect(ada.rows("SELECT key FROM record")).toEqual([{ key: "n1" }]);
  expect(ada.ask("collections.list", {}).collections[0]?.records).toBe(0);
  ada.put("n1", { n: 2 });
  await run();
  expect(server.all("notes")).toEqual({ n1: { n: 2 } });
});

test("a cursor that is too old reads everything again: what is gone goes, unsent work stays and is pushed", async () => {
  const { server, client, run } = startRecords();
  for (let n = 1; n <= 5; n += 1) server.write("notes", `n${n}`, { n });
  const ada = client();
  await run();
  ada.offline();
  ada.put("new", { n: 9 });
  ada.update("n1", { mine: true });
  ada.update("n3", { mine: true });
  server.write("notes", "n2", null);
  server.write("notes", "n3", null);
  server.write("notes", "n4", { n: 44 });
  server.floor = 7;
  ada.online();
  await run(5_000);
  expect(ada.get("n2")?.value).toBeNull();
  expect(ada.value("n4")).toEqual({ n: 44 });
  expect(server.all("notes")).toEqual({ n1: { n: 1, mine: true }, n4: { n: 44 }, n5: { n: 5 }, new: { n: 9 } });
  expect(ada.conflicts()).toMatchObject([
    { kind: "deleted_upstream", key: "n3", local: { n: 3, mine: true }, remote: null },
  ]);
  expect(ada.get("n3")).toMatchObject({ value: { n: 3, mine: true }, state: "conflict" });
  expect(ada.ask("collections.list", {}).collections[0]).toMatchObject({ state: "idle", records: 5 });
});

test("a full download on request keeps unsent work and drops what the server does not have", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "n1", { n: 1 });
  const ada = client();
  await run();
  ada.offline();
  ada.update("n1", { mine: 1 });
  ada.online();
  ada.ask("collections.sync", { full: true });
  await run();
  expect(server.all("notes")).toEqual({ n1: { n: 1, mine: 1 } });
  expect(ada.get("n1")).toMatchObject({ value: { n: 1, mine: 1 }, state: "synced" });
});

test("another filter is another collection of records: what no longer meets it goes, what now does comes", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "n1", { kind: "a" });
  const ada = client({ collections: [{ name: "notes", filter: { kind: "a" } }] });
  await run();
  ada.crash({ collections: [{ name: "notes", filter: { kind: "b" } }] });
  await run();
  const filters = pullsOf(server.log).map(({ wants }) => (wants[0] as { readonly filter?: Json }).filter);
  expect(filters.at(-1)).toEqual({ kind: "b" });
  expect(pullsOf(server.log).at(-1)?.wants[0]?.after).toBe(0);
});

test("one record is fetched on request", async () => {
  const { server, client, run } = startRecords();
  server.isPoking = false;
  const ada = client();
  await run();
  server.write("notes", "n1", { n: 1 });
  ada.ask("collections.sync", { collection: "notes", key: "n1" });
  await run(200);
  expect(ada.value("n1")).toEqual({ n: 1 });
  expect(server.log.filter(({ what }) => what === "fetch")).toHaveLength(1);
});

test("a value of an older schema is shown and pushed by the present one; a newer one is kept as it came and not edited", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "old", { name: "a" });
  const ada = client();
  await run();
  ada.offline();
  ada.put("mine", { name: "b" });
  ada.update("old", { name: "c" });
  const upcast = (value: { readonly [field: string]: Json }) => {
    const { name, ...rest } = value;
    return name === undefined ? rest : { ...rest, title: name };
  };
  ada.crash({ collections: [{ name: "notes", version: 2, upcast }] });
  expect(ada.value("old")).toEqual({ title: "c" });
  expect(ada.value("mine")).toEqual({ title: "b" });
  ada.online();
  await run();
  expect(server.get("notes", "mine")).toMatchObject({ value: { title: "b" }, schema: 2 });
  const pushed = server.log.filter(({ what }) => what === "push").map(({ request }) => JSON.stringify(request));
  expect(pushed.join()).not.toContain('"name":"c"');
  ada.crash({ collections: [{ name: "notes", version: 1 }] });
  expect(ada.value("mine")).toEqual({ title: "b" });
  expect(() => ada.update("mine", { name: "d" })).toThrow(expect.objectContaining({ code: "refused_by_state" }));
});

test("a run is a record: begun when something moves, ended when nothing does, with what it moved", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "n1", { n: 1 });
  const ada = client();
  await run();
  ada.put("n2", { n: 1 });
  await run();
  const { runs } = ada.ask("sync.runs", {});
  expect(runs).toHaveLength(2);
  expect(runs[1]).toMatchObject({ pushed: 0, pulled: 1, conflicts: 0 });
  expect(runs[0]).toMatchObject({ pushed: 1, merged: 0, failures: 0 });
  for (const each of runs) {
    expect(each.endedAt).not.toBeNull();
    expect(each.bytesReceived).toBeGreaterThan(0);
  }
  await run(600_000);
  expect(ada.ask("sync.runs", {}).runs).toHaveLength(2);
});

test("one event tells of a page, however many records it brings", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  server.isPoking = false;
  for (let n = 0; n < 1_500; n += 1) server.write("notes", `n${n}`, { n });
  ada.ask("collections.sync", {});
  await run();
  const told = ada.events.filter(
    ({ kind, detail }) => kind === "record" && (detail as { origin?: string }).origin === "pull",
  );
  expect(told.map(({ detail }) => detail)).toEqual([{ collection: "notes", count: 1_500, origin: "pull" }]);
});

test("a record that is wanted of a collection that has become local keeps no other one from being fetched", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ collections: [{ name: "drafts" }, { name: "notes" }] });
  await run();
  ada.ask("collections.sync", { collection: "drafts", key: "d1" });
  ada.ask("collections.declare", { name: "drafts", isSynced: false });
  ada.ask("collections.sync", { collection: "notes", key: "n1" });
  await run();
  const fetched = server.log.filter(({ what }) => what === "fetch").map(({ request }) => request);
  expect(fetched).toMatchObject([{ collection: "notes", keys: ["n1"] }]);
});

test("what cannot be booked of a fetch is asked for again with a pause", async () => {
  const bench = startRecords();
  const plain = bench.server.port();
  let fetches = 0;
  const ada = bench.client({ isAlone: true });
  const moved = ada.engine.setSync({
    ...plain,
    // The echo of its own write never comes, and neither does what is asked for instead.
    pull: async (request, signal) => {
      const reply = await plain.pull(request, signal);
      return reply.kind === "failed" ? reply : { ...reply, response: { ...reply.response, records: [] } };
    },
    fetch: async (request, signal) => {
      fetches += 1;
      const reply = await plain.fetch(request, signal);
      return reply.kind === "failed" ? reply : { ...reply, response: { ...reply.response, records: null as never } };
    },
  });
  await bench.run(5_000);
  await moved;
  ada.put("n1", { n: 1 });
  await bench.run(120_000);
  expect(fetches).toBeGreaterThan(0);
  expect(fetches).toBeLessThan(15);
  expect(ada.value("n1")).toEqual({ n: 1 });
});

test("a change that moved its record out of our reach is not waited for without end: the record leaves", async () => {
  const bench = startRecords();
  const fetched: (readonly string[])[] = [];
  const plain = bench.server.port();
  const isSeen = ({ value }: { readonly value: Fields | null }): boolean => value === null || value.owner !== "bob";
  const ada = bench.client({ isAlone: true });
  const moved = ada.engine.setSync({
    ...plain,
    push: async (request, signal) => {
      const reply = await plain.push(request, signal);
      // Somebody else has it before we have heard of our own write again.
      bench.server.write("notes", "n1", { owner: "bob" });
      return reply;
    },
    pull: async (request, signal) => {
      const reply = await plain.pull(request, signal);
      if (reply.kind === "failed") return reply;
      return { ...reply, response: { ...reply.response, records: reply.response.records.filter(isSeen) } };
    },
    fetch: async (request, signal) => {
      fetched.push(request.keys);
      const reply = await plain.fetch(request, signal);
      if (reply.kind === "failed") return reply;
      return { ...reply, response: { ...reply.response, records: reply.response.records.filter(isSeen) } };
    },
  });
  await bench.run(5_000);
  await moved;
  ada.put("n1", { owner: "ann" });
  await bench.run(300_000);
  expect(fetched).toEqual([["n1"]]);
  expect(ada.value("n1")).toBeNull();
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});
