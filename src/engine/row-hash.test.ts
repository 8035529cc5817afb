// Owns the rule that an operation which storage has changed is neither sent nor dropped, and that every honest change keeps the hash true.
// Leaves flips of raw bits, and what is saved of a damaged file, to test/crash/bitflip.test.ts.
import { createHash } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { openDatabase } from "../node/sqlite.ts";
import { seededRandom } from "../testing/random.ts";
import { newScheduler } from "../testing/scheduler.ts";
import { newVirtualMachine } from "../testing/virtual-machine.ts";
import { bootProcess } from "../testing/virtual-world.ts";
import type { AddInput } from "../verbs.ts";
import { openEngine } from "./engine.ts";
import { hashedColumns } from "./row-hash.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function newWorld() {
  const scheduler = newScheduler();
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("row-hash"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const database = openDatabase(":memory:");
  const sent: string[] = [];
  const types = ["note", "memo"].map((type) => ({
    type,
    run: async ({ operation }: { readonly operation: { readonly id: string } }) => {
      sent.push(operation.id);
      return { kind: "applied" as const, serverId: `server-${sent.length}` };
    },
  }));
  const engine = openEngine({ database, world: bootProcess(machine, "process").world, types });
  ends.push(() => engine.close());
  const findings = () => engine.handle("engine.check", {}).findings;
  return { scheduler, database, engine, sent, findings };
}

const full: AddInput = {
  type: "note",
  payload: { text: "precious" },
  lane: "a",
  priority: 3,
  creates: "local-1",
  group: "g",
  dedupe: { key: "k", mode: "keep-first" },
  expiresAt: 9_000_000_000_000,
  title: "the title",
};

/** A value that the column could hold as well. */
const other: Readonly<Record<string, string | number>> = {
  id: "01900000-0000-7000-8000-000000000000",
  type: "memo",
  version: 2,
  channel: 2,
  lane: "b",
  priority: 4,
  generation: 1,
  created: 1,
  expires: 9_000_000_000_001,
  dedupe: "l",
  grp: "h",
  creates: "local-2",
  options: `{"onFailure":"skip"}`,
  payload: `{"text":"precio5s"}`,
};

test.each(hashedColumns.split(", "))(
  "an operation whose %s was changed behind the engine's back is parked, not sent",
  async (column) => {
    const { scheduler, database, engine, sent, findings } = newWorld();
    engine.handle("queue.add", full);
    engine.handle("queue.add", { type: "memo", payload: 1 });
    database.prepare(`UPDATE op SET ${column} = ? WHERE seq = 1`).run(other[column] ?? null);
    expect(findings().join("\n")).toContain("no longer matches its hash");
    engine.start();
    await scheduler.runFor(5_000);
    expect(sent).toHaveLength(1);
    const [parked] = engine.handle("queue.list", { status: ["failed"] }).operations;
    expect(parked).toMatchObject({ sequence: 1, reason: "corrupt", problem: { code: "payload_corrupt" } });
  },
);

test("an expiry that storage has moved into the past drops nothing", async () => {
  const { scheduler, database, engine, sent } = newWorld();
  const { id } = engine.handle("queue.add", { ...full, notBefore: 8_000_000_000_000 });
  database.prepare("UPDATE op SET expires = 1 WHERE seq = 1").run();
  engine.start();
  await scheduler.runFor(5_000);
  expect(sent).toEqual([]);
  expect(engine.handle("queue.get", { id })).toMatchObject({ status: "failed", reason: "corrupt" });
});

test("every change that a person or an answer makes keeps the hash true", async () => {
  const { scheduler, engine, findings } = newWorld();
  const { id } = engine.handle("queue.add", full);
  engine.handle("queue.add", { type: "note", payload: 2, lane: "c" });
  engine.handle("queue.edit", {
    id,
    priority: 7,
    title: "another title",
    expiresAt: null,
    notBefore: 8_000_000_000_000,
  });
  expect(findings()).toEqual([]);
  engine.handle("queue.edit", { id, payload: { text: "edited" } });
  expect(findings()).toEqual([]);
  const { id: loose } = engine.handle("queue.add", { type: "note", payload: 3 });
  engine.handle("queue.move", { id: loose, lane: "c" });
  expect(findings()).toEqual([]);
  const dedupe = { key: "m", mode: "replace-pending" } as const;
  engine.handle("queue.add", { type: "note", payload: 4, dedupe });
  engine.handle("queue.add", { type: "note", payload: 5, dedupe });
  engine.handle("queue.add", { type: "memo", payload: 6, dedupe });
  expect(findings()).toEqual([]);
  engine.handle("queue.add", { type: "note", payload: 7, creates: "local-2", after: [id] });
  engine.handle("queue.add", { type: "note", payload: { of: "local-2" } });
  engine.handle("queue.add", { type: "note", payload: 8, creates: "local-3" });
  engine.handle("queue.add", { type: "note", payload: { of: "local-3" } });
  engine.start();
  await scheduler.runFor(5_000);
  expect(findings()).toEqual([]);
});

test("only an edit of its payload makes a changed operation pass again", async () => {
  const { scheduler, database, engine, sent } = newWorld();
  const { id } = engine.handle("queue.add", { type: "note", payload: { text: "precious" } });
  database.prepare(`UPDATE op SET payload = '{"text":"precio5s"}' WHERE seq = 1`).run();
  engine.start();
  await scheduler.runFor(1_000);
  for (const change of [
    () => engine.handle("queue.edit", { id, priority: 9 }),
    () => engine.handle("queue.move", { id, lane: "elsewhere" }),
    () => engine.handle("queue.retry", { ids: [id] }),
  ]) {
    change();
    await scheduler.runFor(1_000);
    expect(engine.handle("queue.get", { id })).toMatchObject({ status: "failed", reason: "corrupt" });
  }
  expect(sent).toEqual([]);
  engine.handle("queue.edit", { id, payload: { text: "mended" } });
  engine.handle("queue.retry", { ids: [id] });
  await scheduler.runFor(1_000);
  expect(sent).toEqual([id]);
});
