/**
 * Owns retry policies and the pure schedule of delays. Whether a failure is worth another attempt is judged in `failure.ts`;
 * where the schedule is kept is `engine/queue.ts`.
 */

/**
 * How an operation is tried again. Only genuine answers of the remote are charged against `maxAttempts`; being offline,
 * signed out or paced costs nothing. Delays are in milliseconds.
 */
export type RetryPolicy = {
  /** Charged attempts before the operation is parked. */
  readonly maxAttempts: number;
  /** First delay; doubles with each failure. Ignored when `delaysMs` is given. */
  readonly initialMs: number;
  /** Cap, applied before the jitter: jitter after the cap keeps a fleet spread out when it matters most. */
  readonly maxMs: number;
  /** Share of the delay that is random, 0 to 1. 1 is full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"). */
  readonly jitter: number;
  /** A fixed progression instead of doubling; its last entry repeats. */
  readonly delaysMs?: readonly number[];
};

export const retryPresets = {
  default: { maxAttempts: 8, initialMs: 1_000, maxMs: 60_000, jitter: 1 },
  lock: { maxAttempts: 5, initialMs: 1_000, maxMs: 15_000, jitter: 0.2 },
  transfer: { maxAttempts: 3, initialMs: 1_000, maxMs: 30_000, jitter: 0.2 },
  progressive: {
    maxAttempts: 5,
    initialMs: 30_000,
    maxMs: 3_600_000,
    jitter: 0.1,
    delaysMs: [30_000, 300_000, 1_800_000, 3_600_000],
  },
} as const satisfies Record<string, RetryPolicy>;

export type RetryPreset = keyof typeof retryPresets;

/**
 * Milliseconds to wait after the `failures`-th failure in a row (1 = the first), with `random` in [0, 1).
 * @example
 * retryDelayMs({ maxAttempts: 5, initialMs: 1000, maxMs: 15000, jitter: 0 }, 3, 0) // 4000
 */
export function retryDelayMs(policy: RetryPolicy, failures: number, random: number): number {
  const step = Math.max(1, failures);
  const fixed = policy.delaysMs;
  const raw =
    fixed === undefined || fixed.length === 0
      ? // 2 ** 1024 is Infinity, and Infinity times a delay of 0 would be no number.
        policy.initialMs * 2 ** Math.min(step - 1, 1_023)
      : (fixed[Math.min(step, fixed.length) - 1] ?? policy.maxMs);
  const capped = Math.min(raw, policy.maxMs);
  return Math.round(capped * (1 - policy.jitter * random));
}
