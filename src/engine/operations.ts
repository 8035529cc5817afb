/**
 * Owns what a row of `op` shows as an operation: to handlers, to people, and in an export.
 * The rows are read and written by `queue.ts`; pages of them are `list.ts`.
 */
import type { Row } from "../database.ts";
import type { Json, Operation, Problem, Progress } from "../operation.ts";
import { idempotencyKeyOf, State, statusOf } from "../operation.ts";
import { serverIdOf } from "./ids.ts";
import { getChannel, policyOf } from "./meta.ts";
import type { Brief } from "./queue.ts";
import { toBrief } from "./queue.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull, json } from "./store.ts";

/** The whole operation of a row; `brief` is what the caller has read from the same row already. */
export function toOperation(store: Store, row: Row, brief: Brief = toBrief(row)): Operation {
  const channel = getChannel(store, brief.channel);
  const payload = json(row, "payload");
  const isTimed = brief.state === State.scheduled || (brief.state === State.waiting && brief.due > 0);
  return {
    id: brief.id,
    sequence: brief.seq,
    type: brief.type,
    version: integer(row.version),
    status: statusOf(brief.state, brief.outcome),
    reason: brief.reason,
    payload,
    title: brief.options.title ?? titleOf(store, brief.type, payload),
    lane: brief.lane === "" ? null : brief.lane,
    priority: brief.priority,
    subject: channel.subject,
    remote: channel.remote,
    dependsOn: brief.options.after ?? [],
    creates: brief.creates,
    serverId: brief.creates === null ? null : serverIdOf(store, brief.creates),
    group: brief.group,
    dedupe: brief.dedupe,
    notBefore: brief.options.notBefore ?? null,
    expiresAt: brief.expires,
    retry: policyOf(store, brief.type, brief.options.retry ?? null),
    onFailure: brief.options.onFailure ?? "hold",
    onCrash: brief.options.onCrash ?? "resend",
    conflict: brief.options.conflict ?? null,
    attempts: brief.attempts,
    failures: brief.failures,
    mayHaveLanded: brief.isUnsure,
    revision: brief.revision,
    idempotencyKey: idempotencyKeyOf(brief.id, brief.generation),
    createdAt: brief.created,
    since: brief.since,
    nextAttemptAt: isTimed ? brief.due : null,
    settledAt: integerOrNull(row.settled),
    outcome: brief.outcome,
    problem: json(row, "problem") as Problem | null,
    progress: json(row, "progress") as Progress | null,
    checkpoint: json(row, "checkpoint"),
    result: json(row, "result"),
    remoteVersion: json(row, "remote_version"),
  };
}

/** A line for people; a type whose title fails must not hide the operation. */
function titleOf(store: Store, type: string, payload: Json): string {
  try {
    return store.types.get(type)?.title?.(payload) ?? type;
  } catch {
    return type;
  }
}
