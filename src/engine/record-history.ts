/**
 * Owns the verbs over a record's history: pages of it, newest first, and writing again what a record once was.
 * The table is `record-log.ts`, its retention too; undoing a whole run is `rollback.ts`.
 */
import type { Row } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Fields, RecordOrigin } from "../record.ts";
import type { Input, Output, RecordEntry } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { requireCollection } from "./collections.ts";
import { findEvicted } from "./evicted.ts";
import { isBrokenEntry } from "./mending-rows.ts";
import { afterOf, schemaOfSide } from "./record-log.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, findRecord, raised, shownValue, toRecordView } from "./records.ts";
import { intact } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull, json, text, textOrNull } from "./store.ts";
import { writeRecords } from "./writes.ts";

/** Entries of a page when the caller names no number. */
const entryPage = 100;

const columns = `seq, record, at, origin, run, version, before, after, detail, seal, ${afterOf} AS shown`;
const pageOf = `SELECT ${columns} FROM record_history WHERE record = ? AND seq < ? ORDER BY seq DESC LIMIT +?`;
const entryOf = `SELECT ${columns} FROM record_history WHERE record = ? AND seq = ?`;

export function recordHistory(store: Store, input: Input<"records.history">): Output<"records.history"> {
  const info = requireCollection(store, input.collection);
  // What was let go for want of room keeps its history.
  const id = findRecord(store, info, input.key)?.id ?? findEvicted(store, info.id, input.key);
  if (id === null) refuseUnknown(info, input.key);
  const limit = input.limit ?? entryPage;
  const rows = store.db.prepare(pageOf).all(id, input.before ?? Number.MAX_SAFE_INTEGER, limit + 1);
  const entries = rows.slice(0, limit).map(toEntry);
  const last = entries[entries.length - 1];
  return { entries, next: rows.length > limit && last !== undefined ? last.sequence : null };
}

/** Writes what a record was as any other write: it goes to the server, and can itself be taken back. */
export function restoreRecord(store: Store, input: Input<"records.restore">): Output<"records.restore"> {
  const { collection, key, sequence, side = "after" } = input;
  const info = requireCollection(store, collection);
  const row = requireRecord(store, info, key);
  const entry = store.db.prepare(entryOf).get(row.id, sequence);
  if (entry === undefined) {
    throw new HoldfastError(
      "not_found",
      `the history of record "${key}" of "${collection}" has no entry ${sequence}`,
      "see `holdfast records history`; old entries are forgotten after a while",
    );
  }
  if (isBrokenEntry(intact("record_history", entry))) {
    throw new HoldfastError(
      "refused_by_state",
      `entry ${sequence} of the history of record "${key}" was changed by the storage, so its values cannot be trusted`,
      "read what is left of it with `holdfast records history`, and write what you want to keep",
    );
  }
  const written = fieldsOf(textOrNull(side === "after" ? entry.shown : entry.before));
  const value = written === null ? null : raised(info, written, schemaOfSide(store, entry, side));
  const restored = restoreValue(store, { info, row, value }, { origin: "restore", detail: { sequence, side } });
  const now = findRecord(store, info, row.key) ?? row;
  return { ...restored, record: toRecordView(store, now) as Output<"records.restore">["record"] };
}

type Restored = { readonly operation: string | null; readonly warning: string | null };
type Cause = Parameters<typeof writeRecords>[2];

/** Makes a record what it was; `null`: it was not there. Nothing is written where it is so already. */
export function restoreValue(
  store: Store,
  what: { readonly info: CollectionInfo; readonly row: RecordRow; readonly value: Fields | null },
  cause: Cause,
): Restored {
  const { info, row, value } = what;
  const place = { collection: info.name, key: row.key };
  if (value !== null) return writeRecords(store, [{ kind: "put", ...place, value }], cause);
  if (shownValue(info, row) === null) return { operation: null, warning: null };
  return writeRecords(store, [{ kind: "remove", ...place }], cause);
}

function requireRecord(store: Store, info: CollectionInfo, key: string): RecordRow {
  const row = findRecord(store, info, key);
  if (row !== null) return row;
  if (findEvicted(store, info.id, key) === null) refuseUnknown(info, key);
  throw new HoldfastError(
    "refused_by_state",
    `record "${key}" of "${info.name}" is not kept here at the moment, so it is not known what the server has`,
    `fetch it first: \`holdfast collections sync ${info.name} ${key}\`, then restore`,
  );
}

function refuseUnknown(info: CollectionInfo, key: string): never {
  throw new HoldfastError(
    "not_found",
    `there is no record "${key}" in "${info.name}"`,
    "see `holdfast records list` for what there is",
  );
}

function toEntry(cells: Row): RecordEntry {
  const row = intact("record_history", cells);
  return {
    sequence: integer(row.seq),
    at: integer(row.at),
    origin: text(row.origin) as RecordOrigin,
    run: integerOrNull(row.run),
    version: integer(row.version),
    before: fieldsOf(textOrNull(row.before)) as RecordEntry["before"],
    after: fieldsOf(textOrNull(row.shown)) as RecordEntry["after"],
    detail: json(row, "detail"),
  };
}
