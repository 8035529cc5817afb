/**
 * Owns keeping a store's journal (its WAL) small: checkpoints from idle time, and after every commit while the disk is nearly full.
 * A queue on a full disk can move only inside space that it has already: in the file, and in a journal that starts again from its front.
 */
import { statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { SqliteDatabase } from "./sqlite.ts";
import { sqliteLimits } from "./sqlite.ts";

/** The journal is moved into the file from idle time once it is this large. */
const checkpointBytes = 4_194_304;
const checkpointEveryMs = 1_000;
/** With less than this free, commits checkpoint at once: the space that a checkpoint needs must not be gone when it is needed. */
const scarceBytes = 67_108_864;
const scarceCheckpointPages = 32;

const checkpointAfter = (pages: number): string => `PRAGMA wal_autocheckpoint = ${pages}`;

export type JournalKeeper = {
  /** The disk was found full: checkpoint as soon as the request that found it is over. */
  readonly meetFullDisk: () => void;
  readonly stop: () => void;
};

/** Looks after the journal of an open store until it is stopped. */
export function keepJournal(database: SqliteDatabase): JournalKeeper {
  const keeper = { isScarce: false, isStopped: false };
  const look = (): void => {
    if (database.isReadOnly || database.isInTransaction()) return;
    setScarce(isScarce(database.path));
    if (keeper.isScarce || sizeOf(`${database.path}-wal`) >= checkpointBytes) checkpointQuietly(database);
  };
  const setScarce = (isNow: boolean): void => {
    if (isNow === keeper.isScarce) return;
    keeper.isScarce = isNow;
    database.exec(checkpointAfter(isNow ? scarceCheckpointPages : sqliteLimits.autoCheckpointPages));
  };
  look();
  // A checkpoint inside a claim would be felt (13 to 17 ms at a million operations), one between two ticks is not.
  const timer = setInterval(look, checkpointEveryMs).unref();
  return {
    meetFullDisk: () => {
      // By then the reserve has been given back, which is the room that the checkpoint needs.
      setImmediate(() => (keeper.isStopped ? undefined : look()));
    },
    stop: () => {
      keeper.isStopped = true;
      clearInterval(timer);
    },
  };
}

/** What a checkpoint meets is met again by the next request, and told there. */
function checkpointQuietly(database: SqliteDatabase): void {
  try {
    database.checkpoint();
  } catch {}
}

function isScarce(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize < scarceBytes;
  } catch {
    return false;
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
