/**
 * Owns what the engine asks from outside: clock, randomness, ids, timers, disk, the drainer's lock, probes and operation types.
 * Real worlds live in the places (`node/world.ts`); the simulated one is in `testing/`.
 */
import type { ConflictKind, Decision, Sides } from "./conflict.ts";
import type { Answer, Json, Operation, Progress, Strategy } from "./operation.ts";
import type { CollectionSpec, Fields } from "./record.ts";
import type { RetryPolicy, RetryPreset } from "./retry.ts";
import type {
  FetchRequest,
  FetchResponse,
  Poke,
  PullRequest,
  PullResponse,
  PushRequest,
  PushResponse,
} from "./wire.ts";

/** The part of `AbortSignal` that the engine and handlers use; every real `AbortSignal` fits. */
export type Signal = {
  readonly aborted: boolean;
  readonly reason: unknown;
  readonly addEventListener: (type: "abort", listener: () => void) => void;
  readonly removeEventListener: (type: "abort", listener: () => void) => void;
};

/** One attempt of one operation, as its handler sees it. */
export type Attempt = {
  readonly operation: Operation;
  /** The payload, checked and upcast to the type's current version. */
  readonly input: Json;
  /** Send it with every request of this operation; it stays the same across attempts. */
  readonly idempotencyKey: string;
  readonly signal: Signal;
  /** What `saveCheckpoint` stored last, also by an earlier process; `null` at first. */
  readonly checkpoint: Json;
  /** Stores where a long transfer stands; resolves when it is durable. */
  readonly saveCheckpoint: (value: Json) => Promise<void>;
  /** Tells people how far it is; cheap, call it as often as you like. */
  readonly reportProgress: (progress: Progress) => void;
};

/**
 * What a store knows about an operation type. The pure members are used at enqueue in any process; `run` or `runBatch`
 * only where the queue is drained. A type without `run` and `runBatch` can be queued here and is sent elsewhere.
 */
export type OperationType = {
  readonly type: string;
  /** Version of the payload's schema; older payloads pass through `upcast` before they run. Default 1. */
  readonly version?: number;
  readonly upcast?: (payload: Json, fromVersion: number) => Json;
  /** Returns the payload to store or throws `HoldfastError("invalid_input")`. */
  readonly check?: (payload: Json) => Json;
  readonly title?: (payload: Json) => string;
  /** Names the remote whose reachability gates the operation; empty string: none. */
  readonly remoteOf?: (payload: Json) => string;
  readonly lane?: string | ((payload: Json) => string | null);
  readonly priority?: number;
  readonly retry?: RetryPreset | Partial<RetryPolicy>;
  /** Milliseconds one attempt may take. Default 60,000; 0 means no limit. */
  readonly timeoutMs?: number | ((payload: Json) => number);
  /** Bulk types move bytes: they have slots of their own, so they never delay small operations. */
  readonly isBulk?: boolean;
  readonly onFailure?: "hold" | "skip";
  readonly onCrash?: "resend" | "ask";
  readonly conflict?: Strategy;
  /** Replaces local ids beyond exact string values (those are always replaced), e.g. in URL path segments. */
  readonly rewrite?: (payload: Json, serverIdOf: (localId: string) => string | null) => Json;
  /** Strings, beyond exact string values, that may be local ids, e.g. URL path segments. */
  readonly mentions?: (payload: Json) => readonly string[];
  /** The payload without its secrets, for exports; keys that name secrets are hidden without it, too. */
  readonly redact?: (payload: Json) => Json;
  /** The payload to send again when the local side wins, e.g. without its precondition or with the remote's fresh one. */
  readonly resend?: (payload: Json, remote: Json) => Json;
  /** The payload to send when both sides are merged; `null` leaves it to a person. */
  readonly merge?: (local: Json, remote: Json) => Json | null;
  readonly run?: (attempt: Attempt) => Promise<Answer>;
  /**
   * Sends up to `max` operations at once; answers come in the order of the attempts. One that is known before the others may be
   * told with the index of its attempt: it counts, whatever becomes of the rest.
   */
  readonly runBatch?: {
    readonly max: number;
    readonly run: (
      attempts: readonly Attempt[],
      tell: (index: number, answer: Answer) => void,
    ) => Promise<readonly Answer[]>;
  };
};

/** A collection as a program declares it: what can be said as data, and what is code. */
export type Collection = CollectionSpec & {
  /** Returns the value to store or throws `HoldfastError("invalid_input")` that names the field. */
  readonly check?: (value: Json) => Fields;
  /** Brings a value of an older schema version forward. Must be pure: it runs again whenever an old value is met. */
  readonly upcast?: (value: Fields, fromVersion: number) => Fields;
  /** Strategy functions by kind of conflict; they go before the strategy of the specification. Pure. */
  readonly decide?: { readonly [K in ConflictKind]?: (sides: Sides) => Decision };
  /** Version of the functions in `decide`, kept with every decision that they made. */
  readonly decideVersion?: number;
};

/** A request to the sync server that came back, or the answer that its failure amounts to (see `failure.ts`). */
export type Reply<T> =
  | { readonly kind: "answered"; readonly response: T; readonly sentBytes: number; readonly receivedBytes: number }
  | { readonly kind: "failed"; readonly answer: Exclude<Answer, { kind: "applied" | "duplicate" }> };

/** The way to one sync server. None of its functions rejects. */
export type SyncPort = {
  /** Names the server for reachability, e.g. "https://sync.example.com". */
  readonly remote: string;
  /** The space of collections that name none. */
  readonly space: string;
  /** Whose writes these are; empty for the owner of the store. */
  readonly subject: string;
  readonly push: (request: PushRequest, signal: Signal) => Promise<Reply<PushResponse>>;
  readonly pull: (request: PullRequest, signal: Signal) => Promise<Reply<PullResponse>>;
  readonly fetch: (request: FetchRequest, signal: Signal) => Promise<Reply<FetchResponse>>;
  /**
   * Listens for pokes of a space for as long as it is wanted, coming back by itself after breaks; returns its end. `onHealth` hears
   * whenever pokes begin to come through or cease to, and why; a port that never calls it is taken for listening.
   */
  readonly watch: (
    space: string,
    listener: (poke: Poke) => void,
    onHealth?: (health: WatchHealth) => void,
  ) => () => void;
};

/** Whether pokes can be heard at the moment; `reason` says why not. */
export type WatchHealth = { readonly isListening: boolean; readonly reason: string };

/** What a probe of a remote found. A captive portal's page is no answer of the remote. */
export type ProbeResult = { readonly isReachable: boolean; readonly reason: string };

/** A mark outside the database file: the highest sequence that was ever committed. It also wakes other processes. */
export type Witness = {
  readonly read: () => number;
  /** Called after each commit, before its writers are told; must survive the death of the process. */
  readonly write: (sequence: number) => void;
};

/** Exclusive right to drain, held by one process at a time and released by the operating system when that process dies. */
export type DrainerLock = { readonly tryLock: () => boolean; readonly unlock: () => void; readonly name: string };

export type Disk = {
  /** Bytes free for the database's file system; `Infinity` when unknown. */
  readonly freeBytes: () => number;
  /** Gives the reserve file's space back so that the queue can move on a full disk; false when there is none left. */
  readonly releaseReserve: () => boolean;
  /** Lays the reserve file again when there is room; false when there is not. */
  readonly restoreReserve: () => boolean;
};

export type LogLevel = "debug" | "info" | "warn" | "error";

export type World = {
  /** Wall clock, integer milliseconds since the Unix epoch. May jump either way; orders nothing. */
  readonly now: () => number;
  /** Milliseconds that only grow, from any origin. */
  readonly monotonic: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** A fresh UUIDv7 (RFC 9562). */
  readonly newId: () => string;
  /** SHA-256 of a text's UTF-8 bytes, in hex. */
  readonly hash: (text: string) => string;
  /** Runs `task` after everything that was asked for in this tick, so that it shares one commit. */
  readonly defer: (task: () => void) => void;
  /** Runs `task` after `delayMs`; returns its cancellation. */
  readonly setTimer: (delayMs: number, task: () => void) => () => void;
  readonly newAbort: () => { readonly signal: Signal; readonly abort: (reason: unknown) => void };
  /** Asks whether a remote is reachable, by its configured endpoints or its origin. Never rejects. */
  readonly probe: (remote: string, signal: Signal) => Promise<ProbeResult>;
  readonly witness: Witness;
  /** Calls `listener` when another process has committed; returns its end. */
  readonly watch: (listener: () => void) => () => void;
  readonly drainer: DrainerLock;
  readonly disk: Disk;
  readonly log: (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;
};
