// Owns the plain server that is pushed to beside bar P9, as a process of its own: a SQLite table with synchronous=FULL and a commit for each
// request, which takes rows as they are, pushes of RxDB, and as much of CouchDB's replication protocol as PouchDB asks for to push.
// Leaves being pulled from to pull-source.ts and our own server to test/support/servers.ts.
import type { IncomingMessage, ServerResponse } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { answerCouch, bodyOf, send, serve } from "./plain-server.ts";

const [file = ""] = process.argv.slice(2);
const connection = new DatabaseSync(file);
connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
  CREATE TABLE row (space TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID`);
const insert = connection.prepare("INSERT OR REPLACE INTO row (space, key, value) VALUES (?, ?, ?)");
const byKey = connection.prepare("SELECT value FROM row WHERE space = ? AND key = ?");
const count = connection.prepare("SELECT count(*) AS rows FROM row WHERE space = ?");

type Document = { readonly [field: string]: unknown };

serve(answer);

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  const [, space = "", verb = ""] = pathname.split("/");
  if (verb === "count") return send(response, count.get(space));
  if (verb === "rows") return send(response, store(space, await rowsIn(request)));
  if (verb === "push") return send(response, takePush(space, await bodyOf(request)));
  if (verb === "_revs_diff") return send(response, missingOf(space, await bodyOf(request)));
  if (verb === "_bulk_docs") return send(response, takeDocuments(space, await bodyOf(request)), 201);
  await answerCouch(pathname, { request, response, head: 0 });
}

const rowsIn = async (request: IncomingMessage): Promise<readonly Document[]> =>
  (await bodyOf(request)) as readonly Document[];

/** All of a request in one commit, durable before it is answered. */
function store(space: string, documents: readonly Document[], keyField = "key"): { readonly stored: number } {
  connection.exec("BEGIN IMMEDIATE");
  for (const document of documents) insert.run(space, String(document[keyField]), JSON.stringify(document));
  connection.exec("COMMIT");
  return { stored: documents.length };
}

function find(space: string, key: unknown): Document | null {
  const found = byKey.get(space, String(key));
  return found === undefined ? null : JSON.parse(String(found.value));
}

type PushedRow = { readonly newDocumentState: Document; readonly assumedMasterState?: Document };

/** The conflicts, as RxDB's handler to push has to return them: what is here and is not what the client took it for. */
function takePush(space: string, body: unknown): readonly Document[] {
  const rows = body as readonly PushedRow[];
  const judged = rows.map(({ newDocumentState, assumedMasterState = null }) => {
    const current = find(space, newDocumentState.key);
    const isExpected = JSON.stringify(current) === JSON.stringify(assumedMasterState);
    return { newDocumentState, conflict: isExpected ? null : current };
  });
  const expected = judged.filter(({ conflict }) => conflict === null);
  store(
    space,
    expected.map(({ newDocumentState }) => newDocumentState),
  );
  return judged.flatMap(({ conflict }) => (conflict === null ? [] : [conflict]));
}

// ---- CouchDB ----------------------------------------------------------------------------------------------------

function missingOf(space: string, body: unknown): unknown {
  const asked = Object.entries(body as { readonly [id: string]: readonly string[] });
  return Object.fromEntries(
    asked.flatMap(([id, revisions]) => {
      const known = find(space, id)?._rev;
      const missing = revisions.filter((revision) => revision !== known);
      return missing.length === 0 ? [] : [[id, { missing }]];
    }),
  );
}

/** Documents come with their revisions, so that there is nothing to say about those that were stored. */
function takeDocuments(space: string, body: unknown): readonly unknown[] {
  store(space, (body as { readonly docs: readonly Document[] }).docs, "_id");
  return [];
}
