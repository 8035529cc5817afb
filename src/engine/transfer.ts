/**
 * Owns carrying unsent work to another account or machine: export as JSON Lines, redacted on request, and import, which keeps ids
 * and idempotency keys so that what had landed already is recognised by the remote.
 */

import { lineOf, readLine } from "../bundle.ts";
import type { Operation } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { AddInput, Input, Output, Refusal } from "../verbs.ts";
import { parseInput } from "../verbs.ts";
import type { Bases } from "./adopting.ts";
import { adoptWrite, standOn } from "./adopting.ts";
import { addOperation } from "./enqueue.ts";
import { leaveLane } from "./lanes.ts";
import { listOperations } from "./list.ts";
import { pendingsOfOperation } from "./pending.ts";
import { findById, getBrief, resetBudget } from "./queue.ts";
import { fieldsOf } from "./records.ts";
import { park } from "./settle.ts";
import type { Store } from "./store.ts";
import { apart } from "./store.ts";

export function exportOperations(store: Store, input: Input<"queue.export">): Output<"queue.export"> {
  const { redact, ...filter } = input;
  const unsent = filter.status ?? (["draft", "pending", "in_progress", "failed"] as const);
  const page = listOperations(store, { ...filter, status: [...unsent], order: "oldest" });
  const lines = page.operations.map((operation) =>
    JSON.stringify(
      lineOf(hidden(store, operation as Operation, redact === true), redact === true, basesOf(store, operation)),
    ),
  );
  return { lines, next: page.next };
}

/** What changes of records stand on travels with them: elsewhere they meet the server's side without it as if they had none. */
function basesOf(store: Store, { type, id }: Pick<Operation, "type" | "id">): Bases | undefined {
  const op = type === recordWriteType ? findById(store, id) : null;
  return op === null ? undefined : pendingsOfOperation(store, op.seq).map(({ baseValue }) => fieldsOf(baseValue));
}

function hidden(store: Store, operation: Operation, isRedacted: boolean): Operation {
  const redact = isRedacted ? store.types.get(operation.type)?.redact : undefined;
  return redact === undefined ? operation : { ...operation, payload: redact(operation.payload) };
}

export function importOperations(store: Store, input: Input<"queue.import">): Output<"queue.import"> {
  const imported: string[] = [];
  const skipped: string[] = [];
  const refused: Refusal[] = [];
  input.lines.forEach((line, index) => {
    const refusal = apart(store, () => {
      const { operation, bases } = readLine(line, index);
      if (findById(store, operation.id) !== null) skipped.push(operation.id);
      else imported.push(importOne(store, operation, { subject: input.subject, bases }));
    });
    if (refusal !== null) refused.push({ id: `line ${index + 1}`, ...refusal });
  });
  return { imported, skipped, refused };
}

type Carried = { readonly subject: string | undefined; readonly bases: Bases };

function importOne(store: Store, operation: Operation, { subject, bases }: Carried): string {
  const isRecords = operation.type === recordWriteType;
  const known = operation.dependsOn.filter((id) => findById(store, id) !== null);
  const candidate: AddInput = {
    id: operation.id,
    type: operation.type,
    payload: operation.payload as AddInput["payload"],
    lane: operation.lane,
    priority: operation.priority,
    after: known,
    subject: subject ?? (isRecords ? "" : operation.subject),
    remote: operation.remote,
    retry: operation.retry as AddInput["retry"],
    onFailure: operation.onFailure,
    onCrash: operation.onCrash,
    isDraft: operation.status === "draft",
    title: operation.title.slice(0, 200) || operation.type,
    ...(operation.creates === null ? {} : { creates: operation.creates }),
    ...(operation.group === null ? {} : { group: operation.group }),
    ...(operation.dedupe === null ? {} : { dedupe: { key: operation.dedupe, mode: "keep-first" as const } }),
    ...(operation.notBefore === null ? {} : { notBefore: operation.notBefore }),
    ...(operation.expiresAt === null ? {} : { expiresAt: operation.expiresAt }),
    ...(operation.conflict === null ? {} : { conflict: operation.conflict }),
  };
  const checked = parseInput("queue.add", candidate);
  const receipt = isRecords ? adoptWrite(store, checked, bases) : addOperation(store, checked);
  restoreAttempts(store, receipt.sequence, operation);
  if (isRecords) standOn(store, receipt.sequence, bases);
  return receipt.id;
}

/** What was tried elsewhere keeps its key and its doubt; what was parked stays parked. */
function restoreAttempts(store: Store, seq: number, operation: Operation): void {
  const told = Number(operation.idempotencyKey.slice(operation.id.length + 1)) || 0;
  // A dispute about records is decided here, by what this device knows; the server's answer of then is no answer to that.
  const isDispute = operation.type === recordWriteType && operation.reason === "conflict";
  const generation = told + (isDispute ? 1 : 0);
  const isUnsure = operation.mayHaveLanded || operation.status === "in_progress";
  resetBudget(store, seq, { generation, isUnsure, rounds: 0 });
  const op = getBrief(store, seq);
  if (op === null || operation.status !== "failed" || isDispute) return;
  const problem = operation.problem ?? { code: "imported", message: "it had failed where it was exported" };
  park(store, op, {
    reason: operation.reason ?? "rejected",
    problem,
    isUnsure,
    remote: operation.remoteVersion,
    settled: null,
  });
  leaveLane(store, op);
}
