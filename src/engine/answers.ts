/**
 * Owns what the server's refusals and conflicts mean for records: which record is meant, which kind it is, and what a rule makes of it.
 * Acknowledgements are `landing.ts`; an operation's own way is `settle.ts`, which asks here first.
 */
import type { ConflictKind } from "../conflict.ts";
import type { Answer, Problem } from "../operation.ts";
import { applyChange } from "../record.ts";
import type { PushAnswer } from "../wire.ts";
import { historyChanged } from "../wire.ts";
import { collectionOf, isOfOldHistory } from "./collections.ts";
import { decideSides, noteDecision, openConflict } from "./conflicts.ts";
import { meetAnswer } from "./landing.ts";
import { aimAt, groundOf } from "./overlay.ts";
import type { Pending } from "./pending.ts";
import { pendingsOfOperation } from "./pending.ts";
import { laterAnswer, otherHistory, renewClient, staleClient } from "./push.ts";
import type { Brief } from "./queue.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, getRecord } from "./records.ts";
import { sendAgain } from "./resend.ts";
import type { SetBack } from "./resync.ts";
import { meetSetBack } from "./resync.ts";
import { countInSyncRun, ensureRun } from "./runs.ts";
import type { Settled } from "./settle.ts";
import { park } from "./settle.ts";
import { askPull, keepSeen } from "./spaces.ts";
import type { Store } from "./store.ts";

type ConflictAnswer = Extract<PushAnswer, { outcome: "conflict" }>;
type Detail = { readonly kind?: string; readonly collection?: string; readonly key?: string };

/** An answer as it counts now: a dispute about a record of which only the history before is known here is met once it was read again. */
export function comparable(store: Store, op: Brief, answer: Answer): Answer {
  if (answer.kind !== "conflict") return answer;
  const isOld = pendingsOfOperation(store, op.seq).some(({ record }) => {
    const row = getRecord(store, record);
    return row !== null && isOfOldHistory(collectionOf(store, row.collection), row.mark);
  });
  return isOld ? laterAnswer() : answer;
}

/** Deals with an answer that concerns records; false leaves the operation to the queue's own rules. */
export function settleRecords(store: Store, op: Brief, settled: Settled): boolean {
  const { answer } = settled;
  switch (answer.kind) {
    case "conflict": {
      const said = answer.remote as unknown as ConflictAnswer | undefined;
      const found = said === undefined ? null : findChange(store, op, said);
      if (said === undefined || found === null) return false;
      return meetConflict(store, op, { said, found, settled, problem: answer.problem });
    }
    case "rejected": {
      const detail = (answer.problem.detail ?? {}) as Detail;
      const found = detail.kind === undefined ? null : findChange(store, op, detail);
      if (found === null) return false;
      refuse(store, op, {
        found,
        settled,
        kind: kindOf(detail.kind ?? ""),
        problem: answer.problem,
        remote: null,
        fields: fieldsIn(answer.problem),
      });
      return true;
    }
    case "retry":
      if (answer.problem.code === staleClient) renewClient(store);
      meetPast(store, op, answer.problem);
      return false;
    default:
      return false;
  }
}

/** The server knows another past than the one that was pushed upon. */
function meetPast(store: Store, op: Brief, { code, detail }: Problem): void {
  const { setBack } = (detail ?? {}) as { readonly setBack?: SetBack };
  if (setBack !== undefined) meetSetBack(store, setBack);
  if (setBack !== undefined || code === historyChanged || code === otherHistory) askForNews(store, op);
}

/** Whatever the mode: nothing of these records can be sent before it is known how the server stands. */
function askForNews(store: Store, op: Brief): void {
  for (const { record } of pendingsOfOperation(store, op.seq)) {
    const row = getRecord(store, record);
    if (row !== null) askPull(store, collectionOf(store, row.collection).space);
  }
}

const kindOf = (kind: string): ConflictKind =>
  kind === "data_inconsistency" || kind === "invalid" ? "data_inconsistency" : "business_rule";

type Found = { readonly pending: Pending; readonly row: RecordRow };

/** The change that an answer is about. */
function findChange(store: Store, op: Brief, about: Detail): Found | null {
  for (const pending of pendingsOfOperation(store, op.seq)) {
    const row = getRecord(store, pending.record);
    if (row === null || row.key !== about.key) continue;
    if (collectionOf(store, row.collection).name === about.collection) return { pending, row };
  }
  return null;
}

type Conflict = {
  readonly said: ConflictAnswer;
  readonly found: Found;
  readonly settled: Settled;
  readonly problem: Problem;
};

function meetConflict(store: Store, op: Brief, { said, found, settled, problem }: Conflict): boolean {
  const { kind, remote } = said;
  if (kind === "unique_violation") {
    refuse(store, op, { found, settled, kind, problem, remote, fields: said.fields });
    return true;
  }
  const { row } = found;
  ensureRun(store);
  const snapshot = remote.value === null ? null : JSON.stringify(remote.value);
  const { version, schema, author } = remote;
  const ground = { version, snapshot, schema, author, confirmed: store.world.now(), mark: row.mark };
  keepSeen(store, collectionOf(store, row.collection).space, version);
  meetAnswer(store, op, { row, kind, ground });
  return true;
}

type Refusal = {
  readonly found: Found;
  readonly settled: Settled;
  readonly kind: ConflictKind;
  readonly problem: Problem;
  /** For a unique value: the record that has it. */
  readonly remote: ConflictAnswer["remote"] | null;
  readonly fields: readonly string[];
};

/** The server refuses the value itself. A rule may have another one; else it is parked in the server's words, and in the inbox. */
function refuse(store: Store, op: Brief, { found, settled, kind, problem, remote, fields }: Refusal): void {
  const { row, pending } = found;
  const info = collectionOf(store, row.collection);
  const ground = groundOf(row);
  const base = fieldsOf(ground.snapshot);
  const local = applyChange(fieldsOf(pending.baseValue) ?? base, pending.change);
  const there = remote === null ? base : remote.value;
  const sides = { kind, collection: info.name, key: row.key, base, local, remote: there };
  const meeting = {
    info,
    row,
    op,
    sides,
    fields,
    remoteVersion: remote?.version ?? ground.version,
    remoteAuthor: remote?.author ?? ground.author,
    isAtomic: pendingsOfOperation(store, op.seq).length > 1,
  };
  const verdict = decideSides(store, meeting);
  if (verdict.how === "decided") {
    noteDecision(store, meeting, verdict);
    aimAt(store, { info, row, pending, op }, verdict.value);
    sendAgain(store, op);
    return;
  }
  const reason = kind === "unique_violation" ? "conflict" : "rejected";
  park(store, op, { reason, problem, isUnsure: false, remote: there, settled });
  openConflict(store, meeting, verdict, problem.message);
  countInSyncRun(store, reason === "conflict" ? { conflicts: 1 } : { failures: 1 });
}

const fieldsIn = ({ field, detail }: Problem): readonly string[] => {
  const { fields } = (detail ?? {}) as { readonly fields?: readonly string[] };
  return field === undefined ? (fields ?? []) : [field];
};
