/** Owns the questions to the table `op` of who stands where in a lane. What may go because of it is `lanes.ts`, writing is `queue.ts`. */
import type { Brief } from "./queue.ts";
import { briefColumns, toBrief } from "./queue.ts";
import type { Store } from "./store.ts";
import { textOrNull } from "./store.ts";

const laneHead = `SELECT ${briefColumns} FROM op WHERE lane = ? AND standing = 1 ORDER BY position LIMIT 1`;
const laneTail = `SELECT ${briefColumns} FROM op WHERE lane = ? AND standing = 1 AND position > ? ORDER BY position LIMIT +?`;
const laneFlying = "SELECT id FROM op WHERE state = 3 AND lane = ? LIMIT 1";
const laneBefore = `SELECT ${briefColumns} FROM op WHERE lane = ? AND standing = 1 AND position < ? ORDER BY position DESC LIMIT 1`;
const laneLast = `SELECT ${briefColumns} FROM op WHERE lane = ? AND standing = 1 ORDER BY position DESC LIMIT 1`;
const standingIn = "SELECT 1 AS n FROM op WHERE lane = ? AND standing = 1 AND position = ? AND seq <> ? LIMIT 1";

export function laneHeadOf(store: Store, lane: string): Brief | null {
  const row = store.db.prepare(laneHead).get(lane);
  return row === undefined ? null : toBrief(row);
}

export function laneAfter(store: Store, lane: string, position: number, limit: number): readonly Brief[] {
  return store.db.prepare(laneTail).all(lane, position, limit).map(toBrief);
}

export function laneJustBefore(store: Store, lane: string, position: number): Brief | null {
  const row = store.db.prepare(laneBefore).get(lane, position);
  return row === undefined ? null : toBrief(row);
}

/** The id of the lane's operation that is on the wire, or null; few are, and the index holds only those. */
export function flyingInLane(store: Store, lane: string): string | null {
  return textOrNull(store.db.prepare(laneFlying).get(lane)?.id);
}

export function laneLastOf(store: Store, lane: string): Brief | null {
  const row = store.db.prepare(laneLast).get(lane);
  return row === undefined ? null : toBrief(row);
}

/** Whether another operation than `seq` stands in this place. */
export function isTaken(store: Store, lane: string, position: number, seq: number): boolean {
  return store.db.prepare(standingIn).get(lane, position, seq) !== undefined;
}
