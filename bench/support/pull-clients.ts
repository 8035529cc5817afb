// Owns the clients of bar P9, each as a process of its own, so that its peak memory is its own: the limit, ours, RxDB and PouchDB.
// Leaves the servers to pull-source.ts and test/support/servers.ts, and comparing to p9-pull.ts.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { collection, keyOf, rowOf, space } from "./pull-rows.ts";
import { openPouch, openRxdbNotes, ordered } from "./replicas.ts";

export type PullClient = "limit" | "holdfast" | "rxdb" | "pouchdb";

/** What a client is told. Its directory is new. */
export type PullTask = {
  readonly client: PullClient;
  readonly url: string;
  readonly token: string;
  readonly directory: string;
  readonly rows: number;
};

export type Pulled = { readonly ms: number; readonly peakBytes: number };

type Ready = {
  /** Resolves when everything is there, durably where the client can do that. */
  readonly pull: () => Promise<void>;
  readonly get: (key: string) => unknown;
};

const clients: { readonly [C in PullClient]: (task: PullTask) => Promise<Ready> } = {
  limit: openLimit,
  holdfast: openHoldfast,
  rxdb: openRxdb,
  pouchdb: openPouchdb,
};

const task = JSON.parse(process.argv[2] ?? "{}") as PullTask;
const { pull, get } = await clients[task.client](task);
const startedAt = performance.now();
await pull();
const pulled: Pulled = { ms: performance.now() - startedAt, peakBytes: process.resourceUsage().maxRSS * 1024 };
await check();
process.stdout.write(`${JSON.stringify(pulled)}\n`, () => process.exit(0));

/** A client that has not got everything, or something else, has no time to show. */
async function check(): Promise<void> {
  for (const n of [1, task.rows >> 1, task.rows]) {
    const found = JSON.stringify(await get(keyOf(n)));
    if (found !== JSON.stringify(rowOf(n))) throw new Error(`${task.client} has ${found} as ${keyOf(n)}`);
  }
}

/** As little as can be done: each line is parsed, its value goes into a table, and one commit makes all of it durable. */
async function openLimit({ url, directory, rows }: PullTask): Promise<Ready> {
  const connection = new DatabaseSync(join(directory, "limit.db"));
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE note (key TEXT PRIMARY KEY, version INTEGER NOT NULL, value TEXT NOT NULL)`);
  const insert = connection.prepare("INSERT INTO note (key, version, value) VALUES (?, ?, ?)");
  const select = connection.prepare("SELECT value FROM note WHERE key = ?");
  const pull = async (): Promise<void> => {
    const response = await fetch(`${url}/rows`);
    connection.exec("BEGIN IMMEDIATE");
    const decoder = new TextDecoder();
    let rest = "";
    let count = 0;
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const { key, version, value } = JSON.parse(line);
        insert.run(key, version, JSON.stringify(value));
        count += 1;
      }
    }
    connection.exec("COMMIT");
    if (count !== rows) throw new Error(`${count} of ${rows} rows came`);
  };
  return { pull, get: (key) => JSON.parse(String(select.get(key)?.value)) };
}

/** The engine as a program opens it: pages with their cursor in one durable commit, met by the check for conflicts, with their history. */
async function openHoldfast({ url, token, directory, rows }: PullTask): Promise<Ready> {
  const { openEngine } = await import("../../src/node/engine.ts");
  const collections = [{ name: collection }];
  const engine = await openEngine({ directory, collections, sync: { url, space, token }, log: () => {} });
  const isWhole = (): boolean => {
    const [at] = engine.handle("collections.list", {}).collections;
    return at?.state === "idle" && at.records === rows;
  };
  const pull = (): Promise<void> =>
    new Promise((resolve) => {
      engine.subscribe((event) => {
        if (event.kind === "collection" && isWhole()) resolve();
      });
      engine.start();
    });
  return { pull, get: (key) => engine.handle("records.get", { collection, key }).record?.value };
}

async function openRxdb({ url, rows }: PullTask): Promise<Ready> {
  const { notes, replicateRxCollection } = await openRxdbNotes();
  const handler = async (checkpoint: { readonly version: number } | undefined, limit: number): Promise<unknown> =>
    (await fetch(`${url}/page?after=${checkpoint?.version ?? 0}&limit=${limit}`)).json();
  const pull = async (): Promise<void> => {
    const replication = replicateRxCollection({
      collection: notes,
      replicationIdentifier: "bench",
      live: false,
      pull: { handler, batchSize: 2_000 },
    });
    await replication.awaitInitialReplication();
    const count = await notes.count().exec();
    if (count !== rows) throw new Error(`${count} of ${rows} rows came`);
  };
  const get = async (found: string): Promise<unknown> => {
    const { key, version, ...value } = (await notes.findOne(found).exec()).toJSON();
    return ordered(value);
  };
  return { pull, get };
}

async function openPouchdb({ url, directory, rows }: PullTask): Promise<Ready> {
  const { PouchDB, local, remote } = await openPouch(directory, `${url}/db`);
  const pull = async (): Promise<void> => {
    const report = await PouchDB.replicate(remote, local, { batch_size: 2_000, batches_limit: 2 });
    if (report.docs_written !== rows) throw new Error(`${report.docs_written} of ${rows} rows came`);
  };
  const get = async (key: string): Promise<unknown> => {
    const { _id, _rev, ...value } = await local.get(key);
    return ordered(value);
  };
  return { pull, get };
}
