/**
 * Owns a query that stays true: it is asked again after each change that may concern it, and its listener is told when the page differs.
 * Which records a page holds is the engine's; where the events come from is `feed.ts`.
 */
import type { HoldfastEvent } from "../verbs.ts";
import type { Feed } from "./feed.ts";
import { delay, linkSignals } from "./waiting.ts";

/** A burst of changes is answered by one page per this time; the first change after a quiet while is answered at once. */
const restMs = 40;
const firstRetryMs = 250;
const longestRetryMs = 15_000;

export type LiveQuery<P> = {
  readonly feed: Feed;
  readonly collection: string;
  readonly ask: (signal: AbortSignal) => Promise<P>;
  readonly listener: (page: P) => void;
  /** Hears of a question that failed, and of a listener that threw; the query is asked again by itself. */
  readonly onError: (error: unknown) => void;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
};

/** Begins to ask and to tell; returns the end of it. The first page is always told. */
export function openLiveQuery<P>(query: LiveQuery<P>): () => void {
  const ending = new AbortController();
  const linked = linkSignals([query.closing, ending.signal], null);
  const state = { isDirty: true, wake: (): void => {} };
  const touch = (): void => {
    state.isDirty = true;
    state.wake();
  };
  const stopFeed = query.feed.subscribe((event) => mayConcern(event, query.collection) && touch(), { onGap: touch });
  const stop = (): void => {
    stopFeed();
    ending.abort();
    state.wake();
    linked.release();
  };
  void keepAsking(query, state, linked.signal).catch(query.onError);
  return stop;
}

/** A record that is not on the page may come onto it, so only what happens elsewhere is no concern. */
function mayConcern({ kind, detail }: HoldfastEvent, collection: string): boolean {
  if (kind !== "record" && kind !== "conflict" && kind !== "collection") return false;
  const named = (detail as { readonly collection?: unknown } | null)?.collection;
  return typeof named !== "string" || named === collection;
}

type Waking = { isDirty: boolean; wake: () => void };

async function keepAsking<P>(query: LiveQuery<P>, state: Waking, signal: AbortSignal): Promise<void> {
  let told: string | null = null;
  let retryMs = firstRetryMs;
  while (!signal.aborted) {
    if (!state.isDirty) await untilWoken(state);
    if (signal.aborted) return;
    state.isDirty = false;
    try {
      const page = await query.ask(signal);
      if (signal.aborted) return;
      retryMs = firstRetryMs;
      const text = JSON.stringify(page);
      if (text !== told) {
        told = text;
        tell(query, page);
      }
      await delay(restMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      query.onError(error);
      state.isDirty = true;
      await delay(retryMs, signal);
      retryMs = Math.min(retryMs * 2, longestRetryMs);
    }
  }
}

function tell<P>({ listener, onError }: LiveQuery<P>, page: P): void {
  try {
    listener(page);
  } catch (error) {
    onError(error);
  }
}

function untilWoken(state: Waking): Promise<void> {
  return new Promise((resolve) => {
    state.wake = resolve;
  });
}
