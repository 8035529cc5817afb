/**
 * Owns the proof of what a client keeps when the server is restored from a backup. Other resets and plain pages are pull.test.ts.
 */
import { expect, test } from "vitest";
import { newLine, rewriting, startRecords } from "../../test/support/record-bench.ts";
import type { Collection, SyncPort } from "../world.ts";
import { pullPage } from "./pull.ts";

/** A server of before: it neither looks at what the client has seen nor says how far it has come. */
const withoutHead = (port: SyncPort): SyncPort =>
  rewriting(withoutSeen(port), { push: ({ head, ...response }) => response });

/** A server that says how far it has come, but applies a push whatever the client has seen. */
const withoutSeen = (port: SyncPort): SyncPort => ({
  ...port,
  push: ({ seen, ...request }, signal) => port.push(request, signal),
});

test("a server restored from a backup: what it lost of ours stays here and is in the inbox, all else follows it", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "same", { n: 1 });
  server.write("notes", "edited", { n: 1 });
  const ada = client();
  await run();
  const backup = server.backup();
  ada.put("created", { n: 1 });
  ada.update("edited", { n: 2 });
  await run();
  ada.offline();
  ada.put("unsent", { n: 1 });
  ada.update("same", { mine: 1 });
  server.restore(backup, "h2");
  server.write("notes", "other", { n: 7 });
  ada.online();
  await run(10_000);
  expect(ada.value("created")).toEqual({ n: 1 });
  expect(ada.value("edited")).toEqual({ n: 2 });
  expect(ada.value("other")).toEqual({ n: 7 });
  expect(server.all("notes")).toEqual({ same: { n: 1, mine: 1 }, edited: { n: 1 }, other: { n: 7 }, unsent: { n: 1 } });
  const open = ada.conflicts("open");
  expect(open.map(({ kind, key, local, remote }) => ({ kind, key, local, remote }))).toEqual(
    expect.arrayContaining([
      { kind: "deleted_upstream", key: "created", local: { n: 1 }, remote: null },
      { kind: "version_mismatch", key: "edited", local: { n: 2 }, remote: { n: 1 } },
    ]),
  );
  expect(open).toHaveLength(2);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(5_000);
  expect(server.all("notes")).toMatchObject({ created: { n: 1 }, edited: { n: 2 } });
  expect(ada.conflicts("open")).toEqual([]);
  expect([ada.state("created"), ada.state("edited")]).toEqual(["synced", "synced"]);
});

test("what a restored server takes before anybody has told of the restore stays visible, and is what the inbox shows", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  const backup = server.backup();
  for (const n of [1, 2, 3]) {
    ada.put("noted", { n });
    await run();
  }
  ada.remove("noted");
  ada.put("kept", { n: 1, title: "a" });
  await run();
  server.restore(backup, "h2");
  // Pushed at once: versions of the new history are lower than those that are known here.
  ada.put("noted", { n: 9 });
  ada.update("kept", { n: 2 });
  await run(20_000);
  expect(ada.value("noted")).toEqual({ n: 9 });
  expect(ada.value("kept")).toEqual({ n: 2, title: "a" });
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(20_000);
  expect(server.all("notes")).toEqual({ noted: { n: 9 }, kept: { n: 2, title: "a" } });
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
});

test("a write on what a restored server no longer has overrides nobody there: it is a conflict", async () => {
  const { server, client, run } = startRecords();
  server.write("notes", "n1", { n: 1 });
  const ada = client();
  await run();
  const backup = server.backup();
  for (const n of [2, 3, 4]) server.write("notes", "n1", { n });
  await run();
  expect(ada.value("n1")).toEqual({ n: 4 });
  server.restore(backup, "h2");
  server.write("notes", "n1", { n: 5 });
  // Its version here is above every version there.
  ada.update("n1", { n: 9 });
  await run(20_000);
  expect(server.all("notes")).toEqual({ n1: { n: 5 } });
  expect(ada.conflicts("open").map(({ key, local, remote }) => ({ key, local, remote }))).toEqual([
    { key: "n1", local: { n: 9 }, remote: { n: 5 } },
  ]);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(20_000);
  expect(server.all("notes")).toEqual({ n1: { n: 9 } });
});

test("an answer from before a restore that comes after it is asked for again", async () => {
  const { server, client, run } = startRecords();
  const line = newLine();
  const ada = client({ wrap: line.wrap });
  server.write("notes", "other", { n: 1 });
  await run();
  const backup = server.backup();
  line.holds = "push";
  ada.put("n1", { n: 1 });
  await run(2_000);
  expect(server.all("notes")).toMatchObject({ n1: { n: 1 } });
  server.restore(backup, "h2");
  ada.ask("collections.sync", {});
  await run(2_000);
  line.release();
  await run(10_000);
  expect(server.all("notes")).toMatchObject({ n1: { n: 1 } });
  expect(ada.get("n1")).toMatchObject({ value: { n: 1 }, state: "synced" });
});

test("what was removed in a history that a restored server has lost hides nothing that gets its key there", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  await run();
  const backup = server.backup();
  for (const n of [1, 2, 3]) {
    ada.put("n1", { n });
    await run();
  }
  ada.remove("n1");
  await run();
  server.restore(backup, "h2");
  const before = server.log.length;
  await run(900_000);
  // What was told of the lost history must not be pulled for without end.
  expect(server.log.length - before).toBeLessThan(20);
  server.write("notes", "n1", { n: 9 });
  await run(900_000);
  expect(ada.value("n1")).toEqual({ n: 9 });
});

test("a write to a server that was set back under the same history overrides nobody: all is read again first", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  server.write("notes", "n1", { n: 1 });
  server.write("notes", "mine", { n: 1 });
  await run();
  const backup = server.backup();
  for (const n of [2, 3, 4, 5, 6]) server.write("notes", "n1", { n });
  ada.put("lost", { n: 1 });
  await run(20_000);
  expect(ada.value("n1")).toEqual({ n: 6 });
  server.isPoking = false;
  server.restore(backup, "h1");
  server.write("notes", "n1", { n: 9 });
  // Pushed before anything is pulled, on versions that this server has given to nobody.
  ada.update("n1", { n: 7 });
  ada.put("fresh", { n: 1 });
  await run(120_000);
  expect(server.all("notes")).toEqual({ n1: { n: 9 }, mine: { n: 1 }, fresh: { n: 1 } });
  expect(ada.value("fresh")).toEqual({ n: 1 });
  const open = ada.conflicts("open").map(({ key, local, remote }) => ({ key, local, remote }));
  expect(open).toEqual(
    expect.arrayContaining([
      { key: "n1", local: { n: 7 }, remote: { n: 9 } },
      { key: "lost", local: { n: 1 }, remote: null },
    ]),
  );
  expect(open).toHaveLength(2);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(20_000);
  expect(server.all("notes")).toEqual({ n1: { n: 7 }, mine: { n: 1 }, fresh: { n: 1 }, lost: { n: 1 } });
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
});

test("a head below what was seen says that the server was set back, also where pushes bring it past the cursor before the next pull", async () => {
  const { server, client, run } = startRecords();
  // Until it is let go, it hears nothing but the answers to what it pushes.
  const line = newLine();
  const ada = client({ wrap: (port) => line.wrap(withoutSeen(port)) });
  await run();
  const backup = server.backup();
  for (const key of ["a", "b", "c"]) ada.put(key, { n: 1 });
  await run(20_000);
  server.isPoking = false;
  line.isDeaf = true;
  server.restore(backup, "h1");
  ada.put("d", { n: 1 });
  await run(500);
  for (const n of [1, 2, 3, 4, 5]) server.write("notes", "other", { n });
  line.isDeaf = false;
  ada.crash();
  await run(120_000);
  expect(ada.value("other")).toEqual({ n: 5 });
  expect(ada.value("d")).toEqual({ n: 1 });
  expect(
    ada
      .conflicts("open")
      .map(({ key }) => key)
      .sort(),
  ).toEqual(["a", "b", "c"]);
});

test("what was acknowledged before a crash is missed by a server that was set back meanwhile, although no page had brought it", async () => {
  const { server, client, run } = startRecords();
  const line = newLine();
  const ada = client({ wrap: line.wrap });
  server.write("notes", "n1", { n: 1 });
  await run();
  const backup = server.backup();
  line.isDeaf = true;
  server.isPoking = false;
  ada.put("told", { n: 1 });
  await run(3_000);
  expect(server.all("notes")).toMatchObject({ told: { n: 1 } });
  server.restore(backup, "h1");
  line.isDeaf = false;
  ada.crash();
  await run(120_000);
  expect(ada.value("told")).toEqual({ n: 1 });
  expect(ada.conflicts("open").map(({ key }) => key)).toEqual(["told"]);
});

test("a server that does not say its head is synced with as before", async () => {
  const { server, client, run } = startRecords();
  const ada = client({ wrap: withoutHead });
  const bob = client({ name: "bob" });
  for (const n of [1, 2, 3]) {
    ada.put("n1", { n });
    bob.put(`b${n}`, { n });
    await run(5_000);
  }
  expect(server.all("notes")).toMatchObject({ n1: { n: 3 }, b3: { n: 3 } });
  expect([ada.state("n1"), bob.value("n1"), ada.conflicts("open")]).toEqual(["synced", { n: 3 }, []]);
  const resets = ada.events.filter((event) => JSON.stringify(event).includes("resync"));
  expect(resets).toEqual([]);
});

test("a reading of everything that starts over before its end still finds what a restored server has lost", async () => {
  const { server, client, run } = startRecords();
  let pages = 0;
  let startOver = (): void => {};
  const ada = client({
    wrap: (port) => ({
      ...port,
      pull: async (request, signal) => {
        const reply = await port.pull(request, signal);
        if (request.history === "h2") pages += 1;
        if (request.history === "h2" && pages === 2) startOver();
        return reply;
      },
    }),
  });
  // More than one page, so that some of it was met by the first reading and some was not.
  for (let n = 1; n <= pullPage; n += 1) server.write("notes", `n${n}`, { n });
  await run();
  const backup = server.backup();
  ada.put("created", { n: 1 });
  ada.put("removed", { n: 1 });
  await run();
  ada.remove("removed");
  ada.update(`n${pullPage}`, { mine: 1 });
  ada.offline();
  server.restore(backup, "h2");
  for (const n of [1, 2, 3]) server.write("notes", `other${n}`, { n });
  startOver = () => {
    server.write("notes", "other1", { n: 9 });
    server.write("notes", "n1", null);
    ada.ask("collections.sync", { full: true });
  };
  ada.online();
  await run(20_000);
  expect(pages).toBeGreaterThan(2);
  expect(ada.conflicts("open").map(({ kind, key }) => ({ kind, key }))).toEqual([
    { kind: "deleted_upstream", key: "created" },
  ]);
  expect([ada.value("created"), ada.value("other1"), ada.value("n1"), ada.value("removed")]).toEqual([
    { n: 1 },
    { n: 9 },
    null,
    null,
  ]);
  expect(server.all("notes")[`n${pullPage}`]).toEqual({ n: pullPage, mine: 1 });
});

test("what an answer brings while everything is read again is newer than the reading, and stays", async () => {
  const { server, client, run } = startRecords();
  const line = newLine();
  const ada = client({ wrap: line.wrap });
  await run();
  const scope = { kind: "type", name: "record.write" } as const;
  ada.ask("queue.pause", { scope });
  ada.put("n1", { title: "mine" });
  ada.put("n2", { title: "same" });
  line.holds = "pull";
  ada.ask("collections.sync", { full: true });
  await run();
  server.write("notes", "n1", { title: "theirs" });
  server.write("notes", "n2", { title: "same" });
  ada.ask("queue.resume", { scope });
  await run();
  line.release();
  await run(20_000);
  expect(ada.conflicts("open")).toMatchObject([{ kind: "version_mismatch", key: "n1", remote: { title: "theirs" } }]);
  ada.ask("conflicts.resolve", { filter: {}, choose: "remote" });
  await run(20_000);
  expect([ada.value("n1"), ada.value("n2")]).toEqual([{ title: "theirs" }, { title: "same" }]);
});

test("what the answer to a conflict has settled before a crash is missed by a server that was set back, although no page had brought it", async () => {
  const { server, client, run } = startRecords();
  const line = newLine();
  const collections = [{ name: "notes", strategy: { version_mismatch: "remote_wins" } }] as const;
  const ada = client({ collections, wrap: line.wrap });
  server.write("notes", "n1", { n: 1 });
  await run();
  const backup = server.backup();
  line.isDeaf = true;
  server.isPoking = false;
  server.write("notes", "n1", { n: 2 });
  server.write("notes", "n1", { n: 3 });
  // Both made it the same: the answer settles it here, and nothing stays acknowledged.
  ada.update("n1", { n: 9 });
  await run(5_000);
  expect(ada.get("n1")).toMatchObject({ value: { n: 3 }, state: "synced", version: 3 });
  server.restore(backup, "h1");
  line.isDeaf = false;
  ada.crash();
  await run(120_000);
  expect(ada.conflicts("open")).toMatchObject([{ key: "n1", local: { n: 3 }, remote: { n: 1 } }]);
});

test("what other rights show and hide of records that have not changed comes and goes with a reading of everything", async () => {
  const bench = startRecords();
  const plain = bench.server.port();
  let owner = "ann";
  const ada = bench.client({ isAlone: true });
  const moved = ada.engine.setSync({
    ...plain,
    pull: async (request, signal) => {
      const reply = await plain.pull(request, signal);
      if (reply.kind === "failed") return reply;
      const records = reply.response.records.filter(({ value }) => value === null || value.owner === owner);
      return { ...reply, response: { ...reply.response, records } };
    },
  });
  for (const [key, of] of [
    ["a", "ann"],
    ["b", "bob"],
  ] as const)
    bench.server.write("notes", key, { owner: of });
  await bench.run(5_000);
  await moved;
  const keys = () => ada.ask("records.query", { collection: "notes" }).records.map(({ key }) => key);
  expect(keys()).toEqual(["a"]);
  owner = "bob";
  await bench.run(60_000);
  expect(keys()).toEqual(["a"]);
  ada.ask("collections.sync", { collection: "notes", full: true });
  await bench.run(5_000);
  expect(keys()).toEqual(["b"]);
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});

test.each([
  ["decides so", false],
  ["takes a decision against it back", true],
])(
  "a record that the server named and lost in a restore comes back under its key, once, whoever %s",
  async (_who, isUndone) => {
    const { server, client, run } = startRecords();
    const collections: readonly Collection[] = [{ name: "notes" }, { name: "boxes", keys: "server" }];
    server.naming.add("boxes");
    const [ada, bo] = [client({ collections, name: "ada" }), client({ collections, name: "bo" })];
    await run();
    ada.put("n0", { a: 1 });
    await run(3_000);
    const copy = server.backup();
    ada.ask("records.write", { kind: "create", collection: "boxes", value: { size: 1 } });
    await run(5_000);
    const [key = ""] = Object.keys(server.all("boxes"));
    ada.put("n1", { box: key });
    await run(5_000);
    server.restore(copy, "h2");
    for (let n = 1; n <= 5; n += 1) server.write("notes", `after ${n}`, { n });
    await run(600_000);
    expect(ada.conflicts("open").map(({ kind }) => kind)).toEqual(["deleted_upstream", "deleted_upstream"]);
    const { done } = bo.ask("conflicts.resolve", { filter: {}, choose: isUndone ? "remote" : "local" });
    if (isUndone) expect(bo.ask("conflicts.undo", { ids: done }).refused).toEqual([]);
    // The other one decides when it is back already, if there is anything left to decide.
    await run(60_000);
    ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
    await run(600_000);
    expect(server.all("boxes")).toEqual({ [key]: { size: 1 } });
    expect(server.all("notes").n1).toEqual({ box: key });
    for (const each of [ada, bo]) expect([each.state(key, "boxes"), each.conflicts("open")]).toEqual(["synced", []]);
  },
);
