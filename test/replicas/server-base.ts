// Owns what the server of a simulated run stores in, as its processes and the judge see it, and the one on SQLite.
// The one on PostgreSQL is test/postgres/replicas-base.ts; which processes there are and what happens to them is server-host.ts.
import type { Database, SqlValue } from "../../src/database.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { openEmbeddedStore } from "../../src/server/embedded.ts";
import { mintHistories } from "../../src/server/spaces.ts";
import type { ServerRow, ServerStore } from "../../src/server/store.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";

export type All = (sql: string, ...parameters: readonly (string | number)[]) => Promise<readonly ServerRow[]>;

export type BaseParts = { readonly scheduler: Scheduler; readonly machine: VirtualMachine };

/** One database of a server, for one run. */
export type ServerBase = {
  /** Waits until nothing moves any more at this instant of virtual time; absent where promises are all there is to wait for. */
  readonly turn?: () => Promise<void>;
  /** The store as one process sees it: it dies with the process, and tells nobody of a commit before `onCommit` has looked at it. */
  readonly open: (
    process: VirtualProcess,
    parts: BaseParts & { readonly onCommit: () => Promise<void> },
  ) => Promise<ServerStore>;
  /** What a process that died leaves open in the database goes, as it goes with a real one. */
  readonly abandon: (process: VirtualProcess) => void;
  /** Reads all of one moment, as nobody in the run can. */
  readonly look: <T>(work: (all: All) => Promise<T>) => Promise<T>;
  /** The receipts that there are; those that a look finds new are in the order in which they were committed, where the database tells it. */
  readonly receipts: (all: All) => Promise<readonly ServerRow[]>;
  readonly change: (sql: string) => Promise<void>;
  /** Keeps a copy of everything; `restore` goes back to it, with new histories or, without ids for them, under the same. Only while no process runs. */
  readonly copy: () => Promise<void>;
  readonly hasCopy: () => boolean;
  readonly restore: (newId: (() => string) | null) => Promise<void>;
  readonly close: () => Promise<void>;
};

/** A row that is forgotten leaves its number to the next one when it was the last: numbers tell an order, and not what is new. */
const receiptsByRow = "SELECT id, answer FROM hf_receipt ORDER BY rowid";

export function openEmbeddedBase(): ServerBase {
  const database = openDatabase(":memory:", { synchronous: "OFF" });
  const turns = makeTurns();
  let kept: Copy | null = null;
  const all: All = async (sql, ...parameters) => database.prepare(sql).all(...parameters) as readonly ServerRow[];
  return {
    open: async (process, { machine }) => inTurn(openEmbeddedStore(mortalDatabase(database, machine, process)), turns),
    // Its transaction went when it died: mortal-database.ts.
    abandon: () => {},
    look: (work) => work(all),
    receipts: (read) => read(receiptsByRow),
    change: async (sql) => database.exec(sql),
    copy: async () => {
      kept = copyOf(database);
    },
    hasCopy: () => kept !== null,
    restore: async (newId) => {
      putBack(database, kept ?? []);
      if (newId !== null) await openEmbeddedStore(database).write((tx) => mintHistories(tx, newId));
    },
    close: async () => database.close(),
  };
}

// ---- several processes on one database ----------------------------------------------------------------------------

type Turns = { tail: Promise<unknown> };
const makeTurns = (): Turns => ({ tail: Promise.resolve() });

/** Two processes on one database wait for each other's transactions; within a process the store sees to that itself. */
function inTurn(store: ServerStore, turns: Turns): ServerStore {
  const wait = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = turns.tail.then(work);
    turns.tail = mine.catch(() => {});
    return mine;
  };
  return {
    ...store,
    write: (work, options) => wait(() => store.write(work, options)),
    read: (work) => wait(() => store.read(work)),
    migrate: (migrations) => wait(() => store.migrate(migrations)),
  };
}

// ---- copies ---------------------------------------------------------------------------------------------------------

type Copy = readonly { readonly table: string; readonly rows: readonly Record<string, unknown>[] }[];

const tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'hf_%' AND name <> 'hf_migration'";

const copyOf = (database: Database): Copy =>
  database
    .prepare(tables)
    .all()
    .map(({ name }) => ({ table: String(name), rows: database.prepare(`SELECT * FROM ${String(name)}`).all() }));

function putBack(database: Database, copy: Copy): void {
  database.exec("BEGIN IMMEDIATE");
  for (const { table, rows } of copy) {
    database.exec(`DELETE FROM ${table}`);
    for (const row of rows) {
      const marks = Object.keys(row).map(() => "?");
      const insert = `INSERT INTO ${table} (${Object.keys(row).join(", ")}) VALUES (${marks.join(", ")})`;
      database.prepare(insert).run(...(Object.values(row) as SqlValue[]));
    }
  }
  database.exec("COMMIT");
}
