/**
 * Owns what one reader may read of the wanted collections, asked once for each page, and its digest, by which a client sees that it has
 * changed (decision 0021). The rules themselves are `collections.ts`; what a page shows by them is `pull.ts`.
 */
import { canonicalText } from "../canonical.ts";
import type { Json } from "../operation.ts";
import type { Where } from "../record.ts";
import { comparisonOf } from "../where.ts";
import type { Who } from "./collections.ts";
import { rowsFor } from "./collections.ts";
import type { Core } from "./core.ts";

/** The rows of each collection that may be read: all, or those that meet one of the conditions. */
export type Rights = ReadonlyMap<string, true | readonly Where[]>;

/** Hexadecimal digits of a view: 64 bits, since nothing but the reader's own last view is compared with it. */
const viewDigits = 16;

/** Asks the rules once, so that a page shows exactly what its view is the digest of. */
export function rightsOf(core: Core, who: Who, wants: readonly { readonly collection: string }[]): Rights {
  return new Map(
    wants.map(({ collection }) => [collection, rowsFor(core.collections.get(collection), who, "read")] as const),
  );
}

/** The views by the names of the collections, the same in every process of the server. */
export async function viewsOf(core: Core, rights: Rights): Promise<Readonly<Record<string, string>>> {
  const digests = new Map<string, Promise<string>>();
  const digest = (text: string): Promise<string> => {
    const known = digests.get(text) ?? Promise.resolve(core.hash(text)).then((hex) => hex.slice(0, viewDigits));
    digests.set(text, known);
    return known;
  };
  return Object.fromEntries(
    await Promise.all([...rights].map(async ([name, rows]) => [name, await digest(viewText(rows))] as const)),
  );
}

/** It is what may be read that counts, not which roles say so, in which order, or how often. */
function viewText(rows: true | readonly Where[]): string {
  if (rows === true) return "true";
  return `[${[...new Set(rows.map(whereText))].sort().join(",")}]`;
}

function whereText(where: Where): string {
  const long = Object.fromEntries(Object.entries(where).map(([field, asked]) => [field, comparisonOf(asked)]));
  return canonicalText(JSON.parse(JSON.stringify(long, sayable)) as Json);
}

/** A rule may compare with what JSON has no word for, and must not make a page fail by that. */
function sayable(_name: string, value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll(/\p{Surrogate}/gu, "\ufffd");
  const isBeyond = typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value));
  return isBeyond ? [String(value)] : value;
}
