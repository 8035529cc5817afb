/**
 * Owns how anything in the client waits: for a promise or for a while, until a signal says stop.
 * How long to wait between attempts is `retry.ts`'s schedule.
 */
import { HoldfastError } from "../errors.ts";

/** A longer time would overflow the timer and end at once. */
const longestTimerMs = 2 ** 31 - 1;

/** The error of a wait that its caller ended. */
export function abortedBy(signal: AbortSignal, what: string): HoldfastError {
  return new HoldfastError(
    "aborted",
    `${what} was aborted`,
    "a write that was on its way may still have happened; look it up by its id",
    {
      cause: signal.reason,
    },
  );
}

/** Waits for a promise until the signal aborts; the work behind the promise is not undone. */
export async function orAborted<T>(promise: Promise<T>, what: string, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  // Nobody may be left to hear of a failure that comes after the abort.
  promise.catch(() => {});
  if (signal.aborted) throw abortedBy(signal, what);
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortedBy(signal, what));
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Resolves after `delayMs`, or at once when the signal aborts: the caller looks at the signal. */
export function delay(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.min(delayMs, longestTimerMs));
    signal?.addEventListener("abort", end, { once: true });
  });
}

export type LinkedSignal = {
  /** Aborts with the first of the signals, or when the time is over. */
  readonly signal: AbortSignal;
  readonly isLate: () => boolean;
  /** Lets go of the signals; call it when the wait is over. */
  readonly release: () => void;
};

/**
 * Joins signals for one wait. `AbortSignal.any` and `AbortSignal.timeout` do the same and are held by a signal that lives
 * as long as the client: about a kilobyte for each call that was ever made.
 */
export function linkSignals(signals: readonly (AbortSignal | undefined)[], timeoutMs: number | null): LinkedSignal {
  const controller = new AbortController();
  const sources = signals.filter((signal) => signal !== undefined);
  let isLate = false;
  const stop = (): void => controller.abort(sources.find((signal) => signal.aborted)?.reason);
  for (const source of sources) source.addEventListener("abort", stop, { once: true });
  if (sources.some((source) => source.aborted)) stop();
  const timer =
    timeoutMs === null || controller.signal.aborted
      ? undefined
      : setTimeout(
          () => {
            isLate = true;
            controller.abort();
          },
          Math.min(timeoutMs, longestTimerMs),
        );
  return {
    signal: controller.signal,
    isLate: () => isLate,
    release: () => {
      clearTimeout(timer);
      for (const source of sources) source.removeEventListener("abort", stop);
    },
  };
}
