/**
 * Owns what a collection and a record are: the specification of a collection, the changes made to a record, its states, and how
 * pending changes are replayed over the server's snapshot. How two sides are merged is `merge.ts`; where records are kept is `engine/records.ts`.
 */
import type { Strategies } from "./conflict.ts";
import type { FieldRules } from "./merge.ts";
import type { Json } from "./operation.ts";

/** The value of a record: a JSON object. Its key is not a field of it. */
export type Fields = { readonly [field: string]: Json };

/** How a record stands, as people see it. `local-only`: created here and never confirmed by a server. */
export const recordStates = ["synced", "pending", "failed", "conflict", "local-only"] as const;
export type RecordState = (typeof recordStates)[number];

/**
 * What may be asked of a collection's fields; all JSON, so it can come from any language and is kept in the store.
 * The parts of a collection that are code (schema, upcast, strategy functions) are in `Collection` of `world.ts`.
 */
export type CollectionSpec = {
  /** Lower-case letters, digits and `_`, beginning with a letter, 63 characters at most; it names a view in read-only SQL. */
  readonly name: string;
  /** Version of the schema; older values pass through `upcast`. Default 1. */
  readonly version?: number;
  /** Space (tenant) at the server. Default: the space that the sync settings name. */
  readonly space?: string;
  /** Fields, or lists of fields, by which records can be ordered and looked up fast. */
  readonly indexes?: readonly (string | readonly string[])[];
  /** Lists of fields whose values no two records of the space share. Checked here early, decided by the server. */
  readonly unique?: readonly (readonly string[])[];
  readonly merge?: FieldRules;
  readonly strategy?: Partial<Strategies>;
  /** Fields that never leave this device (Q37). */
  readonly localOnly?: readonly string[];
  /** `client`: keys are UUIDs made here (default). `server`: a local key stands until the server names the real one. */
  readonly keys?: "client" | "server";
  /** Only records that meet this condition are pulled (partial replication). */
  readonly filter?: Where;
  /** Bytes of synced records kept here; the least recently used go first, never unsent, conflicted or pinned ones. */
  readonly maxBytes?: number;
  /** False: records stay on this device and are never pushed. Default true. */
  readonly isSynced?: boolean;
};

/** The comparison of one field: a bare value means equal. */
export type Condition =
  | string
  | number
  | boolean
  | null
  | {
      readonly eq?: string | number | boolean | null;
      readonly ne?: string | number | boolean | null;
      readonly lt?: string | number;
      readonly lte?: string | number;
      readonly gt?: string | number;
      readonly gte?: string | number;
      readonly in?: readonly (string | number | boolean | null)[];
      readonly prefix?: string;
    };

/** All conditions must hold. The name `$key` stands for the record's key. */
export type Where = { readonly [field: string]: Condition };

export const changeKinds = ["create", "update", "remove"] as const;
export type ChangeKind = (typeof changeKinds)[number];

/** What one write does to one record; the payload of `record.write` is a list of them, applied all or none. */
export type Change = {
  readonly collection: string;
  readonly key: string;
  readonly kind: ChangeKind;
  /** The server's version that the writer saw; 0 when the record was not on the server. */
  readonly base: number;
  /** `create`: the whole value. `update`: the changed fields; `null` is a value like any other. `remove`: empty. */
  readonly fields: Fields;
  /** Names of fields that an update takes away. */
  readonly unset?: readonly string[];
  /** Fields that are in conflict when they changed after `base`, even to the same value: two that counted one up have counted two. */
  readonly strict?: readonly string[];
  /** Said of a creation on its way: a server gave this key before, so it is kept where the server gives keys. */
  readonly named?: boolean;
  /** Schema version of `fields`. */
  readonly schema: number;
};

/** The type of the operation that carries record changes to the server. */
export const recordWriteType = "record.write";

/** The payload of `record.write`. */
export type RecordWrite = { readonly space: string; readonly changes: readonly Change[]; readonly at: number };

/** Limits on records, beside their rules. */
export const recordLimits = {
  keyLength: 200,
  nameLength: 63,
  valueBytes: 1_048_576,
  indexes: 16,
  transaction: 100,
  where: 20,
  patchSteps: 1_000,
  page: 1_000,
} as const;

/** Replays one change over a value; `null` means that there is no record. */
export function applyChange(value: Fields | null, change: Pick<Change, "kind" | "fields" | "unset">): Fields | null {
  switch (change.kind) {
    case "create":
      return change.fields;
    case "remove":
      return null;
    case "update": {
      // An update of what was removed upstream has nothing to stand on; it becomes a conflict, never a half record.
      if (value === null) return null;
      const next: Record<string, Json> = { ...value, ...change.fields };
      for (const field of change.unset ?? []) delete next[field];
      return next;
    }
  }
}

/** The names of the fields that a change touches; a creation and a removal touch all, which is said with `null`. */
export function touchedFields(change: Pick<Change, "kind" | "fields" | "unset">): readonly string[] | null {
  return change.kind === "update" ? [...Object.keys(change.fields), ...(change.unset ?? [])] : null;
}

/** One record as every client sees it. Instants are integer milliseconds since the Unix epoch. */
export type RecordView = {
  readonly collection: string;
  readonly key: string;
  /** What the person sees: the server's snapshot with everything unsent replayed over it. `null`: removed. */
  readonly value: Fields | null;
  readonly state: RecordState;
  /** The server's version of the snapshot; 0 when the server does not have it. */
  readonly version: number;
  /** When the server confirmed this record last. */
  readonly confirmedAt: number | null;
  readonly changedAt: number;
  /** Operations that carry what is unsent or refused, oldest first. */
  readonly operations: readonly string[];
  /** Why the server refused it, when it did. */
  readonly problem: {
    readonly code: string;
    readonly message: string;
    readonly field?: string;
    readonly hint?: string;
  } | null;
  /** The open conflict, when there is one. */
  readonly conflict: string | null;
  readonly isPinned: boolean;
};

/** What happened to one record, one row per change that the view took. */
export const recordOrigins = [
  "local",
  "pull",
  "push",
  "merge",
  "resolve",
  "undo",
  "rollback",
  "import",
  "restore",
] as const;
export type RecordOrigin = (typeof recordOrigins)[number];
