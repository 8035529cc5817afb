/**
 * Owns how a store is opened: noticing an unclean end, checking, keeping a damaged file aside, salvaging, comparing with the witness.
 * How rows are carried over is left to `rescue.ts`; migrations and everything inside a sound store to the engine.
 */

import { hash } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Database, Statement } from "../database.ts";
import { applicationId, migrate, schemaVersion } from "../engine/schema.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { World } from "../world.ts";
import type { Wal } from "./image.ts";
import { buildImage, readWal } from "./image.ts";
import type { SequenceRange } from "./rescue.ts";
import { rescueRows } from "./rescue.ts";
import type { FileLock, SqliteDatabase } from "./sqlite.ts";
import { acquireFileLock, acquireSharedLock, checkInBackground, openDatabase } from "./sqlite.ts";
import { guarded, sqliteCodeOf } from "./sqlite-failure.ts";
import { readWitness } from "./witness.ts";

export const databaseName = "holdfast.db";
/** Held while a store is opened, so that two processes never judge one file at once. */
const openLockName = "open.lock";
/** Held shared by everyone who has the store open: files are moved only when nobody else does. */
const presenceLockName = "presence.lock";
/** Up to this size a store that ended uncleanly is checked before it opens; a larger one while it is already working. */
export const syncCheckBytes = 67_108_864;
/** Up to this size it is checked at every opening, because that takes no noticeable time. */
const alwaysCheckBytes = 4_194_304;
/** How long an opening waits for another one, and a salvage for other processes to close the damaged store, unless told otherwise. */
const usualPatienceMs = 10_000;

/** The journal is moved into the file from idle time once it is this large. */
const checkpointBytes = 4_194_304;
const checkpointEveryMs = 1_000;

const quickCheck = "PRAGMA quick_check(20)";
const readApplication = "PRAGMA application_id";
const readVersion = "PRAGMA user_version";
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
const unreadable = 8458;
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
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const patienceMs = options.patienceMs ?? usualPatienceMs;
  const opening = enter(join(directory, openLockName), patienceMs);
  if (opening === null) return openReadOnly(path, options);
  try {
    const isAlone = waitToBeAlone(directory, options.isSuspect === true ? patienceMs : 0);
    if (!isAlone && options.isSuspect === true) throw stillInUse(path);
    const context = { directory, path, options, now: (options.now ?? Date.now)() };
    if (isAlone) finishSalvage(path);
    const { database, report } = isAlone ? openAlone(context) : { database: openFile(context), report: clean(context) };
    const presence = acquireSharedLock(join(directory, presenceLockName));
    const recovery = report.kind === "clean" ? readLastReport(database) : report;
    return { database: leaveOnClose(watchForDamage(database, options), presence), report, recovery };
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
    if (sqliteCodeOf(error) === unreadable && retries > 0) return openAlone(context, retries - 1);
    return salvage(context, { wal, witness, findings: [error.message] });
  }
  try {
    if (isNewer(database)) return { database, report: clean(context) };
    const sizeBytes = statSync(path).size;
    const isChecked = options.isSuspect === true || sizeBytes <= (isUnclean ? syncCheckBytes : alwaysCheckBytes);
    const damage = isChecked ? findDamage(database) : [];
    if (damage.length > 0) {
      database.close();
      return salvage(context, { wal, witness, findings: damage });
    }
    if (isUnclean && !isChecked) checkLater(context);
    return judgeSequence(context, { database, witness, wal: suspectWal, isUnclean });
  } catch (error) {
    database.close();
    if (!isCode(error, "database_corrupt")) throw error;
    if (sqliteCodeOf(error) === unreadable && retries > 0) return openAlone(context, retries - 1);
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
  const fresh = openDatabase(buildPath);
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
  const report: RecoveryReport = {
    kind: "salvaged",
    at: now,
    savedOperations: rescue.savedOperations,
    lostSequences: rescue.lostSequences,
    quarantinedFiles: quarantine.map(([, to]) => to),
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

/** Opening has rolled the journal into the file by now, so the one that was read before is written beside it again. */
function keepWal(quarantine: readonly (readonly [string, string])[], wal: Wal): void {
  const target = quarantine.find(([from]) => from.endsWith("-wal"))?.[1];
  if (target !== undefined) writeFileSync(target, wal.content, { mode: 0o600 });
}

function finishSalvage(path: string): void {
  const finished = `${path}.salvaged`;
  if (statSync(finished, { throwIfNoEntry: false }) === undefined) return;
  // The damaged file is still in place when the crash came before it was moved: then it has to move first.
  const stamp = `corrupt-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const [from, to] of quarantineNames(path, stamp)) renameIfThere(from, to);
  renameSync(finished, path);
  syncDirectory(join(path, ".."));
}

/** The -shm is only an index of the -wal; under this name SQLite rebuilds it instead of believing it. */
function quarantineNames(path: string, stamp: string): readonly (readonly [string, string])[] {
  const kept = `${path}.${stamp}`;
  return [
    [path, kept],
    [`${path}-wal`, `${kept}-wal`],
    [`${path}-shm`, `${kept}-shm-old`],
  ];
}

function renameIfThere(from: string, to: string): void {
  if (statSync(from, { throwIfNoEntry: false }) === undefined) return;
  // A journal that was written aside already is the whole one; what is left in place is shorter.
  if (statSync(to, { throwIfNoEntry: false }) === undefined) renameSync(from, to);
  else rmSync(from);
}

function openFile(context: Context): SqliteDatabase {
  return openDatabase(
    context.path,
    context.options.synchronous === undefined ? {} : { synchronous: context.options.synchronous },
  );
}

/** A directory that cannot be written has no locks; its store can still be looked at. */
function openReadOnly(path: string, options: OpenStoreOptions): OpenedStore {
  const now = (options.now ?? Date.now)();
  const database = openDatabase(path, { readOnly: true });
  return { database, report: clean({ now }), recovery: readLastReport(database) };
}

function findDamage(database: SqliteDatabase): readonly string[] {
  const foreign = foreignReason(database);
  if (foreign !== null) return [foreign];
  // A disk that stumbles once is no damage; one that cannot read a page for good is.
  for (let left = ioRetries; ; left -= 1) {
    const answers = database
      .prepare(quickCheck)
      .all()
      .map((row) => String(row.quick_check));
    if (answers.length === 1 && answers[0] === "ok") return [];
    if (left === 0 || !answers.some((answer) => ioFailure.test(answer))) return answers;
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
    const image = openDatabase(imagePath, { readOnly: true });
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

/** Keeps the report in the store, so that a person can be told later too; a store without tables has nothing to tell. */
function told(context: Context, report: RecoveryReport, database: SqliteDatabase): RecoveryReport {
  const isLoss = report.lostSequences.length > 0;
  context.options.log?.(isLoss ? "error" : "info", `${context.path}: ${report.findings.join("; ")}`, { report });
  if (database.prepare(metaColumns).get()?.n !== 0) database.prepare(storeReport).run(JSON.stringify(report));
  return report;
}

/** A store that was just made, or one whose first page cannot be read, has no report to show. */
function readLastReport(database: Database): RecoveryReport | null {
  try {
    if (database.prepare(metaColumns).get()?.n === 0) return null;
    const row = database.prepare(lastReport).get();
    return row === undefined ? null : (JSON.parse(String(row.value)) as RecoveryReport);
  } catch {
    return null;
  }
}

function enter(path: string, patienceMs: number): FileLock | null {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    try {
      const lock = acquireFileLock(path);
      if (lock !== null) return lock;
    } catch (error) {
      if (isCode(error, "read_only")) return null;
      throw error;
    }
    if (performance.now() > giveUpAt) {
      throw new HoldfastError(
        "database_busy",
        `${path}: another process is opening the store`,
        "try again in a moment",
      );
    }
    pause(20);
  }
}

/** A suspect store is judged only when everybody has left it: a file that is moved away under a writer swallows its commits. */
function waitToBeAlone(directory: string, patienceMs: number): boolean {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    const lock = acquireFileLock(join(directory, presenceLockName));
    lock?.release();
    if (lock !== null) return true;
    if (performance.now() >= giveUpAt) return false;
    pause(50);
  }
}

function stillInUse(path: string): HoldfastError {
  return new HoldfastError(
    "database_corrupt",
    `${path}: the store is damaged and other processes still have it open`,
    "close the programs that use it; the first one to open it again salvages it",
  );
}

/** Damage may show only when a page is read, long after the store was opened. */
function watchForDamage(database: SqliteDatabase, options: OpenStoreOptions): SqliteDatabase {
  const { onDamage } = options;
  if (onDamage === undefined) return database;
  // One store is told once, and one that was closed meanwhile not at all: whoever closed it knows.
  let isTold = false;
  let isClosed = false;
  const watched = <T>(task: () => T): T => {
    try {
      return task();
    } catch (error) {
      if (isCode(error, "database_corrupt") && !isTold) {
        isTold = true;
        const { message } = error;
        setImmediate(() => (isClosed ? undefined : onDamage([message])));
      }
      throw error;
    }
  };
  const statements = new WeakMap<Statement, Statement>();
  const watchStatement = (statement: Statement): Statement => {
    const known = statements.get(statement);
    if (known !== undefined) return known;
    const guard: Statement = {
      run: (...parameters) => watched(() => statement.run(...parameters)),
      get: (...parameters) => watched(() => statement.get(...parameters)),
      all: (...parameters) => watched(() => statement.all(...parameters)),
    };
    statements.set(statement, guard);
    return guard;
  };
  return {
    ...database,
    prepare: (sql) => watched(() => watchStatement(database.prepare(sql))),
    exec: (sql) => watched(() => database.exec(sql)),
    close: () => {
      isClosed = true;
      database.close();
    },
  };
}

function leaveOnClose(database: SqliteDatabase, presence: FileLock | null): SqliteDatabase {
  const stopCheckpoints = checkpointFromIdle(database);
  return {
    ...database,
    close: () => {
      stopCheckpoints();
      database.close();
      presence?.release();
    },
  };
}

/** A checkpoint inside a claim would be felt (13 to 17 ms at a million operations), one between two ticks is not. */
function checkpointFromIdle(database: SqliteDatabase): () => void {
  const journal = `${database.path}-wal`;
  const timer = setInterval(() => {
    const sizeBytes = statSync(journal, { throwIfNoEntry: false })?.size ?? 0;
    if (sizeBytes < checkpointBytes || database.isReadOnly || database.isInTransaction()) return;
    try {
      database.checkpoint();
    } catch {
      // What it met is met again by the next request, and told there.
    }
  }, checkpointEveryMs).unref();
  return () => clearInterval(timer);
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, "r");
  try {
    fsyncSync(handle);
  } catch {
    // Not every file system syncs directories.
  } finally {
    closeSync(handle);
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function sha256(text: string): string {
  return hash("sha256", text, "hex");
}

/** Damaged files that earlier openings kept beside the store. */
export function listQuarantined(directory: string): readonly string[] {
  return readdirSync(directory).filter((name) => name.startsWith(`${databaseName}.corrupt-`));
}
