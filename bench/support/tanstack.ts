// Owns TanStack's offline transactions in the same run, as their users have them but durable: over a SQLite table with synchronous=FULL
// behind their own storage interface. Leaves installing them to install.ts and what is compared to the bars.
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { newDirectory, note } from "./stores.ts";

export const tanstackName = "TanStack offline at FULL";

/** What its function to send is given. */
export type Sending = {
  readonly transaction: { readonly mutations: readonly { readonly modified: object }[] };
  readonly idempotencyKey: string;
};

export type Tanstack = {
  readonly name: string;
  /** Queues one note as a transaction; resolves when it is durable. */
  readonly add: () => Promise<void>;
  /** Queues one transaction of several notes, which is sent and settled as one. */
  readonly addTogether: (count: number) => Promise<void>;
  /** Is online for so many transactions: they are sent one after the other; resolves when the last is durably removed. */
  readonly take: (count: number) => Promise<void>;
  readonly close: () => void;
};

export type TanstackOptions = {
  readonly send?: (sending: Sending) => Promise<unknown>;
  /** Sends from the start, without waiting for `take`. */
  readonly isOnline?: boolean;
  readonly synchronous?: "FULL" | "OFF";
};

const load = (file: string) =>
  import(pathToFileURL(join(import.meta.dirname, "..", "node_modules", "@tanstack", file)).href);

/** The modules themselves; loading them beforehand keeps them out of what is timed. */
export const loadTanstack = async () => ({
  ...(await load("db/dist/esm/index.js")),
  ...(await load("offline-transactions/dist/esm/index.js")),
});

export async function openTanstack(directory: string, options: TanstackOptions = {}): Promise<Tanstack> {
  const { offline, collection, connection, heard, line } = await open(directory, options);
  const addTogether = (count: number): Promise<void> => {
    const transaction = offline.createOfflineTransaction({ mutationFnName: "send", autoCommit: false });
    const stored = new Promise<void>((resolve) => heard.stored.set(`tx:${transaction.id}`, resolve));
    transaction.mutate(() => {
      for (let index = 0; index < count; index += 1) collection.insert({ id: randomUUID(), ...note });
    });
    // The commit resolves when it has been sent; durable is when the storage has it.
    transaction.commit().catch(() => {});
    return stored;
  };
  return {
    name: tanstackName,
    add: () => addTogether(1),
    addTogether,
    take: async (count) => {
      let left = count;
      const removed = new Promise<void>((resolve) => {
        heard.removed = () => {
          left -= 1;
          if (left === 0) resolve();
        };
      });
      line.open(count);
      await removed;
      // Its loop notices that it is offline again; one that is started before that is not heard.
      await new Promise((resolve) => setImmediate(resolve));
    },
    close: () => {
      offline.dispose();
      connection.close();
    },
  };
}

/** An outbox with nothing in it, again before each turn: its enqueue slows down with depth. */
export function newOutbox(directory: string) {
  let current: Tanstack | null = null;
  const opened = (): Tanstack => {
    if (current === null) throw new TypeError("the outbox is opened by renew");
    return current;
  };
  return {
    renew: async () => {
      current?.close();
      current = await openTanstack(newDirectory(directory, "outbox"));
    },
    add: () => opened().add(),
    addTogether: (count: number) => opened().addTogether(count),
    close: () => current?.close(),
  };
}

type Heard = { readonly stored: Map<string, () => void>; removed: () => void };

async function open(
  directory: string,
  { send = async () => {}, isOnline = false, synchronous = "FULL" }: TanstackOptions,
) {
  const { createCollection, startOfflineExecutor } = await loadTanstack();
  const connection = new DatabaseSync(join(directory, "tanstack.db"));
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous};
    CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`);
  const collection = createCollection({
    id: "notes",
    getKey: (item: { readonly id: string }) => item.id,
    sync: { sync: ({ markReady }: { readonly markReady: () => void }) => markReady() },
  });
  const heard: Heard = { stored: new Map(), removed: () => {} };
  const storage = sqliteStorage(connection, heard);
  const line = newLine(isOnline ? Number.POSITIVE_INFINITY : 0);
  const offline = startOfflineExecutor({
    collections: { notes: collection },
    mutationFns: {
      send: (sending: Sending) => {
        line.use();
        return send(sending);
      },
    },
    storage,
    onlineDetector: line.detector,
    leaderElection: alwaysLeader,
  });
  await offline.waitForInit();
  return { offline, collection, connection, storage, heard, line };
}

/** A network that is there for so many transactions and then away again. */
function newLine(first: number) {
  const listeners = new Set<() => void>();
  let left = first;
  return {
    open: (count: number): void => {
      left = count;
      for (const listener of listeners) listener();
    },
    use: (): void => {
      left -= 1;
    },
    detector: {
      subscribe: (listener: () => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      notifyOnline() {},
      isOnline: () => left > 0,
      dispose() {},
    },
  };
}

function sqliteStorage(connection: DatabaseSync, heard: Heard) {
  const get = connection.prepare("SELECT value FROM item WHERE key = ?");
  const set = connection.prepare("INSERT OR REPLACE INTO item (key, value) VALUES (?, ?)");
  const remove = connection.prepare("DELETE FROM item WHERE key = ?");
  const keys = connection.prepare("SELECT key FROM item ORDER BY key");
  return {
    get: async (key: string) => (get.get(key)?.value as string | undefined) ?? null,
    set: async (key: string, value: string) => {
      set.run(key, value);
      heard.stored.get(key)?.();
      heard.stored.delete(key);
    },
    delete: async (key: string) => {
      remove.run(key);
      heard.removed();
    },
    keys: async () => keys.all().map((row) => row.key as string),
    clear: async () => connection.exec("DELETE FROM item"),
  };
}

const alwaysLeader = {
  requestLeadership: async () => true,
  releaseLeadership() {},
  isLeader: () => true,
  onLeadershipChange: () => () => {},
};

/** The directory of an outbox of that depth under `root`, built when it is not there yet. */
export async function tanstackOf(root: string, count: number): Promise<string> {
  const directory = join(root, `tanstack-${count}`);
  if (existsSync(directory)) return directory;
  const unfinished = `${directory}.unfinished`;
  mkdirSync(unfinished, { recursive: true });
  // Queuing one by one slows down with the depth, so one is queued and its copies are written by the outbox's own hand.
  const first = await openTanstack(unfinished, { synchronous: "OFF" });
  await first.add();
  first.close();
  const { OutboxManager } = await loadTanstack();
  const { offline, collection, connection, storage } = await open(unfinished, { synchronous: "OFF" });
  const outbox = new OutboxManager(storage, { notes: collection });
  const [made] = await offline.peekOutbox();
  const [mutation] = made.mutations;
  for (let index = 1; index < count; index += 1) {
    const key = randomUUID();
    const globalKey = `KEY::notes/${key}`;
    const value = { ...mutation.modified, id: key };
    await outbox.add({
      ...made,
      ...{ id: randomUUID(), idempotencyKey: randomUUID(), keys: [globalKey] },
      createdAt: new Date(made.createdAt.getTime() + index),
      mutations: [{ ...mutation, globalKey, key, modified: value, changes: value }],
    });
  }
  offline.dispose();
  connection.close();
  renameSync(unfinished, directory);
  return directory;
}

/** As deep as its outbox is measured: what an enqueue, a start and each settlement cost it grows with the depth. */
export const deepOutbox = 3_000;
