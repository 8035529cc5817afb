/**
 * Owns a running sync server in this process: its socket and limits, its database, its log, its retention, and its end at a signal.
 * What it answers is `server/server.ts`; TLS is left to a proxy in front of it.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { HoldfastError } from "../errors.ts";
import type { LogEntry } from "../server/core.ts";
import { limitsFrom } from "../server/core.ts";
import type { SyncServer } from "../server/server.ts";
import { openServer } from "../server/server.ts";
import type { ServerStore } from "../server/store.ts";
import { addToken, listTokens, tokenIdOf } from "../server/tokens.ts";
import { isLoopback } from "./guard.ts";
import { cannotListen } from "./listen.ts";
import { packageVersion } from "./package-version.ts";
import type { ServerConfig } from "./server-config.ts";
import type { StorePlace } from "./server-store.ts";
import { lockServer, openServerStore, sha256 } from "./server-store.ts";

/** Limits of the socket; those of the requests are `serverLimits`. */
const hostLimits = {
  headerBytes: 16_384,
  headers: 100,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 120_000,
  keepAliveTimeoutMs: 65_000,
  checkIntervalMs: 1_000,
  /** Telling of each connection that is hung up on would fill the disk in its turn. */
  dropNoteMs: 60_000,
  /** How long requests under way are waited for at the end. */
  goodbyeMs: 10_000,
  compactEveryMs: 3_600_000,
} as const;

export type HostOptions = {
  readonly place: StorePlace;
  readonly config: ServerConfig;
  /** Why collections that are not declared are accepted: nothing was configured. Then a token for development is made. */
  readonly isDevelopment: boolean;
  readonly host: string;
  readonly port: number;
  readonly log: (entry: LogEntry) => void;
  readonly now?: () => number;
};

export type RunningServer = {
  readonly url: string;
  readonly port: number;
  /** The token for development; null when tokens were made by hand, or there is another way in. */
  readonly token: string | null;
  readonly isOpen: boolean;
  /** Forgets old removals and receipts now, and not only when the hour is over. */
  readonly compact: () => Promise<unknown>;
  readonly stop: () => Promise<void>;
};

const sweepMs = 20;

const developmentSubject = "developer";

/** Starts a server; resolves when it listens. */
export async function startServer(options: HostOptions): Promise<RunningServer> {
  const { config, host, log, place } = options;
  checkHost(options);
  const lock = lockServer(place);
  let store: ServerStore | undefined;
  let server: SyncServer | undefined;
  try {
    store = await openServerStore(place, (message, error) => log({ level: "warn", message, error: String(error) }));
    const { collections, auth, limits, origins } = config;
    const isOpen = config.isOpen ?? (collections ?? []).length === 0;
    server = await openServer({
      ...{ store, isOpen, version: packageVersion, hash: sha256, log },
      ...(collections === undefined ? {} : { collections }),
      ...(auth === undefined ? {} : { auth }),
      ...(limits === undefined ? {} : { limits }),
      ...(origins === undefined ? {} : { origins }),
      ...(options.now === undefined ? {} : { now: options.now }),
    });
    const token = options.isDevelopment ? await developmentToken(store, options) : null;
    const socket = await listen(server, options);
    const stopCompacting = compactRegularly(server, log);
    const owed = countOwed(socket);
    const port = (socket.address() as AddressInfo).port;
    const [openedStore, openedServer] = [store, server];
    const stop = async (): Promise<void> => {
      stopCompacting();
      await openedServer.close();
      await closeSocket(socket, owed);
      await openedStore.close();
      lock.release();
    };
    return {
      url: `http://${host.includes(":") ? `[${host}]` : host}:${port}`,
      port,
      token,
      isOpen,
      compact: openedServer.compact,
      stop,
    };
  } catch (error) {
    await server?.close();
    await store?.close();
    lock.release();
    throw error;
  }
}

/** What is reachable from other machines must have been configured, so that nobody opens a database to the world by one word. */
function checkHost({ host, config, isDevelopment }: HostOptions): void {
  if (isLoopback(host)) return;
  const hasAuth = config.auth !== undefined && (config.auth.jwt !== undefined || config.auth.tokens === true);
  if (!isDevelopment && hasAuth) return;
  throw new HoldfastError(
    "config_invalid",
    `${host} is reachable from other machines, and nothing says who may use the server`,
    "name a configuration with `auth` (--config), or listen on 127.0.0.1",
    { details: { host } },
  );
}

/**
 * The same token at every start, as long as it is valid: it is kept in a file for its owner alone. Servers on PostgreSQL have no directory
 * of their own, so there each start without any token makes one.
 */
async function developmentToken(store: ServerStore, { place, now }: HostOptions): Promise<string | null> {
  const tokens = await listTokens(store);
  const file = place.kind === "embedded" ? join(place.directory, "development-token") : null;
  const kept = file !== null && existsSync(file) ? readFileSync(file, "utf8").trim() : null;
  const isKnown = (id: string): boolean => tokens.some((token) => token.id === id && token.revokedAt === null);
  if (kept !== null && isKnown(tokenIdOf(sha256(kept)))) return kept;
  if (tokens.length > 0) return null;
  const minter = { now: now ?? Date.now, hash: sha256 };
  const spaces = [{ space: "*", roles: ["developer"] }];
  const { token } = await addToken(store, { subject: developmentSubject, name: "development", spaces }, minter);
  if (file !== null) writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return token;
}

async function listen(server: SyncServer, { host, port, log, config }: HostOptions): Promise<Server> {
  const socket = createServer(
    {
      maxHeaderSize: hostLimits.headerBytes,
      headersTimeout: hostLimits.headersTimeoutMs,
      requestTimeout: hostLimits.requestTimeoutMs,
      keepAliveTimeout: hostLimits.keepAliveTimeoutMs,
      connectionsCheckingInterval: hostLimits.checkIntervalMs,
      noDelay: true,
    },
    getRequestListener((request) => server.fetch(request), { overrideGlobalObjects: false }),
  );
  socket.maxHeadersCount = hostLimits.headers;
  socket.maxConnections = limitsFrom(config.limits).sockets;
  noteDrops(socket, log);
  await new Promise<void>((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException): void => reject(cannotListen({ host, port }, error));
    socket.once("error", refuse);
    socket.listen({ host, port }, () => {
      socket.off("error", refuse);
      // An error that nobody listens to ends the process, and one connection is not worth a server.
      socket.on("error", (error) => log({ level: "error", message: "the port failed", error: String(error) }));
      resolve();
    });
  });
  return socket;
}

function noteDrops(socket: Server, log: HostOptions["log"]): void {
  let notedAt = Number.NEGATIVE_INFINITY;
  socket.on("drop", () => {
    if (performance.now() - notedAt < hostLimits.dropNoteMs) return;
    notedAt = performance.now();
    const hint = "raise limits.sockets, or start another process";
    log({ level: "warn", message: "too many connections are open; new ones are hung up on", hint });
  });
}

function compactRegularly(server: SyncServer, log: HostOptions["log"]): () => void {
  const timer = setInterval(() => {
    server.compact().then(
      (done) => log({ level: "debug", message: "compacted", ...done }),
      (error: unknown) => log({ level: "error", message: "compacting failed", error: String(error) }),
    );
  }, hostLimits.compactEveryMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** How many answers each connection still owes. Node does not count a connection as idle that has not asked anything yet. */
type Owed = Map<Socket, number>;

function countOwed(server: Server): Owed {
  const owed: Owed = new Map();
  server.on("connection", (socket: Socket) => {
    owed.set(socket, 0);
    socket.once("close", () => owed.delete(socket));
  });
  server.on("request", ({ socket }, response) => {
    owed.set(socket, (owed.get(socket) ?? 0) + 1);
    response.once("close", () => {
      if (owed.has(socket)) owed.set(socket, (owed.get(socket) ?? 1) - 1);
    });
  });
  return owed;
}

/** Requests under way are answered first; what holds on longer is cut. */
function closeSocket(server: Server, owed: Owed): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), hostLimits.goodbyeMs);
    const sweep = setInterval(() => {
      for (const [socket, count] of owed) if (count === 0) socket.destroy();
    }, sweepMs);
    server.close(() => {
      clearTimeout(cut);
      clearInterval(sweep);
      resolve();
    });
  });
}
