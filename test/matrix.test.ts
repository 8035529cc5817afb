// Owns the matrix: every verb against an operation in every status, while the engine is online, offline, paused, read-only or closed.
// What each verb does is tested beside its function; here it only counts whether it is allowed, and with which code it is refused.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Engine } from "../src/engine/engine.ts";
import { openEngine } from "../src/engine/engine.ts";
import { HoldfastError } from "../src/errors.ts";
import type { OpenOptions } from "../src/node/sqlite.ts";
import { openDatabase } from "../src/node/sqlite.ts";
import type { Status } from "../src/operation.ts";
import { statuses } from "../src/operation.ts";
import { seededRandom } from "../src/testing/random.ts";
import type { Scheduler } from "../src/testing/scheduler.ts";
import { newScheduler } from "../src/testing/scheduler.ts";
import { newVirtualMachine } from "../src/testing/virtual-machine.ts";
import { bootProcess } from "../src/testing/virtual-world.ts";
import type { AddInput, Input, Verb } from "../src/verbs.ts";
import { verbNames } from "../src/verbs.ts";
import type { OperationType } from "../src/world.ts";

const modes = ["online", "offline", "paused", "read-only", "closed"] as const;
type Mode = (typeof modes)[number];

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-matrix-"));
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

const longTestMs = 120_000;

/** How each status comes about, through the front door. */
const types: readonly OperationType[] = [
  { type: "yes", remoteOf: () => "remote", run: async () => ({ kind: "applied" }) },
  {
    type: "no",
    remoteOf: () => "remote",
    run: async () => ({ kind: "conflict", problem: { code: "no", message: "another version" }, remote: 1 }),
  },
  { type: "slow", remoteOf: () => "remote", timeoutMs: 0, run: () => new Promise(() => {}) },
];

/** Records are of no operation here, so their verbs are allowed or refused by the mode alone. */
const collections = [{ name: "things" }];

type Stage = { readonly scheduler: Scheduler; readonly engine: Engine; readonly id: string; readonly line: string };

async function stageWith(status: Status, file: string): Promise<Stage> {
  const scheduler = newScheduler();
  const engine = open(scheduler, file, {});
  const input = (type: string, more: Partial<AddInput> = {}): Input<"queue.add"> => ({
    type,
    payload: { text: "x" },
    lane: "lane",
    creates: "local-1",
    ...more,
  });
  const make: { readonly [each in Status]: Partial<AddInput> & { readonly type: string } } = {
    draft: { type: "yes", isDraft: true },
    pending: { type: "yes" },
    in_progress: { type: "slow" },
    completed: { type: "yes" },
    failed: { type: "no" },
    cancelled: { type: "yes" },
    expired: { type: "yes", expiresAt: 1 },
  };
  const { type, ...more } = make[status];
  const { id } = engine.handle("queue.add", input(type, more));
  const { lines } = engine.handle("queue.export", {});
  if (status === "cancelled") engine.handle("queue.cancel", { ids: [id] });
  if (["in_progress", "completed", "failed", "expired"].includes(status)) {
    engine.start();
    await scheduler.runFor(1_000);
  }
  expect(engine.handle("queue.get", { id }).status).toBe(status);
  return { scheduler, engine, id, line: lines[0] ?? "" };
}

function open(scheduler: Scheduler, file: string, options: OpenOptions): Engine {
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("matrix"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
  });
  const { world } = bootProcess(machine, "matrix");
  return openEngine({ database: openDatabase(file, { synchronous: "OFF", ...options }), world, types, collections });
}

/** Brings the engine into a mode; what happens to the operation meanwhile is part of the mode. */
function enter(mode: Mode, stage: Stage, file: string): Engine {
  switch (mode) {
    case "online":
      return stage.engine;
    case "offline":
      stage.engine.handle("network.offline", {});
      return stage.engine;
    case "paused":
      stage.engine.handle("queue.pause", { scope: { kind: "all" } });
      return stage.engine;
    case "read-only":
      stage.engine.close();
      return open(newScheduler(), file, { readOnly: true });
    case "closed":
      stage.engine.close();
      return stage.engine;
  }
}

/** One well-meant input per verb, about the operation where the verb is about one. */
function inputs(id: string, line: string): { readonly [V in Verb]: Input<V> } {
  const ids = [id];
  return {
    "queue.add": { type: "yes", payload: 1 },
    "queue.addMany": { operations: [{ type: "yes", payload: 1, after: ids }] },
    "queue.get": { id },
    "queue.list": { lane: "lane" },
    "queue.status": {},
    "queue.why": { id },
    "queue.history": { id },
    "queue.edit": { id, payload: { text: "y" } },
    "queue.retry": { ids },
    "queue.move": { id, to: "first" },
    "queue.cancel": { ids },
    "queue.detach": { id },
    "queue.release": { ids },
    "queue.remove": { ids },
    "queue.clear": { scope: "all" },
    "queue.pause": { scope: { kind: "lane", name: "lane" } },
    "queue.resume": { scope: { kind: "all" } },
    "queue.resolve": { ids, choose: "local" },
    "queue.export": {},
    "queue.import": { lines: [line] },
    "ids.get": { localId: "local-1" },
    "ids.assign": { localId: "local-1", serverId: "server-1" },
    "sync.run": { retryFailed: true },
    "sync.status": {},
    "sync.runs": {},
    "sync.rollback": { run: 1 },
    "collections.declare": { name: "notes" },
    "collections.list": {},
    "collections.sync": {},
    "records.write": { kind: "put", collection: "things", key: "k", value: { n: 1 } },
    "records.transaction": { writes: [{ kind: "put", collection: "things", key: "k", value: { n: 1 } }] },
    "records.get": { collection: "things", key: "k" },
    "records.query": { collection: "things" },
    "records.count": { collection: "things" },
    "records.sql": { sql: "SELECT 1 AS one" },
    "records.history": { collection: "things", key: "k" },
    "records.restore": { collection: "things", key: "k", sequence: 1 },
    "records.import": { collection: "things", rows: [{ n: 1 }], source: "file", offset: 0 },
    "records.pin": { collection: "things", keys: ["k"], isPinned: true },
    "conflicts.list": {},
    "conflicts.groups": {},
    "conflicts.get": { id },
    "conflicts.resolve": { ids, choose: "local" },
    "conflicts.undo": { ids },
    "conflicts.prefer": { collection: "things", key: "k", choose: "local", version: 1 },
    "network.status": {},
    "network.check": { remote: "remote" },
    "network.offline": {},
    "network.online": {},
    "subject.signIn": { subject: "" },
    "subject.signOut": { subject: "" },
    "settings.get": {},
    "settings.set": { concurrency: 2 },
    "events.list": {},
    "engine.info": {},
    "engine.check": {},
  };
}

function outcomeOf<V extends Verb>(engine: Engine, verb: V, input: Input<V>): string {
  try {
    const output = engine.handle(verb, input) as { readonly refused?: readonly { readonly code: string }[] };
    return output.refused?.[0]?.code ?? "ok";
  } catch (error) {
    if (error instanceof HoldfastError) return error.code;
    throw error;
  }
}

async function tableOf(mode: Mode): Promise<string> {
  const rows: string[][] = [["", ...statuses]];
  const cells = new Map<Verb, string[]>(verbNames.map((verb) => [verb, []]));
  for (const status of statuses) {
    for (const verb of verbNames) {
      const file = path.join(folder, `${mode}-${status}-${verb}.db`);
      const stage = await stageWith(status, mode === "read-only" ? file : ":memory:");
      const engine = enter(mode, stage, file);
      cells.get(verb)?.push(outcomeOf(engine, verb, inputs(stage.id, stage.line)[verb]));
      engine.close();
    }
  }
  for (const [verb, outcomes] of cells) rows.push([verb, ...outcomes]);
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${mode}\n${lines.join("\n")}\n`;
}

test("every verb against every status and every mode is allowed or refused as the table says", {
  timeout: longTestMs,
}, async () => {
  const tables: string[] = [];
  for (const mode of modes) tables.push(await tableOf(mode));
  await expect(tables.join("\n")).toMatchFileSnapshot("golden/matrix.txt");
});

test("the matrix knows every verb", () => {
  expect(Object.keys(inputs("id", "")).sort()).toEqual([...verbNames].sort());
});
