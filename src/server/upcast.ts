/**
 * Owns bringing the changes of older clients forward to the schema that the server declares, and refusing those that it cannot read.
 * What a changed value means for the record is `apply.ts`.
 */
import type { Held } from "../apply.ts";
import { differingFields } from "../apply.ts";
import type { Change, Fields } from "../record.ts";
import type { ServerCollection, Violation } from "./collections.ts";

/** The change in the server's schema, or why it cannot be read. `current` is the record that an update goes over. */
export function upcastChange(
  collection: ServerCollection | undefined,
  change: Change,
  current: Fields | null,
): { readonly change: Change } | { readonly violation: Violation } {
  if (collection === undefined) return { change };
  const version = collection.version ?? 1;
  const name = collection.name;
  if (change.schema > version) {
    const message = `${name} has schema version ${version} here, and this change was written with ${change.schema}`;
    return { violation: { code: "schema_too_new", message, hint: "update the server, then send it again" } };
  }
  if (change.schema < (collection.oldest ?? 1)) {
    const message = `${name} takes schema version ${collection.oldest ?? 1} and newer, and this change was written with ${change.schema}`;
    return { violation: { code: "schema_too_old", message, hint: "update the app, then send it again" } };
  }
  const { upcast } = collection;
  if (upcast === undefined || change.schema === version || change.kind === "remove")
    return { change: { ...change, schema: version } };
  if (change.kind === "create")
    return { change: { ...change, fields: upcast(change.fields, change.schema), schema: version } };
  return { change: upcastUpdate(upcast, { ...change, schema: version }, { current, from: change.schema }) };
}

/**
 * A record that was kept before the schema changed, as the changes of now see it: what goes over it must not be refused for its age. Which of
 * the old fields a new one was made from nobody can tell, so it counts as changed with the newest of them.
 */
export function upcastStored(
  collection: ServerCollection | undefined,
  kept: (Held & { readonly schema: number }) | null,
): Held | null {
  const { upcast, version = 1 } = collection ?? {};
  if (kept === null || kept.value === null || upcast === undefined || kept.schema >= version) return kept;
  const value = upcast(kept.value, kept.schema);
  const made = differingFields(kept.value, value).map((field) => [field, kept.version] as const);
  return { ...kept, value, fieldVersions: Object.fromEntries([...Object.entries(kept.fieldVersions), ...made]) };
}

/**
 * An update has a few fields only, and an upcast takes whole values. So the record is brought forward twice, with the update and without it,
 * and what differs is the update in the new schema: fields that the upcast merely fills in are no change of this writer.
 */
function upcastUpdate(
  upcast: (value: Fields, fromVersion: number) => Fields,
  change: Change,
  { current, from }: { readonly current: Fields | null; readonly from: number },
): Change {
  const without: Fields = current ?? {};
  const withIt: Record<string, Fields[string]> = { ...without, ...change.fields };
  for (const field of change.unset ?? []) delete withIt[field];
  const [before, after] = [attempt(upcast, without, from), upcast(withIt, from)];
  const changed = before === null ? Object.keys(after) : differingFields(before, after);
  // What the update names in the new schema's own words stays in it, also when it changes nothing: it may be in conflict.
  const named = Object.keys(change.fields).filter((field) => Object.hasOwn(after, field));
  const wanted = [...new Set([...changed, ...named])];
  const fields = Object.fromEntries(
    wanted.filter((field) => Object.hasOwn(after, field)).map((field) => [field, after[field] ?? null]),
  );
  const unset = wanted.filter((field) => !Object.hasOwn(after, field));
  const { unset: _old, ...rest } = change;
  return { ...rest, fields, ...(unset.length === 0 ? {} : { unset }) };
}

/** The record may be in the new schema already, where an upcast of the old one can fail. */
function attempt(upcast: (value: Fields, from: number) => Fields, value: Fields, from: number): Fields | null {
  try {
    return upcast(value, from);
  } catch {
    return null;
  }
}
