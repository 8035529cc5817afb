/**
 * Owns how an attempt's end is read: what a handler returned, what an abort means, and the least that must be booked.
 * Who runs attempts is `loop.ts`; what an answer does is `settle.ts`.
 */
import { errorTable, HoldfastError } from "../errors.ts";
import type { Evidence } from "../network.ts";
import { evidenceOf } from "../network.ts";
import type { Answer, Json } from "../operation.ts";
import type { OperationType } from "../world.ts";

const defaultTimeoutMs = 60_000;

/** The least that an answer says. A yes stays a yes whatever became of its result. */
export function bareAnswer(answer: Answer, error: unknown): Answer {
  if (answer.kind === "applied" || answer.kind === "duplicate") {
    return { kind: answer.kind, ...(answer.serverId === undefined ? {} : { serverId: answer.serverId }) };
  }
  const problem = { code: "booking_failed", message: `its answer could not be booked: ${String(error)}` };
  return { kind: "unknown", problem, mayHaveLanded: true };
}

export function afterAbort(answer: Answer, reason: unknown): Answer {
  return answer.kind === "unknown" || answer.kind === "retry" ? abortAnswer(reason) : answer;
}

export function abortAnswer(reason: unknown): Answer {
  return reason === "stopped"
    ? { kind: "unknown", problem: { code: "stopped", message: "sending was stopped" }, mayHaveLanded: true }
    : { kind: "unknown", problem: { code: "timeout", message: "no answer came in time" }, mayHaveLanded: true };
}

export const noAnswer = (message: string): Answer => ({
  kind: "unknown",
  problem: { code: "no_answer", message },
  mayHaveLanded: true,
});

/** What a handler that threw leaves behind. */
export function failedAnswer(error: unknown): Answer {
  const message = error instanceof Error ? error.message : String(error);
  // A checkpoint that could not be stored is our own trouble, not a failure of the remote: it costs nothing.
  if (error instanceof HoldfastError && errorTable[error.code].isTransient)
    return noAnswer(`the attempt was broken off: ${message}`);
  const problem = { code: "handler_failed", message: `the handler failed: ${message}` };
  return { kind: "retry", problem, isCharged: true, scope: "operation" };
}

const isText = (value: unknown): boolean => typeof value === "string";

function isProblem(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    "code" in value &&
    isText(value.code) &&
    "message" in value &&
    isText(value.message)
  );
}

/** A handler of a user may answer anything; only the closed union goes on. */
export function checkAnswer(given: unknown): Answer {
  const answer = (typeof given === "object" && given !== null ? given : {}) as Partial<Record<string, unknown>>;
  switch (answer.kind) {
    case "applied":
    case "duplicate":
      if (answer.serverId === undefined || isText(answer.serverId)) return given as Answer;
      break;
    case "rejected":
    case "conflict":
    case "auth":
    case "unknown":
      if (isProblem(answer.problem)) return given as Answer;
      break;
    case "retry":
      if (isProblem(answer.problem) && isDelay(answer.afterMs)) return given as Answer;
      break;
    default:
      break;
  }
  const problem = {
    code: "handler_bad_answer",
    message: "the handler returned something that is no answer",
    hint: "return applied(), rejected(), retryLater() ...",
  };
  return { kind: "retry", problem, isCharged: true, scope: "operation" };
}

function isDelay(value: unknown): boolean {
  return value === undefined || (typeof value === "number" && Number.isFinite(value) && value >= 0);
}

/** Milliseconds that one attempt may take; 0 means no limit. A type that cannot tell gets the standard. */
export function timeoutOf(type: OperationType, payload: Json): number {
  if (typeof type.timeoutMs !== "function") return type.timeoutMs ?? defaultTimeoutMs;
  try {
    return type.timeoutMs(payload);
  } catch {
    return defaultTimeoutMs;
  }
}

/** What one request tells of its remote. A batch is one request: a pace in it holds for all, and any answer proves the remote. */
export function evidenceOfAll(answers: readonly Answer[], at: number): Evidence | undefined {
  const told = answers.map((answer) => evidenceOf(answer, at)).filter((evidence) => evidence !== null);
  return told.find(({ kind }) => kind === "paced") ?? told.find(({ kind }) => kind === "answered") ?? told[0];
}
