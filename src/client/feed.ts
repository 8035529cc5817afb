/**
 * Owns how one client's listeners share one subscription, each event told once and in order.
 * Catching up and reconnecting is the transport's work; what a settled operation looks like is `settled.ts`'s.
 */
import type { Status } from "../operation.ts";
import { isTerminal } from "../operation.ts";
import type { HoldfastEvent } from "../verbs.ts";
import { guarded } from "./guarded.ts";
import type { Listener, SubscribeOptions, Transport } from "./transport.ts";

/** How many ended operations are remembered, for those who ask after retention has pruned them. */
const rememberedEndings = 1_000;

export type Feed = {
  readonly subscribe: (listener: Listener, options?: SubscribeOptions) => () => void;
  /** The event with which an operation ended, when this client saw it lately. */
  readonly endingOf: (id: string) => HoldfastEvent | undefined;
  readonly close: () => void;
};

/** Opens a client's feed; `onError` hears of listeners that throw, so that one cannot silence the others. */
export function openFeed(transport: Transport, onError: (error: unknown) => void): Feed {
  const listeners = new Set<{ readonly tell: Listener; readonly onGap: (() => void) | undefined }>();
  const streams = new Set<() => void>();
  const endings = new Map<string, HoldfastEvent>();
  let stopLive: (() => void) | null = null;

  const remember = (event: HoldfastEvent): void => {
    if (event.id === null || event.status === null) return;
    // What is retried has not ended any more.
    endings.delete(event.id);
    if (isEnding(event)) endings.set(event.id, event);
    const [oldest] = endings.keys();
    if (endings.size > rememberedEndings) endings.delete(oldest as string);
  };
  const goLive = (): void => {
    stopLive ??= subscribeOnce(transport, {
      listener: (event) => {
        remember(event);
        for (const { tell } of [...listeners]) guarded(() => tell(event), onError);
      },
      onGap: () => {
        for (const { onGap } of [...listeners]) guarded(() => onGap?.(), onError);
      },
    });
  };

  return {
    subscribe: (listener, options = {}) => {
      const { after, onGap } = options;
      if (after !== undefined) {
        const stop = subscribeOnce(transport, {
          listener: (event) => guarded(() => listener(event), onError),
          onGap: () => guarded(() => onGap?.(), onError),
          after,
        });
        streams.add(stop);
        return () => {
          streams.delete(stop);
          stop();
        };
      }
      const each = { tell: listener, onGap };
      listeners.add(each);
      goLive();
      return () => {
        listeners.delete(each);
        if (listeners.size > 0) return;
        stopLive?.();
        stopLive = null;
      };
    },
    endingOf: (id) => endings.get(id),
    close: () => {
      listeners.clear();
      stopLive?.();
      stopLive = null;
      for (const stop of streams) stop();
      streams.clear();
    },
  };
}

/** Tells whether a status, an event's or an operation's, says that the operation has ended or is parked. */
export function isEnding({ status }: { readonly status: Status | null }): boolean {
  return status === "failed" || (status !== null && isTerminal(status));
}

/** Subscribes and drops events that were told already. What is only told live has no sequence and passes. */
function subscribeOnce(
  transport: Transport,
  { listener, onGap, after }: { readonly listener: Listener; readonly onGap: () => void; readonly after?: number },
): () => void {
  let position = after ?? 0;
  let isStopped = false;
  const tell: Listener = (event) => {
    if (isStopped || (event.sequence !== 0 && event.sequence <= position)) return;
    position = Math.max(position, event.sequence);
    listener(event);
  };
  const stop = transport.subscribe(tell, {
    ...(after === undefined ? {} : { after }),
    onGap: () => {
      // The store may have been made anew, with sequences that begin again.
      position = 0;
      onGap();
    },
  });
  return () => {
    isStopped = true;
    stop();
  };
}
