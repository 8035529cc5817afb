/**
 * Owns the shapes of everything that crosses between clients and the engine: operations, receipts, reports, settings, events.
 * Which verb takes and answers which of them is the table in `verbs.ts`.
 */
import * as z from "zod/mini";
import { isKeepable, toJson } from "./json.ts";
import type { Json } from "./operation.ts";
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
  /** Operations that one request takes by a filter; the rest is left for the next one. */
  matched: 10_000,
} as const;

export const describe = z.describe;
/**
 * Any JSON value, handed on as it is and typed as readonly as it is treated. `z.json()` makes a copy and loses a key named
 * `__proto__` on the way; a payload has to stay what it was.
 */
export const json: z.ZodMiniType<Json, Json> = z.unknown().check((context) => {
  if (context.value === undefined) {
    context.issues.push({ code: "custom", message: "expected a JSON value", input: context.value });
    return;
  }
  try {
    if (toJson(context.value, "value") === context.value) return;
    context.issues.push({
      code: "custom",
      message: "has an undefined value, which JSON cannot carry",
      input: context.value,
    });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    context.issues.push({ code: "custom", message, input: context.value });
  }
}) as unknown as z.ZodMiniType<Json, Json>;
/**
 * A record of `z.record()` that keeps every name. Zod's own copy loses an entry called `__proto__` without a word, and a condition that is
 * lost holds for everything.
 */
export function everyName<T extends z.ZodMiniRecord>(shape: T): T {
  const { run, def } = shape._zod;
  shape._zod.run = (payload, context) => {
    const given = payload.value as object | null;
    const made = run(payload, context);
    if (made instanceof Promise || made.issues.length > 0 || given === null) return made;
    const own = Object.getOwnPropertyDescriptor(given, "__proto__");
    if (own === undefined) return made;
    const entry = def.valueType._zod.run({ value: own.value, issues: [] }, context) as z.core.ParsePayload;
    made.issues.push(...z.core.util.prefixIssues("__proto__", entry.issues));
    // Defined, not assigned: an assignment would set the prototype.
    Object.defineProperty(made.value, "__proto__", { ...own, value: entry.value });
    return made;
  };
  return shape;
}
/** Kept in a column of its own, so it must come back from there as it was. */
export const keepable = z
  .string()
  .check(z.refine(isKeepable, "has U+0000 or half of a character, which no database keeps"));
export const name = keepable.check(z.minLength(1), z.maxLength(limits.nameLength));
export const id = z
  .string()
  .check(
    z.minLength(4),
    z.maxLength(limits.idLength),
    describe("Operation id: whole, or its beginning or end where unique"),
  );
export const ids = z.array(id).check(z.minLength(1), z.maxLength(limits.batch));
export const instant = z.int().check(z.gte(0), describe("Milliseconds since the Unix epoch"));
const durationMs = z.int().check(z.gte(0));
export const count = z.int().check(z.gte(0));
export const priority = z
  .int()
  .check(z.gte(-priorityLimit), z.lte(priorityLimit), describe("Higher goes first; 0 is normal, 100 is for locks"));
export const nullable = z.nullable;
export const optional = z.optional;

const presetName = z.enum(Object.keys(retryPresets) as [keyof typeof retryPresets, ...(keyof typeof retryPresets)[]]);

const retryParts = z.strictObject({
  maxAttempts: optional(z.int().check(z.gte(1), z.lte(1_000_000))),
  initialMs: optional(durationMs),
  maxMs: optional(durationMs),
  jitter: optional(z.number().check(z.gte(0), z.lte(1))),
  delaysMs: optional(z.array(durationMs).check(z.minLength(1), z.maxLength(100))),
});

export const retryInput = z.union([presetName, retryParts]);

/** What a caller says about a new operation. */
export const addInput = z.strictObject({
  type: name.check(describe("Operation type, e.g. http.request")),
  payload: json,
  id: optional(z.uuid().check(describe("Your own UUID; makes the enqueue itself repeatable"))),
  lane: optional(nullable(name.check(describe("Operations of one lane go out one after the other")))),
  priority: optional(priority),
  after: optional(
    z.array(id).check(z.maxLength(limits.dependencies), describe("Operations that must be completed first")),
  ),
  creates: optional(name.check(describe("Local id that this operation creates on the remote"))),
  group: optional(name.check(describe("What belongs together: sent in order, one refused member holds the rest"))),
  dedupe: optional(
    z.strictObject({
      key: name,
      mode: z.enum(["keep-first", "replace-pending"]),
    }),
  ),
  subject: optional(keepable.check(z.maxLength(limits.nameLength), describe("Whose operation it is"))),
  remote: optional(keepable.check(z.maxLength(limits.nameLength))),
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

export const refusal = z.object({ id: z.string(), code: z.string(), message: z.string(), hint: z.string() });
export const bulkAnswer = z.object({ done: z.array(z.string()), refused: z.array(refusal) });

export const filter = {
  status: optional(z.array(z.enum(statuses)).check(z.minLength(1))),
  reason: optional(z.enum(reasons)),
  lane: optional(name),
  type: optional(name),
  remote: optional(z.string()),
  subject: optional(z.string()),
  group: optional(name),
};

export const scope = z.union([
  z.strictObject({ kind: z.literal("all") }),
  z.strictObject({ kind: z.enum(["lane", "type", "remote"]), name }),
]);
export const pause = z.object({
  kind: z.enum(["all", "lane", "type", "remote"]),
  name: z.string(),
  reason: z.string(),
  since: instant,
});

export const networkStatuses = ["online", "offline", "checking", "unknown"] as const;
export const remoteView = z.object({
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
  conflictByType: everyName(z.record(z.string(), z.enum(strategies))),
  retry: retryInput,
  retryByType: everyName(z.record(z.string(), retryInput)),
  retryPresets: z
    .partialRecord(presetName, retryParts)
    .check(describe("What differs in the presets; it counts wherever one of them is named")),
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
  /** A decision older than this is asked again when the server has moved meanwhile. */
  conflictStaleMs: durationMs,
  /** How long the history of records is kept. */
  recordHistoryMs: durationMs,
  /** How many entries of the history of one record are kept, the newest of them. */
  recordHistoryCount: z.int().check(z.gte(1)),
});
export type Settings = z.infer<typeof settingsShape>;

export const defaultSettings: Settings = {
  conflict: "manual",
  conflictByType: {},
  retry: "default",
  retryByType: {},
  retryPresets: {},
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
  conflictStaleMs: 7 * 86_400_000,
  recordHistoryMs: 90 * 86_400_000,
  recordHistoryCount: 100,
};

export const settingsPatch = z.partial(settingsShape);

/** How the process that sends hears of a space's news. */
export const pokesView = z.object({
  space: z.string(),
  /** `listening`: the server tells at once. `polling`: it is only asked now and then. */
  state: z.enum(["listening", "polling"]),
  since: instant,
  lastPokeAt: nullable(instant),
  /** How often the server is asked besides, at the most. */
  pollMs: count,
  lastError: nullable(z.object({ at: instant, reason: z.string() })),
});

export const syncRun = z.object({
  startedAt: instant,
  endedAt: nullable(instant),
  total: count,
  succeeded: count,
  failed: count,
  conflicts: count,
  remaining: count,
  errors: z.array(z.object({ id: z.string(), title: z.string(), error: z.string() })),
  /** Records that moved during the run, or just before it began. */
  pushed: count,
  pulled: count,
  merged: count,
});

const lights = ["green", "yellow", "red", "warning"] as const;

export const queueStatus = z.object({
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
  signedOut: z.array(
    z.object({
      ...{ subject: z.string(), remote: z.string(), reason: z.string(), code: z.string() },
      ...{ since: instant, pending: count },
    }),
  ),
  limits: z.object({ maxOperations: count, maxBytes: count, usedPercent: z.number(), isWarning: z.boolean() }),
  remotes: z.array(remoteView),
});

const blockerKinds = [
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
  "no_server_id",
  "no_drainer",
  "sync_mode",
  "draft",
  "in_flight",
  "disk_full",
] as const;

export const why = z.object({
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
  "record",
  "conflict",
  "collection",
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

export const historyEntry = z.object({ sequence: count, at: instant, kind: z.enum(eventKinds), detail: json });
