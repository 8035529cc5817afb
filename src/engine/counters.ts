/**
 * Owns which counters a row of the table `op` moves: its state's, its size's, its end's and its channel's.
 * The numbers themselves are kept and written by `store.ts`; `queue.ts` calls these functions at every write that changes one of them.
 */
import type { Row } from "../database.ts";
import type { Outcome } from "../operation.ts";
import { State, statusOf } from "../operation.ts";
import { Counter, channelCounter } from "./schema.ts";
import type { Store } from "./store.ts";
import { addCount, integer, textOrNull } from "./store.ts";

/** What the counters count of a row: where it is, how it ended, whose it is, how large it is. */
export type Counted = {
  readonly state: State;
  readonly outcome: Outcome | null;
  readonly channel: number;
  readonly bytes: number;
};

export const toCounted = (row: Row): Counted => ({
  state: integer(row.state) as State,
  outcome: textOrNull(row.outcome) as Outcome | null,
  channel: integer(row.channel),
  bytes: integer(row.bytes),
});

/** Adds a row to the counters, or takes it out of them. */
export function countRow(store: Store, row: Counted, by: 1 | -1): void {
  addCount(store, row.state, by);
  addCount(store, Counter.bytes, by * row.bytes);
  if (row.state === State.done) addCount(store, endCounter(row.outcome), by);
  else addCount(store, channelCounter(row.channel), by);
}

/** Adds rows to the counters that are alike but for their sizes; `bytes` is that of all together. */
export function countRows(store: Store, alike: Counted, rows: number): void {
  countRow(store, alike, 1);
  for (const counter of [alike.state, channelCounter(alike.channel)]) addCount(store, counter, rows - 1);
}

/** Counts a change of a row; nothing is counted for one that is not there. */
export function countChange(store: Store, before: Counted | null, change: Partial<Counted>): void {
  if (before === null) return;
  countRow(store, before, -1);
  const { state = before.state, outcome = before.outcome, channel = before.channel, bytes = before.bytes } = change;
  countRow(store, { state, outcome, channel, bytes }, 1);
}

function endCounter(outcome: Outcome | null): number {
  const status = statusOf(State.done, outcome);
  return status === "completed" ? Counter.completed : status === "expired" ? Counter.expired : Counter.cancelled;
}
