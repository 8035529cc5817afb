/**
 * Owns which statements of which owner put a row of records right, whole and with its seal. The statements are in the owners' files.
 * What a row should be is decided in `mending-rows.ts` and `mending.ts`.
 */
import type { Row } from "../database.ts";
import { collectionRepair } from "./collections.ts";
import { conflictRepair } from "./conflicts.ts";
import { pendingRepair } from "./pending.ts";
import { historyRepair } from "./record-log.ts";
import { recordRepair } from "./records.ts";
import type { SealedTable } from "./row-seal.ts";
import { sealedTables, sealOfRow } from "./row-seal.ts";
import type { Store } from "./store.ts";

// Functions, because the owners import this file too, in a circle.
const rewrites = (): { readonly [table in SealedTable]: string } => ({
  collection: collectionRepair.rewrite,
  record: recordRepair.rewrite,
  pending: pendingRepair.rewrite,
  record_history: historyRepair.rewrite,
  conflict: conflictRepair.rewrite,
});

const inserts = () =>
  ({
    collection: { sql: collectionRepair.insert, columns: ["id", "name", "space", "spec", "cursor", "state"] },
    record: {
      sql: recordRepair.insert,
      columns: [
        "id",
        "collection",
        "key",
        "version",
        "value",
        "snapshot",
        "schema",
        "author",
        "changed",
        "status",
        "pendings",
        "used",
        "bytes",
      ],
    },
    pending: { sql: pendingRepair.insert, columns: ["record", "op", "place", "base_value", "acked", "overlay"] },
  }) as const;

const drops = () => ({ record: recordRepair.drop, pending: pendingRepair.drop }) as const;

/** Writes the covered columns of a row that is there, and seals it. */
export function rewriteSealed(store: Store, table: SealedTable, row: Row): void {
  const key: readonly string[] = sealedTables[table].key;
  const columns = sealedTables[table].covered.filter((column) => !key.includes(column));
  const cells = [...columns, ...key].map((column) => row[column] ?? null);
  cells.splice(columns.length, 0, sealOfRow(table, row));
  store.db.prepare(rewrites()[table]).run(...cells);
}

/** Puts a row into its table, with its seal; one that clashes with another is left out. */
export function insertSealed(store: Store, table: keyof ReturnType<typeof inserts>, row: Row): boolean {
  const { sql, columns } = inserts()[table];
  const cells = columns.map((column) => row[column] ?? null);
  return store.db.prepare(sql).run(...cells, sealOfRow(table, row)).changes === 1;
}

/** Takes out a row that nothing can be made of. */
export function dropSealed(store: Store, table: keyof ReturnType<typeof drops>, row: Row): void {
  store.db.prepare(drops()[table]).run(...sealedTables[table].key.map((column) => row[column] ?? null));
}
