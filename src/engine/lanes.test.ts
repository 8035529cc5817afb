// Owns the tests of order: lanes, dependencies, priority and its inheritance, moves, groups.
// Leaves order under faults to test/simulation.
import { describe, expect, test } from "vitest";
import type { Bench } from "../../test/support/virtual-engine.ts";
import { applied, failed, refused, startBench } from "../../test/support/virtual-engine.ts";
import { isCode } from "../errors.ts";
import type { Output } from "../verbs.ts";

describe("lanes", () => {
  test("operations of one lane go one after the other, in the order of their enqueue", async () => {
    const bench = startBench();
    for (const payload of [1, 2, 3]) bench.add({ payload, lane: "a" });
    await bench.run();
    expect(bench.order()).toEqual([1, 2, 3]);
  });

  test("a retry holds its lane and no other", async () => {
    const bench = startBench();
    bench.answers.push(failed);
    bench.add({ payload: "a1", lane: "a", retry: { initialMs: 1_000, jitter: 0 } });
    bench.add({ payload: "a2", lane: "a" });
    bench.add({ payload: "b1", lane: "b" });
    await bench.run(500);
    expect(bench.order()).toEqual(["a1", "b1"]);
    await bench.run(1_000);
    expect(bench.order()).toEqual(["a1", "b1", "a1", "a2"]);
  });

  test("a refused operation holds its lane by default and lets it go where declared so", async () => {
    const bench = startBench();
    bench.answers.push(refused, refused);
    const held = bench.add({ payload: "hold", lane: "hold" });
    const behind = bench.add({ payload: "behind", lane: "hold" });
    bench.add({ payload: "skip", lane: "skip", onFailure: "skip" });
    bench.add({ payload: "next", lane: "skip" });
    await bench.run();
    expect(bench.order()).toEqual(["hold", "skip", "next"]);
    expect(bench.get(held.id)).toMatchObject({ status: "failed", reason: "rejected" });
    const why = bench.ask("queue.why", { id: behind.id });
    expect(why.blockers[0]).toMatchObject({ kind: "lane", id: held.id });
    expect(why.sentence).toContain("it was refused");
  });

  test("what stands aside, or is a draft, has no place in its lane until it comes back", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const aside = bench.add({ payload: "aside", lane: "a", onFailure: "skip" });
    const draft = bench.add({ payload: "draft", lane: "a", isDraft: true });
    bench.add({ payload: "next", lane: "a" });
    await bench.run();
    expect(bench.order()).toEqual(["aside", "next"]);
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
    bench.ask("network.offline", {});
    bench.add({ payload: "last", lane: "a" });
    bench.ask("queue.release", { ids: [draft.id] });
    bench.ask("queue.retry", { ids: [aside.id] });
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
    bench.ask("network.online", {});
    await bench.run();
    expect(bench.order()).toEqual(["aside", "next", "aside", "last", "draft"]);
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("a cancelled head gives its lane to the next one", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const head = bench.add({ payload: 1, lane: "a" });
    bench.add({ payload: 2, lane: "a" });
    await bench.run();
    bench.ask("queue.cancel", { ids: [head.id] });
    await bench.run();
    expect(bench.order()).toEqual([1, 2]);
    expect(bench.get(head.id).status).toBe("cancelled");
  });

  test("a batch takes what follows in its lane, and what did not land goes again in order", async () => {
    const batches: unknown[][] = [];
    const bench = startBench({
      types: [
        {
          type: "bulk",
          runBatch: {
            max: 10,
            run: async (attempts) => {
              batches.push(attempts.map((attempt) => attempt.input));
              return attempts.map((_attempt, index) => (batches.length === 1 && index === 1 ? failed : applied));
            },
          },
        },
      ],
    });
    for (const payload of [1, 2, 3])
      bench.add({ type: "bulk", payload, lane: "a", retry: { initialMs: 10, jitter: 0 } });
    await bench.run();
    expect(batches).toEqual([[1, 2, 3], [2]]);
    expect(bench.ask("queue.status", {}).counts.completed).toBe(3);
  });
});

test("what one lane contributes to a batch is never cut into two requests", async () => {
  const batches: unknown[][] = [];
  const run = async (attempts: readonly { readonly input: unknown }[]) => {
    batches.push(attempts.map((attempt) => attempt.input));
    return attempts.map(() => applied);
  };
  const bench = startBench({ types: [{ type: "bulk", runBatch: { max: 3, run } }], isStopped: true });
  bench.add({ type: "bulk", payload: "alone 1" });
  bench.add({ type: "bulk", payload: "alone 2" });
  bench.add({ type: "bulk", payload: "lane 1", lane: "a" });
  bench.add({ type: "bulk", payload: "lane 2", lane: "a" });
  bench.engine.start();
  await bench.run();
  expect(batches).toEqual([
    ["alone 1", "alone 2"],
    ["lane 1", "lane 2"],
  ]);
});

describe("priority", () => {
  test("a higher priority goes first, equals go by age", async () => {
    const bench = startBench({ settings: { concurrency: 1 }, isStopped: true });
    for (const [payload, priority] of [
      ["low", 0],
      ["high", 5],
      ["low 2", 0],
      ["high 2", 5],
    ] as const)
      bench.add({ payload, priority });
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual(["high", "high 2", "low", "low 2"]);
  });

  test("what a high priority waits for inherits it, along lanes and dependencies", async () => {
    const bench = startBench({ settings: { concurrency: 1 }, isStopped: true });
    bench.add({ payload: "other" });
    const parent = bench.add({ payload: "parent" });
    bench.add({ payload: "lane 1", lane: "a" });
    bench.add({ payload: "lane 2", lane: "a", after: [parent.id] });
    bench.add({ payload: "urgent", lane: "a", priority: 100 });
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual(["lane 1", "parent", "lane 2", "urgent", "other"]);
  });

  test("an edit leaves an operation the priority that it has inherited", async () => {
    for (const edit of [{ title: "another" }, { priority: 10 }]) {
      const bench = startBench({ isStopped: true, settings: { concurrency: 1 } });
      const low = bench.add({ payload: "low", priority: -5 });
      bench.add({ payload: "urgent", after: [low.id], priority: 50 });
      bench.add({ payload: "other", priority: 20 });
      bench.ask("queue.edit", { id: low.id, ...edit });
      bench.engine.start();
      await bench.run();
      expect(bench.order()).toEqual(["low", "urgent", "other"]);
    }
  });

  test("nothing starves: an old operation overtakes newer ones of a higher priority", async () => {
    const bench = startBench({ settings: { concurrency: 1 }, isStopped: true, ageing: 2 });
    bench.add({ payload: "old" });
    for (let index = 0; index < 6; index += 1) bench.add({ payload: `high ${index}`, priority: 2 });
    bench.engine.start();
    await bench.run();
    expect(bench.order().indexOf("old")).toBe(3);
  });
});

describe("dependencies", () => {
  test("an operation goes after everything that it depends on", async () => {
    const bench = startBench({ isStopped: true });
    const first = bench.add({ payload: 1 });
    const second = bench.add({ payload: 2 });
    bench.add({ payload: 3, after: [first.id, second.id], priority: 100 });
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual([1, 2, 3]);
  });

  test("a refused parent holds its dependents until they are detached", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const parent = bench.add({ payload: "parent" });
    const child = bench.add({ payload: "child", after: [parent.id] });
    await bench.run();
    expect(bench.get(child.id)).toMatchObject({ status: "pending", reason: "dependency" });
    bench.ask("queue.detach", { id: child.id });
    await bench.run();
    expect(bench.order()).toEqual(["parent", "child"]);
  });

  test("a cancelled parent holds, cancels or frees its dependents, as asked", () => {
    for (const [dependents, status, reason] of [
      ["hold", "pending", "dependency"],
      ["cancel", "cancelled", null],
      ["detach", "pending", null],
    ] as const) {
      const bench = startBench({ isStopped: true });
      const parent = bench.add();
      const child = bench.add({ after: [parent.id] });
      bench.ask("queue.cancel", { ids: [parent.id], dependents });
      expect(bench.get(child.id)).toMatchObject({ status, reason });
    }
  });

  test("a move that would make operations wait for each other is refused and changes nothing", () => {
    const bench = startBench({ isStopped: true });
    const first = bench.add({ payload: 1, lane: "a" });
    const second = bench.add({ payload: 2, lane: "a", after: [first.id] });
    expect(() => bench.ask("queue.move", { id: second.id, before: first.id })).toThrow(
      expect.objectContaining({ code: "dependency_cycle" }),
    );
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("what comes back into its lane in front of what it depends on goes to the end instead", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const aside = bench.add({ payload: "aside", lane: "a", onFailure: "skip" });
    await bench.run();
    bench.ask("queue.pause", { scope: { kind: "lane", name: "a" } });
    const next = bench.add({ payload: "create", lane: "a", creates: "local-1" });
    bench.ask("queue.edit", { id: aside.id, payload: { parent: "local-1" } });
    bench.ask("queue.move", { id: aside.id, before: next.id });
    bench.ask("queue.retry", { ids: [aside.id] });
    bench.ask("queue.resume", { scope: { kind: "lane", name: "a" } });
    bench.answers.push({ kind: "applied", serverId: "srv-1" });
    await bench.run();
    expect(bench.order()).toEqual(["aside", "create", { parent: "srv-1" }]);
  });

  test("nothing can follow an operation that was given up", () => {
    const bench = startBench({ isStopped: true });
    const parent = bench.add();
    bench.ask("queue.cancel", { ids: [parent.id] });
    const late = (): unknown => bench.add({ after: [parent.id] });
    expect(late).toThrow(expect.objectContaining({ code: "refused_by_state" }));
  });
});

describe("moves", () => {
  test("an operation is put before, after, first or last in its lane", async () => {
    const bench = startBench({ isStopped: true });
    const [a, b, c, d] = ["a", "b", "c", "d"].map((payload) => bench.add({ payload, lane: "x" }));
    if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error("four were added");
    bench.ask("queue.move", { id: d.id, before: b.id });
    bench.ask("queue.move", { id: a.id, to: "last" });
    bench.ask("queue.move", { id: c.id, to: "first" });
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual(["c", "d", "b", "a"]);
  });

  test("a hundred moves into the same gap still find room", async () => {
    const bench = startBench({ isStopped: true });
    const head = bench.add({ payload: "head", lane: "x" });
    const others = Array.from({ length: 100 }, (_unused, payload) => bench.add({ payload, lane: "x" }));
    for (const other of others) bench.ask("queue.move", { id: other.id, after: head.id });
    bench.engine.start();
    await bench.run(1_000);
    expect(bench.order()).toEqual(["head", ...Array.from({ length: 100 }, (_unused, index) => 99 - index)]);
  });

  test("what is queued after moves goes behind everything", async () => {
    const bench = startBench({ isStopped: true });
    const [a, b] = ["a", "b", "c"].map((payload) => bench.add({ payload, lane: "x" }));
    for (const each of [a, b]) bench.ask("queue.move", { id: each?.id ?? "", to: "last" });
    bench.add({ payload: "d", lane: "x" });
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual(["c", "a", "b", "d"]);
  });

  test("what comes back to a place that another one was moved to goes right in front of that", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const notBefore = bench.machine.wallClock.now() + 1_000;
    const [aside, next] = ["aside", "next"].map((payload) =>
      bench.add({ payload, lane: "x", ...(payload === "aside" ? { onFailure: "skip" } : { notBefore }) }),
    );
    const moved = bench.add({ payload: "moved", lane: "x" });
    await bench.run(100);
    expect(bench.get(aside?.id ?? "").status).toBe("failed");
    bench.ask("queue.pause", { scope: { kind: "all" } });
    bench.ask("queue.move", { id: moved.id, before: next?.id ?? "" });
    bench.ask("queue.retry", { ids: [aside?.id ?? ""] });
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
    bench.ask("queue.resume", { scope: { kind: "all" } });
    await bench.run(2_000);
    expect(bench.order()).toEqual(["aside", "aside", "moved", "next"]);
  });

  test("room that is made in a lane leaves what stands aside where it was among the others", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const aside = bench.add({ payload: "aside", lane: "x", onFailure: "skip" });
    await bench.run();
    bench.ask("queue.pause", { scope: { kind: "lane", name: "x" } });
    const [head, before] = ["head", "before", "after"].map((payload) => bench.add({ payload, lane: "x" }));
    bench.ask("queue.move", { id: aside.id, after: before?.id ?? "" });
    const others = Array.from({ length: 40 }, (_unused, payload) => bench.add({ payload, lane: "x" }));
    for (const other of others) bench.ask("queue.move", { id: other.id, after: head?.id ?? "" });
    bench.ask("queue.retry", { ids: [aside.id] });
    bench.ask("queue.resume", { scope: { kind: "lane", name: "x" } });
    await bench.run(1_000);
    const reversed = Array.from({ length: 40 }, (_unused, index) => 39 - index);
    expect(bench.order()).toEqual(["aside", "head", ...reversed, "before", "aside", "after"]);
  });

  test("room that is made in a lane leaves a priority with everything in front of it", async () => {
    const bench = startBench({ isStopped: true, settings: { concurrency: 1 } });
    const [head] = ["head", "urgent"].map((payload) =>
      bench.add({ payload, lane: "x", ...(payload === "urgent" ? { priority: 9 } : {}) }),
    );
    const others = Array.from({ length: 40 }, (_unused, payload) => bench.add({ payload, lane: "x" }));
    for (const other of others) bench.ask("queue.move", { id: other.id, after: head?.id ?? "" });
    bench.add({ payload: "elsewhere", priority: 5 });
    bench.engine.start();
    await bench.run(1_000);
    const reversed = Array.from({ length: 40 }, (_unused, index) => 39 - index);
    expect(bench.order()).toEqual(["head", ...reversed, "urgent", "elsewhere"]);
  });

  test("nothing is put before an operation that is on the wire", async () => {
    const bench = startBench();
    bench.answers.push(() => new Promise(() => {}));
    const flying = bench.add({ payload: 1, lane: "x" });
    const next = bench.add({ payload: 2, lane: "x" });
    await bench.run();
    expect(() => bench.ask("queue.move", { id: next.id, before: flying.id })).toThrow(
      expect.objectContaining({ code: "refused_by_state" }),
    );
  });
});

describe("groups", () => {
  test("members go in order and a refused one holds the rest", async () => {
    const bench = startBench();
    bench.answers.push(applied, refused);
    const { receipts } = bench.ask("queue.addMany", {
      operations: [1, 2, 3].map((payload) => ({ type: "note", payload, group: "g", onFailure: "skip" as const })),
    });
    await bench.run();
    expect(bench.order()).toEqual([1, 2]);
    expect(receipts.map((receipt) => bench.get(receipt.id).status)).toEqual(["completed", "failed", "pending"]);
  });

  test("cancelling one member cancels all that have not landed", async () => {
    const bench = startBench();
    bench.answers.push(applied, refused);
    const { receipts } = bench.ask("queue.addMany", {
      operations: [1, 2, 3].map((payload) => ({ type: "note", payload, group: "g" })),
    });
    await bench.run();
    bench.ask("queue.cancel", { ids: [receipts[2]?.id ?? ""] });
    expect(receipts.map((receipt) => bench.get(receipt.id).status)).toEqual(["completed", "cancelled", "cancelled"]);
  });

  test("a set is queued whole or not at all", () => {
    const bench = startBench({ isStopped: true });
    const add = (): unknown =>
      bench.ask("queue.addMany", {
        operations: [
          { type: "note", payload: 1 },
          { type: "note", payload: 2, after: ["0000-none"] },
        ],
      });
    expect(add).toThrow(expect.objectContaining({ code: "not_found" }));
    expect(bench.ask("queue.status", {}).unsent).toBe(0);
  });

  test("cancelling several members cancels their group once, and refuses none of them", () => {
    const bench = startBench({ isStopped: true });
    const [first, second] = [1, 2, 3].map((payload) => bench.add({ payload, group: "g" }).id);
    const behind = bench.add({ payload: "behind", group: "g", after: [first ?? ""] });
    const ids = [first ?? "", second ?? "", behind.id];
    expect(bench.ask("queue.cancel", { ids, dependents: "cancel" })).toEqual({ done: ids, refused: [] });
    expect(bench.ask("queue.status", {}).counts).toMatchObject({ cancelled: 4, pending: 0 });
    expect(bench.events.filter(({ kind, id }) => kind === "cancelled" && id === behind.id)).toHaveLength(1);
    // What was cancelled before is refused as ever.
    expect(bench.ask("queue.cancel", { ids: ids.slice(0, 1) }).refused).toMatchObject([{ code: "refused_by_state" }]);
  });

  test("a member cannot leave its group's lane", () => {
    const bench = startBench({ isStopped: true });
    bench.add({ group: "g" });
    let caught: unknown;
    try {
      bench.add({ group: "g", lane: "elsewhere" });
    } catch (error) {
      caught = error;
    }
    expect(isCode(caught, "invalid_input")).toBe(true);
  });
});

describe("the order in which a list expects them to go", () => {
  const listed = (bench: Bench, filter: { readonly lane?: string } = {}): readonly unknown[] =>
    bench.ask("queue.list", { order: "run", ...filter }).operations.map(({ payload }) => payload);

  test.for([{}, { lane: "a" }])("is a lane's own: what was moved stands where it was put (%o)", async (filter) => {
    const bench = startBench({ isStopped: true });
    const [, second, , fourth] = [1, 2, 3, 4, 5].map((payload) => bench.add({ payload, lane: "a" }));
    bench.ask("queue.move", { id: fourth?.id ?? "", before: second?.id ?? "" });
    expect(listed(bench, filter)).toEqual([1, 4, 2, 3, 5]);
    bench.ask("queue.pause", { scope: { kind: "lane", name: "a" } });
    expect(listed(bench, { lane: "a" })).toEqual([1, 4, 2, 3, 5]);
    bench.ask("queue.resume", { scope: { kind: "lane", name: "a" } });
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual([1, 4, 2, 3, 5]);
  });

  test("puts nothing of a high priority before what it waits for in its lane", async () => {
    const bench = startBench({ isStopped: true });
    bench.add({ payload: "first", lane: "a" });
    bench.add({ payload: "second", lane: "a" });
    bench.add({ payload: "high", lane: "a", priority: 100 });
    expect(listed(bench)).toEqual(["first", "second", "high"]);
  });

  test.for([{}, { lane: "a" }])("goes on over pages (%o)", (filter) => {
    const bench = startBench({ isStopped: true });
    const all = Array.from({ length: 25 }, (_, payload) => bench.add({ payload, lane: "a" }).id);
    const found: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Output<"queue.list"> = bench.ask("queue.list", {
        order: "run",
        limit: 10,
        ...filter,
        ...(cursor === null ? {} : { cursor }),
      });
      found.push(...page.operations.map(({ id }) => id));
      cursor = page.next;
    } while (cursor !== null);
    expect(found).toEqual(all);
  });
});
