// Owns timing: medians, spreads over rounds, and rounds in which all subjects take turns so that noise meets all alike.
// Leaves what is timed to the bars.
import type { Spread } from "./types.ts";

export type Subject = { readonly name: string; readonly run: () => unknown; readonly share?: number };

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
 * Runs every subject `calls` times per round, taking turns call by call. `share` below 1 makes a slow peer take fewer turns.
 * The first round warms up and is thrown away.
 */
export async function takeTurns(
  subjects: readonly Subject[],
  count: { readonly rounds: number; readonly calls: number },
): Promise<Rounds> {
  const perRound = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
  for (let round = -1; round < count.rounds; round += 1) {
    const times = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
    for (let call = 0; call < count.calls; call += 1) {
      for (const { name, run, share = 1 } of subjects) {
        if (call < Math.max(1, count.calls * share)) times.get(name)?.push(await timeMs(run));
      }
    }
    // Timers of the engine (checkpoints from idle) get their turn, as in a program that waits for its next event.
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (round >= 0) for (const [name, values] of times) perRound.get(name)?.push(median(values));
  }
  return perRound;
}

/** Round by round, `top` divided by `bottom`. */
export function ratioOf(rounds: Rounds, top: string, bottom: string, factor = 1): Spread {
  const lower = rounds.get(bottom) ?? [];
  return spreadOf((rounds.get(top) ?? []).map((value, index) => (value / (lower[index] ?? Number.NaN)) * factor));
}

export function rowOf(rounds: Rounds, name: string, per = 1): Spread {
  return spreadOf((rounds.get(name) ?? []).map((value) => value / per));
}
