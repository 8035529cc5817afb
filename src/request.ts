/**
 * Owns what an `http.request` is: its payload, what is refused at enqueue, where local ids may stand in it, what is sent again
 * when the local side wins, and what may be shown of it. Sending is `node/request.ts`, judging what comes back `failure.ts`.
 */
import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import { ownHeaders, secretHeaders } from "./headers.ts";
import { firstIssue, wordless } from "./issue.ts";
import type { Json } from "./operation.ts";
import { isSecretName, redacted, redactJson } from "./redact.ts";
import { json, limits } from "./shapes.ts";
import { fileRef } from "./upload.ts";
import { checkUrl, displayUrl, originOf, parseUrl, pathSegments, replaceSegments } from "./url.ts";
import type { OperationType } from "./world.ts";

/** Limits of one request. `timeoutMs` bounds each of two phases: up to the headers of the answer, and its body. */
export const requestLimits = {
  timeoutMs: { default: 30_000, max: 86_400_000 },
  keptBytes: { default: 65_536, max: 1_048_576 },
  headers: 100,
  headerBytes: 8_192,
} as const;

const optional = z.optional;
const text = (max: number) => z.string().check(z.minLength(1), z.maxLength(max));

/** What a caller says about a request. */
const requestPayload = z.strictObject({
  method: text(20),
  url: text(8_192),
  headers: optional(z.record(z.string(), z.string().check(z.maxLength(requestLimits.headerBytes)))),
  body: optional(
    z.union([z.strictObject({ json }), z.strictObject({ text: z.string() }), z.strictObject({ file: fileRef })]),
  ),
  timeoutMs: optional(z.int().check(z.gte(1), z.lte(requestLimits.timeoutMs.max))),
  /** Statuses that count as success; 200 to 299 and 304 when not given. */
  success: optional(z.array(z.int().check(z.gte(100), z.lte(599))).check(z.minLength(1), z.maxLength(100))),
  /** Name in the credential store. Secrets themselves are refused here: payloads are kept, shown and exported. */
  credential: optional(z.string().check(z.regex(/^[a-z0-9][a-z0-9_.-]{0,99}$/i))),
  keep: optional(
    z.strictObject({
      headers: optional(z.array(text(100)).check(z.maxLength(50))),
      bodyBytes: optional(z.int().check(z.gte(0), z.lte(requestLimits.keptBytes.max))),
    }),
  ),
  /** Where the server's id is: a JSON Pointer (RFC 6901) into the answer, or its Location header. */
  idFrom: optional(z.union([z.literal("location"), z.string().check(z.maxLength(500), z.regex(/^\//))])),
  accept: optional(text(500)),
  /** `json`: only JSON is an answer. `any`: pages are answers as well. */
  expect: optional(z.enum(["json", "any"])),
  /** How the idempotency key is written: as it is (default), or as the structured-field string of the IETF draft. */
  idempotency: optional(z.enum(["raw", "quoted"])),
});
export type RequestPayload = z.infer<typeof requestPayload>;

const tokenShape = /^[!#$%&'*+.^_`|~0-9a-z-]+$/i;
// Latin-1 without control characters: what a header can carry and `fetch` accepts.
const valueShape = /^[\t\x20-\x7e\x80-\xff]*$/;
const preconditions = new Set(["if-match", "if-unmodified-since", "if-none-match"]);

/** The type without its `run`: enough to queue a request anywhere. */
export const httpRequest: OperationType = {
  type: "http.request",
  check: (payload) => checkRequest(payload) as Json,
  title: (payload) => titleOf(payload as RequestPayload),
  remoteOf: (payload) => originOf((payload as RequestPayload).url),
  timeoutMs: (payload) => attemptLimitMs(payload as RequestPayload),
  mentions: (payload) => mentionsOf(payload as RequestPayload),
  rewrite: (payload, serverIdOf) =>
    ({ ...(payload as object), url: rewriteUrl((payload as RequestPayload).url, serverIdOf) }) as Json,
  redact: redactRequest,
  resend: (payload, remote) => withFreshPrecondition(payload as RequestPayload, remote) as Json,
};

/**
 * Returns the payload in its stored form or throws `invalid_input` that says what to write instead.
 * @example
 * checkRequest({ method: "post", url: "https://API.example.com/notes" }) // { method: "POST", url: "https://api.example.com/notes" }
 */
export function checkRequest(payload: Json): RequestPayload {
  const parsed = z.safeParse(requestPayload, payload, wordless);
  if (!parsed.success) {
    throw refuse(firstIssue(parsed.error, "payload"), "a request needs at least `method` and `url`");
  }
  const { url, headers, ...rest } = parsed.data;
  const method = checkMethod(rest.method);
  if (rest.body !== undefined && (method === "GET" || method === "HEAD")) {
    throw refuse(`body: a ${method} carries none`, "leave `body` out or use POST");
  }
  const checked = headers === undefined ? {} : { headers: checkHeaders(headers) };
  return { ...rest, method, url: normalUrl(checkUrl(url)), ...checked };
}

/** The form in which a request may leave this machine in exports and logs: names stay, secrets go. */
export function redactRequest(payload: Json): Json {
  const found = redactJson(payload);
  if (typeof found !== "object" || found === null || !("url" in found) || typeof found.url !== "string") return found;
  return { ...found, url: replaceQuery(found.url, (value, name) => (isSecretName(name) ? redacted : value)) };
}

function checkMethod(text: string): string {
  const method = text.toUpperCase();
  if (!tokenShape.test(method) || ["CONNECT", "TRACE", "TRACK"].includes(method)) {
    throw refuse(
      `method: ${JSON.stringify(text)} cannot be sent`,
      "use GET, POST, PUT, PATCH, DELETE or another HTTP method",
    );
  }
  return method;
}

function checkHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value.trim()] as const);
  if (entries.length > requestLimits.headers) throw refuse(`headers: more than ${requestLimits.headers}`, "send fewer");
  const seen = new Set<string>();
  for (const [name, value] of entries) {
    if (!tokenShape.test(name))
      throw refuse(`headers: ${JSON.stringify(name)} is no header name`, "check the spelling");
    if (!valueShape.test(value))
      throw refuse(`headers.${name}: a character that no header can carry`, "use ISO 8859-1 only");
    if (seen.has(name)) throw refuse(`headers.${name}: given twice`, "join both values with a comma");
    seen.add(name);
    if (secretHeaders.has(name)) {
      throw refuse(
        `headers.${name}: a secret in a queued request would be stored, shown and exported`,
        'store it with `holdfast credentials set NAME` and name it: credential: "NAME"',
      );
    }
    if (ownHeaders.has(name)) throw refuse(`headers.${name}: this header is written by the sender`, "leave it out");
  }
  return Object.fromEntries(entries);
}

/** Host in lower case, default port and fragment left out: the fragment is never sent, and equal targets look equal. */
function normalUrl(url: string): string {
  const parts = parseUrl(url);
  if (parts === null) return url;
  const path = parts.path === "" ? "/" : parts.path;
  return `${originOf(url)}${path}${parts.rest.split("#")[0] ?? ""}`;
}

function titleOf({ method, url }: RequestPayload): string {
  const line = `${method} ${displayUrl(url)}`;
  return line.length <= limits.nameLength ? line : `${line.slice(0, limits.nameLength - 1)}…`;
}

/** Both phases and a margin, so that the handler's own words about a timeout come before the engine's. */
function attemptLimitMs(payload: RequestPayload): number {
  return 2 * (payload.timeoutMs ?? requestLimits.timeoutMs.default) + 5_000;
}

function mentionsOf({ url }: RequestPayload): readonly string[] {
  const values: string[] = [];
  replaceQuery(url, (value) => {
    if (value !== "") values.push(value);
    return value;
  });
  return [...new Set([...pathSegments(url), ...values])];
}

function rewriteUrl(url: string, serverIdOf: (localId: string) => string | null): string {
  return replaceQuery(replaceSegments(url, serverIdOf), (value) =>
    value === "" ? value : (serverIdOf(value) ?? value),
  );
}

/** Replaces whole query values; what stays the same keeps its spelling. */
function replaceQuery(url: string, replace: (value: string, name: string) => string): string {
  const parts = parseUrl(url);
  if (parts === null || !parts.rest.startsWith("?")) return url;
  const [query = "", ...fragment] = parts.rest.slice(1).split("#");
  const pairs = query.split("&").map((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 0) return pair;
    const value = decodeQuery(pair.slice(equals + 1));
    const found = replace(value, decodeQuery(pair.slice(0, equals)));
    return found === value ? pair : `${pair.slice(0, equals + 1)}${encodeQuery(found)}`;
  });
  const rest = [`?${pairs.join("&")}`, ...fragment].join("#");
  return `${parts.scheme}://${parts.authority}${parts.path}${rest}`;
}

function decodeQuery(part: string): string {
  try {
    return decodeURIComponent(part.replace(/\+/g, " "));
  } catch {
    return part;
  }
}

function encodeQuery(value: string): string {
  // A lone surrogate has no UTF-8 form; U+FFFD stands for it, as everywhere on the web.
  return encodeURIComponent(value.replace(/\p{Surrogate}/gu, "\ufffd"));
}

/**
 * The request that makes the local side win: its precondition names the version that the conflict showed, or is left out
 * where the remote named none. A weak ETag never passes If-Match (RFC 9110), so it counts as none.
 */
function withFreshPrecondition(payload: RequestPayload, remote: Json): RequestPayload {
  const { headers, ...rest } = payload;
  if (headers === undefined) return payload;
  const etag = headerOf(remote, "etag");
  const modified = headerOf(remote, "last-modified");
  const fresh: Readonly<Record<string, string | null>> = {
    "if-match": etag?.startsWith("W/") === true ? null : etag,
    "if-unmodified-since": modified,
    "if-none-match": null,
  };
  const kept = Object.entries(headers).flatMap(([name, value]) => {
    const next = preconditions.has(name) ? (fresh[name] ?? null) : value;
    return next === null ? [] : [[name, next] as const];
  });
  return kept.length === 0 ? rest : { ...rest, headers: Object.fromEntries(kept) };
}

function headerOf(remote: Json, name: string): string | null {
  if (typeof remote !== "object" || remote === null || !("headers" in remote)) return null;
  const headers = remote.headers;
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) return null;
  const value = (headers as { readonly [key: string]: Json })[name];
  return typeof value === "string" ? value : null;
}

function refuse(message: string, hint: string): HoldfastError {
  return new HoldfastError("invalid_input", message, hint);
}
