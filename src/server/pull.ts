/**
 * Owns a pull: pages of the feed by version, cut where an operation ends, and the refusal of cursors that cannot be continued.
 * The feed itself is `records.ts`; who may read what is `collections.ts`, and how a client sees that it has changed `views.ts`.
 */
import type { Fields, Where } from "../record.ts";
import type { PullLine, PullRequest, PullResponse } from "../wire.ts";
import type { Who } from "./collections.ts";
import { isAmong } from "./collections.ts";
import type { Core } from "./core.ts";
import type { FeedEntry, FeedRange, FeedRecord } from "./records.ts";
import { readFeedEntries, readFeedPage, wireText } from "./records.ts";
import type { Space } from "./spaces.ts";
import { ensureSpace, findSpace } from "./spaces.ts";
import type { Tx } from "./store.ts";
import type { Rights } from "./views.ts";
import { rightsOf, viewsOf } from "./views.ts";

/** A pull whose filters are checked: `Where` of the contract is JSON to the wire. */
export type CheckedPull = Omit<PullRequest, "wants"> & { readonly wants: readonly Want[] };
export type Want = {
  readonly collection: string;
  readonly after: number;
  readonly floor?: number | undefined;
  readonly filter?: Where | undefined;
};

/** Records of one chunk of a stream: what is held in memory at a time. */
const streamChunk = 500;
const encoder = new TextEncoder();

/** One answer as text, a `PullResponse`, and how many records it has. */
export type PullText = { readonly text: string; readonly count: number };

/** Answers one page. */
export async function pull(core: Core, request: CheckedPull, who: Who): Promise<PullText> {
  await ensureKnown(core, request.space);
  const rights = rightsOf(core, who, request.wants);
  const views = await viewsOf(core, rights);
  return core.store.read(async (tx) => {
    const space = await currentSpace(tx, request.space);
    const reset = resetFor(space, request);
    const { history, head, floor } = space;
    const facts = { history, head, floor, now: core.now() };
    if (reset !== null) return pageText({ ...facts, reset }, { records: [], upTo: 0, hasMore: true });
    return pageText({ ...facts, views }, await readPage(tx, { core, rights, space, request }));
  });
}

/** The records were written as JSON when they were stored, so they are only put together. */
function pageText(facts: Omit<PullResponse, keyof Page>, { records, upTo, hasMore }: Page): PullText {
  const head = JSON.stringify(facts).slice(0, -1);
  const text = `${head},"records":[${records.join(",")}],"upTo":${upTo},"hasMore":${hasMore}}`;
  return { text, count: records.length };
}

/**
 * Answers everything after the cursors as lines, a chunk in memory at a time and only as fast as the reader takes them. Each chunk is a
 * snapshot of its own: what changes meanwhile comes again with its newer version.
 */
export async function pullStream(core: Core, request: CheckedPull, who: Who): Promise<ReadableStream<Uint8Array>> {
  await ensureKnown(core, request.space);
  let cursor: CheckedPull = { ...request, limit: Math.min(request.limit, streamChunk) };
  let isStarted = false;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { lines, next } = await readChunk(core, { request: cursor, who, isStarted });
        isStarted = true;
        controller.enqueue(encoder.encode(lines.map((line) => `${line}\n`).join("")));
        if (next === null) controller.close();
        else cursor = next;
      },
    },
    { highWaterMark: 1 },
  );
}

type Chunk = { readonly lines: readonly string[]; readonly next: CheckedPull | null };
const lineOf = (line: PullLine): string => JSON.stringify(line);

async function readChunk(
  core: Core,
  { request, who, isStarted }: { readonly request: CheckedPull; readonly who: Who; readonly isStarted: boolean },
): Promise<Chunk> {
  const rights = rightsOf(core, who, request.wants);
  // What a client keeps is the view that it began with: if rights change on the way, it sees that with its next pull.
  const views = isStarted ? {} : await viewsOf(core, rights);
  return core.store.read(async (tx) => {
    const space = await currentSpace(tx, request.space);
    const { history, head, floor } = space;
    const now = core.now();
    // Versions of another history mean nothing to who began with this one: cut without an end, the stream is asked for again.
    if (isStarted && history !== request.history) throw new Error("the server got another history meanwhile");
    // Once begun, a stream is not bound to the floor: it follows every version since its start.
    const reset = isStarted ? null : resetFor(space, request);
    const start = isStarted
      ? []
      : [lineOf({ start: { history, head, floor, now, ...(reset === null ? { views } : { reset }) } })];
    if (reset !== null) return { lines: [...start, lineOf({ end: { upTo: 0, head, now } })], next: null };
    const { records, upTo, hasMore } = await readPage(tx, { core, rights, space, request });
    const lines = [...start, ...records.map((record) => `{"record":${record}}`)];
    if (!hasMore) return { lines: [...lines, lineOf({ end: { upTo, head, now } })], next: null };
    const wants = request.wants.map((want) => ({ ...want, after: Math.max(want.after, upTo) }));
    return { lines: [...lines, lineOf({ mark: { upTo } })], next: { ...request, history, wants } };
  });
}

/** A space comes into being when it is first used, so that its history has an identity from the beginning. */
async function ensureKnown(core: Core, name: string): Promise<void> {
  if ((await core.store.read((tx) => findSpace(tx, name))) !== null) return;
  await core.store.write((tx) => ensureSpace(tx, name, core), { isRepeatable: true });
}

async function currentSpace(tx: Tx, name: string): Promise<Space> {
  const space = await findSpace(tx, name);
  if (space === null) throw new Error(`the space ${name} was there and is gone`);
  return space;
}

type Reset = NonNullable<PullResponse["reset"]>;

function resetFor({ history, head, floor }: Space, request: CheckedPull): Reset | null {
  const cursors = request.wants.filter((want) => want.after > 0);
  if (request.history !== history && (request.history !== "" || cursors.length > 0))
    return cursors.length === 0 ? null : { reason: "other_history", floor };
  if (cursors.some((want) => want.after > head)) return { reason: "ahead", floor };
  // A removal that is forgotten would stay for ever with whoever had the record; who began after it was forgotten never had it.
  const isTooOld = cursors.some((want) => want.after < floor && (want.floor ?? 0) < floor);
  return isTooOld ? { reason: "too_old", floor } : null;
}

type Asked = { readonly core: Core; readonly rights: Rights; readonly space: Space; readonly request: CheckedPull };
/** Records as they go over the wire. */
type Page = { readonly records: readonly string[]; readonly upTo: number; readonly hasMore: boolean };

async function readPage(tx: Tx, asked: Asked): Promise<Page> {
  const { space, request } = asked;
  const upTo = await findCut(tx, asked);
  const records: { readonly stored: FeedRecord; readonly want: Want }[] = [];
  for (const want of request.wants) {
    if (want.after >= upTo || !isReadable(asked, want)) continue;
    for (const stored of await readFeedPage(tx, rangeOf(space, want, upTo))) records.push({ stored, want });
  }
  records.sort((a, b) => a.stored.version - b.stored.version);
  return {
    records: records.flatMap(({ stored, want }) => show(asked, want, stored)),
    upTo,
    hasMore: upTo < space.head,
  };
}

/** The version up to which a page goes: as many entries as asked, no more bytes than allowed, and whole operations. */
async function findCut(tx: Tx, asked: Asked): Promise<number> {
  const { core, space, request } = asked;
  const entries: FeedEntry[] = [];
  let horizon = space.head;
  for (const want of request.wants) {
    if (!isReadable(asked, want)) continue;
    const found = await readFeedEntries(tx, rangeOf(space, want, horizon), request.limit + 1);
    entries.push(...found);
    // Beyond the last entry of a list that was cut, nothing is known of that collection.
    if (found.length > request.limit) horizon = Math.min(horizon, found.at(-1)?.version ?? horizon);
  }
  const inSight = entries.filter((entry) => entry.version <= horizon).sort((a, b) => a.version - b.version);
  let bytes = 0;
  let count = 0;
  for (const [index, entry] of inSight.entries()) {
    const isNewOperation = index > 0 && entry.version > (inSight[index - 1]?.ending ?? 0);
    bytes += entry.bytes;
    count += 1;
    if (isNewOperation && (count > request.limit || bytes > core.limits.pageBytes))
      return inSight[index - 1]?.ending ?? space.head;
  }
  // Everything in sight fits; the last entry in sight may be the one where a list was cut, so its operation ends the page.
  return horizon < space.head ? Math.max(...inSight.map((entry) => entry.ending)) : space.head;
}

const rangeOf = ({ name }: Space, { collection, after }: Want, upTo: number): FeedRange => ({
  space: name,
  collection,
  after,
  upTo,
});

function isReadable({ rights }: Asked, { collection }: Want): boolean {
  const rows = rights.get(collection) ?? [];
  return rows === true || rows.length > 0;
}

/**
 * A record as this reader may see it. One that filter or rights do not reach is told as hidden where the reader may have it from before,
 * because it was there at the cursor. A removal is told with no more than its key.
 */
function show({ rights }: Asked, want: Want, stored: FeedRecord): readonly string[] {
  const { text } = stored;
  const rows = rights.get(want.collection) ?? [];
  if (text === null) return [wireText(rows === true ? stored : { ...stored, author: "" })];
  if (rows === true && want.filter === undefined) return [wireText(stored)];
  const value = JSON.parse(text) as Fields;
  const isAllowed = isAmong(rows, stored.key, value);
  const isWanted = want.filter === undefined || isAmong([want.filter], stored.key, value);
  if (isAllowed && isWanted) return [wireText(stored)];
  if (stored.born > want.after) return [];
  return [wireText({ ...stored, text: null, author: isAllowed ? stored.author : "" }, true)];
}
