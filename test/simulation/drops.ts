// Owns what a run with little room knows: every row that left the store, as it was when it left, and whether an enqueue was rightly
// refused or let in. Which runs have little room is drawn in simulator.ts; the other invariants are invariants.ts.
import type { Database, Row } from "../../src/database.ts";
import type { Facts, Violation } from "./invariants.ts";

/** The store's own connection writes it, in the transaction that takes the row: what is rolled back has not left. */
const witness = `CREATE TEMP TABLE dropped (id TEXT PRIMARY KEY, state INTEGER, outcome TEXT, failures INTEGER, attempts INTEGER, reason TEXT);
  CREATE TEMP TRIGGER note_dropped AFTER DELETE ON main.op BEGIN
    INSERT OR REPLACE INTO dropped VALUES (old.id, old.state, old.outcome, old.failures, old.attempts, old.reason);
  END;
  CREATE TEMP TABLE replaced (id TEXT PRIMARY KEY, by TEXT);
  CREATE TEMP TRIGGER note_replaced AFTER INSERT ON main.history WHEN new.kind = 'cancelled' BEGIN
    INSERT OR REPLACE INTO replaced SELECT new.id, new.detail ->> '$.by' FROM op WHERE op.seq = new.op AND op.outcome = 'replaced';
  END`;
const droppedRow = "SELECT id, state, outcome, failures, attempts, reason FROM temp.dropped WHERE id = ?";
const landedRow = `SELECT state, outcome FROM op WHERE id = ?1
  UNION ALL SELECT state, outcome FROM temp.dropped WHERE id = ?1 LIMIT 1`;
const all = "SELECT count(*) AS n FROM op";
/** What may not be dropped: it has not ended, or something that waits names it as its reason. */
const kept = "SELECT count(*) AS n FROM op WHERE state < 8 OR EXISTS (SELECT 1 FROM dep WHERE dep.needs = op.seq)";
const replacedBy = "SELECT by FROM temp.replaced WHERE id = ?";
const one = "SELECT 1 AS n FROM op WHERE id = ?";

export function watchDrops(db: Database): void {
  db.exec(witness);
}

/** An operation as it was when it left the store; undefined while it is there. */
export const readDropped = (db: Database, id: string): Row | undefined => db.prepare(droppedRow).get(id);

/** How an operation stands, or stood when it left. */
export const readLanded = (db: Database, id: string): Row | undefined => db.prepare(landedRow).get(id);

/** The operation that goes out in the place of one: itself, unless it was replaced. */
export function replacementOf(db: Database, id: string): string {
  let last = id;
  for (let by = db.prepare(replacedBy).get(id); by !== undefined; by = db.prepare(replacedBy).get(last))
    last = String(by.by);
  return last;
}

const countOf = (db: Database, sql: string): number => Number(db.prepare(sql).get()?.n);

/** Room that could have been made is made, and what is refused is not there. */
export function judgeRefusal({ db, room }: Facts, id: string | undefined): Violation | null {
  const unmovable = countOf(db, kept);
  if (room === null || unmovable < room)
    return {
      rule: "overflow",
      detail: `the queue is called full with ${unmovable} of ${room} that may not be dropped`,
    };
  if (id !== undefined && db.prepare(one).get(id) !== undefined)
    return { rule: "overflow", detail: `${id} was refused because the queue is full, and is in the store` };
  return null;
}

export function judgeRoom({ db, room }: Facts): Violation | null {
  const count = countOf(db, all);
  if (room === null || count <= room) return null;
  return { rule: "overflow", detail: `the store holds ${count} operations, ${room} were allowed` };
}
