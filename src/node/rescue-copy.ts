/**
 * Owns the ways in which rows get out of a damaged image: by ranges around what cannot be read, one by one, and into a fresh table.
 * Which tables, and what of a row is believed, is left to `rescue.ts` and `rescue-records.ts`.
 */
import type { Database, Row, SqlValue } from "../database.ts";
import { isCode } from "../errors.ts";

/** Failing look-ups before the rest of a table is given up; a bad root page makes every one of them fail. */
const missLimit = 200_000;

/** With so many failures and nothing read, not even an empty range, the root of the table itself is bad. */
const rootMissLimit = 256;

export const columnsOf = (name: string): string => `SELECT name FROM pragma_table_info('${name}')`;
const readRange = (name: string, key: string): string => `SELECT * FROM ${name} WHERE ${key} BETWEEN ? AND ?`;
const readAll = (name: string): string => `SELECT * FROM ${name}`;
const readNth = (name: string): string => `SELECT * FROM ${name} LIMIT 1 OFFSET ?`;

export type SequenceRange = { readonly from: number; readonly to: number };

/** An image, the store that is filled from it, and what a person is told. */
export type Copying = { readonly fresh: Database; readonly image: Database | null; readonly findings: string[] };

/** Copies a table by its rowid. */
export function copyRange(
  work: Copying,
  name: string,
  range: { readonly key: string; readonly highest: number },
): void {
  const put = inserter(work.fresh, name);
  eachInRange(work, { name, ...range }, put);
}

/** Copies a table of which every row can be asked for by its place; tells whether all of it could be read. */
export function copySmall(work: Copying, name: string): boolean {
  const image = work.image;
  if (image === null) return false;
  const put = inserter(work.fresh, name);
  const whole = attempt(() => image.prepare(readAll(name)).all());
  if (whole !== null) {
    for (const row of whole) put(row);
    return true;
  }
  work.findings.push(`the table "${name}" is damaged; what could be read of it was kept`);
  for (let index = 0; ; index += 1) {
    const row = attempt(() => image.prepare(readNth(name)).get(index));
    if (row === null || row === undefined) return false;
    put(row);
  }
}

export type Range = { readonly name: string; readonly key: string; readonly highest: number };

/** Reads a table by ranges of its rowid and halves a range that fails, until what cannot be read is a single row. Returns what was not. */
export function eachInRange(work: Copying, range: Range, visit: (row: Row) => void): readonly SequenceRange[] {
  const image = work.image;
  if (image === null) return [];
  const missed: SequenceRange[] = [];
  const read = attempt(() => image.prepare(readRange(range.name, range.key)));
  const open: SequenceRange[] = [];
  for (let from = 1; from <= range.highest; from += 4_096)
    open.push({ from, to: Math.min(from + 4_095, range.highest) });
  open.reverse();
  let misses = 0;
  let hasRead = false;
  while (open.length > 0) {
    const { from, to } = open.pop() as SequenceRange;
    const isHopeless = misses > missLimit || (!hasRead && misses > rootMissLimit);
    const rows = read === null || isHopeless ? null : attempt(() => read.all(from, to));
    if (rows !== null) {
      hasRead = true;
      for (const row of rows) visit(row);
      continue;
    }
    misses += 1;
    if (from === to || read === null || isHopeless) {
      missed.push({ from, to });
      continue;
    }
    const middle = Math.floor((from + to) / 2);
    open.push({ from: middle + 1, to }, { from, to: middle });
  }
  if (misses > 0) work.findings.push(`the table "${range.name}" has pages that cannot be read`);
  return missed;
}

/** Inserts a row by the columns that both sides know; one that clashes with a saved row or lacks what it needs is left out. */
export function inserter(fresh: Database, name: string): (row: Row) => boolean {
  const columns = new Set(
    fresh
      .prepare(columnsOf(name))
      .all()
      .map((row) => String(row.name)),
  );
  return (row) => {
    const names = Object.keys(row).filter((column) => columns.has(column));
    const values = names.map((column) => row[column] as SqlValue);
    const marks = names.map(() => "?").join(", ");
    const sql = `INSERT OR IGNORE INTO ${name} (${names.join(", ")}) VALUES (${marks})`;
    return attempt(() => fresh.prepare(sql).run(...values).changes) === 1;
  };
}

/** `null` for what the damage made unreadable; a failure of the disk itself is no damage and goes on up. */
export function attempt<T>(task: () => T): T | null {
  try {
    return task();
  } catch (error) {
    if (isCode(error, "disk_full") || isCode(error, "read_only")) throw error;
    return null;
  }
}
