// Owns the peers in the same run, as their users have them but durable: plainjob raised to synchronous=FULL, and TanStack's
// offline transactions over a SQLite table with synchronous=FULL. Leaves installing them to install.ts.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { note } from "./stores.ts";

const modules = join(import.meta.dirname, "..", "node_modules");
const load = (file: string) => import(pathToFileURL(join(modules, file)).href);

export type Peer = {
  readonly name: string;
  /** Queues one note; resolves when it is durable. */
  readonly add: () => unknown;
  readonly addMany: ((count: number) => unknown) | null;
  readonly close: () => void;
};

const quiet = { error() {}, warn() {}, info() {}, debug() {} };

/** plainjob over the driver that we use as well, so that the queues are compared and not the drivers. */
export async function openPlainjob(directory: string): Promise<Peer> {
  const { defineQueue } = await load("plainjob/dist/plainjob.js");
  const connection = new DatabaseSync(join(directory, "plainjob.db"));
  const prepared = (sql: string) => {
    const statement = connection.prepare(sql);
    statement.setAllowBareNamedParameters(true);
    return statement;
  };
  const queue = defineQueue({
    connection: {
      driver: "better-sqlite3",
      filename: join(directory, "plainjob.db"),
      pragma: (text: string) => connection.exec(`PRAGMA ${text}`),
      exec: (sql: string) => connection.exec(sql),
      prepare: prepared,
      transaction:
        <A extends readonly unknown[], R>(work: (...input: A) => R) =>
        (...input: A): R => {
          connection.exec("BEGIN");
          const output = work(...input);
          connection.exec("COMMIT");
          return output;
        },
      close: () => connection.close(),
    },
    logger: quiet,
  });
  // It sets NORMAL by itself, which loses acknowledged jobs in a power cut.
  connection.exec("PRAGMA synchronous = FULL");
  return {
    name: "plainjob at FULL",
    add: () => queue.add("note", note),
    addMany: (count) =>
      queue.addMany(
        "note",
        Array.from({ length: count }, () => note),
      ),
    close: () => queue.close(),
  };
}

/** TanStack's outbox with its own storage interface over one SQLite table. */
export async function openTanstack(directory: string): Promise<Peer> {
  const { createCollection } = await load("@tanstack/db/dist/esm/index.js");
  const { startOfflineExecutor } = await load("@tanstack/offline-transactions/dist/esm/index.js");
  const connection = new DatabaseSync(join(directory, "tanstack.db"));
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE item (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`);
  const collection = createCollection({
    id: "notes",
    getKey: (item: { readonly id: string }) => item.id,
    sync: { sync: ({ markReady }: { readonly markReady: () => void }) => markReady() },
  });
  const offline = startOfflineExecutor({
    collections: { notes: collection },
    mutationFns: { send: () => new Promise(() => {}) },
    storage: sqliteStorage(connection),
    onlineDetector: alwaysOffline,
    leaderElection: alwaysLeader,
  });
  await offline.waitForInit();
  let count = 0;
  const add = async (): Promise<void> => {
    const before = count;
    const stored = new Promise<void>((resolve) => {
      stores.set(connection, resolve);
    });
    const transaction = offline.createOfflineTransaction({ mutationFnName: "send", autoCommit: false });
    transaction.mutate(() => collection.insert({ id: `note-${before}`, ...note }));
    count += 1;
    // The commit resolves when it has been sent; durable is when the storage has it.
    transaction.commit().catch(() => {});
    await stored;
  };
  const close = (): void => {
    offline.dispose();
    connection.close();
  };
  return { name: "TanStack offline at FULL", add, addMany: null, close };
}

const stores = new WeakMap<DatabaseSync, () => void>();

function sqliteStorage(connection: DatabaseSync) {
  const get = connection.prepare("SELECT value FROM item WHERE key = ?");
  const set = connection.prepare("INSERT OR REPLACE INTO item (key, value) VALUES (?, ?)");
  const remove = connection.prepare("DELETE FROM item WHERE key = ?");
  const keys = connection.prepare("SELECT key FROM item ORDER BY key");
  return {
    get: async (key: string) => (get.get(key)?.value as string | undefined) ?? null,
    set: async (key: string, value: string) => {
      set.run(key, value);
      stores.get(connection)?.();
    },
    delete: async (key: string) => void remove.run(key),
    keys: async () => keys.all().map((row) => row.key as string),
    clear: async () => connection.exec("DELETE FROM item"),
  };
}

const alwaysOffline = { subscribe: () => () => {}, notifyOnline() {}, isOnline: () => false, dispose() {} };

const alwaysLeader = {
  requestLeadership: async () => true,
  releaseLeadership() {},
  isLeader: () => true,
  onLeadershipChange: () => () => {},
};
