/**
 * Owns what a handler may say instead of a plain result, and how whatever it returned or threw becomes an `Answer`.
 * The answers of built-in types are judged in `failure.ts`; what is done with an answer is the engine's.
 */
import { errorTable, HoldfastError } from "./errors.ts";
import { toJson } from "./json.ts";
import { looksUnanswered, wordsOfError } from "./no-answer.ts";
import type { Answer, Json, Problem } from "./operation.ts";

const answerOf = Symbol.for("holdfast.reply");

/** What a handler returns, or throws, to say more than "applied with this result". Made by the functions below. */
export type Reply = { readonly [answerOf]: Answer };

const reply = (answer: Answer): Reply => ({ [answerOf]: answer });

/** The remote did it. `serverId` names what it created, for an operation with `creates`. */
export function applied(result?: Json, more: { readonly serverId?: string } = {}): Reply {
  const answer = result === undefined ? { kind: "applied" as const } : { kind: "applied" as const, result };
  return reply(more.serverId === undefined ? answer : { ...answer, serverId: more.serverId });
}

/** The remote refused it for good: the operation is parked with this reason until a person or code decides. */
export function rejected(problem: Problem | string): Reply {
  return reply({ kind: "rejected", problem: problemOf(problem, "rejected") });
}

/** Somebody else changed it first. `remote` is their side, for `merge` and for the person who decides. */
export function conflict(problem: Problem | string, remote?: Json): Reply {
  const answer = { kind: "conflict" as const, problem: problemOf(problem, "conflict") };
  return reply(remote === undefined ? answer : { ...answer, remote });
}

/** The remote said "not now". With a time it is a request to pace, and costs no attempt; without, it is a charged failure. */
export function retryLater(problem: Problem | string, afterMs?: number): Reply {
  const answer = { kind: "retry" as const, problem: problemOf(problem, "retry_later"), scope: "operation" as const };
  return reply(afterMs === undefined ? { ...answer, isCharged: true } : { ...answer, isCharged: false, afterMs });
}

/** The credentials are missing or no longer good: everything of this subject waits until it signs in, at no charge. */
export function signedOut(problem: Problem | string): Reply {
  return reply({ kind: "auth", problem: problemOf(problem, "signed_out") });
}

/** Nobody knows whether it took effect: tried again with the same key, at no charge. */
export function unknownOutcome(problem: Problem | string): Reply {
  return reply({ kind: "unknown", problem: problemOf(problem, "no_answer"), mayHaveLanded: true });
}

/** The answer that was made by one of the functions above, or null. */
function readReply(value: unknown): Answer | null {
  if (typeof value !== "object" || value === null || !(answerOf in value)) return null;
  return (value as Reply)[answerOf];
}

/** The answer of a handler that returned: a reply, or any JSON, which means applied. */
export function answerFromValue(value: unknown): Answer {
  const said = readReply(value);
  if (said !== null) return said;
  if (value === undefined) return { kind: "applied" };
  try {
    return { kind: "applied", result: toJson(value, "result") as Json };
  } catch {
    // The remote has said yes, so the only end is "applied", whatever the handler made of the yes (pain 8).
    return { kind: "applied" };
  }
}

/**
 * The answer of a handler that threw. Only what says so by its own traits is permanent; a network's error charges nothing,
 * and anything else is tried again until the budget is spent (pain 4).
 */
export function answerFromError(error: unknown): Answer {
  const said = readReply(error);
  if (said !== null) return said;
  if (error instanceof HoldfastError) return answerFromFailure(error);
  const message = wordsOfError(error);
  if (looksUnanswered(error)) return { kind: "unknown", problem: { code: "no_answer", message }, mayHaveLanded: true };
  return { kind: "retry", problem: { code: "handler_failed", message }, isCharged: true, scope: "operation" };
}

function answerFromFailure({ code, message, hint }: HoldfastError): Answer {
  const problem: Problem = hint === "" ? { code, message } : { code, message, hint };
  if (code === "unauthorized" || code === "credential_missing") return { kind: "auth", problem };
  if (code === "aborted" || code === "timed_out" || code === "daemon_unreachable") {
    return { kind: "unknown", problem, mayHaveLanded: true };
  }
  if (errorTable[code].isTransient) return { kind: "retry", problem, isCharged: true, scope: "operation" };
  return { kind: "rejected", problem };
}

function problemOf(problem: Problem | string, code: string): Problem {
  return typeof problem === "string" ? { code, message: problem } : problem;
}
