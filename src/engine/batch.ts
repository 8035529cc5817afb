/**
 * Owns queueing several operations by one request. Plain ones are written together: what holds for all of them is looked up once, and
 * nothing asks for one of them before the request has ended. All others are queued one by one, by `enqueue.ts`.
 */
import { rankOf, State } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { AddInput, Receipt } from "../verbs.ts";
import type { Prepared } from "./enqueue.ts";
import { addOperation, insertNew, optionsOf, prepare, weighPayload } from "./enqueue.ts";
import { knowsAliases } from "./ids.ts";
import { positionGap } from "./lanes.ts";
import { channelFor } from "./meta.ts";
import { readOutset } from "./outset.ts";
import type { RowApart, RowTerms } from "./queue.ts";
import { insertAlikeRows } from "./queue.ts";
import type { Room } from "./retention.ts";
import { roomLeft } from "./retention.ts";
import type { Store } from "./store.ts";
import { takeSequence } from "./store.ts";

/** With these alone nothing has to be looked up among what is queued. */
const plainFields: ReadonlySet<string> = new Set<keyof AddInput>(["type", "payload", "lane", "subject"]);

/** Operations of one channel: what they have in common, and what of them is queued and not written yet. */
type Alike = { readonly terms: RowTerms; rows: RowApart[] };

type Batch = {
  readonly byChannel: Map<number, Alike>;
  /** What is left of the room that there was when the first one that is not written yet came. */
  room: Room | null;
  /** One moment for all. */
  readonly now: number;
};

/** Queues several in their order. */
export function addOperations(store: Store, inputs: readonly AddInput[]): Receipt[] {
  readOutset(store);
  const batch: Batch = { byChannel: new Map(), room: null, now: store.world.now() };
  const receipts = inputs.map((input) => add(store, input, batch));
  write(store, batch);
  return receipts;
}

function write(store: Store, batch: Batch): void {
  batch.room = null;
  for (const alike of batch.byChannel.values()) {
    insertAlikeRows(store, alike.terms, alike.rows);
    alike.rows = [];
  }
}

function add(store: Store, input: AddInput, batch: Batch): Receipt {
  const prepared = isPlain(input) ? prepare(store, input) : null;
  const receipt = prepared === null ? null : addPlain(store, prepared, batch);
  if (receipt !== null) return receipt;
  write(store, batch);
  return prepared === null ? addOperation(store, input) : insertNew(store, prepared);
}

function isPlain(input: AddInput): boolean {
  if (input.type === recordWriteType) return false;
  for (const field in input) if (!plainFields.has(field)) return false;
  return true;
}

/** `null`: it has a lane, may mention a local id, or room has to be made for it. */
function addPlain(store: Store, prepared: Prepared, batch: Batch): Receipt | null {
  if (prepared.lane !== "" || knowsAliases(store)) return null;
  const { written: payload, bytes } = weighPayload(prepared.payload);
  const room = batch.room ?? roomLeft(store);
  if (room.operations < 1 || room.bytes <= bytes) return null;
  batch.room = { operations: room.operations - 1, bytes: room.bytes - bytes };
  const { type, subject = "" } = prepared.input;
  const channel = channelFor(store, prepared.remote, type, subject).id;
  const alike = batch.byChannel.get(channel) ?? begin(store, prepared, { batch, channel });
  const { priority } = alike.terms;
  const seq = takeSequence(store);
  const id = store.world.newId();
  const rank = rankOf(seq, priority, store.ageing);
  alike.rows.push({ seq, id, position: seq * positionGap, rank, payload, bytes });
  return { id, sequence: seq, status: "pending", reason: null, isNew: true, warning: null };
}

function begin(
  store: Store,
  prepared: Prepared,
  { batch, channel }: { readonly batch: Batch; readonly channel: number },
): Alike {
  const terms = {
    type: prepared.input.type,
    version: prepared.type?.version ?? 1,
    channel,
    lane: "",
    priority: prepared.type?.priority ?? 0,
    state: State.ready,
    reason: null,
    waits: 0,
    due: 0,
    now: batch.now,
    created: batch.now,
    expires: null,
    dedupe: null,
    grp: null,
    generation: 0,
    creates: null,
    options: JSON.stringify(optionsOf(store, prepared, [])),
  };
  const alike = { terms, rows: [] };
  batch.byChannel.set(channel, alike);
  return alike;
}
