// Owns real servers that misbehave as told, and sending one request of the queue to them. Leaves what is expected to the tests.
import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo, createServer as createTcpServer, Socket } from "node:net";
import { afterEach } from "vitest";
import type { Resolved } from "../../src/node/credentials.ts";
import type { HttpRequestDeps } from "../../src/node/request.ts";
import { makeHttpRequest } from "../../src/node/request.ts";
import type { Send } from "../../src/node/sender.ts";
import type { Answer, Json, Operation } from "../../src/operation.ts";
import { checkRequest } from "../../src/request.ts";

export type Seen = {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
};
const open: { close: () => void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

export async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push({
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that notes what it gets and answers as told. */
export async function serve(answer: (request: Seen, response: ServerResponse, count: number) => void) {
  const seen: Seen[] = [];
  const host = await listen(
    createServer(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const one = {
        method: request.method ?? "",
        url: request.url ?? "",
        headers: request.headers,
        body: Buffer.concat(parts).toString(),
      };
      seen.push(one);
      answer(one, response, seen.length);
    }),
  );
  return { url: `http://${host}`, host, seen };
}

export const secret: Resolved = { kind: "found", headers: { authorization: "Bearer s3cret", "x-tenant": "s3cret" } };
export const operation = { subject: "ada" } as Operation;

export type Options = {
  readonly signal?: AbortSignal;
  readonly resolved?: Resolved;
  readonly readBlob?: HttpRequestDeps["readBlob"];
  readonly send?: Send;
  readonly operation?: Operation;
};
export function send(payload: object, options: Options = {}): Promise<Answer> {
  const { signal = new AbortController().signal, resolved = secret, readBlob, send: sender } = options;
  const { operation: sent = operation } = options;
  const type = makeHttpRequest({
    credentials: { resolve: () => resolved },
    ...(readBlob === undefined ? {} : { readBlob }),
    ...(sender === undefined ? {} : { send: sender }),
  });
  const input = checkRequest({ method: "POST", timeoutMs: 3_000, ...payload } as Json) as Json;
  const running = type.run?.({
    operation: sent,
    input,
    idempotencyKey: "key-1",
    signal,
    checkpoint: null,
    saveCheckpoint: async () => undefined,
    reportProgress: () => undefined,
  });
  return running ?? Promise.reject(new Error("the type cannot run"));
}
export const sendJson = (
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
) => response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
export const codeOf = (answer: Answer) => ("problem" in answer ? answer.problem.code : answer.kind);
