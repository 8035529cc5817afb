/**
 * Owns the transaction of pushes: versions are given, records, unique values and receipts are written, or nothing is.
 * Which pushes share one is `pushes.ts`; what becomes of one operation is decided in `decide.ts`; the tables belong to `spaces.ts`, `records.ts`, `receipts.ts` and `unique.ts`.
 */
import { canonicalText } from "../canonical.ts";
import { isKeepable } from "../json.ts";
import type { Change } from "../record.ts";
import type { PushAnswer, PushItem, PushRequest } from "../wire.ts";
import { historyChanged } from "../wire.ts";
import type { Who } from "./collections.ts";
import { isAmong, rowsFor } from "./collections.ts";
import type { Core } from "./core.ts";
import type { Decided, Desk, Draft } from "./decide.ts";
import {
  appliedAnswer,
  changesOf,
  decideItem,
  isChanged,
  isStrange,
  recordId,
  rejected,
  storeDraft,
} from "./decide.ts";
import type { Receipt } from "./receipts.ts";
import { raiseFloors, readFloors, readReceipts, writeReceipts } from "./receipts.ts";
import type { StoredRecord } from "./records.ts";
import { readRecords, toWire, writeRecords } from "./records.ts";
import type { Space } from "./spaces.ts";
import { lockSpace, saveHead } from "./spaces.ts";
import type { Tx } from "./store.ts";
import type { UniqueValue } from "./unique.ts";
import { findHolder, moveUnique, uniqueId, uniqueValuesOf } from "./unique.ts";

/** How long a client waits after a rule of ours failed by throwing. */
const brokenRuleMs = 30_000;

/** How long it takes a client to hear of a restore once it asks. */
const otherHistoryMs = 1_000;

type Hashed = { readonly item: PushItem; readonly hash: string };

/** One push, read and checked, with what makes its items the same when they come again. */
export type Push = {
  readonly request: PushRequest;
  readonly who: Who;
  readonly hashed: readonly Hashed[];
  /** Of its changes as text: what it weighs in a transaction. */
  readonly characters: number;
};

/** Everything that lives until the transaction ends. */
type Work = {
  readonly tx: Tx;
  readonly core: Core;
  readonly space: string;
  readonly now: number;
  head: number;
  /** Records as the items so far left them; null: read, and not there. */
  readonly records: Map<string, StoredRecord | null>;
  readonly written: Map<string, StoredRecord>;
  readonly holders: Map<string, Holder>;
  readonly receipts: Map<string, Receipt>;
  readonly fresh: Receipt[];
};

/** One push of the transaction while its items are judged. */
type Turn = { readonly work: Work; readonly who: Who; readonly client: string; readonly floor: number };

/** Who holds a unique value in the database, and after the items so far. */
type Holder = { readonly unique: UniqueValue; readonly before: string | null; after: string | null };

export async function readyPush(core: Core, request: PushRequest, who: Who): Promise<Push> {
  let characters = 0;
  const hashed = await Promise.all(
    request.items.map(async (item) => {
      const text = bodyText(changesOf(item));
      characters += text.length;
      return { item, hash: await core.hash(text) };
    }),
  );
  return { request, who, hashed, characters };
}

/**
 * What makes two items with one id the same. The base is left out: a change that may have landed is sent again over what its writer
 * has seen since.
 */
function bodyText(changes: readonly Change[]): string {
  const bare = changes.map(({ collection, key, kind, fields, unset, schema }) => ({
    ...{ collection, key, kind, fields, schema },
    ...(unset === undefined || unset.length === 0 ? {} : { unset }),
  }));
  try {
    return canonicalText(bare);
  } catch {
    // A lone surrogate has no canonical text, but JSON can write it.
    return JSON.stringify(bare);
  }
}

export type Outcome = {
  /** Of each push, in the order in which they were taken. */
  readonly answers: readonly (readonly PushAnswer[])[];
  readonly head: number;
  readonly history: string;
  /** Whether readers may not know of the head: it has moved, or did so when a push was answered to nobody. */
  readonly isMoved: boolean;
};

/**
 * Answers pushes of one space in one transaction, as if they had come one after the other. `take` names them when the space is locked,
 * so that whatever comes while others hold it goes along. What it says is true once the transaction is committed.
 */
export async function pushAll(
  tx: Tx,
  { core, space: name, take }: { readonly core: Core; readonly space: string; readonly take: () => readonly Push[] },
): Promise<Outcome> {
  const space = await lockSpace(tx, name, { dialect: core.store.dialect, minting: core });
  const [pushes, now] = [take(), core.now()];
  const floors = await readFloors(tx, name, [...new Set(pushes.map(({ request }) => request.client))]);
  const before = new Map(floors);
  const items = pushes.flatMap(({ request }) => request.items);
  const ids = [...new Set(items.map(({ id }) => id))].filter((id) => !isStrange(id));
  const receipts = await readReceipts(tx, name, ids);
  const work: Work = {
    ...{ tx, core, space: name, now, head: space.head },
    records: await loadRecords(
      tx,
      name,
      items.filter(({ id }) => !receipts.has(id)),
    ),
    written: new Map(),
    holders: new Map(),
    receipts: new Map(receipts),
    fresh: [],
  };
  const answers: PushAnswer[][] = [];
  for (const { request, who, hashed } of pushes) {
    if (isOfAnotherPast(core, space, request)) {
      answers.push(request.items.map(otherHistory));
      continue;
    }
    const floor = Math.max(request.floor, floors.get(request.client) ?? -1);
    floors.set(request.client, floor);
    const turn: Turn = { work, who, client: request.client, floor };
    const answered: PushAnswer[] = [];
    for (const each of hashed) answered.push(await answerItem(turn, each));
    answers.push(answered);
  }
  const raised = [...floors].filter(([client, floor]) => floor > (before.get(client) ?? -1));
  await raiseFloors(tx, raised, { space: name, now });
  await writeAll(work);
  if (work.head > space.head) await saveHead(tx, name, work.head);
  // After a crash, or a commit whose answer was lost, no poke has been sent for what comes again.
  const isMoved = work.head > space.head || answers.flat().some(({ outcome }) => outcome === "duplicate");
  return { answers, head: work.head, history: space.history, isMoved };
}

/** The bases of a push lie where this database has never been: in another history, or beyond its head. */
function isOfAnotherPast(core: Core, { name, head, history }: Space, { history: known, seen }: PushRequest): boolean {
  if (known === undefined) return false;
  if (known !== history) return true;
  if (seen === undefined || seen <= head) return false;
  const hint =
    "if the database was copied back, run `holdfast server restore --history`, so that every client hears of it";
  core.log({
    level: "warn",
    message: "a client has seen versions that this database does not have",
    space: name,
    head,
    seen,
    hint,
  });
  return true;
}

/** By bases of a history that is gone nobody can tell what a change has seen: it would go over the work of others unasked. */
function otherHistory({ id }: PushItem): PushAnswer {
  const message = "the server was restored to an older state, and the client does not know of it yet";
  const problem = { code: historyChanged, message, hint: "pull, then push again under the same id" };
  return { id, outcome: "retry", problem, afterMs: otherHistoryMs };
}

async function writeAll({ tx, space, now, written, holders, fresh }: Work): Promise<void> {
  await writeRecords(tx, space, [...written.values()]);
  await moveUnique(tx, space, movesOf(holders.values()));
  await writeReceipts(tx, fresh, { space, now });
}

async function loadRecords(
  tx: Tx,
  space: string,
  items: readonly PushItem[],
): Promise<Map<string, StoredRecord | null>> {
  const wanted = new Map<string, Set<string>>();
  const records = new Map<string, StoredRecord | null>();
  for (const { collection, key } of items.flatMap((item) => item.changes)) {
    // A store refuses to be asked after what it cannot keep; nothing is there under such a name.
    if (isKeepable(collection) && isKeepable(key))
      wanted.set(collection, (wanted.get(collection) ?? new Set()).add(key));
    records.set(recordId(collection, key), null);
  }
  const lists = new Map([...wanted].map(([collection, keys]) => [collection, [...keys]]));
  for (const record of await readRecords(tx, space, lists))
    records.set(recordId(record.collection, record.key), record);
  return records;
}

async function answerItem(turn: Turn, { item, hash }: Hashed): Promise<PushAnswer> {
  const { work, client, floor } = turn;
  // No receipt can be kept under such an id; the same answer comes again without one.
  if (isStrange(item.id)) return idInvalid(item);
  const receipt = work.receipts.get(item.id);
  if (receipt !== undefined) return receipt.hash === hash ? replay(receipt.answer) : keyReused(item);
  if (item.number < floor) return { id: item.id, outcome: "stale" };
  const answer = await answerNew(turn, item);
  if (answer.outcome === "retry") return answer;
  const made: Receipt = { id: item.id, client, number: item.number, hash, answer };
  work.receipts.set(item.id, made);
  work.fresh.push(made);
  return answer;
}

function idInvalid(item: PushItem): PushAnswer {
  const message = "the id of the operation has control characters or half a character";
  const hint = "send it again under another id, e.g. a UUID";
  const violation = { code: "id_invalid", message, hint, field: "id" };
  return rejected(item, item.changes[0] ?? { collection: "", key: "" }, { kind: "invalid", violation });
}

const replay = (answer: PushAnswer): PushAnswer =>
  answer.outcome === "applied" ? { ...answer, outcome: "duplicate" } : answer;

function keyReused(item: PushItem): PushAnswer {
  const change = item.changes[0] ?? { collection: "", key: "" };
  const message = `operation ${item.id} was sent before with other changes`;
  const hint = "an operation whose content has changed needs a new id";
  return rejected(item, change, { kind: "invalid", violation: { code: "key_reused", message, hint } });
}

async function answerNew(turn: Turn, item: PushItem): Promise<PushAnswer> {
  const { work, who } = turn;
  const desk: Desk = {
    ...{ core: work.core, who, space: work.space, now: work.now },
    recordOf: (collection, key) => work.records.get(recordId(collection, key)) ?? null,
  };
  let decided: Decided;
  try {
    decided = decideItem(desk, item);
  } catch (error) {
    // A rule that throws is a mistake in the server's configuration; the operation waits until it is mended.
    work.core.log({ level: "error", message: "a rule threw", operation: item.id, error: String(error) });
    const message = "a rule of this server failed; whoever runs it finds the reason in its log";
    return { id: item.id, outcome: "retry", problem: { code: "rule_failed", message }, afterMs: brokenRuleMs };
  }
  if (decided.kind === "answered") return decided.answer;
  const clash = await takeUniqueValues(work, decided.drafts);
  if (clash !== null) return clashAnswer(turn, { item, decided, clash });
  return applyDrafts(work, { desk, item, decided });
}

type Drafted = Extract<Decided, { kind: "drafted" }>;

/** Gives each changed record the next version, in the order in which the item names them. */
function applyDrafts(
  work: Work,
  { desk, item, decided }: { readonly desk: Desk; readonly item: PushItem; readonly decided: Drafted },
): PushAnswer {
  const changed = [...decided.drafts.values()].filter(isChanged);
  const ending = work.head + changed.length;
  const versions = new Map<Draft, number>();
  for (const draft of changed) {
    work.head += 1;
    versions.set(draft, work.head);
    const record = storeDraft(desk, draft, { version: work.head, ending });
    const id = recordId(draft.collection, draft.key);
    work.records.set(id, record);
    work.written.set(id, record);
  }
  const counts = new Map<string, number>();
  for (const { change } of decided.parts) {
    const id = recordId(change.collection, change.key);
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  const changes = decided.parts.flatMap((part) => {
    const id = recordId(part.change.collection, part.change.key);
    const draft = decided.drafts.get(id);
    if (draft === undefined) return [];
    const version = versions.get(draft) ?? draft.start?.version ?? 0;
    return [appliedAnswer(desk, part, { draft, version, isOnly: counts.get(id) === 1 })];
  });
  return { id: item.id, outcome: "applied", changes };
}

// ---- unique values ----------------------------------------------------------------------------------------------

type Clash = { readonly draft: Draft; readonly unique: UniqueValue; readonly holder: string };

/** Moves the unique values of an item's records in memory, all or none; the first that somebody else holds is the clash. */
async function takeUniqueValues(work: Work, drafts: ReadonlyMap<string, Draft>): Promise<Clash | null> {
  const changes: { readonly holder: Holder; readonly to: string | null }[] = [];
  const taken = new Map<string, { readonly draft: Draft; readonly unique: UniqueValue }>();
  for (const draft of drafts.values()) {
    const unique = work.core.collections.get(draft.collection)?.unique;
    if (unique === undefined || !isChanged(draft)) continue;
    const before = uniqueValuesOf(draft.collection, unique, draft.start?.value ?? null);
    const after = uniqueValuesOf(draft.collection, unique, draft.value);
    const kept = new Set(after.map(uniqueId));
    for (const each of before) {
      const holder = await holderOf(work, each);
      if (!kept.has(uniqueId(each)) && holder.after === draft.key) changes.push({ holder, to: null });
    }
    for (const each of after) {
      const other = taken.get(uniqueId(each));
      if (other !== undefined) return { draft, unique: each, holder: other.draft.key };
      taken.set(uniqueId(each), { draft, unique: each });
    }
  }
  const released = new Set(changes.map(({ holder }) => holder));
  for (const { draft, unique } of taken.values()) {
    const holder = await holderOf(work, unique);
    const holds = released.has(holder) ? null : holder.after;
    if (holds !== null && holds !== draft.key) return { draft, unique, holder: holds };
    changes.push({ holder, to: draft.key });
  }
  for (const { holder, to } of changes) holder.after = to;
  return null;
}

async function holderOf(work: Work, unique: UniqueValue): Promise<Holder> {
  const id = uniqueId(unique);
  const known = work.holders.get(id);
  if (known !== undefined) return known;
  const key = await findHolder(work.tx, work.space, unique);
  const holder = { unique, before: key, after: key };
  work.holders.set(id, holder);
  return holder;
}

function movesOf(holders: Iterable<Holder>): Parameters<typeof moveUnique>[2] {
  const moved = [...holders].filter(({ before, after }) => before !== after);
  return {
    released: moved.flatMap(({ unique, before }) => (before === null ? [] : [{ ...unique, key: before }])),
    taken: moved.flatMap(({ unique, after }) => (after === null ? [] : [{ ...unique, key: after }])),
  };
}

const mayRead = ({ work: { core }, who }: Turn, { collection, key, value }: StoredRecord): boolean =>
  isAmong(rowsFor(core.collections.get(collection), who, "read"), key, value ?? {});

/** Names the record that holds the value; the writer is told even of one that it may not read, but not what is in it. */
async function clashAnswer(
  turn: Turn,
  { item, decided, clash }: { readonly item: PushItem; readonly decided: Drafted; readonly clash: Clash },
): Promise<PushAnswer> {
  const { work } = turn;
  const { collection, key } = clash.draft;
  const part = decided.parts.find(({ change }) => change.collection === collection && change.key === key);
  const sent = part?.sent ?? { collection, key };
  const fields: string[] = JSON.parse(clash.unique.fields);
  const id = recordId(collection, clash.holder);
  if (!work.records.has(id)) {
    const [record] = await readRecords(work.tx, work.space, new Map([[collection, [clash.holder]]]));
    work.records.set(id, record ?? null);
  }
  const record = work.records.get(id) ?? null;
  if (record === null || !mayRead(turn, record)) {
    const message = `${fields.join(" and ")} of ${collection}/${sent.key}: another record has this value already`;
    const violation = { code: "unique_violation", message, hint: "choose another value", field: fields[0] ?? "" };
    return rejected(item, sent, { kind: "data_inconsistency", violation });
  }
  return {
    ...{ id: item.id, outcome: "conflict", kind: "unique_violation", collection, key: sent.key, fields },
    remote: toWire(record),
  };
}
