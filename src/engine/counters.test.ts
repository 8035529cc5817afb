// Owns the rule that the counters equal a recount whatever was rolled back on the way.
// Leaves ordinary changes to the simulation, which recounts after every step.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { openDatabase } from "../node/sqlite.ts";
import { seededRandom } from "../testing/random.ts";
import { newScheduler } from "../testing/scheduler.ts";
import { newVirtualMachine } from "../testing/virtual-machine.ts";
import { bootProcess } from "../testing/virtual-world.ts";
import { openEngine } from "./engine.ts";

function newEngine(seed: string) {
  const machine = newVirtualMachine({
    scheduler: newScheduler(),
    random: seededRandom(seed),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const { world } = bootProcess(machine, "process");
  // Answers everything that was asked for in this tick when it is told to.
  const deferred: (() => void)[] = [];
  const engine = openEngine({
    database: openDatabase(":memory:"),
    world: { ...world, defer: (task) => void deferred.push(task) },
    types: [{ type: "note" }],
  });
  const flush = (): void => {
    for (const task of deferred.splice(0)) task();
  };
  return { engine, flush };
}

test("a request that fails in a shared commit counts nothing", async () => {
  const { engine, flush } = newEngine("one");
  const asked = [
    engine.submit("queue.add", { type: "note", payload: 1 }),
    engine.submit("queue.addMany", {
      operations: [
        { type: "note", payload: 2 },
        { type: "note", payload: 3, after: ["nothing"] },
      ],
    }),
    engine.submit("queue.add", { type: "note", payload: "four" }),
    engine.submit("engine.check", {}),
  ] as const;
  flush();
  const [, failed, , check] = await Promise.allSettled(asked);
  expect(failed.status).toBe("rejected");
  expect(check).toMatchObject({ value: { isSound: true, findings: [] } });
  expect(engine.handle("queue.status", {})).toMatchObject({ unsent: 2, bytes: 7 });
  engine.close();
});

test("a line of an import that is refused counts nothing", () => {
  const { engine } = newEngine("from");
  engine.handle("queue.add", { type: "note", payload: 1, creates: "local-1" });
  engine.handle("queue.add", { type: "note", payload: 2 });
  const { lines } = engine.handle("queue.export", {});
  engine.close();
  const { engine: fresh } = newEngine("to");
  fresh.handle("queue.add", { type: "note", payload: 3, creates: "local-1" });
  const answer = fresh.handle("queue.import", { lines: [...lines] });
  expect([answer.imported.length, answer.refused.length]).toEqual([1, 1]);
  expect(fresh.handle("engine.check", {}).findings).toEqual([]);
  expect(fresh.handle("queue.status", {}).unsent).toBe(2);
  fresh.close();
});

test("a collection counts what it holds and what is not as the server has it, through every change and undo", async () => {
  const { engine, flush } = newEngine("three");
  for (const name of ["notes", "tags"]) engine.handle("collections.declare", { name });
  const put = (collection: string, key: string, n: number) =>
    ({ kind: "put", collection, key, value: { text: "ü".repeat(n) } }) as const;
  const asked = [
    engine.submit("records.write", put("notes", "a", 1)),
    engine.submit("records.write", put("notes", "b", 2)),
    engine.submit("records.write", put("tags", "a", 3)),
    engine.submit("records.write", { kind: "update", collection: "tags", key: "nothing", fields: { text: "" } }),
  ];
  flush();
  const ends = await Promise.allSettled(asked);
  expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled", "rejected"]);
  engine.handle("records.write", { kind: "remove", collection: "notes", key: "b" });
  engine.handle("records.write", put("notes", "a", 9));
  const { collections } = engine.handle("collections.list", {});
  expect(collections.map(({ records, bytes, pending }) => ({ records, bytes, pending }))).toEqual([
    { records: 1, bytes: Buffer.byteLength(JSON.stringify({ text: "ü".repeat(9) })), pending: 1 },
    { records: 1, bytes: Buffer.byteLength(JSON.stringify({ text: "üüü" })), pending: 1 },
  ]);
  expect(engine.handle("engine.check", {}).findings).toEqual([]);
  engine.close();
});
