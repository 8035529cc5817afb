/**
 * Owns a query that stays true: after each change that may concern it the changed record is looked at, or all is asked again, and its
 * listener is told when the page differs.
 * Which records a page holds is the engine's; where the events come from is `feed.ts`.
 */
import type { HoldfastEvent } from "../verbs.ts";
import type { Feed } from "./feed.ts";
import { guarded, report } from "./guarded.ts";
import { delay, linkSignals } from "./waiting.ts";

/** A burst of changes is answered by one page per this time; the first change after a quiet while is answered at once. */
const restMs = 40;
const firstRetryMs = 250;
const longestRetryMs = 15_000;

type Shown = { readonly key: string; readonly value: Readonly<Record<string, unknown>> | null };
type Shows = { readonly records: readonly Shown[]; readonly next: string | null };

export type LiveQuery<P extends Shows> = {
  readonly feed: Feed;
  readonly collection: string;
  readonly ask: (signal: AbortSignal) => Promise<P>;
  /** The same query for one record alone; `null` where the query reaches only a part of what meets it, or names keys itself. */
  readonly askOne: ((key: string, signal: AbortSignal) => Promise<P>) | null;
  /** Fields that may give a record its place; `null` where a record may change its key. */
  readonly places: (signal: AbortSignal) => Promise<readonly string[] | null>;
  readonly listener: (page: P) => void;
  /** Hears of a question that failed, and of a listener that threw; the query is asked again by itself. */
  readonly onError: (error: unknown) => void;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
};

/** What has happened since the page was read: to one record and another, or to who knows what. */
type News = {
  isWide: boolean;
  readonly keys: Set<string>;
  places: readonly string[] | null | undefined;
  wake: () => void;
};

/** Begins to ask and to tell; returns the end of it. The first page is always told. */
export function openLiveQuery<P extends Shows>(query: LiveQuery<P>): () => void {
  const ending = new AbortController();
  const linked = linkSignals([query.closing, ending.signal], null);
  const news: News = { isWide: true, keys: new Set(), places: undefined, wake: () => {} };
  const touch = (): void => {
    news.isWide = true;
    news.wake();
  };
  const stopFeed = query.feed.subscribe((event) => noteEvent(news, event, query.collection), { onGap: touch });
  const stop = (): void => {
    stopFeed();
    ending.abort();
    news.wake();
    linked.release();
  };
  void keepAsking(query, news, linked.signal);
  return stop;
}

/** A record that is not on the page may come onto it, so only what happens elsewhere is no concern. */
function noteEvent(news: News, { kind, detail }: HoldfastEvent, collection: string): void {
  if (kind !== "record" && kind !== "conflict" && kind !== "collection") return;
  const { collection: named, keys } = (detail ?? {}) as { readonly collection?: unknown; readonly keys?: unknown };
  if (typeof named === "string" && named !== collection) return;
  if (kind === "collection") news.places = undefined;
  if (kind === "record" && Array.isArray(keys)) for (const key of keys.slice(0, 2)) news.keys.add(key);
  else news.isWide = true;
  news.wake();
}

async function keepAsking<P extends Shows>(query: LiveQuery<P>, news: News, signal: AbortSignal): Promise<void> {
  let page: P | null = null;
  let retryMs = firstRetryMs;
  while (!signal.aborted) {
    if (!news.isWide && news.keys.size === 0) await untilWoken(news);
    if (signal.aborted) return;
    const keys = [...news.keys];
    const isWide = news.isWide;
    news.keys.clear();
    news.isWide = false;
    try {
      const mended: P | null = isWide || page === null ? null : await mend({ query, news, page, keys }, signal);
      const next: P = mended ?? (await query.ask(signal));
      if (signal.aborted) return;
      retryMs = firstRetryMs;
      const isNews: boolean = next !== page && JSON.stringify(next) !== JSON.stringify(page);
      page = next;
      if (isNews) guarded(() => query.listener(next), query.onError);
      await delay(restMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      report(error, query.onError);
      news.isWide = true;
      await delay(retryMs, signal);
      retryMs = Math.min(retryMs * 2, longestRetryMs);
    }
  }
}

type Mending<P extends Shows> = {
  readonly query: LiveQuery<P>;
  readonly news: News;
  readonly page: P;
  readonly keys: readonly string[];
};

/**
 * The page with one changed record looked at instead of all: it is left out, stays out, or stays in its place. `null` where that does not
 * say what the page is now: it holds only a part, several records changed, or the record has come or may have moved.
 */
async function mend<P extends Shows>({ query, news, page, keys }: Mending<P>, signal: AbortSignal): Promise<P | null> {
  const [key] = keys;
  if (query.askOne === null || page.next !== null || key === undefined || keys.length > 1) return null;
  const places = news.places === undefined ? await query.places(signal) : news.places;
  // What was asked for before a declaration does not hold after it.
  if (news.isWide) return null;
  news.places = places;
  if (places === null) return null;
  const [found] = (await query.askOne(key, signal)).records;
  // What has changed meanwhile may belong together with it.
  if (news.isWide || news.keys.size > 0) return null;
  const records = [...page.records];
  const at = records.findIndex((each) => each.key === key);
  if (found === undefined) {
    if (at === -1) return page;
    records.splice(at, 1);
    return { ...page, records };
  }
  const before = records[at];
  const textAt = (each: Shown, field: string): string => JSON.stringify(each.value?.[field]);
  if (before === undefined || places.some((field) => textAt(before, field) !== textAt(found, field))) return null;
  records[at] = found;
  return { ...page, records };
}

function untilWoken(news: News): Promise<void> {
  return new Promise((resolve) => {
    news.wake = resolve;
  });
}
