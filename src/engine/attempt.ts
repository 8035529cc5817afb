/**
 * Owns how an attempt's end is read: what a handler returned, what an abort means, and the least that must be booked.
 * Who runs attempts is `loop.ts`; what an answer does is `settle.ts`.
 */
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

const answerKinds = ["applied", "duplicate", "rejected", "conflict", "retry", "auth", "unknown"];

/** A handler of a user may answer anything; only the closed union goes on. */
export function checkAnswer(answer: unknown): Answer {
  const isAnswer =
    typeof answer === "object" && answer !== null && "kind" in answer && answerKinds.includes(String(answer.kind));
  if (isAnswer) return answer as Answer;
  const problem = {
    code: "handler_bad_answer",
    message: "the handler returned something that is no answer",
    hint: "return applied(), rejected(), retryLater() ...",
  };
  return { kind: "retry", problem, isCharged: true, scope: "operation" };
}

/** Milliseconds that one attempt may take; 0 means no limit. */
export function timeoutOf(type: OperationType, payload: Json): number {
  if (typeof type.timeoutMs === "function") return type.timeoutMs(payload);
  return type.timeoutMs ?? defaultTimeoutMs;
}
