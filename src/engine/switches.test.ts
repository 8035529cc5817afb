// Owns the tests of what people switch and see: pauses, working offline, sync modes and runs, reachability, the status light.
// Leaves the belief about a remote to network.test.ts of the root.
import { describe, expect, test } from "vitest";
import type { Bench } from "../../test/support/virtual-engine.ts";
import { applied, failed, lost, refused, remote, silent, startBench } from "../../test/support/virtual-engine.ts";

describe("pauses", () => {
  test("a paused lane, type, remote or everything sends nothing and goes on where it stood", async () => {
    const scopes = [
      { kind: "all" },
      { kind: "lane", name: "a" },
      { kind: "type", name: "note" },
      { kind: "remote", name: remote },
    ] as const;
    for (const scope of scopes) {
      const bench = startBench();
      bench.ask("queue.pause", { scope, reason: "maintenance" });
      const first = bench.add({ payload: 1, lane: "a" });
      bench.add({ payload: 2, lane: "a" });
      await bench.run(60_000);
      expect(bench.sent).toHaveLength(0);
      expect(bench.ask("queue.why", { id: first.id }).blockers[0]?.kind).toBe("paused");
      bench.crash();
      await bench.run(1_000);
      expect(bench.sent).toHaveLength(0);
      expect(bench.ask("queue.resume", { scope }).paused).toEqual([]);
      await bench.run();
      expect(bench.order()).toEqual([1, 2]);
    }
  });
});

describe("working offline", () => {
  test("sends nothing until it is ended, also after a restart, and costs nothing", async () => {
    const bench = startBench();
    bench.ask("network.offline", {});
    const { id } = bench.add();
    bench.crash();
    await bench.run(3_600_000);
    expect(bench.sent).toHaveLength(0);
    expect(bench.ask("queue.status", {})).toMatchObject({ light: "red", isWorkingOffline: true });
    bench.ask("network.online", {});
    await bench.run();
    expect(bench.get(id)).toMatchObject({ status: "completed", failures: 0, attempts: 1 });
  });
});

describe("a run that a person asked for", () => {
  test("uses up no attempt of those that the policy has, however often it is asked for", async () => {
    const bench = startBench();
    const retry = { maxAttempts: 3, initialMs: 60_000, maxMs: 60_000, jitter: 0 };
    bench.answers.push(...Array.from({ length: 40 }, () => failed));
    const { id } = bench.add({ retry });
    await bench.run(1_000);
    // One more, and the remote would be given a rest.
    for (let n = 0; n < 3; n += 1) {
      bench.ask(n % 2 === 0 ? "sync.run" : "network.offline", {});
      bench.ask("network.online", {});
      await bench.run(1_000);
      expect(bench.get(id)).toMatchObject({ status: "pending", reason: "retry", failures: 1, attempts: n + 2 });
    }
    await bench.run(59_500);
    expect(bench.get(id)).toMatchObject({ status: "pending", failures: 2, attempts: 5 });
    await bench.run(600_000);
    expect(bench.get(id)).toMatchObject({ status: "failed", reason: "gave_up", failures: 3, attempts: 6 });
  });

  test("does not end on what was found out before: the remote is looked at again first", async () => {
    const bench = startBench();
    bench.probe = { isReachable: false, reason: "nobody answers" };
    bench.answers.push(...Array.from({ length: 50 }, () => silent));
    const first = bench.add();
    await bench.run(60_000);
    bench.ask("queue.cancel", { ids: [first.id] });
    bench.add();
    // A probe has just failed: the next one may come a second later, not at once.
    bench.ask("network.check", {});
    await bench.run(100);
    bench.answers.length = 0;
    bench.probe = { isReachable: true, reason: "it answers" };
    bench.ask("sync.run", {});
    while (bench.ask("sync.status", {}).isSyncing) await bench.run(100);
    expect(bench.ask("sync.status", {}).run).toMatchObject({ succeeded: 1, remaining: 0 });
  });

  test("ends after one look when the remote is offline still", async () => {
    const bench = startBench();
    bench.probe = { isReachable: false, reason: "nobody answers" };
    bench.answers.push(...Array.from({ length: 50 }, () => silent));
    bench.add();
    await bench.run(300_000);
    bench.ask("sync.run", {});
    await bench.run(5_000);
    expect(bench.ask("sync.status", {})).toMatchObject({ isSyncing: false, run: { succeeded: 0, remaining: 1 } });
  });
});

describe("reachability", () => {
  test("an unreachable remote is probed, not hammered, and everything goes when it answers", async () => {
    const bench = startBench();
    bench.probe = { isReachable: false, reason: "nobody answers" };
    bench.answers.push(...Array.from({ length: 50 }, () => silent));
    const receipts = Array.from({ length: 20 }, () => bench.add());
    await bench.run(600_000);
    const tries = bench.sent.length;
    expect(tries).toBeLessThan(40);
    const status = bench.ask("queue.status", {});
    expect(status).toMatchObject({ light: "red", remotes: [{ status: "offline", pending: 20 }] });
    expect(status.nextAttemptAt).not.toBeNull();
    bench.answers.length = 0;
    bench.probe = { isReachable: true, reason: "it answers" };
    await bench.run(120_000);
    for (const { id } of receipts) expect(bench.get(id)).toMatchObject({ status: "completed", failures: 0 });
  });

  test("only a remote that named a time is said to have asked for a wait", async () => {
    const bench = startBench();
    const why = (id: string): string => bench.ask("queue.why", { id }).sentence;
    bench.answers.push(failed, failed, failed, failed, failed);
    for (let each = 0; each < 5; each += 1) bench.add({ retry: "progressive" });
    await bench.run(5);
    expect(why(bench.add().id)).toMatch(/is given a rest after 5 failures of the remote in a row, the last/);
    const other = startBench();
    other.probe = { isReachable: false, reason: "nobody answers" };
    other.answers.push(silent, silent, silent);
    const { id } = other.add();
    await other.run(4_000);
    other.probe = { isReachable: true, reason: "it answers" };
    for (let step = 0; step < 1_000 && !/reachable again/.test(other.ask("queue.why", { id }).sentence); step += 1)
      await other.run(20);
    expect(other.ask("queue.why", { id }).sentence).toMatch(/is reachable again, and is not asked by everybody/);
  });

  test("one remote that is down never holds another", async () => {
    const bench = startBench({
      types: [{ type: "other", remoteOf: () => "https://other.example", run: async () => ({ kind: "applied" }) }],
    });
    bench.probe = { isReachable: false, reason: "nobody answers" };
    bench.answers.push(silent, silent, silent, silent);
    bench.add();
    await bench.run(5_000);
    const { id } = bench.add({ type: "other" });
    await bench.run();
    expect(bench.get(id).status).toBe("completed");
  });

  test("a clock that goes back a day delays nothing by more than its own delay", async () => {
    const bench = startBench();
    bench.answers.push(lost, lost);
    const { id } = bench.add();
    await bench.run(500);
    bench.machine.wallClock.jump(-86_400_000);
    await bench.run(120_000);
    expect(bench.get(id).status).toBe("completed");
  });
});

test("a remote that nothing goes to is forgotten after the retention; one that something waits for stays", async () => {
  const bench = startBench({
    settings: { retainMs: 3_600_000 },
    type: { remoteOf: (payload) => `https://${String(payload)}.example` },
  });
  const remotes = () => bench.ask("network.status", {}).remotes.map(({ remote }) => remote);
  bench.probe = { isReachable: false, reason: "nobody answers" };
  bench.answers.push(applied, silent, silent);
  bench.add({ payload: "well" });
  await bench.run();
  const gone = bench.add({ payload: "gone" });
  await bench.run();
  const wanted = bench.add({ payload: "wanted" });
  await bench.run();
  bench.ask("queue.cancel", { ids: [gone.id] });
  bench.answers.push(...Array.from({ length: 1_000 }, () => silent));
  await bench.run(3_000_000);
  expect(remotes()).toEqual(["https://gone.example", "https://wanted.example", "https://well.example"]);
  await bench.run(1_000_000);
  expect(remotes()).toEqual(["https://wanted.example"]);
  expect(bench.get(wanted.id).status).toBe("pending");
});

test("one is offline when what something waits for does not answer, or nothing does", async () => {
  const bench = startBench({ type: { remoteOf: (payload) => `https://${String(payload)}.example` } });
  const seen = () => [bench.ask("network.status", {}).status, bench.ask("queue.status", {}).light];
  bench.probe = { isReachable: false, reason: "nobody answers" };
  bench.answers.push(silent, silent);
  const gone = bench.add({ payload: "gone" });
  await bench.run();
  expect(seen()).toEqual(["offline", "red"]);
  bench.ask("queue.cancel", { ids: [gone.id] });
  expect(seen()).toEqual(["offline", "red"]);
  bench.add({ payload: "well" });
  await bench.run();
  expect(bench.ask("network.status", {}).remotes.map(({ status }) => status)).toEqual(["offline", "online"]);
  expect(seen()).toEqual(["online", "green"]);
  bench.ask("queue.pause", { scope: { kind: "all" } });
  bench.add({ payload: "gone" });
  expect(seen()).toEqual(["offline", "red"]);
});

describe("sync", () => {
  test("in manual mode operations go only in a run, which counts what it did", async () => {
    const bench = startBench({ settings: { syncMode: "manual" } });
    bench.answers.push({ kind: "applied" }, refused);
    bench.add({ payload: 1 });
    const second = bench.add({ payload: 2 });
    await bench.run(60_000);
    expect(bench.sent).toHaveLength(0);
    expect(bench.ask("queue.why", { id: second.id }).blockers[0]?.kind).toBe("sync_mode");
    expect(bench.ask("sync.run", {})).toMatchObject({ pending: 2, isOffline: false });
    await bench.run(1_000);
    const { run, isSyncing } = bench.ask("sync.status", {});
    expect(isSyncing).toBe(false);
    expect(run).toMatchObject({ total: 2, succeeded: 1, failed: 1, remaining: 1, errors: [{ id: second.id }] });
    bench.add({ payload: 3 });
    await bench.run(60_000);
    expect(bench.sent).toHaveLength(2);
  });

  test("in periodic mode a run begins every interval", async () => {
    const bench = startBench({ settings: { syncMode: "periodic", syncIntervalMs: 60_000 } });
    await bench.run(1_000);
    bench.add();
    await bench.run(30_000);
    expect(bench.sent).toHaveLength(0);
    await bench.run(61_000);
    expect(bench.sent).toHaveLength(1);
  });

  test("a run while working offline says so and sends nothing", async () => {
    const bench = startBench();
    bench.ask("network.offline", {});
    bench.add();
    expect(bench.ask("sync.run", {})).toMatchObject({ isOffline: true, pending: 1 });
    await bench.run();
    expect(bench.sent).toHaveLength(0);
  });

  test("a run does not count as pending what it does not send: drafts, and what failed before", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    bench.add();
    await bench.run();
    bench.add({ isDraft: true });
    expect(bench.ask("sync.run", {})).toEqual({ pending: 0, isOffline: false, sentence: "Nothing to send." });
    expect(bench.ask("sync.run", { retryFailed: true })).toMatchObject({ pending: 1 });
  });

  test("a run can take the failed ones along", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const { id } = bench.add();
    await bench.run();
    bench.ask("sync.run", { retryFailed: true });
    await bench.run();
    expect(bench.get(id).status).toBe("completed");
  });
});

describe("many that have failed", () => {
  test("are all taken along, and tried again by one filter, beyond what a page holds", async () => {
    const bench = startBench({ settings: { concurrency: 500, concurrencyPerRemote: 500 } });
    const operations = Array.from({ length: 600 }, () => ({ type: "note", payload: null }));
    for (const ask of ["run", "retry"]) {
      bench.answers.push(...Array.from({ length: 1_200 }, () => refused));
      for (let time = 0; time < 2; time += 1) bench.ask("queue.addMany", { operations });
      await bench.run(5_000);
      expect(bench.ask("queue.status", {}).counts.failed).toBe(1_200);
      if (ask === "run") expect(bench.ask("sync.run", { retryFailed: true }).pending).toBe(1_200);
      else expect(bench.ask("queue.retry", { filter: { status: ["failed"] } }).done).toHaveLength(1_200);
      expect(bench.ask("queue.status", {}).counts.failed).toBe(0);
      await bench.run(5_000);
    }
  });
});

describe("the light", () => {
  test("is green only when nothing is unsent and nothing failed", async () => {
    const bench = startBench();
    const light = (): string => bench.ask("queue.status", {}).light;
    expect(light()).toBe("green");
    bench.answers.push(
      () => new Promise((resolve) => bench.machine.options.scheduler.after(500, () => resolve({ kind: "applied" }))),
      refused,
    );
    bench.add();
    await bench.run(10);
    expect(light()).toBe("yellow");
    await bench.run(1_000);
    expect(light()).toBe("green");
    const { id } = bench.add();
    await bench.run();
    expect(light()).toBe("warning");
    bench.ask("queue.cancel", { ids: [id] });
    expect(light()).toBe("green");
  });
});

describe("a time of its own is no promise while something else is closed", () => {
  const in5s = (bench: Bench): number => bench.machine.wallClock.now() + 5_000;
  const told = (bench: Bench, id: string) => {
    const { sentence, nextMoveAt } = bench.ask("queue.why", { id });
    return { sentence, nextMoveAt, nextAttemptAt: bench.ask("queue.status", {}).nextAttemptAt };
  };

  test.for<[string, (bench: Bench) => unknown, RegExp]>([
    ["everything", ({ ask }) => ask("queue.pause", { scope: { kind: "all" } }), /It also waits because everything is/],
    ["its type", ({ ask }) => ask("queue.pause", { scope: { kind: "type", name: "note" } }), /type "note" is paused/],
    ["its remote", ({ ask }) => ask("queue.pause", { scope: { kind: "remote", name: remote } }), /is paused/],
    ["its lane", ({ ask }) => ask("queue.pause", { scope: { kind: "lane", name: "a" } }), /lane "a" is paused/],
    ["the network", ({ ask }) => ask("network.offline", {}), /you work offline/],
    ["its subject", ({ ask }) => ask("subject.signOut", { subject: "ada" }), /"ada" is signed out/],
  ])("scheduled, it waits for %s as well", async ([, close, words]) => {
    const bench = startBench();
    const at = in5s(bench);
    const { id } = bench.add({ notBefore: at, lane: "a", subject: "ada" });
    await bench.run();
    expect(told(bench, id)).toEqual({
      sentence: "It is scheduled for later.",
      nextMoveAt: at,
      nextAttemptAt: at,
    });
    close(bench);
    await bench.run();
    expect(told(bench, id)).toMatchObject({ nextMoveAt: null, nextAttemptAt: null });
    expect(told(bench, id).sentence).toMatch(/^It is scheduled for later\. It also waits because /);
    expect(told(bench, id).sentence).toMatch(words);
  });

  test("what waits for its next attempt, too; another that is free tells the time", async () => {
    const bench = startBench();
    bench.answers.push(failed);
    const { id } = bench.add({ lane: "a", retry: "progressive" });
    await bench.run();
    expect(told(bench, id).nextMoveAt).not.toBeNull();
    bench.ask("queue.pause", { scope: { kind: "lane", name: "a" } });
    expect(told(bench, id)).toMatchObject({ nextMoveAt: null, nextAttemptAt: null });
    const at = in5s(bench);
    bench.add({ notBefore: at, lane: "b" });
    expect(told(bench, id)).toMatchObject({ nextMoveAt: null, nextAttemptAt: at });
  });

  test("a remote that is paced opens after the time that was planned, and that is what is told", async () => {
    const bench = startBench();
    const at = in5s(bench);
    const { id } = bench.add({ notBefore: at });
    bench.answers.push({
      kind: "retry",
      problem: { code: "rate_limited", message: "wait", status: 429 },
      isCharged: false,
      scope: "remote",
      afterMs: 60_000,
    });
    bench.add();
    await bench.run();
    const later = expect.closeTo(at + 55_000, -3);
    expect(told(bench, id)).toMatchObject({ nextMoveAt: later, nextAttemptAt: later });
  });
});
