// Owns the pains of the queue itself: what one refused, stuck or unwanted write does to the others (pains 1, 2, 3, 12, 13, 21).
// Random lives that look for the same are test/simulation.
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import { newRemote } from "../support/remote.ts";
import { openStage } from "../support/virtual.ts";

function begin(settings = {}) {
  const remote = newRemote(() => stage.scheduler.elapsed());
  const stage = openStage({ types: [remote.type, { ...remote.type, type: "bulk", isBulk: true }], settings });
  const add = (name: string, more: object = {}): string =>
    stage.engine().handle("queue.add", { type: "write", payload: { name }, ...more }).id;
  const names = (): readonly string[] => remote.effects.map(({ body }) => (body as { readonly name: string }).name);
  return { stage, remote, add, names, [Symbol.dispose]: () => stage[Symbol.dispose]() };
}

test("pain 1: one refused write blocks only what depends on it; other lanes and loose operations go on", async () => {
  using story = begin();
  const { stage, remote, add, names } = story;
  remote.always("bad", { status: 422 });
  const bad = add("bad", { lane: "a" });
  const behind = add("behind", { lane: "a" });
  const child = add("child", { after: [bad] });
  add("other lane", { lane: "b" });
  add("loose");
  await stage.scheduler.runFor(600_000);
  expect([...names()].sort()).toEqual(["loose", "other lane"]);
  expect(stage.get(bad).status).toBe("failed");
  for (const id of [behind, child]) {
    expect(stage.get(id).status).toBe("pending");
    expect(stage.engine().handle("queue.why", { id }).blockers[0]?.id).toBe(bad);
  }
});

test("pain 1: a lane that was declared to skip goes on past a refused write", async () => {
  using story = begin();
  const { stage, remote, add, names } = story;
  remote.always("bad", { status: 400 });
  const bad = add("bad", { lane: "a", onFailure: "skip" });
  add("behind", { lane: "a" });
  await stage.scheduler.runFor(60_000);
  expect(names()).toEqual(["behind"]);
  expect(stage.get(bad)).toMatchObject({ status: "failed", reason: "rejected" });
});

test("pain 2: a refused write stays with its payload and its reason, over restarts and for as long as nobody decides", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.always("bad", { status: 403 });
  const bad = add("bad");
  await stage.scheduler.runFor(60_000);
  stage.restart();
  await stage.scheduler.runFor(86_400_000);
  expect(stage.get(bad)).toMatchObject({
    status: "failed",
    reason: "rejected",
    payload: { name: "bad" },
    problem: { code: "http_403", status: 403 },
  });
  remote.always("bad", null);
  stage.engine().handle("queue.retry", { ids: [bad] });
  await stage.scheduler.runFor(60_000);
  expect(stage.get(bad).status).toBe("completed");
});

test("pain 3: what needs attention is listed with its reason and its history, and can be exported without its secrets", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.always("bad", { status: 422 });
  const bad = add("bad", { payload: { name: "bad", token: "s3cret" } });
  await stage.scheduler.runFor(60_000);
  const { operations } = stage.engine().handle("queue.list", { status: ["failed"] });
  expect(operations.map(({ id, problem }) => [id, problem?.code])).toEqual([[bad, "http_422"]]);
  const { entries } = stage.engine().handle("queue.history", { id: bad });
  expect(entries.map(({ kind }) => kind)).toContain("parked");
  const { lines } = stage.engine().handle("queue.export", { redact: true });
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toContain("s3cret");
});

test("pain 12: small operations do not wait behind big ones, and a person's bump goes first", async () => {
  using story = begin({ concurrency: 1, bulkConcurrency: 1 });
  const { stage, remote, add, names } = story;
  remote.always("10 GB", "hangs");
  for (let count = 0; count < 3; count += 1) add("10 GB", { type: "bulk" });
  await stage.scheduler.runFor(1_000);
  stage.engine().handle("queue.pause", { scope: { kind: "type", name: "write" } });
  for (const name of ["one", "two", "three"]) add(name);
  const bumped = add("bumped", { priority: -5 });
  stage.engine().handle("queue.edit", { id: bumped, priority: 100 });
  stage.engine().handle("queue.resume", { scope: { kind: "type", name: "write" } });
  await stage.scheduler.runFor(10_000);
  expect(names()).toEqual(["bumped", "one", "two", "three"]);
});

test("pain 12: a high priority behind a low one in a lane lifts it, instead of waiting or jumping the order", async () => {
  using story = begin({ concurrency: 1 });
  const { stage, add, names } = story;
  stage.engine().handle("queue.pause", { scope: { kind: "all" } });
  add("noise 1");
  add("noise 2");
  add("first of the lane", { lane: "a", priority: -10 });
  add("urgent", { lane: "a", priority: 100 });
  stage.engine().handle("queue.resume", { scope: { kind: "all" } });
  await stage.scheduler.runFor(10_000);
  expect(names()).toEqual(["first of the lane", "urgent", "noise 1", "noise 2"]);
});

test("pain 13: a cancelled operation stays cancelled after a restart, and is addressed by its id, never by its place", async () => {
  using story = begin();
  const { stage, add, names } = story;
  stage.engine().handle("network.offline", {});
  const ids = ["a", "b", "c"].map((name) => add(name));
  stage.engine().handle("queue.cancel", { ids: [ids[1] ?? ""] });
  stage.engine().handle("queue.edit", { id: ids[2] ?? "", payload: { name: "c2" } });
  stage.restart();
  stage.engine().handle("network.online", {});
  await stage.scheduler.runFor(60_000);
  expect(names()).toEqual(["a", "c2"]);
  expect(stage.get(ids[1] ?? "")).toMatchObject({ status: "cancelled", outcome: "cancelled" });
});

test("pain 13: clearing everything needs the real number of unsent operations, so that nothing is lost unasked", () => {
  using story = begin();
  const { stage, add } = story;
  add("one");
  add("two");
  const clear = (confirm?: number) => () =>
    stage.engine().handle("queue.clear", { scope: "all", ...(confirm === undefined ? {} : { confirm }) });
  expect(clear()).toThrow(HoldfastError);
  expect(clear(1)).toThrow(HoldfastError);
  expect(stage.engine().handle("queue.status", {}).unsent).toBe(2);
  expect(clear(2)()).toEqual({ removed: 2, unsent: 2 });
});

test("pain 21: a full queue refuses the enqueue before it is acknowledged, and never drops unsent work to make room", () => {
  using story = begin({ maxOperations: 3 });
  const { stage, add } = story;
  stage.engine().handle("network.offline", {});
  const ids = ["a", "b"].map((name) => add(name));
  const third = stage.engine().handle("queue.add", { type: "write", payload: { name: "c" } });
  expect(third.warning).not.toBeNull();
  expect(() => add("d")).toThrow(expect.objectContaining({ code: "queue_full" }));
  expect(
    stage
      .engine()
      .handle("queue.list", {})
      .operations.map(({ id }) => id),
  ).toEqual([...ids, third.id]);
});

test("pain 21: on a full disk nothing new is acknowledged, and what is queued keeps draining on the reserve", async () => {
  // Under the other policy what has landed is dropped to make room.
  using story = begin({ overflow: "reject" });
  const { stage, remote, add } = story;
  stage.engine().handle("network.offline", {});
  const ids = ["a", "b", "c"].map((name) => add(name));
  stage.engine().handle("network.online", {});
  stage.machine.disk.fill();
  expect(() => add("d")).toThrow(expect.objectContaining({ code: "disk_full" }));
  await stage.scheduler.runFor(60_000);
  expect(remote.effects).toHaveLength(3);
  expect(stage.engine().handle("queue.status", {})).toMatchObject({ isDiskFull: true, unsent: 0 });
  stage.machine.disk.free();
  await stage.scheduler.runFor(60_000);
  expect(stage.engine().handle("queue.status", {}).isDiskFull).toBe(false);
  expect(ids.map((id) => stage.get(id).status)).toEqual(["completed", "completed", "completed"]);
  add("d");
});
