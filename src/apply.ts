/**
 * Owns what a server makes of one change of one record: applied over what it holds, nothing to do, or in conflict, judged field by field.
 * Pure; reading and writing the records is `server/push.ts`, merging on the client's side is `merge.ts`.
 */
import { isSameJson } from "./canonical.ts";
import type { Json } from "./operation.ts";
import type { Change, Fields } from "./record.ts";
import { applyChange, touchedFields } from "./record.ts";

/** What a server keeps of one record to judge changes by. `value` null: removed. */
export type Held = {
  readonly version: number;
  /** The version at which this life of the record began; fields that never changed since have it. */
  readonly created: number;
  readonly value: Fields | null;
  /** The version at which a field changed last, for those that changed after `created`; also fields that were taken away. */
  readonly fieldVersions: { readonly [field: string]: number };
};

export type Judged =
  | { readonly kind: "applied"; readonly value: Fields | null }
  /** The record is already as the change wants it: no new version. */
  | { readonly kind: "unchanged" }
  | {
      readonly kind: "conflict";
      readonly conflict: "version_mismatch" | "deleted_upstream" | "deleted_here";
      readonly fields: readonly string[];
    };

/**
 * Judges a change against what the server holds. Only fields that the change touches, and that somebody else changed after its
 * base to another value, are in conflict; every other change goes over the current value.
 * @example
 * judgeChange({ version: 7, created: 1, value: { a: 1, b: 2 }, fieldVersions: { b: 7 } },
 *   { kind: "update", base: 3, fields: { a: 5 } }) // { kind: "applied", value: { a: 5, b: 2 } }
 */
export function judgeChange(
  held: Held | null,
  change: Pick<Change, "kind" | "base" | "fields" | "unset" | "strict">,
): Judged {
  const value = held?.value ?? null;
  switch (change.kind) {
    case "create":
      if (held === null || value === null) return { kind: "applied", value: change.fields };
      if (isSameJson(value, change.fields)) return { kind: "unchanged" };
      // Whoever saw this very version and creates again means to replace it.
      if (change.base >= held.version) return { kind: "applied", value: change.fields };
      return { kind: "conflict", conflict: "version_mismatch", fields: differingFields(value, change.fields) };
    case "remove":
      if (held === null || value === null) return { kind: "unchanged" };
      if (held.version > change.base) {
        const fields = Object.keys(value).filter((field) => changedAt(held, field) > change.base);
        return { kind: "conflict", conflict: "deleted_here", fields };
      }
      return { kind: "applied", value: null };
    case "update": {
      const touched = touchedFields(change) ?? [];
      if (held === null || value === null) return { kind: "conflict", conflict: "deleted_upstream", fields: touched };
      const next = applyChange(value, change) ?? {};
      const fields = contestedFields(held, next, change);
      if (fields.length > 0) return { kind: "conflict", conflict: "version_mismatch", fields };
      return isSameJson(value, next) ? { kind: "unchanged" } : { kind: "applied", value: next };
    }
  }
}

/** What the server holds after a change: every field whose value differs gets the new version. */
export function holdValue(held: Held | null, value: Fields | null, version: number): Held {
  if (held === null || held.value === null || value === null)
    return { version, created: version, value, fieldVersions: {} };
  const changed = differingFields(held.value, value).map((field) => [field, version] as const);
  // From entries, not assigned: a field may be called "__proto__".
  const fieldVersions = Object.fromEntries([...Object.entries(held.fieldVersions), ...changed]);
  return { version, created: held.created, value, fieldVersions };
}

/** The fields in which two values differ, those that only one of them has included. */
export function differingFields(before: Fields, after: Fields): readonly string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.filter((field) => !isSameJson(memberOf(before, field), memberOf(after, field)));
}

function contestedFields(
  held: Held,
  next: Fields,
  change: Pick<Change, "kind" | "base" | "fields" | "unset" | "strict">,
): readonly string[] {
  const value = held.value ?? {};
  return (touchedFields(change) ?? []).filter((field) => {
    if (changedAt(held, field) <= change.base) return false;
    return change.strict?.includes(field) === true || !isSameJson(memberOf(value, field), memberOf(next, field));
  });
}

const changedAt = (held: Held, field: string): number =>
  Object.hasOwn(held.fieldVersions, field) ? (held.fieldVersions[field] ?? held.created) : held.created;

/** A member of the object itself; "constructor" is a name of a field like any other. */
function memberOf(value: Fields, field: string): Json | undefined {
  return Object.hasOwn(value, field) ? value[field] : undefined;
}
