/**
 * Owns putting a conflict right whose row is broken: an open one reads its sides again from the record, a decided one says that they are gone.
 * Everything else about conflicts is `conflicts.ts`; the order of mending is `mending.ts`.
 */
import { conflictKinds, conflictStatuses } from "../conflict.ts";
import type { Row } from "../database.ts";
import type { Fields } from "../record.ts";
import { applyChange } from "../record.ts";
import { rewriteSealed } from "./mending-writes.ts";
import type { Overlay } from "./pending.ts";
import { isIntact } from "./row-seal.ts";
import type { Store } from "./store.ts";
import { integer, parsed, text, textOrNull } from "./store.ts";

const pendingRow = "SELECT * FROM pending WHERE record = ? AND op = ?";
const recordRow = "SELECT * FROM record WHERE id = ?";
const parkedOp = "SELECT 1 AS n FROM op WHERE seq = ? AND state IN (5, 6) AND reason = 'conflict'";

type Sides = { readonly base: string | null; readonly local: string | null; readonly remote: string | null };

/** `open`: its sides were read again; `closed`: nothing can be decided or taken back in it any more. */
export function mendConflict(store: Store, row: Row): "proven" | "open" | "closed" {
  const now = store.db.prepare(recordRow).get(row.record ?? 0);
  const sides = sidesOf(store, row, now);
  const guesses: readonly Row[] = [
    ...conflictStatuses.map((status) => ({ status })),
    ...conflictKinds.map((kind) => ({ kind })),
    ...(sides === null ? [] : [{ base: sides.base }, { local: sides.local }, { remote: sides.remote }]),
  ];
  const found = guesses.map((guess) => ({ ...row, ...guess })).find((each) => isIntact("conflict", each));
  if (found !== undefined) {
    rewriteSealed(store, "conflict", found);
    return "proven";
  }
  const isOpen = sides !== null && store.db.prepare(parkedOp).get(row.op ?? 0) !== undefined;
  const plain = {
    ...row,
    id: textOrNull(row.id) ?? store.world.newId(),
    kind: conflictKinds.find((kind) => kind === row.kind) ?? "version_mismatch",
    collection: integer(now?.collection ?? row.collection),
    record: integer(row.record),
    fields: Array.isArray(parsed<unknown>(text(row.fields), null)) ? text(row.fields) : "[]",
    remote_author: text(row.remote_author),
    strategy: "manual",
    created: integer(row.created),
  };
  if (isOpen) {
    const message = "the storage had changed this entry; its sides were read again from the record";
    const open = { status: "open", decided: null, decided_by: null, choice: null, outcome: null, detail: null };
    rewriteSealed(store, "conflict", { ...plain, ...open, ...sides, message, remote_version: integer(now?.version) });
    return "open";
  }
  const message = "the storage has changed this entry; what its sides were is not known, see the record's history";
  const closed = { status: "resolved", decided: integer(row.created), decided_by: null, choice: null, outcome: null };
  const empty = { base: null, local: null, remote: null, detail: null, remote_version: 0 };
  rewriteSealed(store, "conflict", { ...plain, ...closed, ...empty, message });
  return "closed";
}

function sidesOf(store: Store, row: Row, now: Row | undefined): Sides | null {
  const pending = store.db.prepare(pendingRow).get(row.record ?? 0, row.op ?? 0);
  if (pending === undefined || now === undefined || !isIntact("record", now)) return null;
  const base = textOrNull(pending.base_value);
  const remote = textOrNull(now.snapshot);
  const change = parsed<Overlay>(text(pending.overlay), { kind: "update", base: 0, fields: {}, schema: 1 });
  const value = applyChange(parsed<Fields | null>(base ?? remote ?? "null", null), change);
  return { base, remote, local: value === null ? null : JSON.stringify(value) };
}
