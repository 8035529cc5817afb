/**
 * Owns what the command asks from outside: the terminal, the clock, the daemon, the data directory's own files.
 * The real one is in `real-host.ts`; tests bring a scripted one, so that every command runs without a process.
 */
import type { ConfigEntry, Credential, DaemonState, Diagnosis, Secret } from "./local.ts";
import type { OpenSession } from "./session.ts";

/** A stream that people or programs read. */
export type Sink = {
  readonly write: (text: string) => void;
  readonly isTty: boolean;
  readonly columns: number;
  readonly rows: number;
};

export type Source = {
  readonly isTty: boolean;
  readonly readBytes: () => Promise<Uint8Array>;
  /** Whole lines without their ends, as they come. */
  readonly lines: () => AsyncIterable<string>;
};

export type Choice<T extends string> = { readonly value: T; readonly label: string; readonly hint?: string };

/** Questions to a person; only asked where input and output are terminals. `null`: the person gave the question up. */
export type Asking = {
  readonly select: <T extends string>(message: string, choices: readonly Choice<T>[]) => Promise<T | null>;
  readonly confirm: (message: string) => Promise<boolean | null>;
  readonly text: (message: string, initial: string) => Promise<string | null>;
  readonly password: (message: string) => Promise<string | null>;
};

export type Files = {
  readonly read: (path: string) => Promise<Uint8Array>;
  readonly lines: (path: string) => AsyncIterable<string>;
  /** Whether a path can be read again from its beginning; a pipe has a path as well. */
  readonly isFile: (path: string) => Promise<boolean>;
  /** A file that is there already is kept unless `isReplacing`. The file appears whole or not at all. */
  readonly write: (
    path: string,
    chunks: AsyncIterable<string>,
    options: { readonly isReplacing: boolean },
  ) => Promise<void>;
};

/** A file as it was when the operation was queued; what `payload` holds is the upload type's business. */
export type CapturedFile = { readonly payload: Readonly<Record<string, unknown>>; readonly sizeBytes: number };
export type CaptureMode = "copy" | "link" | "reference";

/** What the command does in the data directory itself, besides talking to the daemon. */
export type Local = {
  readonly directory: string;
  readonly config: {
    readonly path: () => Promise<string>;
    readonly list: () => Promise<readonly ConfigEntry[]>;
    readonly get: (key: string) => Promise<ConfigEntry>;
    /** Takes the value as it was typed. */
    readonly set: (key: string, typed: string) => Promise<ConfigEntry>;
  };
  readonly credentials: {
    readonly list: () => Promise<readonly Credential[]>;
    readonly set: (name: string, secret: Secret, subject: string | undefined) => Promise<Credential>;
    readonly remove: (name: string, subject: string | undefined) => Promise<boolean>;
  };
  readonly daemon: {
    readonly run: (options: DaemonOptions) => Promise<void>;
    readonly start: (options: DaemonOptions) => Promise<DaemonState>;
    readonly stop: (isForced: boolean) => Promise<DaemonState>;
    readonly status: () => Promise<DaemonState>;
    readonly log: (options: {
      readonly lines: number;
      readonly isFollowing: boolean;
      readonly signal: AbortSignal;
    }) => AsyncIterable<string>;
  };
  readonly capture: (path: string, mode: CaptureMode) => Promise<CapturedFile>;
  readonly diagnose: () => Promise<Diagnosis>;
};

export type DaemonOptions = { readonly port?: number; readonly host?: string };

export type Host = {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly stdin: Source;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly version: string;
  readonly now: () => number;
  /** Resolves early when the signal aborts. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Calls `listener` on the first Ctrl-C or SIGTERM instead of ending the process; the second one ends it. Returns its end. */
  readonly onInterrupt: (listener: () => void) => () => void;
  readonly ask: Asking;
  readonly files: Files;
  readonly openSession: OpenSession;
  readonly local: (home: string | undefined) => Promise<Local>;
};
