/**
 * Owns carrying unsent work to another account or machine: export as JSON Lines, redacted on request, and import, which keeps ids
 * and idempotency keys so that what had landed already is recognised by the remote.
 */

import type { ExportedLine } from "../bundle.ts";
import { lineOf, readLine } from "../bundle.ts";
import { inOrder } from "../bundle-order.ts";
import type { Operation } from "../operation.ts";
import { State, statusOf } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { AddInput, Input, Output, Refusal } from "../verbs.ts";
import { parseInput } from "../verbs.ts";
import { adoptWrite, standOn } from "./adopting.ts";
import { addOperation } from "./enqueue.ts";
import { dependenciesOf, leaveLane } from "./lanes.ts";
import { listOperations } from "./list.ts";
import { pendingsOfOperation } from "./pending.ts";
import { findById, getBrief, resetBudget, setDedupe } from "./queue.ts";
import { fieldsOf } from "./records.ts";
import { park } from "./settle.ts";
import type { Store } from "./store.ts";
import { apart } from "./store.ts";

export function exportOperations(store: Store, input: Input<"queue.export">): Output<"queue.export"> {
  const { redact, ...filter } = input;
  const unsent = filter.status ?? (["draft", "pending", "in_progress", "failed"] as const);
  const page = listOperations(store, { ...filter, status: [...unsent], order: "oldest" });
  const isRedacted = redact === true;
  const lines = page.operations.map((operation) =>
    JSON.stringify(
      lineOf(hidden(store, operation as Operation, isRedacted), isRedacted, tiesOf(store, operation as Operation)),
    ),
  );
  return { lines, next: page.next };
}

/** What changes of records stand on travels with them: elsewhere they meet the server's side without it as if they had none. */
function tiesOf(store: Store, { type, sequence }: Operation): Parameters<typeof lineOf>[2] {
  const waitsFor = dependenciesOf(store, sequence).flatMap((needs) => getBrief(store, needs)?.id ?? []);
  const place = getBrief(store, sequence)?.position ?? sequence;
  if (type !== recordWriteType) return { waitsFor, place };
  return { waitsFor, place, bases: pendingsOfOperation(store, sequence).map(({ baseValue }) => fieldsOf(baseValue)) };
}

function hidden(store: Store, operation: Operation, isRedacted: boolean): Operation {
  const redact = isRedacted ? store.types.get(operation.type)?.redact : undefined;
  return redact === undefined ? operation : { ...operation, payload: redact(operation.payload) };
}

/** Takes in what was exported, each line by itself: what one refuses stops no other. */
export function importOperations(store: Store, input: Input<"queue.import">): Output<"queue.import"> {
  const imported: string[] = [];
  const skipped: string[] = [];
  const refused: (Refusal & { readonly index: number })[] = [];
  const lines: Line[] = [];
  const take = (index: number, work: () => void): void => {
    const refusal = apart(store, work);
    if (refusal !== null) refused.push({ index, id: `line ${index + 1}`, ...refusal });
  };
  input.lines.forEach((line, index) => {
    take(index, () => void lines.push({ ...readLine(line, index), index }));
  });
  for (const line of sorted(lines))
    take(line.index, () => {
      const { operation } = line;
      if (findById(store, operation.id) !== null) skipped.push(operation.id);
      else imported.push(importOne(store, line, input.subject));
    });
  refused.sort((one, other) => one.index - other.index);
  return { imported, skipped, refused: refused.map(({ index: _, ...refusal }) => refusal) };
}

type Line = ExportedLine & { readonly index: number };

/** The lines of one request as they have to be taken in. */
const sorted = (lines: readonly Line[]): readonly Line[] =>
  inOrder(
    lines.map((line) => ({
      line,
      id: line.operation.id,
      lane: line.operation.lane,
      place: line.place,
      waitsFor: line.waitsFor ?? line.operation.dependsOn,
    })),
  ).map(({ line }) => line);

function importOne(store: Store, line: Line, subject: string | undefined): string {
  const { operation, bases } = line;
  const isRecords = operation.type === recordWriteType;
  const needed = line.waitsFor ?? operation.dependsOn;
  const missing = needed.filter((id) => !canLand(store, id));
  const candidate: AddInput = {
    id: operation.id,
    type: operation.type,
    payload: operation.payload as AddInput["payload"],
    lane: operation.lane,
    priority: operation.priority,
    after: needed.filter((id) => !missing.includes(id)),
    subject: subject ?? (isRecords ? "" : operation.subject),
    remote: operation.remote,
    retry: operation.retry as AddInput["retry"],
    onFailure: operation.onFailure,
    onCrash: operation.onCrash,
    isDraft: operation.status === "draft",
    title: operation.title.slice(0, 200) || operation.type,
    ...(operation.creates === null ? {} : { creates: operation.creates }),
    ...(operation.group === null ? {} : { group: operation.group }),
    ...(operation.notBefore === null ? {} : { notBefore: operation.notBefore }),
    ...(operation.expiresAt === null ? {} : { expiresAt: operation.expiresAt }),
    ...(operation.conflict === null ? {} : { conflict: operation.conflict }),
  };
  const checked = parseInput("queue.add", candidate);
  const { id, sequence } = isRecords ? adoptWrite(store, checked, bases) : addOperation(store, checked);
  // Set afterwards: what is queued here under the same key is other work, and neither may swallow the other.
  if (operation.dedupe !== null) setDedupe(store, sequence, operation.dedupe);
  restoreAttempts(store, sequence, operation);
  // A line that does not say what it still waits for names what has long landed as well.
  if (line.waitsFor !== undefined) holdOrphan(store, sequence, missing);
  if (isRecords) standOn(store, sequence, bases);
  return id;
}

/** Whether an operation is here and may still land, or has landed. */
function canLand(store: Store, id: string): boolean {
  const op = findById(store, id);
  return op !== null && (op.state !== State.done || statusOf(op.state, op.outcome) === "completed");
}

/** What it has to come after is not here, so nobody knows whether it has landed: a person decides. */
function holdOrphan(store: Store, seq: number, missing: readonly string[]): void {
  const op = getBrief(store, seq);
  const [first] = missing;
  if (op === null || first === undefined || op.state >= State.parked) return;
  const problem = {
    code: "dependency_missing",
    message: `it waited for operation ${first}, which ${findById(store, first) === null ? "is not here" : "was given up here"}`,
    hint: "when that has landed, retry this one; or cancel it",
  };
  park(store, op, { reason: "dependency", problem, isUnsure: op.isUnsure, settled: null });
  leaveLane(store, op);
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
  // Nobody has seen its answer, and nobody ever will: what must never repeat asks, as after a crash.
  const mustAsk = operation.status === "in_progress" && operation.onCrash === "ask";
  if (op === null || (operation.status !== "failed" && !mustAsk) || isDispute) return;
  const problem = operation.problem ?? (mustAsk ? interrupted : failedElsewhere);
  park(store, op, {
    reason: mustAsk ? "unsure" : (operation.reason ?? "rejected"),
    problem,
    isUnsure,
    remote: operation.remoteVersion,
    settled: null,
  });
  leaveLane(store, op);
}

const failedElsewhere = { code: "imported", message: "it had failed where it was exported" } as const;
const interrupted = {
  code: "interrupted",
  message: "it was on the wire where it was exported",
  hint: "check the remote; then retry it, or cancel it when it has landed",
} as const;
