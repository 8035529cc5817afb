/**
 * Owns carrying unsent work to another account or machine: export as JSON Lines, redacted on request, and import, which keeps ids
 * and idempotency keys so that what had landed already is recognised by the remote.
 */

import * as z from "zod/mini";
import { HoldfastError } from "../errors.ts";
import type { Json, Operation } from "../operation.ts";
import { addInput } from "../shapes.ts";
import type { AddInput, Input, Output, Refusal } from "../verbs.ts";
import { addOperation } from "./enqueue.ts";
import { leaveLane } from "./lanes.ts";
import { listOperations } from "./list.ts";
import { findById, getBrief, resetBudget } from "./queue.ts";
import { park } from "./settle.ts";
import type { Store } from "./store.ts";

/** Version of the line format. */
export const exportVersion = 1;

const secretKey =
  /^(authorization|proxy-authorization|cookie|set-cookie|x-api-key|.*(token|secret|password|passwd|credential|api[-_]?key).*)$/i;

const exported = z.object({
  holdfast: z.literal(exportVersion),
  isRedacted: z.boolean(),
  operation: z.looseObject({ id: z.uuid(), type: z.string(), status: z.string() }),
});

export function exportOperations(store: Store, input: Input<"queue.export">): Output<"queue.export"> {
  const { redact, ...filter } = input;
  const unsent = filter.status ?? (["draft", "pending", "in_progress", "failed"] as const);
  const page = listOperations(store, { ...filter, status: [...unsent], order: "oldest" });
  const lines = page.operations.map((operation) => JSON.stringify(lineOf(operation as Operation, redact === true)));
  return { lines, next: page.next };
}

function lineOf(operation: Operation, isRedacted: boolean): Json {
  const plain = operation as unknown as { readonly [key: string]: Json };
  return { holdfast: exportVersion, isRedacted, operation: isRedacted ? redactJson(plain) : plain };
}

/** Replaces the values under keys that name secrets, anywhere. */
export function redactJson(value: Json): Json {
  if (Array.isArray(value)) return value.map((each) => redactJson(each as Json));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      secretKey.test(key) && inner !== null ? "[redacted]" : redactJson(inner as Json),
    ]),
  );
}

export function importOperations(store: Store, input: Input<"queue.import">): Output<"queue.import"> {
  const imported: string[] = [];
  const skipped: string[] = [];
  const refused: Refusal[] = [];
  input.lines.forEach((line, index) => {
    try {
      const operation = readLine(line, index);
      if (findById(store, operation.id) !== null) skipped.push(operation.id);
      else imported.push(importOne(store, operation, input.subject));
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code === "internal") throw error;
      refused.push({ id: `line ${index + 1}`, code: error.code, message: error.message, hint: error.hint });
    }
  });
  return { imported, skipped, refused };
}

function readLine(line: string, index: number): Operation {
  const refuse = (what: string, hint: string): never => {
    throw new HoldfastError("invalid_input", `line ${index + 1}: ${what}`, hint);
  };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refuse("it is not JSON", "give one exported operation per line, unchanged");
  }
  const parsed = z.safeParse(exported, value);
  if (!parsed.success)
    return refuse("it is no exported operation", "export with `holdfast queue export` of this version");
  if (parsed.data.isRedacted)
    return refuse("it was redacted, so its content is gone", "export without --redact to carry work over");
  const operation = parsed.data.operation as unknown as Operation;
  if (["completed", "cancelled", "expired"].includes(operation.status))
    return refuse("it is finished", "only unsent operations are imported");
  return operation;
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
  const parsed = z.safeParse(addInput, candidate);
  if (!parsed.success)
    throw new HoldfastError("invalid_input", `operation ${operation.id} is malformed`, "export it again");
  const receipt = addOperation(store, parsed.data);
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
