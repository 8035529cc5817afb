/**
 * Owns bringing the changes of older clients forward to the schema that the server declares, and refusing those that it cannot read.
 * What a changed value means for the record is `apply.ts`.
 */
import type { Held } from "../apply.ts";
import { differingFields } from "../apply.ts";
import type { Json } from "../operation.ts";
import type { Change, Fields } from "../record.ts";
import type { ServerCollection, Violation } from "./collections.ts";
import { fieldsFrom } from "./collections.ts";

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
  const upcast = upcastOf(collection);
  if (upcast === undefined || change.schema === version || change.kind === "remove")
    return { change: { ...change, schema: version } };
  if (change.kind === "create")
    return { change: { ...change, fields: upcast(change.fields, change.schema), schema: version } };
  const updated = upcastUpdate(upcast, { ...change, schema: version }, { current, from: change.schema });
  return "unclear" in updated ? { violation: unclearField(collection, change, updated.unclear) } : { change: updated };
}

function unclearField({ name, version = 1 }: ServerCollection, { schema }: Change, field: string): Violation {
  const message = `what has become of ${field} in schema version ${version} of ${name} cannot be told, and this change was written with ${schema}`;
  return { code: "upcast_unclear", message, field, hint: "update the app, then make the change again" };
}

/**
 * A record that was kept before the schema changed, as the changes of now see it: what goes over it must not be refused for its age. Which of
 * the old fields a new one was made from nobody can tell, so it counts as changed with the newest of them.
 */
export function upcastStored(
  collection: ServerCollection | undefined,
  kept: (Held & { readonly schema: number }) | null,
): Held | null {
  const [upcast, version] = [collection && upcastOf(collection), collection?.version ?? 1];
  if (kept === null || kept.value === null || upcast === undefined || kept.schema >= version) return kept;
  const value = upcast(kept.value, kept.schema);
  const made = differingFields(kept.value, value).map((field) => [field, kept.version] as const);
  return { ...kept, value, fieldVersions: Object.fromEntries([...Object.entries(kept.fieldVersions), ...made]) };
}

type Upcast = NonNullable<ServerCollection["upcast"]>;

/** A record that a mistake brought forward to nothing would be kept so. */
function upcastOf({ name, upcast }: ServerCollection): Upcast | undefined {
  if (upcast === undefined) return undefined;
  return (value, from) => fieldsFrom(`upcast of collection "${name}"`, upcast(value, from));
}

type Unclear = { readonly unclear: string };

/**
 * An update has a few fields only, and an upcast takes whole values. So the record is brought forward twice, with the update and without it,
 * and what differs is the update in the new schema: fields that the upcast merely fills in are no change of this writer.
 */
function upcastUpdate(
  upcast: Upcast,
  change: Change,
  { current, from }: { readonly current: Fields | null; readonly from: number },
): Change | Unclear {
  const { unset: removed = [], strict = [], ...rest } = change;
  const bringForward = (value: Fields): Fields => upcast(value, from);
  const without: Fields = current ?? {};
  const withIt: Record<string, Fields[string]> = { ...without, ...change.fields };
  const moves = findMoves(bringForward, { ...change, value: { ...withIt } });
  if ("unclear" in moves) return moves;
  const gone = removed.flatMap((field) => moves.of(field));
  for (const field of removed) delete withIt[field];
  for (const field of gone) if (!Object.hasOwn(change.fields, field)) delete withIt[field];
  const [before, after] = [attempt(bringForward, without), bringForward(withIt)];
  const changed = before === null ? Object.keys(after) : differingFields(before, after);
  const isThere = (field: string): boolean => Object.hasOwn(after, field) && after[field] !== undefined;
  const watched = strict.flatMap((field) => moves.of(field));
  // What the update names in the new schema's own words stays in it, also when it changes nothing: it may be in conflict.
  const named = Object.keys(change.fields).filter(isThere);
  const wanted = [...new Set([...changed, ...named, ...gone, ...watched])];
  const unset = wanted.filter((field) => !isThere(field));
  return {
    ...rest,
    fields: Object.fromEntries(wanted.filter(isThere).map((field) => [field, after[field] ?? null])),
    ...(unset.length === 0 ? {} : { unset }),
    ...(watched.length === 0 ? {} : { strict: [...new Set(watched)] }),
  };
}

/**
 * One value of each kind, since an upcast may refuse a text where it knows numbers. Each field gets its own, so that it is known again
 * wherever the upcast puts it.
 */
const probes: readonly ((place: number) => Json)[] = [
  (place) => `probe ${place}`,
  (place) => 1_000_000 + place,
  (place) => [`probe ${place}`],
  (place) => ({ probe: place }),
  // Of this kind two fields cannot be told apart.
  () => false,
];

type Moves = { readonly of: (field: string) => readonly string[] };
type Probed = Pick<Change, "unset" | "strict"> & { readonly value: Fields };

/**
 * Where the fields went that a change names without a value. A removal can only be followed where the upcast hands the value on as it is:
 * what else a new field was made from, nobody can tell. A field to be watched is watched in whatever it changes.
 */
function findMoves(bringForward: (value: Fields) => Fields, probed: Probed): Moves | Unclear {
  const { unset = [], strict = [], value } = probed;
  const fields = [...new Set([...unset, ...strict])];
  const [first] = fields;
  if (first === undefined) return { of: () => [] };
  const before = attempt(bringForward, value);
  if (before === null) return { unclear: first };
  const moved = new Map<string, Set<string>>(fields.map((field) => [field, new Set()]));
  const [arrived, made, told] = [new Set<string>(), new Set<string>(), new Set<string>()];
  for (const probe of probes) {
    const given = fields.map((field, place) => [field, probe(place)] as const);
    const fieldOf = new Map(given.map(([field, value]) => [JSON.stringify(value), field]));
    const isEachKnown = fieldOf.size === given.length;
    for (const { asked, after } of bringProbes(bringForward, value, given)) {
      for (const field of asked) told.add(field);
      for (const target of differingFields(before, after)) {
        const source = isEachKnown ? fieldOf.get(JSON.stringify(after[target])) : undefined;
        if (source === undefined) made.add(target);
        else {
          moved.get(source)?.add(target);
          arrived.add(target);
        }
      }
    }
  }
  const untold = fields.find((field) => !told.has(field));
  const rest = [...made].filter((target) => !arrived.has(target));
  if (untold !== undefined) return { unclear: untold };
  if (rest.length > 0 && unset[0] !== undefined) return { unclear: unset[0] };
  return { of: (field) => [...(moved.get(field) ?? []), ...rest] };
}

type Given = readonly (readonly [string, Json])[];

/** The record with the probes in it, brought forward; in halves where the upcast cannot take one of them. */
function bringProbes(
  bringForward: (value: Fields) => Fields,
  value: Fields,
  given: Given,
): readonly { readonly asked: readonly string[]; readonly after: Fields }[] {
  const after = attempt(bringForward, { ...value, ...Object.fromEntries(given) });
  if (after !== null) return [{ asked: given.map(([field]) => field), after }];
  if (given.length === 1) return [];
  const half = Math.ceil(given.length / 2);
  return [given.slice(0, half), given.slice(half)].flatMap((part) => bringProbes(bringForward, value, part));
}

/** The record may be in the new schema already, where an upcast of the old one can fail. */
function attempt(bringForward: (value: Fields) => Fields, value: Fields): Fields | null {
  try {
    return bringForward(value);
  } catch {
    return null;
  }
}
