/**
 * Owns the verbs that read records by conditions: queries and counts of a collection.
 * Which index they walk is `record-query.ts`; what a record looks like is `records.ts`.
 */
import type { Where } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import { requireCollection, sizeOf } from "./collections.ts";
import { countRecords, findRecords } from "./record-query.ts";
import type { RecordRow } from "./records.ts";
import { toRecordView } from "./records.ts";
import type { Store } from "./store.ts";

export function queryRecords(store: Store, input: Input<"records.query">): Output<"records.query"> {
  const info = requireCollection(store, input.collection);
  const { rows, next } = findRecords(store, info, {
    ...input,
    where: input.where as Where | undefined,
  });
  const records = rows.map((row) => toRecordView(store, row as unknown as RecordRow, info));
  return { records: records as Output<"records.query">["records"], next };
}

export function countMatching(store: Store, input: Input<"records.count">): Output<"records.count"> {
  const collection = requireCollection(store, input.collection);
  // Everything is counted as it changes.
  if (input.where === undefined && input.states === undefined) return { count: sizeOf(store, collection.id).records };
  return { count: countRecords(store, collection, { where: input.where as Where | undefined, states: input.states }) };
}
