/**
 * Owns the table `conflict`: every conflict that arose, how it was decided and by whom.
 * When two sides meet is `overlay.ts`; what was chosen beforehand is `choices.ts`; the inbox's verbs are `inbox.ts`; the merge of fields is the rule `merge.ts`.
 */

import { isSameJson } from "../canonical.ts";
import type { Choice, ConflictKind, ConflictStatus, ConflictView, Decider, Sides } from "../conflict.ts";
import { defaultStrategies } from "../conflict.ts";
import type { Row, SqlValue } from "../database.ts";
import { chooseSide, mergeFields } from "../merge.ts";
import type { Json, Strategy } from "../operation.ts";
import type { Fields } from "../record.ts";
import { takeChoice } from "./choices.ts";
import type { CollectionInfo } from "./collections.ts";
import { record } from "./history.ts";
import { getSettings } from "./meta.ts";
import type { Brief } from "./queue.ts";
import type { RecordRow } from "./records.ts";
import { intact, reseal } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull, parsed, text, textOrNull } from "./store.ts";

/**
 * How often a rule may answer a refusal with another value before a person is asked. Where two sides merely met, every round means that
 * the server has moved once more: no rule gets tired of that, it goes out at growing distances (`resend.ts`).
 */
export const decisionRounds = 20;

/** Conflicts of one record that are kept whoever decided them. Beyond them what a person has decided stays, and what decided itself goes. */
export const keptDecisions = 100;

const columns = `conflict.seq AS seq, conflict.id AS id, conflict.status AS status, conflict.kind AS kind, conflict.collection AS collection,
  conflict.record AS record, conflict.op AS op, fields, base, local, remote, remote_version, remote_author, message, strategy, created, decided,
  decided_by, choice, outcome, detail, conflict.seal AS seal`;
const byId = `SELECT ${columns} FROM conflict WHERE id = ?`;
const openOf = `SELECT ${columns} FROM conflict WHERE record = ? AND status = 'open' ORDER BY seq DESC LIMIT 1`;
const openOfOperation = `SELECT ${columns} FROM conflict WHERE op = ? AND status = 'open' ORDER BY seq`;
const withdrawnOf = `SELECT ${columns} FROM conflict WHERE record = ? AND op = ? AND status = 'resolved' AND decided_by = 'withdrawal'`;
const lastDecided = `SELECT decided FROM conflict WHERE record = ? AND op = ? AND status = 'resolved' AND decided_by IN ('person', 'prechosen')
  ORDER BY seq DESC LIMIT 1`;
const insert = `INSERT INTO conflict (id, status, kind, collection, record, op, fields, base, local, remote, remote_version, remote_author,
  message, strategy, created, decided, decided_by, choice, outcome, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const refresh = `UPDATE conflict SET kind = ?, fields = ?, base = ?, local = ?, remote = ?, remote_version = ?, remote_author = ?, message = ?,
  strategy = ? WHERE seq = ?`;
const setDecided = `UPDATE conflict SET status = ?, decided = ?, decided_by = ?, choice = ?, outcome = ?, detail = ? WHERE seq = ?`;
const seqOf = "SELECT seq FROM conflict WHERE id = ?";
const undoable = `SELECT ${columns} FROM conflict WHERE record = ? AND status <> 'undone' ORDER BY seq DESC LIMIT ${keptDecisions}`;
// What is unsent may still ask when it was decided.
const isSpent = "status <> 'open' AND NOT EXISTS (SELECT 1 FROM op WHERE op.seq = conflict.op AND op.state < 8)";
const forgetOld = `DELETE FROM conflict WHERE seq IN (SELECT seq FROM conflict WHERE record > ? AND record <= ? AND decided < ? AND ${isSpent}
  ORDER BY record, seq LIMIT +?)`;
const crowded = "SELECT record FROM conflict WHERE record > ? AND record <= ? GROUP BY record HAVING count(*) > ?";
const forgetBeyond = `DELETE FROM conflict WHERE seq IN (SELECT seq FROM conflict WHERE record = ?1 AND seq <=
  (SELECT seq FROM conflict WHERE record = ?1 ORDER BY seq DESC LIMIT 1 OFFSET +?2) AND ${isSpent}
  AND decided_by IS NOT 'person' AND decided_by IS NOT 'prechosen' ORDER BY seq LIMIT +?3)`;
const countOpen = "SELECT count(*) AS n FROM conflict WHERE collection = ? AND status = 'open'";

/** How `mending.ts` puts rows right that storage has changed. */
export const conflictRepair = {
  read: "SELECT * FROM conflict WHERE seq = ?",
  seal: "UPDATE conflict SET seal = ? WHERE seq = ?",
  rewrite: `UPDATE conflict SET id = ?, status = ?, kind = ?, collection = ?, record = ?, op = ?, fields = ?, base = ?, local = ?, remote = ?,
  remote_version = ?, remote_author = ?, message = ?, strategy = ?, created = ?, decided = ?, decided_by = ?, choice = ?, outcome
  = ?, detail = ?, seal = ?   WHERE seq = ?`,
} as const;

/** Two sides of a record that dispute something. */
export type Meeting = {
  readonly info: CollectionInfo;
  readonly row: RecordRow;
  readonly op: Brief;
  readonly sides: Sides;
  readonly fields: readonly string[];
  readonly remoteVersion: number;
  readonly remoteAuthor: string;
  /** The change is one of several that are applied all or none. */
  readonly isAtomic: boolean;
};

export type Decided = {
  readonly how: "decided";
  readonly value: Fields | null;
  readonly strategy: Strategy;
  readonly choice: Choice;
  readonly by: Decider;
  readonly detail: Json;
};
export type Undecided = { readonly how: "manual"; readonly strategy: Strategy; readonly fields: readonly string[] };

/** What a row says in the same words as the view. */
type Told = Pick<
  ConflictView,
  | "id"
  | "status"
  | "kind"
  | "fields"
  | "base"
  | "local"
  | "remote"
  | "remoteVersion"
  | "remoteAuthor"
  | "message"
  | "strategy"
  | "decidedBy"
  | "choice"
>;

/** One row of `conflict`. */
export type ConflictRow = Told & {
  readonly seq: number;
  readonly collection: number;
  readonly record: number;
  readonly op: number | null;
  readonly created: number;
  readonly decided: number | null;
  readonly outcome: Fields | null;
  readonly detail: Json;
};

export const conflictColumns = columns;

const fieldsOf = (value: SqlValue | undefined): Fields | null =>
  parsed<Fields | null>(textOrNull(value) ?? "null", null);

export const toConflict = (cells: Row): ConflictRow => read(intact("conflict", cells));

const read = (row: Row): ConflictRow => ({
  seq: integer(row.seq),
  id: text(row.id),
  status: text(row.status) as ConflictStatus,
  kind: text(row.kind) as ConflictKind,
  collection: integer(row.collection),
  record: integer(row.record),
  op: integerOrNull(row.op),
  fields: parsed<readonly string[]>(text(row.fields), []),
  base: fieldsOf(row.base),
  local: fieldsOf(row.local),
  remote: fieldsOf(row.remote),
  remoteVersion: integer(row.remote_version),
  remoteAuthor: text(row.remote_author),
  message: text(row.message),
  strategy: text(row.strategy) as Strategy,
  created: integer(row.created),
  decided: integerOrNull(row.decided),
  decidedBy: textOrNull(row.decided_by) as Decider | null,
  choice: textOrNull(row.choice) as Choice | null,
  outcome: fieldsOf(row.outcome),
  detail: parsed<Json>(textOrNull(row.detail) ?? "null", null),
});

// ---- deciding -------------------------------------------------------------------------------------------------

/** Decides two sides by what was chosen beforehand, by the program's function, or by the declared strategy; else a person has to. */
export function decideSides(store: Store, meeting: Meeting): Decided | Undecided {
  const { info, sides, op, fields } = meeting;
  const strategy = info.spec.strategy?.[sides.kind] ?? defaultStrategies[sides.kind];
  const undecided: Undecided = { how: "manual", strategy, fields };
  const chosen = takeChoice(store, meeting.row.id, meeting.remoteVersion);
  if (chosen === "void") return undecided;
  if (chosen !== null) return byChoice(meeting, chosen, "prechosen") ?? undecided;
  if (isRefusal(sides.kind) && op.rounds >= decisionRounds) return undecided;
  if (isDecisionStale(store, meeting)) return undecided;
  const own = byFunction(store, meeting, strategy);
  if (own !== null) return own === "manual" ? undecided : own;
  return byStrategy(meeting, strategy) ?? { ...undecided, fields: disputedOf(meeting, strategy) };
}

function byFunction(store: Store, { info, sides }: Meeting, strategy: Strategy): Decided | "manual" | null {
  const { decide, decideVersion } = info.declared ?? {};
  const own = decide?.[sides.kind];
  if (own === undefined) return null;
  try {
    const decision = own(sides);
    if (decision === "manual") return "manual";
    const detail = { function: decideVersion ?? 1 };
    return { how: "decided", value: decision.value, strategy, choice: "value", by: "automatic", detail };
  } catch (error) {
    store.world.log("error", "a strategy function failed; a person is asked", {
      error: String(error),
      collection: info.name,
    });
    return "manual";
  }
}

function byStrategy(meeting: Meeting, strategy: Strategy): Decided | null {
  switch (strategy) {
    case "manual":
      return null;
    case "remote_wins":
      // One of several changes that belong together is not dropped by a rule: the others would go on alone.
      return meeting.isAtomic ? null : byChoice(meeting, "remote", "automatic");
    case "local_wins":
      return isRefusal(meeting.sides.kind) ? null : byChoice(meeting, "local", "automatic");
    case "merge":
      return byChoice(meeting, "merge", "automatic");
  }
}

/** The server refused the value itself, whatever it has: repeating it helps nobody. */
export const isRefusal = (kind: ConflictKind): boolean =>
  kind === "unique_violation" || kind === "business_rule" || kind === "data_inconsistency";

function byChoice(meeting: Meeting, choice: "local" | "remote" | "merge", by: Decider): Decided | null {
  const { sides, info } = meeting;
  const strategy = choice === "merge" ? "merge" : choice === "local" ? "local_wins" : "remote_wins";
  const decided = { how: "decided", strategy, choice, by, detail: null } as const;
  if (choice === "remote") return { ...decided, value: isRefusal(sides.kind) ? sides.base : remoteValue(meeting) };
  if (choice === "local") return { ...decided, value: localValue(sides) };
  if (isRefusal(sides.kind) || sides.local === null || sides.remote === null) return null;
  const merged = mergeFields({ base: sides.base, local: sides.local, remote: sides.remote }, info.spec.merge ?? {});
  if (merged.disputed.length > 0) return null;
  return { ...decided, value: merged.value, detail: merged.decisions as unknown as Json };
}

/** The local side over what the server has by now: fields that only the server changed stay as they are there. */
export function localValue({ base, local, remote, kind }: Sides): Fields | null {
  if (local === null || remote === null || isRefusal(kind)) return local;
  return mergeFields({ base, local, remote }, {}).value;
}

/** The remote side in what is in dispute; what else was changed here stays, as what else was changed there does when the local side is chosen. */
function remoteValue({ sides: { base, local, remote }, info, fields }: Meeting): Fields | null {
  if (local === null || remote === null) return remote;
  return chooseSide({ base, local, remote }, { rules: info.spec.merge ?? {}, disputed: fields, side: "remote" });
}

/** What a person is asked about: the fields that no rule decides. */
export function disputedOf({ sides, info, fields }: Meeting, strategy: Strategy): readonly string[] {
  if (strategy !== "merge" || sides.local === null || sides.remote === null || isRefusal(sides.kind)) return fields;
  return mergeFields({ base: sides.base, local: sides.local, remote: sides.remote }, info.spec.merge ?? {}).disputed;
}

/** A decision that has waited too long to be sent is asked again when the server has moved meanwhile. */
function isDecisionStale(store: Store, { row, op }: Meeting): boolean {
  const decided = integerOrNull(store.db.prepare(lastDecided).get(row.id, op.seq)?.decided);
  return decided !== null && store.world.now() - decided > getSettings(store).conflictStaleMs;
}

// ---- keeping --------------------------------------------------------------------------------------------------

/** Opens a conflict for a person, or brings the open one of the same change up to date. Returns its sentence. */
export function openConflict(store: Store, meeting: Meeting, verdict: Undecided, words?: string): string {
  const { info, row, op, sides } = meeting;
  const message = words ?? sentenceOf(meeting, verdict.fields);
  const known = openConflictsOfOperation(store, op.seq).find((each) => each.record === row.id);
  const sideTexts = [jsonOf(sides.base), jsonOf(sides.local), jsonOf(sides.remote)] as const;
  if (known !== undefined) {
    store.db
      .prepare(refresh)
      .run(
        sides.kind,
        JSON.stringify(verdict.fields),
        ...sideTexts,
        meeting.remoteVersion,
        meeting.remoteAuthor,
        message,
        verdict.strategy,
        known.seq,
      );
    reseal(store, "conflict", conflictRepair, known.seq);
    tellConflict(store, known.id, { state: "changed", kind: sides.kind, collection: info.name, key: row.key });
    return message;
  }
  addConflict(store, meeting, {
    status: "open",
    fields: verdict.fields,
    strategy: verdict.strategy,
    message,
    decided: null,
  });
  return message;
}

/** Keeps what a rule has decided, with the side that lost. */
export function noteDecision(store: Store, meeting: Meeting, decided: Decided): void {
  const message = sentenceOf(meeting, meeting.fields);
  addConflict(store, meeting, {
    status: "resolved",
    fields: meeting.fields,
    strategy: decided.strategy,
    message,
    decided,
  });
}

type NewConflict = {
  readonly status: ConflictStatus;
  readonly fields: readonly string[];
  readonly strategy: Strategy;
  readonly message: string;
  readonly decided: Decided | null;
};

function addConflict(store: Store, meeting: Meeting, row: NewConflict): void {
  const { info, row: about, op, sides } = meeting;
  const id = store.world.newId();
  const now = store.world.now();
  const { decided } = row;
  store.db
    .prepare(insert)
    .run(
      id,
      row.status,
      sides.kind,
      info.id,
      about.id,
      op.seq,
      JSON.stringify(row.fields),
      jsonOf(sides.base),
      jsonOf(sides.local),
      jsonOf(sides.remote),
      meeting.remoteVersion,
      meeting.remoteAuthor,
      row.message,
      row.strategy,
      now,
      decided === null ? null : now,
      decided?.by ?? null,
      decided?.choice ?? null,
      jsonOf(decided?.value ?? null),
      decided === null ? null : JSON.stringify({ before: sides.local, how: decided.detail }),
    );
  sealNewest(store, id);
  const state = row.status === "open" ? "opened" : "decided";
  tellConflict(store, id, { state, kind: sides.kind, collection: info.name, key: about.key });
}

function sealNewest(store: Store, id: string): void {
  reseal(store, "conflict", conflictRepair, integer(store.db.prepare(seqOf).get(id)?.seq));
}

const jsonOf = (value: Fields | null): string | null => (value === null ? null : JSON.stringify(value));

function sentenceOf({ info, row, sides }: Meeting, fields: readonly string[]): string {
  const named = fields.length === 0 ? "" : `: ${fields.join(", ")}`;
  const what = `"${row.key}" of "${info.name}"`;
  switch (sides.kind) {
    case "version_mismatch":
      return `${what} was changed here and on the server${named}`;
    case "deleted_upstream":
      return `${what} was changed here and removed on the server`;
    case "deleted_here":
      return `${what} was removed here and changed on the server`;
    case "unique_violation":
      return `another record of "${info.name}" has the value of ${what}${named}`;
    default:
      return `the server refused ${what}${named}`;
  }
}

export function findConflict(store: Store, id: string): ConflictRow | null {
  const row = store.db.prepare(byId).get(id);
  return row === undefined ? null : toConflict(row);
}

/** The open conflict of a record, when there is one. */
export function openConflictOf(store: Store, recordId: number): string | null {
  return textOrNull(store.db.prepare(openOf).get(recordId)?.id);
}

/** Since when the history of a record is needed: by its open conflict, or by a decision that can still be taken back. */
export function conflictNeedsSince(store: Store, recordId: number, value: string | null): number {
  const rows = store.db.prepare(undoable).all(recordId).map(toConflict);
  const now = value === null ? null : (JSON.parse(value) as Fields);
  const needing = rows.filter(({ status, outcome }) => status === "open" || isSameJson(outcome as Json, now as Json));
  return Math.min(Number.MAX_SAFE_INTEGER, ...needing.map(({ created }) => created));
}

/**
 * Forgets decided conflicts of some records, some at a time: what was decided before an instant, and what rules have decided beyond the
 * newest of one record, which else a busy counter would fill a disk with. Returns how many.
 */
export function forgetDecided(
  store: Store,
  range: { readonly after: number; readonly to: number },
  { before, limit }: { readonly before: number; readonly limit: number },
): number {
  let forgotten = store.db.prepare(forgetOld).run(range.after, range.to, before, limit).changes;
  for (const row of store.db.prepare(crowded).all(range.after, range.to, keptDecisions))
    forgotten += store.db.prepare(forgetBeyond).run(integer(row.record), keptDecisions, limit).changes;
  return forgotten;
}

/** Open conflicts that one operation is parked for. */
export function openConflictsOfOperation(store: Store, op: number): readonly ConflictRow[] {
  return store.db.prepare(openOfOperation).all(op).map(toConflict);
}

/** What was asked about a record for an operation that was given up. */
export function withdrawnOn(store: Store, record: number, op: number | null): readonly ConflictRow[] {
  return store.db.prepare(withdrawnOf).all(record, op).map(toConflict);
}

export function openConflictsOf(store: Store, collection: number): number {
  return integer(store.db.prepare(countOpen).get(collection)?.n);
}

export type Settlement = {
  readonly status: ConflictStatus;
  readonly by: Decider | null;
  readonly choice: Choice | null;
  readonly outcome: Fields | null;
  readonly detail: Json;
};

export function settleConflict(store: Store, conflict: ConflictRow, to: Settlement): void {
  const decided = conflict.decided ?? store.world.now();
  store.db
    .prepare(setDecided)
    .run(to.status, decided, to.by, to.choice, jsonOf(to.outcome), JSON.stringify(to.detail), conflict.seq);
  reseal(store, "conflict", conflictRepair, conflict.seq);
  tellConflict(store, conflict.id, { state: to.status, choice: to.choice });
}

/** An operation, or its change of one record, has ended, one way or the other: nothing is left to decide about it. */
export function closeConflicts(
  store: Store,
  op: number,
  how: {
    readonly by: "agreement" | "withdrawal";
    readonly choice: Choice;
    readonly outcomeOf: (record: number) => Fields | null;
    readonly record?: number;
  },
): void {
  const { by, choice, outcomeOf, record } = how;
  for (const conflict of openConflictsOfOperation(store, op)) {
    if (record !== undefined && conflict.record !== record) continue;
    const detail = { before: conflict.local };
    const outcome = outcomeOf(conflict.record);
    settleConflict(store, conflict, { status: "resolved", by, choice, outcome, detail });
  }
}

function tellConflict(store: Store, id: string, detail: { readonly [name: string]: Json }): void {
  record(store, { op: 0, id: null, kind: "conflict", status: null, detail: { conflict: id, ...detail } });
}

/** One conflict as clients see it. */
export function toConflictView(
  store: Store,
  conflict: ConflictRow,
  of: {
    readonly collection: string;
    readonly key: string;
    readonly operation: string | null;
    readonly isUnsent: boolean;
  },
): ConflictView {
  const since = conflict.decided ?? conflict.created;
  const isOld = store.world.now() - since > getSettings(store).conflictStaleMs;
  return {
    id: conflict.id,
    status: conflict.status,
    kind: conflict.kind,
    collection: of.collection,
    key: of.key,
    operation: of.operation,
    fields: conflict.fields,
    base: conflict.base,
    local: conflict.local,
    remote: conflict.remote,
    remoteVersion: conflict.remoteVersion,
    remoteAuthor: conflict.remoteAuthor,
    message: conflict.message,
    strategy: conflict.strategy,
    createdAt: conflict.created,
    decidedAt: conflict.decided,
    decidedBy: conflict.decidedBy,
    choice: conflict.choice,
    outcome: conflict.outcome,
    isStale: isOld && (conflict.status === "open" || of.isUnsent),
  };
}
