// Owns the server that pushes go to: a process of its own that reads JSON and answers it, one request or one batch at a time. With a
// file named it stores what it takes first, each key once, as a server does; without one it only answers. Leaves measuring to the bars.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { DatabaseSync } from "node:sqlite";

const [file] = process.argv.slice(2);
const store = file === undefined ? () => {} : openStore(file);

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = JSON.parse(Buffer.concat(chunks).toString());
    const items: readonly { readonly key?: string }[] = Array.isArray(body) ? body : [body];
    store(items.map((item) => [item.key ?? String(request.headers["idempotency-key"]), JSON.stringify(item)]));
    const answers = items.map((_, index) => ({ index, ok: true }));
    const answer = Array.isArray(body) ? answers : answers[0];
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit(0));

function openStore(path: string): (rows: readonly (readonly [string, string])[]) => void {
  const connection = new DatabaseSync(path);
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE item (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID`);
  const insert = connection.prepare("INSERT OR IGNORE INTO item (key, body) VALUES (?, ?)");
  return (rows) => {
    connection.exec("BEGIN IMMEDIATE");
    for (const [key, body] of rows) insert.run(key, body);
    connection.exec("COMMIT");
  };
}
