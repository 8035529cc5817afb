/**
 * Owns the table `record_history`: one row per change that a record's view took, with both sides, so that nothing that was ever seen is lost;
 * and the server's side of a decision that it lost.
 * Who changes records is `records.ts` and `pending.ts`; how history is read and restored is left to the verbs of records.
 */

import type { Row } from "../database.ts";
import type { Json } from "../operation.ts";
import type { RecordOrigin } from "../record.ts";
import { pruneEvicted } from "./evicted.ts";
import { getSettings } from "./meta.ts";
import { intact, isSilent, sealOf, sealOfRow, silentSeal } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, parsed, textOrNull } from "./store.ts";

/** Rows that one pass of retention deletes. */
export const historyPruneLimit = 500;

/** Records whose history is counted in one pass of retention. */
export const trimPass = 500;

const crowded = `SELECT record FROM record_history WHERE record > ? AND record <= ? GROUP BY record HAVING count(*) > ?`;
const nthNewest = "SELECT seq, run FROM record_history WHERE record = ? ORDER BY seq DESC LIMIT 1 OFFSET +?";
// Of a run that is still in it all is kept: a rollback must not take an entry from the middle for the first one.
const trim = `DELETE FROM record_history WHERE record = ? AND seq IN (SELECT seq FROM record_history WHERE record = ? AND seq < ?
  AND at < ? AND (run IS NULL OR run IS NOT ?) ORDER BY seq LIMIT +?)`;
const insert = `INSERT INTO record_history (record, at, origin, run, version, before, after, detail, seal)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const last = "SELECT max(seq) AS seq FROM record_history";
/**
 * A record that was pulled for the first time is as it came until something else is logged of it. Its row has neither side: a copy of the
 * value would double what a first pull writes. The next row of the record says what it was, or else the record itself.
 */
const logPulledNew = `INSERT INTO record_history (record, at, origin, run, version, seal)
  SELECT record, at, 'pull', run, version, ${silentSeal}
  FROM (SELECT id AS record, ? AS at, ? AS run, version FROM record WHERE id BETWEEN ? AND ?)`;
/** The value after an entry of the table `record_history` under its own name. */
export const afterOf = `CASE WHEN record_history.before IS NULL AND record_history.after IS NULL AND record_history.detail IS NULL THEN coalesce(
  (SELECT next.before FROM record_history AS next WHERE next.record = record_history.record AND next.seq > record_history.seq
    ORDER BY next.seq LIMIT 1),
  (SELECT value FROM record WHERE id = record_history.record)) ELSE record_history.after END`;
/** The entries of a record of which only the record, or the next entry, says what it was. */
const silentOf = `SELECT *, ${afterOf} AS shown FROM record_history WHERE record = ?
  AND before IS NULL AND after IS NULL AND detail IS NULL`;
const write = "UPDATE record_history SET after = ?, detail = ?, seal = ? WHERE seq = ?";
const nextOf = "SELECT before, detail FROM record_history WHERE record = ? AND seq > ? ORDER BY seq LIMIT 1";
const schemaNow = "SELECT schema FROM record WHERE id = ?";
const move = "UPDATE record_history SET record = ?, seal = ? WHERE seq = ?";
const ofRecord = "SELECT * FROM record_history WHERE record = ?";
const prune =
  "DELETE FROM record_history WHERE seq IN (SELECT seq FROM record_history ORDER BY seq LIMIT +?) AND at < ? RETURNING record";
/** How `mending.ts` puts rows right that storage has changed. */
export const historyRepair = {
  rewrite: `UPDATE record_history SET record = ?, at = ?, origin = ?, run = ?, version = ?, before = ?, after = ?, detail = ?, seal = ?
  WHERE seq = ?`,
} as const;

export type LogEntry = {
  readonly record: number;
  /** When it happened, where the caller has asked the clock already. */
  readonly at?: number;
  readonly origin: RecordOrigin;
  readonly run: number | null;
  readonly version: number;
  /** JSON texts; `null`: no record. */
  readonly before: string | null;
  readonly after: string | null;
  /** Schema version of `after`, and of `before` unless `former` names another. */
  readonly schema: number;
  readonly former?: number;
  readonly detail?: Json;
};

/** Says of an entry that the record went from here alone: it lives on at the server, where filter or rights do not reach it. */
export const hiddenDetail = { isHidden: true };

export const isHiddenEntry = ({ detail }: Row): boolean =>
  parsed<{ readonly isHidden?: boolean } | null>(textOrNull(detail) ?? "{}", {})?.isHidden === true;

/** Notes one change of a record in the transaction that makes it. */
export function logRecord(store: Store, entry: LogEntry): void {
  const detail = detailOf(entry);
  const { record, origin, run, version, before, after } = entry;
  const at = entry.at ?? store.world.now();
  const seal = sealOf([record, at, origin, run, version, before, after, detail]);
  store.db.prepare(insert).run(record, at, origin, run, version, before, after, detail, seal);
}

/** Values are kept as they were, so the schema version of each side is noted where it is not the first one. */
function detailOf({ schema, former = schema, detail = null }: LogEntry): string | null {
  if (schema === 1 && former === 1) return detail === null ? null : JSON.stringify(detail);
  return JSON.stringify({ ...(detail as object | null), schema: former === schema ? schema : [former, schema] });
}

function schemasIn(detail: string | null): { readonly before: number; readonly after: number } {
  const { schema = 1 } =
    parsed<{ readonly schema?: number | readonly [number, number] } | null>(detail ?? "{}", {}) ?? {};
  return typeof schema === "number" ? { before: schema, after: schema } : { before: schema[0], after: schema[1] };
}

/** The schema version of one side of an entry; what an entry leaves to the next one or to the record has theirs. */
export function schemaOfSide(store: Store, entry: Row, side: "before" | "after"): number {
  if (!isSilent(entry)) return schemasIn(textOrNull(entry.detail))[side];
  const next = store.db.prepare(nextOf).get(entry.record ?? 0, entry.seq ?? 0);
  if (next !== undefined && next.before !== null) return schemasIn(textOrNull(next.detail)).before;
  return integer(store.db.prepare(schemaNow).get(entry.record ?? 0)?.schema);
}

/** Notes that records of a range of ids have come from the server for the first time. */
export function logPulled(
  store: Store,
  pulled: { readonly first: number; readonly last: number; readonly at: number; readonly run: number },
): void {
  if (pulled.last >= pulled.first) store.db.prepare(logPulledNew).run(pulled.at, pulled.run, pulled.first, pulled.last);
}

/** The newest row, so that a run can say between which rows its changes stand. */
export function lastLogged(store: Store): number {
  return integer(store.db.prepare(last).get()?.seq);
}

/** A record is about to go: what its history leaves to the record is written out. */
export function completeLog(store: Store, record: number): void {
  for (const row of store.db.prepare(silentOf).all(record)) {
    const schema = schemaOfSide(store, row, "after");
    const detail = schema > 1 ? JSON.stringify({ schema }) : null;
    const written = { ...intact("record_history", row), after: row.shown ?? null, detail };
    if (written.after === null) continue;
    store.db.prepare(write).run(written.after, detail, sealOfRow("record_history", written), integer(row.seq));
  }
}

/** Two rows turned out to be one record. */
export function moveLog(store: Store, from: number, to: number): void {
  // Between the rows of another one, the next row no longer says what came before it.
  for (const record of [from, to]) completeLog(store, record);
  for (const row of store.db.prepare(ofRecord).all(from)) {
    const moved = { ...intact("record_history", row), record: to };
    store.db.prepare(move).run(to, sealOfRow("record_history", moved), integer(row.seq));
  }
}

/** Records, from one number to another, whose history has more entries than `keep`. */
export function crowdedLogs(
  store: Store,
  range: { readonly after: number; readonly to: number; readonly keep: number },
) {
  const rows = store.db.prepare(crowded).all(range.after, range.to, range.keep);
  return rows.map((row) => integer(row.record));
}

/** Forgets what is older than the newest `keep` entries of a record, but nothing from `since` on, some at a time. Returns how many. */
export function trimLog(store: Store, record: number, by: { readonly keep: number; readonly since: number }): number {
  const oldest = store.db.prepare(nthNewest).get(record, by.keep - 1);
  if (oldest === undefined) return 0;
  // What is forgotten between two entries no longer says what came before it.
  completeLog(store, record);
  const values = [record, record, oldest.seq ?? 0, by.since, oldest.run ?? null, historyPruneLimit] as const;
  return store.db.prepare(trim).run(...values).changes;
}

/** Forgets the oldest rows once they are past their time, some at a time. Tells whether some may be left over. */
export function pruneLog(store: Store): boolean {
  const before = store.world.now() - getSettings(store).recordHistoryMs;
  const forgotten = store.db.prepare(prune).all(historyPruneLimit, before);
  pruneEvicted(
    store,
    forgotten.map(({ record }) => integer(record)),
  );
  return forgotten.length === historyPruneLimit;
}
