/**
 * Owns `node:sqlite`: how a database file is opened for durable use by several processes, and locks held as files.
 * What its errors mean is left to `sqlite-failure.ts`; what happens to a damaged file is left to `salvage.ts`.
 */
import { accessSync, closeSync, constants, openSync, realpathSync, statSync, truncateSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import type { Database, Row, SqlValue, Statement } from "../database.ts";
import { applicationId, schemaVersion } from "../engine/schema.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { failureOf, guarded } from "./sqlite-failure.ts";
import type { GuardedConnection } from "./sqlite-query.ts";
import { runGuarded } from "./sqlite-query.ts";

const enterWal = "PRAGMA journal_mode = WAL";
const readOwner = `SELECT application_id AS owner, (SELECT user_version FROM pragma_user_version) AS version,
  (SELECT count(*) FROM sqlite_schema WHERE type = 'table') AS tables FROM pragma_application_id`;
const readJournalMode = "PRAGMA journal_mode";
const checkpointPassive = "PRAGMA wal_checkpoint(PASSIVE)";
const checkpointTruncate = "PRAGMA wal_checkpoint(TRUNCATE)";
/** An exclusive transaction on an empty file begins to make its first page; on a full disk its journal would have no room. */
const journalInMemory = "PRAGMA journal_mode = MEMORY";
const lockExclusively = "BEGIN EXCLUSIVE";

/** Limits of one connection. */
export const sqliteLimits = {
  /** Statements kept prepared; SQL texts are constants, so only lists of varying length can get near this. */
  statements: 500,
  /** Page cache in KiB; claims at a million queued operations were measured with it. */
  cacheKib: 32_768,
  /**
   * Pages in the WAL before SQLite checkpoints inside a commit (4 MiB). A log that is begun again is written over in place, which
   * syncs nearly twice as fast as one that grows, because the file system has no new size to make durable.
   */
  autoCheckpointPages: 1_000,
  /** Bytes that the WAL keeps after a checkpoint. */
  keptWalBytes: 16_777_216,
  /** The longest text that a guarded query may make. */
  queryValueBytes: 16_777_216,
} as const;

export type OpenOptions = {
  /** How long a statement waits for another process's transaction. */
  readonly timeoutMs?: number;
  /** `true` never writes; left out, a file on a read-only file system is opened for reading. */
  readonly readOnly?: boolean;
  /** FULL is what makes an acknowledgement survive a power cut; anything else is for tests and throw-away stores. */
  readonly synchronous?: "FULL" | "NORMAL" | "OFF";
  /** False guards queries as a Node without `setAuthorizer` has to; for tests. */
  readonly hasAuthorizer?: boolean;
  /**
   * What an integer beyond 2^53 is: refused, or, where rows have seals or hashes, read rounded, so that the row is found by them. Nothing
   * here writes one, so the storage has made it, and Node would refuse it with all rows beside it.
   */
  readonly largeIntegers?: "refused" | "rounded";
};

/** A connection of `node:sqlite`, with what only Node's places need beyond the engine's interface. */
export type SqliteDatabase = Database & {
  readonly path: string;
  readonly isInTransaction: () => boolean;
  /** Moves the WAL into the file; call it from idle time. Returns the pages that are still only in the WAL. */
  readonly checkpoint: (mode?: "passive" | "truncate") => number;
};

export type FileLock = { readonly release: () => void };

/**
 * Opens or creates a database file (or ":memory:") for durable use by several processes.
 * @example
 * const database = openDatabase("/var/lib/app/holdfast.db");
 * database.prepare("SELECT 1 AS one").get(); // { one: 1 }
 */
export function openDatabase(path: string, options: OpenOptions = {}): SqliteDatabase {
  if (options.readOnly === true) return openReadOnly(path, options);
  try {
    return wrap(connectForWriting(path, options), { path, isReadOnly: false, options });
  } catch (error) {
    if (options.readOnly !== undefined || !isCode(error, "read_only") || !isFile(path)) throw error;
    // SQLite falls back to reading after any failure to open for writing; only a file that cannot be written is meant here.
    if (isWritableFile(path)) throw cannotWrite(path, error);
    return openReadOnly(path, options);
  }
}

/**
 * Takes an exclusive lock that the operating system releases when this process dies, whatever kills it; `null` when it is held.
 * The file stays empty and must never be opened by other means: closing any descriptor of it would drop the lock (decision 0006).
 */
export function acquireFileLock(path: string): FileLock | null {
  createPrivately(path);
  const key = guarded(path, () => realpathSync(path));
  if (heldLocks.has(key)) return null;
  const connection = lockFile(path);
  if (connection === null) return null;
  heldLocks.set(key, connection);
  return {
    release: () => {
      if (heldLocks.delete(key)) connection.close();
    },
  };
}

/**
 * Joins a lock that many may hold at once, but never beside an exclusive one; `null` when somebody holds it exclusively.
 * Dies with the process, as the exclusive lock does.
 */
export function acquireSharedLock(path: string): FileLock | null {
  createPrivately(path);
  const connection = guarded(path, () => connect(path, { timeoutMs: 0 }));
  try {
    connection.exec("BEGIN");
    connection.prepare("SELECT count(*) FROM sqlite_schema").get();
    sharedLocks.add(connection);
    return {
      release: () => {
        if (sharedLocks.delete(connection)) connection.close();
      },
    };
  } catch (error) {
    connection.close();
    const failure = failureOf(path, error);
    if (isCode(failure, "database_busy")) return null;
    throw failure;
  }
}

/** Runs SQLite's quick check on a thread of its own and tells what it found, nothing when the file is sound. */
export function checkInBackground(path: string, onDone: (findings: readonly string[]) => void): void {
  const worker = new Worker(checkScript, { eval: true, workerData: path, execArgv: [] });
  worker.once("message", onDone);
  worker.once("error", (error) => onDone([String(error)]));
  worker.unref();
}

/** As text, because a worker of its own file would have another address in the sources than in the package. */
const checkScript = `
const { workerData, parentPort } = require("node:worker_threads");
process.removeAllListeners("warning");
const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
const database = new DatabaseSync(workerData, { readOnly: true, timeout: 5000 });
const answers = database.prepare("PRAGMA quick_check(20)").all().map((row) => Object.values(row)[0]);
database.close();
parentPort.postMessage(answers.length === 1 && answers[0] === "ok" ? [] : answers);
`;

// Both keep the connections alive: a lock whose holder forgot the handle would otherwise end at the next garbage collection.
const heldLocks = new Map<string, DatabaseSync>();
const sharedLocks = new Set<DatabaseSync>();

function lockFile(path: string): DatabaseSync | null {
  let connection: DatabaseSync | undefined;
  try {
    connection = connect(path, { timeoutMs: 0 });
    connection.exec(journalInMemory);
    connection.exec(lockExclusively);
    return connection;
  } catch (error) {
    connection?.close();
    const failure = failureOf(path, error);
    if (isCode(failure, "database_busy")) return null;
    if (!isCode(failure, "database_corrupt")) throw failure;
    // Somebody wrote into the lock file. Emptying it in place keeps the inode, and with it the lock of whoever holds it.
    guarded(path, () => truncateSync(path, 0));
    return lockFile(path);
  }
}

function connectForWriting(path: string, options: OpenOptions): DatabaseSync {
  const isMemory = path === ":memory:";
  if (!isMemory) createPrivately(path);
  const timeoutMs = options.timeoutMs ?? 5_000;
  const connection = guarded(path, () => connect(path, { timeoutMs }));
  try {
    if (!isMemory && !guarded(path, () => isStranger(connection))) enterWalMode(connection, { path, timeoutMs });
    guarded(path, () => tune(connection, options.synchronous ?? "FULL"));
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** A store of a later version, or no store at all, will be refused: even its journal mode, two bytes of it, stays as it is. */
function isStranger(connection: DatabaseSync): boolean {
  const { owner, version, tables } = connection.prepare(readOwner).get() ?? {};
  return Number(version) > schemaVersion || (Number(tables) > 0 && Number(owner) !== applicationId);
}

function tune(connection: DatabaseSync, synchronous: string): void {
  connection.exec(`
    PRAGMA synchronous = ${synchronous};
    PRAGMA cache_size = -${sqliteLimits.cacheKib};
    PRAGMA wal_autocheckpoint = ${sqliteLimits.autoCheckpointPages};
    PRAGMA journal_size_limit = ${sqliteLimits.keptWalBytes};
    PRAGMA temp_store = MEMORY;
    PRAGMA mmap_size = 0;
    PRAGMA cell_size_check = ON;
  `);
}

/** The busy timeout does not cover the switch to WAL: two processes that create one file at once meet here, so it is retried. */
function enterWalMode(connection: DatabaseSync, at: { readonly path: string; readonly timeoutMs: number }): void {
  const giveUpAt = performance.now() + Math.max(at.timeoutMs, 1_000);
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    try {
      connection.exec(enterWal);
      return;
    } catch (error) {
      const failure = failureOf(at.path, error);
      if (!isCode(failure, "database_busy") || performance.now() > giveUpAt) throw failure;
      pause(waitMs * (0.5 + Math.random()));
    }
  }
}

function openReadOnly(path: string, options: OpenOptions): SqliteDatabase {
  const timeoutMs = options.timeoutMs ?? 5_000;
  let connection: DatabaseSync | undefined;
  try {
    connection = connect(path, { timeoutMs, readOnly: true });
    connection.prepare(readJournalMode).get();
    connection.prepare("SELECT count(*) FROM sqlite_schema").get();
    return wrap(connection, { path, isReadOnly: true, options });
  } catch (error) {
    connection?.close();
    const failure = failureOf(path, error);
    // A WAL database without its -shm cannot be read where none can be made, unless SQLite is told that nobody writes. With a
    // filled WAL that would silently hide the newest operations, so then the refusal stands.
    if (isCode(failure, "database_corrupt") || !isFile(path) || isFilled(`${path}-wal`)) throw failure;
    const frozen = new URL(`${pathToFileURL(path).href}?immutable=1`);
    return guarded(path, () =>
      wrap(connect(frozen, { timeoutMs, readOnly: true }), { path, isReadOnly: true, options }),
    );
  }
}

function connect(
  path: string | URL,
  options: { readonly timeoutMs: number; readonly readOnly?: boolean },
): DatabaseSync {
  return new sqlite.DatabaseSync(path, {
    timeout: options.timeoutMs,
    readOnly: options.readOnly ?? false,
    enableForeignKeyConstraints: false,
    allowExtension: false,
  });
}

type Opened = { readonly path: string; readonly isReadOnly: boolean; readonly options: OpenOptions };

function wrap(connection: DatabaseSync, at: Opened): SqliteDatabase {
  const { path, isReadOnly } = at;
  const reader = readerOf(connection, at);
  const statements = new Map<string, Statement>();
  const prepare = (sql: string): Statement => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const prepared = wrapStatement(
      at,
      guarded(path, () => connection.prepare(sql)),
    );
    const oldest = statements.size >= sqliteLimits.statements ? statements.keys().next().value : undefined;
    if (oldest !== undefined) statements.delete(oldest);
    statements.set(sql, prepared);
    return prepared;
  };
  return {
    path,
    isReadOnly,
    prepare,
    exec: (sql) => guarded(path, () => connection.exec(sql)),
    query: (query) => guarded(path, () => runGuarded(reader.guard(), query)),
    isInTransaction: () => connection.isOpen && connection.isTransaction,
    checkpoint: (mode = "passive") => {
      const answer = prepare(mode === "truncate" ? checkpointTruncate : checkpointPassive).get();
      return Math.max(0, Number(answer?.log ?? 0) - Number(answer?.checkpointed ?? 0));
    },
    close: () => {
      statements.clear();
      reader.close();
      if (connection.isOpen) guarded(path, () => connection.close());
    },
  };
}

/**
 * Where guarded queries run: on a connection of their own that cannot write, opened with the first of them. A database in memory has only
 * the one connection, and a file that is open for reading needs no other.
 */
function readerOf(connection: DatabaseSync, at: Opened) {
  let own: DatabaseSync | null = null;
  const isShared = at.isReadOnly || at.path === ":memory:";
  const open = (): DatabaseSync => {
    // A connection of its own would also be there for a database that is closed.
    if (isShared || !connection.isOpen) return connection;
    if (own !== null) return own;
    own = connect(at.path, { timeoutMs: at.options.timeoutMs ?? 5_000, readOnly: true });
    own.exec("PRAGMA temp_store = MEMORY");
    // No record is larger, and one call of zeroblob() would else take a gigabyte. Node before 24 cannot say so.
    const limits = own.limits as { length: number } | undefined;
    if (limits !== undefined) limits.length = sqliteLimits.queryValueBytes;
    return own;
  };
  return {
    guard: () => {
      const connection = open() as unknown as GuardedConnection;
      return {
        connection,
        openEmpty: () => new sqlite.DatabaseSync(":memory:") as unknown as GuardedConnection,
        hasAuthorizer: at.options.hasAuthorizer !== false && connection.setAuthorizer !== undefined,
      };
    },
    close: () => {
      if (own?.isOpen === true) own.close();
      own = null;
    },
  };
}

function wrapStatement({ path, options }: Opened, statement: StatementSync): Statement {
  const isRounding = options.largeIntegers === "rounded";
  const toRow = namedRows(statement);
  // Written out instead of `guarded`, because a closure per statement is felt in a batch of a thousand.
  return {
    run: (...parameters) => {
      try {
        return { changes: Number(statement.run(...parameters).changes) };
      } catch (error) {
        throw failureOf(path, error);
      }
    },
    get: (...parameters) => {
      try {
        return toRow(statement.get(...parameters));
      } catch (error) {
        if (!isRounding) throw failureOf(path, error);
        return toRow(readRounded(statement, { path, error }, () => statement.get(...parameters)));
      }
    },
    all: (...parameters) => {
      try {
        return statement.all(...parameters).map((row) => toRow(row) as Row);
      } catch (error) {
        if (!isRounding) throw failureOf(path, error);
        const rows = readRounded(statement, { path, error }, () => statement.all(...parameters));
        return (rows as readonly unknown[]).map((row) => toRow(row) as Row);
      }
    },
  };
}

type Failed = { readonly path: string; readonly error: unknown };

/** Rounded, it does not fit the seal or the hash of its row, by which the row is found and put right. */
function readRounded(statement: StatementSync, { path, error }: Failed, read: () => unknown): unknown {
  const isTooLarge = error instanceof Error && "code" in error && error.code === "ERR_OUT_OF_RANGE";
  // What writes must not run twice.
  if (!isTooLarge || !/^\s*(SELECT|WITH)\b/i.test(statement.sourceSQL)) throw failureOf(path, error);
  statement.setReadBigInts(true);
  try {
    return rounded(read());
  } catch (second) {
    throw failureOf(path, second);
  } finally {
    statement.setReadBigInts(false);
  }
}

const rounded = (cells: unknown): unknown =>
  Array.isArray(cells) ? cells.map(rounded) : typeof cells === "bigint" ? Number(cells) : cells;

/**
 * Rows of `node:sqlite` have no prototype, and copying such an object costs several times its reading. So values are asked for
 * and named here: the rows are ordinary objects of one shape, that compare and print like any other.
 */
function namedRows(statement: StatementSync): (row: unknown) => Row | undefined {
  statement.setReturnArrays(true);
  let names: readonly string[] = [];
  return (values) => {
    if (!Array.isArray(values)) return undefined;
    // SQLite prepares a statement anew when the schema has changed, and `*` may then stand for more.
    if (names.length !== values.length) names = statement.columns().map((column) => column.name);
    const row: Record<string, SqlValue> = {};
    for (let index = 0; index < names.length; index += 1) row[names[index] ?? ""] = values[index];
    return row;
  };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isWritableFile(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function cannotWrite(path: string, cause: unknown): HoldfastError {
  const message = `${path}: the file could not be opened for writing, although it may be written`;
  return new HoldfastError("io_failed", message, "try again; check the disk when it stays so", { cause });
}

function isFilled(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

/** Makes the file readable by its owner alone before SQLite makes it; -wal and -shm inherit its mode. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return;
    throw failureOf(path, error);
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Node 22 warns that its SQLite is experimental each time it is loaded; that one warning is kept from people, no other. */
function loadSqlite(): typeof import("node:sqlite") {
  const emitWarning = process.emitWarning;
  const silenced = (...parameters: readonly unknown[]): void => {
    const [warning, kind] = parameters;
    const isOurs = kind === "ExperimentalWarning" && String(warning).includes("SQLite");
    if (!isOurs) Reflect.apply(emitWarning, process, parameters);
  };
  process.emitWarning = silenced as typeof process.emitWarning;
  try {
    return process.getBuiltinModule("node:sqlite");
  } finally {
    process.emitWarning = emitWarning;
  }
}

// Loaded last because functions above are hoisted and this is not.
const sqlite = loadSqlite();
