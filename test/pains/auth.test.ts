// Owns the pains of credentials: an expired token never costs work, and nobody's work is sent as somebody else (pains 5, 6).
// Which answers count as a refusal of credentials is the failure table's.
import { expect, test } from "vitest";
import { newRemote } from "../support/remote.ts";
import { openStage } from "../support/virtual.ts";

function begin() {
  const remote = newRemote(() => stage.scheduler.elapsed());
  const stage = openStage({ types: [remote.type] });
  const add = (name: string, subject: string, more: object = {}): string =>
    stage.engine().handle("queue.add", { type: "write", payload: { name }, subject, ...more }).id;
  return { stage, remote, add, [Symbol.dispose]: () => stage[Symbol.dispose]() };
}

test("pain 5: a 401 charges nothing, loses nothing, and pauses that subject alone", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.always("of ann", { status: 401 });
  const ann = add("of ann", "ann", { retry: { maxAttempts: 1 } });
  const more = ["2", "3"].map((name) => add(`of ann`, "ann", { payload: { name: "of ann", name2: name } }));
  const bob = add("of bob", "bob");
  await stage.scheduler.runFor(86_400_000);
  expect(stage.get(bob).status).toBe("completed");
  for (const id of [ann, ...more]) expect(stage.get(id)).toMatchObject({ status: "pending", failures: 0 });
  remote.always("of ann", null);
  expect(stage.engine().handle("subject.signIn", { subject: "ann" }).pending).toBe(3);
  await stage.scheduler.runFor(5_000);
  for (const id of [ann, ...more]) expect(stage.get(id).status).toBe("completed");
});

test("pain 5: a child whose parent waits for credentials waits with it, and goes after it", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.next({ status: 401 });
  const parent = add("parent", "ann", { creates: "local-1" });
  const child = add("child", "ann", { payload: { name: "child", parent: "local-1" } });
  await stage.scheduler.runFor(5_000);
  expect(remote.effects).toEqual([]);
  stage.engine().handle("subject.signIn", { subject: "ann" });
  await stage.scheduler.runFor(5_000);
  expect(remote.effects.map(({ key }) => key)).toEqual([parent, child]);
});

test("pain 5: a subject whose credentials nobody renews is tried again by itself, more and more seldom", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  remote.always("of ann", { status: 401 });
  add("of ann", "ann");
  await stage.scheduler.runFor(86_400_000);
  const tries = remote.requests.length;
  expect(tries).toBeGreaterThan(5);
  expect(tries).toBeLessThan(40);
});

test("pain 6: after a sign-out nothing of that subject is sent and nothing is deleted; another subject's work goes on", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  stage.engine().handle("subject.signOut", { subject: "ann" });
  const ann = add("of ann", "ann");
  const bob = add("of bob", "bob");
  await stage.scheduler.runFor(60_000);
  stage.restart();
  await stage.scheduler.runFor(86_400_000);
  expect(remote.requests.map(({ id }) => id)).toEqual([bob]);
  expect(stage.get(ann)).toMatchObject({ status: "pending", subject: "ann" });
  expect(stage.engine().handle("queue.why", { id: ann }).blockers[0]).toMatchObject({
    kind: "signed_out",
    name: "ann",
  });
  stage.engine().handle("subject.signIn", { subject: "ann" });
  await stage.scheduler.runFor(60_000);
  expect(remote.effects.map(({ subject }) => subject)).toEqual(["bob", "ann"]);
});

test("pain 6: the signing in of one subject frees nothing of another", async () => {
  using story = begin();
  const { stage, remote, add } = story;
  stage.engine().handle("subject.signOut", { subject: "ann" });
  add("of ann", "ann");
  stage.engine().handle("subject.signIn", { subject: "bob" });
  await stage.scheduler.runFor(86_400_000);
  expect(remote.requests).toEqual([]);
});
