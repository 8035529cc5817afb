/**
 * Owns the sockets: loopback TCP and the Unix socket, their limits, and the guard in front of the application.
 * What the guard decides is `guard.ts`; what the application answers is `routes.ts`.
 */
import { chmodSync, lstatSync, rmSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import type { ErrorCode } from "../errors.ts";
import { HoldfastError } from "../errors.ts";
import { calledVerb } from "./calls.ts";
import type { Caller, GuardPolicy, RequestFacts, TokenBucket } from "./guard.ts";
import { isLoopback, judge, openBucket, pathOf } from "./guard.ts";
import { errorOf, problemMediaType, problemOf, problemResponse, safetyHeaders } from "./problem.ts";
import type { App, CallFacts } from "./routes.ts";

/** Limits on one listener; each has a test at the limit and past it. */
const listenLimits = {
  headerBytes: 16_384,
  headers: 100,
  /** A request's head and its whole request must arrive within these; slower senders are cut. */
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 15_000,
  checkIntervalMs: 1_000,
  /** How many ephemeral ports are tried until one is free on IPv4 and IPv6 alike. */
  portTries: 5,
} as const;

const sweepMs = 20;

export type ListenPolicy = GuardPolicy & { readonly connections: number; readonly requestsPerSecond: number };

export type ListenerOptions = {
  readonly app: App;
  readonly policy: () => ListenPolicy;
  readonly onRefusal: (code: ErrorCode) => void;
  /** The socket failed while it listened, e.g. to take a connection for want of file handles; it listens on. */
  readonly onTrouble: (error: NodeJS.ErrnoException) => void;
  readonly now?: () => number;
  readonly limits?: { readonly [name in keyof typeof listenLimits]?: number };
};

export type Listener = {
  readonly address: string;
  readonly port: number | null;
  /** Takes no more connections; resolves when the last request is answered. */
  readonly close: () => Promise<void>;
  /** Cuts what is still open. */
  readonly cut: () => void;
};

/** Refuses to serve beyond this machine unless it was asked for by name. */
export function checkBind(host: string, isRemoteAllowed: boolean): void {
  if (isLoopback(host) || isRemoteAllowed) return;
  throw new HoldfastError(
    "config_invalid",
    `the daemon listens on this machine only, and ${host} is reachable from others`,
    'set host = "127.0.0.1", or allow_remote = true under [daemon] when that is really meant',
  );
}

/** Listens on a port (0: any free one) of `host`; with 127.0.0.1 also on ::1, where there is one. */
export async function listenTcp(options: ListenerOptions, host: string, port: number): Promise<readonly Listener[]> {
  for (let left: number = listenLimits.portTries; ; left -= 1) {
    const first = await open(options, { host, port });
    if (host !== "127.0.0.1") return [first];
    try {
      return [first, await open(options, { host: "::1", port: first.port ?? 0, ipv6Only: true })];
    } catch (error) {
      const code = (error as { readonly cause?: NodeJS.ErrnoException }).cause?.code;
      if (code !== "EADDRINUSE") return [first];
      // Another program has our port on ::1, and "localhost" may lead there: take another port for both.
      if (port !== 0 || left <= 1) return [first];
      await first.close();
    }
  }
}

/** Listens on a Unix socket. Only the holder of the instance lock may call this: it removes what a dead daemon left there. */
export async function listenUnix(options: ListenerOptions, path: string): Promise<Listener> {
  const stale = lstatSync(path, { throwIfNoEntry: false });
  if (stale !== undefined && !stale.isSocket()) {
    throw new HoldfastError("config_invalid", `${path} is in the way of the daemon's socket`, "move it away", {
      details: { path },
    });
  }
  if (stale !== undefined) rmSync(path, { force: true });
  const listener = await open(options, { path });
  chmodSync(path, 0o600);
  return listener;
}

async function open(options: ListenerOptions, where: Where): Promise<Listener> {
  const limits = { ...listenLimits, ...options.limits };
  const state: ServerState = { isClosing: false, open: new WeakMap() };
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: limits.checkIntervalMs,
      noDelay: true,
    },
    makeHandler(options, state),
  );
  server.maxHeadersCount = limits.headers;
  server.maxConnections = options.policy().connections;
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) =>
    answerMalformed(error, socket, state.open),
  );
  server.on("connect", (_request, socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    const refuse = (error: Error): void => reject(cannotListen(where, error));
    server.once("error", refuse);
    server.listen(where, () => {
      server.off("error", refuse);
      // An error that nobody listens to ends the process, and one connection is not worth a daemon.
      server.on("error", options.onTrouble);
      resolve();
    });
  });
  const address = server.address();
  return {
    address: typeof address === "string" ? address : (address?.address ?? ""),
    port: typeof address === "string" ? null : ((address as AddressInfo | null)?.port ?? null),
    close: () => {
      state.isClosing = true;
      return closeServer(server);
    },
    cut: () => server.closeAllConnections(),
  };
}

function makeHandler(
  options: ListenerOptions,
  state: ServerState,
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const now = options.now ?? (() => performance.now());
  const buckets = openBuckets(options.policy);
  const waiting = new WeakMap<IncomingMessage, CallFacts>();
  const serve = getRequestListener(
    (request, env) => {
      const facts = waiting.get((env as { readonly incoming: IncomingMessage }).incoming);
      return facts === undefined ? problemResponse(errorOf(null), "/") : options.app.fetch(request, facts);
    },
    { overrideGlobalObjects: false, errorHandler: (thrown) => answerUnparsed(thrown) },
  );
  return (incoming, outgoing) => {
    if (state.isClosing) outgoing.shouldKeepAlive = false;
    countAnswer(state.open, incoming.socket, outgoing);
    const policy = options.policy();
    const facts = factsOf(incoming);
    const verdict = judge(policy, facts);
    const caller: Caller = verdict.kind === "admitted" ? verdict.caller : "anonymous";
    const waitMs = buckets(caller, now());
    if (waitMs > 0)
      return refuse(options, outgoing, {
        facts,
        error: tooMany(waitMs),
        // Without its own headers a page could not read that, and would take the daemon for gone.
        headers: { ...verdict.headers, "retry-after": String(Math.ceil(waitMs / 1_000)) },
      });
    if (verdict.kind === "refused")
      return refuse(options, outgoing, { facts, error: verdict.error, headers: verdict.headers });
    if (verdict.kind === "preflight") {
      outgoing.writeHead(204, { ...safetyHeaders, ...verdict.headers }).end();
      return;
    }
    const verb = calledVerb(incoming, caller);
    if (verb !== null) {
      const call = { verb, caller, port: facts.port, headers: verdict.headers };
      void options.app.answerCall(call, { incoming, outgoing });
      return;
    }
    for (const [name, value] of Object.entries(verdict.headers)) outgoing.setHeader(name, value);
    waiting.set(incoming, { caller, port: facts.port, cut: () => incoming.socket.destroy() });
    void serve(incoming, outgoing);
  };
}

/** One bucket per class of callers, made anew when the configured rate changes. Strangers share a small one. */
function openBuckets(policy: () => ListenPolicy): (caller: Caller, nowMs: number) => number {
  let rate = Number.NaN;
  let buckets: { readonly [caller in Caller]: TokenBucket } | null = null;
  return (caller, nowMs) => {
    const wanted = policy().requestsPerSecond;
    if (buckets === null || wanted !== rate) {
      rate = wanted;
      buckets = {
        local: openBucket(rate, rate * 2),
        browser: openBucket(Math.ceil(rate / 10), Math.ceil(rate / 5)),
        anonymous: openBucket(Math.ceil(rate / 100), Math.ceil(rate / 20)),
      };
    }
    return buckets[caller].take(nowMs);
  };
}

function factsOf(incoming: IncomingMessage): RequestFacts {
  const { headers } = incoming;
  const one = (name: string): string | undefined => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
  const length = headers["content-length"];
  return {
    method: incoming.method ?? "GET",
    target: incoming.url ?? "",
    hosts: hostsOf(incoming.rawHeaders),
    origin: one("origin"),
    fetchSite: one("sec-fetch-site"),
    authorization: one("authorization"),
    contentType: one("content-type"),
    contentEncoding: one("content-encoding"),
    hasBody: headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0"),
    port: incoming.socket.remoteFamily === undefined ? null : (incoming.socket.localPort ?? null),
  };
}

/** Node keeps the first Host header and drops the rest; the guard wants to know about the rest. */
function hostsOf(rawHeaders: readonly string[]): readonly string[] {
  const found: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name !== undefined && name.length === 4 && name.toLowerCase() === "host")
      found.push(rawHeaders[index + 1] ?? "");
  }
  return found;
}

type Refusal = {
  readonly facts: RequestFacts;
  readonly error: HoldfastError;
  readonly headers: Readonly<Record<string, string>>;
};

function refuse(options: ListenerOptions, outgoing: ServerResponse, refusal: Refusal): void {
  options.onRefusal(refusal.error.code);
  const problem = problemOf(refusal.error, pathOf(refusal.facts.target).slice(0, 200));
  // Node discards a body that is still coming, bounded by the request timeout; closing now could lose the answer on the way.
  outgoing.writeHead(problem.status, { ...safetyHeaders, ...refusal.headers, "content-type": problemMediaType });
  outgoing.end(refusal.facts.method === "HEAD" ? undefined : JSON.stringify(problem));
}

/** The adapter could not make a request of it, e.g. a path that no URL can hold. */
function answerUnparsed(thrown: unknown): Response {
  const words = thrown instanceof Error ? thrown.message : "unreadable";
  return problemResponse(
    new HoldfastError("invalid_input", `the request cannot be read: ${words}`, "check its path and headers"),
    "/",
  );
}

/** Answers that a connection still owes, and what to do when it owes none. */
type OpenAnswers = WeakMap<Socket, { count: number; whenDone: (() => void) | null }>;
type ServerState = { isClosing: boolean; readonly open: OpenAnswers };

function countAnswer(open: OpenAnswers, socket: Socket, outgoing: ServerResponse): void {
  const owed = open.get(socket) ?? { count: 0, whenDone: null };
  owed.count += 1;
  open.set(socket, owed);
  outgoing.once("close", () => {
    owed.count -= 1;
    if (owed.count === 0) owed.whenDone?.();
  });
}

function answerMalformed(error: NodeJS.ErrnoException, socket: Socket, open: OpenAnswers): void {
  const owed = open.get(socket);
  // Earlier requests of the same connection get their answers first; this one must not cut into them.
  if (owed !== undefined && owed.count > 0 && socket.writable && isUnreadable(error)) {
    owed.whenDone = () => sayMalformed(error, socket);
    return;
  }
  sayMalformed(error, socket);
}

/** A request that was parsed and is late in its body is one of the answers that are owed: waiting for it would be for ever. */
function isUnreadable(error: NodeJS.ErrnoException): boolean {
  return error.code?.startsWith("HPE_") === true;
}

function sayMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, words] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, "Request Header Fields Too Large"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "Request Timeout"]
        : [400, "Bad Request"];
  const body = JSON.stringify({ ...problemOf(malformed(), "/"), status });
  const head = [
    `HTTP/1.1 ${status} ${words}`,
    `content-type: ${problemMediaType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}

function malformed(): HoldfastError {
  return new HoldfastError("invalid_input", "this is not an HTTP request that the daemon takes", "check the client");
}

function tooMany(waitMs: number): HoldfastError {
  return new HoldfastError(
    "rate_limited",
    "too many requests",
    `try again in ${waitMs} ms, or raise requests_per_second in config.toml`,
    { details: { waitMs } },
  );
}

type Where = { readonly path: string } | { readonly host: string; readonly port: number; readonly ipv6Only?: boolean };

const listenHints: { readonly [code: string]: string } = {
  EADDRINUSE: "another program has this port: choose another, or 0 for any free one",
  EACCES: "this user may not listen there: a port of 1024 or more needs no rights",
  EMFILE: "too many files are open: raise the limit on open files (ulimit -n)",
  ENFILE: "too many files are open on this machine",
};

export function cannotListen(where: Where, error: unknown): HoldfastError {
  const code = (error as NodeJS.ErrnoException).code ?? "unknown";
  const place = "path" in where ? where.path : `${where.host}:${where.port}`;
  const hint = listenHints[code] ?? "check the host and the port";
  return new HoldfastError("config_invalid", `cannot listen on ${place}: ${code}`, hint, { cause: error });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // A connection that is busy now is idle in a moment, and would then be kept for a next request that is not wanted.
    const sweep = setInterval(() => server.closeIdleConnections(), sweepMs);
    server.close(() => {
      clearInterval(sweep);
      resolve();
    });
    server.closeIdleConnections();
  });
}
