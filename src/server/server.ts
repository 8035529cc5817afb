/**
 * Owns the server's face: a Web `Request` goes in, a `Response` comes out. It routes, checks who asks and how much, and turns failures into problems.
 * What is answered is in `pushes.ts`, `pull.ts`, `fetch.ts` and `events.ts`; listening on a socket is `node/server-host.ts`.
 */
import type { Where } from "../record.ts";
import { where } from "../record-shapes.ts";
import type { Hello, PullRequest } from "../wire.ts";
import {
  fetchRequest,
  protocolVersion,
  pullRequest,
  pushRequest,
  readWire,
  routes,
  wireLimits,
  wireName,
} from "../wire.ts";
import type { Access, Authenticate, AuthOptions } from "./auth.ts";
import { checkAuth, makeAuth } from "./auth.ts";
import { readBody } from "./body.ts";
import type { ServerCollection } from "./collections.ts";
import { checkCollections } from "./collections.ts";
import type { Core, LogEntry, ServerLimits } from "./core.ts";
import { limitsFrom, whoIn } from "./core.ts";
import type { Events } from "./events.ts";
import { openEvents, streamHeaders } from "./events.ts";
import { fetchRecords } from "./fetch.ts";
import type { Metrics } from "./metrics.ts";
import { openMetrics } from "./metrics.ts";
import { makeOpenApi } from "./openapi.ts";
import type { Refusal } from "./problem.ts";
import { refusalOf, refusalResponse, refuse, safetyHeaders } from "./problem.ts";
import type { CheckedPull } from "./pull.ts";
import { pull, pullStream } from "./pull.ts";
import type { Pushes } from "./pushes.ts";
import { openPushes } from "./pushes.ts";
import type { Rate } from "./rate.ts";
import { openRate } from "./rate.ts";
import type { Compacted } from "./retention.ts";
import { compact } from "./retention.ts";
import { migrationsFor } from "./schema.ts";
import type { ServerStore } from "./store.ts";
import { buildUnique } from "./unique-build.ts";

export type ServerOptions = {
  readonly store: ServerStore;
  readonly collections?: readonly ServerCollection[];
  readonly auth?: AuthOptions;
  readonly limits?: Partial<ServerLimits>;
  /** Accept collections that are not declared. Default: true when none is declared. */
  readonly isOpen?: boolean;
  /** Origins of web pages that may use this server, e.g. "https://app.example.com". */
  readonly origins?: readonly string[];
  readonly version?: string;
  readonly now?: () => number;
  readonly newId?: () => string;
  /** SHA-256 in hexadecimal digits; the default is the runtime's Web Crypto, a synchronous one is faster. */
  readonly hash?: (text: string) => string | Promise<string>;
  readonly log?: (entry: LogEntry) => void;
};

export type SyncServer = {
  readonly fetch: (request: Request) => Promise<Response>;
  /** Forgets old removals and receipts; the host calls it from time to time. */
  readonly compact: () => Promise<Compacted>;
  readonly close: () => Promise<void>;
};

type Parts = {
  readonly core: Core;
  readonly authenticate: Authenticate;
  readonly rate: Rate;
  readonly pushes: Pushes;
  readonly events: Events;
  readonly metrics: Metrics;
  readonly origins: readonly string[];
};

/** What of a server's options a configuration may say. */
export type Declared = Pick<ServerOptions, "collections" | "auth" | "limits" | "isOpen" | "origins">;

/** Throws a `TypeError` that names what is wrong with them. A text where a yes or no belongs would open what was meant to be closed. */
export function checkDeclared({ collections, auth, limits, isOpen, origins }: Declared): void {
  // `null` is no "leave it out": taken for one, it would open what somebody meant to configure.
  if (collections !== undefined) checkCollections(collections);
  if (auth !== undefined) checkAuth(auth);
  limitsFrom(limits);
  if (isOpen !== undefined && typeof isOpen !== "boolean")
    throw new TypeError(`isOpen must be true or false; got ${JSON.stringify(isOpen)}`);
  if (origins !== undefined && !(Array.isArray(origins) && origins.every((origin) => typeof origin === "string")))
    throw new TypeError(`origins must be a list such as ["https://app.example.com"]; got ${JSON.stringify(origins)}`);
  // Compared with what browsers send, one with a path or without its scheme would never be met.
  const wrong = origins?.find((origin) => !/^[a-z][a-z\d+.-]*:\/\/[^/?#\s]+$/.test(origin));
  if (wrong !== undefined)
    throw new TypeError(
      `origins: ${JSON.stringify(wrong)} is no origin; write scheme and host, "https://app.example.com"`,
    );
}

/**
 * Opens a sync server over a store; the store stays open when the server is closed.
 * @example
 * const server = await openServer({ store: openEmbeddedStore(openDatabase("server.db")) });
 * export default { fetch: server.fetch };
 */
export async function openServer(options: ServerOptions): Promise<SyncServer> {
  checkDeclared(options);
  const collections = checkCollections(options.collections ?? []);
  const core: Core = {
    store: options.store,
    collections,
    isOpen: options.isOpen ?? collections.size === 0,
    limits: limitsFrom(options.limits),
    version: options.version ?? "",
    now: options.now ?? Date.now,
    newId: options.newId ?? (() => crypto.randomUUID()),
    hash: options.hash ?? sha256,
    log: options.log ?? (() => {}),
  };
  await core.store.migrate(migrationsFor(core.store.dialect));
  await buildUnique(core);
  const authenticate = makeAuth(core, options.auth ?? {});
  const parts: Parts = {
    core,
    authenticate,
    rate: openRate(core.limits),
    pushes: openPushes(core),
    events: openEvents(core, (authorization, spaces) => mayListen(authenticate, authorization, spaces)),
    metrics: openMetrics(),
    origins: options.origins ?? [],
  };
  return {
    fetch: (request) => serve(parts, request),
    compact: () => compact(core),
    close: async () => parts.events.close(),
  };
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function serve(parts: Parts, request: Request): Promise<Response> {
  const startedAt = parts.core.now();
  const url = new URL(request.url);
  const route = findRoute(url.pathname);
  let response: Response;
  try {
    response = await answer(parts, { request, url, route });
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.status >= 500)
      parts.core.log({ level: "error", message: "a request failed", route, error: describe(error) });
    response = refusalResponse(refusal, url.pathname);
  }
  parts.metrics.countRequest(route ?? "other", response.status, parts.core.now() - startedAt);
  return withCors(parts, request, response);
}

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

type RouteName = keyof typeof routes | "health" | "metrics" | "openapi";
type Call = { readonly request: Request; readonly url: URL; readonly route: RouteName | null };

const openRoutes: Readonly<Record<string, RouteName>> = {
  "/health": "health",
  "/metrics": "metrics",
  "/openapi.json": "openapi",
};
const byPath = new Map<string, RouteName>(
  Object.entries(routes).map(([name, path]) => [path, name as keyof typeof routes]),
);

function findRoute(path: string): RouteName | null {
  return byPath.get(path) ?? openRoutes[path] ?? reservedRoute(path);
}

/** Locks and uploads will have paths of their own below theirs. */
function reservedRoute(path: string): RouteName | null {
  if (path.startsWith(`${routes.locks}/`)) return "locks";
  return path.startsWith(`${routes.uploads}/`) ? "uploads" : null;
}

async function answer(parts: Parts, call: Call): Promise<Response> {
  const { request, url, route } = call;
  if (request.method === "OPTIONS") return preflight(parts, request);
  const refusal = checkCall(call);
  if (refusal !== null) return refusalResponse(refusal, url.pathname);
  if (route === "health") return health(parts);
  if (route === "openapi") return json(makeOpenApi(parts.core.version));
  const verdict = await parts.authenticate(request.headers.get("authorization"));
  if (verdict.kind === "refused") return refusalResponse(verdict.refusal, url.pathname);
  const { access } = verdict;
  const waitMs = parts.rate.take(access.tokenId, parts.core.now());
  if (waitMs > 0) return refusalResponse(tooMany(waitMs), url.pathname);
  switch (route) {
    case "hello":
      return json(hello(parts.core, access));
    case "events":
      return openStream(parts, call, access);
    case "metrics":
      return text(parts.metrics.scrape({ streams: parts.events.count(), version: parts.core.version }));
    case "locks":
    case "uploads":
      return refusalResponse(
        refuse("not_offered", `this server does not offer ${route}`, "do without, or ask for a server that does"),
        url.pathname,
      );
    default:
      return answerBody(parts, call, access);
  }
}

/** What can be said without knowing who asks. */
function checkCall({ request, url, route }: Call): Refusal | null {
  if (route === null)
    return refuse(
      "not_found",
      `there is nothing at ${url.pathname.slice(0, 200)}`,
      "see /openapi.json for what there is",
    );
  const isReserved = route === "locks" || route === "uploads";
  const wanted = route === "push" || route === "pull" || route === "fetch" ? "POST" : "GET";
  const isAllowed = isReserved || request.method === wanted || (wanted === "GET" && request.method === "HEAD");
  if (!isAllowed)
    return refuse("method_not_allowed", `${url.pathname} takes ${wanted}`, `send it with ${wanted}`, {
      headers: { allow: wanted },
    });
  if (!url.pathname.startsWith("/v1/")) return null;
  const named = request.headers.get("holdfast-protocol");
  if (named === String(protocolVersion)) return null;
  // A browser's EventSource cannot set headers, and hello is what tells the versions.
  if (named === null && (route === "hello" || route === "events")) return null;
  const message =
    named === null
      ? "the request does not say which protocol it speaks"
      : `protocol ${named.slice(0, 20)} is not spoken here`;
  return refuse("protocol_unsupported", message, `send Holdfast-Protocol: ${protocolVersion}`, {
    details: { supported: [protocolVersion] },
  });
}

async function answerBody(parts: Parts, { request, url, route }: Call, access: Access): Promise<Response> {
  const { core, metrics } = parts;
  const body = await readBody(request, core.limits.bodyBytes);
  if ("refusal" in body) return refusalResponse(body.refusal, url.pathname);
  if (route === "push") {
    const asked = readWire("push", pushRequest, body.value);
    const who = whoIn(access, asked.space);
    if (who === null) return forbidden(access, asked.space, url);
    const answered = await parts.pushes.push(asked, who);
    for (const { outcome } of answered.answers) metrics.countOutcome(outcome);
    return json(answered);
  }
  if (route === "pull") {
    const asked = checkPull(readWire("pull", pullRequest, body.value));
    const who = whoIn(access, asked.space);
    if (who === null) return forbidden(access, asked.space, url);
    if (wantsLines(request)) return lines(await pullStream(core, asked, who));
    const page = await pull(core, asked, who);
    metrics.countRecords(page.count);
    return jsonText(page.text);
  }
  const asked = readWire("fetch", fetchRequest, body.value);
  const who = whoIn(access, asked.space);
  if (who === null) return forbidden(access, asked.space, url);
  const found = await fetchRecords(core, asked, who);
  metrics.countRecords(found.records.length);
  return json(found);
}

function checkPull(asked: PullRequest): CheckedPull {
  const wants = asked.wants.map(({ filter, ...want }) =>
    filter === undefined || filter === null ? want : { ...want, filter: readWire("filter", where, filter) as Where },
  );
  return { ...asked, wants };
}

const wantsLines = (request: Request): boolean =>
  (request.headers.get("accept") ?? "").includes("application/x-ndjson");

/** A token that cannot be checked at the moment, because the database or the issuer is away, is not thereby a bad one. */
async function mayListen(
  authenticate: Authenticate,
  authorization: string | null,
  spaces: ReadonlySet<string>,
): Promise<boolean | null> {
  const verdict = await authenticate(authorization);
  if (verdict.kind === "refused") return verdict.refusal.code === "io_failed" ? null : false;
  return [...spaces].every((space) => whoIn(verdict.access, space) !== null);
}

async function openStream(parts: Parts, { request, url }: Call, access: Access): Promise<Response> {
  const { core, events } = parts;
  const spaces = [...new Set(url.searchParams.getAll("space"))];
  if (spaces.length === 0 || spaces.length > core.limits.streamSpaces || spaces.some((space) => !isSpaceName(space))) {
    const message = `name 1 to ${core.limits.streamSpaces} spaces of ${wireLimits.textLength} characters at most`;
    return refusalResponse(refuse("invalid_input", message, "e.g. /v1/events?space=main"), url.pathname);
  }
  for (const space of spaces) if (whoIn(access, space) === null) return forbidden(access, space, url);
  // Nobody would read the stream of a question that wants no body, and so nobody would end it.
  if (request.method === "HEAD") return new Response(null, { headers: streamHeaders });
  const { tokenId, expiresAt } = access;
  const stream = await events.open({ spaces, tokenId, expiresAt, authorization: request.headers.get("authorization") });
  if (stream !== null) return stream;
  const refusal = refuse("rate_limited", "too many event streams are open", "close some, or poll with pull", {
    headers: { "retry-after": "30" },
  });
  return refusalResponse(refusal, url.pathname);
}

const isSpaceName = (name: string): boolean => wireName.safeParse(name).success;

function forbidden({ subject }: Access, space: string, url: URL): Response {
  const message = `${subject} may not use the space ${space}`;
  const hint = "sign in with another account, or ask whoever runs the server for the right";
  return refusalResponse(refuse("space_forbidden", message, hint, { details: { space, subject } }), url.pathname);
}

const tooMany = (waitMs: number): Refusal =>
  refuse("rate_limited", "too many requests with this token", `try again in ${waitMs} ms`, {
    details: { waitMs },
    headers: { "retry-after": String(Math.ceil(waitMs / 1_000)) },
  });

function hello(core: Core, access: Access): Hello {
  return {
    server: "holdfast",
    version: core.version,
    protocols: [protocolVersion],
    subject: access.subject,
    spaces: access.spaces.map(({ space, roles }) => ({ space, roles: [...roles] })),
    collections: [...core.collections.values()].map(({ name, version }) => ({ name, version: version ?? 1 })),
    isOpen: core.isOpen,
    limits: {
      pushItems: wireLimits.pushItems,
      pushBytes: Math.min(core.limits.bodyBytes, wireLimits.pushBytes),
      pullPage: wireLimits.pullPage,
    },
    now: core.now(),
  };
}

async function health({ core }: Parts): Promise<Response> {
  try {
    await core.store.read((tx) => tx.all("SELECT 1 AS one"));
    return json({ status: "ok", version: core.version });
  } catch (error) {
    core.log({ level: "error", message: "the database does not answer", error: describe(error) });
    return json({ status: "failing", version: core.version }, 503);
  }
}

const json = (value: unknown, status = 200): Response => jsonText(JSON.stringify(value), status);

const jsonText = (body: string, status = 200): Response =>
  new Response(body, { status, headers: { ...safetyHeaders, "content-type": "application/json" } });

const text = (value: string): Response =>
  new Response(value, { headers: { ...safetyHeaders, "content-type": "text/plain; version=0.0.4; charset=utf-8" } });

const lines = (body: ReadableStream<Uint8Array>): Response =>
  new Response(body, { headers: { ...safetyHeaders, "content-type": "application/x-ndjson" } });

// ---- other origins ----------------------------------------------------------------------------------------------

function preflight({ origins }: Parts, request: Request): Response {
  const origin = request.headers.get("origin");
  const isAllowed = origin !== null && origins.includes(origin);
  const headers = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-encoding, content-type, holdfast-protocol",
    "access-control-max-age": "600",
  };
  return new Response(null, { status: 204, headers: { ...safetyHeaders, ...(isAllowed ? headers : {}) } });
}

function withCors({ origins }: Parts, request: Request, response: Response): Response {
  if (origins.length === 0) return response;
  response.headers.append("vary", "origin");
  const origin = request.headers.get("origin");
  if (origin !== null && origins.includes(origin)) {
    response.headers.set("access-control-allow-origin", origin);
    response.headers.set("access-control-expose-headers", "retry-after");
  }
  return response;
}
