/**
 * Owns what a conflict is: its kinds, the strategies that decide it, and how the two sides are shown.
 * The field-by-field merge is `merge.ts`; the inbox is `engine/conflicts.ts`.
 */
import type { Json, Strategy } from "./operation.ts";
import type { Fields } from "./record.ts";

/**
 * `version_mismatch`: both sides changed the same fields. `deleted_upstream`: edited here, removed there. `deleted_here`: removed
 * here, edited there. `unique_violation`: another record has the same unique value. `business_rule`: the server's rules refuse it.
 * `data_inconsistency`: the value does not fit the server's schema, or a reference leads nowhere.
 */
export const conflictKinds = [
  "version_mismatch",
  "deleted_upstream",
  "deleted_here",
  "unique_violation",
  "business_rule",
  "data_inconsistency",
] as const;
export type ConflictKind = (typeof conflictKinds)[number];

/** What decides each kind: a strategy, or the name of a function that was registered with the collection. */
export type Strategies = { readonly [K in ConflictKind]: Strategy };

/** `merge` for what field rules can decide, a person for the rest. */
export const defaultStrategies: Strategies = {
  version_mismatch: "merge",
  deleted_upstream: "manual",
  deleted_here: "manual",
  unique_violation: "manual",
  business_rule: "manual",
  data_inconsistency: "manual",
};

export const conflictStatuses = ["open", "resolved", "undone"] as const;
export type ConflictStatus = (typeof conflictStatuses)[number];

/**
 * How it ended. `automatic`: by a declared rule; `person`: in the inbox; `prechosen`: by a choice made before it arose; `agreement`: by
 * itself, both sides have come to say the same, or the server took the change after all; `withdrawal`: its operation was given up.
 */
export const deciders = ["automatic", "person", "prechosen", "agreement", "withdrawal"] as const;
export type Decider = (typeof deciders)[number];

/** What a person can choose; `value` is a hand-made merge. */
export const choices = ["local", "remote", "merge", "value"] as const;
export type Choice = (typeof choices)[number];

/** Three sides of a conflict as a strategy function gets them; pure: same sides, same answer. */
export type Sides = {
  readonly kind: ConflictKind;
  readonly collection: string;
  readonly key: string;
  /** What both started from; `null` when the record did not exist. */
  readonly base: Fields | null;
  /** What this side wants; `null`: removed. */
  readonly local: Fields | null;
  /** What the server has; `null`: removed there. */
  readonly remote: Fields | null;
};

/** What a strategy function answers: a value to send, `null` to remove, "manual" to ask a person. */
export type Decision = { readonly value: Fields | null } | "manual";

/** One conflict as every client sees it. */
export type ConflictView = {
  readonly id: string;
  readonly status: ConflictStatus;
  readonly kind: ConflictKind;
  readonly collection: string;
  readonly key: string;
  /** The operation that carries the local side; `null` once it is gone. */
  readonly operation: string | null;
  /** Fields in dispute. */
  readonly fields: readonly string[];
  readonly base: Fields | null;
  readonly local: Fields | null;
  readonly remote: Fields | null;
  readonly remoteVersion: number;
  /** Who wrote the remote side, as the server names them. */
  readonly remoteAuthor: string;
  /** In the server's words, for refusals. */
  readonly message: string;
  readonly strategy: Strategy;
  readonly createdAt: number;
  readonly decidedAt: number | null;
  readonly decidedBy: Decider | null;
  readonly choice: Choice | null;
  /** What it was decided to; `null` while it is open, or when it was decided to remove. */
  readonly outcome: Json;
  /** True when it has waited longer than the collection allows a decision to stay valid. */
  readonly isStale: boolean;
};
