/**
 * Owns the rows of the verb table about records: collections, records, conflicts, runs of synchronisation.
 * The whole table is `verbs.ts`; the shapes are in `record-shapes.ts`.
 */
import * as z from "zod/mini";
import { choices } from "./conflict.ts";
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
import { bulkAnswer, count, describe, id, ids, instant, json, limits, name, nullable, optional } from "./shapes.ts";
import { kind, none, pageSize, row } from "./verb-row.ts";

export const recordVerbs = {
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
    z.object({ changed: count, missing: z.array(recordKey) }),
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
      fields: optional(
        z
          .record(z.string(), z.enum(["local", "remote"]))
          .check(describe("With `local` or `remote`: single fields that are taken from the named side instead")),
      ),
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
} as const;
