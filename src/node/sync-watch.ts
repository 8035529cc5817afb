/**
 * Owns listening for a space's pokes: coming back after breaks with growing jittered pauses, noticing a dead stream, and falling
 * nearly silent where no stream can be had. What a poke leads to, and pulling without one, is the engine's.
 */
import { createParser } from "eventsource-parser";
import type { Poke } from "../wire.ts";
import { poke, readWire, routes } from "../wire.ts";
import type { WatchHealth } from "../world.ts";
import type { SyncLine } from "./sync-request.ts";
import { reasonOf } from "./sync-request.ts";

export type WatchTimes = {
  /** A server sends a heartbeat at least every 15 s; a stream that is silent for three of them is dead. */
  readonly silenceMs: number;
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
  /** After so many vain tries in a row polling does the work, and a try is made only now and then. */
  readonly quietAfter: number;
  readonly quietDelayMs: number;
};

const watchTimes: WatchTimes = {
  silenceMs: 45_000,
  firstDelayMs: 500,
  longestDelayMs: 30_000,
  quietAfter: 10,
  quietDelayMs: 600_000,
};

export type WatchOptions = {
  readonly onHealth?: ((health: WatchHealth) => void) | undefined;
  readonly times?: WatchTimes;
};

/** Listens for as long as it is wanted; returns the end of it. */
export function watchSpace(
  open: SyncLine["stream"],
  space: string,
  listener: (poke: Poke) => void,
  { onHealth = () => {}, times = watchTimes }: WatchOptions = {},
): () => void {
  const ending = new AbortController();
  void keepWatching({ open, space, listener, onHealth, times, signal: ending.signal });
  return () => ending.abort();
}

type Watching = {
  readonly open: SyncLine["stream"];
  readonly space: string;
  readonly listener: (poke: Poke) => void;
  readonly onHealth: (health: WatchHealth) => void;
  readonly times: WatchTimes;
  readonly signal: AbortSignal;
};

async function keepWatching(watching: Watching): Promise<void> {
  const { times, signal, onHealth } = watching;
  let vain = 0;
  while (!signal.aborted) {
    const { hasHeard, reason } = await watchOnce(watching);
    if (signal.aborted) return;
    onHealth({ isListening: false, reason });
    vain = hasHeard ? 0 : vain + 1;
    const cap =
      vain >= times.quietAfter
        ? times.quietDelayMs
        : Math.min(times.firstDelayMs * 2 ** Math.max(0, vain - 1), times.longestDelayMs);
    // Half of the pause is certain: a server that has just restarted must not meet all its clients at once.
    await pause(cap / 2 + (cap / 2) * Math.random(), signal);
  }
}

type Heard = { readonly hasHeard: boolean; readonly reason: string };

/** Reads one stream until it ends or falls silent; tells whether anything came over it, and what ended it. */
async function watchOnce({ open, space, listener, onHealth, times, signal }: Watching): Promise<Heard> {
  const silent = new AbortController();
  const stop = (): void => silent.abort();
  let isSilent = false;
  const fallSilent = (): void => {
    isSilent = true;
    stop();
  };
  signal.addEventListener("abort", stop, { once: true });
  let watchdog = setTimeout(fallSilent, times.silenceMs);
  let hasHeard = false;
  try {
    const stream = await open(`${routes.events}?space=${encodeURIComponent(space)}`, silent.signal);
    if (typeof stream === "string") return { hasHeard, reason: isSilent ? "it did not answer" : stream };
    const parser = createParser({ onEvent: ({ data }) => tell(data, space, listener) });
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      if (signal.aborted) break;
      clearTimeout(watchdog);
      watchdog = setTimeout(fallSilent, times.silenceMs);
      if (!hasHeard) onHealth({ isListening: true, reason: "" });
      hasHeard = true;
      parser.feed(decoder.decode(chunk, { stream: true }));
    }
    return { hasHeard, reason: "the stream ended" };
  } catch (error) {
    return { hasHeard, reason: isSilent ? "the stream fell silent" : `the stream broke: ${reasonOf(error)}` };
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", stop);
  }
}

/** What a newer server may add is left alone. */
function tell(data: string, space: string, listener: (poke: Poke) => void): void {
  try {
    const message = readWire("poke", poke, JSON.parse(data) as unknown);
    if (message.space === space) listener(message);
  } catch {
    // A lost poke costs a delay, and nothing else.
  }
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    // Waiting for another try keeps no process alive.
    timer.unref();
    signal.addEventListener("abort", end, { once: true });
  });
}
