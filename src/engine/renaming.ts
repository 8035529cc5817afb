/**
 * Owns what changes when the server gives a record its key: the row, the references in queue and records, the alias, in one transaction.
 * Who learns the key is `overlay.ts`; aliases are kept by `ids.ts`.
 */
import type { CollectionInfo } from "./collections.ts";
import { collectionOf } from "./collections.ts";
import { declareLocalId, getAlias } from "./ids.ts";
import { groundOf } from "./overlay.ts";
import { changePending, movePendings, pendingsOf } from "./pending.ts";
import type { Brief } from "./queue.ts";
import { logRecord, moveLog } from "./record-log.ts";
import type { RecordRow } from "./records.ts";
import { dropRecord, findRecord, getRecord, renamedText, saveRecord, setRecordKey, takeMentions } from "./records.ts";
import { openRunId } from "./runs.ts";
import { assignServerId } from "./settle.ts";
import type { Store } from "./store.ts";
import { tellKeys } from "./writes.ts";

type Renaming = {
  readonly info: CollectionInfo;
  readonly row: RecordRow;
  readonly op: Brief;
  readonly server: string;
};

/** The server has named a record: key, references in queue and records, and alias change together. */
export function renameRecord(store: Store, { info, row, op, server }: Renaming): RecordRow {
  if (server === row.key) return row;
  if (getAlias(store, row.key) === null) declareLocalId(store, row.key, { seq: op.seq, id: op.id, isFree: () => true });
  nameMentions(store, row.key, server);
  const mine = getRecord(store, row.id) ?? row;
  const twin = findRecord(store, info, server);
  const merged = twin === null || twin.id === row.id ? mine : absorb(store, mine, twin);
  setRecordKey(store, row.id, server);
  return { ...merged, key: server };
}

/** A local id has a server's id: what is queued and every record that mentions it says so. Returns how many operations changed. */
export function nameMentions(store: Store, local: string, server: string): number {
  const mentioning = takeMentions(store, local);
  const rewritten = assignServerId(store, local, server);
  for (const each of mentioning) renameIn(store, each, { local, server });
  return rewritten;
}

/** The server's record came by pull before the answer that names it: both rows are one. */
function absorb(store: Store, mine: RecordRow, twin: RecordRow): RecordRow {
  movePendings(store, twin.id, mine.id);
  moveLog(store, twin.id, mine.id);
  dropRecord(store, twin);
  const ground = groundOf(twin);
  const pendings = pendingsOf(store, mine.id).length;
  const merged: RecordRow = { ...mine, ...ground, pendings, pinned: Math.max(mine.pinned, twin.pinned) };
  saveRecord(store, mine, merged);
  return merged;
}

function renameIn(store: Store, row: RecordRow, id: { readonly local: string; readonly server: string }): void {
  const value = renamedText(row.value, id.local, id.server);
  for (const pending of pendingsOf(store, row.id)) {
    const fields = renamedText(JSON.stringify(pending.change), id.local, id.server);
    changePending(store, pending, renamedText(pending.baseValue, id.local, id.server), JSON.parse(fields ?? "{}"));
  }
  if (value === row.value) return;
  saveRecord(store, row, { ...row, value, changed: store.world.now() });
  logRecord(store, {
    record: row.id,
    origin: "push",
    run: openRunId(store),
    version: row.version,
    before: row.value,
    after: value,
    schema: row.schema,
    detail: { renamed: id.local, to: id.server },
  });
  tellKeys(store, collectionOf(store, row.collection).name, [row.key], "push");
}
