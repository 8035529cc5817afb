// Owns the rule that the loop never sleeps through the opening of a gate, on a clock that goes on while things are written.
// Leaves every other wait to the simulation, whose clock stands still within a step.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { watchCommits } from "../../test/support/commit-watch.ts";
import { rewriting, startRecords } from "../../test/support/record-bench.ts";
import { openDatabase } from "../node/sqlite.ts";
import { seededRandom } from "../testing/random.ts";
import { newScheduler } from "../testing/scheduler.ts";
import { newVirtualMachine } from "../testing/virtual-machine.ts";
import { bootProcess } from "../testing/virtual-world.ts";
import { openEngine } from "./engine.ts";

test("a gate that opens while the claim is written is not slept through", async () => {
  const scheduler = newScheduler();
  let probes = 0;
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("wake"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => {
      probes += 1;
      return { isReachable: probes > 2, reason: "as far as a probe can tell" };
    },
  });
  const { world, kill } = bootProcess(machine, "process");
  let slowMs = 0;
  // A disk on which each commit takes longer than the gate stays closed after an outage.
  const database = watchCommits(openDatabase(":memory:"), () => {
    slowMs += 80;
  });
  const sentAt: number[] = [];
  const engine = openEngine({
    database,
    world: { ...world, now: () => world.now() + slowMs },
    network: { reconnectJitterMs: 50, probeInitialMs: 100, confirmMs: 100 },
    types: [
      {
        type: "note",
        remoteOf: () => "https://remote.example",
        retry: { initialMs: 10, maxMs: 10, jitter: 0 },
        run: async () => {
          sentAt.push(scheduler.elapsed());
          if (probes > 2) return { kind: "applied" };
          return { kind: "unknown", problem: { code: "refused", message: "nobody answers" }, mayHaveLanded: false };
        },
      },
    ],
  });
  engine.start();
  const { id } = engine.handle("queue.add", { type: "note", payload: null });
  await scheduler.runFor(10_000);
  expect(engine.handle("queue.get", { id }).status).toBe("completed");
  expect(probes).toBe(3);
  engine.close();
  kill();
});

test("a fetch that failed is waited for asleep", async () => {
  const { server, client, run } = startRecords();
  // Pages that pass over what was acknowledged: the record is fetched once its echo is late.
  const ada = client({
    wrap: (port) => rewriting(port, { pull: (response) => ({ ...response, records: [] }) }),
  });
  await run();
  const problem = { code: "server_error", message: "the server has a problem" };
  const answer = { kind: "retry", problem, isCharged: false, scope: "operation" } as const;
  server.faults.push({ what: "fetch", answer, isApplied: false });
  ada.put("n1", { n: 1 });
  await run(60_000);
  expect(server.log.filter(({ what }) => what === "fetch").length).toBe(2);
  expect(ada.state("n1")).toBe("synced");
  expect(ada.wakes.judge()).toBeNull();
});

/** A type whose operations are under way until `finish`. */
function slowType() {
  let finish = (): void => {};
  const under = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const slow = { type: "slow", run: () => under.then(() => ({ kind: "applied" }) as const) };
  return { slow, finish: () => finish() };
}

test("a process that is told to stop waits asleep for what is under way, whatever is overdue", async () => {
  const { client, run } = startRecords();
  const { slow, finish } = slowType();
  const ada = client({ types: [slow] });
  const { id } = ada.ask("queue.add", { type: "slow", payload: 1 });
  await run(100);
  ada.ask("queue.add", { type: "slow", payload: 2, notBefore: ada.machine.wallClock.now() + 1_000 });
  const stopped = ada.engine.stop(60_000);
  await run(20_000);
  expect(ada.wakes.judge()).toBeNull();
  finish();
  await run(1_000);
  await stopped;
  expect(ada.ask("queue.get", { id }).status).toBe("completed");
});

test("nor does what is left over to prune keep it awake then", async () => {
  const { client, run } = startRecords();
  const { slow, finish } = slowType();
  const settings = { retainCount: 0, concurrency: 500 };
  const quick = { type: "quick", run: async () => ({ kind: "applied" }) as const };
  const ada = client({ settings, types: [quick, slow] });
  for (let time = 0; time < 3; time += 1)
    ada.ask("queue.addMany", { operations: Array.from({ length: 1_000 }, () => ({ type: "quick", payload: null })) });
  await run(10_000);
  ada.ask("queue.add", { type: "slow", payload: 1 });
  await run(10);
  expect(ada.ask("queue.status", {}).counts.completed).toBeGreaterThan(1_000);
  const stopped = ada.engine.stop(60_000);
  await run(20_000);
  expect(ada.wakes.judge()).toBeNull();
  finish();
  await run(1_000);
  await stopped;
});
