/**
 * Owns the table `record_history`: one row per change that a record's view took, with both sides, so that nothing that was ever seen is lost.
 * Who changes records is `records.ts` and `pending.ts`; how history is read and restored is left to the verbs of records.
 */
import type { Json } from "../operation.ts";
import type { RecordOrigin } from "../record.ts";
import { getSettings } from "./meta.ts";
import { intact, reseal, sealOf } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer } from "./store.ts";

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
const move = "UPDATE record_history SET record = ? WHERE seq = ?";
const ofRecord = "SELECT * FROM record_history WHERE record = ?";
const prune =
  "DELETE FROM record_history WHERE seq IN (SELECT seq FROM record_history ORDER BY seq LIMIT +?) AND at < ?";
/** How `mending.ts` puts rows right that storage has changed. */
export const historyRepair = {
  read: "SELECT * FROM record_history WHERE seq = ?",
  seal: "UPDATE record_history SET seal = ? WHERE seq = ?",
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
  readonly detail?: Json;
};

/** Notes one change of a record in the transaction that makes it. */
export function logRecord(store: Store, entry: LogEntry): void {
  const detail = entry.detail === undefined || entry.detail === null ? null : JSON.stringify(entry.detail);
  const { record, origin, run, version, before, after } = entry;
  const at = entry.at ?? store.world.now();
  const seal = sealOf([record, at, origin, run, version, before, after, detail]);
  store.db.prepare(insert).run(record, at, origin, run, version, before, after, detail, seal);
}

/** The newest row, so that a run can say between which rows its changes stand. */
export function lastLogged(store: Store): number {
  return integer(store.db.prepare(last).get()?.seq);
}

/** Two rows turned out to be one record. */
export function moveLog(store: Store, from: number, to: number): void {
  for (const row of store.db.prepare(ofRecord).all(from)) {
    const { seq } = intact("record_history", row);
    store.db.prepare(move).run(to, seq ?? 0);
    reseal(store, "record_history", historyRepair, seq ?? 0);
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

/** Forgets what is older than the newest `keep` entries of a record, but nothing from `since` on. */
export function trimLog(store: Store, record: number, by: { readonly keep: number; readonly since: number }): void {
  const oldest = store.db.prepare(nthNewest).get(record, by.keep - 1);
  if (oldest === undefined) return;
  store.db.prepare(trim).run(record, record, oldest.seq ?? 0, by.since, oldest.run ?? null, historyPruneLimit);
}

/** Forgets the oldest rows once they are past their time, some at a time. */
export function pruneLog(store: Store): void {
  store.db.prepare(prune).run(historyPruneLimit, store.world.now() - getSettings(store).recordHistoryMs);
}
