/**
 * Owns what the server asks of a database: transactions over one SQL text in the subset that SQLite and PostgreSQL share, and pokes between processes.
 * The two implementations are `embedded.ts` and `postgres.ts`; what the statements mean is in the files that own the tables.
 */

export type SqlParameter = string | number | null;
export type ServerRow = { readonly [column: string]: string | number | null };

/** One open transaction. Statements use `?` for parameters; integers come back as numbers, JSON is opaque text, instants are integer milliseconds. */
export type Tx = {
  readonly all: (sql: string, ...parameters: readonly SqlParameter[]) => Promise<readonly ServerRow[]>;
  readonly run: (sql: string, ...parameters: readonly SqlParameter[]) => Promise<{ readonly changes: number }>;
  /** Runs a part so that its failure undoes only itself. */
  readonly savepoint: <T>(work: () => Promise<T>) => Promise<T>;
};

/** What differs between the databases, and nothing else. */
export type Dialect = {
  readonly name: "sqlite" | "postgres";
  /** Ends a `SELECT` that must lock its rows until the transaction ends: empty where one writer runs at a time anyway. */
  readonly forUpdate: string;
  /** Column type of integers up to 2^53. */
  readonly bigint: string;
  /** Column type of text that is compared and sorted by code point, whatever the language of the database is. */
  readonly text: string;
};

/** What `onPoke` says instead of a space when pokes may have been lost: any space may have moved. No space has this name. */
export const everySpace = "";

export type WriteOptions = {
  /**
   * True when running `work` once more after it was committed changes nothing, as a push whose receipts are found. Then a commit whose
   * answer was lost is followed by another run; else it fails with `io_failed`, because nobody can tell what became of it.
   */
  readonly isRepeatable?: boolean;
};

export type ServerStore = {
  readonly dialect: Dialect;
  /**
   * Runs `work` in one write transaction; durable when it resolves. Serialization failures, deadlocks and connections that died before
   * the commit was sent are retried from the beginning, so `work` must not have effects beside the transaction. Rows that are read in
   * order to be changed are read with `dialect.forUpdate`. A statement that failed fails the transaction, unless its savepoint undid it.
   */
  readonly write: <T>(work: (tx: Tx) => Promise<T>, options?: WriteOptions) => Promise<T>;
  /** Runs reads on one snapshot. */
  readonly read: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** Brings the tables up to date, under a lock: processes that start together wait for one another. Refuses a newer database. */
  readonly migrate: (migrations: readonly string[]) => Promise<void>;
  /** Tells every process on this database, this one included, that a space has moved. Lost pokes cost a delay, nothing else: never fails. */
  readonly poke: (space: string, head: number) => Promise<void>;
  /** Hears pokes, `everySpace` with head 0 among them. */
  readonly onPoke: (listener: (space: string, head: number) => void) => () => void;
  /** Writes a consistent copy while running; not every store can. */
  readonly backup?: (to: string) => Promise<void>;
  readonly close: () => Promise<void>;
};
