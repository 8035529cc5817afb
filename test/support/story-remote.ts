// Owns a small remote for stories, in this process: it goes down and comes back on the same port, and remembers every effect by its key.
// Leaves what is expected of it to the stories.
import { createHash } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import { freePort } from "./processes.ts";

export type Effect = {
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly text: string;
  readonly sha256: string;
  readonly headers: IncomingMessage["headers"];
};

export type Remote = {
  readonly url: string;
  /** What took effect, in order; repeats of a key are answered from here and are no effects. */
  readonly effects: Effect[];
  /** Every request, also the refused ones. */
  readonly seen: Effect[];
  /** Decides about a request; `null` lets it take effect. */
  rule: (
    request: Effect,
  ) => { readonly status: number; readonly body?: unknown; readonly headers?: Record<string, string> } | null;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
};

export async function makeRemote(): Promise<Remote> {
  const port = await freePort();
  let server: Server | null = null;
  const remote: Remote = {
    url: `http://127.0.0.1:${port}`,
    effects: [],
    seen: [],
    rule: () => null,
    start: () =>
      new Promise((resolve) => {
        server = createServer((request, response) => void answer(remote, request, response));
        server.listen(port, "127.0.0.1", resolve);
      }),
    stop: () =>
      new Promise((resolve) => {
        if (server === null) return resolve();
        server.close(() => resolve());
        server.closeAllConnections();
        server = null;
      }),
  };
  return remote;
}

async function answer(remote: Remote, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  const key = String(request.headers["idempotency-key"] ?? "");
  const method = request.method ?? "";
  // A probe asks whether somebody is there.
  if (key === "") return void response.writeHead(204).end();
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const effect = {
    key,
    method,
    path: request.url ?? "",
    text: bytes.toString("utf8"),
    sha256,
    headers: request.headers,
  };
  remote.seen.push(effect);
  const refusal = remote.rule(effect);
  const send = (status: number, body: unknown, headers: Record<string, string> = {}): void =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  if (refusal !== null) return send(refusal.status, refusal.body ?? {}, refusal.headers);
  let place = remote.effects.findIndex((each) => each.key === key);
  if (place === -1) place = remote.effects.push(effect) - 1;
  send(201, { id: `srv-${place + 1}` });
}
