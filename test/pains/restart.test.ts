// Owns the pains of processes that end and of programs that change: in flight at the end, several processes, newer payloads,
// clocks that jump (pains 14, 15, 22, 25). Real kills of real processes are test/crash.
import { expect, test } from "vitest";
import type { OperationType } from "../../src/world.ts";
import { newRemote } from "../support/remote.ts";
import type { StageOptions } from "../support/virtual.ts";
import { openStage } from "../support/virtual.ts";

function begin(options: Partial<OperationType> = {}, more: StageOptions = {}) {
  const remote = newRemote(() => stage.scheduler.elapsed(), options);
  const stage = openStage({ types: [remote.type], ...more });
  const add = (name: string, extra: object = {}): string =>
    stage.engine().handle("queue.add", { type: "write", payload: { name }, ...extra }).id;
  return { stage, remote, add, [Symbol.dispose]: () => stage[Symbol.dispose]() };
}

test("pain 14: what is on the wire when the process ends is known after the restart and sent again under its key", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.next("hangs");
  const id = add("in flight");
  await stage.scheduler.runFor(100);
  expect(stage.get(id).status).toBe("in_progress");
  stage.restart();
  await stage.scheduler.runFor(60_000);
  expect(remote.requests.map(({ key }) => key)).toEqual([id, id]);
  expect(stage.get(id)).toMatchObject({ status: "completed", attempts: 2, failures: 0 });
});

test("pain 14: what must never happen twice asks a person after a crash instead of going again", async () => {
  using story = begin({ onCrash: "ask" });
  const { stage, remote, add } = story;
  remote.next("hangs");
  const id = add("pay");
  await stage.scheduler.runFor(100);
  stage.restart();
  await stage.scheduler.runFor(86_400_000);
  expect(remote.requests).toHaveLength(1);
  expect(stage.get(id)).toMatchObject({ status: "failed", reason: "unsure", mayHaveLanded: true });
});

test("pain 15: of several processes one sends, any may queue, and the next takes over when the first dies", async () => {
  using story = begin();
  const { stage, remote } = story;
  const second = stage.boot("second");
  const third = stage.boot("third");
  const ids = [stage.engine(), second.engine, third.engine].map(
    (engine, index) => engine.handle("queue.add", { type: "write", payload: { name: `from ${index}` } }).id,
  );
  await stage.scheduler.runFor(1_000);
  expect(remote.effects.map(({ key }) => key).sort()).toEqual([...ids].sort());
  stage.now().process.kill();
  const after = third.engine.handle("queue.add", { type: "write", payload: { name: "after the death" } }).id;
  await stage.scheduler.runFor(5_000);
  expect(remote.effects.map(({ key }) => key)).toContain(after);
  expect(remote.requests).toHaveLength(4);
});

test("pain 15: a write by one process wakes the drainer of another within 250 ms", async () => {
  using story = begin();
  const { stage, remote } = story;
  const second = stage.boot("second");
  await stage.scheduler.runFor(60_000);
  const from = stage.scheduler.elapsed();
  second.engine.handle("queue.add", { type: "write", payload: { name: "wake up" } });
  await stage.scheduler.runUntil(() => remote.requests.length > 0, 60_000);
  expect(stage.scheduler.elapsed() - from).toBeLessThanOrEqual(250);
});

test("pain 22: a payload of an older version is brought forward when it is sent, by a program that came later", async () => {
  using old = begin({ version: 1 });
  const before = old.add("old");
  old.stage.engine().handle("network.offline", {});
  const kept = old.add("old and unsent");
  expect(old.stage.get(before).version).toBe(1);
  const upcast: OperationType["upcast"] = (payload, from) => ({ ...(payload as object), upcastFrom: from });
  using next = begin({ version: 2, upcast }, { database: old.stage.database });
  next.stage.engine().handle("network.online", {});
  await next.stage.scheduler.runFor(60_000);
  expect(next.remote.effects.map(({ body }) => body)).toContainEqual({ name: "old and unsent", upcastFrom: 1 });
  expect(next.stage.get(kept).status).toBe("completed");
});

test("pain 22: an operation of a type that nobody knows waits visibly and goes when the type appears", async () => {
  using story = begin();
  const { stage, remote } = story;
  const { id } = stage.engine().handle("queue.add", { type: "from the future", payload: { name: "early" } });
  await stage.scheduler.runFor(86_400_000);
  expect(stage.engine().handle("queue.why", { id }).blockers[0]).toMatchObject({ kind: "unknown_type" });
  stage.engine().register({ ...remote.type, type: "from the future" });
  await stage.scheduler.runFor(1_000);
  expect(stage.get(id).status).toBe("completed");
});

test("pain 25: a clock that jumps by days changes no order, loses no retry and stretches no wait", async () => {
  for (const jump of [-3 * 86_400_000, -3_600_000, 3_600_000, 3 * 86_400_000]) {
    using story = begin();
    const { stage, remote, add } = story;
    remote.next({ status: 500 });
    const ids = ["a", "b", "c"].map((name) => add(name, { lane: "one" }));
    await stage.scheduler.runFor(10);
    stage.machine.wallClock.jump(jump);
    await stage.scheduler.runFor(60_000);
    expect(
      remote.effects.map(({ key }) => key),
      `jump of ${jump}`,
    ).toEqual(ids);
  }
});
