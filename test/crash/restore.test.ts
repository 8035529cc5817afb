/**
 * Owns the proof that a restore of the server's database that is killed at any of its steps leaves the old database or the restored one, whole,
 * and never a mix or nothing. Leaves what a restore means for clients to test/wire/server-process.test.ts.
 */
import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { backupServer, lockServer, openServerStore } from "../../src/node/server-store.ts";
import type { RestoreTask } from "./restore-worker.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-restore-"));
const template = join(folder, "template");
const backup = join(folder, "backup.db");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Ended = { readonly signal: NodeJS.Signals | null; readonly code: number | null; readonly calls: number };

function run(task: RestoreTask): Promise<Ended> {
  const child: ChildProcess = fork(
    fileURLToPath(new URL("./restore-worker.ts", import.meta.url)),
    [JSON.stringify(task)],
    {
      execArgv: ["--no-warnings"],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    },
  );
  let calls = 0;
  child.on("message", (told) => {
    calls = (told as { readonly calls: number }).calls;
  });
  return new Promise((resolve) => child.once("exit", (code, signal) => resolve({ signal, code, calls })));
}

const early = ["a1", "a2", "a3"];
const late = ["b1", "b2"];

type Content = { readonly keys: readonly string[]; readonly head: number; readonly history: string };

async function contentOf(directory: string): Promise<Content> {
  const store = await openServerStore({ kind: "embedded", directory });
  try {
    return await store.read(async (tx) => {
      const keys = (await tx.all("SELECT key FROM hf_record ORDER BY key")).map(({ key }) => String(key));
      const [space] = await tx.all("SELECT head, history FROM hf_space");
      const [check] = await tx.all("SELECT * FROM pragma_integrity_check");
      expect(Object.values(check ?? {})).toEqual(["ok"]);
      return { keys, head: Number(space?.head), history: String(space?.history) };
    });
  } finally {
    await store.close();
  }
}

let before: Content;
beforeAll(async () => {
  mkdirSync(template);
  await run({ kind: "write", directory: template, keys: early });
  await backupServer({ kind: "embedded", directory: template }, backup);
  await run({ kind: "write", directory: template, keys: late });
  // What the server wrote last is in the WAL alone: it was killed.
  expect(existsSync(join(template, "server.db-wal"))).toBe(true);
  const copy = join(folder, "copy");
  cpSync(template, copy, { recursive: true });
  before = await contentOf(copy);
  expect(before).toMatchObject({ keys: [...early, ...late], head: 5 });
});

let directories = 0;
function newDirectory(): string {
  directories += 1;
  const directory = join(folder, `run-${directories}`);
  cpSync(template, directory, { recursive: true });
  return directory;
}

const isOld = ({ keys, head, history }: Content): boolean =>
  keys.length === 5 && head === 5 && history === before.history;
const isNew = ({ keys, head, history }: Content): boolean =>
  keys.join() === early.join() && head === 3 && history !== before.history;

test("killed before any step of a restore: the old database or the restored one is there, and the other is not lost", async () => {
  const whole = await run({ kind: "restore", directory: newDirectory(), source: backup, dieAt: 0 });
  expect(whole.code).toBe(0);
  expect(whole.calls).toBeGreaterThan(10);
  const seen = { old: 0, new: 0, finished: 0 };
  for (let dieAt = 1; dieAt <= whole.calls; dieAt += 1) {
    const directory = newDirectory();
    expect((await run({ kind: "restore", directory, source: backup, dieAt })).signal).toBe("SIGKILL");
    if (!existsSync(join(directory, "server.db"))) seen.finished += 1;
    const content = await contentOf(directory);
    expect([dieAt, isOld(content) || isNew(content)]).toEqual([dieAt, true]);
    seen[isOld(content) ? "old" : "new"] += 1;
    if (isNew(content)) {
      const aside = readdirSync(directory).filter((name) => name.endsWith("before-restore-1900000000000"));
      const kept = join(directory, "kept");
      mkdirSync(kept);
      cpSync(join(directory, aside[0] ?? ""), join(kept, "server.db"));
      expect(isOld(await contentOf(kept))).toBe(true);
    }
    expect((await run({ kind: "restore", directory, source: backup, dieAt: 0 })).code).toBe(0);
    expect(isNew(await contentOf(directory))).toBe(true);
    expect(readdirSync(directory).filter((name) => /^restore-|swap/.test(name))).toEqual([]);
  }
  console.log(
    `restore: killed before each of ${whole.calls} steps; ${seen.old} times the old, ${seen.new} times the new database`,
  );
  // Deaths before and after the moment that counts, and in the moment when no database has its name.
  expect(Math.min(seen.old, seen.new, seen.finished)).toBeGreaterThan(0);
});

test("the same over a database that cannot be read: the WAL that it leaves behind never gets into the restored one", async () => {
  const spoil = (directory: string): string => {
    writeFileSync(join(directory, "server.db"), "no database at all".repeat(1_000));
    return directory;
  };
  const whole = await run({ kind: "restore", directory: spoil(newDirectory()), source: backup, dieAt: 0 });
  const seen = { old: 0, new: 0 };
  for (let dieAt = 1; dieAt <= whole.calls; dieAt += 1) {
    const directory = spoil(newDirectory());
    expect((await run({ kind: "restore", directory, source: backup, dieAt })).signal).toBe("SIGKILL");
    const content = await contentOf(directory).catch((error: { readonly code?: string }) => error);
    if ("keys" in content) expect(isNew(content)).toBe(true);
    else expect(readFileSync(join(directory, "server.db"), "utf8")).toContain("no database at all");
    seen["keys" in content ? "new" : "old"] += 1;
  }
  expect(Math.min(seen.old, seen.new)).toBeGreaterThan(0);
});

test("a directory that is being restored is opened by nobody else, and a damaged note is told by its name", async () => {
  const directory = newDirectory();
  const note = join(directory, "server.swap.json");
  const lock = lockServer({ kind: "embedded", directory });
  writeFileSync(note, JSON.stringify({ file: "server.db", from: "restore.db", aside: "aside.db" }));
  await expect(contentOf(directory)).rejects.toMatchObject({ code: "daemon_running" });
  lock.release();
  writeFileSync(note, "{");
  await expect(contentOf(directory)).rejects.toMatchObject({
    code: "database_corrupt",
    message: expect.stringContaining("server.swap.json"),
  });
  expect(existsSync(join(directory, "server.db"))).toBe(true);
});
