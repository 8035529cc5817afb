/**
 * Owns how a store is opened: noticing an unclean end, checking, keeping a damaged file aside, salvaging, comparing with the witness.
 * How rows are carried over is left to `rescue.ts`; migrations and everything inside a sound store to the engine.
 */

import { hash } from "node:crypto";
import { renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "../database.ts";
import { applicationId, migrate, schemaVersion } from "../engine/schema.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { World } from "../world.ts";
import { makeFolder } from "./folder.ts";
import type { Wal } from "./image.ts";
import { buildImage, readWal } from "./image.ts";
import { finishSalvage, keepWal, quarantineNames, renameIfThere, syncDirectory } from "./quarantine.ts";
import { rescueRows } from "./rescue.ts";
import type { SequenceRange } from "./rescue-copy.ts";
import type { SqliteDatabase } from "./sqlite.ts";
import { checkInBackground, openDatabase } from "./sqlite.ts";
import { guarded } from "./sqlite-failure.ts";
import { enterAlone, holdOpen, waitToBeAlone } from "./store-guard.ts";
import { readWitness } from "./witness.ts";

const databaseName = "holdfast.db";
/** Up to this size a store that ended uncleanly is checked before it opens; a larger one while it is already working. */
const syncCheckBytes = 67_108_864;
/** Up to this size it is checked at every opening, because that takes no noticeable time. */
const alwaysCheckBytes = 4_194_304;
/** How long an opening waits for another one, and a salvage for other processes to close the damaged store, unless told otherwise. */
const usualPatienceMs = 10_000;

const quickCheck = "PRAGMA quick_check(20)";
/** Also compares every index with its table: an index that has lost a key hides what is there. */
const fullCheck = "PRAGMA integrity_check(20)";
const readApplication = "PRAGMA application_id";
const readVersion = "PRAGMA user_version";
const readSchema = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL";
const countTables = "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'";
const readSequence = "SELECT n FROM counter WHERE id = 100";
const meta = "meta";
const counter = "counter";
const raiseSequence = `UPDATE ${counter} SET n = max(n, ?) WHERE id = 100`;
const metaColumns = "SELECT count(*) AS n FROM pragma_table_info('meta')";
const lastReport = "SELECT value FROM meta WHERE name = 'recovery'";
const storeReport = `INSERT INTO ${meta} (name, value) VALUES ('recovery', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`;

/** SQLite's primary code 10, bare or in the extended forms that a read can end with; 8458 is what EIO becomes. */
const ioFailure = /error code=(10|266|522|8458)\b/;
/** A verdict of damage is looked at again: a read that fails once can look like damage, and salvaging is not for that. */
const ioRetries = 2;

/** What an opening found. `recovered`: the file is sound after an unclean end; `salvaged`: a fresh store got what could be proven. */
export type RecoveryReport = {
  readonly kind: "clean" | "recovered" | "salvaged";
  readonly at: number;
  readonly savedOperations: number;
  /** Sequences of operations that are lost, as far as is known. */
  readonly lostSequences: readonly SequenceRange[];
  /** Damaged files, kept beside the store. */
  readonly quarantinedFiles: readonly string[];
  readonly findings: readonly string[];
};

export type OpenStoreOptions = {
  readonly log?: World["log"];
  readonly now?: () => number;
  readonly synchronous?: "FULL" | "NORMAL" | "OFF";
  /** A statement met damage: check the file whatever its size, before anybody works on it again. */
  readonly isSuspect?: boolean;
  /** How long to wait for others that are opening the store, and for a suspect store to be left by them. */
  readonly patienceMs?: number;
  /** Told when a statement or the check in the background meets damage: close the store and open it as a suspect. */
  readonly onDamage?: (findings: readonly string[]) => void;
};

export type OpenedStore = {
  readonly database: SqliteDatabase;
  readonly report: RecoveryReport;
  /** The report to show people: this one, or the last that had something to tell; `null` when there never was any. */
  readonly recovery: RecoveryReport | null;
};

type Found = Pick<OpenedStore, "database" | "report">;

type Context = {
  readonly directory: string;
  readonly path: string;
  readonly options: OpenStoreOptions;
  readonly now: number;
};

/**
 * Opens the store of a data directory, whatever state its last user left it in. Close the returned database to leave it.
 * @example
 * const { database, report } = openStore("/var/lib/app");
 * if (report.kind === "salvaged") console.warn(report.findings.join("\n"));
 */
export function openStore(directory: string, options: OpenStoreOptions = {}): OpenedStore {
  const path = join(directory, databaseName);
  return guarded(path, () => openAt(directory, { path, options }));
}

function openAt(directory: string, at: { readonly path: string; readonly options: OpenStoreOptions }): OpenedStore {
  const { path, options } = at;
  makeFolder(directory);
  const patienceMs = options.patienceMs ?? usualPatienceMs;
  const opening = enterAlone(directory, patienceMs);
  if (opening === null) return openReadOnly(path, options);
  try {
    const isAlone = waitToBeAlone(directory, options.isSuspect === true ? patienceMs : 0);
    if (!isAlone && options.isSuspect === true) throw stillInUse(path);
    const context = { directory, path, options, now: (options.now ?? Date.now)() };
    if (isAlone) finishSalvage(path);
    const { database, report } = isAlone ? openAlone(context) : { database: openFile(context), report: clean(context) };
    const recovery = isDamage(report)
      ? report
      : (readLastReport(database) ?? (report.kind === "clean" ? null : report));
    return { database: holdOpen(directory, database, options.onDamage), report, recovery };
  } finally {
    opening.release();
  }
}

function openAlone(context: Context, retries: number = ioRetries): Found {
  const { path, options } = context;
  const wal = readWal(`${path}-wal`);
  const isUnclean = wal !== null;
  const suspectWal = wal !== null && wal.dropped > 0 ? wal : null;
  const witness = readWitnessSafely(context);
  let database: SqliteDatabase;
  try {
    database = openFile(context);
  } catch (error) {
    if (!isCode(error, "database_corrupt")) throw error;
    if (retries > 0) return openAlone(context, retries - 1);
    return salvage(context, { wal, witness, findings: [error.message] });
  }
  try {
    if (isNewer(database)) return { database, report: clean(context) };
    const sizeBytes = statSync(path).size;
    const isChecked = options.isSuspect === true || sizeBytes <= (isUnclean ? syncCheckBytes : alwaysCheckBytes);
    const damage = isChecked ? findDamage(database, sizeBytes <= alwaysCheckBytes ? fullCheck : quickCheck) : [];
    if (damage.length > 0) {
      database.close();
      if (retries > 0) return openAlone(context, retries - 1);
      return salvage(context, { wal, witness, findings: damage });
    }
    if (isUnclean && !isChecked) checkLater(context);
    return judgeSequence(context, { database, witness, wal: suspectWal, isUnclean });
  } catch (error) {
    database.close();
    if (!isCode(error, "database_corrupt")) throw error;
    if (retries > 0) return openAlone(context, retries - 1);
    return salvage(context, { wal, witness, findings: [error.message] });
  }
}

type Judged = {
  readonly database: SqliteDatabase;
  readonly witness: number;
  readonly wal: Wal | null;
  readonly isUnclean: boolean;
};

/** The file is sound in itself; the witness tells whether it is also whole. */
function judgeSequence(context: Context, judged: Judged): Found {
  const { database, witness, wal, isUnclean } = judged;
  const sequence = sequenceOf(database);
  if (sequence >= witness) {
    if (!isUnclean) return { database, report: clean(context) };
    return {
      database,
      report: told(context, { ...clean(context), kind: "recovered", findings: [uncleanEnd] }, database),
    };
  }
  const finding = `the store ends at sequence ${sequence}, but ${witness} was committed`;
  if (wal !== null) {
    database.close();
    const dropped = `${wal.dropped} pages of the journal would have been dropped because of a wrong checksum`;
    return salvage(context, { wal, witness, findings: [finding, dropped] });
  }
  // Sequences that were given out once are never given out again.
  migrate(database);
  database.prepare(raiseSequence).run(witness);
  const lostSequences = [{ from: sequence + 1, to: witness }];
  const report = { ...clean(context), kind: "recovered" as const, lostSequences, findings: [finding] };
  return { database, report: told(context, report, database) };
}

type Damage = { readonly wal: Wal | null; readonly witness: number; readonly findings: readonly string[] };

/** Builds a fresh store from what can be proven, then puts the damaged files aside and the fresh one in their place. */
function salvage(context: Context, damage: Damage): Found {
  const { directory, path, now } = context;
  context.options.log?.("error", `${path}: the store is damaged; salvaging what can be proven`, {
    findings: damage.findings,
  });
  const imagePath = join(directory, "holdfast.image");
  const buildPath = `${path}.salvaging`;
  for (const left of [imagePath, buildPath, `${buildPath}-wal`, `${buildPath}-shm`]) rmSync(left, { force: true });
  buildImage({ database: path, wal: damage.wal }, imagePath);
  const fresh = openDatabase(buildPath, { largeIntegers: "rounded" });
  migrate(fresh);
  const rescue = isForeign(imagePath)
    ? {
        savedOperations: 0,
        lostSequences: [],
        findings: ["the file belongs to another program; nothing of it was taken over"],
      }
    : rescueRows({ imagePath, fresh, hash: sha256, now, witness: damage.witness });
  const stamp = `corrupt-${new Date(now).toISOString().replaceAll(/[:.]/g, "-")}`;
  const quarantine = quarantineNames(path, stamp);
  const isKeptWal = (file: string): boolean => file.endsWith("-wal") && damage.wal !== null;
  const report: RecoveryReport = {
    kind: "salvaged",
    at: now,
    savedOperations: rescue.savedOperations,
    lostSequences: rescue.lostSequences,
    quarantinedFiles: quarantine.filter(([from]) => isThere(from) || isKeptWal(from)).map(([, to]) => to),
    findings: [...damage.findings, ...rescue.findings],
  };
  fresh.prepare(raiseSequence).run(damage.witness);
  fresh.prepare(storeReport).run(JSON.stringify(report));
  fresh.checkpoint("truncate");
  fresh.close();
  rmSync(imagePath, { force: true });
  if (damage.wal !== null) keepWal(quarantine, damage.wal);
  // From here on the salvage is complete: a crash between these steps is finished by `finishSalvage`.
  renameSync(buildPath, `${path}.salvaged`);
  syncDirectory(directory);
  for (const [from, to] of quarantine) renameIfThere(from, to);
  finishSalvage(path);
  context.options.log?.("warn", `${path}: ${rescue.savedOperations} operations were salvaged`, { report });
  return { database: openFile(context), report };
}

const uncleanEnd = "the last process to use the store did not close it; the file was checked and is sound";

function openFile(context: Context): SqliteDatabase {
  const { synchronous } = context.options;
  return openDatabase(context.path, {
    largeIntegers: "rounded",
    ...(synchronous === undefined ? {} : { synchronous }),
  });
}

/** A directory that cannot be written has no locks; its store can still be looked at. */
function openReadOnly(path: string, options: OpenStoreOptions): OpenedStore {
  const now = (options.now ?? Date.now)();
  const database = openDatabase(path, { readOnly: true, largeIntegers: "rounded" });
  return { database, report: clean({ now }), recovery: readLastReport(database) };
}

function findDamage(database: SqliteDatabase, check: string): readonly string[] {
  const foreign = foreignReason(database);
  if (foreign !== null) return [foreign];
  const strange = strangeNames(database);
  if (strange.length > 0) return [`the schema of ${strange.join(", ")} is not as it was written`];
  // A disk that stumbles once is no damage; one that cannot read a page for good is.
  for (let left = ioRetries; ; left -= 1) {
    const answers = answersOf(database, check);
    if (answers.length === 1 && answers[0] === "ok") return [];
    if (left === 0 || !answers.some((answer) => ioFailure.test(answer))) return answers;
  }
}

/**
 * What the schema does not have as the migrations write it. SQLite's own check believes whatever the schema says, so a column that one
 * changed bit has renamed would be met only by the statement that asks for it.
 */
function strangeNames(database: SqliteDatabase): readonly string[] {
  if (Number(database.prepare(readVersion).get()?.user_version) !== schemaVersion) return [];
  const found = schemaOf(database);
  return [...writtenSchema()].filter(([name, sql]) => found.get(name) !== sql).map(([name]) => name);
}

const schemaOf = (database: Database): ReadonlyMap<string, string> =>
  new Map(
    database
      .prepare(readSchema)
      .all()
      .map((row) => [String(row.name), String(row.sql)]),
  );

let written: ReadonlyMap<string, string> | null = null;
function writtenSchema(): ReadonlyMap<string, string> {
  if (written !== null) return written;
  const database = openDatabase(":memory:");
  try {
    migrate(database);
    written = schemaOf(database);
    return written;
  } finally {
    database.close();
  }
}

/** The check compares indexes on values with the values, and fails where one is no JSON any more. */
function answersOf(database: SqliteDatabase, check: string): readonly string[] {
  try {
    const rows = database.prepare(check).all();
    return rows.map((row) => String(Object.values(row)[0]));
  } catch (error) {
    if (!isCode(error, "record_corrupt")) throw error;
    return [error.message];
  }
}

function foreignReason(database: SqliteDatabase): string | null {
  const owner = Number(database.prepare(readApplication).get()?.application_id ?? 0);
  if (owner === applicationId) return null;
  const tables = Number(database.prepare(countTables).get()?.n ?? 0);
  return owner === 0 && tables === 0 ? null : `the file is marked as ${owner}, not as a store of Holdfast`;
}

/** A sound SQLite file that carries another program's mark is not ours to take rows from. */
function isForeign(imagePath: string): boolean {
  try {
    const image = openDatabase(imagePath, { readOnly: true, largeIntegers: "rounded" });
    try {
      return (
        foreignReason(image) !== null &&
        image.prepare(`SELECT count(*) AS n FROM pragma_table_info('op')`).get()?.n === 0
      );
    } finally {
      image.close();
    }
  } catch {
    return false;
  }
}

function isNewer(database: SqliteDatabase): boolean {
  const owner = Number(database.prepare(readApplication).get()?.application_id ?? 0);
  return owner === applicationId && Number(database.prepare(readVersion).get()?.user_version ?? 0) > schemaVersion;
}

function sequenceOf(database: SqliteDatabase): number {
  if (database.prepare(countTables).get()?.n === 0) return 0;
  return Number(database.prepare(readSequence).get()?.n ?? 0);
}

function readWitnessSafely(context: Context): number {
  try {
    return readWitness(context.directory) ?? 0;
  } catch (error) {
    context.options.log?.("warn", "the witness cannot be read; a loss could go unnoticed", { error: String(error) });
    return 0;
  }
}

function checkLater(context: Context): void {
  const { options, path } = context;
  checkInBackground(path, (findings) => {
    if (findings.length === 0) return;
    options.log?.("error", `${path}: the check in the background found damage`, { findings });
    options.onDamage?.(findings);
  });
}

function clean(context: { readonly now: number }): RecoveryReport {
  return { kind: "clean", at: context.now, savedOperations: 0, lostSequences: [], quarantinedFiles: [], findings: [] };
}

const isThere = (file: string): boolean => statSync(file, { throwIfNoEntry: false }) !== undefined;

/** Whether a report tells of more than an end that was not clean. */
const isDamage = ({ lostSequences, quarantinedFiles }: RecoveryReport): boolean =>
  lostSequences.length > 0 || quarantinedFiles.length > 0;

/**
 * Keeps the report in the store, so that a person can be told later too; a store without tables has nothing to tell. What an earlier
 * one tells of damage is not forgotten over a process that was killed since.
 */
function told(context: Context, report: RecoveryReport, database: SqliteDatabase): RecoveryReport {
  const isLoss = report.lostSequences.length > 0;
  context.options.log?.(isLoss ? "error" : "info", `${context.path}: ${report.findings.join("; ")}`, { report });
  const last = isDamage(report) ? null : readLastReport(database);
  if (last !== null && isDamage(last)) return report;
  if (database.prepare(metaColumns).get()?.n !== 0) database.prepare(storeReport).run(JSON.stringify(report));
  return report;
}

/** A store that was just made, or one whose first page cannot be read, has no report to show. */
function readLastReport(database: Database): RecoveryReport | null {
  try {
    if (database.prepare(metaColumns).get()?.n === 0) return null;
    const row = database.prepare(lastReport).get();
    if (row === undefined) return null;
    const report = JSON.parse(String(row.value)) as RecoveryReport;
    // What was set aside is to be deleted when nothing is missed: then there is nothing to tell any more.
    return report.quarantinedFiles.length > 0 && !report.quarantinedFiles.some(isThere) ? null : report;
  } catch {
    return null;
  }
}

function stillInUse(path: string): HoldfastError {
  return new HoldfastError(
    "database_corrupt",
    `${path}: the store is damaged and other processes still have it open`,
    "close the programs that use it; the first one to open it again salvages it",
  );
}

function sha256(text: string): string {
  return hash("sha256", text, "hex");
}
