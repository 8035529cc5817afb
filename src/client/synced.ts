/**
 * Owns the wait for the end of a sync that was just asked for: of everything, one collection, or one record.
 * It trusts facts over messages: an event only makes it look again, and it looks again by itself now and then.
 */
import { HoldfastError, isCode } from "../errors.ts";
import { checkOptions } from "../misuse.ts";
import type { CollectionView, Input, Output, SyncRun, Verb } from "../verbs.ts";
import type { Feed } from "./feed.ts";
import { abortedBy, delay, linkSignals } from "./waiting.ts";

/** How often a waiting client looks again although no event came. */
const lookAgainMs = 1_000;

export type SyncedOptions = {
  readonly signal?: AbortSignal;
  /** Milliseconds until the wait ends with `timed_out`; the sync itself goes on. */
  readonly timeoutMs?: number;
};

export type SyncWish = {
  readonly collection?: string;
  readonly key?: string;
  /** Reads everything again and keeps unsent work. */
  readonly full?: boolean;
};

export type SyncReport = {
  /** Everything that was asked for is here as the server had it, and nothing is left to send. */
  readonly isComplete: boolean;
  readonly isOffline: boolean;
  readonly sentence: string;
  /** What the run moved and what is left; `null` where none was begun. */
  readonly run: SyncRun | null;
  /** Where the collections that were asked for stand now. */
  readonly collections: readonly CollectionView[];
};

export type SyncedDependencies = {
  readonly call: <V extends Verb>(
    verb: V,
    input: Input<V>,
    options?: { readonly signal?: AbortSignal },
  ) => Promise<unknown>;
  readonly feed: Feed;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
};

/** Sends what waits, pulls what is wanted, and resolves when nothing of it moves any more. */
export async function syncUntilEnd(
  deps: SyncedDependencies,
  wish: SyncWish,
  options: SyncedOptions = {},
): Promise<SyncReport> {
  checkOptions("sync", options, ["signal", "timeoutMs"]);
  const linked = linkSignals([deps.closing, options.signal], options.timeoutMs ?? null);
  const { signal } = linked;
  const waking = { wake: (): void => {} };
  const stop = deps.feed.subscribe(({ kind }) => kind === "sync" && waking.wake(), { onGap: () => waking.wake() });
  try {
    const asked = (await deps.call("collections.sync", wish, { signal })) as Output<"collections.sync">;
    const report = async (isOffline: boolean, sentence: string, run: SyncRun | null): Promise<SyncReport> => {
      const list = (await deps.call("collections.list", {}, { signal })) as Output<"collections.list">;
      const collections = list.collections.filter(({ spec }) => asked.collections.includes(spec.name));
      const since = run?.startedAt ?? Number.POSITIVE_INFINITY;
      const isHere = collections.every(({ state, asOf }) => state === "idle" && asOf !== null && asOf >= since);
      return { isComplete: isHere && run?.remaining === 0, isOffline, sentence, run, collections };
    };
    if (asked.isOffline) return await report(true, asked.sentence, null);
    const { isDraining } = (await deps.call("queue.status", {}, { signal })) as Output<"queue.status">;
    if (!isDraining) return await report(false, "No process is sending, so nothing moves.", null);
    const begun = (await deps.call("sync.run", {}, { signal })) as Output<"sync.run">;
    if (begun.isOffline) return await report(true, begun.sentence, null);
    for (;;) {
      const status = (await deps.call("sync.status", {}, { signal })) as Output<"sync.status">;
      if (!status.isSyncing) return await report(false, wordsFor(status.run), status.run);
      await news(waking, signal);
      if (signal.aborted) throw new HoldfastError("aborted", "the wait was ended", "");
    }
  } catch (error) {
    if (!signal.aborted || !isCode(error, "aborted")) throw error;
    throw endedBy(deps, options);
  } finally {
    linked.release();
    stop();
  }
}

function endedBy(deps: SyncedDependencies, options: SyncedOptions): HoldfastError {
  if (options.signal?.aborted === true) return abortedBy(options.signal, "waiting for a sync");
  if (deps.closing.aborted)
    return new HoldfastError("engine_closed", "the client was closed while it waited for a sync", "the sync goes on");
  const message = `the sync did not end within ${options.timeoutMs} ms`;
  return new HoldfastError("timed_out", message, "it goes on; `sync.status` tells what is left");
}

function wordsFor(run: SyncRun | null): string {
  if (run === null) return "Nothing moved.";
  const { pushed, pulled, merged, remaining } = run;
  return `${pushed} pushed, ${pulled} pulled, ${merged} merged, ${remaining} left.`;
}

/** Resolves at the next news, after a while, or when the signal aborts. */
async function news(waking: { wake: () => void }, signal: AbortSignal): Promise<void> {
  const waiting = new AbortController();
  waking.wake = () => waiting.abort();
  signal.addEventListener("abort", waking.wake, { once: true });
  await delay(signal.aborted ? 0 : lookAgainMs, waiting.signal);
  signal.removeEventListener("abort", waking.wake);
}
