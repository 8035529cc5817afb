// Owns an HTTP server over an engine with just what the client's transports need to be tried against, faults included.
// Leaves the daemon's guards, limits and routes to src/node/.
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { follow } from "../../src/client/direct.ts";
import type { EngineLike } from "../../src/client/transport.ts";
import { HoldfastError } from "../../src/errors.ts";
import { errorOf, problemMediaType, problemOf } from "../../src/node/problem.ts";
import type { HoldfastEvent, Verb } from "../../src/verbs.ts";

export type SmallDaemon = {
  readonly url: string;
  readonly server: Server;
  /** Requests that arrived, as "METHOD /path". */
  readonly seen: readonly string[];
  /** The next `count` calls are carried out, and their answers never sent. */
  readonly loseAnswers: (count: number) => void;
  readonly cut: () => void;
  readonly close: () => Promise<void>;
};

export type SmallDaemonOptions = {
  readonly token: string;
  /** Where to listen; a free port of the loopback when not given. */
  readonly at?: string | number;
  /** Answers before anything else; true when it did. */
  readonly intercept?: (request: IncomingMessage, response: ServerResponse) => boolean;
};

export async function startSmallDaemon(engine: EngineLike, options: SmallDaemonOptions): Promise<SmallDaemon> {
  const seen: string[] = [];
  const streams = new Set<() => void>();
  let lost = 0;
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (options.intercept?.(request, response) === true) return;
    if (request.headers.authorization !== `Bearer ${options.token}`) {
      return sendError(response, new HoldfastError("unauthorized", "the token is wrong", "read the token file"));
    }
    if (request.url === "/v1/events") return stream(engine, { request, response, streams });
    call(engine, request).then(
      (output) => {
        if (lost > 0) {
          lost -= 1;
          request.socket.destroy();
        } else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(output));
      },
      (error) => sendError(response, error),
    );
  });
  await new Promise<void>((resolve) => {
    if (typeof options.at === "string") server.listen(options.at, resolve);
    else server.listen(options.at ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  return {
    url: typeof address === "string" ? address : `http://127.0.0.1:${(address as AddressInfo).port}`,
    server,
    seen,
    loseAnswers: (count) => {
      lost = count;
    },
    cut: () => server.closeAllConnections(),
    close: () => {
      for (const stop of streams) stop();
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

async function call(engine: EngineLike, request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const verb = (request.url ?? "").replace("/v1/", "") as Verb;
  return engine.submit(verb, JSON.parse(Buffer.concat(chunks).toString()));
}

function sendError(response: ServerResponse, thrown: unknown): void {
  const problem = problemOf(errorOf(thrown), "/v1");
  response.writeHead(problem.status, { "content-type": problemMediaType }).end(JSON.stringify(problem));
}

type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly streams: Set<() => void>;
};

function stream(engine: EngineLike, { request, response, streams }: Exchange): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write("retry: 10\n\n: welcome\n\n");
  const after = Number(request.headers["last-event-id"]);
  const tell = (event: HoldfastEvent): void => {
    const id = event.sequence === 0 ? "" : `id: ${event.sequence}\n`;
    response.write(`${id}data: ${JSON.stringify(event)}\n\n`);
  };
  const onGap = (): void => {
    const { last } = engine.handle("events.list", { after: Number.MAX_SAFE_INTEGER, limit: 1 });
    response.write(`event: truncated\nid: ${last}\ndata: ${JSON.stringify({ last })}\n\n`);
  };
  const stop = follow(engine, tell, { after, onGap });
  streams.add(stop);
  request.socket.once("close", stop);
}
