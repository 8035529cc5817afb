/**
 * Owns the command's line to the daemon: finds it, makes it prove that it is ours before anything is said, starts it when
 * needed. What is said over the line is the verb table; how it is carried is `src/node/transport.ts`.
 */
import type { HoldfastEvent, Input, Output, Verb } from "../verbs.ts";

/** An operation as it comes over the line. */
export type Operation = Output<"queue.get">;

export type SessionInfo = {
  readonly home: string;
  readonly pid: number;
  readonly port: number;
  readonly socket: string | null;
  readonly version: string;
  readonly startedAt: number;
  /** True when this command started the daemon. */
  readonly isNew: boolean;
};

/** The engine as the command sees it. */
export type Session = {
  readonly info: SessionInfo;
  readonly call: <V extends Verb>(verb: V, input: Input<V>) => Promise<Output<V>>;
  /** Events from now on, or all after `after`. */
  readonly subscribe: (listener: (event: HoldfastEvent) => void, options?: { readonly after?: number }) => () => void;
  readonly close: () => Promise<void>;
};

export type SessionOptions = {
  /** Data directory; default `HOLDFAST_HOME`, else the platform's place. */
  readonly home: string | undefined;
  /** False for what only wants to look: then an absent daemon is `daemon_unreachable`. */
  readonly canStart: boolean;
  /** Milliseconds for the whole opening. */
  readonly timeoutMs: number;
};

export type OpenSession = (options: SessionOptions) => Promise<Session>;
