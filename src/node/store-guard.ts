/**
 * Owns who has a store open: one opener at a time, everybody's presence, and what goes on beside an open store: checkpoints from idle
 * time and the look-out for damage. What is done about damage is left to `salvage.ts` and to whoever opened the store.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Statement } from "../database.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { FileLock, SqliteDatabase } from "./sqlite.ts";
import { acquireFileLock, acquireSharedLock } from "./sqlite.ts";

/** Held while a store is opened, so that two processes never judge one file at once. */
const openLockName = "open.lock";
/** Held shared by everyone who has the store open: files are moved only when nobody else does. */
const presenceLockName = "presence.lock";
/** The journal is moved into the file from idle time once it is this large. */
const checkpointBytes = 4_194_304;
const checkpointEveryMs = 1_000;

/** Takes the right to open the store, alone; `null` where nothing can be written, so nothing can be locked. */
export function enterAlone(directory: string, patienceMs: number): FileLock | null {
  const path = join(directory, openLockName);
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
export function waitToBeAlone(directory: string, patienceMs: number): boolean {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    const lock = acquireFileLock(join(directory, presenceLockName));
    lock?.release();
    if (lock !== null) return true;
    if (performance.now() >= giveUpAt) return false;
    pause(50);
  }
}

/** Says that this process has the store open until it closes it. */
export function holdOpen(directory: string, database: SqliteDatabase): SqliteDatabase {
  const presence = acquireSharedLock(join(directory, presenceLockName));
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

/** Damage may show only when a page is read, long after the store was opened. */
export function watchForDamage(
  database: SqliteDatabase,
  onDamage: ((findings: readonly string[]) => void) | undefined,
): SqliteDatabase {
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

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
