/**
 * Owns the proof that Node's SQLite passes the database contract, and the rules that only files and processes have.
 * What damage does to a store is proven in `salvage.test.ts` and under `test/crash`.
 */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { HoldfastError } from "../errors.ts";
import { databaseContract } from "../testing/database-contract.ts";
import { acquireFileLock, checkInBackground, openDatabase, sqliteLimits } from "./sqlite.ts";
import { failureOf } from "./sqlite-failure.ts";

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-sqlite-"));
  directories.push(directory);
  return directory;
}

function codeOf(task: () => unknown): string {
  try {
    task();
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "no failure";
}

describe("the contract, in memory", () => {
  const harness = { open: () => openDatabase(":memory:"), reopen: null, isShared: false };
  for (const { name, run } of databaseContract(harness)) test(name, run);
});

describe("the contract, in a file", () => {
  let path = "";
  const harness = {
    open: () => {
      path = join(newDirectory(), "store.db");
      return openDatabase(path);
    },
    reopen: () => openDatabase(path, { timeoutMs: 50 }),
    isShared: true,
  };
  for (const { name, run } of databaseContract(harness)) test(name, run);
});

describe("the contract without SQLite's authorizer, as on Node before 24.10", () => {
  let path = "";
  const harness = {
    open: () => {
      path = join(newDirectory(), "store.db");
      return openDatabase(path, { hasAuthorizer: false });
    },
    reopen: null,
    isShared: false,
  };
  for (const { name, run } of databaseContract(harness)) if (name.includes("guarded")) test(name, run);
});

describe("durability", () => {
  test("a file is opened in WAL mode with full synchronisation unless told otherwise", () => {
    const path = join(newDirectory(), "store.db");
    const db = openDatabase(path);
    expect(db.prepare("PRAGMA journal_mode").get()).toEqual({ journal_mode: "wal" });
    expect(db.prepare("PRAGMA synchronous").get()).toEqual({ synchronous: 2 });
    db.close();
    const loose = openDatabase(path, { synchronous: "NORMAL" });
    expect(loose.prepare("PRAGMA synchronous").get()).toEqual({ synchronous: 1 });
    loose.close();
  });

  test("the file and its journal are readable by their owner alone", () => {
    const path = join(newDirectory(), "store.db");
    const db = openDatabase(path);
    db.exec("CREATE TABLE t (a)");
    for (const suffix of ["", "-wal", "-shm"]) expect(statSync(path + suffix).mode & 0o777).toBe(0o600);
    db.close();
  });

  test("an integer that only damage can have made hides no row beside it, and has nothing written twice", () => {
    const path = join(newDirectory(), "store.db");
    const db = openDatabase(path, { largeIntegers: "rounded" });
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n)");
    db.exec("INSERT INTO t (n) VALUES (1), (9007199254740993), (-9223372036854775808)");
    const other = openDatabase(path);
    expect(codeOf(() => other.prepare("SELECT n FROM t").all())).toBe("internal");
    other.close();
    const all = db.prepare("SELECT n FROM t ORDER BY id");
    for (let times = 0; times < 2; times += 1)
      expect(all.all()).toEqual([{ n: 1 }, { n: 9_007_199_254_740_992 }, { n: -(2 ** 63) }]);
    const one = db.prepare("SELECT n FROM t WHERE id = ?");
    expect([one.get(2), one.get(1)]).toEqual([{ n: 9_007_199_254_740_992 }, { n: 1 }]);
    expect(codeOf(() => db.prepare("UPDATE t SET id = id + 10 WHERE id = 2 RETURNING n").get())).toBe("internal");
    expect(db.prepare("SELECT max(id) AS id FROM t").get()).toEqual({ id: 12 });
    db.close();
  });

  test("a checkpoint empties the journal, a busy reader only delays it", () => {
    const path = join(newDirectory(), "store.db");
    const db = openDatabase(path);
    db.exec("CREATE TABLE t (a)");
    const reader = openDatabase(path);
    reader.exec("BEGIN");
    reader.prepare("SELECT * FROM t").all();
    for (let a = 0; a < 50; a += 1) db.prepare("INSERT INTO t VALUES (?)").run("x".repeat(1_000));
    expect(db.checkpoint()).toBeGreaterThan(0);
    reader.close();
    expect(db.checkpoint("truncate")).toBe(0);
    expect(statSync(`${path}-wal`).size).toBe(0);
    db.close();
  });

  test("statement texts beyond the limit push out the oldest and stay usable", () => {
    const db = openDatabase(":memory:");
    const first = db.prepare("SELECT 0 AS n");
    for (let n = 0; n <= sqliteLimits.statements + 1; n += 1) db.prepare(`SELECT ${n} AS n`).get();
    expect(first.get()).toEqual({ n: 0 });
    expect(db.prepare("SELECT 0 AS n")).not.toBe(first);
    db.close();
  });
});

describe("several processes", () => {
  test("six processes that create one file at once all succeed", async () => {
    for (let round = 0; round < 3; round += 1) {
      const path = join(newDirectory(), "store.db");
      const source = `
        import { openDatabase } from ${JSON.stringify(new URL("./sqlite.ts", import.meta.url).href)};
        while (Date.now() < ${Date.now() + 700});
        // Three hundred commits one after the other: a slow disk takes its time for them.
        const db = openDatabase(${JSON.stringify(path)}, { timeoutMs: 20_000 });
        db.exec("CREATE TABLE IF NOT EXISTS t (a)");
        for (let n = 0; n < 50; n += 1) db.prepare("INSERT INTO t VALUES (?)").run(n);
        db.close();`;
      const outcomes = await Promise.all(Array.from({ length: 6 }, () => run(source)));
      expect(outcomes).toEqual(outcomes.map(() => ({ status: 0, stderr: "" })));
      const db = openDatabase(path);
      expect(db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 300 });
      db.close();
    }
  });

  test("the check in the background tells a sound file from a damaged one, beside a writer at work", async () => {
    const path = join(newDirectory(), "store.db");
    const db = openDatabase(path);
    db.exec("CREATE TABLE t (a)");
    for (let n = 0; n < 300; n += 1) db.prepare("INSERT INTO t VALUES (?)").run("x".repeat(500));
    const check = () => new Promise<readonly string[]>((resolve) => checkInBackground(path, resolve));
    expect(await check()).toEqual([]);
    db.close();
    const content = readFileSync(path);
    writeFileSync(path, content.fill(0, 4_096 * 5, 4_096 * 6));
    expect((await check()).length).toBeGreaterThan(0);
  });

  test("a lock file is held once, and its damage does not hand it out twice", () => {
    const path = join(newDirectory(), "drainer.lock");
    writeFileSync(path, "not a database, and long enough to be looked at ".repeat(200));
    const lock = acquireFileLock(path);
    expect(lock).not.toBeNull();
    expect(acquireFileLock(path)).toBeNull();
    lock?.release();
    lock?.release();
    const next = acquireFileLock(path);
    expect(next).not.toBeNull();
    next?.release();
  });

  test("a lock lives as long as its process, also when nobody keeps the handle", () => {
    const directory = newDirectory();
    const source = `
      import { execFileSync } from "node:child_process";
      import { acquireFileLock, acquireSharedLock } from ${JSON.stringify(new URL("sqlite.ts", import.meta.url).href)};
      const isHolder = process.argv[2] === "hold";
      const taken = [acquireFileLock("exclusive"), isHolder ? acquireSharedLock("shared") : acquireFileLock("shared")];
      if (!isHolder) process.stdout.write(taken.filter((lock) => lock !== null).length + " taken");
      else {
        taken.length = 0;
        for (let round = 0; round < 3; round += 1) await new Promise((resolve) => setTimeout(resolve, 5, gc()));
        process.stdout.write(execFileSync(process.execPath, [process.argv[1]]));
      }`;
    const program = join(directory, "holder.mjs");
    writeFileSync(program, source);
    const told = execFileSync(process.execPath, ["--expose-gc", program, "hold"], {
      cwd: directory,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    expect(told).toBe("0 taken");
  });
});

describe("failures", () => {
  test("garbage, a foreign file and a closed database have their codes", () => {
    const directory = newDirectory();
    const path = join(directory, "garbage.db");
    writeFileSync(path, "no database ".repeat(1_000));
    expect(codeOf(() => openDatabase(path))).toBe("database_corrupt");
    expect(codeOf(() => openDatabase(path, { readOnly: true }))).toBe("database_corrupt");
    expect(codeOf(() => openDatabase(join(directory, "no", "such", "directory.db")))).toBe("io_failed");
    mkdirSync(join(directory, "folder.db"));
    expect(codeOf(() => openDatabase(join(directory, "folder.db")))).toBe("io_failed");
  });

  test("a reader never writes, and reads a store that was closed in a directory it cannot write", () => {
    const path = join(newDirectory(), "store.db");
    const db = openDatabase(path);
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    db.close();
    const reader = openDatabase(path, { readOnly: true });
    expect(reader.isReadOnly).toBe(true);
    expect(reader.prepare("SELECT a FROM t").all()).toEqual([{ a: 1 }]);
    expect(codeOf(() => reader.exec("INSERT INTO t VALUES (2)"))).toBe("read_only");
    reader.close();
    chmodSync(path, 0o400);
  });

  test.each([
    [13, "disk_full"],
    [8, "read_only"],
    [776, "read_only"],
    [5, "database_busy"],
    [261, "database_busy"],
    [6, "database_busy"],
    [15, "database_busy"],
    [11, "database_corrupt"],
    [26, "database_corrupt"],
    [522, "database_corrupt"],
    [266, "io_failed"],
    [778, "io_failed"],
    [1034, "io_failed"],
    [7, "io_failed"],
    [18, "payload_too_large"],
    [19, "internal"],
  ])("SQLite's code %i is %s and names the path", (errcode, expected) => {
    const failure = failureOf("/tmp/store.db", Object.assign(new Error("from SQLite"), { errcode }));
    expect(failure).toMatchObject({ code: expected });
    expect(failure.message).toContain("/tmp/store.db");
  });

  test.each([
    ["ENOSPC", "disk_full"],
    ["EDQUOT", "disk_full"],
    ["EROFS", "read_only"],
    ["EACCES", "read_only"],
    ["EIO", "io_failed"],
  ])("the system's %s is %s", (code, expected) => {
    expect(failureOf("/tmp/store.db", Object.assign(new Error("from the system"), { code }))).toMatchObject({
      code: expected,
    });
  });

  test("a wrong parameter stays the TypeError that it is", () => {
    const db = openDatabase(":memory:");
    // Node 26 takes undefined for NULL and true for 1; the types keep both away.
    expect(() => db.prepare("SELECT ?").get(Symbol("none") as unknown as null)).toThrow(TypeError);
    db.close();
  });

  test("loading it prints no warning, and other warnings are still printed", async () => {
    const source = `
      await import(${JSON.stringify(new URL("./sqlite.ts", import.meta.url).href)});
      process.emitWarning("still heard", "ExperimentalWarning");`;
    const { stderr } = await run(source);
    expect(stderr).toContain("still heard");
    expect(stderr).not.toContain("SQLite");
  });
});

function run(source: string): Promise<{ readonly status: number | null; readonly stderr: string }> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve) => child.once("close", (status) => resolve({ status, stderr })));
}
