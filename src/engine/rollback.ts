/**
 * Owns `sync.rollback`: what a run of synchronisation changed here is made what it was before, record by record, as new writes.
 * Runs are `runs.ts`; how a record is made what it was is `record-history.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Input, Output } from "../verbs.ts";
import { collectionOf } from "./collections.ts";
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
    const skip = restore(store, run, each);
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
function restore(store: Store, run: Run, touched: Touched): Skipped | "unchanged" | null {
  const row = getRecord(store, touched.record);
  // Without its row a record was evicted or became another one: there is nothing here that could be wrong.
  if (row === null) return "unchanged";
  const info = collectionOf(store, row.collection);
  const [first, last] = [touched.first, touched.last].map((seq) => store.db.prepare(sidesOf).get(seq) ?? {});
  const entries = [first, last].map((entry) => intact("record_history", entry ?? {}));
  const before = textOrNull(entries[0]?.before);
  const after = textOrNull(entries[1]?.shown);
  if (before === after) return "unchanged";
  const skip = (reason: string): Skipped => ({ collection: info.name, key: row.key, reason });
  if (entries.some(isBrokenEntry)) return skip("the storage has changed its history");
  if (isHiddenEntry(entries[1] ?? {})) return skip("it is out of reach: filter or rights do not show it any more");
  const obstacle = obstacleTo(store, touched, row, { before, after });
  if (obstacle !== null) return skip(obstacle);
  const refusal = apart(store, () => {
    const written = fieldsOf(before);
    const value = written === null ? null : raised(info, written, schemaOfSide(store, entries[0] ?? {}, "before"));
    restoreValue(store, { info, row, value }, { origin: "rollback", detail: { run: run.id } });
  });
  return refusal === null ? null : skip(refusal.message);
}

function obstacleTo(
  store: Store,
  touched: Touched,
  row: RecordRow,
  sides: { readonly before: string | null; readonly after: string | null },
): string | null {
  if (row.pendings > 0 || (row.status !== Status.synced && row.status !== Status.localOnly)) {
    return "it has changes that are not settled at the server";
  }
  const newest = integer(store.db.prepare(newestOf).get(row.id)?.seq);
  if (newest !== touched.last || row.value !== sides.after) return "it has changed since";
  const between = integer(store.db.prepare(entriesBetween).get(row.id, touched.first, touched.last)?.n);
  if (between !== touched.entries) return "it was also changed here while the run was under way";
  // What came with a run need not be new at the server: it may have been evicted here, or be read for the first time.
  if (sides.before === null) return "it came with that run; remove it if nobody needs it";
  return null;
}
