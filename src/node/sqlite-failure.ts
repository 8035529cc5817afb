/**
 * Owns what the errors of SQLite and of the file system mean to Holdfast, and says which path they concern.
 * Opening and retrying are left to `sqlite.ts`; what a remote's answer means is no matter of this file.
 */
import { accessSync, constants, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { HoldfastError } from "../errors.ts";

/** Below this many free bytes an I/O error counts as a full disk: SQLite names only some of them so. */
const fullDiskBytes = 65_536;

/** Runs `task`; whatever it throws leaves as the `HoldfastError` that names `path`. */
export function guarded<T>(path: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    throw failureOf(path, error);
  }
}

/** The SQLite error number behind an error of this module, 0 when there is none. */
export function sqliteCodeOf(error: unknown): number {
  const cause = error instanceof HoldfastError ? error.cause : error;
  return typeof cause === "object" && cause !== null && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode
    : 0;
}

/** Turns whatever SQLite or the file system threw into the error that names the path; misuse stays the TypeError that it is. */
export function failureOf(path: string, error: unknown): Error {
  if (error instanceof HoldfastError) return error;
  if (!(error instanceof Error)) return fail("internal", `${path}: ${String(error)}`, reportIt, error);
  const errcode = sqliteCodeOf(error);
  if (errcode !== 0) return failureOfSqlite({ path, errcode, error });
  const systemCode = "code" in error ? String(error.code) : "";
  switch (systemCode) {
    case "ENOSPC":
    case "EDQUOT":
      return diskFull(path, error);
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return readOnly(path, error);
    case "ERR_INVALID_STATE":
      return fail("engine_closed", `${path}: the database is closed`, "open it again before you use it", error);
    case "ERR_OUT_OF_RANGE":
      return fail("internal", `${path}: an integer beyond 2^53 was read`, reportIt, error);
  }
  if (error instanceof TypeError) return error;
  return fail(
    "io_failed",
    `${path}: ${error.message}`,
    "see the cause; check the directory, its disk and its permissions",
    error,
  );
}

/** Primary result codes of SQLite, see sqlite.org/rescode.html. */
const code = {
  perm: 3,
  busy: 5,
  locked: 6,
  noMemory: 7,
  readOnly: 8,
  interrupt: 9,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  protocol: 15,
  tooBig: 18,
  notADatabase: 26,
} as const;
/** Extended codes that mean damaged content although their primary code says I/O. */
const damagedIo: readonly number[] = [522, 8202, 8458];

function failureOfSqlite(at: {
  readonly path: string;
  readonly errcode: number;
  readonly error: Error;
}): HoldfastError {
  const { path, errcode, error } = at;
  switch (errcode & 0xff) {
    case code.full:
      return diskFull(path, error);
    case code.readOnly:
    case code.perm:
      return readOnly(path, error);
    case code.busy:
    case code.locked:
    case code.protocol:
      return fail("database_busy", `${path}: another process holds the database`, "try again in a moment", error);
    case code.corrupt:
    case code.notADatabase:
      return damaged(path, error);
    case code.ioError:
      if (damagedIo.includes(errcode)) return damaged(path, error);
      return isDiskFull(path) ? diskFull(path, error) : ioFailed({ path, errcode, error });
    case code.cannotOpen:
      if (isDiskFull(path)) return diskFull(path, error);
      return isWritable(dirname(path)) ? ioFailed({ path, errcode, error }) : readOnly(path, error);
    case code.interrupt:
      return fail("aborted", `${path}: the statement was interrupted`, "try again", error);
    case code.noMemory:
      return fail("io_failed", `${path}: SQLite ran out of memory`, "free memory and try again", error);
    case code.tooBig:
      return fail(
        "payload_too_large",
        `${path}: a value is too large for SQLite`,
        "store it as a file and queue its path",
        error,
      );
    default:
      // An index on values of records reads them as JSON, which they were when they were written.
      if (error.message.includes("malformed JSON")) return recordDamaged(path, error);
      return fail("internal", `${path}: ${error.message}`, reportIt, error);
  }
}

const reportIt = "report this with the output of `holdfast doctor`";

function fail(
  ...[errorCode, message, hint, cause]: readonly [HoldfastError["code"], string, string, unknown]
): HoldfastError {
  return new HoldfastError(errorCode, message, hint, { cause });
}

function diskFull(path: string, error: Error): HoldfastError {
  return fail(
    "disk_full",
    `${path}: the disk is full`,
    "free space on this disk; nothing queued before is lost",
    error,
  );
}

function readOnly(path: string, error: Error): HoldfastError {
  return fail(
    "read_only",
    `${path}: the file or its file system is read-only`,
    "check the mount and the directory's permissions",
    error,
  );
}

function damaged(path: string, error: Error): HoldfastError {
  const hint = "open the store again: the file is kept aside and its operations are salvaged";
  return fail("database_corrupt", `${path}: the database file is damaged (${error.message})`, hint, error);
}

function recordDamaged(path: string, error: Error): HoldfastError {
  const hint = "see `holdfast doctor`; what cannot be proven is read again from the server, or kept aside";
  return fail(
    "record_corrupt",
    `${path}: the storage has changed the value of a record (${error.message})`,
    hint,
    error,
  );
}

function ioFailed(at: { readonly path: string; readonly errcode: number; readonly error: Error }): HoldfastError {
  const message = `${at.path}: the disk failed (${at.error.message}, SQLite error ${at.errcode})`;
  return fail("io_failed", message, "check the disk; nothing was acknowledged for this request", at.error);
}

function isDiskFull(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize < fullDiskBytes;
  } catch {
    return false;
  }
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch (error) {
    // Only a directory that is there can be read-only.
    return error instanceof Error && "code" in error && error.code === "ENOENT";
  }
}
