// Owns the tests of what is claimed ahead of the wire: it begins with an answer, and is given back as if it had never been claimed.
// Leaves how much goes out at once to claim.test.ts, and random lives with all of it to test/simulation/.
import { describe, expect, test } from "vitest";
import type { Bench, BenchOptions } from "../../test/support/virtual-engine.ts";
import { applied, refused, remote, silent, startBench, unauthorized } from "../../test/support/virtual-engine.ts";
import type { Answer } from "../operation.ts";
import type { Input, Verb } from "../verbs.ts";
import { aheadOperations, longestAheadMs, mostWaves, wavesOf } from "./ahead.ts";

type Stage = {
  readonly bench: Bench;
  readonly ids: readonly string[];
  readonly land: (answer?: Answer) => Promise<void>;
};

/** One operation is on the wire and waits for `land`; the next ones are claimed ahead, as many as `wavesAhead`. */
async function start(options: BenchOptions = {}, inputs: readonly object[] = [{}, {}, {}]): Promise<Stage> {
  const landing: ((answer: Answer) => void)[] = [];
  const bench = startBench({
    settings: { concurrency: 1 },
    wavesAhead: 1,
    ...options,
    type: { ...options.type },
    isStopped: true,
  });
  // The remote has proved itself, so that it gets more than one request at once.
  bench.add({ payload: "proof" });
  bench.engine.start();
  await bench.run();
  const hold = (): Promise<Answer> => new Promise((resolve) => landing.push(resolve));
  bench.answers.push(...inputs.map(() => hold));
  const ids = bench
    .ask("queue.addMany", {
      operations: inputs.map((input, n) => ({ type: "note", payload: n, ...input })),
    })
    .receipts.map(({ id }) => id);
  bench.sent.splice(0);
  await bench.run(0);
  const land = async (answer: Answer = applied): Promise<void> => {
    landing.shift()?.(answer);
    await bench.run(0);
  };
  return { bench, ids, land };
}

const statuses = ({ bench, ids }: Stage): readonly string[] => ids.map((id) => bench.get(id).status);

describe("how much is claimed ahead", () => {
  test("is as many answers as come while it may wait, and nothing where a commit costs nothing beside an answer", () => {
    expect(wavesOf(0, 10)).toBe(0);
    expect(wavesOf(1, 100)).toBe(0);
    expect(wavesOf(5, 20)).toBe(2);
    expect(wavesOf(5, 0)).toBe(mostWaves);
  });

  test("is bounded by what may be on the wire, and nothing of it is on the wire", async () => {
    const stage = await start({ wavesAhead: 2 }, [{}, {}, {}, {}, {}]);
    expect(statuses(stage)).toEqual(["in_progress", "in_progress", "in_progress", "pending", "pending"]);
    expect(stage.bench.order()).toEqual([0]);
  });

  test("is bounded for batches by what a crash may leave in doubt", async () => {
    const bench = startBench({
      settings: { concurrency: 1 },
      wavesAhead: mostWaves,
      type: { remoteOf: () => "", runBatch: { max: aheadOperations, run: () => new Promise(() => {}) } },
      isStopped: true,
    });
    const operations = Array.from({ length: aheadOperations }, () => ({ type: "note", payload: 1 }));
    for (let time = 0; time < 3; time += 1) bench.ask("queue.addMany", { operations });
    bench.engine.start();
    await bench.run();
    expect(bench.ask("queue.status", {}).counts.in_progress).toBe(2 * aheadOperations);
  });

  test("is nothing of what asks a person after a crash, and nothing of a lane that has one under way", async () => {
    const asking = await start({ wavesAhead: 2 }, [{}, { onCrash: "ask" }, {}]);
    // Nothing behind it is claimed before it, else it would wait as long as there is anything.
    expect(statuses(asking)).toEqual(["in_progress", "pending", "pending"]);
    const lane = await start({ wavesAhead: 4 }, [{ lane: "a" }, { lane: "a" }, { lane: "b" }, { lane: "b" }]);
    expect(statuses(lane)).toEqual(["in_progress", "pending", "in_progress", "pending"]);
  });
});

describe("what is claimed ahead begins", () => {
  test("with the yes that makes room, before that one is booked", async () => {
    const stage = await start();
    await stage.land();
    expect(stage.bench.order().slice(0, 2)).toEqual([0, 1]);
    await stage.land();
    await stage.land();
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0, 1, 2]);
    expect(statuses(stage)).toEqual(["completed", "completed", "completed"]);
    expect(stage.ids.map((id) => stage.bench.get(id).attempts)).toEqual([1, 1, 1]);
  });

  test("after a no of another one, once that is booked", async () => {
    const stage = await start();
    await stage.land(refused);
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0, 1]);
    expect(statuses(stage).slice(0, 2)).toEqual(["failed", "in_progress"]);
  });

  test("not when its time has passed meanwhile", async () => {
    const now = startBench().machine.wallClock.now();
    const stage = await start({}, [{}, { expiresAt: now + 500 }, {}]);
    await stage.bench.run(600);
    await stage.land();
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0, 2]);
    expect(statuses(stage)[1]).toBe("expired");
  });
});

describe("what is claimed ahead is given back, uncharged and as if it had never been claimed", () => {
  const verbs: readonly (readonly [string, (stage: Stage) => readonly [Verb, unknown]])[] = [
    ["everything is paused", () => ["queue.pause", { scope: { kind: "all" } }]],
    ["its lane is paused", () => ["queue.pause", { scope: { kind: "lane", name: "b" } }]],
    ["its type is paused", () => ["queue.pause", { scope: { kind: "type", name: "note" } }]],
    ["its remote is paused", () => ["queue.pause", { scope: { kind: "remote", name: remote } }]],
    ["somebody works offline", () => ["network.offline", {}]],
    ["its subject signs out", () => ["subject.signOut", { subject: "ada" }]],
  ];
  for (const [when, verbOf] of verbs) {
    for (const by of ["this process", "another process"]) {
      test(`when ${when}, by ${by}`, async () => {
        const stage = await start({}, [{}, { lane: "b", subject: "ada" }]);
        expect(statuses(stage)).toEqual(["in_progress", "in_progress"]);
        const [verb, input] = verbOf(stage);
        const engine = by === "this process" ? stage.bench.engine : stage.bench.another();
        engine.handle(verb, input as Input<Verb>);
        await stage.land();
        await stage.bench.run();
        expect(stage.bench.order()).toEqual([0]);
        expect(stage.bench.get(stage.ids[1] ?? "")).toMatchObject({
          status: "pending",
          attempts: 0,
          failures: 0,
          mayHaveLanded: false,
        });
      });
    }
  }

  test("when a listener pauses everything as soon as it hears of a refusal", async () => {
    const stage = await start({ wavesAhead: 2 }, [{}, {}, {}, {}]);
    const { engine } = stage.bench;
    const stop = engine.subscribe(({ kind }) => {
      if (kind === "parked") engine.handle("queue.pause", { scope: { kind: "all" } });
    });
    await stage.land(refused);
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0]);
    expect(statuses(stage)).toEqual(["failed", "pending", "pending", "pending"]);
    stop();
    stage.bench.ask("queue.resume", { scope: { kind: "all" } });
    for (const _ of stage.ids) {
      await stage.bench.run();
      await stage.land();
    }
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0, 1, 2, 3]);
  });

  test("when it is cancelled, edited or moved", async () => {
    const stage = await start({ wavesAhead: 3 }, [{}, {}, {}, { lane: "a" }, { lane: "b" }]);
    const [, cancelled = "", edited = "", moved = ""] = stage.ids;
    expect(statuses(stage)[3]).toBe("in_progress");
    expect(stage.bench.ask("queue.cancel", { ids: [cancelled] }).done).toEqual([cancelled]);
    expect(stage.bench.ask("queue.edit", { id: edited, payload: "edited" }).attempts).toBe(0);
    expect(stage.bench.ask("queue.move", { id: moved, lane: "b" }).lane).toBe("b");
    for (const _ of stage.ids) await stage.land();
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0, "edited", 4, 3]);
  });

  test("when the remote refuses the credentials", async () => {
    const stage = await start();
    await stage.land(unauthorized);
    await stage.bench.run();
    expect(stage.bench.order()).toEqual([0]);
    expect(stage.bench.get(stage.ids[1] ?? "")).toMatchObject({ status: "pending", attempts: 0 });
  });

  test("when the remote falls silent", async () => {
    const stage = await start({ settings: { concurrency: 2 } }, [{}, {}, {}, {}]);
    expect(statuses(stage)[3]).toBe("in_progress");
    stage.bench.probe = { isReachable: false, reason: "nobody answers" };
    await stage.land(silent);
    await stage.land(silent);
    await stage.bench.run();
    expect(stage.bench.get(stage.ids[3] ?? "")).toMatchObject({ status: "pending", attempts: 0 });
    expect(stage.bench.order()).toEqual([0, 1]);
  });

  test("when draining stops", async () => {
    const stage = await start();
    const stopped = stage.bench.engine.stop(0);
    await stage.bench.run();
    await stage.land();
    await stopped;
    expect(statuses(stage)[1]).toBe("pending");
    expect(stage.bench.get(stage.ids[1] ?? "")).toMatchObject({ attempts: 0, mayHaveLanded: false });
  });

  test("when nothing makes room for it in time", async () => {
    const stage = await start();
    await stage.bench.run(longestAheadMs + 10);
    expect(statuses(stage)).toEqual(["in_progress", "pending", "pending"]);
  });

  test("all of a lane that goes as one batch, in its order", async () => {
    const got: unknown[] = [];
    let land = (): void => {};
    const stage = await start(
      {
        type: {
          runBatch: {
            max: 2,
            run: async (attempts) => {
              got.push(attempts.map(({ input }) => input));
              if (got.length > 1) await new Promise<void>((resolve) => (land = resolve));
              return attempts.map(() => applied);
            },
          },
        },
      },
      [{}, {}, { lane: "a" }, { lane: "a" }],
    );
    expect(statuses(stage)).toEqual(["in_progress", "in_progress", "in_progress", "in_progress"]);
    stage.bench.ask("queue.pause", { scope: { kind: "all" } });
    expect(statuses(stage)).toEqual(["in_progress", "in_progress", "pending", "pending"]);
    expect(stage.bench.ask("queue.why", { id: stage.ids[3] ?? "" }).blockers[0]?.kind).toBe("lane");
    stage.bench.ask("queue.resume", { scope: { kind: "all" } });
    land();
    await stage.bench.run();
    expect(got.slice(1)).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });
});

test("a remote that has to prove itself gets its one request, also while another process writes", async () => {
  const bench = startBench();
  bench.answers.push(silent);
  bench.add({ payload: 1 });
  await bench.run(0);
  bench.another().handle("queue.add", { type: "note", payload: 2 });
  await bench.run(60_000);
  expect(bench.order()).toEqual([1, 2, 1]);
});

test("a crash costs what was claimed ahead nothing: it goes out under its own key", async () => {
  const stage = await start({ wavesAhead: 2 });
  stage.bench.crash();
  stage.bench.answers.splice(0);
  stage.bench.engine.start();
  await stage.bench.run(60_000);
  expect(statuses(stage)).toEqual(["completed", "completed", "completed"]);
  expect(stage.bench.sent.map(({ key }) => key)).toEqual([stage.ids[0], ...stage.ids]);
  expect(stage.ids.map((id) => stage.bench.get(id).failures)).toEqual([0, 0, 0]);
});
