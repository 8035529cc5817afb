/**
 * Owns who has a store open: one opener at a time, everybody's presence, and the look-out for damage and a full disk.
 * What is done about damage is left to `salvage.ts` and to whoever opened the store; about the journal, to `journal.ts`.
 */
import { join } from "node:path";
import type { Statement } from "../database.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { keepJournal } from "./journal.ts";
import type { FileLock, SqliteDatabase } from "./sqlite.ts";
import { acquireFileLock, acquireSharedLock } from "./sqlite.ts";

/** Held while a store is opened, so that two processes never judge one file at once. */
const openLockName = "open.lock";
/** Held shared by everyone who has the store open: files are moved only when nobody else does. */
const presenceLockName = "presence.lock";
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

/** Says that this process has the store open until it closes it, keeps its journal small, and tells of damage. */
export function holdOpen(directory: string, database: SqliteDatabase, onDamage?: OnDamage): SqliteDatabase {
  const presence = acquireSharedLock(join(directory, presenceLockName));
  const journal = keepJournal(database);
  // One store is told once, and one that was closed meanwhile not at all: whoever closed it knows.
  let isTold = false;
  let isClosed = false;
  const watched = watchFailures(database, (error) => {
    if (isCode(error, "disk_full")) journal.meetFullDisk();
    if (!isCode(error, "database_corrupt") || isTold || onDamage === undefined) return;
    isTold = true;
    setImmediate(() => (isClosed ? undefined : onDamage([error.message])));
  });
  return {
    ...watched,
    close: () => {
      isClosed = true;
      journal.stop();
      database.close();
      presence?.release();
    },
  };
}

export type OnDamage = (findings: readonly string[]) => void;

/** Damage may show only when a page is read, long after the store was opened. */
function watchFailures(database: SqliteDatabase, onFailure: (error: unknown) => void): SqliteDatabase {
  const watched = <T>(task: () => T): T => {
    try {
      return task();
    } catch (error) {
      onFailure(error);
      throw error;
    }
  };
  const statements = new WeakMap<Statement, Statement>();
  const watchStatement = (statement: Statement): Statement => {
    const known = statements.get(statement);
    if (known !== undefined) return known;
    const guard: Statement = {
      // Written out, because a closure per row is felt in a batch of a thousand.
      run: (...parameters) => {
        try {
          return statement.run(...parameters);
        } catch (error) {
          onFailure(error);
          throw error;
        }
      },
      get: (...parameters) => {
        try {
          return statement.get(...parameters);
        } catch (error) {
          onFailure(error);
          throw error;
        }
      },
      all: (...parameters) => {
        try {
          return statement.all(...parameters);
        } catch (error) {
          onFailure(error);
          throw error;
        }
      },
    };
    statements.set(statement, guard);
    return guard;
  };
  return {
    ...database,
    prepare: (sql) => {
      try {
        return watchStatement(database.prepare(sql));
      } catch (error) {
        onFailure(error);
        throw error;
      }
    },
    exec: (sql) => watched(() => database.exec(sql)),
  };
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
