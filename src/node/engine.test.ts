/**
 * Owns the proof that an engine on files outlives damage that shows while it runs, without a restart of the process.
 * What damage does at an opening is in `salvage.test.ts`.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Engine } from "../engine/engine.ts";
import { isCode } from "../errors.ts";
import { openEngine } from "./engine.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

async function open(directory: string): Promise<Engine> {
  const engine = await openEngine({ directory, log: () => {} });
  ends.push(() => engine.close());
  return engine;
}

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-open-"));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("what was queued is there after a close, and a closed engine says so", async () => {
  const directory = newDirectory();
  const first = await open(directory);
  const { id } = first.handle("queue.add", { type: "demo", payload: { n: 1 } });
  first.close();
  expect(() => first.handle("queue.get", { id })).toThrow(/closed/);
  const second = await open(directory);
  expect(second.handle("queue.get", { id })).toMatchObject({ id, payload: { n: 1 } });
  expect(second.handle("engine.info", {}).recovery).toBeNull();
});

test("damage met at run time is salvaged without a restart, and the report is told then and later", async () => {
  const directory = newDirectory();
  const engine = await open(directory);
  const ids = Array.from({ length: 400 }, (_, n) => {
    return engine.handle("queue.add", { type: "demo", payload: { n, text: "x".repeat(500) } }).id;
  });
  engine.close();
  const running = await open(directory);
  expect(running.handle("queue.status", {}).unsent).toBe(400);
  // Another writer's commit makes SQLite forget the pages that it read before the damage.
  const other = await open(directory);
  other.handle("queue.add", { type: "demo", payload: {} });
  other.close();
  zeroPageOf(join(directory, "holdfast.db"), ids[200] ?? "");
  const missing = ids.filter((id) => {
    try {
      running.handle("queue.get", { id });
      return false;
    } catch (error) {
      expect(isCode(error, "not_found")).toBe(true);
      return true;
    }
  });
  expect(missing).toContain(ids[200]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const info = running.handle("engine.info", {});
  const recovery = info.recovery as { kind: string; savedOperations: number; lostSequences: unknown[] };
  expect(recovery.kind).toBe("salvaged");
  expect(recovery.savedOperations).toBe(401 - missing.length);
  expect(missing.length).toBeLessThan(20);
  expect(recovery.lostSequences.length).toBeGreaterThan(0);
  expect(running.handle("engine.check", {}).isSound).toBe(true);
  running.handle("queue.add", { type: "demo", payload: { n: 1_000 } });
  running.close();
  const later = await open(directory);
  expect(later.handle("engine.info", {}).recovery).toEqual(recovery);
});

/** Zeroes the page of the table on which a row lies, as a failing disk does, under the open file. */
function zeroPageOf(path: string, id: string): void {
  const content = readFileSync(path);
  for (let at = content.indexOf(id); at >= 0; at = content.indexOf(id, at + 1)) {
    const page = Math.floor(at / 4_096);
    if (content[page * 4_096] !== 0x0d) continue;
    const file = openSync(path, "r+");
    writeSync(file, Buffer.alloc(4_096), 0, 4_096, page * 4_096);
    closeSync(file);
    return;
  }
  throw new Error("the row is on no page of a table");
}
