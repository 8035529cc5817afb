/**
 * Owns the stream of events from a daemon: its place in the feed, reconnects with growing jittered delays, and the watchdog.
 * Telling each event once is `feed.ts`'s work; here it matters that none is lost.
 */
import { createParser } from "eventsource-parser";
import type { HoldfastEvent } from "../verbs.ts";
import type { Exchange } from "./http.ts";
import type { Listener, SubscribeOptions } from "./transport.ts";
import { delay, linkSignals } from "./waiting.ts";

/** A daemon sends a heartbeat at least every 15 s; a stream that is silent for three of them is dead. */
const silenceMs = 45_000;
const firstDelayMs = 250;
const longestDelayMs = 15_000;

export type StreamDependencies = {
  readonly exchange: Exchange;
  /** Asks where the feed ends. */
  readonly readLast: () => Promise<number>;
  readonly signal: AbortSignal;
};

export type Stream = {
  readonly isPlaced: () => boolean;
  /** Asks for the stream's place in the feed; rejects when the daemon does not say. The stream asks again by itself. */
  readonly findPlace: () => Promise<void>;
};

/** Opens a stream that lives until the signal aborts. */
export function openStream(deps: StreamDependencies, listener: Listener, { after, onGap }: SubscribeOptions): Stream {
  const reading: Reading = {
    position: after ?? null,
    finding: null,
    tell: (event) => {
      if (deps.signal.aborted) return;
      reading.position = Math.max(reading.position ?? 0, event.sequence);
      listener(event);
    },
    skipTo: (last) => {
      reading.position = last;
      if (!deps.signal.aborted) onGap?.();
    },
  };
  keepReading(deps, reading);
  return {
    isPlaced: () => reading.position !== null,
    findPlace: async () => {
      // A question that is under way may have been asked, and lost, before the daemon was there.
      await reading.finding?.catch(() => {});
      await findPlace(deps, reading);
    },
  };
}

type Reading = {
  /** Sequence of the last event that was told; null until the feed's end could be asked for. */
  position: number | null;
  finding: Promise<void> | null;
  readonly tell: Listener;
  readonly skipTo: (last: number) => void;
};

/** Without a place in the feed, a connection that breaks before the first event would lose events. */
function findPlace(deps: StreamDependencies, reading: Reading): Promise<void> {
  if (reading.position !== null) return Promise.resolve();
  const place = (last: number): void => {
    reading.position ??= last;
  };
  reading.finding ??= deps
    .readLast()
    .then(place)
    .finally(() => {
      reading.finding = null;
    });
  return reading.finding;
}

async function keepReading(deps: StreamDependencies, reading: Reading): Promise<void> {
  const { signal } = deps;
  const pace: Pace = { tries: 0, leastMs: 0 };
  while (!signal.aborted) {
    try {
      await findPlace(deps, reading);
      await readOnce(deps, reading, pace);
    } catch {
      // Whatever broke the stream, the answer is the same: come back, later each time.
    }
    pace.tries += 1;
    const cap = Math.min(firstDelayMs * 2 ** Math.min(pace.tries - 1, 16), longestDelayMs);
    await delay(Math.max(pace.leastMs, cap * Math.random()), signal);
  }
}

/** `leastMs` is what the daemon asks for with `retry:`. */
type Pace = { tries: number; leastMs: number };

/** Reads one connection until it ends or falls silent. */
async function readOnce(deps: StreamDependencies, reading: Reading, pace: Pace): Promise<void> {
  const silent = new AbortController();
  const linked = linkSignals([deps.signal, silent.signal], null);
  let watchdog = setTimeout(() => silent.abort(), silenceMs);
  try {
    const answer = await deps.exchange({
      method: "GET",
      path: "/v1/events",
      headers: { accept: "text/event-stream", "last-event-id": String(reading.position) },
      signal: linked.signal,
    });
    if (answer.status !== 200 || !answer.contentType.includes("text/event-stream")) {
      // Read to its end, so that the connection can serve again.
      await answer.text();
      return;
    }
    const parser = createParser({
      onEvent: (message) => hear(message, reading),
      onRetry: (leastMs) => {
        pace.leastMs = Math.min(leastMs, longestDelayMs);
      },
    });
    const decoder = new TextDecoder();
    for await (const chunk of answer.chunks()) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => silent.abort(), silenceMs);
      pace.tries = 0;
      parser.feed(decoder.decode(chunk, { stream: true }));
    }
  } finally {
    linked.release();
    clearTimeout(watchdog);
  }
}

/** Takes one message; what a newer daemon may add is left alone. */
function hear(message: { readonly event?: string | undefined; readonly data: string }, reading: Reading): void {
  const data = parse(message.data);
  if (message.event === "truncated" && typeof data.last === "number") reading.skipTo(data.last);
  else if (typeof data.sequence === "number" && typeof data.kind === "string") reading.tell(data as HoldfastEvent);
}

function parse(data: string): Partial<HoldfastEvent> & { readonly last?: unknown } {
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
