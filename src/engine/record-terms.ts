/**
 * Owns how a field and a condition on it are written in SQL: paths that no name can break out of, values compared with their JSON types.
 * Which index a query walks and how it is paged is `record-query.ts`; what a condition means without a database is `where.ts`.
 */
import type { SqlValue } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Condition } from "../record.ts";
import { comparisonOf } from "../where.ts";

/** A part of a statement with the values of its parameters. */
export type Term = { readonly sql: string; readonly values: readonly SqlValue[] };

/** A term that bounds a column from one side, so that a walk along the column's index can begin or end there. */
export type Bound = Term & { readonly side: "equal" | "lower" | "upper" | "none" };

/**
 * The JSON path of a field as an SQL literal. JSON's own quoting makes the name one label whatever is in it, SQL's makes the path one
 * text. It is a literal and no parameter because an index on an expression serves only queries that repeat the expression.
 */
export function pathOf(field: string): string {
  // SQLite compares labels up to the first zero character, so such a name would find other fields.
  if (field.includes("\0")) {
    throw new HoldfastError("invalid_input", "the name of a field has a zero character", "name fields without it");
  }
  return `'$.${JSON.stringify(field).replaceAll("'", "''")}'`;
}

/** Names that stand for columns of the record itself. */
const ownColumns: ReadonlyMap<string, { readonly column: string; readonly type: "text" | "number" }> = new Map([
  ["$key", { column: "record.key", type: "text" }],
  ["$changed", { column: "record.changed", type: "number" }],
]);

export const isOwnColumn = (field: string): boolean => ownColumns.has(field);

/** A field as a value that SQLite can order: null or missing, then false and true as 0 and 1 among numbers, then texts. */
export const columnOf = (field: string): string =>
  ownColumns.get(field)?.column ?? `json_extract(record.value,${pathOf(field)})`;

type Kind = "text" | "number" | "true" | "false";

const kindTests: { readonly [kind in Kind]: string } = {
  text: "= 'text'",
  number: "IN ('integer','real')",
  true: "= 'true'",
  false: "= 'false'",
};

/** A test of the JSON type; own columns have one type, so theirs is known beforehand. */
function kindTest(field: string, kind: Kind): string {
  const own = ownColumns.get(field);
  // No constant: SQLite would drop the other conditions beside a false one, and with them its reason to take a partial index.
  if (own !== undefined) return own.type === kind ? "+record.id > 0" : "+record.id < 0";
  return `json_type(record.value,${pathOf(field)}) ${kindTests[kind]}`;
}

/** All that a condition asks of a field; every term must hold. */
export function termsOf(field: string, condition: Condition): readonly Bound[] {
  const asked = comparisonOf(condition);
  const column = columnOf(field);
  return [
    ...(asked.eq === undefined ? [] : equal(field, asked.eq)),
    ...(asked.ne === undefined ? [] : [notEqual(field, asked.ne)]),
    ...(asked.lt === undefined ? [] : ordered(field, "<", asked.lt)),
    ...(asked.lte === undefined ? [] : ordered(field, "<=", asked.lte)),
    ...(asked.gt === undefined ? [] : ordered(field, ">", asked.gt)),
    ...(asked.gte === undefined ? [] : ordered(field, ">=", asked.gte)),
    ...(asked.in === undefined ? [] : [among(field, asked.in)]),
    ...(asked.prefix === undefined ? [] : beginning(field, column, asked.prefix)),
  ];
}

type Scalar = string | number | boolean | null;

const filter = (sql: string, values: readonly SqlValue[] = []): Bound => ({ sql, values, side: "none" });

function equal(field: string, value: Scalar): readonly Bound[] {
  const column = columnOf(field);
  if (value === null) return [{ sql: `${column} IS NULL`, values: [], side: "equal" }];
  const test = typeTest(field, value);
  const same: Bound = { sql: `${column} = ?`, values: [toSql(value)], side: "equal" };
  return test === null ? [same] : [same, filter(test)];
}

/**
 * The test that SQL's own comparison leaves open, `null` where it leaves nothing open: an object's text is a text, and a boolean is
 * a number. Left out where it can be, because an index alone then answers a count.
 */
function typeTest(field: string, value: string | number | boolean): string | null {
  if (typeof value === "boolean") return kindTest(field, value ? "true" : "false");
  if (isOwnColumn(field)) return kindTest(field, typeof value === "string" ? "text" : "number");
  if (typeof value === "string") return /^[[{]/.test(value) ? kindTest(field, "text") : null;
  return value === 0 || value === 1 ? kindTest(field, "number") : null;
}

function notEqual(field: string, value: Scalar): Bound {
  const terms = equal(field, value);
  const sql = terms.map((term) => term.sql).join(" AND ");
  // What is missing makes a comparison null; it does differ, so null counts as "not equal".
  return filter(
    `(${sql}) IS NOT TRUE`,
    terms.flatMap((term) => term.values),
  );
}

function ordered(field: string, operator: "<" | "<=" | ">" | ">=", value: string | number): readonly Bound[] {
  const column = columnOf(field);
  const isUpper = operator.startsWith("<");
  const asked: Bound = { sql: `${column} ${operator} ?`, values: [value], side: isUpper ? "upper" : "lower" };
  const isText = typeof value === "string";
  // Numbers come before texts, so the other side ends where the type does.
  const ends: readonly Bound[] =
    isText === isUpper
      ? [{ sql: `${column} ${isText ? ">=" : "<"} ''`, values: [], side: isUpper ? "lower" : "upper" }]
      : [];
  return [asked, ...ends, filter(kindTest(field, isText ? "text" : "number"))];
}

function among(field: string, values: readonly Scalar[]): Bound {
  // The plus keeps the planner from walking an index once per member, which would lose the order.
  const column = `+${columnOf(field)}`;
  const parts: Term[] = [];
  const list = (kind: "text" | "number", members: readonly (string | number)[]): void => {
    if (members.length === 0) return;
    const marks = members.map(() => "?").join(",");
    parts.push({ sql: `(${column} IN (${marks}) AND ${kindTest(field, kind)})`, values: members });
  };
  list(
    "text",
    values.filter((value) => typeof value === "string"),
  );
  list(
    "number",
    values.filter((value) => typeof value === "number"),
  );
  for (const flag of [true, false]) {
    if (values.includes(flag)) parts.push({ sql: kindTest(field, flag ? "true" : "false"), values: [] });
  }
  if (values.includes(null)) parts.push({ sql: `${column} IS NULL`, values: [] });
  return filter(
    `(${parts.map((part) => part.sql).join(" OR ")})`,
    parts.flatMap((part) => part.values),
  );
}

function beginning(field: string, column: string, prefix: string): readonly Bound[] {
  const after = successorOf(prefix);
  return [
    { sql: `${column} >= ?`, values: [prefix], side: "lower" },
    ...(after === null ? [] : [{ sql: `${column} < ?`, values: [after], side: "upper" } as const]),
    filter(kindTest(field, "text")),
  ];
}

/** The first text after all that begin with `prefix`; `null` when there is none. A range is exact and an index serves it. */
function successorOf(prefix: string): string | null {
  const points = [...prefix].map((character) => character.codePointAt(0) ?? 0);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last >= 0x10ffff) continue;
    // Surrogates are no code points of their own: the next one lies behind them.
    const next = last >= 0xd7ff && last < 0xe000 ? 0xe000 : last + 1;
    return String.fromCodePoint(...points, next);
  }
  return null;
}

const toSql = (value: string | number | boolean): SqlValue => (typeof value === "boolean" ? (value ? 1 : 0) : value);
