// Owns the tests of how much goes out at once. Leaves the order of what goes to lanes.test.ts, gates to switches.test.ts.
import { describe, expect, test } from "vitest";
import { startBench } from "../../test/support/virtual-engine.ts";
import type { Settings } from "../shapes.ts";

/** Queues 20 operations, 10 for each of two remotes, and tells how many of each remote are on the wire at the same time. */
async function mostAtOnce(settings: Partial<Settings>, isBulk = false): Promise<readonly [number, number, number]> {
  const now = { a: 0, b: 0 };
  const landing: (() => void)[] = [];
  const most = { a: 0, b: 0, all: 0 };
  const bench = startBench({
    settings,
    type: {
      isBulk,
      remoteOf: (payload) => `https://${String(payload)}.example`,
      run: async ({ input }) => {
        const remote = input === "a" ? "a" : "b";
        now[remote] += 1;
        most[remote] = Math.max(most[remote], now[remote]);
        most.all = Math.max(most.all, now.a + now.b);
        await new Promise<void>((resolve) => landing.push(resolve));
        now[remote] -= 1;
        return { kind: "applied" };
      },
    },
  });
  for (let count = 0; count < 10; count += 1) {
    bench.add({ payload: "a" });
    bench.add({ payload: "b" });
  }
  for (let round = 0; round < 20; round += 1) {
    await bench.run();
    for (const land of landing.splice(0)) land();
  }
  await bench.run();
  expect(bench.ask("queue.status", {}).counts.completed).toBe(20);
  return [most.a, most.b, most.all];
}

describe("what is on the wire at once", () => {
  test("is as much as the store allows, not one more", async () => {
    expect((await mostAtOnce({ concurrency: 3, concurrencyPerRemote: 8 }))[2]).toBe(3);
  });

  test("is as much for one remote as that one may get, not one more", async () => {
    expect(await mostAtOnce({ concurrency: 16, concurrencyPerRemote: 2 })).toEqual([2, 2, 4]);
  });

  test("is bounded apart for bulk types", async () => {
    expect((await mostAtOnce({ concurrency: 1, bulkConcurrency: 5 }, true))[2]).toBe(5);
  });
});
