/**
 * Owns what a row of the failure table says, and the few kinds of rows there are.
 * The rows themselves are `failures.ts`.
 */
import type { Answer } from "./operation.ts";

/** Whether the attempt may have taken effect. `unless_connecting`: not if the failure came while the connection was made. */
export type Landing = "no" | "yes" | "unless_connecting";

export type FailureRow = {
  /** Stable name, `Problem.code`. */
  readonly code: string;
  /** What finds the row: error codes, `name:<error name>`, statuses, ranges such as `5xx`, or a condition in words. */
  readonly on: readonly string[];
  readonly kind: Exclude<Answer["kind"], "applied" | "duplicate">;
  /** Counts against the retry budget. Only `retry` can. */
  readonly isCharged: boolean;
  /** `remote`: everything for that remote waits as well. */
  readonly scope: "operation" | "remote";
  readonly landing: Landing;
  readonly reason: string;
  readonly hint: string;
};

type Words = { readonly code: string; readonly on: readonly string[]; readonly reason: string; readonly hint: string };

const row = (words: Words, more: Partial<FailureRow>): FailureRow => ({
  kind: "unknown",
  isCharged: false,
  scope: "operation",
  landing: "yes",
  ...words,
  ...more,
});
/** Nothing left this machine, or nothing arrived there. */
export const unsent = (words: Words): FailureRow => row(words, { landing: "no" });
/** It may have arrived; the answer did not come back. */
export const unanswered = (words: Words): FailureRow => row(words, {});
export const connecting = (words: Words): FailureRow => row(words, { landing: "unless_connecting" });
export const rejected = (words: Words): FailureRow => row(words, { kind: "rejected", landing: "no" });
/** It took effect, but the operation does not count that as a yes. */
export const disowned = (words: Words): FailureRow => row(words, { kind: "rejected" });
export const charged = (words: Words): FailureRow => row(words, { kind: "retry", isCharged: true, landing: "yes" });
export const busy = (words: Words): FailureRow => row(words, { kind: "retry", landing: "yes" });
export const paced = (words: Words): FailureRow => row(words, { kind: "retry", scope: "remote", landing: "no" });
export const signedOut = (words: Words): FailureRow => row(words, { kind: "auth", landing: "no" });
export const conflict = (words: Words): FailureRow => row(words, { kind: "conflict", landing: "no" });
