// Owns the promise that a first sync of a hundred thousand records streams: it tells how far it is, goes on after kill -9 where it was,
// and takes the memory of a few pages. Leaves its speed to `npm run bench -- p9` and each rule of pulling to src/engine/pull.test.ts.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openServerStore } from "../../src/node/server-store.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { FirstSynced, FirstSyncRequest } from "../support/first-sync-client.ts";
import type { ServerProcess } from "../support/servers.ts";
import { newToken, newWire, startServerProcess } from "../support/servers.ts";

const rows = 100_000;
const [space, collection] = ["main", "notes"];
/** Changes of one operation and operations of one push, while the server is filled. */
const batch = { changes: 100, operations: 50 } as const;
const body = "salt and wind ".repeat(50);
const rowOf = (n: number) => ({ title: `note ${n}`, body, rank: n });
/**
 * All rows as text are 75 MB, as objects several times that. A heap of 32 MB ends a process that gathers them, and keeps V8 from putting
 * off its collections on a machine with much memory; SQLite's own cache is 32 MiB of what the process may grow by.
 */
const smallHeap = ["--max-old-space-size=32", "--max-semi-space-size=2"] as const;
const mostGrowthBytes = 80 * 1_048_576;

let folder: string;
let server: ServerProcess;
let token: string;
beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-first-sync-"));
  const place = { kind: "embedded", directory: path.join(folder, "server") } as const;
  const store = await openServerStore(place);
  token = await newToken(store);
  await store.close();
  server = await startServerProcess(place);
});
afterEach(async () => {
  await server.kill();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function fill(): Promise<void> {
  const wire = newWire(() => server.url, token);
  const client = randomUUID();
  const perPush = batch.changes * batch.operations;
  for (let from = 0, number = 1; from < rows; from += perPush) {
    const items = Array.from({ length: batch.operations }, (_, operation) => {
      const changes = Array.from({ length: batch.changes }, (__, change) => {
        const n = from + operation * batch.changes + change;
        return { collection, key: `note-${n}`, kind: "create" as const, base: 0, schema: 1, fields: rowOf(n) };
      });
      number += 1;
      return { id: randomUUID(), number, at: Date.now(), changes };
    });
    const { answers } = await wire.push({ space, client, floor: 0, items });
    expect(answers.filter(({ outcome }) => outcome !== "applied")).toEqual([]);
  }
}

/** Runs a device to its end; `null` when it was killed. */
async function sync(more: Partial<FirstSyncRequest> = {}): Promise<FirstSynced | null> {
  const request: FirstSyncRequest = {
    ...{ directory: path.join(folder, "device"), url: server.url, token, space, collection, rows },
    ...more,
  };
  const file = path.join(import.meta.dirname, "../support/first-sync-client.ts");
  const args = ["--no-warnings", ...smallHeap, file, JSON.stringify(request)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const signal = await new Promise((resolve) => child.once("close", (_code, by) => resolve(by)));
  if (signal === "SIGKILL") return null;
  return JSON.parse(said.trim()) as FirstSynced;
}

test("a hundred thousand records stream in: bounded memory, progress, and kill -9 costs one page", {
  timeout: 120_000,
}, async () => {
  await fill();
  expect(await sync({ diesAt: rows * 0.4 })).toBeNull();
  const synced = await sync();
  if (synced === null) throw new Error("the second process was killed");
  const grown = synced.peakBytes - synced.openedBytes;
  console.log(
    `the second process began with ${synced.began} of ${rows} records and grew by ${Math.round(grown / 1_048_576)} MB`,
  );
  expect(synced.began).toBeGreaterThanOrEqual(rows * 0.4);
  expect(grown).toBeLessThan(mostGrowthBytes);
  // Progress goes on from there, never back, in many small steps.
  expect(synced.fractions.length).toBeGreaterThan(15);
  expect(synced.fractions).toEqual([...synced.fractions].sort((a, b) => a - b));
  expect(synced.fractions[0]).toBeGreaterThan(0.39);
  expect(Math.max(...synced.fractions)).toBeGreaterThan(0.9);

  const whole = await sync({ directory: path.join(folder, "another") });
  expect((whole?.peakBytes ?? 0) - (whole?.openedBytes ?? 0)).toBeLessThan(mostGrowthBytes);
  const database = openDatabase(path.join(folder, "device/holdfast.db"));
  const [sum] = database
    .prepare(
      "SELECT count(*) AS n, count(DISTINCT key) AS keys, sum(json_extract(value, '$.rank')) AS ranks FROM record",
    )
    .all();
  database.close();
  expect(sum).toEqual({ n: rows, keys: rows, ranks: (rows * (rows - 1)) / 2 });
});
