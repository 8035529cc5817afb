/**
 * Owns the contract between clients and the engine: every verb with its input, output and one line of help.
 * One table gives the client's methods, the command line, the HTTP routes, OpenAPI and validation.
 */
import * as z from "zod/mini";
import { choices } from "./conflict.ts";
import { HoldfastError } from "./errors.ts";
import { strategies } from "./operation.ts";
import { plainAdd, plainAddMany } from "./plain-add.ts";
import { recordLimits } from "./record.ts";
import {
  collectionName,
  collectionSpec,
  collectionView,
  conflictFilter,
  conflictView,
  fields,
  recordEntry,
  recordKey,
  recordReceipt,
  recordView,
  recordWrite,
  runView,
  where,
} from "./record-shapes.ts";
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

const none = z.strictObject({});
const kind = { read: "read", write: "write" } as const;

const pageSize = optional(z.int().check(z.gte(1), z.lte(limits.page)));

type Shape = z.core.$ZodType;
type VerbRow<I extends Shape, O extends Shape> = {
  readonly kind: "read" | "write";
  readonly summary: string;
  readonly input: I;
  readonly output: O;
};
const row = <I extends Shape, O extends Shape>(
  mode: "read" | "write",
  summary: string,
  input: I,
  output: O,
): VerbRow<I, O> => ({
  kind: mode,
  summary,
  input,
  output,
});

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
  "sync.runs": row(
    kind.read,
    "Lists the runs of synchronisation, newest first",
    z.strictObject({ limit: pageSize, before: optional(count) }),
    z.object({ runs: z.array(runView), next: nullable(count) }),
  ),
  "sync.rollback": row(
    kind.write,
    "Restores what one run changed here; what has changed since is left alone and named",
    z.strictObject({ run: count }),
    z.object({
      run: count,
      restored: count,
      skipped: z.array(z.object({ collection: z.string(), key: z.string(), reason: z.string() })),
    }),
  ),
  "collections.declare": row(
    kind.write,
    "Declares a collection, or changes its indexes, rules and filter",
    collectionSpec,
    collectionView,
  ),
  "collections.list": row(
    kind.read,
    "Lists collections and where each stands",
    none,
    z.object({ collections: z.array(collectionView), lastSyncAt: nullable(instant), clockOffsetMs: z.int() }),
  ),
  "collections.sync": row(
    kind.write,
    "Pulls now: one record, one collection, or everything; `full` reads everything again and keeps unsent work",
    z.strictObject({ collection: optional(collectionName), key: optional(recordKey), full: optional(z.boolean()) }),
    z.object({ collections: z.array(z.string()), isOffline: z.boolean(), sentence: z.string() }),
  ),
  "records.write": row(kind.write, "Writes one record: create, put, update or remove", recordWrite, recordReceipt),
  "records.transaction": row(
    kind.write,
    "Writes several records, applied all or none here and at the server",
    z.strictObject({ writes: z.array(recordWrite).check(z.minLength(1), z.maxLength(recordLimits.transaction)) }),
    z.object({ records: z.array(recordView), operation: nullable(z.string()) }),
  ),
  "records.get": row(
    kind.read,
    "Shows one record",
    z.strictObject({ collection: collectionName, key: recordKey }),
    z.object({ record: nullable(recordView) }),
  ),
  "records.query": row(
    kind.read,
    "Finds records by conditions, in the order of an index, page by page",
    z.strictObject({
      collection: collectionName,
      where: optional(where),
      order: optional(z.array(z.strictObject({ field: z.string(), direction: optional(z.enum(["asc", "desc"])) }))),
      states: optional(z.array(recordView.shape.state)),
      limit: pageSize,
      cursor: optional(z.string()),
    }),
    z.object({ records: z.array(recordView), next: nullable(z.string()) }),
  ),
  "records.count": row(
    kind.read,
    "Counts records",
    z.strictObject({
      collection: collectionName,
      where: optional(where),
      states: optional(z.array(recordView.shape.state)),
    }),
    z.object({ count }),
  ),
  "records.sql": row(
    kind.read,
    "Runs one read-only SQL statement over a view per collection",
    z.strictObject({
      sql: z.string().check(z.minLength(1), z.maxLength(100_000)),
      parameters: optional(z.array(z.union([z.string(), z.number(), z.null()]))),
      limit: pageSize,
    }),
    z.object({ columns: z.array(z.string()), rows: z.array(z.array(json)), isTruncated: z.boolean() }),
  ),
  "records.history": row(
    kind.read,
    "Shows every change of a record, newest first",
    z.strictObject({ collection: collectionName, key: recordKey, limit: pageSize, before: optional(count) }),
    z.object({ entries: z.array(recordEntry), next: nullable(count) }),
  ),
  "records.restore": row(
    kind.write,
    "Writes again what a record was after, or before, an entry of its history",
    z.strictObject({
      collection: collectionName,
      key: recordKey,
      sequence: count,
      side: optional(z.enum(["before", "after"])),
    }),
    recordReceipt,
  ),
  "records.import": row(
    kind.write,
    "Imports rows as records; repeating it changes nothing twice",
    z.strictObject({
      collection: collectionName,
      rows: z.array(fields).check(z.minLength(1), z.maxLength(limits.batch)),
      key: optional(
        z.string().check(describe("Field that holds the key; without it keys are derived from source and position")),
      ),
      source: name.check(describe("Name of what is imported, so that an import can go on where it stopped")),
      offset: count.check(describe("Position of the first row within the source")),
    }),
    z.object({
      imported: count,
      unchanged: count,
      refused: z.array(z.object({ position: count, code: z.string(), message: z.string() })),
      nextOffset: count,
    }),
  ),
  "records.pin": row(
    kind.write,
    "Keeps records here, or lets them go again",
    z.strictObject({
      collection: collectionName,
      keys: optional(z.array(recordKey)),
      where: optional(where),
      isPinned: z.boolean(),
    }),
    z.object({ changed: count }),
  ),
  "conflicts.list": row(
    kind.read,
    "Lists conflicts, the open ones first",
    z.strictObject({ ...conflictFilter, limit: pageSize, cursor: optional(z.string()) }),
    z.object({ conflicts: z.array(conflictView), next: nullable(z.string()), open: count }),
  ),
  "conflicts.groups": row(
    kind.read,
    "Groups the open conflicts by cause",
    none,
    z.object({
      groups: z.array(
        z.object({
          collection: z.string(),
          kind: conflictView.shape.kind,
          fields: z.array(z.string()),
          author: z.string(),
          count,
          oldestAt: instant,
        }),
      ),
    }),
  ),
  "conflicts.get": row(kind.read, "Shows one conflict with all its sides", z.strictObject({ id }), conflictView),
  "conflicts.resolve": row(
    kind.write,
    "Decides conflicts, one or many; works offline",
    z.strictObject({
      ids: optional(ids),
      filter: optional(z.strictObject(conflictFilter)),
      choose: z.enum(choices),
      value: optional(nullable(fields).check(describe("With `choose: value`: what it becomes; null removes"))),
    }),
    bulkAnswer,
  ),
  "conflicts.undo": row(kind.write, "Takes a decision back", z.strictObject({ ids }), bulkAnswer),
  "conflicts.prefer": row(
    kind.write,
    "Decides beforehand; holds only if the server then has what the person saw",
    z.strictObject({
      collection: collectionName,
      key: recordKey,
      choose: z.enum(["local", "remote", "merge"]),
      version: count.check(describe("The server's version that the person saw")),
    }),
    z.object({ collection: z.string(), key: z.string() }),
  ),
  "network.status": row(
    kind.read,
    "Tells what is known of each remote",
    none,
    z.object({
      status: z.enum(networkStatuses),
      isWorkingOffline: z.boolean(),
      lastCheckAt: nullable(instant),
      remotes: z.array(remoteView),
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
  const parsed = z.safeParse(verbs[verb].input, input);
  if (parsed.success) return parsed.data as Input<V>;
  const issue = parsed.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "input" : issue.path.map(String).join(".");
  throw new HoldfastError(
    "invalid_input",
    `${verb}: ${where}: ${issue?.message ?? "invalid"}`,
    `see \`holdfast help ${verb.replace(".", " ")}\``,
    {
      details: { issues: parsed.error.issues.map((each) => ({ path: each.path.map(String), message: each.message })) },
    },
  );
}
