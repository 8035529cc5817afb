/**
 * Owns asking for the next page of a pull while the engine applies the last one, so that server and client work at the same time.
 * What a page is and who asks for it is the engine's; one request is `sync-request.ts`.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { PullRequest, PullResponse } from "../wire.ts";
import type { Reply, Signal, SyncPort } from "../world.ts";

/** A page that nobody has come for in this time is thrown away: it says what was true then. */
export const aheadMs = 2_000;

type Ask = (request: PullRequest, signal: Signal) => Promise<Reply<PullResponse>>;
type Ahead = {
  /** The request as text: only the very same one is answered by it. */
  readonly asked: string;
  readonly reply: Promise<Reply<PullResponse>>;
  readonly abort: AbortController;
  readonly timer: NodeJS.Timeout;
};

/** Makes a pull that has asked for the next page by the time that it is wanted; at most one page per list of collections lies ready. */
export function pullAhead(ask: Ask): SyncPort["pull"] {
  const ready = new Map<string, Ahead>();
  const drop = (name: string): void => {
    const known = ready.get(name);
    if (known === undefined) return;
    ready.delete(name);
    clearTimeout(known.timer);
    known.abort.abort();
  };
  const begin = (name: string, request: PullRequest): void => {
    const abort = new AbortController();
    const timer = setTimeout(() => drop(name), aheadMs);
    timer.unref();
    ready.set(name, { asked: JSON.stringify(request), reply: ask(request, abort.signal), abort, timer });
  };
  const take = async (name: string, request: PullRequest, signal: Signal): Promise<Reply<PullResponse>> => {
    const known = ready.get(name);
    if (known === undefined || known.asked !== JSON.stringify(request)) {
      drop(name);
      return ask(request, signal);
    }
    ready.delete(name);
    clearTimeout(known.timer);
    const stop = (): void => known.abort.abort(signal.reason);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    const reply = await known.reply;
    signal.removeEventListener("abort", stop);
    // What failed unasked is nobody's news: it is asked for, and fails, in its own time.
    return reply.kind === "failed" ? ask(request, signal) : asMiddle(reply);
  };
  return async (request, signal) => {
    const name = JSON.stringify([request.space, request.wants.map(({ collection }) => collection)]);
    const reply = await take(name, request, signal);
    const next = reply.kind === "answered" && !signal.aborted ? nextOf(request, reply.response) : null;
    if (next !== null) {
      begin(name, next);
      // Applying a page holds the thread, and a request leaves in the turn after it was made: else the server would wait for the engine.
      await nextTurn();
    }
    return reply;
  };
}

/**
 * The last page says that everything until now is here, and one that was asked for a while ago cannot: a poke or a wish may have come
 * since. So it counts as one of those before, and the engine asks once more from its end.
 */
const asMiddle = (reply: Extract<Reply<PullResponse>, { kind: "answered" }>): Reply<PullResponse> =>
  reply.response.hasMore ? reply : { ...reply, response: { ...reply.response, hasMore: true } };

/** What the engine will ask for once it has applied the page; `null` where the page was the last, or leads elsewhere. */
function nextOf(request: PullRequest, page: PullResponse): PullRequest | null {
  if (!page.hasMore || page.upTo >= page.head || page.reset !== undefined || page.records.length === 0) return null;
  if (request.history !== "" && request.history !== page.history) return null;
  return {
    ...request,
    history: page.history,
    wants: request.wants.map(({ collection, after, floor = 0, filter }) => {
      const kept = after === 0 ? (page.floor ?? 0) : floor;
      return {
        collection,
        after: Math.max(after, page.upTo),
        ...(kept === 0 ? {} : { floor: kept }),
        ...(filter === undefined ? {} : { filter }),
      };
    }),
  };
}
