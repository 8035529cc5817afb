/**
 * Owns reading everything again: what a reset of the server's feed does to cursors and bases, and what is kept of what the server no longer has.
 * Decision 0013 says why nothing newer is dropped; pages are applied by `pull.ts`.
 */
import { isSameJson } from "../canonical.ts";
import type { ConflictKind } from "../conflict.ts";
import type { Json } from "../operation.ts";
import { applyChange, recordWriteType } from "../record.ts";
import type { PullResponse } from "../wire.ts";
import type { CollectionInfo, Resync } from "./collections.ts";
import { isForeign, isOfOldHistory, isOfReach, listInfos, startResync } from "./collections.ts";
import { openConflict } from "./conflicts.ts";
import { addOperation } from "./enqueue.ts";
import type { Ground } from "./overlay.ts";
import { groundOf, replay } from "./overlay.ts";
import type { Pending } from "./pending.ts";
import {
  addPending,
  changeBetween,
  changePending,
  dropPending,
  isFrozen,
  newestOperation,
  pendingRecords,
  pendingsOf,
  rewriteBase,
  rewriteChange,
} from "./pending.ts";
import type { Brief } from "./queue.ts";
import { getBrief } from "./queue.ts";
import { isOutOfReach, keepOutOfReach } from "./reach.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, getRecord, Status, saveRecord, sweepRecords, unmetRecords } from "./records.ts";
import { countInSyncRun, ensureRun } from "./runs.ts";
import { forgetSeen, seenOf } from "./seen.ts";
import { park } from "./settle.ts";
import type { Space } from "./spaces.ts";
import { getSpace, noteAnswer, syncPlace } from "./spaces.ts";
import type { Store } from "./store.ts";
import { tellKeys } from "./writes.ts";

type Reset = {
  readonly space: Space;
  readonly infos: readonly CollectionInfo[];
  readonly response: PullResponse;
  /** What was known before the server was asked lies beyond its head. */
  readonly isSetBack: boolean;
};

/** The server cannot continue these cursors: everything is read again, and unsent work is kept. */
export function meetReset(store: Store, { space, infos, response, isSetBack }: Reset): void {
  const told = response.reset?.reason ?? "other_history";
  const reason = isSetBack && response.history === space.history ? "ahead" : told;
  const resync: Resync = { reason, head: response.head, floor: response.reset?.floor ?? response.floor ?? 0 };
  if (isForeign(resync)) startOver(store, space.name, resync);
  else for (const info of infos) startResync(store, info, resync);
}

/** What was found out without a page: this server's head lies below what is known of its own history. */
export type SetBack = { readonly space: string; readonly history: string; readonly head: number };

/** It is stored at once, since the next page may come when the head has passed what was seen, and tell nothing any more. */
export function meetSetBack(store: Store, { space: name, history, head }: SetBack): void {
  const space = getSpace(store, name);
  if (space.history !== history || seenOf(store, space) <= head) return;
  startOver(store, name, { reason: "ahead", head, floor: 0 });
  noteAnswer(store, { ...space, head, due: 0 });
}

/** A space may be asked for in several parts; what befell the server concerns all of them. */
function startOver(store: Store, space: string, resync: Resync): void {
  forgetSeen(store, space);
  for (const info of listInfos(store)) {
    if (!info.isSynced || info.space !== space) continue;
    forgetBases(store, info);
    startResync(store, info, resync);
  }
}

/** The collections belong to another space from now on: nothing that is known of the one says anything of the other. */
export function startElsewhere(store: Store, infos: readonly CollectionInfo[]): void {
  for (const info of infos) {
    forgetBases(store, info);
    startResync(store, info, { reason: "other_history", head: 0, floor: 0 });
  }
}

/**
 * Versions of another history say nothing: what waits unsent is compared afresh, by its values. What the old history had
 * acknowledged counts as confirmed, so that it is missed if the new one lacks it.
 */
function forgetBases(store: Store, info: CollectionInfo): void {
  for (const id of pendingRecords(store)) {
    const row = getRecord(store, id);
    if (row === null || row.collection !== info.id) continue;
    let ground = groundOf(row);
    for (const pending of pendingsOf(store, row.id)) {
      if (pending.acked > 0) {
        const value = applyChange(fieldsOf(ground.snapshot), pending.change);
        const snapshot = value === null ? null : JSON.stringify(value);
        ground = { ...ground, version: Math.max(ground.version, pending.acked), snapshot };
        dropPending(store, pending);
        continue;
      }
      if (pending.change.base === 0) continue;
      changePending(store, pending, pending.baseValue, { ...pending.change, base: 0 });
      rewriteBase(store, { op: pending.op, collection: info.name, key: row.key }, 0);
    }
    const pendings = pendingsOf(store, row.id).length;
    saveRecord(store, row, { ...row, ...ground, pendings, snapshot: pendings === 0 ? null : ground.snapshot });
  }
}

/** Whether the server, restored from an older state, has lost what it had confirmed to us. */
export function isLost(info: CollectionInfo, row: RecordRow, ground: Ground): boolean {
  const { resync } = info;
  if (resync === null || row.version === 0 || !isOfOldHistory(info, row.mark)) return false;
  if (row.version <= ground.version && row.version <= resync.head) return false;
  return !isSameJson(fieldsOf(groundOf(row).snapshot) as Json, fieldsOf(ground.snapshot) as Json);
}

type Loss = { readonly info: CollectionInfo; readonly row: RecordRow; readonly ground: Ground; readonly run: number };

/** Our copy is newer than the restored server's: it stays visible, queued for the server, and a person decides. */
export function keepLost(store: Store, { info, row, ground, run }: Loss): void {
  const local = fieldsOf(row.value);
  const remote = fieldsOf(ground.snapshot);
  const change = changeBetween(info, { before: remote, after: local }, ground.version);
  if (change === null) {
    replay(store, info, row, ground, { origin: "pull", run, isOurs: true });
    return;
  }
  const waiting = pendingsOf(store, row.id).find((each) => each.acked === 0 && !isFrozen(getBrief(store, each.op)));
  const op = waiting === undefined ? queueKept(store, { info, row, ground, run }) : getBrief(store, waiting.op);
  if (op === null) return;
  if (waiting !== undefined) {
    changePending(store, waiting, ground.snapshot, change);
    rewriteChange(store, { op: op.seq, collection: info.name, key: row.key }, change);
  }
  const pendings = pendingsOf(store, row.id).length;
  const kept = { ...row, ...ground, value: row.value, pendings, status: Status.conflict };
  saveRecord(store, row, kept);
  const kind: ConflictKind =
    remote === null ? "deleted_upstream" : local === null ? "deleted_here" : "version_mismatch";
  const fields = [...Object.keys(change.fields), ...(change.unset ?? [])];
  const sides = { kind, collection: info.name, key: row.key, base: null, local, remote };
  const met = {
    info,
    row: kept,
    op,
    sides,
    fields: kind === "version_mismatch" ? fields : [],
    remoteVersion: ground.version,
    remoteAuthor: ground.author,
    isAtomic: false,
  };
  const words = `the server was restored to an older state, or is another one, and does not have what was confirmed of "${row.key}" of "${info.name}"`;
  const message = openConflict(store, met, { how: "manual", strategy: "manual", fields: met.fields }, words);
  countInSyncRun(store, { conflicts: 1 });
  park(store, op, { reason: "conflict", problem: { code: kind, message }, isUnsure: false, remote, settled: null });
}

function queueKept(store: Store, { info, row, ground }: Loss): Brief | null {
  const change = changeBetween(info, { before: fieldsOf(ground.snapshot), after: fieldsOf(row.value) }, ground.version);
  if (change === null) return null;
  const changes = [{ collection: info.name, key: row.key, ...change }];
  const payload = { space: info.spec.space ?? "", changes, at: store.world.now() } as unknown as Json;
  const newest = newestOperation(store, row.id);
  const { subject } = syncPlace(store);
  const receipt = addOperation(store, { type: recordWriteType, payload, subject }, newest === null ? [] : [newest]);
  const pending: Omit<Pending, "acked" | "due"> = {
    record: row.id,
    op: receipt.sequence,
    place: 0,
    baseValue: ground.snapshot,
    change,
  };
  addPending(store, pending);
  return getBrief(store, receipt.sequence);
}

/** Everything up to a version was read again: what the server did not tell of is gone there, or was lost there. */
export function finishResync(store: Store, info: CollectionInfo, upTo: number): void {
  const { resync, mark } = info;
  if (resync === null) return;
  const below = isForeign(resync) ? resync.floor : upTo;
  const run = ensureRun(store);
  for (const row of unmetRecords(store, info, { mark, below })) {
    const isOld = isOfOldHistory(info, row.mark);
    // An answer to a push has brought it meanwhile: it is newer than what was read.
    if (!isOld && row.version > upTo) continue;
    const version = isOld ? 0 : Math.max(row.version, resync.floor);
    const ground: Ground = { ...groundOf(row), version, snapshot: null, mark };
    if (isOld && row.version > below && groundOf(row).snapshot !== null) {
      keepLost(store, { info, row, ground, run });
      continue;
    }
    // What no longer meets the filter, or may not be read any more, is not gone: work on it goes on. But its version is of this history only.
    if (isOfReach(resync) || (isOutOfReach(row) && !isForeign(resync))) continue;
    replay(store, info, row, ground, { origin: "pull", run });
    tellKeys(store, info.name, [row.key], "pull");
  }
  if (isOfReach(resync)) keepUnsent(store, info);
  const gone = sweepRecords(store, info, {
    mark,
    below,
    run,
    isForeign: isForeign(resync),
    isHidden: isOfReach(resync),
  });
  if (gone > 0) countInSyncRun(store, { pulled: gone });
}

/** What the reading did not tell and has work on it goes when that has ended, unless it is told by then, as what is new here will be. */
function keepUnsent(store: Store, info: CollectionInfo): void {
  const unsent = pendingRecords(store).flatMap((id) => getRecord(store, id) ?? []);
  keepOutOfReach(
    store,
    unsent.filter((row) => row.collection === info.id && row.mark !== info.mark),
  );
}
