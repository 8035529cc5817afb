// Owns the tests of how much goes out at once. Leaves the order of what goes to lanes.test.ts, gates to switches.test.ts.
import { describe, expect, test } from "vitest";
import { applied, remote, silent, startBench } from "../../test/support/virtual-engine.ts";
import type { Settings } from "../shapes.ts";
import type { OperationType } from "../world.ts";

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

describe("a remote that has to prove itself gets one request", () => {
  /** Its first request got no answer. What goes out then is listed; batches wait for `land`. */
  const startTrial = async (max: number) => {
    const requests: unknown[][] = [];
    let land = (): void => {};
    const bench = startBench({
      type: {
        runBatch: {
          max,
          run: async (attempts) => {
            const inputs = attempts.map(({ input }) => input);
            if (inputs.includes("unanswered")) return attempts.map(() => silent);
            requests.push(inputs);
            await new Promise<void>((resolve) => (land = resolve));
            return attempts.map(() => applied);
          },
        },
      },
      types: [
        {
          type: "single",
          remoteOf: () => remote,
          run: async ({ input }) => {
            requests.push([input]);
            return applied;
          },
        },
      ],
    });
    const { id } = bench.add({ payload: "unanswered" });
    await bench.run(0);
    bench.ask("queue.cancel", { ids: [id] });
    bench.ask("queue.pause", { scope: { kind: "all" } });
    const resume = (): Promise<void> => {
      bench.ask("queue.resume", { scope: { kind: "all" } });
      return bench.run(0);
    };
    return { bench, requests, resume, land: () => land() };
  };

  test("a batch that is not full, and nothing of another type beside it", async () => {
    const { bench, requests, resume, land } = await startTrial(10);
    for (const payload of [1, 2, 3]) bench.add({ payload });
    bench.add({ type: "single", payload: "single" });
    await resume();
    expect(requests).toEqual([[1, 2, 3]]);
    land();
    await bench.run();
    expect(requests).toEqual([[1, 2, 3], ["single"]]);
  });

  test("no more of a lane than the batch still takes", async () => {
    const { bench, requests, resume, land } = await startTrial(4);
    for (const payload of [1, 2]) bench.add({ payload });
    for (const payload of [3, 4, 5]) bench.add({ payload, lane: "a" });
    await resume();
    expect(requests).toEqual([[1, 2, 3, 4]]);
    land();
    await bench.run();
    expect(requests).toEqual([[1, 2, 3, 4], [5]]);
  });
});

describe("what was queued before its type was known", () => {
  const startLate = () => {
    const bench = startBench();
    const got: unknown[] = [];
    const late: OperationType = {
      type: "late",
      remoteOf: (payload) => {
        if (typeof payload !== "object" || payload === null) throw new Error("it names no host");
        return `https://${String((payload as { readonly host?: string }).host)}`;
      },
      run: async ({ input }) => {
        got.push(input);
        return { kind: "applied" };
      },
    };
    return { bench, got, late };
  };

  test("gets its remote with the type, and the gates of that", async () => {
    const { bench, got, late } = startLate();
    const ids = Array.from({ length: 40 }, (_, n) => bench.add({ type: "late", payload: { host: "a.example", n } }).id);
    const other = bench.add({ type: "late", payload: { host: "b.example" } });
    bench.ask("queue.pause", { scope: { kind: "remote", name: "https://a.example" } });
    await bench.run();
    bench.engine.register(late);
    await bench.run();
    expect(got).toEqual([{ host: "b.example" }]);
    expect(bench.get(other.id).remote).toBe("https://b.example");
    expect(ids.map((id) => bench.get(id).remote)).toEqual(ids.map(() => "https://a.example"));
    expect(bench.ask("queue.why", { id: ids[0] ?? "" }).blockers[0]).toMatchObject({ kind: "paused" });
    bench.ask("queue.resume", { scope: { kind: "remote", name: "https://a.example" } });
    await bench.run();
    expect(got.slice(1)).toEqual(ids.map((_, n) => ({ host: "a.example", n })));
  });

  test("is parked when the type can make nothing of it", async () => {
    const { bench, got, late } = startLate();
    const { id } = bench.add({ type: "late", payload: "no host" });
    bench.engine.register(late);
    await bench.run();
    expect(got).toEqual([]);
    expect(bench.get(id)).toMatchObject({ status: "failed", reason: "rejected" });
  });
});
