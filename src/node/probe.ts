/**
 * Owns asking whether a remote can be reached from this machine, and recognising a captive portal that answers in its place.
 * When to ask and what to believe is left to the engine and `network.ts`.
 */
import { randomUUID } from "node:crypto";
import { parseJson } from "../problem.ts";
import type { ProbeResult, Signal } from "../world.ts";

/** One place to ask. What is not given is not checked. */
export type ProbeEndpoint = {
  readonly url: string;
  readonly method?: "GET" | "HEAD" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses that count; default: any below 400. */
  readonly status?: readonly number[];
  /** A text that the body must contain. */
  readonly body?: string;
  /** Sends a fresh text as header `Holdfast-Nonce` and query `nonce`, and wants it in the body: no cached page passes. */
  readonly hasNonce?: boolean;
  /** Asks a sync server for its health as JSON, and believes nothing else: a sign-in page at its address is none. */
  readonly isHealth?: boolean;
};

export type ProbeOptions = {
  /** Endpoints per remote; one that passes is enough. A remote without any is asked at its origin. */
  readonly endpoints?: Readonly<Record<string, readonly ProbeEndpoint[]>>;
  readonly timeoutMs?: number;
};

/** `known` are endpoints for a remote that is given none. */
export type Probe = (remote: string, signal: Signal, known?: readonly ProbeEndpoint[]) => Promise<ProbeResult>;

/** Bytes of a probe's answer that are read at most. */
const bodyLimitBytes = 65_536;
const defaultTimeoutMs = 5_000;
/** Steps from one address of a host to another, e.g. from http to https. */
const redirectLimit = 3;

/**
 * Makes the probe of a world. It never rejects: whatever goes wrong is a reason.
 * @example
 * const probe = makeProbe({ endpoints: { "https://api.example.com": [{ url: "https://api.example.com/health", body: "ok" }] } });
 */
export function makeProbe(options: ProbeOptions = {}): Probe {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  return async (remote, signal, known = []) => {
    const abort = new AbortController();
    const stop = (): void => abort.abort(signal.reason);
    const timer = setTimeout(() => abort.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    try {
      const endpoints = options.endpoints?.[remote] ?? known;
      if (endpoints.length === 0) return await probeOrigin(remote, abort.signal);
      return await firstReachable(endpoints.map((endpoint) => probeEndpoint(endpoint, abort.signal)));
    } catch (error) {
      return { isReachable: false, reason: describe(error, abort.signal) };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      // Ends the requests that lost the race and the bodies that nobody reads.
      abort.abort(new Error("the probe is over"));
    }
  };
}

/**
 * Where a sync server tells how it is, e.g. "https://sync.example.com/health".
 * @example
 * await makeProbe()("https://sync.example.com", signal, [healthOf("https://sync.example.com")]);
 */
export function healthOf(server: string): ProbeEndpoint {
  const url = new URL(server);
  return { url: `${url.origin}${url.pathname.replace(/\/+$/, "")}/health`, isHealth: true };
}

async function firstReachable(asked: readonly Promise<ProbeResult>[]): Promise<ProbeResult> {
  const reachable = asked.map(async (each) => {
    const result = await each;
    if (!result.isReachable) throw new Error(result.reason);
    return result;
  });
  try {
    return await Promise.any(reachable);
  } catch (error) {
    const reasons = error instanceof AggregateError ? error.errors.map((each: Error) => each.message) : [String(error)];
    return { isReachable: false, reason: [...new Set(reasons)].join("; ") };
  }
}

/** Any answer of the origin is proof, whatever its status, unless it sends us to somebody else. */
async function probeOrigin(remote: string, signal: AbortSignal): Promise<ProbeResult> {
  const url = URL.canParse(remote) ? new URL(remote) : null;
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    return { isReachable: true, reason: `${remote} has no address to ask; the next attempt will tell` };
  }
  const origin = `${url.origin}/`;
  const head = await ask(origin, { method: "HEAD", signal }).catch((error: unknown) => error);
  // A few servers hang up on HEAD instead of refusing it.
  const response = head instanceof Response || signal.aborted ? head : await ask(origin, { method: "GET", signal });
  if (!(response instanceof Response)) throw response;
  return portalReason(response, origin) ?? { isReachable: true, reason: `${url.origin} answered ${response.status}` };
}

async function probeEndpoint(endpoint: ProbeEndpoint, signal: AbortSignal): Promise<ProbeResult> {
  try {
    if (endpoint.isHealth === true) return await probeHealth(endpoint.url, signal);
    const nonce = randomUUID();
    const url = new URL(endpoint.url);
    if (endpoint.hasNonce === true) url.searchParams.set("nonce", nonce);
    const headers = { ...endpoint.headers, ...(endpoint.hasNonce === true ? { "Holdfast-Nonce": nonce } : {}) };
    const response = await ask(url.href, { method: endpoint.method ?? "GET", headers, signal });
    const portal = portalReason(response, url.href);
    if (portal !== null) return portal;
    const isExpected = endpoint.status?.includes(response.status) ?? response.status < 400;
    if (!isExpected) return { isReachable: false, reason: `${endpoint.url} answered ${response.status}` };
    const expected = [endpoint.body, endpoint.hasNonce === true ? nonce : undefined].filter(
      (text) => text !== undefined,
    );
    const body = expected.length === 0 ? "" : await readBounded(response);
    if (!expected.every((text) => body.includes(text))) {
      return { isReachable: false, reason: `${endpoint.url} answered with another page: a captive portal?` };
    }
    return { isReachable: true, reason: `${endpoint.url} answered ${response.status}` };
  } catch (error) {
    return { isReachable: false, reason: `${endpoint.url}: ${describe(error, signal)}` };
  }
}

/** A server whose database fails is reached all the same; what it says to requests then is evidence of its own. */
async function probeHealth(asked: string, signal: AbortSignal, redirects = 0): Promise<ProbeResult> {
  const response = await ask(asked, { headers: { accept: "application/json" }, signal });
  const portal = portalReason(response, asked);
  if (portal !== null) return portal;
  const location = response.headers.get("location");
  if (response.status >= 300 && response.status < 400 && location !== null && redirects < redirectLimit)
    return probeHealth(new URL(location, asked).href, signal, redirects + 1);
  if (isHealth(parseJson(await readBounded(response))))
    return { isReachable: true, reason: `${asked} answered ${response.status}` };
  return {
    isReachable: false,
    reason: `${asked} answered ${response.status}, and not as a sync server: a captive portal?`,
  };
}

function isHealth(body: unknown): boolean {
  const { status, version } = (body ?? {}) as { readonly status?: unknown; readonly version?: unknown };
  return (status === "ok" || status === "failing") && typeof version === "string";
}

function ask(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, { ...init, redirect: "manual", cache: "no-store" });
}

/** A redirect to another origin and status 511 are what portals answer in place of the remote. */
function portalReason(response: Response, asked: string): ProbeResult | null {
  if (response.status === 511) return { isReachable: false, reason: "the network wants a sign-in (status 511)" };
  const location = response.headers.get("location");
  if (response.status < 300 || response.status >= 400 || location === null) return null;
  const target = URL.canParse(location, asked) ? new URL(location, asked) : null;
  if (target !== null && target.host === new URL(asked).host) return null;
  return { isReachable: false, reason: `redirected to ${target?.host ?? location}: a captive portal?` };
}

async function readBounded(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let sizeBytes = 0;
  for await (const chunk of response.body ?? []) {
    sizeBytes += chunk.byteLength;
    text += decoder.decode(chunk, { stream: true });
    if (sizeBytes >= bodyLimitBytes) break;
  }
  return text;
}

/** The shortest words that name the cause; fetch hides it one level down. */
function describe(error: unknown, signal: AbortSignal): string {
  if (signal.aborted)
    return signal.reason instanceof Error ? signal.reason.message : String(signal.reason ?? "aborted");
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const systemCode = "code" in cause && typeof cause.code === "string" ? cause.code : "";
  return systemCode === "" ? cause.message : `no answer: ${systemCode}`;
}
