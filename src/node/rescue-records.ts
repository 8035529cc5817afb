/**
 * Owns carrying collections, records, what is unsent on them, conflicts and history out of a damaged store's image, each row by its seal.
 * Rows whose seal is wrong are carried as they are: `mending.ts` of the engine puts them right, or says what is lost, at the first opening.
 */
import type { Row, SqlValue } from "../database.ts";
import type { SealedTable } from "../engine/row-seal.ts";
import { isIntact } from "../engine/row-seal.ts";
import { carveRows } from "./carve.ts";
import type { Copying } from "./rescue-copy.ts";
import { attempt, columnsOf, copyRange, copySmall, eachInRange, inserter } from "./rescue-copy.ts";

/** Tables are named here and nowhere else in this file. */
const table = {
  collection: "collection",
  record: "record",
  pending: "pending",
  history: "record_history",
  conflict: "conflict",
  run: "run",
  meta: "meta",
  counter: "counter",
  dependency: "dep",
  others: ["space", "mention", "choice", "evicted"],
} as const;

/** Where the highest number of a table cannot be read, this many are looked for. */
const guessedHighest = 1_048_576;
const mostRows = 2 ** 31;

const highestKey = (name: string, key: string): string => `SELECT max(${key}) AS n FROM ${name}`;
const knownRecords = `SELECT id, collection, key FROM ${table.record} INDEXED BY sqlite_autoindex_record_1`;
const counted = [
  [
    "conflicts are lost; open ones are made again",
    `SELECT count(*) AS n FROM ${table.conflict} INDEXED BY sqlite_autoindex_conflict_1`,
    `SELECT count(*) AS n FROM ${table.conflict}`,
  ],
  [
    "entries of the history of records are lost",
    `SELECT count(*) AS n FROM ${table.history} INDEXED BY record_history_record`,
    `SELECT count(*) AS n FROM ${table.history}`,
  ],
] as const;
/** How much each collection held, which tells what is lost of one that no server has. */
const collectionCounters = `SELECT id, n FROM ${table.counter} WHERE id >= 1000000000`;
const storeCounter = `INSERT INTO ${table.counter} (id, n) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET n = excluded.n`;
const hasRecord = `SELECT 1 AS n FROM ${table.record} WHERE id = ?`;
const hasAny = `SELECT (SELECT count(*) FROM ${table.collection}) + (SELECT count(*) FROM ${table.record}) + (SELECT count(*) FROM ${table.pending}) AS n`;
const storeMend = `INSERT INTO ${table.meta} (name, value) VALUES ('mend', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`;
/** A change waits for the one before it on its record, which its operation does not repeat among its own options. */
const dependenciesByRecord = `INSERT OR IGNORE INTO ${table.dependency} (needs, seq) SELECT before.op, later.op FROM ${table.pending} later
  JOIN ${table.pending} before ON before.record = later.record AND before.op < later.op AND before.acked = 0
  JOIN op needed ON needed.seq = before.op JOIN op needing ON needing.seq = later.op
  WHERE later.acked = 0 AND needed.state < 8 AND needing.state < 8`;

export type RecordsWork = Copying & { readonly imagePath: string; readonly now: number };

/** Carries over what belongs to records, and leaves the note by which the engine mends it. */
export function rescueRecords(work: RecordsWork, hasDependencies: boolean): void {
  const { fresh } = work;
  const isThere =
    work.image !== null && attempt(() => work.image?.prepare(columnsOf(table.record)).all())?.length !== 0;
  // A store from before there were records has none to carry.
  if (work.image !== null && !isThere) return;
  for (const name of table.others) copySmall(work, name);
  copyRange(work, table.run, { key: "id", highest: highestOf(work, table.run, "id") });
  copySealed(work, table.collection, "id");
  for (const { id = null, n = null } of attempt(() => work.image?.prepare(collectionCounters).all()) ?? [])
    if (Number.isSafeInteger(n)) fresh.prepare(storeCounter).run(id, n);
  const isWhole = copySealed(work, table.record, "id");
  const lost = isWhole ? [] : lostRecords(work);
  copySmall(work, table.pending);
  const isHistoryWhole = copySealed(work, table.history, "seq");
  copySealed(work, table.conflict, "seq");
  const [, entries = 0] = tellLost(work);
  // Every operation on a record waits for the one before it; which that is can be read from the records again.
  if (!hasDependencies) fresh.exec(dependenciesByRecord);
  if (Number(fresh.prepare(hasAny).get()?.n ?? 0) === 0 && work.image !== null) return;
  const resync = isWhole ? [] : lost === null ? "all" : [...new Set(lost)];
  fresh.prepare(storeMend).run(JSON.stringify({ resync, isHistoryTorn: !isHistoryWhole || entries > 0 }));
}

/** Copies a table by its rowid; what cannot be read is looked for in raw pages, where only an intact row is believed. */
function copySealed(work: RecordsWork, name: SealedTable, key: string): boolean {
  const put = inserter(work.fresh, name);
  const seen = new Set<SqlValue>();
  let broken = 0;
  const missed = eachInRange(work, { name, key, highest: highestOf(work, name, key) }, (row) => {
    if (!isIntact(name, row)) broken += 1;
    if (put(row)) seen.add(row[key] ?? null);
  });
  if (broken > 0) work.findings.push(`${broken} rows of "${name}" do not match their seal`);
  if (work.image !== null && missed.length === 0) return true;
  const found = carved(work, name, key, seen);
  for (const row of found) put(row);
  if (found.length > 0) work.findings.push(`${found.length} rows of "${name}" were found in raw pages`);
  return false;
}

function carved(work: RecordsWork, name: SealedTable, key: string, seen: ReadonlySet<SqlValue>): readonly Row[] {
  const columns = work.fresh
    .prepare(columnsOf(name))
    .all()
    .map((row) => String(row.name));
  const found = new Map<SqlValue, Row>();
  for (const row of carveRows(work.imagePath, columns, key)) {
    const id = row[key] ?? null;
    if (seen.has(id) || !isIntact(name, row)) continue;
    const rival = found.get(id);
    // Pages that were given back can hold what a row was before.
    if (rival === undefined || Number(row.changed ?? row.decided ?? 0) >= Number(rival.changed ?? rival.decided ?? 0))
      found.set(id, row);
  }
  return [...found.values()];
}

/** Records that the index on keys knows and that are lost get an empty row with a broken seal. `null`: the index cannot be read either. */
function lostRecords(work: RecordsWork): readonly number[] | null {
  const known = attempt(() => work.image?.prepare(knownRecords).all() ?? null);
  if (known === null) {
    work.findings.push("which records are lost is not known, because the index on their keys cannot be read either");
    return null;
  }
  const put = inserter(work.fresh, table.record);
  const has = work.fresh.prepare(hasRecord);
  const lost: number[] = [];
  for (const { id = null, collection = null, key = null } of known) {
    if (has.get(id) !== undefined) continue;
    const empty = {
      version: 0,
      value: null,
      schema: 1,
      author: "",
      changed: work.now,
      status: 2,
      used: work.now,
      bytes: 0,
      seal: 0,
    };
    if (put({ id, collection, key, ...empty })) lost.push(Number(collection));
  }
  if (lost.length > 0) work.findings.push(`${lost.length} records are on pages that cannot be read`);
  return lost;
}

/** Indexes that hold every row of their table know how many there were. Returns how many are lost of each. */
function tellLost({ image, fresh, findings }: RecordsWork): readonly number[] {
  return counted.map(([what, known, kept]) => {
    const before = attempt(() => image?.prepare(known).get()?.n ?? null);
    const lost = Number(before ?? 0) - Number(fresh.prepare(kept).get()?.n ?? 0);
    if (lost > 0) findings.push(`${lost} ${what}`);
    return lost;
  });
}

function highestOf({ image }: Copying, name: string, key: string): number {
  if (image === null) return 0;
  const highest = attempt(() => Number(image.prepare(highestKey(name, key)).get()?.n ?? 0));
  return highest === null || !Number.isSafeInteger(highest) || highest > mostRows ? guessedHighest : highest;
}
