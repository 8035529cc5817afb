/**
 * Owns the proof that a store opens whatever happened to its files, and that nothing is lost or changed in silence.
 * Random damage in quantity is in `test/crash/bitflip.test.ts`.
 */
import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { Database } from "../database.ts";
import { hashedText } from "../engine/row-hash.ts";
import { migrate, schemaVersion } from "../engine/schema.ts";
import { isCode } from "../errors.ts";
import { carveRows } from "./carve.ts";
import { listQuarantined } from "./quarantine.ts";
import type { OpenedStore, OpenStoreOptions } from "./salvage.ts";
import { openStore } from "./salvage.ts";
import { openDatabase } from "./sqlite.ts";
import { openWitness } from "./witness.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-salvage-"));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function open(directory: string, options: OpenStoreOptions = {}): OpenedStore {
  const opened = openStore(directory, options);
  ends.push(() => opened.database.close());
  migrate(opened.database);
  return opened;
}

const sha256 = (text: string): string => hash("sha256", text, "hex");
const payloadOf = (seq: number): string =>
  JSON.stringify({ n: seq, text: `operation ${seq} `.repeat(seq % 7 === 0 ? 900 : 20) });

type Place = { readonly lane?: string; readonly state?: number; readonly needs?: number; readonly options?: string };

function put(db: Database, seq: number, place: Place = {}): void {
  const id = `0190-${String(seq).padStart(8, "0")}`;
  const payload = payloadOf(seq);
  db.prepare("INSERT OR IGNORE INTO channel (id, remote, type, subject) VALUES (1, 'https://api', 'demo', '')").run();
  db.prepare(
    `INSERT INTO op (seq, id, type, version, channel, lane, position, priority, rank, state, waits, due, since, created, options, payload, hash, bytes)
     VALUES (?, ?, 'demo', 1, 1, ?, ?, 0, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?)`,
  ).run(seq, id, place.lane ?? "", seq, seq, place.state ?? 0, place.options ?? "{}", payload, "", payload.length);
  const row = db.prepare("SELECT * FROM op WHERE seq = ?").get(seq) ?? {};
  db.prepare("UPDATE op SET hash = ? WHERE seq = ?").run(sha256(hashedText(row)), seq);
  if (place.needs !== undefined) {
    db.prepare("INSERT INTO dep (needs, seq) VALUES (?, ?)").run(place.needs, seq);
    db.prepare("UPDATE op SET waits = 1, state = 1, reason = 'dependency' WHERE seq = ?").run(seq);
  }
  db.prepare("UPDATE counter SET n = ? WHERE id = 100").run(seq);
}

/** A store of `count` operations with its witness, closed cleanly, or left as a killed process leaves it. */
function fill(
  directory: string,
  count: number,
  how: { readonly isKilled?: boolean; readonly place?: (seq: number) => Place } = {},
): void {
  const { database } = open(directory);
  const witness = openWitness(directory, () => {});
  database.exec("BEGIN IMMEDIATE");
  for (let seq = 1; seq <= count; seq += 1) put(database, seq, how.place?.(seq));
  database.exec("COMMIT");
  witness.write(count);
  witness.close();
  if (how.isKilled === true) {
    const [from, to] = [join(directory, "holdfast.db"), join(directory, "kept")];
    for (const suffix of ["", "-wal"]) copyFileSync(from + suffix, to + suffix);
    database.close();
    for (const suffix of ["", "-wal"]) copyFileSync(to + suffix, from + suffix);
    for (const suffix of ["", "-wal"]) rmSync(to + suffix);
  } else database.close();
}

const sequencesOf = (db: Database): readonly number[] =>
  db
    .prepare("SELECT seq FROM op ORDER BY seq")
    .all()
    .map((row) => Number(row.seq));
const until = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);

function expectGenuine(db: Database): void {
  for (const row of db.prepare("SELECT seq, id, type, payload, hash FROM op WHERE reason IS NOT 'corrupt'").all()) {
    expect(row.payload).toBe(payloadOf(Number(row.seq)));
  }
  expect(db.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
  const counted = db.prepare("SELECT count(*) AS n FROM op WHERE state = 0").get();
  expect(db.prepare("SELECT n FROM counter WHERE id = 0").get()).toEqual(counted);
}

function damage(path: string, at: number, bytes: Uint8Array): void {
  const content = readFileSync(path);
  content.set(bytes, at);
  writeFileSync(path, content);
}

describe("a sound store", () => {
  test("closed cleanly is clean, killed is recovered and complete", () => {
    const directory = newDirectory();
    fill(directory, 50);
    expect(openAndClose(directory).kind).toBe("clean");
    const killed = newDirectory();
    fill(killed, 50, { isKilled: true });
    const { database, report } = open(killed);
    expect(report).toMatchObject({ kind: "recovered", lostSequences: [], quarantinedFiles: [] });
    expect(sequencesOf(database)).toEqual(until(50));
    const stored = database.prepare("SELECT value FROM meta WHERE name = 'recovery'").get();
    expect(JSON.parse(String(stored?.value))).toEqual(report);
  });

  test("of a newer version is refused with its file untouched", () => {
    const directory = newDirectory();
    fill(directory, 5);
    const path = join(directory, "holdfast.db");
    const db = openDatabase(path);
    db.exec(`PRAGMA user_version = ${schemaVersion + 1}`);
    db.close();
    const before = readFileSync(path);
    const { database } = openStore(directory);
    expect(() => migrate(database)).toThrow(/schema version/);
    database.close();
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(listQuarantined(directory)).toEqual([]);
  });

  test("may be opened by several connections; only the last one to leave leaves it clean", () => {
    const directory = newDirectory();
    const [first, second] = [open(directory), open(directory)];
    put(first.database, 1);
    expect(sequencesOf(second.database)).toEqual([1]);
    first.database.close();
    put(second.database, 2);
    second.database.close();
    expect(openAndClose(directory).kind).toBe("clean");
  });
});

describe("a damaged store", () => {
  test("is told of until the file that was set aside is deleted, also when a process is killed meanwhile", () => {
    const directory = newDirectory();
    fill(directory, 30);
    writeFileSync(join(directory, "holdfast.db"), "something else entirely\n".repeat(500));
    open(directory).database.close();
    const told = { kind: "salvaged", lostSequences: [{ from: 1, to: 30 }] };
    fill(directory, 40, { isKilled: true });
    expect(toldAtOpening(directory)).toMatchObject(told);
    expect(toldAtOpening(directory)).toMatchObject(told);
    for (const name of listQuarantined(directory)) rmSync(join(directory, name));
    expect(toldAtOpening(directory)).toBeNull();
  });

  test("with garbage in its place is kept aside and a fresh one opens", () => {
    const directory = newDirectory();
    fill(directory, 30);
    writeFileSync(join(directory, "holdfast.db"), "something else entirely\n".repeat(500));
    const { database, report } = open(directory);
    expect(report).toMatchObject({ kind: "salvaged", savedOperations: 0, lostSequences: [{ from: 1, to: 30 }] });
    expect(listQuarantined(directory)).toHaveLength(1);
    expect(readFileSync(join(directory, listQuarantined(directory)[0] ?? ""), "utf8")).toMatch(/^something else/);
    put(database, 31);
    expect(database.prepare("SELECT n FROM counter WHERE id = 100").get()).toEqual({ n: 31 });
  });

  test("whose file vanished says what is missing and never gives a sequence out twice", () => {
    const directory = newDirectory();
    fill(directory, 30);
    rmSync(join(directory, "holdfast.db"));
    const { database, report } = open(directory);
    expect(report.lostSequences).toEqual([{ from: 1, to: 30 }]);
    expect(database.prepare("SELECT n FROM counter WHERE id = 100").get()).toEqual({ n: 30 });
  });

  test("that belongs to another program is kept aside unread", () => {
    const directory = newDirectory();
    const db = openDatabase(join(directory, "holdfast.db"));
    db.exec("PRAGMA application_id = 42; CREATE TABLE songs (name); INSERT INTO songs VALUES ('one')");
    db.close();
    const { report } = open(directory);
    expect(report).toMatchObject({ kind: "salvaged", savedOperations: 0, lostSequences: [] });
    expect(report.findings.join()).toMatch(/another program/);
    const kept = openDatabase(join(directory, listQuarantined(directory)[0] ?? ""), { readOnly: true });
    expect(kept.prepare("SELECT name FROM songs").all()).toEqual([{ name: "one" }]);
    kept.close();
  });

  test("with a damaged header loses nothing", () => {
    const directory = newDirectory();
    fill(directory, 300);
    damage(join(directory, "holdfast.db"), 0, new Uint8Array(100));
    const { database, report } = open(directory);
    expect(report).toMatchObject({ kind: "salvaged", savedOperations: 300, lostSequences: [] });
    expect(sequencesOf(database)).toEqual(until(300));
    expectGenuine(database);
  });

  test("whose schema one bit has changed loses nothing, although SQLite finds it sound", () => {
    const directory = newDirectory();
    fill(directory, 30);
    const path = join(directory, "holdfast.db");
    const at = readFileSync(path).lastIndexOf("payload TEXT");
    expect(at).toBeGreaterThan(0);
    damage(path, at, Buffer.from("q"));
    const looking = openDatabase(path);
    expect(looking.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
    looking.close();
    const { database, report } = open(directory);
    expect(report).toMatchObject({ kind: "salvaged", savedOperations: 30, lostSequences: [] });
    expect(sequencesOf(database)).toEqual(until(30));
    expectGenuine(database);
  });

  test("whose first page is gone has its rows carved out of the others", () => {
    const directory = newDirectory();
    fill(directory, 300);
    damage(join(directory, "holdfast.db"), 0, new Uint8Array(4_096));
    const { database, report } = open(directory);
    expect(report).toMatchObject({ kind: "salvaged", savedOperations: 300, lostSequences: [] });
    expectGenuine(database);
    expect(database.prepare("SELECT count(*) AS n FROM op WHERE unsure = 1").get()).toEqual({ n: 300 });
  });

  test("with one page zeroed loses what was on it and names it", () => {
    const directory = newDirectory();
    fill(directory, 300);
    const path = join(directory, "holdfast.db");
    const page = pageOfRow(path, 150);
    damage(path, page * 4_096, new Uint8Array(4_096));
    const { database, report } = open(directory);
    expect(report.kind).toBe("salvaged");
    const saved = sequencesOf(database);
    const lost = report.lostSequences.flatMap(({ from, to }) => until(to).filter((seq) => seq >= from));
    expect(lost).toContain(150);
    expect([...saved, ...lost].sort((a, b) => a - b)).toEqual(until(300));
    expect(lost.length).toBeLessThan(20);
    expectGenuine(database);
  });

  test("that was cut in half keeps the first half", () => {
    const directory = newDirectory();
    fill(directory, 400);
    const path = join(directory, "holdfast.db");
    truncateSync(path, Math.floor(statSync(path).size / 2) + 123);
    const { database, report } = open(directory);
    expect(report.kind).toBe("salvaged");
    expect(report.savedOperations).toBeGreaterThan(100);
    expect(report.savedOperations + countOf(report)).toBe(400);
    expectGenuine(database);
  });

  test("whose journal has one wrong bit loses at most the row that the bit is in", () => {
    const directory = newDirectory();
    fill(directory, 200, { isKilled: true });
    const wal = join(directory, "holdfast.db-wal");
    const content = readFileSync(wal);
    const at = content.indexOf('{"n":100,');
    damage(wal, at + 20, Uint8Array.of((content[at + 20] ?? 0) ^ 4));
    const { database, report } = open(directory);
    expect(report.kind).toBe("salvaged");
    expect(countOf(report) + report.savedOperations).toBe(200);
    expect(report.savedOperations).toBeGreaterThanOrEqual(199);
    expectGenuine(database);
    expect(
      readFileSync(join(directory, listQuarantined(directory).find((name) => name.endsWith("-wal")) ?? "")).length,
    ).toBe(content.length);
  });

  test("whose journal vanished reports the missing range", () => {
    const directory = newDirectory();
    fill(directory, 10);
    fillMore(directory, 11, 20);
    rmSync(join(directory, "holdfast.db-wal"), { force: true });
    const { report } = open(directory);
    expect(report).toMatchObject({ kind: "recovered", lostSequences: [{ from: 11, to: 20 }] });
  });

  test("parks what waited for a lost operation and moves the others up", () => {
    const directory = newDirectory();
    fill(directory, 300, {
      place: (seq) =>
        seq === 299 ? { needs: 150 } : seq > 140 && seq < 170 ? { lane: "l", state: seq === 141 ? 0 : 1 } : {},
    });
    const path = join(directory, "holdfast.db");
    damage(path, pageOfRow(path, 150) * 4_096, new Uint8Array(4_096));
    damage(path, pageOfRow(path, 141) * 4_096, new Uint8Array(4_096));
    const { database } = open(directory);
    expect(database.prepare("SELECT state, reason FROM op WHERE seq = 299").get()).toEqual({
      state: 5,
      reason: "corrupt",
    });
    const heads = database.prepare("SELECT state FROM op WHERE lane = 'l' ORDER BY position LIMIT 2").all();
    expect(heads).toEqual([{ state: 0 }, { state: 1 }]);
  });

  test("that is opened again after a crash inside the salvage ends up salvaged once", () => {
    const directory = newDirectory();
    fill(directory, 100);
    const path = join(directory, "holdfast.db");
    const whole = readFileSync(path);
    damage(path, 0, new Uint8Array(100));
    open(directory).database.close();
    // The state between the two renames: a finished fresh store beside the damaged one.
    copyFileSync(path, `${path}.salvaged`);
    writeFileSync(path, whole.subarray(0, 5_000));
    const { database } = open(directory);
    expect(sequencesOf(database)).toEqual(until(100));
    expect(existsSync(`${path}.salvaged`)).toBe(false);
  });

  test("that others still use is not moved away under them", () => {
    const directory = newDirectory();
    const first = open(directory);
    put(first.database, 1);
    const source = `
      import { openStore } from ${JSON.stringify(new URL("./salvage.ts", import.meta.url).href)};
      try { openStore(${JSON.stringify(directory)}, { isSuspect: true, patienceMs: 100 }); console.log("opened"); } catch (error) { console.log(error.code); }`;
    const answer = execFileSync(process.execPath, ["--input-type=module", "-e", source], { encoding: "utf8" });
    expect(answer.trim()).toBe("database_corrupt");
    expect(sequencesOf(first.database)).toEqual([1]);
  });
});

test("rows with long payloads are carved whole", () => {
  const directory = newDirectory();
  fill(directory, 21);
  const columns = openColumns(directory);
  const found = [...carveRows(join(directory, "holdfast.db"), columns, "seq")].filter((row) => row.hash !== null);
  const genuine = found.filter((row) => sha256(hashedText(row)) === row.hash);
  expect(genuine.map((row) => row.seq).sort((a, b) => Number(a) - Number(b))).toEqual(until(21));
});

function openColumns(directory: string): readonly string[] {
  const db = openDatabase(join(directory, "holdfast.db"));
  const columns = db
    .prepare("SELECT name FROM pragma_table_info('op')")
    .all()
    .map((row) => String(row.name));
  db.close();
  return columns;
}

function openAndClose(directory: string) {
  const { database, report } = openStore(directory);
  database.close();
  return report;
}

function toldAtOpening(directory: string) {
  const { database, recovery } = openStore(directory);
  database.close();
  return recovery;
}

function countOf(report: {
  readonly lostSequences: readonly { readonly from: number; readonly to: number }[];
}): number {
  return report.lostSequences.reduce((sum, { from, to }) => sum + to - from + 1, 0);
}

/** The page, counted from 0, on which the row of a sequence begins. */
function pageOfRow(path: string, seq: number): number {
  return Math.floor(readFileSync(path).indexOf(`{"n":${seq},`) / 4_096);
}

function fillMore(directory: string, from: number, to: number): void {
  const path = join(directory, "holdfast.db");
  const whole = readFileSync(path);
  const { database } = open(directory);
  for (let seq = from; seq <= to; seq += 1) put(database, seq);
  const witness = openWitness(directory, () => {});
  witness.write(to);
  witness.close();
  database.close();
  // What the disk holds when the journal was never rolled into the file.
  writeFileSync(path, whole);
}

test("an error of the disk is not taken for damage", () => {
  const directory = newDirectory();
  writeFileSync(join(directory, "a-file"), "");
  try {
    openStore(join(directory, "a-file", "below"));
    expect.unreachable();
  } catch (error) {
    expect(isCode(error, "database_corrupt")).toBe(false);
  }
});
