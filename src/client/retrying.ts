/**
 * Owns retries in the foreground: a policy around any closure, with a cap on the whole wait and words for each attempt.
 * The schedule is `retry.ts`'s; whoever wants the work to outlive the process queues an operation instead.
 */
import { errorTable, HoldfastError } from "../errors.ts";
import { checkOptions } from "../misuse.ts";
import { wordsOfError } from "../no-answer.ts";
import { answerFromError } from "../reply.ts";
import type { RetryPolicy, RetryPreset } from "../retry.ts";
import { retryDelayMs, retryPresets } from "../retry.ts";
import { abortedBy, delay, linkSignals, orAborted } from "./waiting.ts";

/** A person who waits in front of a command waits no longer than this. */
const defaultTotalMs = 90_000;

/** How one attempt went. */
export type AttemptReport = {
  /** 1 for the first. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly outcome: "succeeded" | "retrying" | "gave_up";
  readonly elapsedMs: number;
  /** Milliseconds until the next attempt; null when there is none. */
  readonly delayMs: number | null;
  readonly error: unknown;
  /** All of it in one line for a person. */
  readonly message: string;
};

export type RetryingOptions = {
  readonly signal?: AbortSignal;
  /** Hears of every attempt that failed, and of a success that took more than one. */
  readonly onAttempt?: (report: AttemptReport) => void;
  /** Cap on everything, attempts and waits. Default 90,000; 0 means no cap. */
  readonly totalMs?: number;
  /** Tells which errors no retry can help. Default: a refusal by its own traits, and HTTP statuses 400 to 499 but 408, 425 and 429. */
  readonly isPermanent?: (error: unknown) => boolean;
};

export type RetryingTask<T> = (context: { readonly attempt: number; readonly signal: AbortSignal }) => T | Promise<T>;

/**
 * Runs `task` until it succeeds, is refused for good, or the policy or the cap ends it; then its last error is thrown.
 * @example
 * const page = await retrying("lock", ({ signal }) => fetchPage(url, { signal }), { onAttempt: ({ message }) => console.error(message) });
 */
export async function retrying<T>(
  policy: RetryPreset | Partial<RetryPolicy>,
  task: RetryingTask<T>,
  options: RetryingOptions = {},
): Promise<T> {
  checkOptions("retrying", options, ["signal", "onAttempt", "totalMs", "isPermanent"]);
  const rules = policyOf(policy);
  const { onAttempt, totalMs = defaultTotalMs, isPermanent = isRefusal } = options;
  const startedAt = performance.now();
  const elapsed = (): number => Math.round(performance.now() - startedAt);
  const linked = linkSignals([options.signal], totalMs > 0 ? totalMs : null);
  const { signal } = linked;
  let lastError: unknown;
  try {
    for (let attempt = 1; ; attempt += 1) {
      const facts = { attempt, maxAttempts: rules.maxAttempts };
      let value: T;
      try {
        refuseAborted(options.signal);
        value = await orAborted(Promise.resolve(task({ attempt, signal })), "the attempt", signal);
      } catch (error) {
        refuseAborted(options.signal);
        if (linked.isLate()) throw tooLong(attempt, totalMs, lastError ?? error);
        lastError = error;
        const delayMs = delayAfter(rules, attempt, error);
        const isOver = attempt >= rules.maxAttempts || isPermanent(error);
        const isLate = !isOver && totalMs > 0 && elapsed() + delayMs >= totalMs;
        const outcome = isOver || isLate ? "gave_up" : "retrying";
        onAttempt?.(
          reportOf({
            ...facts,
            outcome,
            elapsedMs: elapsed(),
            delayMs: outcome === "retrying" ? delayMs : null,
            error,
          }),
        );
        if (isOver) throw error;
        // Waiting until the cap for an attempt that cannot be made any more would only cost the person time.
        if (isLate) throw tooLong(attempt, totalMs, error);
        await delay(delayMs, signal);
        refuseAborted(options.signal);
        continue;
      }
      // Outside of what is tried: a listener that throws must not make a task run again that has succeeded.
      if (attempt > 1)
        onAttempt?.(reportOf({ ...facts, outcome: "succeeded", elapsedMs: elapsed(), delayMs: null, error: null }));
      return value;
    }
  } finally {
    linked.release();
  }
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortedBy(signal, "retrying");
}

function policyOf(policy: RetryPreset | Partial<RetryPolicy>): RetryPolicy {
  if (typeof policy !== "string") return { ...retryPresets.default, ...policy };
  if (!Object.hasOwn(retryPresets, policy))
    throw new TypeError(
      `retrying: no preset is called "${policy}"; use one of ${Object.keys(retryPresets).join(", ")}`,
    );
  return retryPresets[policy];
}

/** The remote's own wish, as `retryLater(problem, afterMs)` tells it, goes before the schedule. */
function delayAfter(policy: RetryPolicy, attempt: number, error: unknown): number {
  const answer = answerFromError(error);
  const wished = answer.kind === "retry" ? answer.afterMs : undefined;
  return Math.max(wished ?? 0, retryDelayMs(policy, attempt, Math.random()));
}

/** A refusal says so itself; whatever is not known to be permanent may pass (pain 4). */
function isRefusal(error: unknown): boolean {
  if (error instanceof HoldfastError) return !errorTable[error.code].isTransient;
  const { kind } = answerFromError(error);
  if (kind === "rejected" || kind === "conflict" || kind === "auth") return true;
  const status = (error as { readonly status?: unknown } | null)?.status;
  return typeof status === "number" && status >= 400 && status < 500 && ![408, 425, 429].includes(status);
}

function reportOf(facts: Omit<AttemptReport, "message">): AttemptReport {
  const { attempt, maxAttempts, outcome, elapsedMs, delayMs, error } = facts;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  switch (outcome) {
    case "succeeded":
      return { ...facts, message: `Succeeded after ${attempt} attempts in ${seconds(elapsedMs)}` };
    case "gave_up":
      return {
        ...facts,
        message: `Attempt ${attempt} failed: ${errorText(error)}. Gave up after ${seconds(elapsedMs)}`,
      };
    case "retrying": {
      const left = `${maxAttempts - attempt}/${maxAttempts} remaining`;
      return {
        ...facts,
        message: `Attempt ${attempt} failed: ${errorText(error)}. Retrying in ${seconds(delayMs ?? 0)} (${left})`,
      };
    }
  }
}

/** A reply that was thrown has its words in its problem. */
function errorText(error: unknown): string {
  const answer = answerFromError(error);
  return "problem" in answer ? answer.problem.message : wordsOfError(error);
}

function tooLong(attempts: number, totalMs: number, cause: unknown): HoldfastError {
  return new HoldfastError(
    "timed_out",
    `gave up after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}, because ${totalMs / 1000} s were over: ${errorText(cause)}`,
    "queue it instead: an operation goes on when the program has ended",
    { cause },
  );
}
