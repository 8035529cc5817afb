/**
 * Owns reading the queue: filters, orders, pages, and the JSON Lines of an export. It changes nothing.
 */
import { HoldfastError } from "../errors.ts";
import type { Operation, Status } from "../operation.ts";
import { State } from "../operation.ts";
import { limits } from "../shapes.ts";
import type { Input, Output } from "../verbs.ts";
import { closedBy } from "./claim.ts";
import { readGates } from "./gates.ts";
import { getChannel, getSettings } from "./meta.ts";
import { toOperation } from "./operations.ts";
import { getRow } from "./queue.ts";
import type { Store } from "./store.ts";
import { integer, text } from "./store.ts";

/** Rows of a page when the caller names no number. */
export const pageSize = 100;

const statesOf: { readonly [status in Status]: readonly string[] } = {
  pending: ["op.state IN (0, 1, 2, 4)"],
  in_progress: ["op.state = 3"],
  failed: ["op.state IN (5, 6)"],
  draft: ["op.state = 7"],
  completed: ["(op.state = 8 AND op.outcome IN ('applied', 'duplicate', 'superseded'))"],
  cancelled: ["(op.state = 8 AND op.outcome IN ('cancelled', 'replaced'))"],
  expired: ["(op.state = 8 AND op.outcome = 'expired')"],
};

export type Filter = Pick<Input<"queue.list">, "status" | "reason" | "lane" | "type" | "remote" | "subject" | "group">;

type Query = { readonly where: string; readonly values: readonly (string | number)[] };

function queryOf(filter: Filter): Query {
  const parts: string[] = [];
  const values: (string | number)[] = [];
  const equal = (column: string, value: string | null | undefined): void => {
    if (value === undefined || value === null) return;
    parts.push(`${column} = ?`);
    values.push(value);
  };
  if (filter.status !== undefined) parts.push(`(${filter.status.flatMap((status) => statesOf[status]).join(" OR ")})`);
  equal("op.reason", filter.reason);
  if (filter.lane !== undefined) parts.push("op.lane <> ''");
  equal("op.lane", filter.lane);
  equal("op.type", filter.type);
  if (filter.group !== undefined) parts.push("op.grp IS NOT NULL");
  equal("op.grp", filter.group);
  equal("channel.remote", filter.remote);
  equal("channel.subject", filter.subject);
  return { where: parts.length === 0 ? "1" : parts.join(" AND "), values };
}

/**
 * Pages of operations. Orders: `oldest` and `newest` by enqueue; `run` is the order in which they are expected to go: what is on the
 * wire, then ready by rank, then scheduled by time, then what waits behind others. A lane's own order comes before all of that: asked
 * for one lane, the list is that lane; else those that wait for their turn take the places of their lane on the page in its order.
 */
export function listOperations(store: Store, input: Input<"queue.list">): Output<"queue.list"> {
  const limit = input.limit ?? pageSize;
  const order = input.order ?? "oldest";
  const query = queryOf(input);
  const rows =
    order === "run"
      ? runPage(store, query, { limit, cursor: input.cursor, isLane: (input.lane ?? "") !== "" })
      : sequencePage(store, query, { limit, cursor: input.cursor, order });
  const page = rows.slice(0, limit);
  const last = page[page.length - 1];
  const next =
    rows.length > limit && last !== undefined ? (order === "run" ? runCursor(last) : String(last.seq)) : null;
  return { operations: inLaneOrder(page).map((row) => viewOperation(store, row.seq)), next };
}

/** `lane` is empty but for those of the run order that wait in one; `position` is their place there. */
type Found = {
  readonly seq: number;
  readonly bucket: number;
  readonly key: number;
  readonly lane: string;
  readonly position: number;
};

/**
 * A rank says little about who goes first in a lane: what was moved keeps its own, and what is lent to a whole lane is written down at
 * its head alone.
 */
function inLaneOrder(page: readonly Found[]): readonly Found[] {
  const lanes = new Map<string, Found[]>();
  for (const row of page.filter(({ lane }) => lane !== "").sort((a, b) => a.position - b.position)) {
    const rows = lanes.get(row.lane);
    if (rows === undefined) lanes.set(row.lane, [row]);
    else rows.push(row);
  }
  return page.map((row) => lanes.get(row.lane)?.shift() ?? row);
}

function sequencePage(
  store: Store,
  query: Query,
  page: { readonly limit: number; readonly cursor: string | undefined; readonly order: "oldest" | "newest" },
): readonly Found[] {
  const isOldest = page.order === "oldest";
  const start = page.cursor === undefined ? (isOldest ? 0 : Number.MAX_SAFE_INTEGER) : numberIn(page.cursor);
  const sql = `SELECT op.seq AS seq FROM op JOIN channel ON channel.id = op.channel
    WHERE op.seq ${isOldest ? ">" : "<"} ? AND ${query.where} ORDER BY op.seq ${isOldest ? "ASC" : "DESC"} LIMIT +?`;
  return store.db
    .prepare(sql)
    .all(start, ...query.values, page.limit + 1)
    .map((row) => ({ seq: integer(row.seq), bucket: 0, key: 0, lane: "", position: 0 }));
}

const bucketOf = "CASE op.state WHEN 3 THEN 0 WHEN 0 THEN 1 WHEN 2 THEN 2 WHEN 1 THEN 3 WHEN 4 THEN 4 ELSE 5 END";
const keyOf = "CASE op.state WHEN 2 THEN op.due ELSE op.rank END";
/** Of one lane: what is on the wire, what stands in it, and what does not. */
const laneBucketOf = "CASE WHEN op.state = 3 THEN 0 WHEN op.state < 6 THEN 1 ELSE 5 END";

function runPage(
  store: Store,
  query: Query,
  page: { readonly limit: number; readonly cursor: string | undefined; readonly isLane: boolean },
): readonly Found[] {
  const [inBucket, byKey] = page.isLane ? [laneBucketOf, "op.position"] : [bucketOf, keyOf];
  const [bucket, key, seq] = page.cursor === undefined ? [-1, 0, 0] : page.cursor.split(".").map(numberIn);
  const sql = `SELECT op.seq AS seq, ${inBucket} AS bucket, ${byKey} AS key, iif(op.state = 1, op.lane, '') AS lane, op.position AS position
    FROM op JOIN channel ON channel.id = op.channel
    WHERE op.state < 8 AND (${inBucket}, ${byKey}, op.seq) > (?, ?, ?) AND ${query.where} ORDER BY bucket, key, seq LIMIT +?`;
  return store.db
    .prepare(sql)
    .all(bucket ?? -1, key ?? 0, seq ?? 0, ...query.values, page.limit + 1)
    .map((row) => ({
      seq: integer(row.seq),
      bucket: integer(row.bucket),
      key: integer(row.key),
      lane: text(row.lane),
      position: integer(row.position),
    }));
}

const runCursor = (row: Found): string => `${row.bucket}.${row.key}.${row.seq}`;

function numberIn(cursor: string): number {
  const value = Number(cursor);
  if (Number.isSafeInteger(value)) return value;
  throw new HoldfastError("invalid_input", `"${cursor}" is no cursor`, "pass `next` of the page before, unchanged");
}

/** Operations that fit a filter, at most `limits.matched`. */
export function matching(store: Store, filter: Filter): readonly { readonly seq: number; readonly id: string }[] {
  const query = queryOf(filter);
  const sql = `SELECT op.seq AS seq, op.id AS id FROM op JOIN channel ON channel.id = op.channel WHERE ${query.where} ORDER BY op.seq LIMIT +?`;
  return store.db
    .prepare(sql)
    .all(...query.values, limits.matched)
    .map((row) => ({ seq: integer(row.seq), id: text(row.id) }));
}

/** An operation as clients see it: one that could go but for a closed gate says which gate. */
export function viewOperation(store: Store, seq: number): Operation {
  const row = getRow(store, seq);
  const operation = toOperation(store, row);
  if (row.state !== State.ready) return operation;
  const closed = closedBy(store, getChannel(store, integer(row.channel)), readGates(store), getSettings(store));
  return closed === null ? operation : { ...operation, reason: closed === "signed_out" ? "auth" : closed };
}

/** States that still have to be sent. */
export const isUnsent = (state: State): boolean => state < State.done;
