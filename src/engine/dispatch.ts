/**
 * Owns which function answers which verb. Nothing is decided here.
 */
import type { CollectionSpec } from "../record.ts";
import type { Input, Output, Verb } from "../verbs.ts";
import { addOperations } from "./batch.ts";
import { checkStore, engineInfo } from "./check.ts";
import { declareCollection, listCollections } from "./collections.ts";
import { addOperation } from "./enqueue.ts";
import { requireOperation } from "./find.ts";
import { historyOf, isTruncated, lastSequence, readFeedAfter } from "./history.ts";
import { getConflict, groupConflicts, listConflicts, preferSide, resolveMany, undoConflicts } from "./inbox.ts";
import { listOperations, viewOperation } from "./list.ts";
import {
  cancelOperations,
  clearOperations,
  detachOperation,
  editOperation,
  moveOperation,
  releaseDrafts,
  removeOperations,
  resolveConflicts,
  retryOperations,
} from "./manage.ts";
import { getSettings } from "./meta.ts";
import { pinRecords, readRecord } from "./record-cache.ts";
import { recordHistory, restoreRecord } from "./record-history.ts";
import { importRecords } from "./record-import.ts";
import { countMatching, queryRecords } from "./record-read.ts";
import { runSql } from "./record-sql.ts";
import { countUnsent } from "./retention.ts";
import { rollBackRun } from "./rollback.ts";
import { listRuns } from "./runs.ts";
import { checkNetwork, networkStatus, queueStatus } from "./status.ts";
import type { Store } from "./store.ts";
import {
  assignId,
  changeSettings,
  findId,
  pauseScope,
  resumeScope,
  runSync,
  signIn,
  signOut,
  workOffline,
  workOnline,
} from "./switches.ts";
import { syncStatus } from "./sync.ts";
import { exportOperations, importOperations } from "./transfer.ts";
import { explain } from "./why.ts";
import { syncCollections } from "./wishes.ts";
import { writeRecord, writeTransaction } from "./writes.ts";

type Table = { readonly [V in Verb]: (store: Store, input: Input<V>) => Output<V> };

const table: Table = {
  "queue.add": addOperation,
  "queue.addMany": (store, input) => ({ receipts: addOperations(store, input.operations) }),
  "queue.get": (store, input) => viewOperation(store, requireOperation(store, input.id).seq),
  "queue.list": listOperations,
  "queue.status": (store) => queueStatus(store),
  "queue.why": (store, input) => explain(store, input.id),
  "queue.history": (store, input) => {
    const op = requireOperation(store, input.id);
    return {
      id: op.id,
      entries: historyOf(store, op.seq, { after: input.after ?? 0, limit: input.limit ?? 100 }),
    };
  },
  "queue.edit": (store, input) => editOperation(store, input),
  "queue.retry": retryOperations,
  "queue.move": (store, input) => moveOperation(store, input),
  "queue.cancel": cancelOperations,
  "queue.detach": (store, input) => detachOperation(store, input),
  "queue.release": releaseDrafts,
  "queue.remove": removeOperations,
  "queue.clear": clearOperations,
  "queue.pause": pauseScope,
  "queue.resume": resumeScope,
  "queue.resolve": resolveConflicts,
  "queue.export": exportOperations,
  "queue.import": importOperations,
  "ids.get": findId,
  "ids.assign": assignId,
  "sync.run": runSync,
  "sync.status": (store) => syncStatus(store, countUnsent(store)),
  "sync.runs": listRuns,
  "sync.rollback": rollBackRun,
  "collections.declare": (store, input) => declareCollection(store, input as CollectionSpec),
  "collections.list": listCollections,
  "collections.sync": syncCollections,
  "records.write": writeRecord,
  "records.transaction": writeTransaction,
  "records.get": readRecord,
  "records.query": queryRecords,
  "records.count": countMatching,
  "records.sql": runSql,
  "records.history": recordHistory,
  "records.restore": restoreRecord,
  "records.import": importRecords,
  "records.pin": pinRecords,
  "conflicts.list": listConflicts,
  "conflicts.groups": groupConflicts,
  "conflicts.get": getConflict,
  "conflicts.resolve": resolveMany,
  "conflicts.undo": undoConflicts,
  "conflicts.prefer": preferSide,
  "network.status": (store) => networkStatus(store),
  "network.check": (store, input) => checkNetwork(store, input.remote),
  "network.offline": workOffline,
  "network.online": workOnline,
  "subject.signIn": signIn,
  "subject.signOut": signOut,
  "settings.get": (store) => getSettings(store),
  "settings.set": changeSettings,
  "events.list": (store, input) => {
    const after = input.after ?? 0;
    const events = readFeedAfter(store, after, input.limit ?? 100);
    return { events: [...events], last: lastSequence(store), isTruncated: isTruncated(store, after) };
  },
  "engine.info": (store) => engineInfo(store),
  "engine.check": (store) => checkStore(store),
};

/** Answers a verb whose input was checked. */
export function dispatch<V extends Verb>(store: Store, verb: V, input: Input<V>): Output<V> {
  return (table[verb] as (store: Store, input: Input<V>) => Output<V>)(store, input);
}
