/**
 * Owns the wait for the end of a sync that was just asked for: of everything, one collection, or one record.
 * It trusts facts over messages: an event only makes it look again, and it looks again by itself now and then.
 */
import { HoldfastError } from "../errors.ts";
import { checkOptions } from "../misuse.ts";
import type { CollectionView, Input, Output, SyncRun, Verb } from "../verbs.ts";
import type { Feed } from "./feed.ts";
import { delay, linkSignals } from "./waiting.ts";

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
  const call = <V extends Verb>(verb: V, input: Input<V>) => deps.call(verb, input, { signal }) as Promise<Output<V>>;
  let wake = (): void => {};
  const stop = deps.feed.subscribe(({ kind }) => kind === "sync" && wake());
  try {
    const asked = await call("collections.sync", wish);
    const { isDraining } = await call("queue.status", {});
    const begun = asked.isOffline || !isDraining ? asked : await call("sync.run", {});
    const { isOffline, sentence } = begun;
    let run: SyncRun | null = null;
    for (let isOpen = isDraining && !isOffline; isOpen; ) {
      const status = await call("sync.status", {});
      run = status.run;
      isOpen = status.isSyncing;
      if (isOpen) await Promise.race([delay(lookAgainMs, signal), new Promise<void>((resolve) => (wake = resolve))]);
    }
    const list = await call("collections.list", {});
    const collections = list.collections.filter(({ spec }) => asked.collections.includes(spec.name));
    const since = run?.startedAt ?? 0;
    const isHere = collections.every(({ state, asOf }) => state === "idle" && (asOf ?? -1) >= since);
    return {
      isComplete: isHere && run?.remaining === 0,
      isOffline,
      sentence: isDraining ? sentence : "No process is sending.",
      run,
      collections,
    };
  } catch (error) {
    if (!signal.aborted || options.signal?.aborted === true) throw error;
    throw deps.closing.aborted
      ? new HoldfastError("engine_closed", "the client was closed", "the sync goes on")
      : new HoldfastError("timed_out", "the sync has not ended in time", "it goes on; see `sync.status`");
  } finally {
    linked.release();
    stop();
  }
}
