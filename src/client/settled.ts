/**
 * Owns the wait for an operation's end: completed, cancelled, expired, or parked as failed.
 * It trusts facts over messages: an event only makes it look again, and it looks again by itself now and then.
 */
import { HoldfastError, isCode } from "../errors.ts";
import type { Json, Operation, Outcome } from "../operation.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { Feed } from "./feed.ts";
import { isEnding } from "./feed.ts";
import type { CallOptions } from "./transport.ts";
import { abortedBy, delay, linkSignals } from "./waiting.ts";

/** How often a waiting client looks again although no event came. */
const lookAgainMs = 15_000;
/** The first wait after a look that could not reach the engine; doubles up to `lookAgainMs`. */
const firstRetryMs = 250;

export type SettledOptions = {
  readonly signal?: AbortSignal;
  /** Milliseconds until the wait ends with `timed_out`; the operation itself goes on. */
  readonly timeoutMs?: number;
};

export type SettledDependencies = {
  readonly feed: Feed;
  readonly get: (id: string, options: CallOptions) => Promise<Operation>;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
};

/** Resolves with the operation when it has ended or is parked (`status: "failed"`). */
export async function waitUntilSettled(
  deps: SettledDependencies,
  id: string,
  options: SettledOptions,
): Promise<Operation> {
  const linked = linkSignals([deps.closing, options.signal], options.timeoutMs ?? null);
  const watched = watch(deps.feed, id);
  try {
    const settled = await look(deps, id, { watched, signal: linked.signal });
    if (settled !== null) return settled;
    if (options.signal?.aborted === true) throw abortedBy(options.signal, `waiting for operation ${id}`);
    if (deps.closing.aborted)
      throw new HoldfastError(
        "engine_closed",
        `the client was closed while it waited for operation ${id}`,
        "the operation goes on; connect again and wait again",
      );
    throw new HoldfastError(
      "timed_out",
      `operation ${id} did not settle within ${options.timeoutMs} ms`,
      "it goes on; `queue.why` tells what it waits for",
    );
  } finally {
    linked.release();
    watched.stop();
  }
}

type Watched = ReturnType<typeof watch>;

/** Listens for whatever may have moved the operation, from before the first look on. */
function watch(feed: Feed, id: string) {
  let ending = feed.endingOf(id);
  let isNews = false;
  let wake: () => void = () => {};
  const nudge = (): void => {
    isNews = true;
    wake();
  };
  const hear = (event: HoldfastEvent): void => {
    // Without an id it tells of many, e.g. that the store was emptied.
    if (event.id !== null && !(event.id === id || event.id.startsWith(id) || event.id.endsWith(id))) return;
    if (event.status !== null) ending = isEnding(event) ? event : undefined;
    if (isEnding(event) || event.kind === "removed") nudge();
  };
  const stop = feed.subscribe(hear, { onGap: nudge });
  return {
    stop,
    ending: () => ending,
    /** Resolves at the next news, after `delayMs`, or when the signal aborts. */
    news: async (delayMs: number, signal: AbortSignal): Promise<void> => {
      if (!isNews) {
        const waiting = new AbortController();
        wake = () => waiting.abort();
        signal.addEventListener("abort", wake, { once: true });
        await delay(signal.aborted ? 0 : delayMs, waiting.signal);
        signal.removeEventListener("abort", wake);
      }
      isNews = false;
    },
  };
}

async function look(
  deps: SettledDependencies,
  id: string,
  { watched, signal }: { readonly watched: Watched; readonly signal: AbortSignal },
): Promise<Operation | null> {
  let last: Operation | null = null;
  let retryMs = firstRetryMs;
  while (!signal.aborted) {
    try {
      // A short id that has been found is not looked up again: what was queued since may fit it as well.
      last = await deps.get(last?.id ?? id, { signal });
      if (isEnding(last)) return last;
      retryMs = firstRetryMs;
      await watched.news(lookAgainMs, signal);
    } catch (error) {
      if (signal.aborted) return null;
      if (isCode(error, "not_found")) return fromEnding(id, last, watched.ending());
      if (!isWorthWaiting(error)) throw error;
      await watched.news(retryMs, signal);
      retryMs = Math.min(retryMs * 2, lookAgainMs);
    }
  }
  return null;
}

/** An engine that cannot be reached right now says nothing about the operation. */
function isWorthWaiting(error: unknown): boolean {
  return (
    isCode(error, "daemon_unreachable") ||
    isCode(error, "database_busy") ||
    isCode(error, "rate_limited") ||
    isCode(error, "timed_out")
  );
}

/** The operation as it was seen last, with what its last event told: retention has pruned the row itself. */
function fromEnding(id: string, last: Operation | null, ending: HoldfastEvent | undefined): Operation {
  if (last === null || ending === undefined || ending.status === null) {
    throw new HoldfastError(
      "not_found",
      `operation ${id} is no longer in the store, and its end was not seen`,
      "it was removed, or it settled and retention pruned it; raise `retainCount` or `retainMs` to keep results longer",
    );
  }
  const detail = (typeof ending.detail === "object" && ending.detail !== null ? ending.detail : {}) as {
    readonly outcome?: Outcome;
    readonly result?: Json;
    readonly serverId?: string | null;
  };
  return {
    ...last,
    status: ending.status,
    reason: null,
    since: ending.at,
    nextAttemptAt: null,
    settledAt: ending.at,
    outcome: detail.outcome ?? last.outcome,
    result: detail.result ?? last.result,
    serverId: detail.serverId ?? last.serverId,
  };
}
