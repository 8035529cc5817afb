/**
 * Owns the judgement of a failed attempt: which row of `failures.ts` an error or an answer belongs to, and the `Answer` it makes.
 * Only a well-formed answer of the real remote is terminal; whatever may be a bad network's doing is `unknown` (pains 4, 20).
 */
import type { FailureRow } from "./failure-row.ts";
import { failureTable } from "./failures.ts";
import type { Answer, Json, Problem } from "./operation.ts";
import type { Headers } from "./pacing.ts";
import { isExhausted, paceOf } from "./pacing.ts";
import type { RemoteWords } from "./problem.ts";
import { parseJson, wordsOf } from "./problem.ts";

/** Where an attempt stood: before any answer, after a redirect was followed, or while a body was read. */
export type Phase = "request" | "redirected" | "body";

/** What the judgement needs to know of the request. */
export type RequestFacts = {
  readonly method: string;
  /** Nobody between can have answered: https, or a connection within this machine. */
  readonly isTrusted: boolean;
  /** The remote gave a well-formed answer to an earlier request lately. */
  readonly isProven?: boolean;
  readonly expect?: "json" | "any";
  readonly accept?: string;
  /** Statuses that count as success; 200 to 299 and 304 when not given. */
  readonly success?: readonly number[];
  /** The body was cut at our limit, so it cannot be checked as a whole. */
  readonly isTruncated?: boolean;
  /** When the answer arrived, by the local clock; used only where the answer carries no `Date`. */
  readonly receivedAt?: number;
};

export type ResponseFacts = {
  readonly status: number;
  readonly headers: Headers;
  readonly bodyText: string;
  /** What the body says, where the caller has parsed it already: a large one is parsed once. */
  readonly body?: Json | undefined;
  readonly request: RequestFacts;
};

/** How long everything for a remote waits after a 429 that names no time. */
const defaultPaceMs = 10_000;

const rowsByKey: ReadonlyMap<string, FailureRow> = new Map(
  failureTable.flatMap((row) => row.on.map((key) => [key, row])),
);
const rowsByPrefix = [...rowsByKey].flatMap(([key, row]) =>
  key.endsWith("*") ? [{ prefix: key.slice(0, -1), row }] : [],
);
const rowsByCode: ReadonlyMap<string, FailureRow> = new Map(failureTable.map((row) => [row.code, row]));

/** Looks a row up by its code; asking for one that is not there is a mistake of ours. */
export function rowOf(code: string): FailureRow {
  const row = rowsByCode.get(code);
  if (row === undefined) throw new TypeError(`no failure is called "${code}"`);
  return row;
}

/**
 * Judges what was thrown instead of an answer. Never throws, whatever it is given.
 * @example
 * classifyError(Object.assign(new Error("x"), { code: "ECONNREFUSED" }), "request").kind // "unknown"
 */
export function classifyError(error: unknown, phase: Phase): Answer {
  const links = chainOf(error);
  const row = links.reduce<FailureRow | null>((found, link) => found ?? rowOfLink(link), null) ?? rowOf("no_answer");
  const isConnecting = links.some((link) => link.syscall === "connect" || link.syscall === "getaddrinfo");
  const mayHaveLanded =
    phase !== "request" || row.landing === "yes" || (row.landing === "unless_connecting" && !isConnecting);
  const link = links.find((each) => each.code !== "") ?? links.at(-1);
  const said = link === undefined ? "" : link.code !== "" ? link.code : link.message;
  return answerOf(row, { message: said === "" ? row.reason : `${row.reason}: ${said.slice(0, 200)}`, mayHaveLanded });
}

/**
 * Judges an answer, success included: `applied`, or `duplicate` where the remote says that it replayed an earlier answer.
 * The handler adds result and id. Never throws, whatever it is given.
 */
export function classifyResponse(response: ResponseFacts): Answer {
  const { status, headers, request } = response;
  const key = doubtOf(response) ?? (isSuccess(status, request) ? null : refusalKey(response));
  if (key === null) {
    const isReplay = [headers["idempotency-replayed"], headers["idempotent-replayed"]].some(
      (value) => value?.trim() === "true",
    );
    return { kind: isReplay ? "duplicate" : "applied" };
  }
  return answerFrom(rowsByKey.get(key) ?? rowOf("no_answer"), response);
}

/** Makes the answer of a named row, for what no error and no status tells: a refused redirect, a missing credential. */
export function answerOfCode(code: string, message?: string): Answer {
  const row = rowOf(code);
  return answerOf(row, { message: message ?? row.reason, mayHaveLanded: row.landing !== "no" });
}

function answerFrom(row: FailureRow, response: ResponseFacts): Answer {
  const { status, headers, bodyText, request } = response;
  const words = isPage(response) ? { message: null, field: null, detail: null } : wordsOf(bodyText);
  const pace = paceOf(headers, request.receivedAt);
  const afterMs = pace ?? (row.scope === "remote" ? defaultPaceMs : null);
  return answerOf(row, {
    message: `${row.reason} (${status})${words.message === null ? "" : `: ${words.message}`}`,
    mayHaveLanded: true,
    status,
    ...(words.field === null ? {} : { field: words.field }),
    ...(words.detail === null ? {} : { detail: words.detail }),
    ...(afterMs === null ? {} : { afterMs }),
    ...(row.kind === "conflict" ? { remote: remoteSide(response) } : {}),
  });
}

type More = {
  readonly message: string;
  readonly mayHaveLanded: boolean;
  readonly status?: number;
  readonly field?: string;
  readonly detail?: Json;
  readonly afterMs?: number;
  readonly remote?: Json;
};

function answerOf(row: FailureRow, more: More): Answer {
  const { message, mayHaveLanded, afterMs, remote, ...rest } = more;
  const problem: Problem = { code: row.code, message, hint: row.hint, ...rest };
  switch (row.kind) {
    case "unknown":
      return { kind: "unknown", problem, mayHaveLanded };
    case "retry": {
      const answer = { kind: "retry", problem, isCharged: row.isCharged, scope: row.scope } as const;
      return afterMs === undefined ? answer : { ...answer, afterMs };
    }
    case "conflict":
      return remote === undefined ? { kind: "conflict", problem } : { kind: "conflict", problem, remote };
    case "rejected":
      return row.landing === "no" ? { kind: "rejected", problem } : { kind: "rejected", problem, mayHaveLanded };
    default:
      return { kind: row.kind, problem };
  }
}

/**
 * A refusal of ours, such as a file that changed, tells nothing about an earlier attempt: it keeps the doubt, and a retry its key.
 * The remote's own refusals carry a status.
 */
export function keepDoubt(answer: Answer, isInDoubt: boolean): Answer {
  const isOurs = answer.kind === "rejected" && answer.problem.status === undefined;
  return isOurs && isInDoubt ? { ...answer, mayHaveLanded: true } : answer;
}

/** The remote's side of a conflict, in the form that `resend` of `request.ts` reads. */
function remoteSide({ status, headers, bodyText }: ResponseFacts): Json {
  const body = parseJson(bodyText);
  const kept = ["etag", "last-modified"].flatMap((name) =>
    headers[name] === undefined ? [] : [[name, headers[name]] as const],
  );
  return { status, headers: Object.fromEntries(kept), body: body === undefined ? bodyText : body };
}

/** The row of an answer that cannot be taken at its word, whatever its status; `null` when it can. */
function doubtOf(response: ResponseFacts): string | null {
  const { status, headers, request } = response;
  if (!Number.isInteger(status) || status < 100 || status > 599) return "a status outside 100 to 599";
  if (status < 200) return "1xx";
  if (status === 511) return "511";
  if (status >= 400 && saysProxyFailed(headers)) return "a proxy that says it failed itself";
  if (isPage(response) && !asksForPage(request)) return pageDoubt(response);
  return jsonDoubt(response);
}

function pageDoubt({ status, headers, request }: ResponseFacts): string | null {
  if (isSuccess(status, request)) {
    if (request.expect === "json") return "HTML where JSON was asked for";
    return isBelieved(request) ? null : "HTML over plain http where none was asked for";
  }
  if (status < 400) return null;
  // Neither ends an operation nor costs it anything, so a page is believed here.
  if (isPatient(status, headers)) return null;
  if (!isBelieved(request)) return "HTML over plain http where none was asked for";
  return status < 500 && status !== 408 && status !== 425 ? "a refusal as HTML over a trusted connection" : null;
}

function jsonDoubt({ status, headers, bodyText, body, request }: ResponseFacts): string | null {
  if (request.isTruncated === true || request.method === "HEAD" || [204, 205, 304].includes(status)) return null;
  const isSaidJson = /^[^;]*\bjson\b/i.test(headers["content-type"] ?? "");
  if (isSuccess(status, request)) {
    return request.expect === "json" && body === undefined && parseJson(bodyText) === undefined
      ? "a body that is not the JSON it says"
      : null;
  }
  const isDefinite = status >= 400 && status < 500 && !isPatient(status, headers);
  const isBroken = isSaidJson && bodyText.trim() !== "" && parseJson(bodyText) === undefined;
  return isDefinite && isBroken ? "a body that is not the JSON it says" : null;
}

function refusalKey(response: ResponseFacts): string {
  const { status, headers, request, bodyText } = response;
  if (status < 300) return "2xx";
  if (status < 400) return isBelieved(request) ? "3xx" : "a redirect that cannot be told from a sign-in page";
  if (status === 403 && (isExhausted(headers) || headers["retry-after"] !== undefined))
    return "403 with an exhausted rate limit";
  if (status === 503 && paceOf(headers, request.receivedAt) !== null) return "503 with Retry-After";
  if ([400, 409, 422].includes(status)) {
    const key = idempotencyKeyProblem(status, wordsOf(bodyText));
    if (key !== null) return key;
  }
  if (rowsByKey.has(String(status))) return String(status);
  if (status >= 500) return "5xx";
  const isStructured = typeof parseJson(bodyText) === "object";
  return isStructured || isBelieved(request) ? "4xx" : "an unknown 4xx that may be of a proxy";
}

/** A 409 or 422 about the key itself is no version conflict and no bad content; the draft and Stripe word it differently. */
function idempotencyKeyProblem(status: number, { names }: RemoteWords): string | null {
  const said = names.join(" ");
  if (!/idempoten/i.test(said)) return null;
  const isMismatch =
    /reus|already.used|used.(for|with)|different|mismatch|(param|payload|body|content).*(match|chang|same)/i.test(said);
  if (isMismatch) return "an Idempotency-Key that was used for something else";
  if (status === 409) return "409 for an Idempotency-Key that is still running";
  return status === 422 ? "an Idempotency-Key that was used for something else" : null;
}

function isSuccess(status: number, request: RequestFacts): boolean {
  return request.success === undefined
    ? (status >= 200 && status < 300) || status === 304
    : request.success.includes(status);
}

/** What neither ends an operation nor charges it: sign-in and pauses. */
function isPatient(status: number, headers: Headers): boolean {
  if (status === 401) return headers["www-authenticate"] !== undefined;
  return status === 407 || status === 429 || (status === 503 && headers["retry-after"] !== undefined);
}

function isBelieved(request: RequestFacts): boolean {
  return request.isTrusted || request.isProven === true;
}

function asksForPage(request: RequestFacts): boolean {
  return request.expect === "any" || (request.expect === undefined && /html/i.test(request.accept ?? ""));
}

function isPage({ headers, bodyText, request }: ResponseFacts): boolean {
  if (request.method === "HEAD" || bodyText.trim() === "") return false;
  const type = headers["content-type"];
  return type === undefined || type.trim() === "" ? /^\s*<(!doctype\s+html|html)/i.test(bodyText) : /html/i.test(type);
}

/** RFC 9209 and what Squid says. */
function saysProxyFailed(headers: Headers): boolean {
  return /;\s*error=/i.test(headers["proxy-status"] ?? "") || headers["x-squid-error"] !== undefined;
}

type Link = { readonly name: string; readonly code: string; readonly message: string; readonly syscall: string };

/** The error, its causes and the first of an aggregate; at most eight links, because a cause may point back. */
function chainOf(error: unknown): readonly Link[] {
  const links: Link[] = [];
  let current = error;
  while (links.length < 8 && current !== undefined && current !== null) {
    links.push({
      name: textOf(current, "name"),
      code: textOf(current, "code"),
      message: typeof current === "string" ? current : textOf(current, "message"),
      syscall: textOf(current, "syscall"),
    });
    const errors = propertyOf(current, "errors");
    current = propertyOf(current, "cause") ?? (Array.isArray(errors) ? errors[0] : undefined);
  }
  return links;
}

function rowOfLink({ name, code, message }: Link): FailureRow | null {
  // fetch gives these no code.
  if (/\bbad port\b/i.test(message)) return rowOf("blocked_port");
  if (/redirect count exceeded/i.test(message)) return rowOf("redirect_loop");
  if (/^(Invalid URL|Failed to parse URL)/i.test(message)) return rowOf("request_unusable");
  const byCode =
    code === "" ? undefined : (rowsByKey.get(code) ?? rowsByPrefix.find((each) => code.startsWith(each.prefix))?.row);
  return byCode ?? rowsByKey.get(`name:${name}`) ?? null;
}

function propertyOf(value: unknown, name: string): unknown {
  try {
    return (value as Record<string, unknown>)[name];
  } catch {
    // A getter or proxy that throws tells nothing.
    return undefined;
  }
}

function textOf(value: unknown, name: string): string {
  const found = propertyOf(value, name);
  return typeof found === "string" ? found : "";
}
