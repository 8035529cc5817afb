// Owns ten thousand records on both sides of a comparison: ours, synced from a server that has nothing to say afterwards, and the same by hand.
// Leaves what is done with them, and what of it is counted or timed, to the bars and to pages.ts.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { EngineOptions } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import type { SqliteDatabase } from "../../src/node/sqlite.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { nodeWorld } from "../../src/node/world.ts";
import type { Fields } from "../../src/record.ts";
import { feedPort } from "./feed.ts";
import { note, roomy } from "./stores.ts";

/** Records that are there before anything is measured, on both sides. */
export const size = 10_000;
/** Those of them that a query for `status: "open"` finds. */
export const open = 20;

export const madeValue = (n: number) => ({ ...note, status: n % (size / open) === 0 ? "open" : "done", rank: n });

/** Spread over all records, each of them once. */
export const spread = (n: number): number => (n * 7919) % size;

const asItIs = (database: SqliteDatabase): SqliteDatabase => database;

/** Ours, offline once everything is here. */
export async function openRecords(directory: string, more: Pick<EngineOptions, "types"> = {}, watch = asItIs) {
  const file = join(directory, "holdfast.db");
  const database = watch(openDatabase(file));
  const world = nodeWorld({ directory, log: () => {} });
  const records = Array.from({ length: size }, (_, n) => ({ key: `seed-${n}`, value: madeValue(n) }));
  const engine = openEngine({
    ...more,
    database,
    world,
    collections: [{ name: "notes", indexes: [["status", "rank"]] }],
    sync: feedPort("notes", records),
    settings: roomy,
  });
  engine.start();
  const isWhole = (): boolean => engine.handle("collections.list", {}).collections[0]?.state === "idle";
  while (!isWhole()) await new Promise((resolve) => setTimeout(resolve, 5));
  engine.handle("network.offline", {});
  return {
    file,
    database,
    engine,
    close: async () => {
      await engine.stop(0);
      engine.close();
      world.close();
    },
  };
}

/** The same by hand: one table, one index, prepared once; what a reader gets is parsed, as ours is. */
export function openByHand(directory: string) {
  const file = join(directory, "raw.db");
  const connection = new DatabaseSync(file);
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT NOT NULL, status TEXT, rank INTEGER);
    CREATE INDEX record_1_open ON record (status, rank, key)`);
  const insert = connection.prepare("INSERT INTO record (key, value, status, rank) VALUES (?, ?, ?, ?)");
  const update = connection.prepare("UPDATE record SET value = ?, status = ?, rank = ? WHERE key = ?");
  const get = connection.prepare("SELECT key, value FROM record WHERE key = ?");
  const list = connection.prepare("SELECT key, value FROM record WHERE status = ? ORDER BY rank, key LIMIT 100");
  const parse = (row: unknown): unknown => JSON.parse(String((row as { readonly value: unknown }).value));
  const put = (key: string, n: number): void => {
    const value = madeValue(n);
    insert.run(key, JSON.stringify(value), value.status, value.rank);
  };
  connection.exec("BEGIN");
  for (let n = 0; n < size; n += 1) put(`seed-${n}`, n);
  connection.exec("COMMIT");
  return {
    file,
    put,
    update: (key: string, value: Fields) => {
      update.run(JSON.stringify(value), String(value.status), Number(value.rank), key);
    },
    get: (key: string) => parse(get.get(key)),
    list: () => list.all("open").map(parse),
    exec: (sql: string) => connection.exec(sql),
    close: () => connection.close(),
  };
}
