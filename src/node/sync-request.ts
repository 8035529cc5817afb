/**
 * Owns one request to a sync server: the token that is added when it goes out, gzip, time limits, bounded answers, redirects.
 * What an answer means is `../sync-failure.ts`; which requests there are is `sync-port.ts`.
 */
import { gzipSync } from "node:zlib";
import type { Phase } from "../failure.ts";
import { answerOfCode } from "../failure.ts";
import { parseJson } from "../problem.ts";
import type { Refusal } from "../sync-failure.ts";
import { classifySyncAnswer, classifySyncError } from "../sync-failure.ts";
import { protocolVersion } from "../wire.ts";
import type { Signal } from "../world.ts";
import type { Credentials } from "./credentials.ts";
import type { Hop } from "./redirect.ts";
import { isTrustedUrl, nextHop } from "./redirect.ts";

/** Asked before every request; `isRefused` after the server has refused the last token, which is the time to fetch a fresh one. */
export type TokenHook = (context: { readonly isRefused: boolean }) => string | Promise<string>;

export type SyncLineOptions = {
  /** Where the server is, e.g. "https://sync.example.com"; a path stands before the routes. */
  readonly url: URL;
  readonly subject: string;
  readonly token?: TokenHook;
  /** Name of a credential of the store. */
  readonly credential?: string;
  readonly credentials?: Pick<Credentials, "resolve">;
  readonly fetch?: typeof globalThis.fetch;
  readonly limits?: Partial<SyncLimits>;
};

export const syncLimits = {
  /** Until the headers of an answer; a server may work long on a full batch. */
  answerMs: 60_000,
  /** Longest silence in the middle of an answer. */
  stallMs: 30_000,
  /** Largest answer, decoded. */
  answerBytes: 67_108_864,
  /** A refusal's words are read up to here. */
  refusalBytes: 65_536,
  /** Smaller bodies are not worth compressing. */
  gzipBytes: 1_024,
  redirects: 5,
} as const;
type SyncLimits = { readonly [K in keyof typeof syncLimits]: number };

export type SyncAnswer =
  | { readonly kind: "answered"; readonly body: unknown; readonly sentBytes: number; readonly receivedBytes: number }
  | { readonly kind: "failed"; readonly answer: Refusal };

export type SyncLine = {
  readonly post: (route: string, body: unknown, signal: Signal) => Promise<SyncAnswer>;
  /** Opens a stream; the answer's body is the caller's to read. A text tells why there is none to be had now. */
  readonly stream: (route: string, signal: AbortSignal) => Promise<ReadableStream<Uint8Array> | string>;
};

type Line = SyncLineOptions & {
  readonly send: typeof globalThis.fetch;
  readonly limit: SyncLimits;
  /** The server gave a well-formed answer lately; it does not take gzip after it has refused it once. */
  readonly state: { isProven: boolean; takesGzip: boolean };
};

/** Makes the line to a sync server. Its functions never reject. */
export function openSyncLine(options: SyncLineOptions): SyncLine {
  const line: Line = {
    ...options,
    send: options.fetch ?? globalThis.fetch,
    limit: { ...syncLimits, ...options.limits },
    state: { isProven: false, takesGzip: true },
  };
  return {
    post: (route, body, signal) => post(line, { route, text: JSON.stringify(body), signal }),
    stream: (route, signal) => openStream(line, route, signal).catch(reasonOf),
  };
}

type Posting = { readonly route: string; readonly text: string; readonly signal: Signal };

/** Sends once, and once more where a fresh token or an uncompressed body may help. */
async function post(line: Line, posting: Posting): Promise<SyncAnswer> {
  const first = await postOnce(line, posting, false);
  if (first.isGzipRefused) {
    line.state.takesGzip = false;
    return (await postOnce(line, posting, false)).answer;
  }
  if (!isTokenRefused(first.answer)) return first.answer;
  const second = await postOnce(line, posting, true, first.authorization);
  // The same token again would only be refused again.
  return second.isSameToken ? first.answer : second.answer;
}

type Posted = {
  readonly answer: SyncAnswer;
  readonly authorization?: string | undefined;
  readonly isGzipRefused?: boolean;
  readonly isSameToken?: boolean;
};

async function postOnce(line: Line, posting: Posting, isRefused: boolean, refused?: string): Promise<Posted> {
  const clock = startClock(posting.signal, line.limit.answerMs);
  const stand: { phase: Phase } = { phase: "request" };
  try {
    const identity = await identify(line, isRefused, clock.signal);
    if ("kind" in identity)
      return { answer: { kind: "failed", answer: identity }, isSameToken: isRefused && isMissing(identity) };
    const { authorization } = identity.headers;
    if (isRefused && authorization === refused) return { answer: failed("unauthorized"), isSameToken: true };
    const isZipped = line.state.takesGzip && posting.text.length >= line.limit.gzipBytes;
    const body = isZipped ? gzipSync(posting.text) : Buffer.from(posting.text, "utf8");
    const headers = {
      ...headersOf(identity.headers),
      "content-type": "application/json",
      ...(isZipped ? { "content-encoding": "gzip" } : {}),
    };
    const first: Hop = {
      url: urlOf(line, posting.route),
      method: "POST",
      headers,
      hasBody: true,
      secretHeaders: Object.keys(identity.headers),
    };
    const arrived = await follow(line, first, { body, clock, stand });
    if ("kind" in arrived) return { answer: { kind: "failed", answer: arrived }, authorization };
    const answer = await finish(line, arrived, { clock, stand, sentBytes: body.byteLength });
    const isGzipRefused = isZipped && [400, 415].includes(arrived.response.status) && answer.kind === "failed";
    return { answer, authorization, isGzipRefused };
  } catch (error) {
    if (clock.isStopped()) return { answer: failed("stopped") };
    return { answer: { kind: "failed", answer: classifySyncError(error, stand.phase) } };
  } finally {
    clock.end();
  }
}

type Sending = {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly clock: Pick<Clock, "signal">;
  readonly stand: { phase: Phase };
};
type Arrived = { readonly hop: Hop; readonly response: Response };

async function follow(line: Line, first: Hop, { body, clock, stand }: Sending): Promise<Arrived | Refusal> {
  let hop = first;
  for (let count = 0; count <= line.limit.redirects; count += 1) {
    const response = await line.send(hop.url, {
      method: hop.method,
      headers: hop.headers,
      ...(hop.hasBody ? { body } : {}),
      redirect: "manual",
      signal: clock.signal,
    });
    const next = nextHop(hop, { status: response.status, location: response.headers.get("location") }, first.hasBody);
    if (next.kind === "none") return { hop, response };
    await response.body?.cancel().catch(() => undefined);
    if (next.kind === "refuse") return answerOfCode(next.code) as Refusal;
    // Turned into a GET, a request of this protocol means nothing any more: it is a sign-in page's redirect.
    if (next.isTurned) return answerOfCode("portal_redirect") as Refusal;
    hop = next.hop;
    stand.phase = "redirected";
  }
  return answerOfCode("redirect_loop") as Refusal;
}

type Finishing = { readonly clock: Clock; readonly stand: { phase: Phase }; readonly sentBytes: number };

async function finish(line: Line, { hop, response }: Arrived, at: Finishing): Promise<SyncAnswer> {
  at.stand.phase = "body";
  at.clock.restart(line.limit.stallMs);
  const isGood = response.status >= 200 && response.status < 300;
  const limitBytes = isGood ? line.limit.answerBytes : line.limit.refusalBytes;
  const body = await readText(response, limitBytes, () => at.clock.restart(line.limit.stallMs));
  if (body.isTruncated && isGood) return failed("answer_too_large");
  const parsed = isGood ? parseJson(body.text) : undefined;
  const refusal = classifySyncAnswer({
    status: response.status,
    headers: Object.fromEntries(response.headers),
    bodyText: body.text,
    body: parsed,
    request: {
      method: "POST",
      isTrusted: isTrustedUrl(hop.url),
      isProven: line.state.isProven,
      isTruncated: body.isTruncated,
      expect: "json",
      receivedAt: Date.now(),
    },
  });
  if (refusal !== null) {
    if (refusal.kind === "unknown") line.state.isProven = false;
    return { kind: "failed", answer: refusal };
  }
  line.state.isProven = true;
  // Nothing is left to doubt: `expect: "json"` has let only what parses through.
  return {
    kind: "answered",
    body: parsed,
    sentBytes: at.sentBytes,
    receivedBytes: Number(response.headers.get("content-length") ?? body.bytes),
  };
}

async function openStream(
  line: Line,
  route: string,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array> | string> {
  for (const isRefused of [false, true]) {
    const identity = await identify(line, isRefused, signal);
    if ("kind" in identity) return identity.problem.message;
    const first: Hop = {
      url: urlOf(line, route),
      method: "GET",
      headers: { ...headersOf(identity.headers), accept: "text/event-stream" },
      hasBody: false,
      secretHeaders: Object.keys(identity.headers),
    };
    const sending = { body: new Uint8Array(), clock: { signal }, stand: { phase: "request" as const } };
    // Followed by hand: a fetch takes every header but `Authorization` along to another origin.
    const arrived = await follow(line, first, sending);
    if ("kind" in arrived) return arrived.problem.message;
    const { response } = arrived;
    const type = response.headers.get("content-type") ?? "nothing";
    if (response.ok && response.body !== null && type.includes("text/event-stream")) return response.body;
    await response.body?.cancel().catch(() => undefined);
    if (response.status !== 401)
      return response.ok ? `it answered ${type}, no stream` : `it answered ${response.status}`;
  }
  return "it answered 401";
}

/** What broke a stream, in few words: the cause says more than "fetch failed". */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as { readonly cause?: unknown; readonly message?: unknown };
  const { code, message: deeper } = (cause ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  return String([code, deeper, message].find((said) => typeof said === "string" && said !== "") ?? error);
}

type Identity = { readonly headers: Readonly<Record<string, string>> };

/** The headers that say who this is, made for this one request and kept nowhere. */
async function identify(line: Line, isRefused: boolean, signal: AbortSignal): Promise<Identity | Refusal> {
  const { token, credential, credentials, url, subject } = line;
  if (token !== undefined) {
    const value = await askForToken(token, isRefused, signal);
    if (typeof value === "object") return value;
    if (typeof value !== "string" || value === "") return answerOfCode("credential_missing") as Refusal;
    return { headers: { authorization: `Bearer ${value}` } };
  }
  if (credential === undefined || credentials === undefined) return { headers: {} };
  const found = credentials.resolve({ name: credential, subject, origin: url.origin });
  if (found.kind === "found") return { headers: found.headers };
  const code = found.kind === "missing" ? "credential_missing" : "credential_refused";
  return answerOfCode(code, found.reason) as Refusal;
}

/**
 * A program's function that fails says nothing of the sync server: nothing was sent there. Where it failed for want of a network, that is
 * what there is to wait for; else its words are shown, and it is asked again when credentials are.
 */
async function askForToken(token: TokenHook, isRefused: boolean, signal: AbortSignal): Promise<string | Refusal> {
  try {
    return await untilAborted(
      Promise.resolve().then(() => token({ isRefused })),
      signal,
    );
  } catch (error) {
    if (signal.aborted) throw error;
    const failure = classifySyncError(error, "request");
    if (failure.kind === "unknown" && failure.problem.code !== "no_answer") return failure;
    return answerOfCode("token_failed", `no token could be had: ${reasonOf(error)}`) as Refusal;
  }
}

function headersOf(identity: Identity["headers"]): Record<string, string> {
  return {
    accept: "application/json",
    "accept-encoding": "gzip, br",
    "user-agent": "holdfast",
    "holdfast-protocol": String(protocolVersion),
    ...identity,
  };
}

function urlOf({ url }: Line, route: string): URL {
  return new URL(`${url.origin}${url.pathname.replace(/\/+$/, "")}${route}`);
}

function failed(code: string): SyncAnswer {
  return { kind: "failed", answer: answerOfCode(code) as Refusal };
}

/** No other token: then what the server said of the first is the reason to tell. */
const isMissing = ({ problem }: Refusal): boolean =>
  problem.code === "credential_missing" || problem.code === "credential_refused";

function isTokenRefused(answer: SyncAnswer): boolean {
  return answer.kind === "failed" && answer.answer.kind === "auth" && answer.answer.problem.status === 401;
}

type Text = { readonly text: string; readonly bytes: number; readonly isTruncated: boolean };

async function readText(response: Response, limitBytes: number, onChunk: () => void): Promise<Text> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    onChunk();
    parts.push(chunk);
    bytes += chunk.byteLength;
    // Leaving the loop cancels the rest of the body.
    if (bytes > limitBytes) break;
  }
  return { text: Buffer.concat(parts).toString("utf8"), bytes, isTruncated: bytes > limitBytes };
}

type Clock = {
  readonly signal: AbortSignal;
  readonly restart: (limitMs: number) => void;
  /** True when the engine itself has ended the request. */
  readonly isStopped: () => boolean;
  readonly end: () => void;
};

function startClock(outer: Signal, limitMs: number): Clock {
  const abort = new AbortController();
  const stop = (): void => abort.abort(outer.reason ?? new DOMException("stopped", "AbortError"));
  const arm = (ms: number): NodeJS.Timeout =>
    setTimeout(() => abort.abort(new DOMException(`no answer within ${ms} ms`, "TimeoutError")), ms);
  let timer = arm(limitMs);
  outer.addEventListener("abort", stop);
  if (outer.aborted) stop();
  return {
    signal: abort.signal,
    restart: (ms) => {
      clearTimeout(timer);
      timer = arm(ms);
    },
    isStopped: () => outer.aborted,
    end: () => {
      clearTimeout(timer);
      outer.removeEventListener("abort", stop);
    },
  };
}

/** A hook that hangs must not hang the sync. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
