/**
 * Owns one HTTP exchange of an `http.request` over kept connections: what fetch would send, refuse and unpack, at a third of its cost.
 * Redirects, credentials and time limits are `request.ts`, the names of failures `failures.ts`; uploads go through `exchange.ts`.
 */
import type { AgentOptions, ClientRequest, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { decoded } from "./decode.ts";
import { globalAgent, Agent as HttpAgent, request as httpRequest } from "./http.ts";

/** A connection that nobody uses is closed by us after this time, before a server or a router on the way forgets it in silence. */
const keptMs = 4_000;
/** A connection that is not made by then, lookup and TLS included, carried nothing. */
const connectMs = 10_000;

export type Outgoing = {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | FileBody | null;
  /** Is given the way to end this exchange; whoever calls it decides the error that comes out. */
  readonly onStoppable: (stop: (reason: Error) => void) => void;
};

export type FileBody = { readonly sizeBytes: number; readonly blocks: AsyncIterable<Uint8Array> };

/** An answer whose headers are here. Its body must be read or given up. */
export type Arrival = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Unpacked. Fails with the error that the exchange was stopped with. */
  readonly body: Readable;
  /** Resolves once the whole request is out, rejects when it never will be: a yes before that is a yes to a part of it. */
  readonly isSent: Promise<void>;
  readonly giveUp: () => void;
};

export type Send = (outgoing: Outgoing) => Promise<Arrival>;

/** Ports that no browser and no fetch speaks HTTP to, because other protocols there could be made to obey a request's text. */
const blockedPorts = new Set(
  (
    "1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137 139 143 " +
    "161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 " +
    "4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080"
  ).split(" "),
);

/** Makes a sender with connections of its own. Its only time limit is that for making a connection: answers may take any time. */
export function makeSender(limits: { readonly keptMs?: number; readonly connectMs?: number } = {}): Send {
  // With NODE_USE_ENV_PROXY the platform's own agent carries the proxies of the environment, and fetch would go through them, too.
  const { proxyEnv } = (globalAgent as HttpAgent & { readonly options: AgentOptions }).options;
  const kept = { keepAlive: true, timeout: limits.keptMs ?? keptMs, ...(proxyEnv === undefined ? {} : { proxyEnv }) };
  const agents = { http: new HttpAgent(kept), https: new HttpsAgent(kept) };
  return (outgoing) =>
    new Promise((resolve, reject) => {
      if (blockedPorts.has(outgoing.url.port)) throw new TypeError("bad port");
      run(start(outgoing, agents), outgoing, { resolve, reject, connectMs: limits.connectMs ?? connectMs });
    });
}

/** Sends over the connections that the whole process shares. */
export const sendHttp: Send = makeSender();

type Agents = { readonly http: HttpAgent; readonly https: HttpsAgent };

function start({ url, method, headers, body }: Outgoing, agents: Agents): ClientRequest {
  const isSecure = url.protocol === "https:";
  const lengthOf = typeof body === "string" ? Buffer.byteLength(body) : body?.sizeBytes;
  const options = {
    protocol: url.protocol,
    hostname: url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname,
    port: url.port === "" ? (isSecure ? 443 : 80) : Number(url.port),
    path: url.pathname + url.search,
    method,
    headers: {
      "accept-encoding": isSecure ? "br, gzip, deflate" : "gzip, deflate",
      ...headers,
      ...(lengthOf === undefined ? {} : { "content-length": String(lengthOf) }),
    },
  };
  return isSecure ? httpsRequest({ ...options, agent: agents.https }) : httpRequest({ ...options, agent: agents.http });
}

type Ends = {
  readonly resolve: (arrival: Arrival) => void;
  readonly reject: (error: unknown) => void;
  readonly connectMs: number;
};

function run(request: ClientRequest, outgoing: Outgoing, ends: Ends): void {
  const { body, onStoppable } = outgoing;
  let answer: IncomingMessage | null = null;
  let failure: Error | null = null;
  const isSent = new Promise<void>((resolve, reject) => {
    request.once("finish", resolve);
    request.once("close", () => reject(failure ?? closedEarly()));
  });
  isSent.catch(() => undefined);
  const fail = (error: Error): void => {
    if (answer === null) {
      ends.reject(markHandshake(request, error));
      request.destroy();
      // A server that refuses often closes while we still write: its answer decides as long as it can be read.
    } else if ((error as NodeJS.ErrnoException).syscall !== "write") {
      failure ??= error;
      answer.destroy(error);
      if (!request.writableFinished) request.destroy();
    }
  };
  onStoppable(fail);
  request.on("error", fail);
  request.once("socket", (socket) => limitConnecting(socket, ends.connectMs, fail));
  request.once("response", (response) => {
    answer = response;
    // A server that refused without reading the body will not take the rest of it; one that said yes has to.
    response.once("close", () => {
      if (!request.writableFinished && (response.statusCode ?? 0) >= 300) request.destroy();
    });
    ends.resolve(arrivalOf(request, response, isSent));
  });
  if (body === null || typeof body === "string") request.end(body ?? undefined);
  else sendFile(request, body).catch(fail);
}

/** Until the handshake is through nothing of the request is sent; the same failure of it later says nothing about that. */
export function markHandshake<E>(request: ClientRequest, error: E): E {
  const { socket } = request;
  const isHandshake = socket !== null && "secureConnecting" in socket && socket.secureConnecting === true;
  return isHandshake && error instanceof Error ? Object.assign(error, { syscall: "connect" }) : error;
}

/** A lookup, a connection and a handshake that take for ever are told from an answer that does: nothing was sent. */
function limitConnecting(socket: Socket, limitMs: number, fail: (error: Error) => void): void {
  if (!socket.connecting) return;
  const timer = setTimeout(() => {
    const message = `no connection within ${limitMs} ms`;
    fail(Object.assign(new Error(message), { code: "ERR_CONNECT_TIMED_OUT" }));
  }, limitMs);
  const clear = (): void => clearTimeout(timer);
  socket.once("encrypted" in socket ? "secureConnect" : "connect", clear);
  socket.once("close", clear);
}

async function sendFile(request: ClientRequest, { sizeBytes, blocks }: FileBody): Promise<void> {
  let sent = 0;
  for await (const block of blocks) {
    sent += block.byteLength;
    if (sent > sizeBytes || request.destroyed) break;
    if (!request.write(block)) await drained(request);
  }
  if (request.destroyed) return;
  if (sent !== sizeBytes) {
    const message = `the file has not the ${sizeBytes} bytes that were announced`;
    throw Object.assign(new Error(message), { code: "ERR_HTTP_CONTENT_LENGTH_MISMATCH" });
  }
  request.end();
}

function drained(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      request.off("drain", end);
      request.off("close", end);
      resolve();
    };
    request.on("drain", end);
    request.on("close", end);
    if (request.destroyed) end();
  });
}

function arrivalOf(request: ClientRequest, response: IncomingMessage, isSent: Promise<void>): Arrival {
  const { method } = request;
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(response.headers)) {
    if (value !== undefined) headers[name] = typeof value === "string" ? value : value.join(", ");
  }
  const body = decoded(response, { method, status: response.statusCode ?? 0, coding: headers["content-encoding"] });
  const giveUp = (): void => {
    // Nobody reads it: what breaks now is nobody's failure.
    body.on("error", () => undefined);
    body.destroy();
    response.destroy();
    if (!request.writableFinished) request.destroy();
  };
  return { status: response.statusCode ?? 0, headers, body, isSent, giveUp };
}

function closedEarly(): Error {
  return Object.assign(new Error("the other side closed"), { code: "ERR_CLOSED_EARLY" });
}

/**
 * The error as `failures.ts` knows it. Node calls a connection that was closed in good order a reset as well, but only a real one
 * comes from a system call; and where the request was on its way into the handshake, the handshake's failure is a text.
 */
export function namedError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === "ECONNRESET" && syscall === undefined && /^(socket hang up|aborted)$/.test(error.message))
    return closedEarly();
  const reason = code === "EPROTO" ? /:SSL routines:[^:]*:([^:]+):/.exec(error.message)?.[1] : undefined;
  return reason === undefined
    ? error
    : Object.assign(new Error(reason), { code: `ERR_SSL_${reason.toUpperCase().replaceAll(" ", "_")}`, syscall });
}
