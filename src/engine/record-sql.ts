/**
 * Owns `records.sql`: one view per collection, with a column per field, for one read-only statement that somebody outside wrote.
 * That it reads nothing else and changes nothing is the database's guard (`Database.query`); pages by conditions are `record-query.ts`.
 */
import type { GuardedRows, SqlValue } from "../database.ts";
import { tickFunction } from "../database.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { Json } from "../operation.ts";
import { recordLimits, recordStates } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { listInfos, sizeOf } from "./collections.ts";
import { newestFirst } from "./record-query.ts";
import { pathOf } from "./record-terms.ts";
import type { Store } from "./store.ts";
import { text } from "./store.ts";

/** Limits of one statement. */
export const sqlLimits = {
  timeoutMs: 2_000,
  bytes: 16_777_216,
  /** Records that are looked at for the names of fields, the newest first; a statement that names another one has all looked at. */
  sample: 500,
  /** Fields that get a column of their own. */
  columns: 1_000,
} as const;

/** Columns that every view has before those of its fields. */
export const viewColumns = ["_key", "_state", "_version", "_changed", "_confirmed", "_value"] as const;

/** Runs one statement over the collections' views. */
export function runSql(store: Store, input: Input<"records.sql">): Output<"records.sql"> {
  const infos = listInfos(store);
  const asked = input.sql.toLowerCase();
  // Only what the statement may name is laid out; a name within another word costs a view too many and nothing else.
  const named = infos.filter((info) => asked.includes(info.name));
  try {
    return toOutput(ask(store, input, named, sqlLimits.sample));
  } catch (error) {
    if (!isCode(error, "invalid_input")) throw error;
    const isRare =
      /no such column/.test(error.message) && named.some(({ id }) => sizeOf(store, id).records > sqlLimits.sample);
    if (isRare) return toOutput(ask(store, input, named, Number.MAX_SAFE_INTEGER));
    throw new HoldfastError("invalid_input", error.message, hintFor(infos), { cause: error });
  }
}

function ask(store: Store, input: Input<"records.sql">, infos: readonly CollectionInfo[], sample: number): GuardedRows {
  const { query } = store.db;
  if (query === undefined) {
    throw new HoldfastError(
      "refused_by_state",
      "this database cannot guard a statement from outside",
      "use records.query, or ask the daemon",
    );
  }
  return query({
    sql: input.sql,
    parameters: input.parameters ?? [],
    views: infos.map((info) => ({ name: info.name, sql: viewOf(store, info, sample) })),
    maxRows: input.limit ?? recordLimits.page,
    maxBytes: sqlLimits.bytes,
    timeoutMs: sqlLimits.timeoutMs,
  });
}

/** The living records of a collection. A field is read by the same expression as an index has it, so an index serves the view as well. */
function viewOf(store: Store, info: CollectionInfo, sample: number): string {
  const states = recordStates.map((state, number) => `WHEN ${number} THEN '${state}'`).join(" ");
  const columns = [
    `record.key AS "_key"`,
    `CASE record.status ${states} END AS "_state"`,
    `record.version AS "_version"`,
    `record.changed AS "_changed"`,
    `record.confirmed AS "_confirmed"`,
    `record.value AS "_value"`,
    ...fieldsOf(store, info, sample).map((field) => `json_extract(record.value,${pathOf(field)}) AS ${quoted(field)}`),
  ];
  return `SELECT ${columns.join(", ")} FROM main.record AS record
    WHERE record.collection = ${info.id} AND record.value IS NOT NULL AND ${tickFunction}(record.id)`;
}

/** Names of fields: those that the specification names, then those that records have. SQL tells names apart without their case. */
function fieldsOf(store: Store, info: CollectionInfo, sample: number): readonly string[] {
  const { spec } = info;
  const declared = [
    ...(spec.indexes ?? []).flat(),
    ...(spec.unique ?? []).flat(),
    ...Object.keys(spec.merge ?? {}),
    ...(spec.localOnly ?? []),
  ].filter((field) => !field.startsWith("$"));
  const seen = store.db
    .prepare(
      `SELECT DISTINCT field.key AS name FROM (SELECT record.value ${newestFirst(store, info.id)} LIMIT +?) AS newest, json_each(newest.value) AS field`,
    )
    .all(sample)
    .map((row) => text(row.name));
  const fields = new Map<string, string>();
  for (const field of [...declared, ...seen]) {
    const name = field.toLowerCase();
    const isOurs = viewColumns.some((column) => column === name);
    if (!isOurs && !field.includes("\0") && !fields.has(name)) fields.set(name, field);
  }
  return [...fields.values()].slice(0, sqlLimits.columns);
}

function toOutput({ columns, rows, isTruncated }: GuardedRows): Output<"records.sql"> {
  return { columns: [...columns], rows: rows.map((row) => row.map(toJson)), isTruncated };
}

/** Bytes as hex digits; infinities, which JSON has not, as words. */
function toJson(cell: SqlValue): Json {
  if (cell instanceof Uint8Array) return Array.from(cell, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return typeof cell === "number" && !Number.isFinite(cell) ? String(cell) : cell;
}

function hintFor(infos: readonly CollectionInfo[]): string {
  const names = infos.map(({ name }) => name).join(", ");
  return names === ""
    ? "there is no collection yet; declare one first"
    : `write one SELECT over ${names}; each has ${viewColumns.join(", ")} and its fields`;
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
