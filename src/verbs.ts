/**
 * Owns the contract between clients and the engine: every verb with its input, output and one line of help, and every event.
 * One table gives the client's methods, the command line, the HTTP routes, OpenAPI and validation.
 */
import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import { outcomes, priorityLimit, reasons, statuses, strategies } from "./operation.ts";
import { retryPresets } from "./retry.ts";

/** Limits on what one request may carry. */
export const limits = {
  payloadBytes: 1_048_576,
  nameLength: 200,
  idLength: 200,
  dependencies: 100,
  batch: 1_000,
  page: 1_000,
} as const;

const describe = z.describe;
const json = z.json();
const name = z.string().check(z.minLength(1), z.maxLength(limits.nameLength));
const id = z
  .string()
  .check(z.minLength(4), z.maxLength(limits.idLength), describe("Operation id: whole, or its beginning or end where unique"));
const ids = z.array(id).check(z.minLength(1), z.maxLength(limits.batch));
const instant = z.int().check(z.gte(0), describe("Milliseconds since the Unix epoch"));
const durationMs = z.int().check(z.gte(0));
const count = z.int().check(z.gte(0));
const priority = z.int().check(z.gte(-priorityLimit), z.lte(priorityLimit), describe("Higher goes first; 0 is normal, 100 is for locks"));
const nullable = z.nullable;
const optional = z.optional;

export const retryInput = z.union([
  z.enum(Object.keys(retryPresets) as [keyof typeof retryPresets, ...(keyof typeof retryPresets)[]]),
  z.strictObject({
    maxAttempts: optional(z.int().check(z.gte(1), z.lte(1_000_000))),
    initialMs: optional(durationMs),
    maxMs: optional(durationMs),
    jitter: optional(z.number().check(z.gte(0), z.lte(1))),
    delaysMs: optional(z.array(durationMs).check(z.minLength(1), z.maxLength(100))),
  }),
]);

/** What a caller says about a new operation. */
export const addInput = z.strictObject({
  type: name.check(describe("Operation type, e.g. http.request")),
  payload: json,
  id: optional(z.uuid().check(describe("Your own UUID; makes the enqueue itself repeatable"))),
  lane: optional(nullable(name.check(describe("Operations of one lane go out one after the other")))),
  priority: optional(priority),
  after: optional(z.array(id).check(z.maxLength(limits.dependencies), describe("Operations that must be completed first"))),
  creates: optional(name.check(describe("Local id that this operation creates on the remote"))),
  group: optional(name.check(describe("What belongs together: sent in order, one refused member holds the rest"))),
  dedupe: optional(
    z.strictObject({
      key: name,
      mode: z.enum(["keep-first", "replace-pending"]),
    }),
  ),
  subject: optional(z.string().check(z.maxLength(limits.nameLength), describe("Whose operation it is"))),
  remote: optional(z.string().check(z.maxLength(limits.nameLength))),
  notBefore: optional(instant),
  expiresAt: optional(instant),
  retry: optional(retryInput),
  onFailure: optional(z.enum(["hold", "skip"])),
  onCrash: optional(z.enum(["resend", "ask"])),
  conflict: optional(z.enum(strategies)),
  isDraft: optional(z.boolean()),
  title: optional(name),
});

const problem = z.object({
  code: z.string(),
  message: z.string(),
  hint: optional(z.string()),
  status: optional(z.number()),
  field: optional(z.string()),
  detail: optional(json),
});

const progress = z.object({
  done: z.number(),
  total: optional(z.number()),
  unit: optional(z.string()),
  message: optional(z.string()),
});

const retryPolicy = z.object({
  maxAttempts: z.number(),
  initialMs: z.number(),
  maxMs: z.number(),
  jitter: z.number(),
  delaysMs: optional(z.readonly(z.array(z.number()))),
});

export const operation = z.object({
  id: z.string(),
  sequence: count,
  type: z.string(),
  version: count,
  status: z.enum(statuses),
  reason: nullable(z.enum(reasons)),
  payload: json,
  title: z.string(),
  lane: nullable(z.string()),
  priority: z.int(),
  subject: z.string(),
  remote: z.string(),
  dependsOn: z.readonly(z.array(z.string())),
  creates: nullable(z.string()),
  serverId: nullable(z.string()),
  group: nullable(z.string()),
  dedupe: nullable(z.string()),
  notBefore: nullable(instant),
  expiresAt: nullable(instant),
  retry: retryPolicy,
  onFailure: z.enum(["hold", "skip"]),
  onCrash: z.enum(["resend", "ask"]),
  conflict: nullable(z.enum(strategies)),
  attempts: count,
  failures: count,
  mayHaveLanded: z.boolean(),
  revision: count,
  idempotencyKey: z.string(),
  createdAt: instant,
  since: instant,
  nextAttemptAt: nullable(instant),
  settledAt: nullable(instant),
  outcome: nullable(z.enum(outcomes)),
  problem: nullable(problem),
  progress: nullable(progress),
  checkpoint: json,
  result: json,
  remoteVersion: json,
});

/** What an enqueue answers: the operation is durable when this comes back. */
export const receipt = z.object({
  id: z.string(),
  sequence: count,
  status: z.enum(statuses),
  reason: nullable(z.enum(reasons)),
  /** False when `dedupe` or a repeated id led to an operation that was there already. */
  isNew: z.boolean(),
  /** Set from 80 % of a limit on. */
  warning: nullable(z.string()),
});

const refusal = z.object({ id: z.string(), code: z.string(), message: z.string(), hint: z.string() });
const bulkAnswer = z.object({ done: z.array(z.string()), refused: z.array(refusal) });

const filter = {
  status: optional(z.array(z.enum(statuses)).check(z.minLength(1))),
  reason: optional(z.enum(reasons)),
  lane: optional(name),
  type: optional(name),
  remote: optional(z.string()),
  subject: optional(z.string()),
  group: optional(name),
};

const scope = z.union([
  z.strictObject({ kind: z.literal("all") }),
  z.strictObject({ kind: z.enum(["lane", "type", "remote"]), name }),
]);
const pause = z.object({ kind: z.enum(["all", "lane", "type", "remote"]), name: z.string(), reason: z.string(), since: instant });

export const networkStatuses = ["online", "offline", "checking", "unknown"] as const;
const remoteView = z.object({
  remote: z.string(),
  status: z.enum(networkStatuses),
  reason: z.string(),
  since: instant,
  lastSuccessAt: nullable(instant),
  lastFailureAt: nullable(instant),
  nextProbeAt: nullable(instant),
  opensAt: nullable(instant),
  pending: count,
});

/** What may be changed at run time; kept in the store, so it survives restarts. */
export const settingsShape = z.strictObject({
  conflict: z.enum(strategies),
  conflictByType: z.record(z.string(), z.enum(strategies)),
  retry: retryInput,
  retryByType: z.record(z.string(), retryInput),
  maxOperations: z.int().check(z.gte(1)),
  maxBytes: z.int().check(z.gte(1)),
  overflow: z.enum(["reject", "drop-completed-first"]),
  retainCount: count,
  retainMs: durationMs,
  syncMode: z.enum(["eager", "periodic", "manual"]),
  syncIntervalMs: z.int().check(z.gte(1_000)),
  concurrency: z.int().check(z.gte(1), z.lte(1_000)),
  concurrencyPerRemote: z.int().check(z.gte(1), z.lte(1_000)),
  bulkConcurrency: z.int().check(z.gte(1), z.lte(100)),
  minFreeBytes: count,
  isCommandEnabled: z.boolean(),
});
export type Settings = z.infer<typeof settingsShape>;

export const defaultSettings: Settings = {
  conflict: "manual",
  conflictByType: {},
  retry: "default",
  retryByType: {},
  maxOperations: 1_000_000,
  maxBytes: 1_073_741_824,
  overflow: "drop-completed-first",
  retainCount: 10_000,
  retainMs: 7 * 86_400_000,
  syncMode: "eager",
  syncIntervalMs: 300_000,
  concurrency: 16,
  concurrencyPerRemote: 8,
  bulkConcurrency: 2,
  minFreeBytes: 8_388_608,
  isCommandEnabled: false,
};

const settingsPatch = z.partial(settingsShape);

const syncRun = z.object({
  startedAt: instant,
  endedAt: nullable(instant),
  total: count,
  succeeded: count,
  failed: count,
  conflicts: count,
  remaining: count,
  errors: z.array(z.object({ id: z.string(), title: z.string(), error: z.string() })),
});

export const lights = ["green", "yellow", "red", "warning"] as const;

const queueStatus = z.object({
  /** Green only on proof: nothing unsent and nothing failed, or every pending operation has a next attempt on a reachable remote. */
  light: z.enum(lights),
  /** The light in one sentence. */
  sentence: z.string(),
  counts: z.record(z.enum(statuses), count),
  unsent: count,
  bytes: count,
  oldestUnsentAt: nullable(instant),
  nextAttemptAt: nullable(instant),
  lastLandedAt: nullable(instant),
  conflicts: count,
  isWorkingOffline: z.boolean(),
  isDraining: z.boolean(),
  drainer: nullable(z.string()),
  isReadOnly: z.boolean(),
  isDiskFull: z.boolean(),
  paused: z.array(pause),
  unknownTypes: z.array(z.object({ type: z.string(), pending: count })),
  signedOut: z.array(z.object({ subject: z.string(), remote: z.string(), reason: z.string(), since: instant, pending: count })),
  limits: z.object({ maxOperations: count, maxBytes: count, usedPercent: z.number(), isWarning: z.boolean() }),
  remotes: z.array(remoteView),
});

export const blockerKinds = [
  "lane",
  "dependency",
  "schedule",
  "retry",
  "network",
  "offline",
  "work_offline",
  "paced",
  "paused",
  "auth",
  "signed_out",
  "unknown_type",
  "conflict",
  "rejected",
  "gave_up",
  "unsure",
  "corrupt",
  "group",
  "no_server_id",
  "no_drainer",
  "sync_mode",
  "slots",
  "draft",
  "in_flight",
  "disk_full",
  "read_only",
] as const;

const why = z.object({
  id: z.string(),
  status: z.enum(statuses),
  /** One sentence for a person. */
  sentence: z.string(),
  /** Since when it is as it is. */
  since: instant,
  /** When it will next move by itself; null when it waits for something without a time, see `blockers`. */
  nextMoveAt: nullable(instant),
  blockers: z.array(
    z.object({
      kind: z.enum(blockerKinds),
      detail: z.string(),
      id: optional(z.string()),
      name: optional(z.string()),
      until: optional(instant),
    }),
  ),
});

export const eventKinds = [
  "enqueued",
  "started",
  "progress",
  "attempt",
  "settled",
  "parked",
  "retried",
  "edited",
  "moved",
  "cancelled",
  "detached",
  "released",
  "removed",
  "resolved",
  "recovered",
  "paused",
  "resumed",
  "network",
  "subject",
  "settings",
  "sync",
  "warning",
] as const;

/** One change. `sequence` is 0 for what is only told live (`started`, `progress`); all else can be read again from the feed. */
export const event = z.object({
  sequence: count,
  at: instant,
  kind: z.enum(eventKinds),
  /** Operation concerned; null for what concerns the store. */
  id: nullable(z.string()),
  status: nullable(z.enum(statuses)),
  detail: json,
});

const historyEntry = z.object({ sequence: count, at: instant, kind: z.enum(eventKinds), detail: json });

const none = z.strictObject({});
const kind = { read: "read", write: "write" } as const;

type Shape = z.core.$ZodType;
type VerbRow<I extends Shape, O extends Shape> = {
  readonly kind: "read" | "write";
  readonly summary: string;
  readonly input: I;
  readonly output: O;
};
const row = <I extends Shape, O extends Shape>(mode: "read" | "write", summary: string, input: I, output: O): VerbRow<I, O> => ({
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
      dependents: optional(z.enum(["hold", "cancel", "detach"]).check(describe("What happens to operations that wait for it"))),
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
      confirm: optional(count.check(describe("How many unsent operations may be lost; refused when it is not the real number"))),
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
    z.strictObject({ lines: z.array(z.string()).check(z.minLength(1), z.maxLength(limits.batch)), subject: optional(z.string()) }),
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
  "network.offline": row(kind.write, "Works offline until told otherwise, also after a restart", none, z.object({ isWorkingOffline: z.boolean() })),
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
  "settings.set": row(kind.write, "Changes settings; null-free partial, kept across restarts", settingsPatch, settingsShape),
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
  const parsed = z.safeParse(verbs[verb].input, input);
  if (parsed.success) return parsed.data as Input<V>;
  const issue = parsed.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "input" : issue.path.map(String).join(".");
  throw new HoldfastError("invalid_input", `${verb}: ${where}: ${issue?.message ?? "invalid"}`, `see \`holdfast help ${verb.replace(".", " ")}\``, {
    details: { issues: parsed.error.issues.map((each) => ({ path: each.path.map(String), message: each.message })) },
  });
}
