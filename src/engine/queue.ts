/**
 * Owns the table `op`: reading rows, and every write to them, one statement each. The operation that a row shows is `operations.ts`.
 * The rules of enqueue, claim and settle are in the files of those names; they change rows only through these functions.
 */
import type { Row, SqlValue } from "../database.ts";
import { assert } from "../errors.ts";
import type { Json, Outcome, Problem, Progress, Reason, Strategy } from "../operation.ts";
import { State, textBytes } from "../operation.ts";
import type { RetryPolicy } from "../retry.ts";
import type { Counted } from "./counters.ts";
import { countChange, countRow, countRows, toCounted } from "./counters.ts";
import type { HashedRow } from "./row-hash.ts";
import { hashedColumns, hashedTerms, hashedText, isGenuine } from "./row-hash.ts";
import type { Store } from "./store.ts";
import { addCount, integer, integerOrNull, parsed, text, textOrNull } from "./store.ts";

/** What rarely matters to scheduling is kept as JSON in one column. */
export type Options = {
  readonly after?: readonly string[];
  readonly retry?: RetryPolicy;
  readonly onFailure?: "hold" | "skip";
  readonly onCrash?: "resend" | "ask";
  readonly conflict?: Strategy;
  readonly title?: string;
  readonly notBefore?: number;
};

/** The scheduling part of a row, without payload and results. */
export type Brief = {
  readonly seq: number;
  readonly id: string;
  readonly type: string;
  readonly channel: number;
  readonly lane: string;
  readonly position: number;
  readonly priority: number;
  readonly rank: number;
  readonly state: State;
  readonly waits: number;
  readonly due: number;
  readonly since: number;
  readonly lease: number;
  readonly attempts: number;
  readonly failures: number;
  readonly streak: number;
  readonly generation: number;
  readonly isUnsure: boolean;
  readonly rounds: number;
  readonly revision: number;
  readonly created: number;
  readonly expires: number | null;
  readonly dedupe: string | null;
  readonly group: string | null;
  readonly creates: string | null;
  readonly options: Options;
  readonly reason: Reason | null;
  readonly outcome: Outcome | null;
};

/** What an enqueue says of its row; everything else begins at its default. */
export type NewRow = HashedRow &
  Pick<Brief, "seq" | "position" | "rank" | "state" | "waits" | "due" | "reason"> & {
    readonly now: number;
    readonly bytes: number;
  };

/** What differs between operations of the same terms. */
export type RowApart = Pick<NewRow, "seq" | "id" | "position" | "rank" | "payload" | "bytes">;
export type RowTerms = Omit<NewRow, keyof RowApart>;

export const briefColumns =
  "seq, id, type, channel, lane, position, priority, rank, state, waits, due, since, lease, attempts, failures, streak, generation, unsure, rounds, revision, created, expires, dedupe, grp, creates, options, reason, outcome";
const givenColumns =
  "seq, id, type, version, channel, position, priority, rank, since, created, options, payload, hash, bytes";
const given = "?,?,?,?,?,?,?,?,?,?,?,?,?,?";
const insertPlain = `INSERT INTO op (${givenColumns}, lane, state, waits, due) VALUES (${given}, '', 0, 0, 0)`;
const insert = `INSERT INTO op (${givenColumns}, lane, state, waits, due, expires, dedupe, grp, creates, reason, standing)
  VALUES (${given}, ?,?,?,?,?,?,?,?,?,?)`;
/** What the rows have in common is bound once: binding a cell costs about as much as storing it. */
const insertAlike = (rows: number): string => `INSERT INTO op
  (type, version, channel, priority, since, created, options, seq, id, position, rank, payload, hash, bytes, lane, state, waits, due)
  SELECT ?,?,?,?,?,?,?, column1, column2, column3, column4, column5, column6, column7, '', 0, 0, 0
  FROM (VALUES ${Array.from({ length: rows }, () => "(?,?,?,?,?,?,?)").join(",")})`;
/** Rows that are written by one statement, the most and the fewest: a row in a hundred costs half of one by itself. */
export const alikeTogether = { most: 100, fewest: 10 } as const;
const insertsOfAlike = [alikeTogether.most, alikeTogether.fewest].map((rows) => ({ rows, sql: insertAlike(rows) }));
const briefBySeq = `SELECT ${briefColumns} FROM op WHERE seq = ?`;
const briefById = `SELECT ${briefColumns} FROM op WHERE id = ?`;
const fullBySeq = "SELECT * FROM op WHERE seq = ?";
const shiftStanding = "UPDATE op SET position = position + ? WHERE lane = ? AND standing = 1 AND position > ?";
const shiftAside =
  "UPDATE op SET position = position + ? WHERE lane = ? AND state IN (5, 6) AND state = 6 AND position > ?";
const schedule = "UPDATE op SET state = ?, reason = ?, due = ?, since = ? WHERE seq = ?";
const lease = "UPDATE op SET state = 3, lease = ?, attempts = attempts + 1, since = ?, reason = NULL WHERE seq = ?";
const unlease = `UPDATE op SET state = 1, reason = 'lane', lease = 0, attempts = attempts - 1, since = ?
  WHERE seq = ? AND state = 3 AND lease = ?`;
const finish = `UPDATE op SET state = 8, outcome = ?, result = ?, problem = ?, reason = NULL, since = ?, settled = ?, unsure = 0,
  remote_version = NULL, lease = 0, streak = 0, standing = 0 WHERE seq = ?`;
const finishLeasedRow = `${finish} AND state = 3 AND lease = ? RETURNING channel`;
const failRow = `UPDATE op SET state = ?, reason = ?, due = ?, since = ?, failures = ?, streak = ?, unsure = ?, problem = ?, remote_version = ?,
  lease = 0 WHERE seq = ?`;
const setStanding = "UPDATE op SET standing = (lane <> '' AND state < 6) WHERE seq = ?";
const setRank = "UPDATE op SET rank = ? WHERE seq = ?";
const setWaits = "UPDATE op SET waits = waits + ? WHERE seq = ? RETURNING waits";
const setPlace = "UPDATE op SET lane = ?, position = ?, standing = (? <> '' AND state < 6) WHERE seq = ?";
const setChannel = "UPDATE op SET channel = ? WHERE seq = ?";
const setPayload = `UPDATE op SET payload = ?, bytes = ?, version = ?, hash = ?, revision = revision + 1 WHERE seq = ?`;
const setTerms =
  "UPDATE op SET priority = ?, rank = ?, expires = ?, options = ?, revision = revision + 1 WHERE seq = ?";
const setReset =
  "UPDATE op SET failures = 0, streak = 0, generation = ?, unsure = ?, rounds = ?, problem = NULL, remote_version = NULL WHERE seq = ?";
const setProgress = "UPDATE op SET progress = ? WHERE seq = ?";
const setCheckpoint = "UPDATE op SET checkpoint = ?, progress = ? WHERE seq = ? AND state = 3 AND lease = ?";
const setKey = "UPDATE op SET dedupe = ? WHERE seq = ?";
const shiftDue = "UPDATE op SET due = due - ? WHERE state = 2 AND reason IN ('retry', 'network', 'paced', 'auth')";
const hastenRetry =
  "UPDATE op SET due = ?, failures = max(failures - 1, 0) WHERE state = 2 AND due > ? AND reason = 'retry'";
const hastenDue = "UPDATE op SET due = ? WHERE state = 2 AND due > ? AND reason IN ('network', 'auth')";
const hastenAuth = `UPDATE op SET due = ? WHERE state = 2 AND reason = 'auth' AND channel IN (SELECT id FROM channel WHERE subject = ?)`;
const flying = `SELECT ${briefColumns} FROM op WHERE state = 3 ORDER BY seq`;
const seqsOfChannel = "SELECT seq FROM op WHERE channel = ? AND state < 8";
const hashedBySeq = `SELECT ${hashedColumns}, hash, state, outcome, bytes FROM op WHERE seq = ?`;
const setHash = "UPDATE op SET hash = ? WHERE seq = ?";
const removeRow = "DELETE FROM op WHERE seq = ? RETURNING state, outcome, channel, bytes";
const standingOf = "SELECT state, outcome, channel, bytes FROM op WHERE seq = ?";

/** What holds for an operation whose options storage has changed: it holds its lane and is never sent twice unasked. */
const cautious: Options = { onFailure: "hold", onCrash: "ask" };

/** Most operations have no options, and most rows are read several times. */
const none: Options = Object.freeze({});

/** The scheduling part of a row that was read whole. */
export const toBrief = (row: Row): Brief => ({
  seq: integer(row.seq),
  id: text(row.id),
  type: text(row.type),
  channel: integer(row.channel),
  lane: text(row.lane),
  position: integer(row.position),
  priority: integer(row.priority),
  rank: integer(row.rank),
  state: integer(row.state) as State,
  waits: integer(row.waits),
  due: integer(row.due),
  since: integer(row.since),
  lease: integer(row.lease),
  attempts: integer(row.attempts),
  failures: integer(row.failures),
  streak: integer(row.streak),
  generation: integer(row.generation),
  isUnsure: integer(row.unsure) === 1,
  rounds: integer(row.rounds),
  revision: integer(row.revision),
  created: integer(row.created),
  expires: integerOrNull(row.expires),
  dedupe: textOrNull(row.dedupe),
  group: textOrNull(row.grp),
  creates: textOrNull(row.creates),
  options: row.options === "{}" ? none : parsed<Options>(text(row.options), cautious),
  reason: textOrNull(row.reason) as Reason | null,
  outcome: textOrNull(row.outcome) as Outcome | null,
});

/**
 * Runs a change of covered columns and renews the hash. A row that storage had changed before keeps its old hash, so that nothing but a
 * person's own edit of its payload makes it pass for genuine again.
 */
function changeHashed(store: Store, seq: number, change: () => void): void {
  const before = store.db.prepare(hashedBySeq).get(seq);
  change();
  const now = before !== undefined && isGenuine(store, before) ? store.db.prepare(hashedBySeq).get(seq) : undefined;
  if (now !== undefined) store.db.prepare(setHash).run(store.world.hash(hashedText(now)), seq);
}

export function insertOperation(store: Store, row: NewRow): void {
  const { seq, id, type, version, channel, position, priority, rank, now, created, options, payload, bytes } = row;
  countRow(store, { state: row.state, outcome: null, channel, bytes }, 1);
  const hash = store.world.hash(hashedText(row));
  const cells = [
    seq,
    id,
    type,
    version,
    channel,
    position,
    priority,
    rank,
    now,
    created,
    options,
    payload,
    hash,
    bytes,
  ];
  if (isPlainRow(row)) {
    store.db.prepare(insertPlain).run(...cells);
    return;
  }
  const { lane, state, waits, due, expires, dedupe, grp, creates, reason } = row;
  const rest = [lane, state, waits, due, expires, dedupe, grp, creates, reason, isStanding(row) ? 1 : 0];
  store.db.prepare(insert).run(...cells, ...rest);
}

/** Whether a row is ready in no lane and says nothing that is rarely said. */
const isPlainRow = ({ state, lane, due, expires, dedupe, grp, creates }: NewRow): boolean =>
  state === State.ready && lane === "" && due === 0 && (expires ?? dedupe ?? grp ?? creates) === null;

/** Writes plain rows of the same terms, many by one statement. */
export function insertAlikeRows(store: Store, terms: RowTerms, rows: readonly RowApart[]): void {
  let from = 0;
  for (const { rows: many, sql } of insertsOfAlike) {
    for (; rows.length - from >= many; from += many)
      insertTogether(store, terms, { rows: rows.slice(from, from + many), sql });
  }
  for (const row of rows.slice(from)) insertOperation(store, { ...terms, ...row });
}

function insertTogether(
  store: Store,
  terms: RowTerms,
  { rows, sql }: { readonly rows: readonly RowApart[]; readonly sql: string },
): void {
  const { type, version, channel, priority, now, created, options } = terms;
  const cells: SqlValue[] = [type, version, channel, priority, now, created, options];
  const hashed = hashedTerms(terms);
  let size = 0;
  for (const { seq, id, position, rank, payload, bytes } of rows) {
    size += bytes;
    cells.push(seq, id, position, rank, payload, store.world.hash(id + hashed + payload), bytes);
  }
  countRows(store, { state: State.ready, outcome: null, channel, bytes: size }, rows.length);
  store.db.prepare(sql).run(...cells);
}

/** Whether a row counts in its lane. The column `standing` says so too: an index that named the state would be written at each change of it. */
export const isStanding = ({ lane, state }: Pick<Brief, "lane" | "state">): boolean =>
  lane !== "" && state < State.aside;

/** A row has gone from one state to another; coming to its lane or leaving it is rare. */
function changeStanding(store: Store, seq: number, { from, to }: { readonly from: State; readonly to: State }): void {
  if (from < State.aside !== to < State.aside) store.db.prepare(setStanding).run(seq);
}

function getCounted(store: Store, seq: number): Counted | null {
  const row = store.db.prepare(standingOf).get(seq);
  return row === undefined ? null : toCounted(row);
}

export function getBrief(store: Store, seq: number): Brief | null {
  const row = store.db.prepare(briefBySeq).get(seq);
  return row === undefined ? null : toBrief(row);
}

export function findById(store: Store, id: string): Brief | null {
  const row = store.db.prepare(briefById).get(id);
  return row === undefined ? null : toBrief(row);
}

/** The whole row; the caller has found its sequence in the same transaction. */
export function getRow(store: Store, seq: number): Row {
  const row = store.db.prepare(fullBySeq).get(seq);
  assert(row !== undefined, `operation ${seq} vanished within a transaction`);
  return row;
}

/** Makes room behind a position: for those that stand in the lane and those that may come back to it. */
export function shiftPlaces(store: Store, lane: string, position: number, room: number): void {
  for (const shift of [shiftStanding, shiftAside]) store.db.prepare(shift).run(room, lane, position);
}

export function setSchedule(
  store: Store,
  seq: number,
  to: { readonly state: State; readonly reason: Reason | null; readonly due: number },
): void {
  const before = getCounted(store, seq);
  if (before === null) return;
  countChange(store, before, { state: to.state });
  store.db.prepare(schedule).run(to.state, to.reason, to.due, store.world.now(), seq);
  changeStanding(store, seq, { from: before.state, to: to.state });
}

/** `op` has just been read: it is ready, or waits behind a head that goes with it. */
export function leaseOperation(store: Store, op: Pick<Brief, "seq" | "state">, epoch: number): void {
  addCount(store, op.state, -1);
  addCount(store, State.inFlight, 1);
  store.db.prepare(lease).run(epoch, store.world.now(), op.seq);
}

/** Takes a lease back whose attempt has not begun, as if it had never been given; tells whether it still held. */
export function returnLease(store: Store, seq: number, epoch: number): boolean {
  if (store.db.prepare(unlease).run(store.world.now(), seq, epoch).changes === 0) return false;
  addCount(store, State.inFlight, -1);
  addCount(store, State.waiting, 1);
  return true;
}

/** `op` says where the row is now: the caller has just read it. */
export function finishOperation(
  store: Store,
  op: Pick<Brief, "seq" | "state" | "outcome" | "channel">,
  end: { readonly outcome: Outcome; readonly result: Json; readonly problem: Problem | null },
): void {
  countChange(
    store,
    { state: op.state, outcome: op.outcome, channel: op.channel, bytes: 0 },
    { state: State.done, outcome: end.outcome },
  );
  const now = store.world.now();
  const result = end.result === null ? null : JSON.stringify(end.result);
  store.db
    .prepare(finish)
    .run(end.outcome, result, end.problem === null ? null : JSON.stringify(end.problem), now, now, op.seq);
}

/** Ends what is in flight under this lease, without having read its row; returns its channel, or `null` when the lease was lost. */
export function finishLeased(
  store: Store,
  leased: { readonly seq: number; readonly epoch: number },
  end: { readonly outcome: Outcome; readonly result: Json },
): number | null {
  const now = store.world.now();
  const result = end.result === null ? null : JSON.stringify(end.result);
  const row = store.db.prepare(finishLeasedRow).get(end.outcome, result, null, now, now, leased.seq, leased.epoch);
  if (row === undefined) return null;
  const channel = integer(row.channel);
  const before = { state: State.inFlight, outcome: null, channel, bytes: 0 };
  countChange(store, before, { state: State.done, outcome: end.outcome });
  return channel;
}

export type Failure = {
  readonly state: State;
  readonly reason: Reason;
  readonly due: number;
  readonly failures: number;
  readonly streak: number;
  readonly isUnsure: boolean;
  readonly problem: Problem;
  readonly remoteVersion: Json;
};

export function failOperation(store: Store, seq: number, failure: Failure): void {
  const before = getCounted(store, seq);
  if (before === null) return;
  countChange(store, before, { state: failure.state });
  const remote = failure.remoteVersion === null ? null : JSON.stringify(failure.remoteVersion);
  store.db
    .prepare(failRow)
    .run(
      failure.state,
      failure.reason,
      failure.due,
      store.world.now(),
      failure.failures,
      failure.streak,
      failure.isUnsure ? 1 : 0,
      JSON.stringify(failure.problem),
      remote,
      seq,
    );
  changeStanding(store, seq, { from: before.state, to: failure.state });
}

export function lowerRank(store: Store, seq: number, rank: number): void {
  store.db.prepare(setRank).run(rank, seq);
}

/** Adds to the count of open dependencies and returns what is left. */
export function addWaits(store: Store, seq: number, change: number): number {
  return integer(store.db.prepare(setWaits).get(change, seq)?.waits);
}

export function placeOperation(store: Store, seq: number, lane: string, position: number): void {
  changeHashed(store, seq, () => store.db.prepare(setPlace).run(lane, position, lane, seq));
}

export function replacePayload(
  store: Store,
  { seq, version, channel }: { readonly seq: number; readonly version: number; readonly channel: number },
  payload: string,
): void {
  const before = store.db.prepare(hashedBySeq).get(seq);
  if (before === undefined) return;
  const bytes = textBytes(payload);
  countChange(store, toCounted(before), { channel, bytes });
  const hash = store.world.hash(hashedText({ ...before, version, channel, payload }));
  store.db.prepare(setPayload).run(payload, bytes, version, hash, seq);
  // Naming a column has SQLite write the indexes that hold it again, even where its value stays.
  if (before.channel !== channel) store.db.prepare(setChannel).run(channel, seq);
}

/** The operation stays where it stands in its lane; other gates decide now whether it may go. */
export function changeChannel(store: Store, seq: number, channel: number): void {
  countChange(store, getCounted(store, seq), { channel });
  changeHashed(store, seq, () => store.db.prepare(setChannel).run(channel, seq));
}

export function replaceTerms(
  store: Store,
  seq: number,
  terms: {
    readonly priority: number;
    readonly rank: number;
    readonly expires: number | null;
    readonly options: Options;
  },
): void {
  const { priority, rank, expires, options } = terms;
  changeHashed(store, seq, () => store.db.prepare(setTerms).run(priority, rank, expires, JSON.stringify(options), seq));
}

/** Gives an operation a fresh budget; a higher generation is a new idempotency key. */
export function resetBudget(
  store: Store,
  seq: number,
  to: { readonly generation: number; readonly isUnsure: boolean; readonly rounds: number },
): void {
  changeHashed(store, seq, () => store.db.prepare(setReset).run(to.generation, to.isUnsure ? 1 : 0, to.rounds, seq));
}

export function saveProgress(store: Store, seq: number, progress: Progress): void {
  store.db.prepare(setProgress).run(JSON.stringify(progress), seq);
}

/** Saves a checkpoint if the lease still holds; tells whether it did. */
export function saveCheckpoint(
  store: Store,
  seq: number,
  epoch: number,
  state: { readonly checkpoint: Json; readonly progress: Progress | null },
): boolean {
  const progress = state.progress === null ? null : JSON.stringify(state.progress);
  return store.db.prepare(setCheckpoint).run(JSON.stringify(state.checkpoint), progress, seq, epoch).changes === 1;
}

/** `null`: whatever is queued under its key from now on has nothing to do with it. */
export function setDedupe(store: Store, seq: number, key: string | null): void {
  changeHashed(store, seq, () => store.db.prepare(setKey).run(key, seq));
}

/** The wall clock went back: what was planned after a delay keeps that delay. Times that a person chose stay. */
export function shiftDelays(store: Store, byMs: number): void {
  store.db.prepare(shiftDue).run(byMs);
}

/**
 * Somebody wants it now: what waits for its next attempt need not wait any longer. Pauses that the remote asked for stay. What a person
 * brings forward is on top of the attempts that the policy has: a failure before is given back for the one that may follow, or asking a
 * few times would use up within seconds what was meant to last for hours.
 */
export function hastenRetries(store: Store): void {
  const now = store.world.now();
  for (const hasten of [hastenRetry, hastenDue]) store.db.prepare(hasten).run(now, now);
}

/** A subject has fresh credentials: what waited for a missing one looks again. */
export function hastenCredentials(store: Store, subject: string): number {
  return store.db.prepare(hastenAuth).run(store.world.now(), subject).changes;
}

/** Operations whose row says that they are on the wire. */
export function flyingOperations(store: Store): readonly Brief[] {
  return briefs(store.db.prepare(flying).all());
}

/** Leads what is queued for one channel to another: the remote has a new address. */
export function moveChannel(store: Store, from: number, to: number): void {
  for (const row of store.db.prepare(seqsOfChannel).all(from)) changeChannel(store, integer(row.seq), to);
}

export function deleteOperation(store: Store, seq: number): void {
  const removed = store.db.prepare(removeRow).get(seq);
  if (removed !== undefined) countRow(store, toCounted(removed), -1);
}

/** Reads briefs with a query of another file; the text must select `briefColumns`. */
export function briefs(rows: readonly Row[]): readonly Brief[] {
  return rows.map(toBrief);
}

export const selectBrief = `SELECT ${briefColumns} FROM op`;
