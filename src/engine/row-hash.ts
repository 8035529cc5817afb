/**
 * Owns what the hash of an operation's row covers: everything whose silent change would send something else, somewhere else, twice, or
 * never. What moves by itself (state, place, rank, attempts) is not covered; counters and `engine.check` watch over that.
 */
import type { Row, SqlValue } from "../database.ts";
import type { Store } from "./store.ts";

/** The covered columns. Whoever writes one of them renews the hash (`queue.ts`). */
export type HashedRow = {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly channel: number;
  readonly lane: string;
  readonly priority: number;
  readonly generation: number;
  readonly created: number;
  readonly expires: number | null;
  readonly dedupe: string | null;
  readonly grp: string | null;
  readonly creates: string | null;
  readonly options: string;
  readonly payload: string;
};

export const hashedColumns =
  "id, type, version, channel, lane, priority, generation, created, expires, dedupe, grp, creates, options, payload";

/** What a person reads on an operation that storage has changed. */
export const corruptProblem = {
  code: "payload_corrupt",
  message: "it no longer matches its hash: the storage has changed it",
  hint: "edit its payload, or cancel it",
} as const;

/** Whether the covered columns of a row are what was written; what storage has changed must never be sent. */
export function isGenuine(store: Store, row: Row): boolean {
  return store.world.hash(hashedText(row)) === row.hash;
}

/** The text that is hashed; a row read from anywhere, damaged or not, has one. */
export function hashedText(row: HashedRow | Row): string {
  return `${row.id}${hashedTerms(row)}${row.payload}`;
}

/** What stands in it between id and payload: it is the same for rows that differ in nothing else. */
export function hashedTerms(row: Omit<HashedRow, "id" | "payload"> | Row): string {
  const { type, version, channel, lane, priority, generation } = row as Record<keyof HashedRow, SqlValue>;
  const { created, expires, dedupe, grp, creates, options } = row as Record<keyof HashedRow, SqlValue>;
  return `\n${type}\n${version}\n${channel}\n${lane}\n${priority}\n${generation}\n${created}\n${expires}\n${dedupe}\n${grp}\n${creates}\n${options}\n`;
}
