/**
 * Owns the synchronous SQLite interface that the engine stands on. Implementations live in the places
 * (`node/sqlite.ts`, a browser worker, others) and pass the database contract suite of `holdfast/testing`.
 */

/** What a column can hold. Integers are safe integers; booleans are 0 and 1. */
export type SqlValue = string | number | null | Uint8Array;
export type Row = Readonly<Record<string, SqlValue>>;

/** One prepared statement with positional parameters. */
export type Statement = {
  /** Runs a write and returns how many rows it changed. */
  readonly run: (...parameters: readonly SqlValue[]) => { readonly changes: number };
  /** The first row, or undefined. */
  readonly get: (...parameters: readonly SqlValue[]) => Row | undefined;
  /** All rows. */
  readonly all: (...parameters: readonly SqlValue[]) => readonly Row[];
};

/** One open connection. Every failure is a `HoldfastError`: `disk_full`, `read_only`, `database_busy`, `database_corrupt`, `io_failed`. */
export type Database = {
  readonly prepare: (sql: string) => Statement;
  /** Runs one or several statements without parameters. */
  readonly exec: (sql: string) => void;
  readonly isReadOnly: boolean;
  readonly close: () => void;
};
