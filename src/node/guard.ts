/**
 * Owns who may call the daemon: Host, Origin, Sec-Fetch-Site, token, media type, rates, and the proof by which a client
 * recognises its own daemon. Pure functions over facts; reading them off a socket is `listen.ts`, bodies are `body.ts`.
 */
import { createHmac, hash, timingSafeEqual } from "node:crypto";
import { HoldfastError } from "../errors.ts";

/** What is enforced; it may change while the daemon runs. */
export type GuardPolicy = {
  readonly token: string;
  /** Origins of web pages that may call, e.g. "http://localhost:5173". Compared as a whole. */
  readonly allowedOrigins: readonly string[];
  /** Names accepted in Host beside the loopback names; only with an explicit non-loopback listener. */
  readonly allowedHosts: readonly string[];
};

/** What the guard looks at, as it came over the wire. */
export type RequestFacts = {
  readonly method: string;
  /** The request target, e.g. "/v1/queue.add?x=1". */
  readonly target: string;
  /** Every Host header that was sent; a second one is an attempt to confuse somebody. */
  readonly hosts: readonly string[];
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  readonly authorization: string | undefined;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  readonly hasBody: boolean;
  /** Local port of the connection; `null` on the Unix socket. */
  readonly port: number | null;
};

/** What the guard decided: who is calling, or the refusal. */
export type Verdict =
  | { readonly kind: "refused"; readonly error: HoldfastError; readonly headers: Readonly<Record<string, string>> }
  | { readonly kind: "preflight"; readonly headers: Readonly<Record<string, string>> }
  | { readonly kind: "admitted"; readonly caller: Caller; readonly headers: Readonly<Record<string, string>> };

/** `anonymous` has shown no token and may only ask for `/health`; `browser` came from an allow-listed page. */
export type Caller = "anonymous" | "browser" | "local";

const loopbackNames = ["127.0.0.1", "[::1]", "localhost"];
const openPath = "/health";
const corsMethods = "GET, POST";
const corsHeaders = "authorization, content-type, last-event-id";
const preflightSeconds = "600";

/** Applies every check in order; what is refused first is what tells a stranger least. */
export function judge(policy: GuardPolicy, facts: RequestFacts): Verdict {
  const refusal = checkTarget(facts) ?? checkHost(policy, facts) ?? checkOrigin(policy, facts);
  if (refusal !== null) return refused(refusal, {});
  const cors = corsOf(facts);
  if (isPreflight(facts)) return { kind: "preflight", headers: preflightHeaders(cors) };
  const isKnown = facts.authorization !== undefined && hasToken(policy.token, facts.authorization);
  // A wrong token is refused on the open route as well, so that its sender learns that it is wrong.
  const isOpen = pathOf(facts.target) === openPath && facts.authorization === undefined;
  if (!isKnown && !isOpen) return refused(unauthorized(), { ...cors, "www-authenticate": 'Bearer realm="holdfast"' });
  const media = checkMedia(facts);
  if (media !== null) return refused(media, cors);
  const caller = isKnown ? (facts.origin === undefined ? "local" : "browser") : "anonymous";
  return { kind: "admitted", caller, headers: cors };
}

/** Only a loopback name with the right port: a page that rebinds its name to 127.0.0.1 still sends its own name. */
export function checkHost(policy: GuardPolicy, facts: RequestFacts): HoldfastError | null {
  const host = facts.hosts[0]?.toLowerCase();
  const isOne = facts.hosts.length === 1 && host !== undefined;
  if (isOne && isHostAllowed(policy, host, facts.port)) return null;
  return new HoldfastError(
    "forbidden_host",
    "the Host header does not name this daemon",
    "call http://127.0.0.1:<port> with the port from daemon.json",
  );
}

/** A request with an Origin comes from a web page; pages that are not on the list get nothing, not even with the token. */
function checkOrigin(policy: GuardPolicy, facts: RequestFacts): HoldfastError | null {
  if (facts.origin !== undefined && policy.allowedOrigins.includes(facts.origin)) return null;
  if (facts.origin === undefined && facts.fetchSite !== "cross-site") return null;
  return new HoldfastError(
    "forbidden_origin",
    "this web page may not call the daemon",
    "add its origin to `allowed_origins` under [daemon] in config.toml",
  );
}

/** Compares digests, so that neither the content nor the length of a guess shows in the time it takes. */
export function hasToken(token: string, authorization: string): boolean {
  const match = /^bearer +([^\s]+) *$/i.exec(authorization);
  if (expected.token !== token) expected = { token, digest: digestOf(token) };
  return timingSafeEqual(digestOf(match?.[1] ?? ""), expected.digest) && match !== null;
}

const digestOf = (text: string): Buffer => hash("sha256", text, "buffer");
/** The token's digest is made once: a daemon has one token. */
let expected = { token: "", digest: digestOf("") };

/** Bodies are JSON in UTF-8, unpacked: forms and plain text are what a foreign page can post without asking. */
function checkMedia(facts: RequestFacts): HoldfastError | null {
  const type = facts.contentType;
  if (type === undefined && !facts.hasBody) return null;
  const isJson = type !== undefined && /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(type.trim());
  const isPlain = facts.contentEncoding === undefined || facts.contentEncoding.toLowerCase() === "identity";
  if (isJson && isPlain) return null;
  return new HoldfastError(
    "unsupported_media_type",
    "the body is not plain application/json",
    "send JSON with the header `Content-Type: application/json` and without Content-Encoding",
  );
}

/**
 * What the daemon answers to a challenge: only who holds the token can compute it. The port is part of it, so that a
 * squatter on an old port cannot pass the challenge on to the real daemon; it is 0 on the Unix socket.
 */
export function proofOf(token: string, port: number, challenge: string): string {
  return createHmac("sha256", token).update(`holdfast-health\n${port}\n${challenge}`).digest("base64url");
}

/** Compares proofs in constant time. */
export function isProof(token: string, port: number, challenge: string, proof: unknown): boolean {
  if (typeof proof !== "string") return false;
  const expected = Buffer.from(proofOf(token, port, challenge));
  const given = Buffer.from(proof);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

export const challengePattern = /^[A-Za-z0-9_-]{16,128}$/;

/** Tells whether an address is reachable from this machine only. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Requests per second for one class of callers: `rate` flow in each second, up to `burst` at once. */
export type TokenBucket = { readonly take: (nowMs: number) => number };

/** Makes a bucket; `take` answers 0, or the milliseconds to wait for the next token. */
export function openBucket(rate: number, burst: number): TokenBucket {
  let level = burst;
  let last: number | null = null;
  const take = (nowMs: number): number => {
    level = Math.min(burst, level + (Math.max(0, nowMs - (last ?? nowMs)) / 1_000) * rate);
    last = nowMs;
    if (level < 1) return Math.ceil(((1 - level) / rate) * 1_000);
    level -= 1;
    return 0;
  };
  return { take };
}

/** The path of a request target, without its query. */
export function pathOf(target: string): string {
  const query = target.indexOf("?");
  return query === -1 ? target : target.slice(0, query);
}

function checkTarget(facts: RequestFacts): HoldfastError | null {
  if (facts.target.startsWith("/") && !facts.target.startsWith("//")) return null;
  // An absolute target would override the Host header that the next check looks at.
  return new HoldfastError("invalid_input", "the request target is not a path", "call e.g. POST /v1/queue.status");
}

function isHostAllowed(policy: GuardPolicy, host: string, port: number | null): boolean {
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(host);
  const name = match?.[1];
  if (name === undefined) return false;
  if (!loopbackNames.includes(name) && !policy.allowedHosts.includes(name)) return false;
  // A browser cannot open a Unix socket, so there is no port to mistake there.
  return port === null || Number(match?.[2] ?? 80) === port;
}

function isPreflight(facts: RequestFacts): boolean {
  return facts.method === "OPTIONS" && facts.origin !== undefined;
}

function corsOf(facts: RequestFacts): Readonly<Record<string, string>> {
  return facts.origin === undefined
    ? { vary: "Origin" }
    : { vary: "Origin", "access-control-allow-origin": facts.origin, "access-control-expose-headers": "retry-after" };
}

function preflightHeaders(cors: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return {
    ...cors,
    "access-control-allow-methods": corsMethods,
    "access-control-allow-headers": corsHeaders,
    "access-control-max-age": preflightSeconds,
  };
}

function unauthorized(): HoldfastError {
  return new HoldfastError(
    "unauthorized",
    "this request carries no valid token",
    "send the content of the file `token` in the data directory as `Authorization: Bearer <token>`",
  );
}

function refused(error: HoldfastError, headers: Readonly<Record<string, string>>): Verdict {
  return { kind: "refused", error, headers };
}
