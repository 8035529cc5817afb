/**
 * Owns the seals of the rows of records: a sum over everything whose silent change would show or send something else.
 * Operations have a hash of their own (`row-hash.ts`); what is done about a broken seal is `mending.ts`.
 */
import type { Row, SqlValue } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Store } from "./store.ts";

/** The covered columns of each sealed table, and the columns that name a row. What moves by itself is not covered. */
export const sealedTables = {
  collection: { key: ["id"], covered: ["name", "space", "spec", "cursor", "state", "floor", "mark", "resync", "view"] },
  record: {
    key: ["id"],
    covered: ["collection", "key", "version", "value", "snapshot", "schema", "author", "status", "pendings"],
  },
  pending: { key: ["record", "op"], covered: ["record", "op", "place", "base_value", "acked", "overlay"] },
  record_history: {
    key: ["seq"],
    covered: ["record", "at", "origin", "run", "version", "before", "after", "detail"],
  },
  conflict: {
    key: ["seq"],
    covered: [
      ...["id", "status", "kind", "collection", "record", "op", "fields", "base", "local", "remote"],
      ...["remote_version", "remote_author", "message", "strategy", "created", "decided", "decided_by", "choice"],
      ...["outcome", "detail"],
    ],
  },
} as const satisfies Record<string, { readonly key: readonly string[]; readonly covered: readonly string[] }>;

export type SealedTable = keyof typeof sealedTables;

/** Marks between cells, outside the range of a character, so that no text can pass for another cell. */
const mark = { null: 0x10000, number: 0x10001, text: 0x10002 } as const;

/**
 * A 53-bit sum of a row's covered cells, in their order. Each step is a bijection of the state, so a single wrong bit always shows;
 * anything else passes once in 2^53. It guards against storage, not against people, and costs a third of a cryptographic hash.
 */
export function sealOf(cells: readonly (SqlValue | undefined)[]): number {
  let a = 0x2f6b1d35;
  let b = 0x41c6ce57;
  const mix = (code: number): void => {
    a = Math.imul(a ^ code, 2_654_435_761);
    b = Math.imul(b ^ code, 1_597_334_677);
  };
  for (const cell of cells) {
    if (typeof cell === "string") {
      mix(mark.text);
      // Written out: a call for every character is felt in a page of a pull.
      for (let at = 0; at < cell.length; at += 1) {
        const code = cell.charCodeAt(at);
        a = Math.imul(a ^ code, 2_654_435_761);
        b = Math.imul(b ^ code, 1_597_334_677);
      }
    } else if (typeof cell === "number") {
      mix(mark.number);
      mix(cell | 0);
      mix(Math.floor(cell / 4_294_967_296) | 0);
      mix(Number.isInteger(cell) ? 0 : 1);
    } else mix(mark.null);
  }
  a = Math.imul(a ^ (a >>> 16), 2_246_822_507) ^ Math.imul(b ^ (b >>> 13), 3_266_489_909);
  b = Math.imul(b ^ (b >>> 16), 2_246_822_507) ^ Math.imul(a ^ (a >>> 13), 3_266_489_909);
  return 4_294_967_296 * (b & 0x1f_ffff) + (a >>> 0);
}

/** The seal that a row should have. */
export function sealOfRow(table: SealedTable, row: Row): number {
  return sealOf(sealedTables[table].covered.map((column) => row[column]));
}

/** Whether a row, read with all its covered columns, is what was written. */
export function isIntact(table: SealedTable, row: Row): boolean {
  return row.seal === sealOfRow(table, row) || (table === "record_history" && isSilent(row) && row.seal === sumOf(row));
}

/**
 * Whether an entry says only that a record came from the server: what it was is said by the next entry, or by the record (`record-log.ts`).
 * One statement writes as many of them as a page brings, so their seal is a sum that SQL can make.
 */
export function isSilent(entry: Row): boolean {
  return entry.origin === "pull" && [entry.before, entry.after, entry.detail].every((cell) => cell === null);
}

/** Below zero, where no other seal is: nothing that has lost its sides passes for an entry that never had any. */
export const silentSeal = "-1 - (record * 1000003 + at * 31 + run * 131 + version * 7919)";

function sumOf({ record, at, run, version }: Row): number {
  return -1 - (Number(record) * 1_000_003 + Number(at) * 31 + Number(run) * 131 + Number(version) * 7919);
}

/** Hands an intact row on; a broken one ends the request, which is done again after the rows were mended. */
export function intact<T extends Row>(table: SealedTable, row: T): T {
  return isIntact(table, row) ? row : refuseBroken(table);
}

/** Ends a request that met a row which storage has changed. */
export function refuseBroken(table: string): never {
  throw new HoldfastError(
    "record_corrupt",
    `a row of "${table}" no longer matches its seal: the storage has changed it`,
    "see `holdfast doctor`; what cannot be proven is read again from the server, or kept aside",
    { details: { table } },
  );
}

/** The statements by which a table's owner lets its rows be sealed and put right. */
export type SealStatements = { readonly read: string; readonly seal: string };

/** Seals a row anew after one of its covered columns was written. Only for rows that were intact before. */
export function reseal(store: Store, table: SealedTable, by: SealStatements, key: SqlValue): void {
  const row = store.db.prepare(by.read).get(key);
  if (row !== undefined) store.db.prepare(by.seal).run(sealOfRow(table, row), key);
}
