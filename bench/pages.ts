// Owns `node bench/pages.ts`: how many pages each table and index puts into the log for one write, ours beside the same by hand. It counts
// and times nothing, so it says the same on every machine; docs/speed.md shows what it prints. Leaves times to the bars.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { madeValue, openByHand, openRecords, spread } from "./support/record-tables.ts";
import { newDirectory, note, noteType } from "./support/stores.ts";

/** Calls that are counted, after as many that are not. */
const calls = 200;

type Counted = ReadonlyMap<string, number>;

/** What trees hold, in words; those of SQLite itself and of a declared index have names that say nothing. */
function labelOf(name: string, sql: string | null): string {
  if (name === "sqlite_schema") return "new pages of the file";
  const unique = /^sqlite_autoindex_(.+)_1$/.exec(name);
  if (unique !== null) return `${unique[1]}, its key`;
  if (!/^record_\d+_/.test(name) || sql === null) return name;
  return /status/.test(sql) ? "index of the collection (`status`, `rank`)" : "index of the collection (`$changed`)";
}

/** Pages per call that each tree has put into the log. */
function countPages(file: string, log: { readonly empty: () => void }, call: (n: number) => void): Counted {
  for (let n = 0; n < calls; n += 1) call(n);
  log.empty();
  for (let n = calls; n < 2 * calls; n += 1) call(n);
  const frames = readFileSync(`${file}-wal`);
  const pageBytes = frames.readUInt32BE(8);
  const salt = frames.readBigUInt64BE(16);
  const reader = new DatabaseSync(file, { readOnly: true });
  const sqlOf = new Map(
    reader
      .prepare("SELECT name, sql FROM sqlite_schema")
      .all()
      .map(({ name, sql }) => [String(name), sql === null ? null : String(sql)]),
  );
  const trees = new Map(
    reader
      .prepare("SELECT name, pageno FROM dbstat")
      .all()
      .map(({ name, pageno }) => [Number(pageno), labelOf(String(name), sqlOf.get(String(name)) ?? null)]),
  );
  reader.close();
  const counted = new Map<string, number>();
  for (let at = 32; at + 24 + pageBytes <= frames.length; at += 24 + pageBytes) {
    // What follows with another salt is left from before the log was begun again.
    if (frames.readBigUInt64BE(at + 8) !== salt) break;
    const tree = trees.get(frames.readUInt32BE(at)) ?? "pages that were given back";
    counted.set(tree, (counted.get(tree) ?? 0) + 1 / calls);
  }
  return counted;
}

async function countOurs(directory: string): Promise<ReadonlyMap<string, Counted>> {
  const { file, database, engine, close } = await openRecords(directory, { types: [noteType] });
  database.exec("PRAGMA wal_autocheckpoint = 0");
  const empty = (): void => void database.checkpoint("truncate");
  const put = (key: string, title: string, n: number) =>
    engine.handle("records.write", { kind: "put", collection: "notes", key, value: { ...madeValue(n), title } });
  const counted = new Map([
    ["enqueue", countPages(file, { empty }, () => engine.handle("queue.add", { type: "note", payload: note }))],
    ["put of a new record", countPages(file, { empty }, (n) => put(`new-${n}`, "new", 1))],
    ["first change of a synced one", countPages(file, { empty }, (n) => put(`seed-${spread(n)}`, "first", spread(n)))],
    ["change before it is sent", countPages(file, { empty }, (n) => put(`seed-${spread(n)}`, "again", spread(n)))],
  ]);
  await close();
  return counted;
}

function countByHand(directory: string): ReadonlyMap<string, Counted> {
  const { file, put, exec, close } = openByHand(directory);
  exec("PRAGMA wal_autocheckpoint = 0");
  const empty = (): void => exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const counted = new Map([["insert by hand", countPages(file, { empty }, (n) => put(`new-${n}`, 1))]]);
  close();
  return counted;
}

const cell = (pages: number | undefined): string => (pages === undefined ? "" : pages.toFixed(1));

function tableOf(columns: ReadonlyMap<string, Counted>): string {
  const total = (counted: Counted | undefined): number => [...(counted?.values() ?? [])].reduce((sum, n) => sum + n, 0);
  const trees = [...new Set([...columns.values()].flatMap((counted) => [...counted.keys()]))].sort();
  const names = [...columns.keys()];
  const line = (label: string, cells: readonly string[]): string => `| ${[label, ...cells].join(" | ")} |`;
  return [
    line("pages of the log per call", names),
    `|---|${names.map(() => "--:|").join("")}`,
    ...trees.map((tree) =>
      line(
        tree,
        [...columns.values()].map((counted) => cell(counted.get(tree))),
      ),
    ),
    line(
      "**all**",
      [...columns.values()].map((counted) => `**${cell(total(counted))}**`),
    ),
  ].join("\n");
}

const scratch = join(import.meta.dirname, "..", ".tmp", "bench");
mkdirSync(scratch, { recursive: true });
const directory = newDirectory(scratch, "pages");
try {
  const byHand = countByHand(directory);
  process.stdout.write(`${tableOf(new Map([...byHand, ...(await countOurs(directory))]))}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
