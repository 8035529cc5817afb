/**
 * Owns the routes: every verb at POST /v1/<verb>, the event stream, health, metrics and the OpenAPI document.
 * Who may call is decided before, in `guard.ts`; sockets and limits per connection are `listen.ts`.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Context } from "hono";
import { Hono } from "hono";
import type { Engine } from "../engine/engine.ts";
import { HoldfastError } from "../errors.ts";
import type { Verb } from "../verbs.ts";
import { isVerb } from "../verbs.ts";
import type { LogLevel } from "../world.ts";
import { readJson } from "./body.ts";
import type { AdmittedCall } from "./calls.ts";
import { answerCall, perform } from "./calls.ts";
import { refuseForeignCommands } from "./command-gate.ts";
import type { EventStream } from "./events.ts";
import { openEventStream } from "./events.ts";
import type { Caller } from "./guard.ts";
import { challengePattern, proofOf } from "./guard.ts";
import type { Metrics } from "./metrics.ts";
import { makeOpenApi } from "./openapi.ts";
import { errorOf, problemResponse, safetyHeaders } from "./problem.ts";

/** What the listener knows of a request beyond the request itself. */
export type CallFacts = {
  readonly caller: Caller;
  /** Local port; `null` on the Unix socket. */
  readonly port: number | null;
  /** Cuts the connection; for a client that no longer takes what it asked for. */
  readonly cut: () => void;
};

export type AppOptions = {
  readonly engine: Engine;
  readonly metrics: Metrics;
  readonly token: string;
  readonly version: string;
  readonly startedAt: number;
  readonly now: () => number;
  readonly limits: () => { readonly bodyBytes: number; readonly eventClients: number };
  readonly isStopping: () => boolean;
  readonly log: (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;
};

export type App = {
  readonly fetch: (request: Request, facts: CallFacts) => Response | Promise<Response>;
  /** Answers an admitted call of a verb straight to its socket. */
  readonly answerCall: (
    call: AdmittedCall & { readonly verb: Verb },
    at: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse },
  ) => Promise<void>;
  readonly countEventClients: () => number;
  /** Ends every event stream; their clients come back to whoever serves next. */
  readonly endEvents: () => void;
};

type Env = { Bindings: CallFacts };
type AppContext = Context<Env>;

/** Makes the application. It trusts `CallFacts`, and without them serves nobody but `/health`. */
export function makeApp(options: AppOptions): App {
  const streams = new Set<EventStream>();
  const document = JSON.stringify(makeOpenApi(options.version));
  const app = new Hono<Env>({ strict: true });

  app.use(async (context, next) => {
    const began = performance.now();
    if (context.env?.caller === undefined || (context.env.caller === "anonymous" && context.req.path !== "/health")) {
      return problemResponse(
        new HoldfastError("unauthorized", "this route needs the token", "send `Authorization: Bearer <token>`"),
        context.req.path,
      );
    }
    await next();
    options.metrics.observeRequest(routeOf(context.req.path), context.res.status, performance.now() - began);
    return undefined;
  });
  app.post("/v1/:verb", (context) => callVerb(options, context));
  app.get("/v1/events", (context) => streamEvents(options, streams, context));
  app.get("/health", (context) => showHealth(options, context));
  app.get("/metrics", async () => {
    const { contentType, text } = await options.metrics.scrape();
    return answer(text, contentType);
  });
  app.get("/openapi.json", () => answer(document, "application/json"));
  app.notFound((context) => refuseRoute(context));
  app.onError((thrown, context) => {
    const error = errorOf(thrown);
    if (error.code === "internal") options.log("error", "a request failed", { path: context.req.path, error: thrown });
    return problemResponse(error, context.req.path);
  });
  return {
    fetch: (request, facts) => app.fetch(request, facts),
    answerCall: (call, at) => answerCall(options, call, at),
    countEventClients: () => streams.size,
    endEvents: () => {
      for (const stream of [...streams]) stream.end();
    },
  };
}

async function callVerb(options: AppOptions, context: AppContext): Promise<Response> {
  const name = context.req.param("verb") ?? "";
  if (!isVerb(name)) return refuseRoute(context);
  const input = await readJson(context.req.raw, options.limits().bodyBytes);
  if (context.env.port !== null) refuseForeignCommands(options.engine, name, input);
  return answer(JSON.stringify(await perform(options.engine, name, input)), "application/json");
}

function streamEvents(options: AppOptions, streams: Set<EventStream>, context: AppContext): Response {
  const after = parsePosition(context.req.header("last-event-id") ?? context.req.query("after"));
  if (options.isStopping())
    throw new HoldfastError("engine_closed", "the daemon is stopping", "connect again in a moment");
  if (streams.size >= options.limits().eventClients) {
    throw new HoldfastError(
      "rate_limited",
      `${streams.size} clients are listening already`,
      "close one, or raise `max_event_clients` in config.toml",
    );
  }
  const headers = { ...safetyHeaders, "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" };
  // Nobody would read the stream of a question that wants no body, and so nobody would end it.
  if (context.req.method === "HEAD") return new Response(null, { headers });
  const stream = openEventStream(options.engine, {
    after,
    onEnd: (isStalled) => {
      streams.delete(stream);
      if (isStalled) context.env.cut();
    },
  });
  streams.add(stream);
  return new Response(stream.body, { headers });
}

function parsePosition(text: string | undefined): number | null {
  if (text === undefined || text === "") return null;
  const position = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(position)) return position;
  throw new HoldfastError(
    "invalid_input",
    "the position in the feed is not a whole number",
    "send the id of the last event that you have",
  );
}

function showHealth(options: AppOptions, context: AppContext): Response {
  const challenge = context.req.query("challenge");
  if (challenge !== undefined && !challengePattern.test(challenge)) {
    throw new HoldfastError(
      "invalid_input",
      "the challenge is not 16 to 128 characters of base64url",
      "send fresh random bytes",
    );
  }
  const port = context.env.port;
  const proof = challenge === undefined ? {} : { proof: proofOf(options.token, port ?? 0, challenge) };
  const state = healthOf(options);
  const more =
    context.env.caller === "anonymous"
      ? {}
      : { ...aboutProcess(options), ...(port === null ? {} : { port }), queue: state.queue };
  return answer(
    JSON.stringify({ status: state.status, ...proof, ...more }),
    "application/json",
    state.status === "stopping" ? 503 : 200,
  );
}

function aboutProcess(options: AppOptions): Readonly<Record<string, unknown>> {
  const uptimeMs = Math.max(0, options.now() - options.startedAt);
  return { version: options.version, pid: process.pid, startedAt: options.startedAt, uptimeMs };
}

function healthOf(options: AppOptions): { readonly status: "ok" | "degraded" | "stopping"; readonly queue: unknown } {
  if (options.isStopping()) return { status: "stopping", queue: null };
  const status = options.engine.handle("queue.status", {});
  const { light, sentence, counts, unsent, oldestUnsentAt, nextAttemptAt, isReadOnly, isDiskFull, isDraining } = status;
  const queue = { light, sentence, counts, unsent, oldestUnsentAt, nextAttemptAt, isReadOnly, isDiskFull, isDraining };
  return { status: isReadOnly || isDiskFull ? "degraded" : "ok", queue };
}

/** A path that exists answers 405 with what it takes; any other 404. */
function refuseRoute(context: AppContext): Response {
  const path = context.req.path;
  const allowed = allowedMethods(path);
  if (allowed !== null && !allowed.split(", ").includes(context.req.method)) {
    const error = new HoldfastError(
      "method_not_allowed",
      `${path} does not take ${context.req.method.slice(0, 20)}`,
      `use ${allowed}`,
    );
    return problemResponse(error, path, { allow: allowed });
  }
  const verb = /^\/v1\/([^/]+)$/.exec(path)?.[1];
  const error =
    verb === undefined
      ? new HoldfastError("not_found", "there is nothing at this path", "see /openapi.json for what there is")
      : new HoldfastError("unknown_verb", `there is no verb ${verb.slice(0, 100)}`, "see /openapi.json for the verbs");
  return problemResponse(error, path);
}

function allowedMethods(path: string): string | null {
  if (path === "/v1/events" || path === "/health" || path === "/metrics" || path === "/openapi.json")
    return "GET, HEAD";
  return path.startsWith("/v1/") && isVerb(path.slice(4)) ? "POST" : null;
}

/** Metrics must not grow with what strangers type. */
function routeOf(path: string): string {
  return allowedMethods(path) === null ? "other" : path;
}

function answer(body: string, contentType: string, status = 200): Response {
  return new Response(body, { status, headers: { ...safetyHeaders, "content-type": contentType } });
}
