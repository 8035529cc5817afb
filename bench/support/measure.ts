// Owns timing: medians, spreads over rounds, and rounds in which all subjects take turns so that noise meets all alike.
// Leaves what is timed to the bars.
import type { Spread } from "./types.ts";

export type Subject = {
  readonly name: string;
  readonly run: () => unknown;
  /** Below 1 a slow peer takes fewer turns in a round. */
  readonly share?: number;
  /** A slow peer takes part in the first so many rounds only. */
  readonly rounds?: number;
  /** Runs before each turn, outside of the clock. */
  readonly prepare?: () => unknown;
};

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

export function spreadOf(values: readonly number[]): Spread {
  return { value: median(values), low: Math.min(...values), high: Math.max(...values) };
}

export async function timeMs(task: () => unknown): Promise<number> {
  const startedAt = performance.now();
  const pending = task();
  if (pending instanceof Promise) await pending;
  return performance.now() - startedAt;
}

/** Medians of each subject per round, in milliseconds. */
export type Rounds = ReadonlyMap<string, readonly number[]>;

/**
 * Runs every subject `calls` times per round, taking turns call by call. The first round warms up and is thrown away.
 */
export async function takeTurns(
  subjects: readonly Subject[],
  count: { readonly rounds: number; readonly calls: number },
): Promise<Rounds> {
  const perRound = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
  for (let round = -1; round < count.rounds; round += 1) {
    const times = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
    for (let call = 0; call < count.calls; call += 1) {
      for (const { name, run, prepare, share = 1, rounds = count.rounds } of subjects) {
        if (round >= rounds || call >= Math.max(1, count.calls * share)) continue;
        await prepare?.();
        times.get(name)?.push(await timeMs(run));
      }
    }
    // Timers of the engine (checkpoints from idle) get their turn, as in a program that waits for its next event.
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (round < 0) continue;
    for (const [name, values] of times) if (values.length > 0) perRound.get(name)?.push(median(values));
  }
  return perRound;
}

/** Round by round, `top` divided by `bottom`, over the rounds in which both took part. */
export function ratioOf(rounds: Rounds, top: string, bottom: string, factor = 1): Spread {
  const upper = rounds.get(top) ?? [];
  const lower = (rounds.get(bottom) ?? []).slice(0, upper.length);
  return spreadOf(lower.map((value, index) => ((upper[index] ?? Number.NaN) / value) * factor));
}

export function rowOf(rounds: Rounds, name: string, per = 1): Spread {
  return spreadOf((rounds.get(name) ?? []).map((value) => value / per));
}
