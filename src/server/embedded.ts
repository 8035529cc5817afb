/**
 * Owns the server's store on one SQLite database: one writer at a time, several writes in one commit, reads between them.
 * The connection and its durability belong to whoever opened it (`node/sqlite.ts`); what the statements mean is in the files of the tables.
 */
import type { Database } from "../database.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { checkParameter } from "./parameter.ts";
import type { Dialect, ServerRow, ServerStore, SqlParameter, Tx } from "./store.ts";

const begin = "BEGIN IMMEDIATE";
const beginRead = "BEGIN";
const refuseWrites = "PRAGMA query_only = 1";
const allowWrites = "PRAGMA query_only = 0";
const commit = "COMMIT";
const rollback = "ROLLBACK";
const backupInto = "VACUUM INTO ?";
const readOwner = `SELECT application_id AS owner, (SELECT count(*) FROM sqlite_schema WHERE type = 'table') AS tables
  FROM pragma_application_id`;
const readVersion = "SELECT number FROM hf_migration ORDER BY number DESC LIMIT 1";
const hasMigrations = "SELECT count(*) AS n FROM sqlite_schema WHERE name = 'hf_migration'";
const createMigrations = "CREATE TABLE hf_migration (number bigint NOT NULL PRIMARY KEY)";
const addMigration = "INSERT INTO hf_migration (number) VALUES (?)";

/** "HFSV": tells a server's database from a client's store and from anybody else's file. */
const serverApplicationId = 0x48465356;

/** Writes that share one commit at most; a commit that grew without end would answer nobody. */
const groupLimit = 64;

const dialect: Dialect = { name: "sqlite", forUpdate: "", bigint: "bigint", text: "text" };

export type EmbeddedOptions = {
  /**
   * Runs work after what has arrived already was read; writes that arrive together then share a commit. Default: at once.
   * In Node: `setImmediate`.
   */
  readonly defer?: (work: () => void) => void;
};

type Job = {
  readonly isWrite: boolean;
  readonly run: (tx: Tx) => Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * Opens the store on a connection that nothing else uses.
 * @example
 * const store = openEmbeddedStore(openDatabase("server.db"), { defer: setImmediate });
 */
export function openEmbeddedStore(database: Database, options: EmbeddedOptions = {}): ServerStore {
  checkOwner(database);
  const queue: Job[] = [];
  const listeners = new Set<(space: string, head: number) => void>();
  const defer = options.defer ?? ((work: () => void) => void queueMicrotask(work));
  let running: Promise<void> | null = null;
  let isClosed = false;
  const drain = async (): Promise<void> => {
    await new Promise<void>((resolve) => defer(resolve));
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      if (job.isWrite) await runGroup(database, [job, ...takeWrites(queue)]);
      else await runRead(database, job);
    }
    running = null;
    if (queue.length > 0) running = drain();
  };
  const enqueue = <T>(isWrite: boolean, work: (tx: Tx) => Promise<T>): Promise<T> => {
    if (isClosed) return Promise.reject(closed());
    return new Promise<T>((resolve, reject) => {
      queue.push({ isWrite, run: work, resolve: resolve as (value: unknown) => void, reject });
      running ??= drain();
    });
  };
  return {
    dialect,
    write: (work) => enqueue(true, work),
    read: (work) => enqueue(false, work),
    migrate: (migrations) => enqueue(true, () => migrate(database, migrations)),
    poke: async (space, head) => {
      for (const listener of [...listeners]) listener(space, head);
    },
    onPoke: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    backup: (to) => alone(to),
    close: async () => {
      isClosed = true;
      while (running !== null) await running;
      database.close();
    },
  };

  /** A copy cannot be made inside a transaction, so it waits for its turn as a job that opens none. */
  async function alone(to: string): Promise<void> {
    if (isClosed) throw closed();
    while (running !== null) await running;
    database.prepare(backupInto).run(to);
  }
}

function takeWrites(queue: Job[]): readonly Job[] {
  const count = queue.findIndex((job) => !job.isWrite);
  return queue.splice(0, Math.min(count === -1 ? queue.length : count, groupLimit - 1));
}

/** All writes that wait share one commit, and each can fail alone. Nobody is answered before the commit is durable. */
async function runGroup(database: Database, jobs: readonly Job[]): Promise<void> {
  const settled: (() => void)[] = [];
  try {
    database.prepare(begin).run();
    for (const job of jobs) {
      const { resolve, reject } = job;
      const open = openTx(database);
      try {
        const value = await open.tx.savepoint(() => job.run(open.tx));
        settled.push(() => resolve(value));
      } catch (error) {
        if (isFatal(error)) throw error;
        settled.push(() => reject(error));
      } finally {
        open.end();
      }
    }
    database.prepare(commit).run();
  } catch (error) {
    abandon(database);
    for (const job of jobs) job.reject(error);
    return;
  }
  for (const settle of settled) settle();
}

/** What breaks the connection or the disk breaks the whole group: nothing of it may be told as done. */
function isFatal(error: unknown): boolean {
  return (["disk_full", "io_failed", "database_corrupt", "read_only"] as const).some((code) => isCode(error, code));
}

async function runRead(database: Database, job: Job): Promise<void> {
  const open = openTx(database);
  try {
    database.prepare(refuseWrites).run();
    database.prepare(beginRead).run();
    const value = await job.run(open.tx);
    database.prepare(commit).run();
    job.resolve(value);
  } catch (error) {
    abandon(database);
    job.reject(error);
  } finally {
    open.end();
    database.prepare(allowWrites).run();
  }
}

async function within<T>(database: Database, work: () => Promise<T>): Promise<T> {
  database.prepare("SAVEPOINT part").run();
  try {
    const value = await work();
    database.prepare("RELEASE part").run();
    return value;
  } catch (error) {
    // The connection may have rolled back everything by itself (a full disk does that); then there is no savepoint to undo.
    if (!isFatal(error)) {
      database.prepare("ROLLBACK TO part").run();
      database.prepare("RELEASE part").run();
    }
    throw error;
  }
}

type OpenTx = { readonly tx: Tx; readonly end: () => void };

/** SQLite goes on after a statement that failed, PostgreSQL does not: here, too, only a savepoint gets over it. */
function openTx(database: Database): OpenTx {
  let failure: unknown;
  let hasEnded = false;
  const attempt = <T>(parameters: readonly SqlParameter[], task: () => T): T => {
    if (hasEnded) throw new TypeError("this transaction has ended: await every statement inside of its work");
    if (failure !== undefined) throw failure;
    try {
      parameters.forEach(checkParameter);
      return task();
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const tx: Tx = {
    all: async (sql, ...parameters) =>
      attempt(parameters, () => database.prepare(sql).all(...parameters) as readonly ServerRow[]),
    run: async (sql, ...parameters) => attempt(parameters, () => database.prepare(sql).run(...parameters)),
    savepoint: (work) => {
      const before = failure;
      return within(database, async () => {
        const value = await work();
        if (failure !== before) throw failure;
        return value;
      }).finally(() => {
        if (!isFatal(failure)) failure = before;
      });
    },
  };
  return {
    tx,
    end: () => {
      hasEnded = true;
    },
  };
}

function abandon(database: Database): void {
  try {
    database.prepare(rollback).run();
  } catch {
    // There was no transaction any more; the error that brought us here is the one to tell.
  }
}

function checkOwner(database: Database): void {
  const { owner, tables } = database.prepare(readOwner).get() ?? {};
  if (Number(tables) === 0 || Number(owner) === serverApplicationId) return;
  throw new HoldfastError(
    "database_corrupt",
    "this file is no database of a Holdfast server",
    "name a new file, or the one that the server made",
  );
}

async function migrate(database: Database, migrations: readonly string[]): Promise<void> {
  const isNew = Number(database.prepare(hasMigrations).get()?.n ?? 0) === 0;
  if (isNew) database.exec(createMigrations);
  const version = Number(database.prepare(readVersion).get()?.number ?? 0);
  if (version > migrations.length) {
    const message = `the database has version ${version}, and this server knows ${migrations.length}`;
    throw new HoldfastError("database_newer", message, "start the newer server, or restore a backup of the older one");
  }
  for (const [index, migration] of migrations.entries()) {
    if (index < version) continue;
    database.exec(migration);
    database.prepare(addMigration).run(index + 1);
  }
  if (isNew) database.exec(`PRAGMA application_id = ${serverApplicationId}`);
}

const closed = (): HoldfastError =>
  new HoldfastError("engine_closed", "the server's store is closed", "send the request again when the server is back");
