// Owns the pains of trying again: what is permanent, what is not, when it stops and how it spreads (pains 4, 17, 18, 19, 20).
// Single failures are judged in src/failure.test.ts.
import { expect, test } from "vitest";
import type { Incident } from "../support/remote.ts";
import { newRemote } from "../support/remote.ts";
import { openStage } from "../support/virtual.ts";

function begin(options: { readonly seed?: string } = {}) {
  let isReachable = true;
  const remote = newRemote(() => stage.scheduler.elapsed());
  const stage = openStage({ types: [remote.type], isReachable: () => isReachable, ...options });
  const add = (name: string, more: object = {}): string =>
    stage.engine().handle("queue.add", { type: "write", payload: { name }, ...more }).id;
  const cut = (isCut: boolean): void => {
    isReachable = !isCut;
    remote.everything(isCut ? "no route" : null);
  };
  return { stage, remote, add, cut, [Symbol.dispose]: () => stage[Symbol.dispose]() };
}

test("pain 4: a bad network never makes an operation fail, however long it lasts", async () => {
  const trouble: readonly Incident[] = ["no route", "portal", "lost before", "lost after"];
  for (const incident of trouble) {
    using story = begin();
    const { stage, remote, add } = story;
    remote.everything(incident);
    const id = add("patient", { retry: { maxAttempts: 1, initialMs: 1_000, maxMs: 60_000 } });
    await stage.scheduler.runFor(6 * 3_600_000);
    expect(stage.get(id), String(incident)).toMatchObject({ status: "pending", failures: 0 });
    remote.everything(null);
    expect(await stage.scheduler.runUntil(() => stage.get(id).status === "completed", 3_600_000)).toBe(true);
    expect(remote.effects).toHaveLength(1);
  }
});

test("pain 17: after any outage everything drains by itself, and meanwhile a next time is always known", async () => {
  using story = begin();
  const { stage, add, cut } = story;
  cut(true);
  const ids = Array.from({ length: 20 }, (_, index) => add(`op ${index}`, { lane: `lane ${index % 4}` }));
  for (let hour = 0; hour < 12; hour += 1) {
    await stage.scheduler.runFor(3_600_000);
    const { nextAttemptAt } = stage.engine().handle("queue.status", {});
    expect(nextAttemptAt).not.toBeNull();
    expect(nextAttemptAt ?? 0).toBeGreaterThan(stage.machine.wallClock.now() - 1_000);
  }
  cut(false);
  expect(await stage.scheduler.runUntil(() => ids.every((id) => stage.get(id).status === "completed"), 3_600_000)).toBe(
    true,
  );
});

test("pain 17: a pause during a retry loses nothing, and a resume goes on", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.next({ status: 500 });
  const id = add("paused");
  await stage.scheduler.runFor(10);
  stage.engine().handle("queue.pause", { scope: { kind: "all" } });
  await stage.scheduler.runFor(86_400_000);
  expect(remote.requests).toHaveLength(1);
  stage.engine().handle("queue.resume", { scope: { kind: "all" } });
  await stage.scheduler.runFor(1_000);
  expect(stage.get(id).status).toBe("completed");
});

test("pain 18: a fleet that comes back together does not send at one instant", async () => {
  const firsts: number[] = [];
  for (let device = 0; device < 20; device += 1) {
    using story = begin({ seed: `device ${device}` });
    const { stage, remote, add, cut } = story;
    cut(true);
    add("mine");
    await stage.scheduler.runFor(3_600_000);
    cut(false);
    const back = stage.scheduler.elapsed();
    expect(await stage.scheduler.runUntil(() => remote.effects.length > 0, 3_600_000)).toBe(true);
    firsts.push(stage.scheduler.elapsed() - back);
  }
  const spread = Math.max(...firsts) - Math.min(...firsts);
  expect(spread).toBeGreaterThan(5_000);
  expect(new Set(firsts.map((at) => Math.floor(at / 1_000))).size).toBeGreaterThan(10);
});

test("pain 18: Retry-After paces everything for that remote, not only the operation that was told", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.next({ status: 429, afterMs: 30_000 });
  add("told");
  await stage.scheduler.runFor(100);
  add("another");
  await stage.scheduler.runFor(29_000);
  expect(remote.requests).toHaveLength(1);
  await stage.scheduler.runFor(10_000);
  expect(remote.effects).toHaveLength(2);
});

test("pain 19: ten hours without a remote cost few requests, however much is queued", async () => {
  using story = begin();
  const { stage, remote, add, cut } = story;
  cut(true);
  for (let index = 0; index < 200; index += 1) add(`op ${index}`);
  await stage.scheduler.runFor(10 * 3_600_000);
  expect(remote.requests.length).toBeLessThan(300);
});

test("pain 19: a remote that only fails is asked less and less, and opens again by itself", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.everything({ status: 500 });
  const ids = Array.from({ length: 50 }, (_, index) => add(`op ${index}`, { retry: { maxAttempts: 1_000 } }));
  await stage.scheduler.runFor(3_600_000);
  // Without a breaker each of the 50 would ask every 8 s: 22,500 requests.
  expect(remote.requests.length).toBeLessThan(8_000);
  remote.everything(null);
  await stage.scheduler.runFor(3_600_000);
  expect(ids.filter((id) => stage.get(id).status !== "completed")).toEqual([]);
});

test("pain 19: where probes are answered and requests are not, an operation costs no more than its own delays", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.everything("lost before");
  add("unheard", { retry: { initialMs: 1_000, maxMs: 60_000, jitter: 0 } });
  await stage.scheduler.runFor(3_600_000);
  expect(remote.requests.length).toBeLessThan(70);
});

test("pain 20: a login page of the network is no answer: nothing counts as sent, nothing as failed", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.everything("portal");
  const id = add("behind the portal");
  await stage.scheduler.runFor(3_600_000);
  expect(stage.get(id)).toMatchObject({ status: "pending", mayHaveLanded: false, failures: 0 });
  expect(stage.engine().handle("queue.status", {}).light).not.toBe("green");
});
