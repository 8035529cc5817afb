/**
 * Owns sending an `http.request`: its headers, credentials, body, timeouts and redirects, and turning what comes into an answer.
 * What a request is belongs to `../request.ts`, its judgement to `../failure.ts`, secrets to `credentials.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Phase } from "../failure.ts";
import { answerOfCode, classifyError, classifyResponse, keepDoubt } from "../failure.ts";
import type { Answer } from "../operation.ts";
import type { RequestPayload } from "../request.ts";
import { httpRequest, requestLimits } from "../request.ts";
import type { FileRef } from "../upload.ts";
import type { Attempt, OperationType } from "../world.ts";
import type { Credentials } from "./credentials.ts";
import type { Hop } from "./redirect.ts";
import { isTrustedUrl, nextHop, redirectLimit } from "./redirect.ts";
import { readBody, resultOf, serverIdOf } from "./response.ts";
import type { Arrival, FileBody, Send } from "./sender.ts";
import { namedError, sendHttp } from "./sender.ts";
import { answerOfError } from "./transfer-answers.ts";

/** An open captured file, as `blobs.ts` gives it. */
export type OpenFile = {
  readonly sizeBytes: number;
  readonly read: (start: number, end: number) => AsyncIterable<Uint8Array>;
  /** Throws `file_changed` unless the content is still the captured one. */
  readonly assertUnchanged?: () => Promise<void>;
  readonly close: () => Promise<void>;
};

export type HttpRequestDeps = {
  readonly credentials: Pick<Credentials, "resolve">;
  /** Opens a captured body; throws `file_missing` or `file_changed`. */
  readonly readBlob?: (file: FileRef) => Promise<OpenFile>;
  /** Default: over the connections that the process shares. */
  readonly send?: Send;
};

/** How long a remote counts as proven after a well-formed answer. */
const provenMs = 600_000;
/** How many remotes are remembered as proven; the one that was proven first makes room. */
const provenLimit = 1_000;
const userAgent = "holdfast";

/**
 * Makes the `http.request` type that can send.
 * @example
 * openEngine({ database, world, types: [makeHttpRequest({ credentials })] });
 */
export function makeHttpRequest(deps: HttpRequestDeps): OperationType {
  const provenUntil = new Map<string, number>();
  return {
    ...httpRequest,
    run: async (attempt) => {
      const payload = attempt.input as RequestPayload;
      // The rule's own reading is a little wider than the platform's, e.g. for the host 256.256.256.256.
      if (!URL.canParse(payload.url))
        return answerOfCode("request_unusable", `no request can be sent to ${payload.url}`);
      const { origin } = new URL(payload.url);
      const answer = await send({
        deps,
        attempt,
        payload,
        isProven: (provenUntil.get(origin) ?? 0) > performance.now(),
      });
      if (answer.kind === "unknown" || isProof(answer)) provenUntil.delete(origin);
      if (isProof(answer)) {
        if (provenUntil.size >= provenLimit) provenUntil.delete(provenUntil.keys().next().value ?? "");
        provenUntil.set(origin, performance.now() + provenMs);
      }
      return keepDoubt(answer, attempt.operation.mayHaveLanded);
    },
  };
}

type Sending = {
  readonly deps: HttpRequestDeps;
  readonly attempt: Attempt;
  readonly payload: RequestPayload;
  readonly isProven: boolean;
};

/** Where an attempt stands; what an error means depends on it. */
type Stand = { phase: Phase; file: OpenFile | null };

async function send(sending: Sending): Promise<Answer> {
  const { deps, attempt, payload } = sending;
  const first = firstHop(sending);
  if ("kind" in first) return first;
  const stand: Stand = { phase: "request", file: null };
  const clock = startClock(attempt, payload.timeoutMs ?? requestLimits.timeoutMs.default);
  try {
    return await follow(sending, first, { stand, clock, sendHop: deps.send ?? sendHttp });
  } catch (error) {
    const own = ownError(error);
    if (own !== null) return ownAnswer(own, stand.phase);
    // Our own stop wins over what the torn connection says.
    if (attempt.signal.aborted) return stoppedAnswer(attempt, stand.phase);
    return classifyError(namedError(error), stand.phase);
  } finally {
    clock.end();
    await stand.file?.close().catch(() => undefined);
  }
}

type Tools = { readonly stand: Stand; readonly clock: Clock; readonly sendHop: Send };

async function follow(sending: Sending, first: Hop, { stand, clock, sendHop }: Tools): Promise<Answer> {
  const changesData = first.method !== "GET" && first.method !== "HEAD";
  let hop = first;
  let isDiverted = false;
  for (let count = 0; count <= redirectLimit; count += 1) {
    const body = await bodyOf(sending, hop, stand);
    const { url, method, headers } = hop;
    const arrival = await sendHop({ url, method, headers, body, onStoppable: clock.onStoppable });
    const next = nextHop(hop, { status: arrival.status, location: arrival.headers.location ?? null }, changesData);
    if (next.kind === "none") return await finish(sending, { hop, arrival, isDiverted, stand, clock });
    // What a redirect carries is not read.
    arrival.giveUp();
    if (next.kind === "refuse") return answerOfCode(next.code);
    hop = next.hop;
    stand.phase = "redirected";
    // A page at the end of such a way is a sign-in page far more often than the answer to what was sent.
    isDiverted ||= next.isCrossOrigin || (changesData && next.isTurned);
  }
  return answerOfCode(isTrustedUrl(first.url) ? "redirect_loop" : "portal_redirect");
}

type Arrived = {
  readonly hop: Hop;
  readonly arrival: Arrival;
  readonly isDiverted: boolean;
  readonly stand: Stand;
  readonly clock: Clock;
};

async function finish(sending: Sending, { hop, arrival, isDiverted, stand, clock }: Arrived): Promise<Answer> {
  const { payload, isProven } = sending;
  stand.phase = "body";
  clock.restart();
  const { status, headers } = arrival;
  const body = await readBody(arrival.body, status < 300 && stand.file !== null);
  const accept = payload.accept ?? payload.headers?.accept;
  const answer = classifyResponse({
    status,
    headers,
    bodyText: body.text,
    request: {
      method: hop.method,
      isTrusted: isTrustedUrl(hop.url) && !isDiverted,
      isProven: isProven && !isDiverted,
      isTruncated: body.isTruncated,
      receivedAt: Date.now(),
      ...(payload.expect === undefined ? {} : { expect: payload.expect }),
      ...(accept === undefined ? {} : { accept }),
      ...(payload.success === undefined ? {} : { success: payload.success }),
    },
  });
  if (answer.kind !== "applied" && answer.kind !== "duplicate") {
    arrival.giveUp();
    return hop.method === payload.method ? answer : afterTurn(answer);
  }
  // A server that says yes while we still write has not seen what it says yes to.
  await arrival.isSent;
  const result = resultOf({ status, url: hop.url.href, headers, body }, payload);
  const serverId = serverIdOf({ status, headers, body }, payload.idFrom);
  return serverId === null ? { ...answer, result } : { ...answer, result, serverId };
}

/** The request was answered with "look there": what looking there ends with is no word about the request. */
function afterTurn(answer: Answer): Answer {
  if (answer.kind === "rejected") return { ...answer, mayHaveLanded: true };
  return answer.kind === "retry" ? { ...answer, scope: "operation" } : answer;
}

/** The first request with everything that is added at send time, or the answer when a credential cannot be had. */
function firstHop({ deps, attempt, payload }: Sending): Hop | Answer {
  const url = new URL(payload.url);
  const type = payload.body === undefined ? {} : { "content-type": contentTypeOf(payload.body) };
  const key = attempt.idempotencyKey;
  const headers = {
    accept: payload.accept ?? (payload.expect === "any" ? "*/*" : "application/json, */*;q=0.5"),
    "user-agent": userAgent,
    ...type,
    ...payload.headers,
    // As it is by default: servers that take keys commonly check them as a UUID and keep quotes as part of it.
    "idempotency-key": payload.idempotency === "quoted" ? `"${key}"` : key,
  };
  const hop = { url, method: payload.method, headers, hasBody: payload.body !== undefined, secretHeaders: [] };
  if (payload.credential === undefined) return hop;
  const request = { name: payload.credential, subject: attempt.operation.subject, origin: url.origin };
  const found = deps.credentials.resolve(request);
  if (found.kind !== "found")
    return answerOfCode(found.kind === "missing" ? "credential_missing" : "credential_refused", found.reason);
  return { ...hop, headers: { ...headers, ...found.headers }, secretHeaders: Object.keys(found.headers) };
}

function contentTypeOf(body: NonNullable<RequestPayload["body"]>): string {
  if ("json" in body) return "application/json";
  return "text" in body ? "text/plain;charset=utf-8" : (body.file.mediaType ?? "application/octet-stream");
}

/** A file is opened anew for each hop, because a stream can be sent only once. */
async function bodyOf({ deps, payload }: Sending, hop: Hop, stand: Stand): Promise<string | FileBody | null> {
  const { body } = payload;
  if (body === undefined || !hop.hasBody) return null;
  if ("json" in body) return JSON.stringify(body.json);
  if ("text" in body) return body.text;
  if (deps.readBlob === undefined) {
    throw new HoldfastError(
      "file_missing",
      "this process cannot read captured files",
      "send it from the process that captured the file",
    );
  }
  await stand.file?.close();
  const file = await deps.readBlob(body.file);
  stand.file = file;
  return { sizeBytes: file.sizeBytes, blocks: readWhole(file) };
}

/** The last block waits for the check, so that a file which changed under way never arrives as a whole. */
async function* readWhole(file: OpenFile): AsyncGenerator<Uint8Array, void, undefined> {
  let held: Uint8Array | null = null;
  for await (const block of file.read(0, file.sizeBytes)) {
    if (held !== null) yield held;
    held = block;
  }
  await file.assertUnchanged?.();
  if (held !== null) yield held;
}

/** A well-formed answer of the remote itself, also a refusal. */
function isProof(answer: Answer): boolean {
  if (answer.kind === "applied" || answer.kind === "duplicate") return true;
  return (answer.kind === "rejected" || answer.kind === "conflict") && answer.problem.status !== undefined;
}

/** A failure of ours in the middle of sending, e.g. a captured file that changed. */
function ownError(error: unknown): HoldfastError | null {
  let current = error;
  for (let depth = 0; depth < 8 && current instanceof Error; depth += 1) {
    if (current instanceof HoldfastError) return current;
    current = current.cause;
  }
  return null;
}

/** Nothing whole was sent where the first request could not be made up. */
function ownAnswer(error: HoldfastError, phase: Phase): Answer {
  const answer = answerOfError(error);
  return answer.kind === "unknown" ? { ...answer, mayHaveLanded: phase !== "request" } : answer;
}

function stoppedAnswer(attempt: Attempt, phase: Phase): Answer {
  const { reason } = attempt.signal;
  const isTimeout = reason instanceof Error && reason.name === "TimeoutError";
  return isTimeout ? classifyError(reason, phase) : answerOfCode("stopped");
}

type Clock = {
  readonly onStoppable: (stop: (reason: Error) => void) => void;
  readonly restart: () => void;
  readonly end: () => void;
};

/** One time limit up to the headers and, restarted, one for the body: a server that drips bytes does not hold a slot for ever. */
function startClock(attempt: Attempt, timeoutMs: number): Clock {
  let stopped: Error | null = null;
  let stopExchange: (reason: Error) => void = () => {};
  const stop = (reason: Error): void => {
    stopped ??= reason;
    stopExchange(stopped);
  };
  const onAbort = (): void => stop(new DOMException("stopped", "AbortError"));
  const expire = (): void => stop(new DOMException(`no answer within ${timeoutMs} ms`, "TimeoutError"));
  const timer = setTimeout(expire, timeoutMs);
  attempt.signal.addEventListener("abort", onAbort);
  if (attempt.signal.aborted) onAbort();
  return {
    onStoppable: (stopThis) => {
      stopExchange = stopThis;
      if (stopped !== null) stopThis(stopped);
    },
    restart: () => void timer.refresh(),
    end: () => {
      clearTimeout(timer);
      attempt.signal.removeEventListener("abort", onAbort);
    },
  };
}
