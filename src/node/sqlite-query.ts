/**
 * Owns running a statement that somebody outside wrote: it can read the views it is given and nothing else, change nothing, and not run on.
 * SQLite itself decides what a statement touches, no pattern over its text. Opening connections is left to `sqlite.ts`.
 */
import { randomBytes } from "node:crypto";
import type { GuardedQuery, GuardedRows, SqlValue } from "../database.ts";
import { tickFunction } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import { sqliteCodeOf } from "./sqlite-failure.ts";

type Cell = string | number | bigint | null | Uint8Array;

/** The part of a statement of `node:sqlite` that is used here. */
type Prepared = {
  readonly sourceSQL: string;
  readonly columns: () => readonly { readonly name: string }[];
  readonly all: () => readonly unknown[];
  readonly iterate: (...parameters: SqlValue[]) => IterableIterator<unknown>;
  readonly setReturnArrays: (isOn: boolean) => void;
  readonly setReadBigInts: (isOn: boolean) => void;
};

type Authorizer = (
  action: number,
  first: string | null,
  second: string | null,
  database: string | null,
  inner: string | null,
) => number;

/** The part of a connection of `node:sqlite` that is used here; `setAuthorizer` came with Node 24.10. */
export type GuardedConnection = {
  readonly prepare: (sql: string) => Prepared;
  readonly exec: (sql: string) => void;
  readonly function: (name: string, task: (...values: SqlValue[]) => SqlValue) => void;
  readonly setAuthorizer?: (authorizer: Authorizer | null) => void;
  readonly close: () => void;
};

export type Guard = {
  readonly connection: GuardedConnection;
  /** Opens an empty database in memory. */
  readonly openEmpty: () => GuardedConnection;
  /** False: as on a Node without `setAuthorizer`. */
  readonly hasAuthorizer: boolean;
};

/** Result and action codes of SQLite's authorizer, see sqlite.org/c3ref/c_alter_table.html. */
const allow = 0;
const deny = 1;
const action = { read: 20, select: 21, function: 31 } as const;

/** Tables that SQLite makes up from a JSON value in the statement. */
const jsonTables: readonly string[] = ["json_each", "json_tree"];
const refusedFunctions: readonly string[] = ["load_extension", "fts3_tokenizer"];

/** A view under the name that the statement uses, over one whose name nobody can guess. */
type Pair = { readonly name: string; readonly sql: string; readonly hidden: string };

/** Runs a guarded query on a connection; its temporary views are gone afterwards. */
export function runGuarded(guard: Guard, query: GuardedQuery): GuardedRows {
  const { connection } = guard;
  const pairs = query.views.map((view) => ({ ...view, hidden: `view_${randomBytes(16).toString("hex")}` }));
  const clock = startClock(query.timeoutMs);
  connection.function(tickFunction, clock.tick);
  try {
    for (const pair of pairs) createViews(connection, pair);
    return refusing(query, () => {
      if (guard.hasAuthorizer) connection.setAuthorizer?.(authorizerOf(pairs));
      else refuseStrangers(guard, pairs, query.sql);
      return readRows(connection, query, clock.tick);
    });
  } finally {
    if (guard.hasAuthorizer) connection.setAuthorizer?.(null);
    for (const pair of pairs) dropViews(connection, pair);
  }
}

function startClock(timeoutMs: number): { readonly tick: (row: SqlValue) => number } {
  const endsAt = performance.now() + timeoutMs;
  let calls = 0;
  return {
    tick: (_row) => {
      calls += 1;
      // Reading the clock costs more than the rest of a row.
      if (calls % 64 !== 0 || performance.now() < endsAt) return 1;
      throw new HoldfastError(
        "timed_out",
        `the statement was stopped after ${timeoutMs} ms`,
        "narrow it down, or page through records.query instead",
      );
    },
  };
}

function createViews(connection: GuardedConnection, pair: Pair): void {
  connection.exec(`CREATE TEMP VIEW ${quoted(pair.hidden)} AS ${pair.sql}`);
  connection.exec(`CREATE TEMP VIEW ${quoted(pair.name)} AS SELECT * FROM temp.${quoted(pair.hidden)}`);
}

function dropViews(connection: GuardedConnection, pair: Pair): void {
  connection.exec(`DROP VIEW IF EXISTS temp.${quoted(pair.name)}`);
  connection.exec(`DROP VIEW IF EXISTS temp.${quoted(pair.hidden)}`);
}

/**
 * SQLite asks this for everything that a statement would touch while it compiles it. A table of the store may be read by a hidden view
 * alone: the visible views' names could be borrowed by a `WITH` of the statement, and then SQLite would name them as the reader.
 */
function authorizerOf(pairs: readonly Pair[]): Authorizer {
  const visible = new Set(pairs.map((pair) => pair.name));
  const hidden = new Set(pairs.map((pair) => pair.hidden));
  return (asked, first, second, database, inner) => {
    switch (asked) {
      case action.select:
        return allow;
      case action.function:
        return second === null || refusedFunctions.includes(second.toLowerCase()) ? deny : allow;
      case action.read:
        if (inner !== null && hidden.has(inner)) return allow;
        if (first === null) return deny;
        if (database === "temp") return visible.has(first) || hidden.has(first) ? allow : deny;
        return jsonTables.includes(first) ? allow : deny;
      default:
        // Recursion is among the refused: it can run for ever without reading a row, so without a tick.
        return deny;
    }
  };
}

/**
 * What stands in for the authorizer where there is none. The statement is compiled in an empty database whose only tables are named like
 * the views: what it names beyond them is unknown there. As a part of a SELECT it cannot be anything that changes or attaches.
 */
function refuseStrangers(guard: Guard, pairs: readonly Pair[], sql: string): void {
  const empty = guard.openEmpty();
  try {
    for (const { name } of pairs)
      empty.exec(`CREATE TEMP TABLE ${quoted(name)} (${columnsOf(guard.connection, name)})`);
    empty.function(tickFunction, (_row) => 1);
    const body = sourceOf(empty, sql, pairs).replace(/;\s*$/, "");
    const part = `SELECT * FROM (${body}\n)`;
    const program = explained(empty, `EXPLAIN ${part}`);
    if (program.some(isStrange)) throw refusal("not authorized: it reads more than the views", pairs);
    const steps = explained(empty, `EXPLAIN QUERY PLAN ${part}`);
    if (steps.some((step) => step.includes("RECURSIVE STEP"))) throw refusal("not authorized: it is recursive", pairs);
  } finally {
    empty.close();
  }
}

/** Node 22 makes a statement of nothing but comments and spaces, and then says that it has been finalized. */
function sourceOf(connection: GuardedConnection, sql: string, pairs: readonly Pair[]): string {
  const statement = connection.prepare(sql);
  try {
    return statement.sourceSQL;
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "ERR_INVALID_STATE") throw refusal("it is no statement", pairs);
    throw error;
  }
}

/** Columns of `EXPLAIN`: address, opcode, p1 to p5. Page 1 is the schema, database 1 holds what is temporary. */
const isStrange = (step: readonly unknown[]): boolean =>
  step[1] === "VOpen" || (step[1] === "OpenRead" && (step[3] === 1 || step[4] !== 1));

function explained(connection: GuardedConnection, sql: string): readonly (readonly unknown[])[] {
  const statement = connection.prepare(sql);
  statement.setReturnArrays(true);
  return statement.all() as readonly (readonly unknown[])[];
}

function columnsOf(connection: GuardedConnection, view: string): string {
  const columns = connection.prepare(`SELECT * FROM temp.${quoted(view)}`).columns();
  return columns.map((column) => quoted(column.name)).join(", ");
}

/** White space and comments; what stands behind the first statement is never run, and saying so is kinder than leaving it out. */
const nothing = /^(?:\s|;|--[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/|$))*$/;

function readRows(connection: GuardedConnection, query: GuardedQuery, tick: (row: SqlValue) => number): GuardedRows {
  const statement = connection.prepare(query.sql);
  if (!nothing.test(query.sql.slice(statement.sourceSQL.length))) throw refusal("there is more than one statement", []);
  const columns = statement.columns().map((column) => column.name);
  if (columns.length === 0) throw refusal("the statement answers no rows", []);
  statement.setReturnArrays(true);
  statement.setReadBigInts(true);
  const rows: (readonly SqlValue[])[] = [];
  let bytes = 0;
  for (const row of statement.iterate(...query.parameters)) {
    tick(rows.length);
    if (rows.length === query.maxRows || bytes > query.maxBytes) return { columns, rows, isTruncated: true };
    const cells = (row as readonly Cell[]).map(toCell);
    bytes += cells.reduce<number>((sum, cell) => sum + sizeOf(cell), 0);
    rows.push(cells);
  }
  return { columns, rows, isTruncated: false };
}

function toCell(value: Cell): SqlValue {
  if (typeof value !== "bigint") return value;
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
}

const sizeOf = (cell: SqlValue): number => (typeof cell === "string" || cell instanceof Uint8Array ? cell.length : 8);

/** Primary result codes that tell of the statement and not of the storage: error, readonly, too big, constraint, mismatch, auth, range. */
const statementCodes: readonly number[] = [1, 8, 18, 19, 20, 23, 25];

function refusing<T>(query: GuardedQuery, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof HoldfastError || !(error instanceof Error)) throw error;
    const isStatement =
      statementCodes.includes(sqliteCodeOf(error) & 0xff) || /contains no statements/.test(error.message);
    throw isStatement ? refusal(error.message, query.views, error) : error;
  }
}

function refusal(message: string, views: readonly { readonly name: string }[], cause?: unknown): HoldfastError {
  const names = views.map((view) => view.name).join(", ");
  const hint = `write one SELECT over the views${names === "" ? "" : `: ${names}`}; nothing else can be read, and nothing changed`;
  return new HoldfastError("invalid_input", `SQL: ${message}`, hint, cause === undefined ? {} : { cause });
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
