/**
 * Owns the transport to an engine in the same process, and how a listener catches up with the feed before it goes live.
 * The engine stays its opener's: closing the client ends its subscriptions and nothing else.
 */
import { HoldfastError } from "../errors.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { EngineLike, Listener, SubscribeOptions, Transport } from "./transport.ts";

/** Events read from the feed at a time while a listener catches up. */
const pageSize = 500;

/** A transport to an engine of this process. */
export function directTransport(engine: EngineLike): Transport {
  const open = new Set<() => void>();
  let isClosed = false;
  return {
    call: async (verb, input) => {
      if (isClosed) throw closed();
      return engine.submit(verb, input);
    },
    subscribe: (listener, options = {}) => {
      if (isClosed) throw closed();
      const stop = follow(engine, listener, options);
      open.add(stop);
      return () => {
        open.delete(stop);
        stop();
      };
    },
    close: async () => {
      isClosed = true;
      for (const stop of open) stop();
      open.clear();
    },
  };
}

/** Subscribes to an engine, first telling what happened after `options.after`; nothing is told before this returns. */
export function follow(engine: EngineLike, listener: Listener, options: SubscribeOptions): () => void {
  const { after } = options;
  if (after === undefined) return engine.subscribe(listener);
  let isStopped = false;
  // Live events wait here until the past has been told, so that order holds.
  let waiting: HoldfastEvent[] | null = [];
  const stopLive = engine.subscribe((event) => {
    if (waiting === null) listener(event);
    else waiting.push(event);
  });
  queueMicrotask(() => {
    if (isStopped) return;
    const tell = (event: HoldfastEvent): void => {
      if (!isStopped) listener(event);
    };
    let told = after;
    try {
      told = tellPast(engine, tell, { ...options, after });
    } catch {
      // E.g. the engine has closed: what was to be told cannot be read, and an error here would end the process.
      options.onGap?.();
    }
    for (const event of waiting ?? []) {
      if (event.sequence === 0 || event.sequence > told) tell(event);
    }
    waiting = null;
  });
  return () => {
    isStopped = true;
    stopLive();
  };
}

function tellPast(engine: EngineLike, tell: Listener, options: SubscribeOptions & { readonly after: number }): number {
  let position = options.after;
  for (;;) {
    const page = engine.handle("events.list", { after: position, limit: pageSize });
    // A place beyond the feed's end belongs to another store, e.g. one that was restored since.
    if (position === options.after && (page.isTruncated || page.last < position)) {
      options.onGap?.();
      position = Math.min(position, page.last);
    }
    for (const event of page.events) {
      position = Math.max(position, event.sequence);
      tell(event);
    }
    if (page.events.length < pageSize) return position;
  }
}

function closed(): HoldfastError {
  return new HoldfastError("engine_closed", "the client is closed", "connect again");
}
