// Owns pain 16: a status that says "synced" when it is not. Green needs proof; everything else names its age and its reason.
// How the light is drawn is the faces' business.
import { expect, test } from "vitest";
import { newRemote } from "../support/remote.ts";
import { openStage } from "../support/virtual.ts";

function begin() {
  const remote = newRemote(() => stage.scheduler.elapsed());
  let isReachable = true;
  const stage = openStage({ types: [remote.type], isReachable: () => isReachable });
  const cut = (isCut: boolean): void => {
    isReachable = !isCut;
    remote.everything(isCut ? "no route" : null);
  };
  const add = (name: string): string => stage.engine().handle("queue.add", { type: "write", payload: { name } }).id;
  const status = () => stage.engine().handle("queue.status", {});
  return { stage, remote, add, cut, status, [Symbol.dispose]: () => stage[Symbol.dispose]() };
}

test("pain 16: green only when nothing is unsent and nothing has failed", async () => {
  using story = begin();
  const { stage, remote, add, cut, status } = story;
  expect(status().light).toBe("green");
  cut(true);
  add("waiting");
  expect(status().light).not.toBe("green");
  await stage.scheduler.runFor(3_600_000);
  expect(status()).toMatchObject({ light: "red", unsent: 1 });
  cut(false);
  await stage.scheduler.runFor(3_600_000);
  expect(status()).toMatchObject({ light: "green", unsent: 0 });
  remote.always("bad", { status: 422 });
  add("bad");
  await stage.scheduler.runFor(60_000);
  expect(status().light).toBe("warning");
});

test("pain 16: nothing to do and being stuck never look alike: the age of the oldest, the next attempt and the reason are told", async () => {
  using story = begin();
  const { stage, add, cut, status } = story;
  const empty = status();
  cut(true);
  const at = stage.machine.wallClock.now();
  const id = add("stuck");
  await stage.scheduler.runFor(86_400_000);
  const stuck = status();
  expect(stuck).toMatchObject({ oldestUnsentAt: at, isDraining: true });
  expect(stuck.nextAttemptAt).toBeGreaterThan(at);
  expect(stuck.sentence).not.toBe(empty.sentence);
  const why = stage.engine().handle("queue.why", { id });
  expect(why.sentence).toMatch(/reach|answer/);
  expect(why.nextMoveAt).not.toBeNull();
});

test("pain 16: when no process sends, that is what the explanation says", () => {
  using story = begin();
  const { stage, add } = story;
  const id = add("nobody sends this");
  void stage.engine().stop(0);
  stage.now().process.kill();
  const face = stage.boot("face only");
  void face.engine.stop(0);
  const kinds = face.engine.handle("queue.why", { id }).blockers.map(({ kind }) => kind);
  expect(kinds).toContain("no_drainer");
});
