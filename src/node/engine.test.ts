// Owns the tests of the engine on a data directory: built-in types, commands by permission, events across reopening, repair, collection.
// Leaves what damage is found and saved to salvage.test.ts and test/crash.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Json } from "../operation.ts";
import type { OperationType } from "../world.ts";
import { makeBlobs } from "./blobs.ts";
import { collectOnce } from "./collector.ts";
import { openEngine } from "./engine.ts";
import { openDatabase } from "./sqlite.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "holdfast-engine-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const quiet = (): void => {};
const note = { type: "note", run: async () => ({ kind: "applied" }) as const };

test("knows requests and uploads at once, and commands only by permission", async () => {
  const engine = await openEngine({ directory, log: quiet });
  expect(engine.handle("engine.info", {}).types).toEqual(["file.upload", "http.request", "record.write"]);
  engine.close();
  const permitted = await openEngine({ directory, log: quiet, commands: true });
  expect(permitted.handle("engine.info", {}).types).toContain("command.run");
  permitted.close();
});

/** A process of its own that drains the store and says what it sends, until it is killed. */
const drainingProgram = `
import { openEngine } from ${JSON.stringify(new URL("./engine.ts", import.meta.url).href)};
const run = async ({ input }) => {
  process.stdout.write("second " + input + "\\n");
  return { kind: "applied" };
};
const engine = await openEngine({ directory: process.argv[1], types: [{ type: "note", run }] });
engine.start();
`;

test("a drainer whose lock was taken away claims nothing more and breaks off what another one sends again", async () => {
  const sent: string[] = [];
  const broken: unknown[] = [];
  const run: OperationType["run"] = async ({ input, signal }) => {
    sent.push(`first ${String(input)}`);
    if (input !== 1) return { kind: "applied" };
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    broken.push(signal.reason);
    return { kind: "applied" };
  };
  const first = await openEngine({ directory, log: quiet, types: [{ type: "note", run }] });
  const { id } = first.handle("queue.add", { type: "note", payload: 1 });
  first.start();
  await expect.poll(() => sent).toEqual(["first 1"]);
  rmSync(join(directory, "drainer.lock"));
  const second = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", drainingProgram, directory]);
  second.stdout.setEncoding("utf8").on("data", (text: string) => sent.push(...text.trim().split("\n")));
  try {
    await expect.poll(() => first.handle("queue.get", { id }).status, { timeout: 10_000 }).toBe("completed");
    await expect.poll(() => broken).toEqual(["stopped"]);
    for (let n = 2; n < 12; n += 1) {
      first.handle("queue.add", { type: "note", payload: n });
      await delay(20);
    }
    await expect.poll(() => first.handle("queue.status", {}).unsent).toBe(0);
    expect(first.handle("queue.status", {}).isDraining).toBe(false);
    expect(sent).toEqual(["first 1", ...Array.from({ length: 11 }, (_unused, n) => `second ${n + 1}`)]);
  } finally {
    second.kill("SIGKILL");
  }
  // Once the other one has ended, it takes over again.
  first.handle("queue.add", { type: "note", payload: 12 });
  await expect.poll(() => sent.at(-1)).toBe("first 12");
  await first.stop();
  first.close();
});

test("a store that is damaged while it is open is repaired under the same face, with its listeners and its unsent work", async () => {
  const engine = await openEngine({ directory, log: quiet, types: [note] });
  const kinds: string[] = [];
  engine.subscribe((event) => kinds.push(event.kind));
  const payload = "x".repeat(3_000);
  const ids = Array.from(
    { length: 200 },
    (_unused, index) => engine.handle("queue.add", { type: "note", payload: { index, payload }, isDraft: true }).id,
  );
  await overwrite(join(directory, "holdfast.db"), 40);
  await overwrite(join(directory, "holdfast.db-wal"), 40);
  const found = ids.filter((id) => {
    try {
      return engine.handle("queue.get", { id }).id === id;
    } catch {
      return false;
    }
  });
  const info = engine.handle("engine.info", {});
  expect(readdirSync(directory).some((name) => name.includes(".corrupt-"))).toBe(
    info.recovery !== null && (info.recovery as { kind: string }).kind === "salvaged",
  );
  expect(engine.handle("engine.check", {}).findings).toEqual([]);
  expect(found.length).toBeGreaterThan(0);
  engine.start();
  const { id } = engine.handle("queue.add", { type: "note", payload: 1 });
  await expect.poll(() => engine.handle("queue.get", { id }).status).toBe("completed");
  expect(kinds).toContain("settled");
  engine.close();
});

test("no light is green over operations that damage has cost, until what was set aside is deleted", async () => {
  const status = async () => {
    const engine = await openEngine({ directory, log: quiet });
    const { light, sentence } = engine.handle("queue.status", {});
    engine.close();
    return { light, sentence };
  };
  const engine = await openEngine({ directory, log: quiet });
  engine.handle("queue.add", { type: "note", payload: 1 });
  engine.close();
  await overwrite(join(directory, "holdfast.db"), 60);
  const told = {
    light: "warning",
    sentence: "Damage of the store has cost operations, see `holdfast doctor`; 0 unsent in all.",
  };
  expect(await status()).toEqual(told);
  expect(await status()).toEqual(told);
  for (const name of readdirSync(directory).filter((each) => each.includes(".corrupt-"))) rmSync(join(directory, name));
  expect(await status()).toEqual({ light: "green", sentence: "Everything has landed." });
});

/** Writes noise over the middle of a file, as a failing disk does. */
async function overwrite(path: string, pages: number): Promise<void> {
  if (!existsSync(path)) return;
  const file = await open(path, "r+");
  const { size } = await file.stat();
  for (let page = 0; page < pages; page += 1)
    await file.write(Buffer.alloc(512, page + 1), 0, 512, Math.floor((size * (page + 1)) / (pages + 2)));
  await file.close();
}

test("a listener that fails disturbs no other one", async () => {
  const logged: string[] = [];
  const engine = await openEngine({ directory, log: (_level, message) => logged.push(message) });
  const heard: string[] = [];
  engine.subscribe(() => {
    throw new Error("a listener's own mistake");
  });
  engine.subscribe(({ kind }) => heard.push(kind));
  engine.handle("queue.add", { type: "note", payload: 1 });
  await expect.poll(() => heard).toContain("enqueued");
  expect(logged).toContain("a listener failed");
  engine.close();
});

test("a captured file is kept while an operation refers to it and deleted after", async () => {
  const engine = await openEngine({ directory, log: quiet });
  const blobs = makeBlobs(directory);
  const path = join(directory, "photo.jpg");
  writeFileSync(path, "photo");
  const file = await blobs.captureFile(path);
  const { id } = engine.handle("queue.add", {
    type: "file.upload",
    payload: { file: file as Json, url: "http://127.0.0.1:1/files", protocol: "put" },
  });
  if (!("blob" in file)) throw new Error("a copy is a blob");
  const kept = join(directory, "blobs", file.blob.slice(0, 2), file.blob);
  expect(await collectOnce(engine, blobs, { minAgeMs: 0 })).toMatchObject({ removed: 0 });
  engine.handle("queue.remove", { ids: [id], confirm: true });
  expect(await collectOnce(engine, blobs, { minAgeMs: 0 })).toMatchObject({ removed: 1 });
  expect(existsSync(kept)).toBe(false);
  engine.close();
});

test("a captured file that an operation of one's own type names in its own words is kept as well", async () => {
  const engine = await openEngine({ directory, log: quiet });
  const blobs = makeBlobs(directory);
  expect(await collectOnce(engine, blobs, { minAgeMs: 0 })).toEqual({ removed: 0, freedBytes: 0 });
  const path = join(directory, "photo.jpg");
  const capture = async (content: string): Promise<string> => {
    writeFileSync(path, content);
    const file = await blobs.captureFile(path);
    if (!("blob" in file)) throw new Error("a copy is a blob");
    return file.blob;
  };
  const inside = await capture("one");
  const asPath = await capture("two");
  engine.handle("queue.add", { type: "photo.send", payload: { photos: [{ sha256: inside }] } });
  const { id } = engine.handle("queue.add", {
    type: "photo.scale",
    payload: join(directory, "blobs", asPath.slice(0, 2), asPath),
  });
  expect(await collectOnce(engine, blobs, { minAgeMs: 0 })).toMatchObject({ removed: 0 });
  engine.handle("queue.remove", { ids: [id], confirm: true });
  expect(await collectOnce(engine, blobs, { minAgeMs: 0 })).toMatchObject({ removed: 1 });
  engine.close();
});

test("fresh credentials of a subject let its operations go", async () => {
  const engine = await openEngine({
    directory,
    log: quiet,
    types: [
      {
        type: "private",
        run: async ({ operation }) =>
          operation.attempts > 1
            ? { kind: "applied" }
            : { kind: "auth", problem: { code: "http_401", message: "expired", status: 401 } },
      },
    ],
  });
  engine.start();
  const { id } = engine.handle("queue.add", { type: "private", payload: 1, subject: "anna" });
  await expect.poll(() => engine.handle("queue.get", { id }).reason).toBe("auth");
  engine.handle("subject.signIn", { subject: "anna" });
  await expect.poll(() => engine.handle("queue.get", { id }).status).toBe("completed");
  await engine.stop();
  engine.close();
  await delay(0);
});

test("a collection that one process declares, and declares anew, is read by another one at once", async () => {
  const reader = await openEngine({ directory, log: quiet });
  const writer = await openEngine({ directory, log: quiet });
  const titles = () => reader.handle("records.sql", { sql: "SELECT title, stars FROM notes ORDER BY title" }).rows;
  writer.handle("collections.declare", { name: "notes", isSynced: false, merge: { stars: { rule: "max" } } });
  writer.handle("records.write", { kind: "put", collection: "notes", key: "n1", value: { title: "Tides" } });
  expect(titles()).toEqual([["Tides", null]]);
  for (const indexes of [["title"], ["stars", "title"], []]) {
    writer.handle("collections.declare", {
      name: "notes",
      isSynced: false,
      merge: { stars: { rule: "max" } },
      indexes,
    });
    expect(titles()).toEqual([["Tides", null]]);
    const order = indexes.map((field) => ({ field }));
    const { records } = reader.handle("records.query", { collection: "notes", order: order.slice(0, 1) });
    expect(records.map(({ key }) => key)).toEqual(["n1"]);
  }
  reader.close();
  writer.close();
});

test.each(["opening the store", "declaring the collection again"])(
  "an index that is missing is made by %s",
  async (how) => {
    const notes = { name: "notes", isSynced: false, indexes: ["title"] };
    const engine = await openEngine({ directory, log: quiet });
    engine.handle("collections.declare", notes);
    engine.handle("records.write", { kind: "put", collection: "notes", key: "n1", value: { title: "Tides" } });
    if (how === "opening the store") engine.close();
    const file = openDatabase(join(directory, "holdfast.db"));
    const names = file.prepare("SELECT name FROM sqlite_schema WHERE name LIKE 'record_1_%'").all();
    expect(names.length).toBe(2);
    for (const { name } of names) file.exec(`DROP INDEX "${String(name)}"`);
    file.close();
    const after = how === "opening the store" ? await openEngine({ directory, log: quiet }) : engine;
    const sql = { sql: "SELECT title FROM notes" };
    if (after === engine) {
      expect(() => after.handle("records.sql", sql)).toThrow(/no such index/);
      after.handle("collections.declare", notes);
    }
    expect(after.handle("records.sql", sql).rows).toEqual([["Tides"]]);
    expect(after.handle("records.query", { collection: "notes", order: [{ field: "title" }] }).records).toHaveLength(1);
    after.close();
  },
);

test("an empty store takes less than a megabyte, and a hundred entries less than a hundred kilobytes more", async () => {
  const bytes = (): number =>
    readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  (await openEngine({ directory, log: quiet })).close();
  const empty = bytes();
  const engine = await openEngine({ directory, log: quiet });
  const url = "https://api.example.com/locks";
  for (let number = 0; number < 100; number += 1) {
    const body = { json: { path: `/projects/song-${number}.wav`, owner: "ana", note: "x".repeat(60) } };
    engine.handle("queue.add", { type: "http.request", payload: { method: "POST", url, body } as Json });
  }
  engine.close();
  expect(empty).toBeLessThan(1_000_000);
  expect(bytes() - empty).toBeLessThan(100_000);
});
