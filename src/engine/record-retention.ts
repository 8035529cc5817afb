/**
 * Owns how much of the past of records is kept: entries of the history of one record, its decided conflicts, and rows of removed ones. In idle time, some at a time.
 * How long entries are kept at all is `record-log.ts`; finished operations are `retention.ts`.
 */
import { conflictNeedsSince, forgetDecided } from "./conflicts.ts";
import { getSettings } from "./meta.ts";
import { crowdedLogs, historyPruneLimit, trimLog, trimPass } from "./record-log.ts";
import { dropRecord, getRecord, lastRecordId, oldTombstones } from "./records.ts";
import type { Store } from "./store.ts";

/**
 * Looks at the next records in the order of their numbers, and begins again behind the last one. Tells whether something is left over of
 * those that it looked at; then they are the next ones again.
 */
export function pruneRecords(store: Store): boolean {
  const { scrubbed } = store.memory.sync;
  const after = scrubbed.get("retention") ?? 0;
  const range = { after, to: after + trimPass };
  const { recordHistoryCount: keep, recordHistoryMs, retainMs } = getSettings(store);
  const decidedBefore = store.world.now() - recordHistoryMs;
  // First, because what they need of the history goes with them.
  let isBehind = forgetDecided(store, range, { before: decidedBefore, limit: historyPruneLimit }) >= historyPruneLimit;
  for (const record of crowdedLogs(store, { ...range, keep })) {
    const value = getRecord(store, record)?.value ?? null;
    const trimmed = trimLog(store, record, { keep, since: conflictNeedsSince(store, record, value) });
    if (trimmed === historyPruneLimit) isBehind = true;
  }
  for (const row of oldTombstones(store, range, store.world.now() - retainMs)) dropRecord(store, row);
  if (!isBehind) scrubbed.set("retention", range.to >= lastRecordId(store) ? 0 : range.to);
  return isBehind;
}
