/**
 * Owns how a refusal of a whole request looks: problem+json (RFC 9457) with `code` and `hint`, for codes of `errors.ts` and of `wire.ts`.
 * Refusals of single operations are values in the answer of a push, see `push.ts`.
 */
import type { ErrorCode } from "../errors.ts";
import { errorTable, HoldfastError } from "../errors.ts";
import type { WireCode } from "../wire.ts";

/** A request that is not answered with what it asked for. */
export type Refusal = {
  readonly code: ErrorCode | WireCode;
  readonly status: number;
  readonly message: string;
  readonly hint: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
};

export const problemMediaType = "application/problem+json";

/** Sent with every answer: nothing of a sync server belongs in a cache, a frame or another site's script. */
export const safetyHeaders: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

/** The status of each code that only a server answers with. */
const wireStatus: { readonly [code in WireCode]: number } = {
  token_missing: 401,
  token_invalid: 401,
  token_expired: 401,
  token_revoked: 403,
  account_suspended: 403,
  space_forbidden: 403,
  protocol_unsupported: 400,
  not_offered: 501,
};

export function refuse(
  code: ErrorCode | WireCode,
  message: string,
  hint: string,
  more: Pick<Refusal, "details" | "headers"> = {},
): Refusal {
  const status = code in wireStatus ? wireStatus[code as WireCode] : errorTable[code as ErrorCode].status;
  const challenge = status === 401 ? { "www-authenticate": `Bearer error="${code}"` } : {};
  return { code, status, message, hint, ...more, headers: { ...challenge, ...more.headers } };
}

/** Turns whatever was thrown into a refusal; the words of a stranger stay in the log. */
export function refusalOf(thrown: unknown): Refusal {
  if (!(thrown instanceof HoldfastError))
    return refuse("internal", "the server failed to answer this request", "try again; the server's log says more");
  const details = thrown.details === undefined ? {} : { details: thrown.details };
  const headers = errorTable[thrown.code].isTransient ? { headers: { "retry-after": "1" } } : {};
  return refuse(thrown.code, thrown.message, thrown.hint, { ...details, ...headers });
}

/** A complete answer. `instance` is the path that was asked for; a query might hold a secret. */
export function refusalResponse(refusal: Refusal, instance: string): Response {
  const { code, status, message, hint, details, headers } = refusal;
  const words = code.replaceAll("_", " ");
  const problem = {
    type: `urn:holdfast:problem:${code}`,
    title: words.charAt(0).toUpperCase() + words.slice(1),
    status,
    detail: message,
    instance,
    code,
    hint,
    ...(details === undefined ? {} : { details }),
  };
  return new Response(JSON.stringify(problem), {
    status,
    headers: { ...safetyHeaders, ...headers, "content-type": problemMediaType },
  });
}
