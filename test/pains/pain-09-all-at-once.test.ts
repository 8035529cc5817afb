// Owns pain 9 as one story: a creation whose answer is lost, its replay, a token that expires meanwhile, a batch that the
// remote refuses as a whole, and a process that dies in the middle. One report of an expense app lost a day's work to this chain.
import { expect, test } from "vitest";
import type { Remote } from "../support/remote.ts";
import { newRemote } from "../support/remote.ts";
import type { VirtualStage } from "../support/virtual.ts";
import { openStage } from "../support/virtual.ts";

type Story = {
  readonly stage: VirtualStage;
  readonly remote: Remote;
  readonly add: (name: string, more?: object) => string;
};

function begin(): Story {
  const remote = newRemote(() => stage.scheduler.elapsed());
  const stage = openStage({ types: [remote.type] });
  const add = (name: string, more: object = {}): string =>
    stage.engine().handle("queue.add", { type: "write", payload: { name }, lane: "report", subject: "ann", ...more })
      .id;
  return { stage, remote, add };
}

test("answer lost, replay, expired token, refused batch, kill: everything lands once, in order, and nothing is dropped", async () => {
  const { stage, remote, add } = begin();
  using _ = stage;

  // The report is created on the remote, and the answer never comes back.
  remote.next("lost after");
  const report = add("create report", { creates: "local-report" });
  const expenses = ["taxi", "hotel", "lunch"].map((name) => add(name, { payload: { name, report: "local-report" } }));
  const submit = add("submit", { payload: { name: "submit", report: "local-report" } });
  await stage.scheduler.runFor(500);
  expect(remote.effects.map(({ body }) => body)).toEqual([{ name: "create report" }]);
  expect(stage.get(report)).toMatchObject({ status: "pending", mayHaveLanded: true, failures: 0 });

  // The phone dies before the replay, and the token runs out while it is off.
  remote.everything({ status: 401 });
  stage.now().process.kill();
  await stage.scheduler.runFor(9.5 * 3_600_000);
  stage.restart();
  await stage.scheduler.runFor(60_000);
  for (const id of [report, ...expenses, submit]) {
    expect(stage.get(id)).toMatchObject({ status: "pending", failures: 0 });
  }
  expect(stage.engine().handle("queue.why", { id: report }).blockers[0]).toMatchObject({ kind: "auth", name: "ann" });
  expect(stage.engine().handle("queue.status", {}).signedOut).toMatchObject([{ subject: "ann", pending: 5 }]);
  // It did not hammer the remote with a token that is known to be bad.
  expect(remote.requests.length).toBeLessThan(6);

  // Fresh credentials: the replay is recognised, but one expense is refused for good.
  remote.everything(null);
  remote.always("hotel", { status: 422 });
  stage.engine().handle("subject.signIn", { subject: "ann" });
  await stage.scheduler.runFor(60_000);
  const [taxi = "", hotel = "", lunch = ""] = expenses;
  expect(stage.get(report)).toMatchObject({ status: "completed", outcome: "duplicate", serverId: "server-1" });
  expect(stage.get(taxi).status).toBe("completed");
  expect(stage.get(hotel)).toMatchObject({ status: "failed", reason: "rejected", problem: { code: "http_422" } });
  // What follows in the lane is held, visibly, and says behind whom.
  for (const id of [lunch, submit]) {
    expect(stage.get(id).status).toBe("pending");
    expect(stage.engine().handle("queue.why", { id }).blockers[0]).toMatchObject({ kind: "lane", id: hotel });
  }
  expect(stage.engine().handle("queue.status", {}).light).toBe("warning");

  // The person corrects it; a fresh key lets the remote look again, and the rest follows in order.
  remote.always("hotel", null);
  stage.engine().handle("queue.edit", { id: hotel, payload: { name: "hotel, with receipt", report: "server-1" } });
  stage.engine().handle("queue.retry", { ids: [hotel] });
  await stage.scheduler.runFor(60_000);

  expect(remote.effects.map(({ body }) => body)).toEqual([
    { name: "create report" },
    { name: "taxi", report: "server-1" },
    { name: "hotel, with receipt", report: "server-1" },
    { name: "lunch", report: "server-1" },
    { name: "submit", report: "server-1" },
  ]);
  expect(stage.engine().handle("queue.status", {})).toMatchObject({ light: "green", unsent: 0 });
  expect(stage.engine().handle("queue.status", {}).counts.completed).toBe(5);
});

test("the same story with a kill at every step of the engine ends the same way", async () => {
  for (let calls = 1; calls <= 400; calls += 7) {
    const { stage, remote, add } = begin();
    using _ = stage;
    remote.next("lost after", { status: 500 }, { status: 401 });
    const report = add("create report", { creates: "local-report" });
    const submit = add("submit", { payload: { name: "submit", report: "local-report" } });
    stage.now().process.killAfter(calls);
    await stage.scheduler.runFor(120_000);
    stage.restart();
    stage.engine().handle("subject.signIn", { subject: "ann" });
    await stage.scheduler.runFor(120_000);
    const names = remote.effects.map(({ body }) => (body as { readonly name: string }).name);
    expect(names, `killed at step ${calls}`).toEqual(["create report", "submit"]);
    expect([report, submit].map((id) => stage.get(id).status)).toEqual(["completed", "completed"]);
  }
});
