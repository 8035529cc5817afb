/**
 * Owns what it means when a sync server refuses a whole request: such a refusal says nothing about any one operation, so it pauses
 * instead of parking. What an answer to a single operation means is the engine's; every other failure is judged by `failure.ts`.
 */
import type { Phase, ResponseFacts } from "./failure.ts";
import { answerOfCode, classifyError, classifyResponse } from "./failure.ts";
import type { Answer, Problem } from "./operation.ts";
import { parseJson } from "./problem.ts";
import type { WireCode } from "./wire.ts";
import { wireCodes } from "./wire.ts";

/** An answer that is no success. */
export type Refusal = Exclude<Answer, { readonly kind: "applied" | "duplicate" }>;

/** How long everything waits after a refusal that only a change on one of the two sides can end. */
const standstillMs = 60_000;

/** Statuses that say something about what was sent; a batch of one may be parked by them, a larger one is sent in parts. */
const aboutContent = new Set([400, 413, 422]);

/**
 * Judges an answer of a sync server; `null` is a success whose body is still to be checked. Never throws.
 * @example
 * classifySyncAnswer({ status: 403, headers, bodyText: '{"code":"account_suspended"}', request })?.kind // "auth"
 */
export function classifySyncAnswer(response: ResponseFacts): Refusal | null {
  const answer = classifyResponse(response);
  if (answer.kind === "applied" || answer.kind === "duplicate") return null;
  // A page, a proxy's failure or a broken body is nobody's word, whatever its status.
  if (answer.kind === "unknown") return answer;
  const named = answerOfWireCode(response);
  if (named !== null) return named;
  if (answer.kind !== "rejected" && answer.kind !== "conflict") return answer;
  if (answer.kind === "rejected" && aboutContent.has(response.status)) return answer;
  return inWords(codeOfStatus(response.status), answer.problem);
}

/** Judges what was thrown instead of an answer; an address that cannot be used waits for another one. Never throws. */
export function classifySyncError(error: unknown, phase: Phase): Refusal {
  const answer = classifyError(error, phase) as Refusal;
  return answer.kind === "rejected" ? inWords("not_a_sync_server", answer.problem) : answer;
}

/** The answer of a row, in the server's own words where it has some. */
function inWords(code: string, problem: Problem): Refusal {
  const answer = answerOfCode(code) as Refusal;
  const said = { ...answer.problem, message: problem.message };
  const status = problem.status === undefined ? said : { ...said, status: problem.status };
  return answer.kind === "retry"
    ? { ...answer, problem: status, afterMs: standstillMs }
    : { ...answer, problem: status };
}

function codeOfStatus(status: number): string {
  if (status === 403) return "space_forbidden";
  return status === 426 ? "protocol_unsupported" : "not_a_sync_server";
}

function answerOfWireCode({ status, bodyText }: ResponseFacts): Refusal | null {
  const body = parseJson(bodyText);
  if (typeof body !== "object" || body === null || Array.isArray(body)) return null;
  const { code, detail, title, message, hint } = body as Readonly<Record<string, unknown>>;
  if (!wireCodes.includes(code as WireCode)) return null;
  const row = answerOfCode(code as WireCode) as Refusal;
  const said = [detail, message, title].find((each) => typeof each === "string" && each !== "") as string | undefined;
  const problem = {
    ...row.problem,
    status,
    message: (said ?? row.problem.message).slice(0, 500),
    ...(typeof hint === "string" && hint !== "" ? { hint: hint.slice(0, 500) } : {}),
  };
  return row.kind === "retry" ? { ...row, problem, afterMs: standstillMs } : { ...row, problem };
}
