// Owns the rule that answers share commits where commits are slow, and wait for nobody where they are fast.
// Leaves what an answer does to settle.test.ts.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { watchCommits } from "../../test/support/commit-watch.ts";
import { openDatabase } from "../node/sqlite.ts";
import { seededRandom } from "../testing/random.ts";
import { newScheduler } from "../testing/scheduler.ts";
import { newVirtualMachine } from "../testing/virtual-machine.ts";
import { bootProcess } from "../testing/virtual-world.ts";
import { gatherMsOf, longestGatherMs, slowCommitMs } from "./booking.ts";
import { openEngine } from "./engine.ts";

test("an answer waits only where a commit is slow, and never longer than its limit", () => {
  expect(gatherMsOf(slowCommitMs - 0.1)).toBe(0);
  expect(gatherMsOf(slowCommitMs)).toBe(slowCommitMs);
  expect(gatherMsOf(longestGatherMs + 1)).toBe(longestGatherMs);
});

/** Lands 80 operations, eight at a time, whose answers come one after the other; tells how many commits that took. */
async function commitsFor(commitMs: number): Promise<number> {
  const scheduler = newScheduler();
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("booking"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const { world } = bootProcess(machine, "process");
  let commits = 0;
  const database = watchCommits(openDatabase(":memory:"), () => {
    commits += 1;
  });
  let sent = 0;
  const engine = openEngine({
    database,
    world: { ...world, monotonic: () => world.monotonic() + commits * commitMs },
    settings: { concurrency: 8, concurrencyPerRemote: 8 },
    types: [
      {
        type: "note",
        run: async () => {
          sent += 1;
          const answerMs = 1 + (sent % 8) / 2;
          await new Promise<void>((resolve) => world.setTimer(answerMs, resolve));
          return { kind: "applied" };
        },
      },
    ],
  });
  engine.handle("queue.addMany", { operations: Array.from({ length: 80 }, () => ({ type: "note", payload: 1 })) });
  commits = 0;
  engine.start();
  await scheduler.runFor(5_000);
  expect(engine.handle("queue.status", {}).counts.completed).toBe(80);
  const needed = commits;
  engine.close();
  return needed;
}

test("on a slow disk the answers of neighbours share a commit", async () => {
  const [fast, slow] = [await commitsFor(0), await commitsFor(6)];
  expect(fast).toBeGreaterThan(40);
  expect(slow).toBeLessThan(25);
});
