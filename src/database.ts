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

/** A statement that somebody outside wrote, and all that it may see. */
export type GuardedQuery = {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
  /**
   * Everything that the statement can name. Their own text is trusted; it calls `tickFunction` with a value of each row, and its conditions
   * name a column: SQLite tells the reading of no column at all (`count(*)`) without saying through which view.
   */
  readonly views: readonly { readonly name: string; readonly sql: string }[];
  readonly maxRows: number;
  /** Bytes of rows, roughly; what comes after is left out. */
  readonly maxBytes: number;
  readonly timeoutMs: number;
};

/** The first rows of an answer. Integers beyond 2^53 come as texts. */
export type GuardedRows = {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly SqlValue[])[];
  readonly isTruncated: boolean;
};

/** Name of the SQL function that a guarded query's views call with each row: it answers 1 and ends the statement once its time is over. */
export const tickFunction = "holdfast_tick";

/** One open connection. Every failure is a `HoldfastError`: `disk_full`, `read_only`, `database_busy`, `database_corrupt`, `io_failed`. */
export type Database = {
  readonly prepare: (sql: string) => Statement;
  /** Runs one or several statements without parameters. */
  readonly exec: (sql: string) => void;
  readonly isReadOnly: boolean;
  /**
   * Runs one statement that can read the given views and nothing else, and change nothing. What is wrong with the statement is
   * `invalid_input`, too much work `timed_out`. Left out where SQLite offers no guard.
   */
  readonly query?: (query: GuardedQuery) => GuardedRows;
  readonly close: () => void;
};
