/**
 * Owns the rules of what a client does when the server says that something else may be read of a collection than before.
 * What makes a server say so is `src/server/views.test.ts`; both together over HTTP are test/wire.
 */
import { expect, test } from "vitest";
import type { Reach } from "../../test/support/model-server.ts";
import type { ClientOptions, RecordClient } from "../../test/support/record-bench.ts";
import { startRecords } from "../../test/support/record-bench.ts";
import { viewRestMs } from "./views.ts";

const minuteMs = 60_000;
const all: Reach = { view: "all", isIn: () => true };
const of = (owner: string): Reach => ({ view: owner, isIn: (value) => value.owner === owner });

/** A server with a record of Ann and one of Bob in each collection, and a client that may read Ann's of "notes". */
async function startReader(options: Partial<ClientOptions> = {}) {
  const bench = startRecords();
  const { server } = bench;
  for (const collection of ["notes", "tasks"])
    for (const owner of ["ann", "bob"]) server.write(collection, owner, { owner });
  server.reach.set("notes", of("ann"));
  server.reach.set("tasks", all);
  const ada = bench.client({ collections: [{ name: "notes" }, { name: "tasks" }], ...options });
  await bench.run(5_000);
  const readings = (name: string): number =>
    server.log.filter(({ what, request }) => {
      const { wants = [] } = request as { readonly wants?: readonly { collection: string; after: number }[] };
      return what === "pull" && wants.some(({ collection, after }) => collection === name && after === 0);
    }).length;
  const before = { notes: readings("notes"), tasks: readings("tasks") };
  const again = (name: "notes" | "tasks" = "notes"): number => readings(name) - before[name];
  return { ...bench, ada, again };
}

const keysOf = (client: RecordClient, collection = "notes"): readonly string[] =>
  client.ask("records.query", { collection }).records.map(({ key }) => key);

/** What was told of a collection since the events were cleared. */
const told = ({ events }: RecordClient): readonly unknown[] =>
  events
    .filter(({ kind }) => kind === "collection" || kind === "record")
    .map(({ detail }) => detail)
    .filter((detail) => (detail as { readonly collection?: string } | null)?.collection === "notes");

const isSound = (client: RecordClient): void => expect(client.ask("engine.check", {}).findings).toEqual([]);

test("records that come into reach without having changed arrive with an ordinary pull, once, and their readers hear of it", async () => {
  const { server, ada, run, again } = await startReader();
  expect(keysOf(ada)).toEqual(["ann"]);
  ada.events.length = 0;
  server.reach.set("notes", all);
  await run(viewRestMs);
  expect(keysOf(ada)).toEqual(["ann", "bob"]);
  expect(told(ada)).toEqual([
    { collection: "notes", state: "resync", reason: "view" },
    { collection: "notes", keys: ["bob"], origin: "pull" },
    { collection: "notes", state: "idle" },
  ]);
  await run(60 * minuteMs);
  expect(again()).toBe(1);
  isSound(ada);
});

test("records that go out of reach without having changed go from the device, pinned ones too, and their readers hear of it", async () => {
  const { server, ada, run, again } = await startReader();
  server.reach.set("notes", all);
  await run(viewRestMs);
  ada.ask("records.pin", { collection: "notes", keys: ["ann"], isPinned: true });
  ada.events.length = 0;
  server.reach.set("notes", of("bob"));
  await run(viewRestMs * 2);
  expect(keysOf(ada)).toEqual(["bob"]);
  expect(ada.ask("collections.list", {}).collections[0]).toMatchObject({ records: 1, state: "idle" });
  expect(told(ada)).toContainEqual({ collection: "notes", state: "idle" });
  expect(again()).toBe(2);
  expect(ada.conflicts()).toEqual([]);
  isSound(ada);
});

test("unsent work on what goes out of reach stays and goes on to its answer; what is done with it then goes", async () => {
  const { server, ada, run } = await startReader();
  const scope = { kind: "type", name: "record.write" } as const;
  ada.ask("queue.pause", { scope });
  ada.update("ann", { n: 1 });
  ada.put("fresh", { owner: "ann" });
  server.reach.set("notes", of("bob"));
  await run(viewRestMs);
  expect(keysOf(ada)).toEqual(["ann", "bob", "fresh"]);
  expect(ada.state("ann")).toBe("pending");
  ada.ask("queue.resume", { scope });
  await run(5 * minuteMs);
  expect(server.all("notes")).toMatchObject({ ann: { owner: "ann", n: 1 }, fresh: { owner: "ann" } });
  expect(keysOf(ada)).toEqual(["bob"]);
  expect(ada.conflicts()).toEqual([]);
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
  isSound(ada);
});

test("what came and went for its rights comes again at the version at which it is known, also after work on it had landed unseen", async () => {
  const { server, ada, run } = await startReader();
  ada.offline();
  ada.update("ann", { n: 1 });
  ada.put("fresh", { owner: "ann" });
  server.reach.set("notes", of("bob"));
  ada.online();
  await run(viewRestMs);
  expect([keysOf(ada), server.all("notes").ann]).toEqual([["bob"], { owner: "ann", n: 1 }]);
  // The space goes on, so that its head is beyond what is known of these records.
  for (let n = 1; n <= 5; n += 1) server.write("tasks", "busy", { n });
  server.reach.set("notes", all);
  await run(viewRestMs * 2);
  expect(keysOf(ada)).toEqual(["ann", "bob", "fresh"]);
  expect(ada.value("ann")).toEqual({ owner: "ann", n: 1 });
  isSound(ada);
});

test("unsent work on what goes out of reach that is refused waits for a decision, and given up goes with its record", async () => {
  const { server, ada, run } = await startReader();
  server.rule = ({ key }) => (key === "ann" ? { code: "forbidden", message: "not yours any more" } : null);
  ada.offline();
  const { operation } = ada.update("ann", { n: 1 });
  server.reach.set("notes", of("bob"));
  ada.online();
  await run(viewRestMs);
  expect([keysOf(ada), ada.state("ann")]).toEqual([["ann", "bob"], "failed"]);
  ada.ask("queue.cancel", { ids: [operation ?? ""] });
  await run(viewRestMs);
  expect(keysOf(ada)).toEqual(["bob"]);
  isSound(ada);
});

test("another view of one collection reads that one again; pages of the others are applied as ever", async () => {
  const { server, ada, run, again } = await startReader();
  server.isPoking = false;
  server.write("notes", "ann", { owner: "ann", n: 2 });
  server.write("tasks", "new", { owner: "ann" });
  server.reach.set("notes", all);
  await run(viewRestMs);
  expect([keysOf(ada), keysOf(ada, "tasks")]).toEqual([
    ["ann", "bob"],
    ["ann", "bob", "new"],
  ]);
  expect(ada.value("ann")).toEqual({ owner: "ann", n: 2 });
  expect([again("notes"), again("tasks")]).toEqual([1, 0]);
});

test("a server that tells no views, or a store that has kept none, reads nothing again", async () => {
  const { server, ada, run, again } = await startReader();
  server.reach.set("notes", { isIn: () => true });
  await run(10 * minuteMs);
  expect([keysOf(ada), again()]).toEqual([["ann"], 0]);
  // What it told before goes on to hold: the next server that tells another one is believed.
  server.reach.set("notes", all);
  await run(10 * minuteMs);
  expect([keysOf(ada), again()]).toEqual([["ann", "bob"], 1]);
  const bob = await startReader();
  bob.server.reach.set("notes", { isIn: ({ owner }) => owner === "ann" });
  const late = bob.client();
  await bob.run(5_000);
  bob.server.reach.set("notes", of("ann"));
  await bob.run(10 * minuteMs);
  expect(late.events.filter(({ detail }) => JSON.stringify(detail).includes('"resync"'))).toEqual([]);
  bob.server.reach.set("notes", of("bob"));
  await bob.run(10 * minuteMs);
  expect(keysOf(late)).toEqual(["bob"]);
});

test("a view that changes in the middle of a first reading of several pages begins it anew, once", async () => {
  const bench = startRecords();
  const { server } = bench;
  server.isLimited.page = 2;
  for (let n = 1; n <= 12; n += 1) server.write("notes", `n${n}`, { owner: n % 2 === 0 ? "ann" : "bob" });
  server.reach.set("notes", of("ann"));
  let pages = 0;
  const ada = bench.client({
    wrap: (port) => ({
      ...port,
      pull: async (request, signal) => {
        pages += 1;
        if (pages === 4) server.reach.set("notes", of("bob"));
        return port.pull(request, signal);
      },
    }),
  });
  await bench.run(viewRestMs);
  expect(keysOf(ada)).toEqual(["n1", "n11", "n3", "n5", "n7", "n9"]);
  expect(ada.events.filter(({ detail }) => JSON.stringify(detail).includes('"resync"'))).toHaveLength(1);
  isSound(ada);
});

test("a view that changes while everything is read again is met when that is done, five minutes later at the earliest", async () => {
  const { server, ada, run, again } = await startReader({
    wrap: (port) => ({
      ...port,
      pull: async (request, signal) => {
        // The second page of the reading.
        if (request.wants[0]?.after === 1) server.reach.set("notes", of("bob"));
        return port.pull(request, signal);
      },
    }),
  });
  server.isLimited.page = 1;
  server.reach.set("notes", all);
  await run(2 * minuteMs);
  expect([keysOf(ada), again()]).toEqual([["ann", "bob"], 1]);
  await run(viewRestMs);
  expect([keysOf(ada), again()]).toEqual([["bob"], 2]);
});

test("a rule that says something else at every call makes nobody read everything for ever", async () => {
  const { server, ada, run, again } = await startReader();
  server.isLimited.page = 1;
  let asked = 0;
  const view = (): string => {
    asked += 1;
    return `view ${asked}`;
  };
  server.reach.set("notes", { view, isIn: () => true });
  await run(60 * minuteMs);
  expect(again()).toBeGreaterThan(3);
  expect(again()).toBeLessThanOrEqual(60 / 5);
  expect(keysOf(ada)).toEqual(["ann", "bob"]);
  expect(ada.ask("collections.list", {}).collections[0]?.state).toBe("idle");
});

test("rights that change and change back within five minutes of a reading are met as well: what was told meanwhile was of others", async () => {
  const { server, ada, run, again } = await startReader();
  server.reach.set("notes", all);
  await run(minuteMs);
  server.reach.set("notes", of("bob"));
  server.write("notes", "ann", { owner: "ann", n: 2 });
  server.write("notes", "new", { owner: "ann" });
  await run(minuteMs);
  expect(keysOf(ada)).toEqual(["bob"]);
  server.reach.set("notes", all);
  await run(2 * viewRestMs);
  expect(keysOf(ada)).toEqual(["ann", "bob", "new"]);
  expect(ada.value("ann")).toEqual({ owner: "ann", n: 2 });
  expect(again()).toBe(2);
});

test("a change of rights after a reading is seen when five minutes are over, not sooner and not a day later on a clock that went back", async () => {
  const { server, ada, run, again } = await startReader();
  server.isPoking = false;
  server.reach.set("notes", all);
  await run(minuteMs);
  expect(again()).toBe(1);
  server.reach.set("notes", of("bob"));
  await run(viewRestMs - 2 * minuteMs);
  expect([keysOf(ada), again()]).toEqual([["ann", "bob"], 1]);
  await run(3 * minuteMs);
  expect([keysOf(ada), again()]).toEqual([["bob"], 2]);
  ada.machine.wallClock.jump(-24 * 60 * minuteMs);
  server.reach.set("notes", of("ann"));
  await run(2 * minuteMs);
  expect([keysOf(ada), again()]).toEqual([["ann"], 3]);
});

test("a second change of rights is met at once when somebody asks for a sync, and a rule that never answers the same is read once for it", async () => {
  const { server, ada, run, again } = await startReader();
  server.isPoking = false;
  server.reach.set("notes", all);
  await run(minuteMs);
  server.reach.set("notes", of("bob"));
  ada.ask("sync.run", {});
  await run(minuteMs);
  expect([keysOf(ada), again()]).toEqual([["bob"], 2]);
  let answers = 0;
  server.reach.set("notes", {
    get view() {
      answers += 1;
      return `answer ${answers}`;
    },
    isIn: () => true,
  });
  ada.ask("collections.sync", { collection: "notes" });
  await run(minuteMs);
  expect([keysOf(ada), again()]).toEqual([["ann", "bob"], 3]);
  isSound(ada);
});

test("a reading for another reason that meets another view takes nothing for removed that may only be out of reach", async () => {
  const { server, ada, run } = await startReader();
  ada.offline();
  ada.update("ann", { n: 1 });
  server.reach.set("notes", of("bob"));
  server.floor = server.head();
  server.write("tasks", "later", {});
  server.floor = server.head();
  ada.online();
  ada.ask("collections.sync", { collection: "notes", full: true });
  await run(5 * minuteMs);
  expect(ada.conflicts()).toEqual([]);
  expect(server.all("notes").ann).toEqual({ owner: "ann", n: 1 });
  expect(keysOf(ada)).toEqual(["bob"]);
});

test("unsent work on what was removed and forgotten while rights changed is disputed once, and not sent for ever", async () => {
  const { server, ada, run } = await startReader();
  ada.offline();
  ada.update("ann", { n: 1 });
  server.reach.set("notes", all);
  server.forget("notes", "ann");
  ada.online();
  await run(viewRestMs);
  const pushes = server.log.filter(({ what }) => what === "push").length;
  expect(pushes).toBeLessThan(4);
  expect(ada.conflicts("open")).toMatchObject([{ key: "ann", kind: "deleted_upstream", remote: null }]);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(viewRestMs);
  expect(server.all("notes").ann).toEqual({ owner: "ann", n: 1 });
  expect([keysOf(ada), ada.state("ann")]).toEqual([["ann", "bob"], "synced"]);
  isSound(ada);
});

test("rolling back the run in which records went out of reach writes nothing to the server, and says so", async () => {
  const { server, ada, run } = await startReader();
  server.reach.set("notes", of("bob"));
  ada.ask("sync.run", {});
  await run(minuteMs);
  expect(keysOf(ada)).toEqual(["bob"]);
  const head = server.head();
  const [last] = ada.ask("sync.runs", {}).runs;
  const undone = ada.ask("sync.rollback", { run: last?.id ?? 0 });
  expect(undone.restored).toBe(0);
  expect(undone.skipped).toContainEqual({ collection: "notes", key: "ann", reason: expect.stringContaining("reach") });
  await run(minuteMs);
  expect([keysOf(ada), server.head()]).toEqual([["bob"], head]);
});

test("whoever asks for a sync and waits for it has what came into reach", async () => {
  const { server, ada, run } = await startReader();
  server.isPoking = false;
  server.reach.set("notes", all);
  ada.ask("sync.run", {});
  await run(1_000);
  expect(ada.ask("sync.runs", {}).runs[0]?.endedAt).not.toBeNull();
  expect(keysOf(ada)).toEqual(["ann", "bob"]);
});

test("what stays for unsent work although it is out of reach keeps no version of a history that is gone", async () => {
  const { server, ada, run } = await startReader();
  const before = server.backup();
  ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
  server.write("notes", "ann", null);
  await run(viewRestMs);
  ada.put("ann", { owner: "ann", n: 2 });
  // A reading from the beginning does not tell of a removal.
  server.floor = server.head();
  server.reach.set("notes", of("bob"));
  await run(viewRestMs);
  server.floor = 0;
  server.restore(before, "h2");
  await run(60 * minuteMs);
  const versions = ada.rows("SELECT version FROM record").map(({ version }) => Number(version));
  expect(Math.max(...versions)).toBeLessThanOrEqual(server.head());
  isSound(ada);
});
