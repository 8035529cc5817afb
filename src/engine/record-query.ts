/**
 * Owns finding records: the indexes of a collection's fields, which of them a query walks, and pages that cover everything once.
 * How conditions are written in SQL is `record-terms.ts`; the records themselves are `records.ts`.
 */
import type { Row, SqlValue } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { CollectionSpec, Fields, RecordState, Where } from "../record.ts";
import { recordLimits, recordStates } from "../record.ts";
import { comparisonOf } from "../where.ts";
import type { Bound, Term } from "./record-terms.ts";
import { columnOf, isOwnColumn, pathOf, termsOf } from "./record-terms.ts";
import { intact } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, text } from "./store.ts";

/** What is needed of a collection to query it. */
export type Queried = { readonly id: number; readonly name: string; readonly spec: CollectionSpec };

/** Records of a page when the caller names no number. */
export const recordPageSize = 100;

type Direction = "asc" | "desc";
type Order = readonly { readonly field: string; readonly direction?: Direction | undefined }[];
type Asked = {
  readonly where?: Where | undefined;
  readonly order?: Order | undefined;
  readonly states?: readonly RecordState[] | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
};

const listIndexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND name >= ? AND name < ?";

/** The index behind UNIQUE (collection, key); SQLite names it. */
const keyIndex = "sqlite_autoindex_record_1";

/**
 * Makes the indexes that a collection's specification asks for and drops those that it no longer does. Each holds the living records of
 * one collection only, ends in the key so that its order is total, and is named after its fields.
 */
export function ensureIndexes(store: Store, collection: Queried): void {
  const wanted = wantedIndexes(store, collection);
  const present = presentIndexes(store, collection);
  for (const name of present) if (!wanted.has(name)) store.db.exec(`DROP INDEX ${quoted(name)}`);
  for (const [name, sql] of wanted) if (!present.has(name)) store.db.exec(sql);
}

/** Whether a collection lacks an index that its queries name: whatever made the file, a query must not fail for that. */
export function lacksIndexes(store: Store, collection: Queried): boolean {
  const present = presentIndexes(store, collection);
  return [...wantedIndexes(store, collection).keys()].some((name) => !present.has(name));
}

function wantedIndexes(store: Store, collection: Queried): ReadonlyMap<string, string> {
  const wanted = new Map(
    [...indexesOf(collection.spec), [changedField]].map((fields) => [
      indexName(store, collection.id, fields),
      createIndex(store, collection.id, fields),
    ]),
  );
  if (collection.spec.maxBytes !== undefined)
    wanted.set(`record_${collection.id}_used`, createUsedIndex(collection.id));
  return wanted;
}

function presentIndexes(store: Store, { id }: Queried): ReadonlySet<string> {
  const rows = store.db.prepare(listIndexes).all(`record_${id}_`, `record_${id}\``);
  return new Set(rows.map((row) => text(row.name)));
}

/** One page of records as rows of the table `record`, and the cursor of the next page. */
export function findRecords(
  store: Store,
  collection: Queried,
  asked: Asked,
): { readonly rows: readonly Row[]; readonly next: string | null } {
  const plan = planOf(collection, asked);
  const limit = asked.limit ?? recordPageSize;
  const rows: Row[] = [];
  for (const part of partsOf(plan, asked.cursor)) {
    const found = store.db.prepare(sqlOf(store, plan, part)).all(...part.values, limit + 1 - rows.length);
    for (const row of found) rows.push(intact("record", row));
    if (rows.length > limit) break;
  }
  const page = rows.slice(0, limit);
  const last = page[page.length - 1];
  return { rows: page, next: rows.length > limit && last !== undefined ? cursorOf(plan, last) : null };
}

/** Counts records; an index alone answers where it can. */
export function countRecords(store: Store, collection: Queried, asked: Pick<Asked, "where" | "states">): number {
  const plan = planOf(collection, asked);
  const terms = conditionsOf(plan, null);
  const sql = `SELECT count(*) AS n FROM record ${indexedBy(store, plan)} WHERE ${terms.map((term) => term.sql).join(" AND ")}`;
  return integer(store.db.prepare(sql).get(...terms.flatMap((term) => term.values))?.n);
}

/** The living records of a collection along their time of change, as the rest of a statement. */
export const newestFirst = (store: Store, collection: number): string =>
  `FROM record INDEXED BY ${quoted(indexName(store, collection, [changedField]))}
    WHERE record.collection = ${collection} AND record.value IS NOT NULL ORDER BY record.changed DESC, record.key DESC`;

// ---- which index ------------------------------------------------------------------------------------------------

const changedField = "$changed";
const keyField = "$key";

type Plan = {
  readonly collection: Queried;
  readonly where: Where;
  readonly states: readonly RecordState[] | undefined;
  /** Fields of the index, the key included at its end. */
  readonly fields: readonly string[];
  /** How many of them, from the first on, are bound to one value by the conditions. */
  readonly bound: number;
  readonly direction: Direction;
};

function indexesOf(spec: CollectionSpec): readonly (readonly string[])[] {
  const declared = (spec.indexes ?? []).map((index) => (typeof index === "string" ? [index] : index));
  const all = [...declared, ...(spec.unique ?? [])].map((fields) => fields.filter((field) => field !== keyField));
  const byName = new Map(all.filter((fields) => fields.length > 0).map((fields) => [JSON.stringify(fields), fields]));
  byName.delete(JSON.stringify([changedField]));
  return [...byName.values()];
}

function planOf(collection: Queried, asked: Asked): Plan {
  const where = asked.where ?? {};
  if (Object.keys(where).length > recordLimits.where) {
    throw invalid(`a query has at most ${recordLimits.where} conditions`, "ask for less at once");
  }
  const order = asked.order ?? [];
  const free = order.filter(({ field }) => !isBound(where, field));
  const direction = directionOf(collection, free);
  const candidates = [[keyField], ...indexesOf(collection.spec), [changedField]]
    .map((fields) => (fields[0] === keyField ? fields : [...fields, keyField]))
    .filter((fields) => serves(fields, where, free));
  let best: { readonly fields: readonly string[]; readonly score: number } | null = null;
  for (const fields of candidates) {
    const score = scoreOf(fields, where);
    if (best === null || score > best.score) best = { fields, score };
  }
  if (best === null) throw noIndex(collection, free);
  const bound = boundPrefix(best.fields, where);
  return { collection, where, states: asked.states, fields: best.fields, bound, direction };
}

const isBound = (where: Where, field: string): boolean => {
  const condition = Object.hasOwn(where, field) ? where[field] : undefined;
  return condition !== undefined && comparisonOf(condition).eq !== undefined;
};

function directionOf(collection: Queried, order: Order): Direction {
  const directions = new Set(order.map(({ direction }) => direction ?? "asc"));
  if (directions.size > 1) {
    throw invalid(
      `records of ${collection.name} cannot be ordered up by one field and down by another`,
      "an index is walked one way: use one direction for all fields of the order",
    );
  }
  return order[0]?.direction ?? "asc";
}

/** Whether walking an index gives the order that was asked for; fields bound to one value do not matter to it. */
function serves(fields: readonly string[], where: Where, order: Order): boolean {
  let next = 0;
  for (const field of fields) {
    if (next === order.length) return true;
    if (order[next]?.field === field) {
      // A key occurs once, so whatever is to be ordered behind it is in order.
      if (field === keyField) return true;
      next += 1;
    } else if (!isBound(where, field)) return false;
  }
  return next === order.length;
}

function boundPrefix(fields: readonly string[], where: Where): number {
  const free = fields.findIndex((field) => !isBound(where, field));
  return free === -1 ? fields.length : free;
}

/** The more an index narrows down the better; a range counts less than an equality. A short index is walked faster than a long one. */
function scoreOf(fields: readonly string[], where: Where): number {
  const bound = boundPrefix(fields, where);
  const next = fields[bound];
  const condition = next === undefined || !Object.hasOwn(where, next) ? undefined : where[next];
  const isRange =
    next !== undefined && condition !== undefined && termsOf(next, condition).some((term) => term.side !== "none");
  return bound * 100 + (isRange ? 50 : 0) - fields.length;
}

function noIndex(collection: Queried, order: Order): HoldfastError {
  const fields = order.map(({ field }) => field).filter((field) => field !== keyField);
  const index = JSON.stringify(fields.length === 1 ? fields[0] : fields);
  return invalid(
    `records of ${collection.name} cannot be ordered by ${fields.map((field) => JSON.stringify(field)).join(", ")}: no index holds that order`,
    `declare the collection with ${index} among its \`indexes\`, or order by $key or $changed`,
  );
}

// ---- pages ------------------------------------------------------------------------------------------------------

/** One walk along the index: some leading fields equal to the cursor's, the next one beyond it. */
type Part = { readonly terms: readonly Term[]; readonly fixed: number; readonly values: readonly SqlValue[] };

/** Where a walk goes on: the place in the index, as values of its fields beyond the bound ones. */
type Position = readonly SqlValue[];

/**
 * What lies behind a cursor, as walks that are made one after the other: first what equals it in all fields but the last, then in all
 * but the last two ... Each of them is one seek, with nulls too, where a comparison of whole rows would be none.
 */
function partsOf(plan: Plan, cursor: string | undefined): readonly Part[] {
  if (cursor === undefined) return [partOf(plan, { fixed: 0, own: [], side: null })];
  const position = positionIn(plan, cursor);
  const open = plan.fields.slice(plan.bound);
  const parts: Part[] = [];
  for (let fixed = open.length - 1; fixed >= 0; fixed -= 1) {
    const equal = open.slice(0, fixed).map((field, index) => equalTo(field, position[index] ?? null));
    const field = open[fixed] ?? keyField;
    const value = position[fixed] ?? null;
    const side = fixed === 0 ? plan.direction : null;
    for (const term of beyond(field, value, plan.direction))
      parts.push(partOf(plan, { fixed, own: [...equal, term], side }));
    if (plan.direction === "desc" && value !== null && !isOwnColumn(field)) {
      parts.push(partOf(plan, { fixed: fixed + 1, own: [...equal, equalTo(field, null)], side }));
    }
  }
  return parts;
}

function partOf(
  plan: Plan,
  walk: { readonly fixed: number; readonly own: readonly Term[]; readonly side: Direction | null },
): Part {
  const terms = [...conditionsOf(plan, walk.side), ...walk.own];
  return { terms, fixed: walk.fixed, values: terms.flatMap((term) => term.values) };
}

const equalTo = (field: string, value: SqlValue): Term =>
  value === null
    ? { sql: `${columnOf(field)} IS NULL`, values: [] }
    : { sql: `${columnOf(field)} = ?`, values: [value] };

/** What comes after a value in the direction of the walk and is not null. SQLite puts null before everything. */
function beyond(field: string, value: SqlValue, direction: Direction): readonly Term[] {
  const column = columnOf(field);
  if (direction === "asc") {
    // Minus infinity is the first of all that is not null; written as a comparison, the walk begins there.
    if (value === null) return [{ sql: `${column} >= -1e999`, values: [] }];
    return [{ sql: `${column} > ?`, values: [value] }];
  }
  return value === null ? [] : [{ sql: `${column} < ?`, values: [value] }];
}

function sqlOf(store: Store, plan: Plan, part: Part): string {
  const order = plan.fields
    .slice(plan.bound + part.fixed)
    .map((field) => `${columnOf(field)} ${plan.direction === "asc" ? "ASC" : "DESC"}`);
  const columns = plan.fields
    .slice(plan.bound)
    .map((field, index) => `, ${columnOf(field)} AS "at ${index}"`)
    .join("");
  // Everything may be bound: then one record at most fits.
  const ordered = order.length === 0 ? "" : `ORDER BY ${order.join(", ")}`;
  return `SELECT record.*${columns} FROM record ${indexedBy(store, plan)}
    WHERE ${part.terms.map((term) => term.sql).join(" AND ")} ${ordered} LIMIT +?`;
}

/**
 * All conditions of a query. Only those that the walk begins or ends with are left to the planner; a plus before the others keeps it from
 * walking by them, which would lose the order. `side` is the side from which a cursor bounds the first open field.
 */
function conditionsOf(plan: Plan, side: Direction | null): readonly Term[] {
  const { collection, where, states, fields, bound } = plan;
  const terms: Term[] = [
    // The collection is a literal because SQLite takes a partial index only where its terms are repeated literally.
    { sql: `record.collection = ${collection.id}`, values: [] },
    { sql: "record.value IS NOT NULL", values: [] },
  ];
  if (states !== undefined) {
    const numbers = states.map((state) => recordStates.indexOf(state));
    terms.push({ sql: `+record.status IN (${numbers.join(",")})`, values: [] });
  }
  for (const [field, condition] of Object.entries(where)) {
    const place = fields.indexOf(field);
    for (const term of termsOf(field, condition)) {
      const isWalked = place !== -1 && (place < bound ? term.side === "equal" : place === bound && isLimit(term, side));
      terms.push(isWalked || term.side === "none" ? term : { sql: `+${term.sql}`, values: term.values });
    }
  }
  return terms;
}

/** The cursor bounds its own side more tightly than a condition that all pages share. */
const isLimit = (term: Bound, side: Direction | null): boolean =>
  term.side !== "none" && !(term.side === "lower" && side === "asc") && !(term.side === "upper" && side === "desc");

const indexedBy = (store: Store, plan: Plan): string =>
  `INDEXED BY ${plan.fields[0] === keyField ? keyIndex : quoted(indexName(store, plan.collection.id, plan.fields.slice(0, -1)))}`;

// ---- cursors ----------------------------------------------------------------------------------------------------

/** A cursor names the order that it belongs to, so that one of another query is refused and never misread. */
function cursorOf(plan: Plan, row: Row): string {
  const open = plan.fields.slice(plan.bound);
  return JSON.stringify([orderOf(plan), ...open.map((field, index) => whole(row, field, row[`at ${index}`] ?? null))]);
}

/** Node 22 reads a text from SQLite up to its U+0000, and a cursor that is cut there would bring records again; inside JSON it is whole. */
function whole(row: Row, field: string, cell: SqlValue): SqlValue {
  if (typeof cell !== "string" || isOwnColumn(field) || !String(row.value).includes("\\u0000")) return cell;
  const fields = JSON.parse(String(row.value)) as Fields;
  const written = Object.hasOwn(fields, field) ? fields[field] : undefined;
  return typeof written === "string" && written.startsWith(`${cell}\0`) ? written : cell;
}

const orderOf = (plan: Plan): string => `${plan.direction} ${plan.bound} ${plan.fields.join(" ")}`;

function positionIn(plan: Plan, cursor: string): Position {
  const parts = parseList(cursor);
  const [order, ...values] = parts ?? [];
  const isWhole = values.length === plan.fields.length - plan.bound;
  if (parts === null || !isWhole || order !== orderOf(plan) || !values.every(isCell)) {
    throw invalid(
      "the cursor is none of this query",
      "pass `next` of the page before, unchanged, with the same conditions and order",
    );
  }
  return values;
}

function parseList(cursor: string): readonly unknown[] | null {
  try {
    const parsed: unknown = JSON.parse(cursor);
    return Array.isArray(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

const isCell = (value: unknown): value is string | number | null =>
  value === null || typeof value === "string" || typeof value === "number";

// ---- indexes ----------------------------------------------------------------------------------------------------

/** Every query names its index, so what was hashed once is remembered; there are as many as indexes are declared. */
const hashes = new WeakMap<Store, Map<string, string>>();

/** Named by a hash: names of fields may be anything, and long. */
function indexName(store: Store, collection: number, fields: readonly string[]): string {
  const known = hashes.get(store) ?? new Map<string, string>();
  hashes.set(store, known);
  const written = JSON.stringify(fields);
  const hash = known.get(written) ?? store.world.hash(written).slice(0, 16);
  known.set(written, hash);
  return `record_${collection}_${hash}`;
}

function createIndex(store: Store, collection: number, fields: readonly string[]): string {
  const columns = fields.map((field) =>
    isOwnColumn(field) ? columnOf(field).replace("record.", "") : `json_extract(value,${pathOf(field)})`,
  );
  return `CREATE INDEX ${quoted(indexName(store, collection, fields))} ON record (${[...columns, "key"].join(", ")})
    WHERE collection = ${collection} AND value IS NOT NULL`;
}

/** What may be evicted, least recently used first; see `record-cache.ts`. */
const createUsedIndex = (collection: number): string =>
  `CREATE INDEX record_${collection}_used ON record (used, id) WHERE collection = ${collection} AND status = 0 AND pinned = 0 AND value IS NOT NULL`;

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const invalid = (message: string, hint: string): HoldfastError => new HoldfastError("invalid_input", message, hint);
