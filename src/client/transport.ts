/**
 * Owns what a transport is: the one seam between the client and wherever the engine runs.
 * Transports are in `direct.ts`, `port.ts` and `http.ts`; the suite that each passes is `testing/transport-contract.ts`.
 */
import type { HoldfastEvent, Input, Output, Verb } from "../verbs.ts";

export type Listener = (event: HoldfastEvent) => void;

export type CallOptions = {
  /** Ends the wait with `aborted`. A write that is on its way may still have happened. */
  readonly signal?: AbortSignal;
};

export type SubscribeOptions = {
  /** Events after this sequence, however long ago; without it, events from now on. */
  readonly after?: number;
  /** The store has pruned events that this listener has not seen: read the present state again. */
  readonly onGap?: () => void;
};

/** Carries calls to an engine and events back. Events arrive in order; after a reconnect some may come again, none is lost. */
export type Transport = {
  readonly call: <V extends Verb>(verb: V, input: Input<V>, options?: CallOptions) => Promise<Output<V>>;
  /** Calls made after `subscribe` returned cause events that the listener will see. */
  readonly subscribe: (listener: Listener, options?: SubscribeOptions) => () => void;
  readonly close: () => Promise<void>;
};

/** What a transport needs of an engine; `Engine` of `holdfast/node` fits. */
export type EngineLike = {
  readonly handle: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  readonly submit: <V extends Verb>(verb: V, input: Input<V>) => Promise<Output<V>>;
  readonly subscribe: (listener: Listener) => () => void;
};
