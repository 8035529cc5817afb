// Owns what the plain servers of bar P9 share: being a process of their own, reading and answering JSON, and the part of CouchDB's protocol
// that is the same for pulling and pushing. Leaves what they keep to pull-source.ts and push-target.ts.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export type Respond = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/** Listens on a free port and tells it to the parent, with which it ends. */
export function serve(answer: Respond): void {
  const server = createServer(async (request, response) => {
    try {
      await answer(request, response);
    } catch (error) {
      response.destroy(error as Error);
    }
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
  process.on("disconnect", () => process.exit(0));
}

export function send(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

export async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}

/** What PouchDB asks of any CouchDB. A checkpoint is taken and forgotten: every client of the bar begins at the beginning. */
export async function answerCouch(
  path: string,
  {
    request,
    response,
    head,
  }: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly head: number },
): Promise<void> {
  if (path === "/") return send(response, { couchdb: "Welcome", uuid: "bench", version: "3.5.1" });
  if (/^\/db[^/]*\/?$/.test(path)) return send(response, { db_name: path.replaceAll("/", ""), update_seq: head });
  if (!/^\/db[^/]*\/_local\//.test(path)) return send(response, { error: "not_found", reason: path }, 404);
  if (request.method !== "PUT") return send(response, { error: "not_found", reason: "missing" }, 404);
  const { _id: id } = (await bodyOf(request)) as { readonly _id: string };
  send(response, { ok: true, id, rev: "0-1" }, 201);
}
