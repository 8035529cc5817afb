/**
 * Owns the early check of unique values: a write here is refused at once when another record that is seen here has the value already.
 * The server stays the judge for what this device does not know; its answer is a conflict of the kind `unique_violation`.
 */
import { isSameJson } from "../canonical.ts";
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import type { Condition, Fields } from "../record.ts";
import type { CollectionInfo } from "./collections.ts";
import { findRecords } from "./record-query.ts";
import type { Store } from "./store.ts";
import { text } from "./store.ts";

/** What a write makes of a record. */
export type Claim = {
  readonly info: CollectionInfo;
  readonly key: string;
  readonly before: Fields | null;
  readonly after: Fields | null;
};

/** Throws `unique_violation` when a write takes a value that another record has, as all of them are after the whole request. */
export function refuseTaken(store: Store, claims: readonly Claim[]): void {
  for (const claim of claims) {
    for (const fields of claim.info.spec.unique ?? []) {
      const wanted = valuesOf(fields, claim.after);
      // What the record had already is nobody else's doing now.
      if (wanted === null || isSameJson(wanted, valuesOf(fields, claim.before))) continue;
      const holder = holderAmong(claims, claim, fields, wanted) ?? holderOf(store, claims, claim, fields, wanted);
      if (holder !== null) refuse(claim, { fields, wanted, holder });
    }
  }
}

/** Like SQL, a value with an empty field (null, missing) clashes with nothing. */
function valuesOf(fields: readonly string[], value: Fields | null): readonly Json[] | null {
  if (value === null) return null;
  const values = fields.map((field) => (Object.hasOwn(value, field) ? (value[field] ?? null) : null));
  return values.includes(null) ? null : values;
}

function holderAmong(
  claims: readonly Claim[],
  { info, key }: Claim,
  fields: readonly string[],
  wanted: readonly Json[],
): string | null {
  const twin = claims.find(
    (each) => each.info.id === info.id && each.key !== key && isSameJson(wanted, valuesOf(fields, each.after)),
  );
  return twin?.key ?? null;
}

/** Lists and objects cannot be looked up by an index: they are left to the server. */
function holderOf(
  store: Store,
  claims: readonly Claim[],
  { info, key }: Claim,
  fields: readonly string[],
  wanted: readonly Json[],
): string | null {
  if (wanted.some((value) => typeof value === "object")) return null;
  const where = Object.fromEntries(fields.map((field, at) => [field, { eq: wanted[at] } as Condition]));
  // What the request itself changes is judged by what it is afterwards, so that two records can exchange their values.
  const changed = new Set(claims.filter((each) => each.info.id === info.id).map((each) => each.key));
  const { rows } = findRecords(store, info, { where, limit: changed.size + 1 });
  return rows.map((row) => text(row.key)).find((each) => each !== key && !changed.has(each)) ?? null;
}

type Taken = { readonly fields: readonly string[]; readonly wanted: readonly Json[]; readonly holder: string };

function refuse({ info, key }: Claim, { fields, wanted, holder }: Taken): never {
  const named = fields.map((field, at) => `${field} ${JSON.stringify(wanted[at])}`).join(", ");
  throw new HoldfastError(
    "unique_violation",
    `record "${key}" of "${info.name}": ${named} is taken by record "${holder}"`,
    `take another value, or change "${holder}" first; nothing was written`,
    { details: { collection: info.name, key, field: fields[0], fields, holder } },
  );
}
