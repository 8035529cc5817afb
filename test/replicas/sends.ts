// Owns what has to hold of a client's operations while they wait and at the moment at which they are sent: dependencies, leases, age, and
// that nothing waits for what does not hold it. What records and the server have to show is judge.ts.
import type { Database } from "../../src/database.ts";
import type { PushItem } from "../../src/wire.ts";
import type { Violation } from "./judge.ts";
import { uuidLength } from "./server-host.ts";

/** What people give at most (`decisions.ts`), and how many operations one step of it is ahead of. */
export const highestPriority = 2;
export const ageing = 10;

const mostAhead = highestPriority * ageing;
const sentRow = "SELECT state, waits, seq, rank, channel, since FROM op WHERE id = ?";
const passedOver = `SELECT id FROM op WHERE state = 0 AND channel = ? AND since < ? AND seq - priority * ${ageing} < ? LIMIT 1`;
const needsOf = `SELECT needed.id AS id FROM op JOIN dep ON dep.seq = op.seq JOIN op AS needed ON needed.seq = dep.needs
  WHERE op.id = ? AND needed.state < 8 LIMIT 1`;
// Writes of records stand in no lane.
const idleRow = "SELECT id, reason FROM op WHERE state = 1 AND waits = 0 AND lane = '' LIMIT 1";

export type Sends = {
  /** Called with what goes onto the wire. */
  readonly note: (items: readonly PushItem[]) => void;
  readonly judge: () => Violation | null;
};

export function newSends(name: string, database: Database): Sends {
  let found: Violation | null = null;
  const judgeOne = (key: string): Violation | null => {
    const id = key.slice(0, uuidLength);
    const row = database.prepare(sentRow).get(id);
    // I11: what nobody holds a lease of has nobody who may book its answer.
    if (row?.state !== 3) return { rule: "I11", detail: `${name} sends ${id}, which is in state ${row?.state}` };
    const needed = database.prepare(needsOf).get(id);
    if (row.waits !== 0 || needed !== undefined) {
      const what = needed?.id ?? `${row.waits} others`;
      return { rule: "I4", detail: `${name} sends ${id} before ${what}, which it depends on` };
    }
    // I7: what was ready when it was claimed goes before everything that came later than the ageing allows. What waits lends its rank,
    // and may be older than what it waits for.
    const earliest = Math.min(Number(row.seq) - mostAhead, Number(row.rank));
    const older = database.prepare(passedOver).get(row.channel ?? 0, row.since ?? 0, earliest);
    if (older === undefined) return null;
    return { rule: "I7", detail: `${name} sends ${id} before ${older.id}, which is older than allowed` };
  };
  return {
    note: (items) => {
      for (const { id } of items) found ??= judgeOne(id);
    },
    judge: () => {
      const idle = found === null ? database.prepare(idleRow).get() : undefined;
      // I12: an answer to one operation, whatever it is, keeps nobody else waiting.
      if (idle !== undefined)
        found = { rule: "I12", detail: `${name}: ${idle.id} waits (${idle.reason}), and nothing holds it` };
      return found;
    },
  };
}
