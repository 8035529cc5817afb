/**
 * Owns `sync.rollback`: what a run of synchronisation changed here is made what it was before, record by record, as new writes.
 * Runs are `runs.ts`; how a record is made what it was is `record-history.ts`.
 */
import type { SqlValue } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Input, Output } from "../verbs.ts";
import { collectionOf } from "./collections.ts";
import { findEvictedAs } from "./evicted.ts";
import { isBrokenEntry } from "./mending-rows.ts";
import { restoreValue } from "./record-history.ts";
import { afterOf, isHiddenEntry, schemaOfSide } from "./record-log.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, getRecord, raised, Status } from "./records.ts";
import { intact } from "./row-seal.ts";
import type { Run } from "./runs.ts";
import { boundsOf, ensureRun, getRun, noteRollback } from "./runs.ts";
import type { Store } from "./store.ts";
import { apart, integer, textOrNull } from "./store.ts";

/** First and last entry of each record that the run changed. */
const changedIn = `SELECT record, min(seq) AS first, max(seq) AS last, count(*) AS n FROM record_history
  WHERE seq BETWEEN ? AND ? AND run = ? GROUP BY record ORDER BY first`;
const entriesBetween = "SELECT count(*) AS n FROM record_history WHERE record = ? AND seq BETWEEN ? AND ?";
const newestOf = "SELECT max(seq) AS seq FROM record_history WHERE record = ?";
const sidesOf = `SELECT *, ${afterOf} AS shown FROM record_history WHERE seq = ?`;

type Touched = { readonly record: number; readonly first: number; readonly last: number; readonly entries: number };
type Skipped = Output<"sync.rollback">["skipped"][number];

/**
 * Restores what one run changed. The server keeps what it has, so each restored record is a write that goes there like any other; what
 * has changed since, or is not settled, is left alone and named.
 */
export function rollBackRun(store: Store, input: Input<"sync.rollback">): Output<"sync.rollback"> {
  const run = requireEndedRun(store, input.run);
  const { first, last } = boundsOf(store, run);
  const touched = store.db
    .prepare(changedIn)
    .all(first, last, run.id)
    .map((row) => ({
      record: integer(row.record),
      first: integer(row.first),
      last: integer(row.last),
      entries: integer(row.n),
    }));
  const skipped: Skipped[] = [];
  let restored = 0;
  const by = touched.length === 0 ? null : ensureRun(store);
  for (const each of touched) {
    const skip = by === null ? "unchanged" : restore(store, { run, by }, each);
    if (skip === null) restored += 1;
    else if (skip !== "unchanged") skipped.push(skip);
  }
  if (restored > 0 && by !== null) noteRollback(store, run.id, by);
  return { run: run.id, restored, skipped };
}

function requireEndedRun(store: Store, id: number): Run {
  const run = getRun(store, id);
  if (run === null) {
    throw new HoldfastError("not_found", `there is no run ${id}`, "see `holdfast sync runs`; old runs are forgotten");
  }
  if (run.endedAt === null) {
    throw new HoldfastError("refused_by_state", `run ${id} is under way`, "wait until it has ended, or work offline");
  }
  if (run.rolledBackBy !== null) {
    throw new HoldfastError(
      "refused_by_state",
      `run ${id} was rolled back already, by run ${run.rolledBackBy}`,
      "single records are restored from their history",
    );
  }
  return run;
}

/** Restores one record; `null` when it did, otherwise what kept it from doing so. */
function restore(
  store: Store,
  { run, by }: { readonly run: Run; readonly by: number },
  touched: Touched,
): Skipped | "unchanged" | null {
  const row = getRecord(store, touched.record);
  const [first, last] = [touched.first, touched.last].map((seq) => store.db.prepare(sidesOf).get(seq) ?? {});
  const entries = [first, last].map((entry) => intact("record_history", entry ?? {}));
  const before = textOrNull(entries[0]?.before);
  const after = textOrNull(entries[1]?.shown);
  if (before === after) return "unchanged";
  if (row === null) return before === null ? "unchanged" : evicted(store, touched);
  const info = collectionOf(store, row.collection);
  const skip = (reason: string): Skipped => ({ collection: info.name, key: row.key, reason });
  if (entries.some(isBrokenEntry)) return skip("the storage has changed its history");
  if (isHiddenEntry(entries[1] ?? {})) return skip("it is out of reach: filter or rights do not show it any more");
  const obstacle = obstacleTo(store, touched, row, { before, after, origin: entries[0]?.origin });
  if (obstacle !== null) return skip(obstacle);
  const refusal = apart(store, () => {
    const written = fieldsOf(before);
    const value = written === null ? null : raised(info, written, schemaOfSide(store, entries[0] ?? {}, "before"));
    // The writes belong to the run that rolls back, so that rolling that one back takes them back.
    restoreValue(store, { info, row, value }, { origin: "rollback", run: by, detail: { run: run.id } });
  });
  return refusal === null ? null : skip(refusal.message);
}

/** What the server has by now of a record that was let go for want of room is not known here. One that became another one is that one's. */
function evicted(store: Store, { record }: Touched): Skipped | "unchanged" {
  const place = findEvictedAs(store, record);
  if (place === null) return "unchanged";
  const { name } = collectionOf(store, place.collection);
  const reason = `it is not kept here at the moment; fetch it (\`holdfast collections sync ${name} ${place.key}\`), then restore it from its history`;
  return { collection: name, key: place.key, reason };
}

function obstacleTo(
  store: Store,
  touched: Touched,
  row: RecordRow,
  sides: { readonly before: string | null; readonly after: string | null; readonly origin: SqlValue | undefined },
): string | null {
  if (row.pendings > 0 || (row.status !== Status.synced && row.status !== Status.localOnly)) {
    return "it has changes that are not settled at the server";
  }
  const newest = integer(store.db.prepare(newestOf).get(row.id)?.seq);
  if (newest !== touched.last || row.value !== sides.after) return "it has changed since";
  const between = integer(store.db.prepare(entriesBetween).get(row.id, touched.first, touched.last)?.n);
  if (between !== touched.entries) return "it was also changed here while the run was under way";
  // What came with a run need not be new at the server: it may have been evicted here, or be read for the first time. What a rollback
  // has brought back is.
  if (sides.before === null && sides.origin !== "rollback")
    return "it came with that run; remove it if nobody needs it";
  return null;
}
