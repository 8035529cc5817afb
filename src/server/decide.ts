/**
 * Owns what becomes of one pushed operation: all its changes judged, checked and drafted in memory, or the answer why not.
 * Reading beforehand, writing afterwards and the receipts are `push.ts`; the judgement of a single change is `apply.ts`.
 */
import type { Held } from "../apply.ts";
import { holdValue, judgeChange } from "../apply.ts";
import { isSameJson } from "../canonical.ts";
import { rewriteReferences } from "../id.ts";
import type { Change, ChangeKind, Fields } from "../record.ts";
import { applyChange, recordLimits } from "../record.ts";
import type { PushAnswer, PushItem, WireRecord } from "../wire.ts";
import type { ChangeContext, ServerCollection, Violation, Who } from "./collections.ts";
import { assignedBy, isAmong, isCollectionName, rowsFor, ruleViolation, schemaViolation } from "./collections.ts";
import type { Core, ServerLimits } from "./core.ts";
import type { StoredRecord } from "./records.ts";
import { toWire } from "./records.ts";
import { upcastChange, upcastStored } from "./upcast.ts";

/** What an item is decided on: who sends it, and the records as earlier items of the same push left them. */
export type Desk = {
  readonly core: Core;
  readonly who: Who;
  readonly space: string;
  readonly now: number;
  readonly recordOf: (collection: string, key: string) => StoredRecord | null;
};

/** One record of an item on its way: as it was, and as it would be. */
export type Draft = {
  readonly collection: string;
  readonly key: string;
  /** As it is kept, in whatever schema it was written last. */
  readonly start: StoredRecord | null;
  /** The same in the schema of now: what the change goes over. */
  readonly before: Held | null;
  readonly value: Fields | null;
  readonly schema: number;
};

type Part = { readonly sent: Change; readonly change: Change };
type Rejection = Extract<PushAnswer, { outcome: "rejected" }>;
export type Decided =
  | { readonly kind: "answered"; readonly answer: PushAnswer }
  | { readonly kind: "drafted"; readonly parts: readonly Part[]; readonly drafts: ReadonlyMap<string, Draft> };

/** Over the wire, a member that is left out is missing and never undefined. */
export const changesOf = (item: PushItem): readonly Change[] => item.changes as readonly Change[];

export const recordId = (collection: string, key: string): string => `${collection}\u0000${key}`;

/** Judges all changes of an item, in their order; the first that cannot be is the answer for all. */
export function decideItem(desk: Desk, item: PushItem): Decided {
  const drafts = new Map<string, Draft>();
  for (const change of changesOf(item)) {
    const violation = checkNames(desk, change);
    if (violation !== null) return answered(rejected(item, change, { kind: "invalid", violation }));
  }
  const parts = assignKeys(desk, item);
  for (const part of parts) {
    const answer = draftChange(desk, { item, part, drafts });
    if (answer !== null) return answered(answer);
  }
  let bytes = 0;
  for (const [id, draft] of drafts) {
    const finished = isChanged(draft) ? finishDraft(desk, draft) : { draft, bytes: bytesOf(draft.value) };
    if (!("draft" in finished)) return answered(rejected(item, sentFor(parts, draft), finished));
    drafts.set(id, finished.draft);
    bytes += finished.bytes;
    if (bytes <= desk.core.limits.operationBytes) continue;
    const violation = operationTooLarge(desk.core.limits);
    return answered(rejected(item, sentFor(parts, draft), { kind: "invalid", violation }));
  }
  // The answer asks this once more, when nothing may be thrown any more.
  for (const draft of drafts.values()) if (draft.value !== null) canRead(desk, draft.collection, draft);
  return { kind: "drafted", parts, drafts };
}

/** The record as it will be kept under its new version. */
export function storeDraft(
  { who, now }: Desk,
  draft: Draft,
  { version, ending }: { readonly version: number; readonly ending: number },
): StoredRecord {
  const held: Held = holdValue(draft.before, draft.value, version);
  const { collection, key, schema } = draft;
  const born = draft.start?.born ?? version;
  return { ...held, born, collection, key, ending, schema, author: who.subject, at: now };
}

/** What an applied change is answered with: the value only where the client cannot know it and may read it. */
export function appliedAnswer(
  desk: Desk,
  { sent, change }: Part,
  { draft, version, isOnly }: { readonly draft: Draft; readonly version: number; readonly isOnly: boolean },
): Extract<PushAnswer, { outcome: "applied" }>["changes"][number] {
  const { collection, key } = sent;
  const known = isOnly ? expectedValue(sent, draft.start) : undefined;
  const isKnown = known !== undefined && isSameValue(known, draft.value);
  const isReadable = draft.value === null || canRead(desk, collection, draft);
  return {
    collection,
    key,
    ...(change.key === key ? {} : { serverKey: change.key }),
    version,
    ...(isKnown || !isReadable ? {} : { value: draft.value }),
  };
}

export function rejected(
  { id }: PushItem,
  { collection, key }: Pick<Change, "collection" | "key">,
  { kind, violation }: { readonly kind: Rejection["kind"]; readonly violation: Violation },
): Rejection {
  const { code, message, field, hint } = violation;
  const problem = { code, message, ...(hint === undefined ? {} : { hint }), ...(field === undefined ? {} : { field }) };
  return { id, outcome: "rejected", problem, kind, collection, key };
}

const answered = (answer: PushAnswer): Decided => ({ kind: "answered", answer });
export const isChanged = ({ before, value }: Draft): boolean => !isSameValue(before?.value ?? null, value);
const isSameValue = (a: Fields | null, b: Fields | null): boolean => isSameJson(a, b);

/** Control characters and lone surrogates cannot be kept the same in every database, and nobody means them. */
const strangeCharacter = /[\p{Cc}\p{Surrogate}]/u;
export const isStrange = (name: string): boolean => strangeCharacter.test(name);

function checkNames({ core }: Desk, change: Change): Violation | null {
  const { collection, key, fields } = change;
  if (!isCollectionName(collection)) {
    const hint = "a name has lower-case letters, digits and _, begins with a letter and has 63 characters at most";
    return { code: "collection_invalid", message: `"${collection}" is no name of a collection`, hint };
  }
  if (!core.isOpen && !core.collections.has(collection)) {
    const hint = "declare it in the server's configuration, or correct the name";
    return { code: "collection_unknown", message: `this server has no collection ${collection}`, hint };
  }
  if (isStrange(key)) {
    const hint = "use letters, digits and punctuation, e.g. a UUID";
    return { code: "key_invalid", message: "the key has control characters or half a character", hint };
  }
  if (Object.hasOwn(fields, "__proto__")) {
    const message = 'a field cannot be named "__proto__"';
    return { code: "field_invalid", message, field: "__proto__", hint: "give it another name" };
  }
  return null;
}

/** Gives created records of collections with server keys their key, and rewrites what the other changes of the item say about them. */
function assignKeys(desk: Desk, item: PushItem): readonly Part[] {
  const keys = new Map<string, string>();
  const places = new Map<string, string>();
  for (const { kind, collection, key, named } of changesOf(item)) {
    // What a server named before and has lost since, by a restore or in time, comes back as what others know it by.
    const isOurs = kind === "create" && named !== true && desk.core.collections.get(collection)?.keys === "server";
    if (!isOurs || desk.recordOf(collection, key) !== null) continue;
    const given = desk.core.newId();
    keys.set(key, given);
    // A record of another collection may have the same key, and keeps it.
    places.set(recordId(collection, key), given);
  }
  if (keys.size === 0) return changesOf(item).map((sent) => ({ sent, change: sent }));
  return changesOf(item).map((sent) => ({
    sent,
    change: {
      ...sent,
      key: places.get(recordId(sent.collection, sent.key)) ?? sent.key,
      fields: rewriteReferences(sent.fields, (id) => keys.get(id) ?? null) as Fields,
    },
  }));
}

type Step = { readonly item: PushItem; readonly part: Part; readonly drafts: Map<string, Draft> };

function draftChange(desk: Desk, { item, part, drafts }: Step): PushAnswer | null {
  const { collection: name, key } = part.change;
  const collection = desk.core.collections.get(name);
  const id = recordId(name, key);
  const earlier = drafts.get(id);
  const start = earlier === undefined ? desk.recordOf(name, key) : earlier.start;
  const before = earlier === undefined ? upcastStored(collection, start) : earlier.before;
  const current = earlier === undefined ? (before?.value ?? null) : earlier.value;
  if (!canWrite(desk, collection, { key, value: current }))
    return rejected(item, part.sent, { kind: "forbidden", violation: forbidden(name, part.sent.key) });
  const upcast = upcastChange(collection, part.change, current);
  if ("violation" in upcast) return rejected(item, part.sent, { kind: "invalid", violation: upcast.violation });
  // What an earlier change of the same operation did is no conflict with this one.
  const held = earlier === undefined ? before : heldWithin(current, start);
  const base = earlier === undefined ? upcast.change.base : Number.MAX_SAFE_INTEGER;
  const judged = judgeChange(held, { ...withAssignedKept(desk, upcast.change, current), base });
  if (judged.kind === "conflict") {
    const remote = remoteOf(desk, part.sent, start);
    if (start !== null && start.value !== null && !canRead(desk, name, start))
      return rejected(item, part.sent, { kind: "forbidden", violation: forbidden(name, part.sent.key) });
    const { conflict: kind, fields } = judged;
    return {
      id: item.id,
      outcome: "conflict",
      kind,
      collection: name,
      key: part.sent.key,
      fields: [...fields],
      remote,
    };
  }
  const value = judged.kind === "unchanged" ? current : judged.value;
  drafts.set(id, { collection: name, key, start, before, value, schema: upcast.change.schema });
  return null;
}

/**
 * A creation that comes again, under another id, knows nothing of the fields that the server gave the record: they are as they are kept, and
 * all others are compared.
 */
function withAssignedKept(desk: Desk, change: Change, current: Fields | null): Change {
  const collection = desk.core.collections.get(change.collection);
  if (collection?.assign === undefined || change.kind !== "create" || current === null) return change;
  const draft = { ...change, before: null, value: change.fields };
  const now = { ...draft, before: heldWithin(current, null) };
  const given = new Set([draft, now].flatMap((each) => Object.keys(assignedBy(collection, contextOf(desk, each)))));
  const own = Object.entries(change.fields).filter(([field]) => !given.has(field));
  const kept = Object.entries(current).filter(([field]) => given.has(field));
  return { ...change, fields: Object.fromEntries([...own, ...kept]) };
}

const heldWithin = (value: Fields | null, start: StoredRecord | null): Held => ({
  version: start?.version ?? 0,
  created: start?.created ?? 0,
  value,
  fieldVersions: start?.fieldVersions ?? {},
});

/**
 * What the server has; a record that it never had, or forgot, reads as removed. Who removed one is told, as by a pull, to those alone who
 * read the whole collection: nobody knows any more who could see the record.
 */
function remoteOf({ core, who }: Desk, { collection, key, schema }: Change, start: StoredRecord | null): WireRecord {
  if (start === null) return { collection, key, version: 0, value: null, schema, author: "", at: 0 };
  const isAuthorKnown = start.value !== null || rowsFor(core.collections.get(collection), who, "read") === true;
  return isAuthorKnown ? toWire(start) : { ...toWire(start), author: "" };
}

const bytesOf = (value: Fields | null): number => (value === null ? 0 : JSON.stringify(value).length);

function operationTooLarge({ operationBytes }: ServerLimits): Violation {
  const message = `the records of this operation have more than ${operationBytes} bytes together, and no reader could be sent them`;
  return { code: "operation_too_large", message, hint: "change fewer large records in one transaction" };
}

type Finished =
  | { readonly draft: Draft; readonly bytes: number }
  | { readonly kind: Rejection["kind"]; readonly violation: Violation };

/** Lets the server's own fields, the schema, the business rules and the rights say what they think of the record as it would be. */
function finishDraft(desk: Desk, draft: Draft): Finished {
  const collection = desk.core.collections.get(draft.collection);
  const value = withAssigned(desk, draft, collection);
  const bytes = bytesOf(value);
  if (bytes > recordLimits.valueBytes) {
    const message = `the record would have ${bytes} characters, and ${recordLimits.valueBytes} are allowed`;
    return { kind: "invalid", violation: { code: "value_too_large", message, hint: "keep large content in files" } };
  }
  if (!canWrite(desk, collection, { key: draft.key, value }))
    return { kind: "forbidden", violation: forbidden(draft.collection, draft.key) };
  if (collection === undefined) return { draft, bytes };
  const invalid = value === null ? null : schemaViolation(collection, value);
  if (invalid !== null) return { kind: "data_inconsistency", violation: invalid };
  const context = contextOf(desk, { ...draft, value });
  const violation = ruleViolation(collection, context);
  if (violation !== null) return { kind: "business_rule", violation };
  return { draft: { ...draft, value }, bytes };
}

function withAssigned(desk: Desk, draft: Draft, collection: ServerCollection | undefined): Fields | null {
  if (draft.value === null || collection?.assign === undefined) return draft.value;
  return { ...draft.value, ...assignedBy(collection, contextOf(desk, draft)) };
}

function contextOf(
  { space, who, now }: Desk,
  { collection, key, before, value }: Pick<Draft, "collection" | "key" | "before" | "value">,
): ChangeContext {
  const was = before?.value ?? null;
  const kind: ChangeKind = was === null ? "create" : value === null ? "remove" : "update";
  return { space, collection, key, kind, before: was, after: value, now, subject: who.subject, roles: who.roles };
}

function canWrite(
  desk: Desk,
  collection: ServerCollection | undefined,
  { key, value }: { readonly key: string; readonly value: Fields | null },
): boolean {
  const rows = rowsFor(collection, desk.who, "write");
  if (rows !== true && rows.length === 0) return false;
  return value === null || isAmong(rows, key, value);
}

function canRead({ core, who }: Desk, collection: string, { key, value }: Pick<Draft, "key" | "value">): boolean {
  return isAmong(rowsFor(core.collections.get(collection), who, "read"), key, value ?? {});
}

function forbidden(collection: string, key: string): Violation {
  const message = `this account may not write ${collection}/${key}`;
  return { code: "write_forbidden", message, hint: "ask whoever runs the server for the right, or undo the change" };
}

/** What the client can work out by itself; undefined where it had not seen what its change went over. */
function expectedValue(sent: Change, start: StoredRecord | null): Fields | null | undefined {
  if (sent.kind === "create") return sent.fields;
  if (sent.kind === "remove") return null;
  return start !== null && start.version === sent.base ? applyChange(start.value, sent) : undefined;
}

function sentFor(parts: readonly Part[], draft: Draft): Change {
  const part = parts.find(({ change }) => change.collection === draft.collection && change.key === draft.key);
  if (part === undefined) throw new Error(`no change of the item is for ${draft.collection}/${draft.key}`);
  return part.sent;
}
