/**
 * Owns the shapes of records, collections, conflicts and sync runs as they cross between clients and the engine.
 * Which verb takes and answers which of them is the table in `verbs.ts`; operations and settings are in `shapes.ts`.
 */
import * as z from "zod/mini";
import { choices, conflictKinds, conflictStatuses, deciders } from "./conflict.ts";
import type { Json } from "./operation.ts";
import { strategies } from "./operation.ts";
import { recordLimits, recordOrigins, recordStates } from "./record.ts";
import { count, describe, everyName, instant, json, keepable, name, nullable, optional } from "./shapes.ts";
import type { Comparison } from "./where.ts";

export const collectionName = z
  .string()
  .check(
    z.regex(/^[a-z][a-z0-9_]{0,62}$/, "lower-case letters, digits and _, beginning with a letter"),
    describe("Name of a collection"),
  );
export const recordKey = keepable.check(
  z.minLength(1),
  z.maxLength(recordLimits.keyLength),
  describe("Key of a record"),
);
const field = z.string().check(z.minLength(1), z.maxLength(recordLimits.nameLength));
/** Handed on as it is: a record shape would make a copy and lose a field named `__proto__` without a word. */
export const fields = json.check((context) => {
  const { value } = context;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  context.issues.push({ code: "invalid_type", expected: "record", input: value });
}) as unknown as z.ZodMiniType<Record<string, Json>, Record<string, Json>>;
fields._zod.toJSONSchema = () => ({
  type: "object",
  propertyNames: { type: "string" },
  additionalProperties: {},
  description: "A JSON object",
});

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const orderable = z.union([z.string(), z.number()]);
const condition = z.union([
  scalar,
  z.strictObject({
    eq: optional(scalar),
    ne: optional(scalar),
    lt: optional(orderable),
    lte: optional(orderable),
    gt: optional(orderable),
    gte: optional(orderable),
    in: optional(z.array(scalar).check(z.minLength(1), z.maxLength(recordLimits.page))),
    prefix: optional(z.string()),
  } satisfies { readonly [name in keyof Comparison]-?: unknown }),
]);
const conditions = (...checks: readonly z.core.$ZodCheck<Record<string, unknown>>[]) =>
  everyName(
    z
      .record(field, condition)
      .check(
        describe('Conditions on fields, all must hold: {"status": "open", "fee": {"gt": 5}}; `$key` is the key'),
        ...checks,
      ),
  );
export const where = conditions();
/** What the server is asked for: it does not know when a record changed on this device, and would find none. */
const filter = conditions(
  z.refine(
    (asked) => !Object.hasOwn(asked, "$changed"),
    "asks for $changed, which no server knows: it is when a record changed on this device",
  ),
);

const fieldRule = z.discriminatedUnion("rule", [
  z.strictObject({ rule: z.literal("critical") }),
  z.strictObject({ rule: z.literal("prefer-local"), placeholders: optional(z.array(json)) }),
  z.strictObject({ rule: z.literal("prefer-remote") }),
  z.strictObject({ rule: z.literal("override"), flag: field, tolerance: optional(z.number().check(z.gte(0))) }),
  z.strictObject({ rule: z.literal("max") }),
  z.strictObject({ rule: z.literal("min") }),
  z.strictObject({ rule: z.literal("counter") }),
  z.strictObject({ rule: z.literal("set") }),
  z.strictObject({ rule: z.literal("list"), by: field }),
  z.strictObject({ rule: z.literal("text") }),
]);

const strategyByKind = z.partial(
  z.strictObject({
    version_mismatch: z.enum(strategies),
    deleted_upstream: z.enum(strategies),
    deleted_here: z.enum(strategies),
    unique_violation: z.enum(strategies),
    business_rule: z.enum(strategies),
    data_inconsistency: z.enum(strategies),
  }),
);

export const collectionSpec = z.strictObject({
  name: collectionName,
  version: optional(z.int().check(z.gte(1))),
  space: optional(name),
  indexes: optional(
    z
      .array(z.union([field, z.array(field).check(z.minLength(1), z.maxLength(8))]))
      .check(z.maxLength(recordLimits.indexes)),
  ),
  unique: optional(
    z.array(z.array(field).check(z.minLength(1), z.maxLength(8))).check(z.maxLength(recordLimits.indexes)),
  ),
  merge: optional(everyName(z.record(field, fieldRule))),
  strategy: optional(strategyByKind),
  localOnly: optional(z.array(field)),
  keys: optional(z.enum(["client", "server"])),
  filter: optional(filter),
  maxBytes: optional(z.int().check(z.gte(1))),
  isSynced: optional(z.boolean()),
});

/** One record as every client sees it. */
export const recordView = z.object({
  collection: z.string(),
  key: z.string(),
  value: nullable(fields),
  state: z.enum(recordStates),
  version: count,
  confirmedAt: nullable(instant),
  changedAt: instant,
  operations: z.readonly(z.array(z.string())),
  problem: nullable(
    z.object({ code: z.string(), message: z.string(), field: optional(z.string()), hint: optional(z.string()) }),
  ),
  conflict: nullable(z.string()),
  isPinned: z.boolean(),
});

export const recordEntry = z.object({
  sequence: count,
  at: instant,
  origin: z.enum(recordOrigins),
  /** The sync run during which it happened, if any. */
  run: nullable(count),
  version: count,
  before: nullable(fields),
  after: nullable(fields),
  detail: json,
});

/**
 * What one write does. `create` makes a key when none is given; `put` creates or replaces; `patch` takes a merge patch (RFC 7396)
 * or, as an array, a JSON Patch (RFC 6902), whose `test` steps refuse the write when the record is not what the caller saw.
 */
export const recordWrite = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("create"), collection: collectionName, key: optional(recordKey), value: fields }),
  z.strictObject({ kind: z.literal("put"), collection: collectionName, key: recordKey, value: fields }),
  z.strictObject({
    kind: z.literal("update"),
    collection: collectionName,
    key: recordKey,
    fields,
    unset: optional(z.array(field)),
  }),
  z.strictObject({
    kind: z.literal("patch"),
    collection: collectionName,
    key: recordKey,
    patch: z.union([fields, z.array(json).check(z.minLength(1), z.maxLength(recordLimits.patchSteps))]),
  }),
  z.strictObject({ kind: z.literal("remove"), collection: collectionName, key: recordKey }),
]);

/** The answer to a write: the record as it is now, and the operation that carries it to the server (`null`: nothing to send). */
export const recordReceipt = z.object({
  record: recordView,
  operation: nullable(z.string()),
  warning: nullable(z.string()),
});

export const conflictView = z.object({
  id: z.string(),
  status: z.enum(conflictStatuses),
  kind: z.enum(conflictKinds),
  collection: z.string(),
  key: z.string(),
  operation: nullable(z.string()),
  fields: z.readonly(z.array(z.string())),
  base: nullable(fields),
  local: nullable(fields),
  remote: nullable(fields),
  remoteVersion: count,
  remoteAuthor: z.string(),
  message: z.string(),
  strategy: z.enum(strategies),
  createdAt: instant,
  decidedAt: nullable(instant),
  decidedBy: nullable(z.enum(deciders)),
  choice: nullable(z.enum(choices)),
  outcome: json,
  isStale: z.boolean(),
});

export const conflictFilter = {
  collection: optional(collectionName),
  kind: optional(z.enum(conflictKinds)),
  field: optional(field),
  author: optional(z.string()),
  key: optional(recordKey),
  status: optional(z.enum(conflictStatuses)),
};

/** One run of synchronisation as it is kept: what it moved both ways. */
export const runView = z.object({
  id: count,
  startedAt: instant,
  endedAt: nullable(instant),
  pushed: count,
  pulled: count,
  merged: count,
  conflicts: count,
  failures: count,
  bytesSent: count,
  bytesReceived: count,
  /** The run that undid this one, if any. */
  rolledBackBy: nullable(count),
});

/** Where one collection stands. */
export const collectionView = z.object({
  spec: collectionSpec,
  space: z.string(),
  records: count,
  bytes: count,
  pending: count,
  conflicts: count,
  cursor: count,
  /** The space's newest version that is known. */
  head: count,
  /** `initial`: the first pull is under way. `resync`: everything is read again while unsent work is kept. `refused`: see `problem`. */
  state: z.enum(["idle", "initial", "pulling", "resync", "refused", "local"]),
  /** "As of": when the server confirmed last that nothing newer exists. */
  asOf: nullable(instant),
  problem: nullable(z.object({ code: z.string(), message: z.string(), hint: optional(z.string()) })),
  progress: nullable(z.object({ done: count, total: count })),
});
