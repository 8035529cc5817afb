/**
 * Owns the table `record_history`: one row per change that a record's view took, with both sides, so that nothing that was ever seen is lost.
 * Who changes records is `records.ts` and `pending.ts`; how history is read and restored is left to the verbs of records.
 */
import type { Json } from "../operation.ts";
import type { RecordOrigin } from "../record.ts";
import { pruneEvicted } from "./evicted.ts";
import { getSettings } from "./meta.ts";
import type { Store } from "./store.ts";
import { integer } from "./store.ts";

/** Rows that one pass of retention deletes. */
export const historyPruneLimit = 500;

const insert = `INSERT INTO record_history (record, at, origin, run, version, before, after, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
const last = "SELECT max(seq) AS seq FROM record_history";
/**
 * A record that was pulled for the first time is as it came until something else is logged of it. Its row has neither side: a copy of the
 * value would double what a first pull writes. The next row of the record says what it was, or else the record itself.
 */
const logPulledNew = `INSERT INTO record_history (record, at, origin, run, version)
  SELECT id, ?, 'pull', ?, version FROM record WHERE id BETWEEN ? AND ?`;
/** The value after an entry of the table `record_history` under its own name. */
export const afterOf = `CASE WHEN record_history.before IS NULL AND record_history.after IS NULL THEN coalesce(
  (SELECT next.before FROM record_history AS next WHERE next.record = record_history.record AND next.seq > record_history.seq
    ORDER BY next.seq LIMIT 1),
  (SELECT value FROM record WHERE id = record_history.record)) ELSE record_history.after END`;
const write = `UPDATE record_history SET after = ${afterOf} WHERE record = ? AND before IS NULL AND after IS NULL`;
const move = "UPDATE record_history SET record = ? WHERE record = ?";
const prune =
  "DELETE FROM record_history WHERE seq IN (SELECT seq FROM record_history ORDER BY seq LIMIT +?) AND at < ? RETURNING record";
const logSwept = `INSERT INTO record_history (record, at, origin, run, version, before, after, detail)
  SELECT id, ?, 'pull', ?, version, value, NULL, NULL FROM record
  WHERE collection = ? AND mark <> ? AND version > 0 AND version <= ? AND pendings = 0 AND value IS NOT NULL`;

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
  readonly detail?: Json;
};

/** Notes one change of a record in the transaction that makes it. */
export function logRecord(store: Store, entry: LogEntry): void {
  const detail = entry.detail === undefined || entry.detail === null ? null : JSON.stringify(entry.detail);
  store.db
    .prepare(insert)
    .run(
      entry.record,
      entry.at ?? store.world.now(),
      entry.origin,
      entry.run,
      entry.version,
      entry.before,
      entry.after,
      detail,
    );
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
  store.db.prepare(write).run(record);
}

/** Two rows turned out to be one record. */
export function moveLog(store: Store, from: number, to: number): void {
  // Between the rows of another one, the next row no longer says what came before it.
  for (const record of [from, to]) store.db.prepare(write).run(record);
  store.db.prepare(move).run(to, from);
}

/** Notes what a resync is about to drop: see `sweepRecords`. */
export function logSweep(
  store: Store,
  sweep: { readonly collection: number; readonly mark: number; readonly below: number; readonly run: number | null },
): void {
  store.db.prepare(logSwept).run(store.world.now(), sweep.run, sweep.collection, sweep.mark, sweep.below);
}

/** Forgets the oldest rows once they are past their time, some at a time. */
export function pruneLog(store: Store): void {
  const before = store.world.now() - getSettings(store).recordHistoryMs;
  const forgotten = store.db.prepare(prune).all(historyPruneLimit, before);
  pruneEvicted(
    store,
    forgotten.map(({ record }) => integer(record)),
  );
}
