/**
 * Owns changes of records that come from elsewhere: from another device's bundle, or queued by hand. They are replayed here as if they had been written here.
 * Writes of this device are `writes.ts`; the form of a bundle is the rule `bundle.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import type { Change, Fields, RecordWrite } from "../record.ts";
import { applyChange } from "../record.ts";
import type { AddInput, Receipt } from "../verbs.ts";
import { collectionOf, requireCollection } from "./collections.ts";
import { addOperation } from "./enqueue.ts";
import { rewritePayload } from "./ids.ts";
import { groundOf, replay } from "./overlay.ts";
import { changePending, pendingsOfOperation } from "./pending.ts";
import { checkRecordWrite, clientId } from "./push.ts";
import { findById } from "./queue.ts";
import { findRecord, getRecord } from "./records.ts";
import { spaceNameOf, syncPlace } from "./spaces.ts";
import type { Store } from "./store.ts";
import type { Draft } from "./writes.ts";
import { declareKey, keep, needsOf, openDraft, tellRecords } from "./writes.ts";

/** What each change was made on, in the order of the payload, as far as the bundle says; without it the record here is taken for it. */
export type Bases = readonly (Fields | null | undefined)[];

/** Queues changes of records under their own id; the view shows them at once, over what this device knows of the server. */
export function adoptWrite(store: Store, input: AddInput, bases: Bases = []): Receipt {
  const known = input.id === undefined ? null : findById(store, input.id);
  if (known !== null) return addOperation(store, input, []);
  // A key that the server has given meanwhile, in answer to a bundle of before, is the key here.
  const payload = checkRecordWrite(rewritePayload(store, undefined, input.payload as Json));
  refuseRepeats(payload);
  clientId(store);
  const drafts = payload.changes.map((each, place) => draftOf(store, payload, each, bases[place]));
  // They go to this device's server, in this device's name, whoever wrote them.
  const { remote: _, ...plain } = input;
  const subject = input.subject || syncPlace(store).subject;
  const receipt = addOperation(
    store,
    { ...plain, subject, payload: payload as unknown as Json },
    needsOf(store, drafts),
  );
  for (const draft of drafts) if (draft.row === null) declareKey(store, draft, receipt);
  const sending = { id: receipt.id, seq: receipt.sequence, warning: receipt.warning, changes: payload.changes };
  for (const draft of drafts) keep(store, draft, { origin: "import" }, sending);
  tellRecords(store, drafts, "import");
  return receipt;
}

/** A record is changed once by what is applied all or none. */
function refuseRepeats({ changes }: RecordWrite): void {
  const names = changes.map(({ collection, key }) => JSON.stringify([collection, key]));
  const repeated = changes.find((_, at) => names.indexOf(names[at] ?? "") !== at);
  if (repeated === undefined) return;
  throw new HoldfastError(
    "invalid_input",
    `the record "${repeated.key}" of "${repeated.collection}" is changed twice by one operation`,
    "make one change of both",
  );
}

function draftOf(store: Store, payload: RecordWrite, change: Change, base: Fields | null | undefined): Draft {
  const info = requireCollection(store, change.collection);
  const space = spaceNameOf(store, payload.space);
  if (space !== info.space) {
    throw new HoldfastError(
      "refused_by_state",
      `the change of "${change.key}" belongs to space "${space}"; collection "${info.name}" is of space "${info.space}" here`,
      "import it where that space is synced, or write the record anew here",
    );
  }
  const row = findRecord(store, info, change.key);
  const draft = openDraft(info, row?.key ?? change.key, row);
  const ground = change.kind === "update" ? (draft.before ?? base ?? {}) : draft.before;
  return { ...draft, after: applyChange(ground, change) };
}

/** With what it was made on, a change that was disputed elsewhere is disputed here too, and decided by the same rules. */
export function standOn(store: Store, seq: number, bases: Bases): void {
  for (const pending of pendingsOfOperation(store, seq)) {
    const told = bases[pending.place];
    const row = getRecord(store, pending.record);
    if (told === undefined || row === null) continue;
    const base = told === null ? null : (rewritePayload(store, undefined, told) as Fields);
    changePending(store, pending, base === null ? null : JSON.stringify(base), pending.change);
    // What this device has not read yet, or only in an older version, says nothing about the change: the pull will.
    if (row.version === 0 || row.version < pending.change.base) continue;
    replay(store, collectionOf(store, row.collection), row, groundOf(row), { origin: "import", run: null });
  }
}
