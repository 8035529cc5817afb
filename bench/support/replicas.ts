// Owns the clients that pull and push beside ours in bar P9: RxDB and PouchDB with nothing in them, as their documentation opens them.
// Leaves what they replicate to pull-clients.ts and push-clients.ts.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { rowOf } from "./pull-rows.ts";

const modules = join(import.meta.dirname, "..", "pull-peers", "node_modules");
const load = (file: string) => import(pathToFileURL(join(modules, file)).href);

/** The fields in the order in which they were sent, whatever the storage made of it. */
export function ordered(value: Readonly<Record<string, unknown>>): unknown {
  return Object.fromEntries(Object.keys(rowOf(1)).map((field) => [field, value[field]]));
}

/** RxDB's free storages for Node keep everything in memory (the one on SQLite takes 500 documents), so nothing here is durable. */
export async function openRxdbNotes() {
  const { createRxDatabase } = await load("rxdb/dist/esm/index.js");
  const { getRxStorageMemory } = await load("rxdb/dist/esm/plugins/storage-memory/index.js");
  const { replicateRxCollection } = await load("rxdb/dist/esm/plugins/replication/index.js");
  const database = await createRxDatabase({ name: "bench", storage: getRxStorageMemory(), multiInstance: false });
  const text = { type: "string" };
  const schema = {
    version: 0,
    primaryKey: "key",
    type: "object",
    properties: {
      key: { type: "string", maxLength: 100 },
      version: { type: "number" },
      ...{ title: text, body: text, status: text, rank: { type: "number" } },
    },
  };
  const { notes } = await database.addCollections({ notes: { schema } });
  return { notes, replicateRxCollection };
}

/** PouchDB over LevelDB, its own way to store in Node. LevelDB's writes are not synced. */
export async function openPouch(directory: string, url: string) {
  const { default: PouchDB } = await load("pouchdb-core/lib/index.es.js");
  for (const plugin of ["pouchdb-adapter-leveldb", "pouchdb-adapter-http", "pouchdb-replication"])
    PouchDB.plugin((await load(`${plugin}/lib/index.js`)).default);
  const local = new PouchDB(join(directory, "pouch"), { adapter: "leveldb" });
  const remote = new PouchDB(url, { adapter: "http", skip_setup: true });
  return { PouchDB, local, remote };
}
