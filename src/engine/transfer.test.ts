// Owns the proof that unsent operations travel in a bundle with all that holds between them: order, waits, doubts, keys.
// Changes of records in a bundle are adopting.test.ts; the command's side is test/cli.
import { expect, test } from "vitest";
import type { Bench, BenchOptions } from "../../test/support/virtual-engine.ts";
import { applied, refused, startBench } from "../../test/support/virtual-engine.ts";
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";

/** Another device than `startBench` makes: one that has given other ids. */
function elsewhere(options: BenchOptions = {}): Bench {
  const bench = startBench(options);
  for (let time = 0; time < 3; time += 1)
    bench.ask("queue.remove", { ids: [bench.add({ isDraft: true }).id], confirm: true });
  return bench;
}

const payloads = (bench: Bench): readonly Json[] =>
  bench.ask("queue.list", {}).operations.map(({ payload }) => payload as Json);

test("an operation under a key that is queued here as well is taken in beside it: neither swallows the other, nor its failure", async () => {
  const there = startBench();
  const keyed = { dedupe: { key: "k", mode: "replace-pending" } } as const;
  there.answers.push(() => new Promise(() => {}), refused);
  there.add({ payload: "on the wire", ...keyed });
  await there.run();
  const failed = there.add({ payload: "refused", ...keyed });
  await there.run();
  const { lines } = there.ask("queue.export", {});
  const here = elsewhere({ isStopped: true });
  const own = here.add({ payload: "own", ...keyed });
  expect(here.ask("queue.import", { lines })).toMatchObject({ skipped: [], refused: [] });
  expect(payloads(here)).toEqual(["own", "on the wire", "refused"]);
  expect(here.get(own.id)).toMatchObject({ status: "pending", mayHaveLanded: false });
  expect(here.get(failed.id)).toMatchObject({ status: "failed", dedupe: "k" });
  expect(here.ask("queue.import", { lines }).skipped).toHaveLength(2);
  expect(here.add({ payload: "newest", ...keyed }).id).toBe(own.id);
});

test("what waited for an operation that is refused here, or was not exported, is held and says for whom, until a person retries it", async () => {
  const there = startBench({ isStopped: true });
  const parent = there.add({ payload: "no" });
  const child = there.add({ payload: "child", after: [parent.id] });
  const check = (payload: Json): Json => {
    if (payload === "no") throw new HoldfastError("invalid_input", "it is not known here", "");
    return payload;
  };
  const lines = there.ask("queue.export", {}).lines;
  for (const taken of [lines, lines.slice(1)]) {
    const here = elsewhere({ type: { check } });
    expect(here.ask("queue.import", { lines: [...taken] }).imported).toEqual([child.id]);
    await here.run();
    expect(here.order()).toEqual([]);
    expect(here.get(child.id)).toMatchObject({ status: "failed", problem: { code: "dependency_missing" } });
    const { sentence } = here.ask("queue.why", { id: child.id });
    expect(sentence).toContain(`it waited for operation ${parent.id}, which is not here`);
    here.ask("queue.retry", { ids: [child.id] });
    await here.run();
    expect(here.order()).toEqual(["child"]);
  }
});

test("what waited for an operation that was given up comes back from its export, held as it was", async () => {
  const bench = startBench({ isStopped: true });
  const parent = bench.add({ payload: "parent" });
  const child = bench.add({ payload: "child", after: [parent.id] });
  bench.ask("queue.cancel", { ids: [parent.id] });
  const { lines } = bench.ask("queue.export", {});
  bench.ask("queue.remove", { ids: [child.id], confirm: true });
  expect(bench.ask("queue.import", { lines })).toEqual({ imported: [child.id], skipped: [], refused: [] });
  expect(bench.get(child.id).problem?.message).toContain(`${parent.id}, which was given up here`);
  bench.engine.start();
  await bench.run();
  expect(bench.order()).toEqual([]);
});

test("what must never repeat and was on the wire where it was exported asks first, as after a crash", async () => {
  const there = startBench();
  there.answers.push(() => new Promise(() => {}));
  const { id } = there.add({ payload: "pay", onCrash: "ask" });
  await there.run();
  const here = elsewhere();
  here.ask("queue.import", { lines: there.ask("queue.export", {}).lines });
  await here.run();
  expect(here.order()).toEqual([]);
  expect(here.get(id)).toMatchObject({ status: "failed", reason: "unsure", mayHaveLanded: true });
});

test("what mentions a local id whose creation was queued anew behind it still waits for that, and gets the server's id", async () => {
  const there = startBench();
  there.answers.push(refused);
  const first = there.add({ payload: "created", creates: "local-1" });
  await there.run();
  there.add({ payload: { ref: "local-1" } });
  there.ask("queue.cancel", { ids: [first.id] });
  there.ask("network.offline", {});
  there.add({ payload: "created anew", creates: "local-1" });
  const here = elsewhere();
  here.answers.push({ ...applied, serverId: "S1" } as never);
  here.ask("queue.import", { lines: there.ask("queue.export", {}).lines });
  await here.run();
  expect(here.order()).toEqual(["created anew", { ref: "S1" }]);
});

test("a lane keeps the order that it was brought into, and what was detached stays detached", async () => {
  const there = startBench({ isStopped: true });
  const ids = [1, 2, 3].map((payload) => there.add({ payload, lane: "a" }).id);
  const blocked = there.add({ payload: "blocked", isDraft: true });
  const free = there.add({ payload: "free", after: [blocked.id] });
  there.ask("queue.move", { id: ids[2] ?? "", to: "first" });
  there.ask("queue.detach", { id: free.id });
  const here = elsewhere();
  here.ask("queue.import", { lines: there.ask("queue.export", {}).lines });
  await here.run();
  expect(here.order().filter((each) => typeof each === "number")).toEqual([3, 1, 2]);
  expect(here.order()).toContain("free");
});

test("what may have landed elsewhere is not written over under its key, neither by a newer one nor by a forced edit", async () => {
  const there = startBench();
  const keyed = { dedupe: { key: "k", mode: "replace-pending" } } as const;
  there.answers.push(() => new Promise(() => {}));
  const first = there.add({ payload: 1, ...keyed });
  await there.run();
  const { lines } = there.ask("queue.export", {});
  const [replacing, editing] = [elsewhere({ isStopped: true }), elsewhere({ isStopped: true })];
  replacing.ask("queue.import", { lines });
  const second = replacing.add({ payload: 2, ...keyed });
  expect(second.id).not.toBe(first.id);
  expect(replacing.get(first.id)).toMatchObject({ outcome: "replaced", payload: 1 });
  editing.ask("queue.import", { lines });
  const before = editing.get(first.id).idempotencyKey;
  expect(editing.ask("queue.edit", { id: first.id, payload: 2, force: true }).idempotencyKey).not.toBe(before);
});
