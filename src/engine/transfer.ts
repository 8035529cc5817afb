/**
 * Owns carrying unsent work to another account or machine: export as JSON Lines, redacted on request, and import, which keeps ids
 * and idempotency keys so that what had landed already is recognised by the remote.
 */

import { lineOf, readLine } from "../bundle.ts";
import type { Operation } from "../operation.ts";
import type { AddInput, Input, Output, Refusal } from "../verbs.ts";
import { parseInput } from "../verbs.ts";
import { addOperation } from "./enqueue.ts";
import { leaveLane } from "./lanes.ts";
import { listOperations } from "./list.ts";
import { findById, getBrief, resetBudget } from "./queue.ts";
import { park } from "./settle.ts";
import type { Store } from "./store.ts";
import { apart } from "./store.ts";

export function exportOperations(store: Store, input: Input<"queue.export">): Output<"queue.export"> {
  const { redact, ...filter } = input;
  const unsent = filter.status ?? (["draft", "pending", "in_progress", "failed"] as const);
  const page = listOperations(store, { ...filter, status: [...unsent], order: "oldest" });
  const lines = page.operations.map((operation) =>
    JSON.stringify(lineOf(hidden(store, operation as Operation, redact === true), redact === true)),
  );
  return { lines, next: page.next };
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
      const operation = readLine(line, index);
      if (findById(store, operation.id) !== null) skipped.push(operation.id);
      else imported.push(importOne(store, operation, input.subject));
    });
    if (refusal !== null) refused.push({ id: `line ${index + 1}`, ...refusal });
  });
  return { imported, skipped, refused };
}

function importOne(store: Store, operation: Operation, subject: string | undefined): string {
  const known = operation.dependsOn.filter((id) => findById(store, id) !== null);
  const candidate: AddInput = {
    id: operation.id,
    type: operation.type,
    payload: operation.payload as AddInput["payload"],
    lane: operation.lane,
    priority: operation.priority,
    after: known,
    subject: subject ?? operation.subject,
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
  const receipt = addOperation(store, parseInput("queue.add", candidate));
  restoreAttempts(store, receipt.sequence, operation);
  return receipt.id;
}

/** What was tried elsewhere keeps its key and its doubt; what was parked stays parked. */
function restoreAttempts(store: Store, seq: number, operation: Operation): void {
  const generation = Number(operation.idempotencyKey.slice(operation.id.length + 1)) || 0;
  const isUnsure = operation.mayHaveLanded || operation.status === "in_progress";
  resetBudget(store, seq, { generation, isUnsure, rounds: 0 });
  const op = getBrief(store, seq);
  if (op === null || operation.status !== "failed") return;
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
