/**
 * Owns turning a `Request` into the payload of an `http.request`, or refusing it before anything is sent.
 * Refusals do not depend on the network, so that a mistake shows while one is online. What else a payload may hold: `request.ts`.
 */
import { HoldfastError } from "../errors.ts";
import { ownHeaders, secretHeaders } from "../headers.ts";
import type { RequestPayload } from "../request.ts";

/** What one operation may carry (`limits.payloadBytes`). */
export const payloadLimitBytes = 1_048_576;

export type Captured = {
  readonly id: string;
  readonly payload: RequestPayload;
  /** The request for the direct attempt, with the operation's idempotency key. */
  readonly toRequest: () => Request;
};

export type CaptureOptions = {
  /** The body as the caller gave it; a `Request` itself only shows a stream. */
  readonly body: unknown;
  readonly id: string;
  readonly credential: string | undefined;
};

/** Reads a request into a payload, and keeps it sendable. */
export async function capture(request: Request, { body, id, credential }: CaptureOptions): Promise<Captured> {
  const secrets = [...secretHeaders].filter((name) => request.headers.has(name));
  if (secrets.length > 0 && credential === undefined) {
    throw refuse(
      `the header ${secrets.join(", ")} cannot be queued, because secrets are never stored`,
      'name the credential that stands for it, e.g. { credential: "api" }, and keep the secret in the credential store',
    );
  }
  refuseBody(request, body);
  const text = request.body === null ? "" : await textOf(request);
  const payload: RequestPayload = {
    method: request.method,
    url: request.url,
    headers: Object.fromEntries(
      [...request.headers].filter(([name]) => !ownHeaders.has(name) && !secretHeaders.has(name)),
    ),
    ...(text === "" ? {} : { body: bodyOf(request, text) }),
    ...(credential === undefined ? {} : { credential }),
  };
  const sizeBytes = new TextEncoder().encode(JSON.stringify(payload)).length;
  if (sizeBytes > payloadLimitBytes) {
    throw new HoldfastError(
      "payload_too_large",
      `offlineFetch: the request is ${sizeBytes} bytes; one operation carries up to ${payloadLimitBytes}`,
      "send large content as a file.upload",
    );
  }
  const toRequest = (): Request => {
    // From the parts, not from the request: its body has been read. The same bytes go out again when it is queued.
    const headers = new Headers(request.headers);
    headers.set("idempotency-key", id);
    return new Request(request, { headers, ...(request.body === null ? {} : { body: text }) });
  };
  return { id, payload, toRequest };
}

/** JSON is kept as a value where that gives the same bytes again: local ids in it are rewritten when the server has named them. */
function bodyOf(request: Request, text: string): NonNullable<RequestPayload["body"]> {
  if (!/[/+]json\b/i.test(request.headers.get("content-type") ?? "")) return { text };
  try {
    const json = JSON.parse(text, refuseInexact);
    return JSON.stringify(json) === text ? { json } : { text };
  } catch {
    return { text };
  }
}

/** As a value, a daemon would refuse these on their way to it; as text they travel like any other. */
function refuseInexact(key: string, value: unknown): unknown {
  const isExact = typeof value !== "number" || !Number.isInteger(value) || Number.isSafeInteger(value);
  if (isExact && key !== "__proto__" && !/\p{Surrogate}/u.test(`${key} ${typeof value === "string" ? value : ""}`))
    return value;
  throw new RangeError("not to be kept as a value");
}

/** What has no lasting form of its own, or is no text, is not bent into one. */
function refuseBody(request: Request, body: unknown): void {
  if (body instanceof FormData)
    throw refuse("a FormData body cannot be queued", "queue its files as file.upload, or send JSON");
  if (body instanceof ReadableStream)
    throw refuse(
      "a stream can be read only once, so it cannot be queued",
      "read it first and pass its text, or use file.upload",
    );
  // `fetch` itself names the type of every text; only bytes come without one.
  const type = request.headers.get("content-type") ?? "unnamed bytes";
  const isText =
    /^(text\/|application\/x-www-form-urlencoded|application\/(.+\+)?(json|xml)\b|application\/javascript)/i.test(type);
  if (request.body !== null && !isText)
    throw refuse(`a body of type ${type} cannot be queued`, "send text or JSON; queue bytes as file.upload");
}

async function textOf(request: Request): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await request.arrayBuffer());
  } catch (error) {
    if (request.signal.aborted) throw request.signal.reason;
    throw refuse(`the body is not UTF-8 text: ${String(error)}`, "send text or JSON; queue bytes as file.upload");
  }
}

function refuse(what: string, hint: string): HoldfastError {
  return new HoldfastError("invalid_input", `offlineFetch: ${what}`, hint);
}
