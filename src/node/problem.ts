/**
 * Owns how a failure looks over HTTP: problem+json (RFC 9457) with our `code`, `hint` and `details` beside the standard members.
 * Which failures exist is `errors.ts`; reading a problem back is the client's part.
 */
import type { ErrorCode } from "../errors.ts";
import { errorFrom, errorTable, HoldfastError } from "../errors.ts";

export type Problem = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance: string;
  readonly code: ErrorCode;
  readonly hint: string;
  readonly details?: Readonly<Record<string, unknown>>;
};

export const problemMediaType = "application/problem+json";

/** Sent with every answer: nothing of ours belongs in a cache, a frame or another site's script. */
export const safetyHeaders: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
};

/** Puts an error into its HTTP form. `instance` is the path that was asked for; a query might hold a secret. */
export function problemOf(error: HoldfastError, instance: string): Problem {
  return {
    type: `urn:holdfast:problem:${error.code}`,
    title: titleOf(error.code),
    status: errorTable[error.code].status,
    detail: error.message,
    instance,
    code: error.code,
    hint: error.hint,
    ...(error.details === undefined ? {} : { details: error.details }),
  };
}

/** Turns whatever was thrown into an error of ours; the words of a stranger stay in the log. */
export function errorOf(thrown: unknown): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  // A type's own check may come with its own copy of this package: its errors count by their code.
  if (thrown instanceof Error && isKnown((thrown as { readonly code?: unknown }).code) && "hint" in thrown) {
    const { code, message, hint, details } = thrown as Error & { code?: unknown; hint: unknown; details?: unknown };
    return errorFrom({ code, message, hint: String(hint), ...(details === undefined ? {} : { details }) });
  }
  return new HoldfastError("internal", "the daemon failed to answer this request", "see `holdfast daemon logs`", {
    cause: thrown,
  });
}

/** A complete answer for an error. */
export function problemResponse(
  error: HoldfastError,
  instance: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const problem = problemOf(error, instance);
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: { ...safetyHeaders, ...headers, "content-type": problemMediaType },
  });
}

function isKnown(code: unknown): boolean {
  return typeof code === "string" && Object.hasOwn(errorTable, code);
}

function titleOf(code: ErrorCode): string {
  const words = code.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
