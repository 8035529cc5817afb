// Owns the pains of identity: one effect per operation, and local ids that become the server's (pains 7, 8, 10, 11).
// The rule that finds and replaces references is src/id.ts.
import { expect, test } from "vitest";
import { newRemote } from "../support/remote.ts";
import { openStage } from "../support/virtual.ts";

function begin() {
  const remote = newRemote(() => stage.scheduler.elapsed());
  const stage = openStage({ types: [remote.type] });
  const add = (name: string, more: object = {}): string =>
    stage.engine().handle("queue.add", { type: "write", payload: { name }, ...more }).id;
  return { stage, remote, add, [Symbol.dispose]: () => stage[Symbol.dispose]() };
}

test("pain 7: an answer that is lost any number of times leaves one effect under one key", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.next(...Array.from({ length: 12 }, () => "lost after" as const));
  const id = add("once");
  await stage.scheduler.runFor(86_400_000);
  expect(remote.requests.length).toBeGreaterThan(12);
  expect(new Set(remote.requests.map(({ key }) => key))).toEqual(new Set([id]));
  expect(remote.effects).toHaveLength(1);
  expect(stage.get(id)).toMatchObject({ status: "completed", outcome: "duplicate" });
});

test("pain 7: an enqueue that is repeated under its own id is queued once", () => {
  using story = begin();
  const { stage } = story;
  const id = "0190b5c0-0000-7000-8000-000000000001";
  const input = { type: "write", payload: { name: "once" }, id };
  expect(stage.engine().handle("queue.add", input).isNew).toBe(true);
  expect(stage.engine().handle("queue.add", input)).toMatchObject({ id, isNew: false });
  expect(stage.engine().handle("queue.status", {}).unsent).toBe(1);
  expect(() => stage.engine().handle("queue.add", { ...input, payload: { name: "another" } })).toThrow(
    expect.objectContaining({ code: "refused_by_state" }),
  );
});

test("pain 8: a yes whose booking finds the disk full is booked later, and never becomes a failure", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  stage.engine().handle("network.offline", {});
  const id = add("landed");
  stage.engine().handle("network.online", {});
  await stage.scheduler.runUntil(() => remote.requests.length === 1, 60_000);
  stage.machine.disk.fill();
  stage.machine.disk.releaseReserve();
  while (stage.machine.disk.takeRoom()) void 0;
  await stage.scheduler.runFor(3_600_000);
  expect(remote.effects).toHaveLength(1);
  stage.machine.disk.free();
  await stage.scheduler.runFor(60_000);
  expect(stage.get(id).status).toBe("completed");
  expect(remote.effects).toHaveLength(1);
});

test("pain 10: everything queued that mentions a local id is rewritten with the answer that creates it, and stays so", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  const parent = add("parent", { creates: "local-1" });
  const deep = { name: "child", list: [{ id: "local-1" }], text: "about local-1" };
  const child = add("child", { payload: deep, notBefore: stage.machine.wallClock.now() + 60_000 });
  await stage.scheduler.runFor(5_000);
  expect(stage.get(parent)).toMatchObject({ status: "completed", serverId: "server-1" });
  expect(stage.get(child).payload).toEqual({ ...deep, list: [{ id: "server-1" }] });
  stage.restart();
  expect(stage.get(child).payload).toEqual({ ...deep, list: [{ id: "server-1" }] });
  // The old id stays an alias: whoever still holds it can go on using it.
  expect(stage.engine().handle("ids.get", { localId: "local-1" }).serverId).toBe("server-1");
  add("late", { payload: { name: "late", of: "local-1" } });
  await stage.scheduler.runFor(120_000);
  expect(remote.effects.map(({ body }) => body)).toContainEqual({ name: "late", of: "server-1" });
});

test("pain 10: a local id that was used before is refused instead of poisoning the queue", () => {
  using story = begin();
  const { add } = story;
  add("one", { creates: "local-1" });
  expect(() => add("two", { creates: "local-1" })).toThrow(expect.objectContaining({ code: "duplicate_local_id" }));
});

test("pain 10: when the creation is given up, what mentions its id is held visibly and never sent with the local id", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.always("parent", { status: 422 });
  const parent = add("parent", { creates: "local-1" });
  const child = add("child", { payload: { name: "child", of: "local-1" } });
  await stage.scheduler.runFor(60_000);
  stage.engine().handle("queue.cancel", { ids: [parent], dependents: "detach" });
  await stage.scheduler.runFor(60_000);
  expect(remote.requests.map(({ id }) => id)).not.toContain(child);
  expect(stage.get(child)).toMatchObject({ status: "failed", reason: "no_server_id" });
  stage.engine().handle("ids.assign", { localId: "local-1", serverId: "made-by-hand" });
  await stage.scheduler.runFor(60_000);
  expect(remote.effects.map(({ body }) => body)).toEqual([{ name: "child", of: "made-by-hand" }]);
});

test("pain 11: a dependent never goes before what it depends on, named or implied, across lanes and restarts", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.next({ status: 500 }, "lost before", { status: 503, afterMs: 10_000 });
  const contact = add("contact", { lane: "slow", creates: "local-contact" });
  const report = add("report", { lane: "fast", payload: { name: "report", contact: "local-contact" } });
  const mail = add("mail", { after: [report], priority: 1_000 });
  await stage.scheduler.runFor(5_000);
  stage.restart();
  await stage.scheduler.runFor(3_600_000);
  expect(remote.effects.map(({ key }) => key)).toEqual([contact, report, mail]);
});
