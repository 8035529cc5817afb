/**
 * Owns what an operation is: its states and statuses, their legal moves, its rank among others, and the closed union of answers.
 * Where it is kept is `engine/queue.ts`; how a failure is judged is `failure.ts`; when it is tried again is `retry.ts`.
 */
import type { RetryPolicy } from "./retry.ts";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** What people and programs see. Why an operation is not moving is told by `queue.why`. */
export const statuses = ["draft", "pending", "in_progress", "completed", "failed", "cancelled", "expired"] as const;
export type Status = (typeof statuses)[number];

/**
 * What the scheduler sees, one integer column. Below `parked` + 1 an operation stands in its lane; below `done` it is unsent work.
 * SQL texts carry these numbers as literals because SQLite uses a partial index only for a literal term.
 */
export const State = {
  ready: 0,
  waiting: 1,
  scheduled: 2,
  inFlight: 3,
  held: 4,
  parked: 5,
  aside: 6,
  draft: 7,
  done: 8,
} as const;
export type State = (typeof State)[keyof typeof State];

/** How a finished operation ended. `superseded`: the remote's version won; `discarded`: a person cancelled it. */
export const outcomes = ["applied", "duplicate", "superseded", "cancelled", "replaced", "expired"] as const;
export type Outcome = (typeof outcomes)[number];

/** Why an operation waits; `null` when it is on the wire, finished, or goes with the next claim. */
export const reasons = [
  "lane",
  "dependency",
  "schedule",
  "retry",
  "network",
  "paced",
  "auth",
  "paused",
  "rejected",
  "conflict",
  "gave_up",
  "unsure",
  "corrupt",
  "no_server_id",
  "unknown_type",
  "work_offline",
  "sync_mode",
] as const;
export type Reason = (typeof reasons)[number];

/** The public status of a stored row. */
export function statusOf(state: State, outcome: Outcome | null): Status {
  switch (state) {
    case State.ready:
    case State.waiting:
    case State.scheduled:
    case State.held:
      return "pending";
    case State.inFlight:
      return "in_progress";
    case State.parked:
    case State.aside:
      return "failed";
    case State.draft:
      return "draft";
    case State.done:
      if (outcome === "expired") return "expired";
      return outcome === "cancelled" || outcome === "replaced" ? "cancelled" : "completed";
  }
}

const terminal = ["completed", "cancelled", "expired"] as const;
type Terminal = (typeof terminal)[number];

const moves: { readonly [from in Exclude<Status, Terminal>]: readonly Status[] } = {
  draft: ["pending", "cancelled", "expired"],
  pending: ["in_progress", "cancelled", "expired", "failed", "completed"],
  in_progress: ["pending", "completed", "failed", "cancelled", "expired"],
  failed: ["pending", "cancelled", "completed", "expired"],
};

/** Tells whether an operation may go from one status to another. Terminal statuses never move. */
export function canMove(from: Status, to: Status): boolean {
  return !isTerminal(from) && moves[from].includes(to);
}

/** Tells whether a status is final. `failed` is not: a failed operation is parked and waits for a person or code. */
export function isTerminal(status: Status): status is Terminal {
  return (terminal as readonly Status[]).includes(status);
}

/** Lowest and highest priority; 0 is normal, 100 is for locks and what everybody waits for. */
export const priorityLimit = 1000;

/**
 * How many later enqueues one point of priority outweighs. A ready operation is claimed before everything that was
 * enqueued later than `ageing × priority gap` after it, so nothing starves and no wall clock takes part.
 */
export const ageing = 1_000_000;

/** The order of claims: lower goes first, ties go by sequence. */
export function rankOf(sequence: number, priority: number, weight: number = ageing): number {
  return sequence - priority * weight;
}

const beyondAscii = /[\u0080-\uffff]/;

/** Bytes of a text in UTF-8, as it is stored and sent. */
export function textBytes(text: string): number {
  // Most payloads are ASCII, and a regular expression sees that faster than a loop.
  if (!beyondAscii.test(text)) return text.length;
  let bytes = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit > 0x7f) bytes += 1;
    // Each half of a surrogate pair counts two of its four bytes; a lone half is escaped by JSON and never comes here.
    if (unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff)) bytes += 1;
  }
  return bytes;
}

/** The form of an id for people: its end, because the beginning of a UUIDv7 is a time that neighbours share (RFC 9562). */
export function shortId(id: string): string {
  return id.slice(-8);
}

/** What went wrong in an attempt, in words for a person and a stable code for a program. */
export type Problem = {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  /** HTTP status, exit code or the like, when there was one. */
  readonly status?: number;
  /** Field that the remote names, when it names one. */
  readonly field?: string;
  /** The remote's own words or body, bounded. */
  readonly detail?: Json;
};

/**
 * What an attempt ended with. Only a well-formed answer of the real remote may be `rejected`, `conflict` or `auth`;
 * whatever cannot be told apart from a bad network is `unknown` and tried again without charge.
 */
export type Answer =
  | { readonly kind: "applied"; readonly result?: Json; readonly serverId?: string }
  | { readonly kind: "duplicate"; readonly result?: Json; readonly serverId?: string }
  /** `mayHaveLanded`: it took effect all the same, or an earlier attempt may have and this refusal tells nothing about it. */
  | { readonly kind: "rejected"; readonly problem: Problem; readonly mayHaveLanded?: boolean }
  | { readonly kind: "conflict"; readonly problem: Problem; readonly remote?: Json }
  /** A real "not now". `isCharged` counts it against the retry budget; `scope: "remote"` paces everything for that remote. */
  | {
      readonly kind: "retry";
      readonly problem: Problem;
      readonly afterMs?: number;
      readonly isCharged: boolean;
      readonly scope: "operation" | "remote";
    }
  /** `mayHaveLanded`: what was asked next was refused, after a silence in which it may have taken effect. */
  | { readonly kind: "auth"; readonly problem: Problem; readonly mayHaveLanded?: boolean }
  /** No answer. `mayHaveLanded` is false only when it is certain that nothing reached the remote. */
  | { readonly kind: "unknown"; readonly problem: Problem; readonly mayHaveLanded: boolean };

export const strategies = ["local_wins", "remote_wins", "merge", "manual"] as const;
export type Strategy = (typeof strategies)[number];

export type Progress = {
  readonly done: number;
  readonly total?: number;
  readonly unit?: string;
  readonly message?: string;
};

/** Both sides of a parked conflict. */
export type ConflictView = { readonly local: Json; readonly remote: Json };

/** An operation as every client sees it. Instants are integer milliseconds since the Unix epoch. */
export type Operation = {
  readonly id: string;
  /** Enqueue order on this store; strictly increasing. */
  readonly sequence: number;
  readonly type: string;
  /** Version of the payload's schema. */
  readonly version: number;
  readonly status: Status;
  /** Why it is not moving, when it is not. */
  readonly reason: Reason | null;
  readonly payload: Json;
  /** A short line for people, e.g. "POST https://api.example.com/notes". */
  readonly title: string;
  readonly lane: string | null;
  readonly priority: number;
  /** Whose operation it is; empty for the owner of the store. */
  readonly subject: string;
  /** What it is sent to, e.g. "https://api.example.com"; empty when it needs no network. */
  readonly remote: string;
  readonly dependsOn: readonly string[];
  readonly creates: string | null;
  readonly serverId: string | null;
  readonly group: string | null;
  readonly dedupe: string | null;
  readonly notBefore: number | null;
  readonly expiresAt: number | null;
  readonly retry: RetryPolicy;
  readonly onFailure: "hold" | "skip";
  readonly onCrash: "resend" | "ask";
  readonly conflict: Strategy | null;
  /** Times it was put on the wire. */
  readonly attempts: number;
  /** Attempts charged against `retry.maxAttempts`. */
  readonly failures: number;
  /** True while an earlier attempt may have taken effect without our knowing. */
  readonly mayHaveLanded: boolean;
  /** Grows with every edit; `queue.edit` takes it as its optimistic check. */
  readonly revision: number;
  readonly idempotencyKey: string;
  readonly createdAt: number;
  readonly since: number;
  readonly nextAttemptAt: number | null;
  readonly settledAt: number | null;
  readonly outcome: Outcome | null;
  readonly problem: Problem | null;
  readonly progress: Progress | null;
  readonly checkpoint: Json;
  readonly result: Json;
  /** The remote's side of a parked conflict. */
  readonly remoteVersion: Json;
};

/**
 * The idempotency key of an operation. The id itself, until a *definite* refusal was followed by a retry: a remote that keeps
 * receipts would replay that refusal for ever, and nothing took effect under the old key. See decision 0007.
 */
export function idempotencyKeyOf(id: string, generation: number): string {
  return generation === 0 ? id : `${id}-${generation}`;
}
