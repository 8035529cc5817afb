/**
 * Owns the rules that only the embedded store has: shared commits, whose file it is, copies while it runs.
 * What every store promises is the contract suite of `testing/server-store-contract.ts`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Database } from "../database.ts";
import { openDatabase } from "../node/sqlite.ts";
import { openEmbeddedStore } from "./embedded.ts";

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

const tables = ["CREATE TABLE t (n bigint NOT NULL PRIMARY KEY)"];
const insert = "INSERT INTO t (n) VALUES (?)";
const readAll = "SELECT n FROM t ORDER BY n";

/** A database that counts its commits. */
function counted(): { readonly database: Database; readonly commits: () => number } {
  const inner = openDatabase(":memory:");
  let commits = 0;
  const prepare: Database["prepare"] = (sql) => {
    if (sql === "COMMIT") commits += 1;
    return inner.prepare(sql);
  };
  return { database: { ...inner, prepare }, commits: () => commits };
}

test("writes that arrive together share commits, at most 64 in one, and each can fail alone", async () => {
  const { database, commits } = counted();
  const store = openEmbeddedStore(database, { defer: setImmediate });
  await store.migrate(tables);
  const before = commits();
  const writes = Array.from({ length: 130 }, (_, n) => store.write((tx) => tx.run(insert, n === 50 ? 49 : n)));
  const ends = await Promise.allSettled(writes);
  expect(commits() - before).toBe(3);
  expect(ends.flatMap(({ status }, n) => (status === "rejected" ? [n] : []))).toEqual([50]);
  expect((await store.read((tx) => tx.all(readAll))).length).toBe(129);
  await store.close();
});

test("a commit that fails fails every write of it, and nothing of them stays", async () => {
  const inner = openDatabase(":memory:");
  let isBroken = false;
  const prepare: Database["prepare"] = (sql) => {
    if (sql === "COMMIT" && isBroken) throw new Error("no");
    return inner.prepare(sql);
  };
  const store = openEmbeddedStore({ ...inner, prepare }, { defer: setImmediate });
  await store.migrate(tables);
  isBroken = true;
  const ends = await Promise.allSettled([1, 2].map((n) => store.write((tx) => tx.run(insert, n))));
  expect(ends.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  isBroken = false;
  expect(await store.read((tx) => tx.all(readAll))).toEqual([]);
  await store.close();
});

test("closing waits for what was asked before, and refuses what comes after", async () => {
  const store = openEmbeddedStore(openDatabase(":memory:"), { defer: setImmediate });
  await store.migrate(tables);
  const write = store.write((tx) => tx.run(insert, 1));
  const closing = store.close();
  await expect(store.read((tx) => tx.all(readAll))).rejects.toMatchObject({ code: "engine_closed" });
  expect(await write).toEqual({ changes: 1 });
  await closing;
});

test("a file that is somebody else's, or a newer server's, is refused and left as it is", async () => {
  const strange = openDatabase(":memory:");
  strange.exec("CREATE TABLE somebody (a)");
  expect(() => openEmbeddedStore(strange)).toThrow("no database of a Holdfast server");
  const database = openDatabase(":memory:");
  await openEmbeddedStore(database).migrate([...tables, "CREATE TABLE later (a bigint)"]);
  await expect(openEmbeddedStore(database).migrate(tables)).rejects.toMatchObject({ code: "database_newer" });
});

test("a copy that is made while it is written to is whole", async () => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-embedded-"));
  directories.push(directory);
  const store = openEmbeddedStore(openDatabase(join(directory, "a.db")), { defer: setImmediate });
  await store.migrate(tables);
  const pair = (n: number) =>
    store.write(async (tx) => {
      await tx.run(insert, n);
      await tx.run(insert, -n);
    });
  const writes = Array.from({ length: 20 }, (_, n) => pair(n + 1));
  await store.backup?.(join(directory, "b.db"));
  await Promise.all(writes);
  await store.close();
  const copy = openEmbeddedStore(openDatabase(join(directory, "b.db")), { defer: setImmediate });
  const rows = (await copy.read((tx) => tx.all(readAll))).map(({ n }) => Number(n));
  expect(rows.reduce((sum, n) => sum + n, 0)).toBe(0);
  await copy.close();
});
