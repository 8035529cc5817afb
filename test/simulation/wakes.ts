// Owns the rule that no process wakes without end: a loop that finds nothing to do and does not sleep burns a real machine.
// Both simulations hang it on their machines; what else has to hold is invariants.ts and judge.ts of test/replicas.
import type { Scheduler } from "../../src/testing/scheduler.ts";

/** Timers that wake one process in one second, beside those that people set off. About ten is what happens; a thousand is one each millisecond. */
const wakeLimit = 100;

/** What one thing that a person does may set off. */
const wakesPerCommand = 4;

export type Wakes = {
  readonly note: (process: string) => void;
  /** A person does something now. */
  readonly noteCommand: () => void;
  readonly judge: () => { readonly rule: string; readonly detail: string } | null;
};

export function newWakes(scheduler: Scheduler): Wakes {
  const counts = new Map<string, number>();
  let second = -1;
  let allowed = wakeLimit;
  let worst: { readonly process: string; readonly second: number } | null = null;
  const turn = (): void => {
    const now = Math.floor(scheduler.elapsed() / 1_000);
    if (now === second) return;
    second = now;
    counts.clear();
    allowed = wakeLimit;
  };
  return {
    noteCommand: () => {
      turn();
      allowed += wakesPerCommand;
    },
    note: (process) => {
      turn();
      const count = (counts.get(process) ?? 0) + 1;
      counts.set(process, count);
      if (count > allowed) worst ??= { process, second };
    },
    judge: () =>
      worst === null
        ? null
        : {
            rule: "livelock",
            detail: `${worst.process} was woken more than ${wakeLimit} times in second ${worst.second}`,
          },
  };
}
