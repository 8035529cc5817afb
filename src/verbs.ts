/**
 * Owns the contract between clients and the engine: every verb with its input, output and one line of help.
 * One table gives the client's methods, the command line, the HTTP routes, OpenAPI and validation.
 */
import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import { firstIssue, issueWords, wordless } from "./issue.ts";
import { strategies } from "./operation.ts";
import { plainAdd, plainAddMany } from "./plain-add.ts";
import type { collectionView, recordEntry, recordReceipt, recordWrite, runView } from "./record-shapes.ts";
import { recordVerbs } from "./record-verbs.ts";
import type { eventKinds } from "./shapes.ts";
import {
  addInput,
  bulkAnswer,
  count,
  describe,
  event,
  filter,
  historyEntry,
  id,
  ids,
  instant,
  json,
  limits,
  name,
  networkStatuses,
  nullable,
  operation,
  optional,
  pause,
  pokesView,
  priority,
  queueStatus,
  receipt,
  refusal,
  remoteView,
  retryInput,
  scope,
  settingsPatch,
  settingsShape,
  syncRun,
  why,
} from "./shapes.ts";
import { inputHint } from "./verb-names.ts";
import { kind, none, row } from "./verb-row.ts";

export const verbs = {
  "queue.add": row(kind.write, "Queues one operation; durable when it answers", addInput, receipt),
  "queue.addMany": row(
    kind.write,
    "Queues several operations, all or none",
    z.strictObject({ operations: z.array(addInput).check(z.minLength(1), z.maxLength(limits.batch)) }),
    z.object({ receipts: z.array(receipt) }),
  ),
  "queue.get": row(kind.read, "Shows one operation", z.strictObject({ id }), operation),
  "queue.list": row(
    kind.read,
    "Lists operations",
    z.strictObject({
      ...filter,
      order: optional(z.enum(["run", "oldest", "newest"]).check(describe("run: the order in which they will be sent"))),
      limit: optional(z.int().check(z.gte(1), z.lte(limits.page))),
      cursor: optional(z.string()),
    }),
    z.object({ operations: z.array(operation), next: nullable(z.string()) }),
  ),
  "queue.status": row(kind.read, "Tells how the queue stands, from facts", none, queueStatus),
  "queue.why": row(kind.read, "Explains what an operation waits for", z.strictObject({ id }), why),
  "queue.history": row(
    kind.read,
    "Shows everything that happened to an operation",
    z.strictObject({ id, limit: optional(z.int().check(z.gte(1), z.lte(limits.page))), after: optional(count) }),
    z.object({ id: z.string(), entries: z.array(historyEntry) }),
  ),
  "queue.edit": row(
    kind.write,
    "Changes an operation that is not in flight",
    z.strictObject({
      id,
      revision: optional(count.check(describe("Refuses when somebody edited it since"))),
      payload: optional(json),
      priority: optional(priority),
      notBefore: optional(nullable(instant)),
      expiresAt: optional(nullable(instant)),
      retry: optional(retryInput),
      conflict: optional(nullable(z.enum(strategies))),
      title: optional(name),
      force: optional(z.boolean().check(describe("Edit the payload although an earlier attempt may have landed"))),
    }),
    operation,
  ),
  "queue.retry": row(
    kind.write,
    "Tries failed operations again, or waiting ones now",
    z.strictObject({ ids: optional(ids), filter: optional(z.strictObject(filter)) }),
    bulkAnswer,
  ),
  "queue.move": row(
    kind.write,
    "Reorders an operation within its lane or moves it to another",
    z.strictObject({
      id,
      to: optional(z.enum(["first", "last"])),
      before: optional(id),
      after: optional(id),
      lane: optional(nullable(name)),
    }),
    operation,
  ),
  "queue.cancel": row(
    kind.write,
    "Gives operations up; they stay visible as cancelled",
    z.strictObject({
      ids,
      dependents: optional(
        z.enum(["hold", "cancel", "detach"]).check(describe("What happens to operations that wait for it")),
      ),
    }),
    bulkAnswer,
  ),
  "queue.detach": row(
    kind.write,
    "Frees an operation from what it depends on",
    z.strictObject({ id, from: optional(ids) }),
    operation,
  ),
  "queue.release": row(kind.write, "Submits drafts", z.strictObject({ ids }), bulkAnswer),
  "queue.remove": row(
    kind.write,
    "Deletes operations from the store",
    z.strictObject({ ids, confirm: optional(z.boolean().check(describe("Needed for unsent operations"))) }),
    bulkAnswer,
  ),
  "queue.clear": row(
    kind.write,
    "Deletes completed operations, or everything",
    z.strictObject({
      scope: z.enum(["completed", "all"]),
      confirm: optional(
        count.check(describe("How many unsent operations may be lost; refused when it is not the real number")),
      ),
    }),
    z.object({ removed: count, unsent: count }),
  ),
  "queue.pause": row(
    kind.write,
    "Stops sending a lane, a type, a remote or everything",
    z.strictObject({ scope, reason: optional(z.string().check(z.maxLength(limits.nameLength))) }),
    z.object({ paused: z.array(pause) }),
  ),
  "queue.resume": row(kind.write, "Ends a pause", z.strictObject({ scope }), z.object({ paused: z.array(pause) })),
  "queue.resolve": row(
    kind.write,
    "Decides parked conflicts",
    z.strictObject({ ids, choose: z.enum(["local", "remote", "merge"]), payload: optional(json) }),
    bulkAnswer,
  ),
  "queue.export": row(
    kind.read,
    "Exports operations as JSON Lines",
    z.strictObject({
      ...filter,
      redact: optional(z.boolean()),
      limit: optional(z.int().check(z.gte(1), z.lte(limits.page))),
      cursor: optional(z.string()),
    }),
    z.object({ lines: z.array(z.string()), next: nullable(z.string()) }),
  ),
  "queue.import": row(
    kind.write,
    "Imports exported operations; those already here are left alone",
    z.strictObject({
      lines: z.array(z.string()).check(z.minLength(1), z.maxLength(limits.batch)),
      subject: optional(z.string()),
    }),
    z.object({ imported: z.array(z.string()), skipped: z.array(z.string()), refused: z.array(refusal) }),
  ),
  "ids.get": row(
    kind.read,
    "Finds the server's id of a local id",
    z.strictObject({ localId: name }),
    z.object({ localId: z.string(), serverId: nullable(z.string()), operation: z.string() }),
  ),
  "ids.assign": row(
    kind.write,
    "Names the server's id by hand when the remote's answer did not",
    z.strictObject({ localId: name, serverId: name }),
    z.object({ localId: z.string(), serverId: z.string(), rewritten: count }),
  ),
  "sync.run": row(
    kind.write,
    "Sends what is pending now",
    z.strictObject({ retryFailed: optional(z.boolean()) }),
    z.object({ pending: count, isOffline: z.boolean(), sentence: z.string() }),
  ),
  "sync.status": row(
    kind.read,
    "Tells what the present or last run did",
    none,
    z.object({ isSyncing: z.boolean(), mode: settingsShape.shape.syncMode, run: nullable(syncRun) }),
  ),
  ...recordVerbs,
  "network.status": row(
    kind.read,
    "Tells what is known of each remote",
    none,
    z.object({
      status: z.enum(networkStatuses),
      isWorkingOffline: z.boolean(),
      lastCheckAt: nullable(instant),
      remotes: z.array(remoteView),
      pokes: z.array(pokesView),
    }),
  ),
  "network.check": row(
    kind.write,
    "Probes remotes now; the outcome arrives as an event",
    z.strictObject({ remote: optional(z.string()) }),
    z.object({ checking: z.array(z.string()) }),
  ),
  "network.offline": row(
    kind.write,
    "Works offline until told otherwise, also after a restart",
    none,
    z.object({ isWorkingOffline: z.boolean() }),
  ),
  "network.online": row(kind.write, "Ends working offline", none, z.object({ isWorkingOffline: z.boolean() })),
  "subject.signIn": row(
    kind.write,
    "Says that a subject has fresh credentials; its operations move again",
    z.strictObject({ subject: z.string() }),
    z.object({ subject: z.string(), pending: count }),
  ),
  "subject.signOut": row(
    kind.write,
    "Holds a subject's operations; nothing is deleted",
    z.strictObject({ subject: z.string() }),
    z.object({ subject: z.string(), pending: count }),
  ),
  "settings.get": row(kind.read, "Shows the settings in force", none, settingsShape),
  "settings.set": row(
    kind.write,
    "Changes settings; null-free partial, kept across restarts",
    settingsPatch,
    settingsShape,
  ),
  "events.list": row(
    kind.read,
    "Reads the feed of changes",
    z.strictObject({ after: optional(count), limit: optional(z.int().check(z.gte(1), z.lte(limits.page))) }),
    z.object({ events: z.array(event), last: count, isTruncated: z.boolean() }),
  ),
  "engine.info": row(
    kind.read,
    "Tells about the store itself",
    none,
    z.object({
      version: z.string(),
      schemaVersion: count,
      sequence: count,
      isReadOnly: z.boolean(),
      drainer: nullable(z.string()),
      isDrainer: z.boolean(),
      types: z.array(z.string()),
      recovery: nullable(json),
    }),
  ),
  "engine.check": row(
    kind.read,
    "Checks the store: SQLite's own check, every payload's hash, every counter",
    none,
    z.object({ isSound: z.boolean(), findings: z.array(z.string()), checked: count }),
  ),
} as const;

export type Verbs = typeof verbs;
export type Verb = keyof Verbs;
export type Input<V extends Verb> = z.input<Verbs[V]["input"]>;
export type Output<V extends Verb> = z.output<Verbs[V]["output"]>;
export type AddInput = z.infer<typeof addInput>;
export type Receipt = z.infer<typeof receipt>;
export type HoldfastEvent = z.infer<typeof event>;
export type EventKind = (typeof eventKinds)[number];
export type QueueStatus = z.infer<typeof queueStatus>;
export type Why = z.infer<typeof why>;
export type Blocker = Why["blockers"][number];
export type Refusal = z.infer<typeof refusal>;
export type Pause = z.infer<typeof pause>;
export type SyncRun = z.infer<typeof syncRun>;
export type RemoteView = z.infer<typeof remoteView>;
export type CollectionView = z.infer<typeof collectionView>;
export type RunView = z.infer<typeof runView>;
export type RecordEntry = z.infer<typeof recordEntry>;
export type RecordReceipt = z.infer<typeof recordReceipt>;
export type RecordWriteInput = z.input<typeof recordWrite>;

export const verbNames = Object.keys(verbs) as readonly Verb[];

/** Tells whether a text from outside names a verb. */
export function isVerb(text: string): text is Verb {
  return Object.hasOwn(verbs, text);
}

/**
 * Checks what came from outside against a verb's input; inside, it is trusted.
 * Throws `invalid_input` that names the field and what was expected.
 */
export function parseInput<V extends Verb>(verb: V, input: unknown): Input<V> {
  const plain = verb === "queue.add" ? plainAdd(input) : verb === "queue.addMany" ? plainAddMany(input) : null;
  if (plain !== null) return plain as Input<V>;
  const parsed = z.safeParse(verbs[verb].input, input, wordless);
  if (parsed.success) return parsed.data as Input<V>;
  throw new HoldfastError("invalid_input", `${verb}: ${firstIssue(parsed.error, "input")}`, inputHint(verb), {
    details: {
      issues: parsed.error.issues.map((each) => ({ path: each.path.map(String), message: issueWords(each) })),
    },
  });
}
