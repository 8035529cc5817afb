// Owns the clients that push beside bar P9, each as a process of its own with its records written beforehand: plain fetch, ours, RxDB and
// PouchDB. Leaves the servers to push-target.ts and test/support/servers.ts, and comparing to p9-push.ts.
import { keyOf, rowOf } from "./pull-rows.ts";
import { drain, sendPlainly } from "./pushing.ts";
import { openPouch, openRxdbNotes } from "./replicas.ts";

export type PushClient = "plain" | "holdfast" | "rxdb" | "pouchdb";

/** What a client is told. Its directory is new, and so is its space at the server. */
export type PushTask = {
  readonly client: PushClient;
  readonly url: string;
  readonly token: string;
  readonly space: string;
  readonly directory: string;
  readonly rows: number;
};

export type Pushed = { readonly ms: number };

/** What the engine puts into one request, and the plain client with it. */
const batch = 200;
const inFlight = 4;
/** What suits RxDB and PouchDB better than their hundred. */
const peerBatch = 2000;

/** Writes the records and returns what pushes them: it resolves when the last is acknowledged, durably where the client can do that. */
type Prepare = (task: PushTask) => Promise<() => Promise<void>>;

const clients: { readonly [C in PushClient]: Prepare } = {
  plain: preparePlain,
  holdfast: prepareHoldfast,
  rxdb: prepareRxdb,
  pouchdb: preparePouchdb,
};

const task = JSON.parse(process.argv[2] ?? "{}") as PushTask;
const push = await clients[task.client](task);
const startedAt = performance.now();
await push();
const pushed: Pushed = { ms: performance.now() - startedAt };
process.stdout.write(`${JSON.stringify(pushed)}\n`, () => process.exit(0));

function numbersTo(rows: number): readonly number[] {
  return Array.from({ length: rows }, (_, index) => index + 1);
}

async function post(url: string, body: unknown): Promise<unknown> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  return response.json();
}

/** As little as can be done: the records are in memory, and nothing is kept of having sent them. */
async function preparePlain({ url, space, rows }: PushTask): Promise<() => Promise<void>> {
  const documents = numbersTo(rows).map((n) => ({ key: keyOf(n), ...rowOf(n) }));
  let next = 0;
  const send = (): Promise<unknown> => {
    const from = next;
    next += batch;
    return post(`${url}/${space}/rows`, documents.slice(from, next));
  };
  return () => sendPlainly(rows / batch, inFlight, send);
}

/** Each record is a write of its own, an operation in the queue; it has landed when its acknowledgement is committed. */
async function prepareHoldfast({ url, token, space, directory, rows }: PushTask): Promise<() => Promise<void>> {
  const { openEngine } = await import("../../src/node/engine.ts");
  const collections = [{ name: "notes" }];
  const engine = await openEngine({ directory, collections, sync: { url, space, token }, log: () => {} });
  for (let from = 0; from < rows; from += 500)
    await Promise.all(
      numbersTo(rows)
        .slice(from, from + 500)
        .map((n) =>
          engine.submit("records.write", { kind: "put", collection: "notes", key: keyOf(n), value: rowOf(n) as never }),
        ),
    );
  const { unsent } = engine.handle("queue.status", {});
  if (unsent !== rows) throw new Error(`${unsent} of ${rows} records wait to be pushed`);
  return () => drain(engine);
}

async function prepareRxdb({ url, space, rows }: PushTask): Promise<() => Promise<void>> {
  const { notes, replicateRxCollection } = await openRxdbNotes();
  await notes.bulkInsert(numbersTo(rows).map((n) => ({ key: keyOf(n), version: 0, ...rowOf(n) })));
  return async () => {
    const replication = replicateRxCollection({
      collection: notes,
      replicationIdentifier: "bench",
      live: false,
      push: { handler: (pushed: unknown) => post(`${url}/${space}/push`, pushed), batchSize: peerBatch },
    });
    await replication.awaitInitialReplication();
  };
}

async function preparePouchdb({ url, space, directory, rows }: PushTask): Promise<() => Promise<void>> {
  const { PouchDB, local, remote } = await openPouch(directory, `${url}/${space}`);
  await local.bulkDocs(numbersTo(rows).map((n) => ({ _id: keyOf(n), ...rowOf(n) })));
  return async () => {
    const report = await PouchDB.replicate(local, remote, { batch_size: peerBatch, batches_limit: 2 });
    if (report.docs_written !== rows) throw new Error(`${report.docs_written} of ${rows} records were pushed`);
  };
}
