// Owns the plain server of bar P9, as a process of its own: the rows of one SQLite table as a stream of lines, as pages for RxDB, and as
// much of CouchDB's replication protocol as PouchDB asks for to pull. Leaves being pushed to to push-target.ts and our own server to
// test/support/servers.ts.
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { answerCouch, bodyOf, send, serve } from "./plain-server.ts";
import { keyOf, rowOf } from "./pull-rows.ts";

const [file = "", rows = "0"] = process.argv.slice(2);
const connection = new DatabaseSync(file);
connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
  CREATE TABLE row (version INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT NOT NULL)`);
fill(Number(rows));
const all = connection.prepare("SELECT key, version, value FROM row ORDER BY version");
const page = connection.prepare("SELECT key, version, value FROM row WHERE version > ? ORDER BY version LIMIT ?");
const byKey = connection.prepare("SELECT key, version, value FROM row WHERE key = ?");

type Stored = { readonly key: string; readonly version: number; readonly value: string };

/** Lines leave in pieces of this size: a write per line would measure the socket. */
const pieceBytes = 65_536;

serve(answer);

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://localhost");
  if (url.pathname === "/rows") return streamLines(response);
  if (url.pathname === "/page") return send(response, pageFor(url.searchParams));
  if (url.pathname === "/db/_changes") return send(response, changesFor(url.searchParams));
  if (url.pathname === "/db/_bulk_get") return send(response, documentsFor(await bodyOf(request)));
  await answerCouch(url.pathname, { request, response, head: Number(rows) });
}

function* pieces(): Generator<Buffer> {
  let piece = "";
  for (const row of all.iterate()) {
    const { key, version, value } = row as unknown as Stored;
    piece += `{"key":${JSON.stringify(key)},"version":${version},"value":${value}}\n`;
    if (piece.length < pieceBytes) continue;
    yield Buffer.from(piece);
    piece = "";
  }
  yield Buffer.from(piece);
}

async function streamLines(response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  await pipeline(Readable.from(pieces(), { highWaterMark: 4 }), response);
}

function pageFor(asked: URLSearchParams): unknown {
  const found = page.all(Number(asked.get("after")), Number(asked.get("limit"))) as unknown as readonly Stored[];
  const documents = found.map(({ key, version, value }) => ({ key, version, ...JSON.parse(value), _deleted: false }));
  return { documents, checkpoint: { version: found.at(-1)?.version ?? Number(asked.get("after")) } };
}

// ---- CouchDB ----------------------------------------------------------------------------------------------------

const revisionOf = (value: string): string => createHash("md5").update(value).digest("hex");

function changesFor(asked: URLSearchParams): unknown {
  const since = Number(asked.get("since") ?? 0);
  const found = page.all(since, Number(asked.get("limit") ?? 100)) as unknown as readonly Stored[];
  const results = found.map(({ key, version, value }) => ({
    seq: version,
    id: key,
    changes: [{ rev: `1-${revisionOf(value)}` }],
  }));
  const last = found.at(-1)?.version ?? since;
  return { results, last_seq: last, pending: Number(rows) - last };
}

function documentsFor(body: unknown): unknown {
  const { docs } = body as { readonly docs: readonly { readonly id: string }[] };
  const results = docs.map(({ id }) => {
    const { value } = byKey.get(id) as unknown as Stored;
    const hash = revisionOf(value);
    const _revisions = { start: 1, ids: [hash] };
    return { id, docs: [{ ok: { _id: id, _rev: `1-${hash}`, _revisions, ...JSON.parse(value) } }] };
  });
  return { results };
}

function fill(count: number): void {
  const insert = connection.prepare("INSERT INTO row (version, key, value) VALUES (?, ?, ?)");
  connection.exec("BEGIN");
  for (let n = 1; n <= count; n += 1) insert.run(n, keyOf(n), JSON.stringify(rowOf(n)));
  connection.exec("COMMIT");
}
