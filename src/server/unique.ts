/**
 * Owns the table of unique values: which record of a space holds which value of which fields. It moves in the transaction of the records.
 * Which fields are unique is declared in `collections.ts`; what a clash is answered with is `push.ts`.
 */
import { canonicalText } from "../canonical.ts";
import type { Fields } from "../record.ts";
import type { Tx } from "./store.ts";

/** One unique value of one record. */
export type UniqueValue = { readonly collection: string; readonly fields: string; readonly value: string };

const readHolder = "SELECT key FROM hf_unique WHERE space = ? AND collection = ? AND fields = ? AND value = ?";
const take = `INSERT INTO hf_unique (space, collection, fields, value, key) VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (space, collection, fields, value) DO NOTHING`;
const release = "DELETE FROM hf_unique WHERE space = ? AND collection = ? AND fields = ? AND value = ? AND key = ?";
const markBuilt = `INSERT INTO hf_unique_built (collection, fields) VALUES (?, ?)
  ON CONFLICT (collection, fields) DO NOTHING`;
const listBuilt = "SELECT collection, fields FROM hf_unique_built";
const unmarkBuilt = "DELETE FROM hf_unique_built WHERE collection = ? AND fields = ?";
const forgetValues = "DELETE FROM hf_unique WHERE collection = ? AND fields = ?";

/** A value is cut here and told apart by its hash: an index of PostgreSQL takes 2,700 bytes. */
const longestValue = 500;

/** The unique values of a record. Like SQL, a value with an empty field (null, missing) clashes with nothing. */
export function uniqueValuesOf(
  collection: string,
  unique: readonly (readonly string[])[],
  value: Fields | null,
): readonly UniqueValue[] {
  if (value === null) return [];
  return unique.flatMap((fields) => {
    const values = fields.map((field) => (Object.hasOwn(value, field) ? (value[field] ?? null) : null));
    if (values.includes(null)) return [];
    return [{ collection, fields: JSON.stringify(fields), value: shorten(textOf(values)) }];
  });
}

export const uniqueId = ({ collection, fields, value }: UniqueValue): string =>
  JSON.stringify([collection, fields, value]);

/** The key of the record that holds the value, or null. */
export async function findHolder(tx: Tx, space: string, wanted: UniqueValue): Promise<string | null> {
  const [row] = await tx.all(readHolder, space, wanted.collection, wanted.fields, wanted.value);
  return row === undefined ? null : String(row.key);
}

export type Held = UniqueValue & { readonly key: string };

/** Releases before it takes, so that two records can swap their values in one operation. */
export async function moveUnique(
  tx: Tx,
  space: string,
  { released, taken }: { readonly released: readonly Held[]; readonly taken: readonly Held[] },
): Promise<void> {
  for (const { collection, fields, value, key } of released)
    await tx.run(release, space, collection, fields, value, key);
  for (const { collection, fields, value, key } of taken) await tx.run(take, space, collection, fields, value, key);
}

/** Takes a value for a record that is there already; false when another record holds it. */
export async function takeUnique(tx: Tx, space: string, held: Held): Promise<boolean> {
  const { changes } = await tx.run(take, space, held.collection, held.fields, held.value, held.key);
  return changes > 0 || (await findHolder(tx, space, held)) === held.key;
}

/** Takes the building of values for this transaction; false when it is done. Whoever comes while another one builds waits for its end. */
export async function claimUnique(tx: Tx, collection: string, fields: string): Promise<boolean> {
  return (await tx.run(markBuilt, collection, fields)).changes > 0;
}

/** Forgets the values of what is no longer declared unique; declared again, they are built again. */
export async function dropUnique(tx: Tx, isDeclared: (collection: string, fields: string) => boolean): Promise<void> {
  for (const row of await tx.all(listBuilt)) {
    const [collection, fields] = [String(row.collection), String(row.fields)];
    if (isDeclared(collection, fields)) continue;
    await tx.run(forgetValues, collection, fields);
    await tx.run(unmarkBuilt, collection, fields);
  }
}

function textOf(values: readonly (Fields[string] | null)[]): string {
  try {
    return canonicalText(values);
  } catch {
    // A lone surrogate has no canonical text, but JSON can write it.
    return JSON.stringify(values);
  }
}

function shorten(text: string): string {
  if (text.length <= longestValue) return text;
  // A cut through a character would leave half of it, which no database keeps.
  const head = text.slice(0, longestValue).replace(/\p{Surrogate}$/u, "");
  return `${head}#${text.length}#${mix(text, 0x811c9dc5)}${mix(text, 0x9747b28c)}`;
}

/** FNV-1a over UTF-16 units with a final avalanche; two of them tell apart what agrees in 500 characters and in length. */
function mix(text: string, seed: number): string {
  let hash = seed;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0).toString(16).padStart(8, "0");
}
