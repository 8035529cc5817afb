// Owns the tests of queueing: repetition, deduplication, drafts, schedules, expiry, limits, what a refused enqueue leaves behind.
// Leaves order to lanes.test.ts and answers to settle.test.ts.
import { describe, expect, test } from "vitest";
import { lost, refused, silent, startBench } from "../../test/support/virtual-engine.ts";
import { limits } from "../shapes.ts";
import type { AddInput } from "../verbs.ts";
import { alikeTogether } from "./queue.ts";

const thrown = (code: string): unknown => expect.objectContaining({ code });

describe("repetition", () => {
  test("an enqueue repeated under its id is the same operation", async () => {
    const bench = startBench();
    const id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    expect(bench.add({ id, payload: 1 }).isNew).toBe(true);
    expect(bench.add({ id, payload: 1 })).toMatchObject({ id, isNew: false });
    await bench.run();
    expect(bench.add({ id, payload: 1 })).toMatchObject({ isNew: false, status: "completed" });
    expect(bench.order()).toEqual([1]);
  });

  test("the same id with another payload is refused", () => {
    const bench = startBench({ isStopped: true });
    const id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    bench.add({ id, payload: 1 });
    expect(() => bench.add({ id, payload: 2 })).toThrow(thrown("refused_by_state"));
  });
});

describe("a batch", () => {
  const id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
  const note = { type: "note" } as const;
  /** More plain ones than one statement takes, with everything between them that has to find what stands before it. */
  const operations: AddInput[] = [
    ...Array.from({ length: alikeTogether.most + 3 }, (_, payload) => ({ ...note, payload })),
    { ...note, payload: "named", id },
    { ...note, payload: "plain" },
    { ...note, payload: "needs the named", after: [id] },
    { ...note, payload: "first in its lane", lane: "a" },
    { ...note, payload: "plain" },
    { ...note, payload: "second in its lane", lane: "a" },
    { ...note, payload: "keyed", dedupe: { key: "k", mode: "keep-first" } },
    { ...note, payload: "keyed again", dedupe: { key: "k", mode: "keep-first" } },
    { ...note, payload: "created", creates: "local-1" },
    { ...note, payload: { mentions: "local-1" } },
    { ...note, payload: "past", notBefore: 1, expiresAt: 9_000_000_000_000 },
    { ...note, payload: "group", group: "g" },
    ...Array.from({ length: 2 * alikeTogether.most }, (_, payload) => ({ ...note, payload })),
  ];

  test("leaves behind what its operations leave behind one by one", () => {
    const rowsAfter = (add: (bench: ReturnType<typeof startBench>) => unknown): unknown => {
      const bench = startBench({ isStopped: true });
      add(bench);
      expect(bench.ask("engine.check", {}).findings).toEqual([]);
      return bench.database.prepare("SELECT * FROM op ORDER BY seq").all();
    };
    const together = rowsAfter((bench) => bench.ask("queue.addMany", { operations }));
    expect(together).toEqual(rowsAfter((bench) => operations.map((each) => bench.ask("queue.add", each))));
  });

  test("answers each operation in its place, and finds by its id what was queued in it", () => {
    const bench = startBench({ isStopped: true });
    const { receipts } = bench.ask("queue.addMany", { operations });
    expect(receipts).toHaveLength(operations.length);
    const known = receipts.filter(({ isNew }) => isNew);
    expect(known.map((each) => bench.get(each.id).sequence)).toEqual(known.map(({ sequence }) => sequence));
    expect(bench.get(receipts[alikeTogether.most + 5]?.id ?? "")).toMatchObject({
      dependsOn: [id],
      reason: "dependency",
    });
  });

  test("counts what is not written yet: one operation too many, and nothing of it is queued", () => {
    const bench = startBench({ isStopped: true, settings: { maxOperations: 5 } });
    const many = (count: number) => ({ operations: operations.slice(0, count) });
    expect(() => bench.ask("queue.addMany", many(6))).toThrow(thrown("queue_full"));
    expect(bench.ask("queue.list", {}).operations).toEqual([]);
    expect(bench.ask("queue.addMany", many(5)).receipts).toHaveLength(5);
  });
});

describe("deduplication", () => {
  const keyed = (payload: number, mode: "keep-first" | "replace-pending"): Partial<AddInput> => ({
    payload,
    dedupe: { key: "k", mode },
  });

  test("keep-first answers with the operation that waits already, and takes a new one once that is done", async () => {
    const bench = startBench({ isStopped: true });
    const first = bench.add(keyed(1, "keep-first"));
    expect(bench.add(keyed(2, "keep-first"))).toMatchObject({ id: first.id, isNew: false });
    bench.engine.start();
    await bench.run();
    expect(bench.add(keyed(3, "keep-first")).isNew).toBe(true);
    await bench.run();
    expect(bench.order()).toEqual([1, 3]);
  });

  test("a key is a subject's own: nobody's write is swallowed by another's", () => {
    const bench = startBench({ isStopped: true });
    bench.add({ ...keyed(1, "keep-first"), subject: "ann" });
    expect(bench.add({ ...keyed(2, "keep-first"), subject: "bob" }).isNew).toBe(true);
  });

  test("replace-pending puts the newest payload into the operation that was never sent", async () => {
    const bench = startBench({ isStopped: true });
    const first = bench.add(keyed(1, "replace-pending"));
    expect(bench.add(keyed(2, "replace-pending"))).toMatchObject({ id: first.id, isNew: false });
    bench.engine.start();
    await bench.run();
    expect(bench.sent).toMatchObject([{ input: 2, key: first.id }]);
  });

  test("replace-pending takes over what describes the newest payload, and leaves the place of the old one", () => {
    const bench = startBench({ isStopped: true });
    const at = bench.machine.wallClock.now() + 60_000;
    const needed = bench.add({ payload: "needed" });
    const first = bench.add({
      ...keyed(1, "replace-pending"),
      ...{ title: "Save draft 1", expiresAt: at, after: [needed.id], priority: 3, notBefore: at },
    });
    const newest = { title: "Save draft 2", expiresAt: at + 1, retry: "lock", onFailure: "skip" } as const;
    bench.add({ ...keyed(2, "replace-pending"), ...newest, conflict: "local_wins", priority: 9 });
    expect(bench.get(first.id)).toMatchObject({
      ...{ title: "Save draft 2", expiresAt: at + 1, onFailure: "skip", conflict: "local_wins" },
      ...{ retry: { maxAttempts: 5 }, dependsOn: [needed.id], priority: 3, notBefore: at },
    });
    bench.add(keyed(3, "replace-pending"));
    expect(bench.get(first.id)).toMatchObject({ payload: 3, expiresAt: null, onFailure: "hold", conflict: null });
    expect(bench.get(first.id).title).not.toContain("draft");
  });

  test("what may have landed is replaced by a fresh operation with a fresh key in its place", async () => {
    const bench = startBench();
    bench.answers.push(lost);
    const first = bench.add({ ...keyed(1, "replace-pending"), lane: "a" });
    bench.add({ payload: "behind", lane: "a" });
    await bench.run(1);
    const second = bench.add({ ...keyed(2, "replace-pending"), lane: "a" });
    expect(second.isNew).toBe(true);
    await bench.run(10_000);
    expect(bench.order()).toEqual([1, 2, "behind"]);
    expect(new Set(bench.sent.map((each) => each.key)).size).toBe(3);
    expect(bench.get(first.id)).toMatchObject({ status: "cancelled", outcome: "replaced" });
  });

  test("what waits for an operation waits for the one that replaces it, and what mentions its local id gets that one's", async () => {
    const bench = startBench();
    const create = { ...keyed(1, "replace-pending"), creates: "local-1", lane: "a" };
    bench.answers.push(refused);
    const first = bench.add(create);
    const child = bench.add({ payload: "child", after: [first.id] });
    bench.add({ payload: { ref: "local-1" }, lane: "a" });
    await bench.run();
    bench.answers.push({ kind: "applied", serverId: "S1" });
    const second = bench.add({ ...create, payload: 2 });
    expect(bench.ask("queue.why", { id: child.id }).blockers).toMatchObject([{ kind: "dependency", id: second.id }]);
    await bench.run();
    expect(bench.get(first.id)).toMatchObject({ outcome: "replaced" });
    expect(bench.order().slice(0, 2)).toEqual([1, 2]);
    expect(bench.order().slice(2)).toEqual(expect.arrayContaining(["child", { ref: "S1" }]));
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("what mentions the local id of one that was replaced by one that creates nothing is held, and never goes out with it", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const first = bench.add({ ...keyed(1, "replace-pending"), creates: "local-1" });
    const child = bench.add({ payload: { ref: "local-1" } });
    await bench.run();
    bench.add(keyed(2, "replace-pending"));
    await bench.run();
    expect(bench.order()).toEqual([1, 2]);
    expect(bench.ask("queue.why", { id: child.id }).blockers).toMatchObject([{ kind: "dependency", id: first.id }]);
  });

  test("a replacement that comes after the one that it replaces does not wait for itself", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const first = bench.add(keyed(1, "replace-pending"));
    await bench.run();
    bench.add({ ...keyed(2, "replace-pending"), after: [first.id] });
    await bench.run();
    expect(bench.order()).toEqual([1, 2]);
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("a replacement that would wait for what waits for the old one is refused, and changes nothing", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const first = bench.add(keyed(1, "replace-pending"));
    const child = bench.add({ payload: "child", after: [first.id] });
    await bench.run();
    expect(() => bench.add({ ...keyed(2, "replace-pending"), after: [child.id] })).toThrow(thrown("dependency_cycle"));
    expect(bench.get(first.id)).toMatchObject({ status: "failed", dedupe: "k" });
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("while one is on the wire, replace-pending queues behind it and is replaced there", async () => {
    const bench = startBench();
    bench.answers.push(
      () => new Promise((resolve) => bench.machine.options.scheduler.after(500, () => resolve({ kind: "applied" }))),
    );
    bench.add(keyed(1, "replace-pending"));
    await bench.run(1);
    bench.add({ ...keyed(2, "replace-pending"), notBefore: bench.machine.wallClock.now() + 1_000 });
    bench.add(keyed(3, "replace-pending"));
    await bench.run(5_000);
    expect(bench.order()).toEqual([1, 3]);
  });
});

describe("time", () => {
  test("a draft waits until it is released and then stands at the end of its lane", async () => {
    const bench = startBench();
    const draft = bench.add({ payload: "draft", lane: "a", isDraft: true });
    await bench.run();
    bench.answers.push(
      () => new Promise((resolve) => bench.machine.options.scheduler.after(50, () => resolve({ kind: "applied" }))),
    );
    bench.add({ payload: 1, lane: "a" });
    bench.add({ payload: 2, lane: "a" });
    bench.ask("queue.release", { ids: [draft.id] });
    await bench.run();
    expect(bench.order()).toEqual([1, 2, "draft"]);
  });

  test("a scheduled operation goes at its time, not before, and says when", async () => {
    const bench = startBench();
    const at = bench.machine.wallClock.now() + 60_000;
    const { id } = bench.add({ notBefore: at });
    await bench.run(59_000);
    expect(bench.ask("queue.why", { id })).toMatchObject({
      nextMoveAt: at,
      blockers: [{ kind: "schedule", until: at }],
    });
    expect(bench.sent).toHaveLength(0);
    await bench.run(2_000);
    expect(bench.sent).toHaveLength(1);
  });

  test("an operation that passed its expiry is never sent, says so, and holds nobody but its dependents", async () => {
    const bench = startBench();
    bench.probe = { isReachable: false, reason: "down" };
    bench.answers.push(silent, silent, silent);
    const { id } = bench.add({ payload: 1, lane: "a", expiresAt: bench.machine.wallClock.now() + 30_000 });
    const child = bench.add({ payload: 2, after: [id] });
    bench.add({ payload: 3, lane: "a" });
    await bench.run(40_000);
    expect(bench.get(id)).toMatchObject({ status: "expired", outcome: "expired", attempts: 2 });
    expect(bench.ask("queue.why", { id }).sentence).toBe("It expired before any attempt was answered with a yes.");
    bench.probe = { isReachable: true, reason: "up" };
    await bench.run(200_000);
    expect(bench.order().at(-1)).toBe(3);
    expect(bench.ask("queue.why", { id: child.id }).sentence).toContain("will never land");
  });
});

describe("limits", () => {
  test("a payload at the limit is taken, one past it is refused", () => {
    const bench = startBench({ isStopped: true });
    const at = "x".repeat(limits.payloadBytes - 2);
    expect(bench.add({ payload: at }).isNew).toBe(true);
    expect(() => bench.add({ payload: `${at}x` })).toThrow(thrown("payload_too_large"));
  });

  test("limits count bytes as they are stored, not characters", () => {
    const bench = startBench({ isStopped: true });
    expect(() => bench.add({ payload: "é".repeat(limits.payloadBytes / 2) })).toThrow(thrown("payload_too_large"));
    bench.add({ payload: "é€𝄞" });
    expect(bench.ask("queue.status", {}).bytes).toBe(11);
  });

  test("a queue at its limit refuses, and warned from 80 % on", () => {
    const bench = startBench({ isStopped: true, settings: { maxOperations: 5, overflow: "reject" } });
    const warnings = Array.from({ length: 5 }, () => bench.add().warning);
    expect(warnings.map((warning) => warning !== null)).toEqual([false, false, false, true, true]);
    expect(() => bench.add()).toThrow(thrown("queue_full"));
    expect(bench.ask("queue.status", {})).toMatchObject({ unsent: 5, limits: { isWarning: true } });
  });

  test("completed operations make room where that is the policy, unsent ones never", async () => {
    const bench = startBench({ settings: { maxOperations: 3, overflow: "drop-completed-first" } });
    for (let index = 0; index < 3; index += 1) bench.add();
    await bench.run();
    bench.answers.push(refused, refused, refused);
    for (let index = 0; index < 3; index += 1) bench.add();
    await bench.run();
    expect(() => bench.add()).toThrow(thrown("queue_full"));
    expect(bench.ask("queue.status", {}).counts).toMatchObject({ completed: 0, failed: 3 });
  });

  test("the limit of bytes counts every payload", () => {
    const bench = startBench({ isStopped: true, settings: { maxBytes: 100, overflow: "reject" } });
    bench.add({ payload: "x".repeat(58) });
    bench.add({ payload: "x".repeat(38) });
    expect(() => bench.add({ payload: 1 })).toThrow(thrown("queue_full"));
  });

  test("finished operations are kept by number and age, then pruned", async () => {
    const bench = startBench({ settings: { retainCount: 2, retainMs: 3_600_000 } });
    const ids = Array.from({ length: 4 }, () => bench.add().id);
    await bench.run(30_000);
    bench.add({ notBefore: 1 });
    await bench.run(30_000);
    expect(bench.ask("queue.status", {}).counts.completed).toBe(2);
    expect(() => bench.get(ids[0] ?? "")).toThrow(thrown("not_found"));
    await bench.run(3_700_000);
    expect(bench.ask("queue.status", {}).counts.completed).toBe(0);
  });

  test("many finished at once are pruned to the last soon, pass by pass, also while nothing else happens", async () => {
    const bench = startBench({ settings: { retainCount: 10, concurrency: 500, concurrencyPerRemote: 500 } });
    const operations = Array.from({ length: 1_000 }, () => ({ type: "note", payload: null }));
    for (let time = 0; time < 5; time += 1) bench.ask("queue.addMany", { operations });
    await bench.run(45_000);
    expect(bench.ask("queue.status", {}).counts.completed).toBe(10);
  });

  test("a nearly full disk refuses the enqueue with the bytes that are left, and takes it again when there is room", () => {
    const bench = startBench({ isStopped: true });
    bench.machine.disk.fill();
    expect(() => bench.add()).toThrow(thrown("disk_full"));
    bench.machine.disk.free();
    expect(bench.add().isNew).toBe(true);
  });
});

test("a refused enqueue leaves nothing behind", () => {
  const bench = startBench({ isStopped: true });
  bench.add({ creates: "local-1" });
  expect(() => bench.add({ creates: "local-1" })).toThrow(thrown("duplicate_local_id"));
  expect(bench.ask("queue.status", {}).unsent).toBe(1);
  expect(bench.ask("engine.check", {}).findings).toEqual([]);
});

test("an unknown type is queued, waits visibly, and goes when the type appears", async () => {
  const bench = startBench();
  const { id } = bench.add({ type: "later", payload: 1 });
  await bench.run();
  expect(bench.ask("queue.why", { id }).blockers[0]).toMatchObject({ kind: "unknown_type", name: "later" });
  expect(bench.ask("queue.status", {}).unknownTypes).toEqual([{ type: "later", pending: 1 }]);
  bench.engine.register({ type: "later", run: async () => ({ kind: "applied" }) });
  await bench.run();
  expect(bench.get(id).status).toBe("completed");
});
