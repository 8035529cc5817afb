/**
 * Owns sending a record change again after a definite no: under a new key, and at growing distances where the server keeps moving.
 * What the change has become meanwhile is decided by `overlay.ts` and `conflicts.ts`; how an operation moves is `lanes.ts`.
 */
import { State } from "../operation.ts";
import { settleInto } from "./lanes.ts";
import type { Brief } from "./queue.ts";
import { getBrief, resetBudget, setSchedule } from "./queue.ts";
import type { Store } from "./store.ts";

/** A record that everybody changes is not asked for ever faster: after some rounds each decision waits longer, half of it drawn by lot. */
export const roundDelayMs = { eager: 3, first: 250, most: 60_000 } as const;

/** How long the next round waits after so many that the server had moved in. */
export function delayOfRound(rounds: number, random: number): number {
  if (rounds < roundDelayMs.eager) return 0;
  const delay = roundDelayMs.first * 2 ** Math.min(rounds - roundDelayMs.eager, 20);
  return Math.round(Math.min(delay, roundDelayMs.most) * (0.5 + random / 2));
}

/** What was decided goes out under a new key: the refusal was definite, and the body is another one. */
export function sendAgain(store: Store, op: Brief): void {
  const now = getBrief(store, op.seq);
  if (now === null || now.state !== State.inFlight) return;
  resetBudget(store, op.seq, { generation: op.generation + 1, isUnsure: false, rounds: op.rounds + 1 });
  const delay = delayOfRound(op.rounds, store.world.random());
  const due = delay === 0 ? 0 : store.world.now() + delay;
  setSchedule(store, op.seq, { state: State.waiting, reason: "lane", due });
  settleInto(store, op.seq);
  if (getBrief(store, op.seq)?.state !== State.scheduled) return;
  setSchedule(store, op.seq, { state: State.scheduled, reason: "retry", due });
}

/** What was parked goes out again under a new key: it was refused for good, or its body is another one. */
export function free(store: Store, op: Brief): void {
  resetBudget(store, op.seq, { generation: op.generation + (op.attempts > 0 ? 1 : 0), isUnsure: false, rounds: 0 });
  setSchedule(store, op.seq, { state: State.waiting, reason: "lane", due: 0 });
  settleInto(store, op.seq);
}
