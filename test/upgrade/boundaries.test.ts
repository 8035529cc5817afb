// Owns T12: a process that dies between any two statements of any migration, and programs of an older version before a newer store, at every
// door. What a whole upgrade keeps, and kill -9 of real processes inside of it, is upgrade.test.ts.
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { gunzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { migrate, schemaVersion } from "../../src/engine/schema.ts";
import { openEngine } from "../../src/node/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { runCommand } from "../support/processes.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-boundaries-"));
  folders.push(folder);
  return folder;
}

function unpack(version: number): string {
  const folder = newFolder();
  const golden = path.join(import.meta.dirname, `../golden/store-${version}.db.gz`);
  writeFileSync(path.join(folder, "holdfast.db"), gunzipSync(readFileSync(golden)), { mode: 0o600 });
  return folder;
}

const fileOf = (folder: string): string => path.join(folder, "holdfast.db");

type Row = Readonly<Record<string, unknown>>;
type Tables = Readonly<Record<string, readonly Row[]>>;

/** Everything that a store holds, as SQL would write it. */
function contentOf(folder: string): { readonly version: number; readonly tables: Tables } {
  const database = new DatabaseSync(fileOf(folder));
  const names = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all();
  const tables = Object.fromEntries(
    names.map(({ name }) => [String(name), database.prepare(`SELECT * FROM "${name}"`).all()]),
  );
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
  database.close();
  return { version, tables };
}

/** The statements of a text; SQLite itself says where one ends, so that those of a trigger stay together. */
function statementsOf(text: string): readonly string[] {
  const statements: string[] = [];
  let open = "";
  for (const part of text.split(";")) {
    open += `${part};`;
    if (/\bCREATE\s+TRIGGER\b/i.test(open) && !/\bEND\s*;$/i.test(open)) continue;
    if (open.trim() !== ";") statements.push(open);
    open = "";
  }
  return statements;
}

/** The disk as it is at this moment: what a process that is killed now leaves behind. */
function diskOf(folder: string): string {
  const copy = newFolder();
  for (const name of ["holdfast.db", "holdfast.db-wal", "holdfast.db-shm"])
    if (existsSync(path.join(folder, name))) copyFileSync(path.join(folder, name), path.join(copy, name));
  return copy;
}

/** Migrates a store and takes its disk before and after every statement, spilled to the file as early as SQLite can. */
function migrateStepwise(folder: string): readonly string[] {
  const database = openDatabase(fileOf(folder));
  database.exec("PRAGMA cache_size = 1");
  const disks: string[] = [];
  const step = (sql: string): void => {
    disks.push(diskOf(folder));
    database.exec(sql);
  };
  migrate({
    ...database,
    exec: (sql) => {
      for (const statement of sql.includes("PRAGMA user_version") ? statementsOf(sql) : [sql]) step(statement);
    },
  });
  disks.push(diskOf(folder));
  database.close();
  return disks;
}

test.each(Array.from({ length: schemaVersion - 1 }, (_, index) => index + 1))(
  "a store of version %i that dies between any two statements of its migrations has the old version whole or the new one whole",
  async (version) => {
    const before = contentOf(unpack(version));
    const folder = unpack(version);
    const disks = migrateStepwise(folder);
    const after = contentOf(folder);
    expect(after.version).toBe(schemaVersion);
    // Row by row and column by column: none lost, doubled or changed, and no other one beside them; new tables are empty.
    for (const [table, rows] of Object.entries(after.tables)) {
      const known = before.tables[table] ?? [];
      const names = known[0] === undefined ? null : Object.keys(known[0]);
      const made = version < 2 ? (made2(before.tables)[table] ?? []) : [];
      expect(inOneOrder(rows, names), table).toEqual(inOneOrder([...known, ...made], names));
    }
    expect(disks.length).toBeGreaterThan(10);
    const seen = new Set<number>();
    for (const disk of disks) {
      const content = contentOf(disk);
      seen.add(content.version);
      expect(content).toEqual(content.version === version ? before : after);
      migrateWhole(disk);
      expect(contentOf(disk)).toEqual(after);
    }
    expect([...seen].sort()).toEqual([version, schemaVersion]);
  },
);

/** What migration 2 adds to the rows that were there: the count of the store's own events. */
const made2 = ({ history = [] }: Tables): Tables => ({
  counter: [{ id: 102, n: history.filter(({ op }) => op === 0).length }],
});

/** Rows as texts, of the named columns alone; two that are alike stay two. */
function inOneOrder(rows: readonly Row[], names: readonly string[] | null): readonly string[] {
  return rows.map((row) => JSON.stringify((names ?? Object.keys(row)).map((name) => [name, row[name]]))).sort();
}

function migrateWhole(folder: string): void {
  const database = openDatabase(fileOf(folder));
  migrate(database);
  database.close();
}

// ---- an older program before a newer store --------------------------------------------------------------------------

/** A store with operations and records, of a version that no program here knows. */
function newerStore(): string {
  const folder = unpack(schemaVersion);
  const database = new DatabaseSync(fileOf(folder));
  database.exec(
    `PRAGMA user_version = ${schemaVersion + 1}; ALTER TABLE op ADD COLUMN later TEXT; PRAGMA wal_checkpoint`,
  );
  database.close();
  return folder;
}

const hashOf = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");
const setAside = (folder: string): readonly string[] =>
  readdirSync(folder).filter((name) => /damaged|corrupt|quarantine|-wal$|-journal$/.test(name));
const told = `the store has schema version ${schemaVersion + 1}; this program knows up to ${schemaVersion}`;

test("the engine refuses a newer store in plain words and changes nothing of it", async () => {
  const folder = newerStore();
  const before = hashOf(fileOf(folder));
  await expect(openEngine({ directory: folder })).rejects.toMatchObject({ code: "database_newer", message: told });
  expect(hashOf(fileOf(folder))).toBe(before);
  expect(setAside(folder)).toEqual([]);
});

test.each([
  [["daemon", "run"], 1],
  [["queue", "list"], 3],
  [["queue", "export"], 3],
  [["queue", "add", "--type", "note", "--payload", "{}"], 3],
  [["records", "list", "notes"], 3],
  [["conflicts", "list"], 3],
  [["doctor"], 1],
] as const)("`holdfast %s` refuses a newer store in plain words and changes nothing of it", async (words, code) => {
  const folder = newerStore();
  const before = hashOf(fileOf(folder));
  const ended = await runCommand(words, { home: folder });
  const said = `${ended.stdout}${ended.stderr}`;
  expect(said).toContain(told);
  expect(said).toContain("update Holdfast");
  expect(ended.code).toBe(code);
  expect(hashOf(fileOf(folder))).toBe(before);
  expect(setAside(folder)).toEqual([]);
});

test("a damaged store of a newer version is not salvaged into an older one", async () => {
  const folder = newerStore();
  const file = fileOf(folder);
  const bytes = readFileSync(file);
  // Pages in the middle, beyond the header that tells the version.
  bytes.fill(0xa5, 5 * 4_096, 9 * 4_096);
  writeFileSync(file, bytes);
  const before = hashOf(file);
  await expect(openEngine({ directory: folder })).rejects.toMatchObject({ code: "database_newer", message: told });
  expect(hashOf(file)).toBe(before);
  expect(setAside(folder)).toEqual([]);
});

test("what the newer program wrote is there when it comes back after an older one has been tried", async () => {
  const folder = newerStore();
  const before = contentOf(folder);
  await expect(openEngine({ directory: folder })).rejects.toMatchObject({ code: "database_newer" });
  expect((await runCommand(["queue", "list"], { home: folder })).code).toBe(3);
  expect(contentOf(folder)).toEqual(before);
});
