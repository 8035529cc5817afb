/**
 * Owns the table of records: the newest state of each, when each of its fields changed, and the feed by version.
 * What a change does to a record is `apply.ts`; who may see it is `collections.ts`.
 */
import type { Held } from "../apply.ts";
import type { Fields } from "../record.ts";
import type { WireRecord } from "../wire.ts";
import { allIn, runRows } from "./sql.ts";
import type { ServerRow, Tx } from "./store.ts";

/** A record as the server keeps it. */
export type StoredRecord = Held & {
  readonly collection: string;
  readonly key: string;
  /** The last version of the operation that wrote it: a page of the feed is never cut between the two. */
  readonly ending: number;
  /** The first version of this key, earlier lives included: whoever has read less far cannot have it. */
  readonly born: number;
  readonly schema: number;
  readonly author: string;
  readonly at: number;
};

/** A record of the feed on its way to a reader. Its value stays the text that is stored: most are handed on unread. */
export type FeedRecord = Pick<StoredRecord, "collection" | "key" | "version" | "born" | "schema" | "author" | "at"> & {
  readonly text: string | null;
};

/** A place in the feed without its content. */
export type FeedEntry = { readonly version: number; readonly ending: number; readonly bytes: number };

const columns = "collection, key, version, ending, created, born, value, field_versions, schema_version, author, at";
const readByKeys = (marks: string): string =>
  `SELECT ${columns} FROM hf_record WHERE space = ? AND collection = ? AND key IN (${marks})`;
const readSizes = (marks: string): string =>
  `SELECT bytes FROM hf_record WHERE space = ? AND collection = ? AND key IN (${marks})`;
const readFeed = `SELECT version, ending, bytes FROM hf_record
  WHERE space || '' = ? AND collection || '' = ? AND version > ? AND version <= ? ORDER BY version LIMIT ?`;
const readPage = `SELECT collection, key, version, born, value, schema_version, author, at FROM hf_record
  WHERE space || '' = ? AND collection || '' = ? AND version > ? AND version <= ? ORDER BY version`;
const upsert = (rows: string): string => `INSERT INTO hf_record
  (space, collection, key, version, ending, created, born, value, field_versions, bytes, schema_version, author, at)
  VALUES ${rows}
  ON CONFLICT (space, collection, key) DO UPDATE SET version = excluded.version, ending = excluded.ending,
  created = excluded.created, value = excluded.value, field_versions = excluded.field_versions, bytes = excluded.bytes,
  schema_version = excluded.schema_version, author = excluded.author, at = excluded.at`;
const readOldTombstones = `SELECT space, collection, key, version FROM hf_record
  WHERE value IS NULL AND at < ? ORDER BY at LIMIT ?`;
const deleteTombstone =
  "DELETE FROM hf_record WHERE space = ? AND collection = ? AND key = ? AND version = ? AND value IS NULL";
const readCollection = `SELECT space, ${columns} FROM hf_record
  WHERE collection = ? AND value IS NOT NULL AND (space > ? OR (space = ? AND key > ?)) ORDER BY space, key LIMIT ?`;

export async function readRecords(
  tx: Tx,
  space: string,
  wanted: ReadonlyMap<string, readonly string[]>,
): Promise<readonly StoredRecord[]> {
  const found: StoredRecord[] = [];
  for (const [collection, keys] of wanted)
    found.push(...(await allIn(tx, readByKeys, { before: [space, collection], list: keys })).map(toRecord));
  return found;
}

/** What records weigh together, without reading them. */
export async function weighRecords(
  tx: Tx,
  space: string,
  { collection, keys }: { readonly collection: string; readonly keys: readonly string[] },
): Promise<number> {
  const rows = await allIn(tx, readSizes, { before: [space, collection], list: keys });
  return rows.reduce((sum, row) => sum + Number(row.bytes), 0);
}

export async function writeRecords(tx: Tx, space: string, records: readonly StoredRecord[]): Promise<void> {
  const rows = records.map((record) => {
    const value = record.value === null ? null : JSON.stringify(record.value);
    return [
      ...[space, record.collection, record.key, record.version, record.ending, record.created, record.born],
      ...[value, JSON.stringify(record.fieldVersions), value?.length ?? 0, record.schema, record.author, record.at],
    ];
  });
  await runRows(tx, upsert, rows);
}

export type FeedRange = {
  readonly space: string;
  readonly collection: string;
  readonly after: number;
  readonly upTo: number;
};

/** Where the next entries of a collection's feed lie; answered from an index alone. */
export async function readFeedEntries(tx: Tx, range: FeedRange, limit: number): Promise<readonly FeedEntry[]> {
  const rows = await tx.all(readFeed, range.space, range.collection, range.after, range.upTo, limit);
  return rows.map((row) => ({ version: Number(row.version), ending: Number(row.ending), bytes: Number(row.bytes) }));
}

export async function readFeedPage(tx: Tx, range: FeedRange): Promise<readonly FeedRecord[]> {
  return (await tx.all(readPage, range.space, range.collection, range.after, range.upTo)).map((row) => ({
    collection: String(row.collection),
    key: String(row.key),
    version: Number(row.version),
    born: Number(row.born),
    text: row.value === null ? null : String(row.value),
    schema: Number(row.schema_version),
    author: String(row.author),
    at: Number(row.at),
  }));
}

/** A `WireRecord` as it goes over the wire. */
export function wireText({ collection, key, version, text, schema, author, at }: FeedRecord, isHidden = false): string {
  const names = `"collection":${JSON.stringify(collection)},"key":${JSON.stringify(key)}`;
  const facts = `"version":${version},"value":${text ?? "null"},"schema":${schema},"author":${JSON.stringify(author)},"at":${at}`;
  return `{${names},${facts}${isHidden ? ',"isHidden":true' : ""}}`;
}

/** Forgets the oldest removals; tells per space up to which version they are gone. */
export async function forgetTombstones(
  tx: Tx,
  { before, limit }: { readonly before: number; readonly limit: number },
): Promise<{ readonly count: number; readonly floors: ReadonlyMap<string, number> }> {
  const rows = await tx.all(readOldTombstones, before, limit);
  const floors = new Map<string, number>();
  let count = 0;
  for (const row of rows) {
    const [space, version] = [String(row.space), Number(row.version)];
    const { changes } = await tx.run(deleteTombstone, space, String(row.collection), String(row.key), version);
    count += changes;
    if (changes > 0) floors.set(space, Math.max(floors.get(space) ?? 0, version));
  }
  return { count, floors };
}

/** The live records of a collection in all spaces, by place, for what has to be built over them. */
export async function readLive(
  tx: Tx,
  collection: string,
  page: { readonly space: string; readonly key: string; readonly limit: number },
): Promise<readonly { readonly space: string; readonly record: StoredRecord }[]> {
  const rows = await tx.all(readCollection, collection, page.space, page.space, page.key, page.limit);
  return rows.map((row) => ({ space: String(row.space), record: toRecord(row) }));
}

export const toWire = ({ collection, key, version, value, schema, author, at }: StoredRecord): WireRecord => ({
  collection,
  key,
  version,
  value,
  schema,
  author,
  at,
});

const toRecord = (row: ServerRow): StoredRecord => ({
  collection: String(row.collection),
  key: String(row.key),
  version: Number(row.version),
  ending: Number(row.ending),
  created: Number(row.created),
  born: Number(row.born),
  value: row.value === null ? null : (JSON.parse(String(row.value)) as Fields),
  fieldVersions: JSON.parse(String(row.field_versions)) as { readonly [field: string]: number },
  schema: Number(row.schema_version),
  author: String(row.author),
  at: Number(row.at),
});
