// Owns the small receiver of `npm start` and `npm run demo`: HTTP with receipts by Idempotency-Key, and a tus endpoint.
// Leaves printing to its caller, who hears of every request. It is a toy: it listens on the loopback and forgets with its process.
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { FileStore } from "@tus/file-store";
import { Server as TusServer } from "@tus/server";

export type Heard =
  /** `isNew` is false when the key was seen before: then the first answer is given again and nothing happens twice. */
  | {
      readonly kind: "request";
      readonly line: string;
      readonly key: string;
      readonly isNew: boolean;
      readonly isAnswerLost: boolean;
    }
  | { readonly kind: "upload"; readonly name: string; readonly sizeBytes: number; readonly sha256: string };

export type ReceiverOptions = {
  readonly directory: string;
  /** Tried first; any free one when it is taken. */
  readonly port?: number;
  readonly hear: (heard: Heard) => void;
  /** Cuts the line after the first effect, before its answer: the sender cannot know that it landed. */
  readonly losesFirstAnswer?: boolean;
};

export type Receiver = { readonly url: string; readonly close: () => Promise<void> };

const bodyLimitBytes = 10_000_000;

export async function startReceiver(options: ReceiverOptions): Promise<Receiver> {
  mkdirSync(options.directory, { recursive: true });
  const tus = makeTus(options);
  const receive = makeReceipts(options);
  const server = createServer((request, response) => {
    const isFile = request.url?.split("?")[0]?.startsWith("/files") === true;
    const done = isFile ? tus.handle(request, response) : receive(request, response);
    Promise.resolve(done).catch(() => response.destroy());
  });
  const port = await listen(server, options.port ?? 0);
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function makeTus({ directory, hear }: ReceiverOptions): TusServer {
  return new TusServer({
    path: "/files",
    datastore: new FileStore({ directory }),
    onUploadFinish: async (_request, upload) => {
      const sha256 = await hashOf(path.join(directory, upload.id));
      hear({ kind: "upload", name: upload.metadata?.filename ?? upload.id, sizeBytes: upload.size ?? 0, sha256 });
      return {};
    },
  });
}

type Receipt = { readonly status: number; readonly body: string };

function makeReceipts(options: ReceiverOptions): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const receipts = new Map<string, Receipt>();
  let effects = 0;
  return async (request, response) => {
    const line = `${request.method} ${request.url}`;
    await readBody(request);
    const key = request.headers["idempotency-key"];
    if (request.method === "GET" || request.method === "HEAD")
      return answer(response, { status: 200, body: '{"ok":true}' });
    if (typeof key !== "string") return answer(response, { status: 400, body: '{"error":"send an Idempotency-Key"}' });
    const before = receipts.get(key);
    if (before === undefined) effects += 1;
    const receipt = before ?? { status: 201, body: JSON.stringify({ id: String(effects) }) };
    receipts.set(key, receipt);
    const isAnswerLost = options.losesFirstAnswer === true && before === undefined && effects === 1;
    options.hear({ kind: "request", line, key, isNew: before === undefined, isAnswerLost });
    if (isAnswerLost) response.destroy();
    else answer(response, receipt);
  };
}

function answer(response: ServerResponse, { status, body }: Receipt): void {
  response.writeHead(status, { "content-type": "application/json" }).end(body);
}

async function readBody(request: IncomingMessage): Promise<void> {
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > bodyLimitBytes) throw new Error("too much");
  }
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" && port !== 0) listen(server, 0).then(resolve, reject);
      else reject(error);
    });
    server.listen(port, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}
