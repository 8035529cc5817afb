/**
 * Owns that the server's side of a decision is not forgotten where it loses: it goes into the record's history, though no view ever showed it.
 * The history's table is `record-log.ts`; our own side stands there since it was written; what decides is `conflicts.ts` and `inbox.ts`.
 */
import { isSameJson } from "../canonical.ts";
import type { Choice, ConflictKind } from "../conflict.ts";
import type { FieldRule } from "../merge.ts";
import type { Fields } from "../record.ts";
import type { CollectionInfo } from "./collections.ts";
import { isRefusal } from "./conflicts.ts";
import { logRecord } from "./record-log.ts";
import type { RecordRow } from "./records.ts";
import { fieldsOf, localFieldsOf } from "./records.ts";
import type { Store } from "./store.ts";

export type Losing = {
  readonly info: CollectionInfo;
  /** As it is before the decision. */
  readonly row: RecordRow;
  readonly kind: ConflictKind;
  readonly base: Fields | null;
  readonly remote: Fields | null;
  readonly version: number;
  readonly choice: Choice;
  readonly outcome: Fields | null;
  /** Fields that no rule decided. */
  readonly disputed: readonly string[];
  readonly run: number | null;
};

/**
 * Notes what the server had, and that it did not stay: from the view to the server's value and back. So each entry goes on from where the one
 * before it ended, and `restore` brings the lost value back as it does any other. Called before the decision changes the view.
 */
export function logLosing(store: Store, losing: Losing): void {
  const { info, row, remote, version, run } = losing;
  if (remote === null || !isLost(losing)) return;
  const [mine, theirs] = [row.value, JSON.stringify({ ...remote, ...localFieldsOf(info, fieldsOf(row.value)) })];
  // A value of a newer program is kept as it came; every other one was brought forward before the sides met.
  const schema = Math.max(row.schema, info.version);
  const entry = { record: row.id, run, version };
  logRecord(store, { ...entry, origin: "pull", before: mine, after: theirs, former: row.schema, schema });
  logRecord(store, { ...entry, origin: "resolve", before: theirs, after: mine, former: schema, schema: row.schema });
}

/** Whether something that the server had changed is not in what was decided, neither as it was nor as a part of both sides. */
function isLost({ info, kind, base, remote, choice, outcome, disputed }: Losing): boolean {
  if (remote === null || isRefusal(kind)) return false;
  if (outcome === null) return true;
  const rules = info.spec.merge ?? {};
  const isJoined = (field: string): boolean =>
    (choice === "merge" || choice === "remote") &&
    !disputed.includes(field) &&
    Object.hasOwn(rules, field) &&
    joining.has(rules[field]?.rule ?? "critical");
  return [...new Set([...Object.keys(base ?? {}), ...Object.keys(remote)])].some(
    (field) =>
      !isSameJson(member(base, field), member(remote, field)) &&
      !isSameJson(member(outcome, field), member(remote, field)) &&
      !isJoined(field),
  );
}

/** Rules that make one value of both sides: neither loses. */
const joining: ReadonlySet<FieldRule["rule"]> = new Set(["counter", "set", "list", "text"]);

const member = (value: Fields | null, field: string) =>
  value !== null && Object.hasOwn(value, field) ? value[field] : undefined;
