/**
 * Owns pulling: what is asked of the server when, and what one page does to records, cursors and the space. Pull never waits for push.
 * What is pending on a pulled record is replayed by `overlay.ts`; who sends the request is `errands.ts`.
 */
import type { Json } from "../operation.ts";
import { textBytes } from "../operation.ts";
import type { Fields } from "../record.ts";
import type { PullRequest, PullResponse, WireRecord } from "../wire.ts";
import { wireLimits } from "../wire.ts";
import type { CollectionInfo } from "./collections.ts";
import { countRecords, findCollection, isForeign, listInfos, moveCursor } from "./collections.ts";
import { hasEvicted, takeEvicted } from "./evicted.ts";
import { readGates } from "./gates.ts";
import { getSettings } from "./meta.ts";
import { remoteGate } from "./network.ts";
import type { Ground } from "./overlay.ts";
import { groundOf, replay } from "./overlay.ts";
import { pendingsOf } from "./pending.ts";
import { keepOutOfReach, takeOutOfReach } from "./reach.ts";
import { keepBudget } from "./record-cache.ts";
import { hiddenDetail, logPulled, logRecord } from "./record-log.ts";
import type { PulledRecord, RecordRow } from "./records.ts";
import {
  fieldsOf,
  findRecord,
  insertPulledRecords,
  lastRecordId,
  localFieldsOf,
  markMet,
  pulledTogether,
  Status,
  saveRecord,
} from "./records.ts";
import { finishResync, isLost, keepLost, meetReset } from "./resync.ts";
import { countInSyncRun, ensureRun } from "./runs.ts";
import { noteSeen } from "./seen.ts";
import type { Space } from "./spaces.ts";
import { getSpace, noteAnswer } from "./spaces.ts";
import type { Store } from "./store.ts";
import { currentRun, isRunOpen, nextRunAt } from "./sync.ts";
import { meetViews } from "./views.ts";
import { tellKeys } from "./writes.ts";

/** Records asked for in one page: a page is one commit, and nothing else is written meanwhile. */
export const pullPage = 3_000;

const releaseMemory = "PRAGMA shrink_memory";

/** How often a space is asked for news when nothing says that there are any. */
export const pollMs = { withPokes: 300_000, without: 30_000 } as const;

/** One request for news of a space: at most as many collections as the wire allows. */
export type PullPlan = {
  readonly space: Space;
  readonly part: number;
  readonly infos: readonly CollectionInfo[];
};

/** Why nothing is pulled at the moment, and until when; `null` when it may go. A pause of pushing is none. */
export function pullClosedUntil(store: Store, space: Space): { readonly until: number | null } | null {
  const { sync } = store;
  if (sync === null) return { until: null };
  const gates = readGates(store);
  if (gates.isWorkingOffline || gates.isAllPaused) return { until: null };
  if (gates.remotes.has(sync.remote) || gates.signedOut.has(sync.subject)) return { until: null };
  const now = store.world.now();
  const auth = gates.auth.find(({ subject, remote }) => subject === sync.subject && remote === sync.remote);
  if (auth !== undefined && auth.until > now && auth.since <= now) return { until: auth.until };
  if (getSettings(store).syncMode !== "eager" && !space.isAsked && !isRunOpen(store))
    return { until: nextRunAt(store) };
  const gate = remoteGate(store, sync.remote);
  return gate.isOpen ? null : { until: gate.opensAt };
}

/** Whether somebody waits for what a pull brings; the runs of the mode `periodic` begin by themselves. */
const isAwaited = (store: Store, { isAsked }: Space): boolean =>
  isAsked || (isRunOpen(store) && getSettings(store).syncMode !== "periodic");

/** When a space is asked next: at once after a poke, for an open run, or because somebody wants it. */
export function pullDueAt(store: Store, space: Space): number {
  const now = store.world.now();
  const poked = store.memory.sync.poked.get(space.name) ?? 0;
  if (poked > space.head && space.failures === 0) return now;
  const run = isRunOpen(store) ? currentRun(store) : null;
  if (run !== null && space.failures === 0 && (space.pulled ?? 0) < run.startedAt) return now;
  // Further away than it can have been set is a clock that went back.
  return space.due > now + pollMs.withPokes * 2 ? now : space.due;
}

/** The requests that could be due, one for each space, or several where a space has more collections than fit into one. */
export function pullPlans(store: Store): readonly PullPlan[] {
  const bySpace = new Map<string, CollectionInfo[]>();
  for (const info of listInfos(store)) {
    if (info.isSynced) bySpace.set(info.space, [...(bySpace.get(info.space) ?? []), info]);
  }
  return [...bySpace].flatMap(([name, infos]) => {
    const space = getSpace(store, name);
    const parts = Math.ceil(infos.length / wireLimits.collections);
    return Array.from({ length: parts }, (_, part) => ({
      space,
      part,
      infos: infos.slice(part * wireLimits.collections, (part + 1) * wireLimits.collections),
    }));
  });
}

export function pullRequestOf({ space, infos }: PullPlan): PullRequest {
  return {
    space: space.name,
    history: space.history,
    wants: infos.map(({ name, cursor, floor, spec }) => ({
      collection: name,
      after: cursor,
      ...(floor === 0 ? {} : { floor }),
      ...(spec.filter === undefined ? {} : { filter: spec.filter as Json }),
    })),
    limit: pullPage,
  };
}

/** What was known when a page was asked for: the instant, and the highest version of the space. */
export type Asking = { readonly askedAt: number; readonly seen: number };

/** Applies one page with its cursors, in the caller's transaction. */
export function applyPull(store: Store, plan: PullPlan, response: PullResponse, { askedAt, seen }: Asking): void {
  const space = getSpace(store, plan.space.name);
  // What was declared, reset or pulled again while the request was under way is asked anew from where it stands now.
  const asked = plan.infos.flatMap(({ name, cursor, mark }) => {
    const now = findCollection(store, name);
    return now !== null && now.cursor === cursor && now.mark === mark ? [now] : [];
  });
  const isSetBack = response.head < seen;
  if (response.reset !== undefined || isSetBack || (space.history !== "" && response.history !== space.history)) {
    meetReset(store, { space, infos: asked, response, isSetBack });
    noteAnswer(store, { ...answered(store, space, response, askedAt), due: 0 });
    return;
  }
  const infos = meetViews(store, asked, { ...response, isAwaited: isAwaited(store, space) });
  // A first pull comes back to few of the pages that it has written; kept, they would fill SQLite's whole cache.
  if (infos.some(({ state }) => state === "initial" || state === "resync")) store.db.exec(releaseMemory);
  const news = applyRecords(store, infos, response.records);
  const isComplete = !response.hasMore;
  if (isComplete) for (const info of infos) if (info.state === "resync") finishResync(store, info, response.upTo);
  if (isComplete) applyRecords(store, infos, takeOutOfReach(store, infos, response.upTo));
  for (const info of infos)
    moveCursor(store, info, { cursor: response.upTo, floor: response.floor ?? 0, isComplete, at: askedAt });
  // What was written here has landed meanwhile, so it may go now.
  for (const info of infos) if (info.spec.maxBytes !== undefined) keepBudget(store, info.name);
  const after = answered(store, space, response, askedAt);
  noteTrust(store, space, response, news);
  noteSeen(store, space.name, { history: response.history, version: response.head });
  // A collection that begins anew goes on at once, and whoever waits for it is not done.
  const isDone = isComplete && infos.length === asked.length;
  noteAnswer(store, isDone ? { ...after, due: nextPollAt(store, space.name), pulled: askedAt, isAsked: false } : after);
}

const answered = (store: Store, space: Space, response: PullResponse, askedAt: number): Space => ({
  ...space,
  history: response.history,
  head: response.head,
  offsetMs: response.now - Math.round((askedAt + store.world.now()) / 2),
  due: 0,
});

/** News that no poke told of means that pokes do not come through. */
function noteTrust(store: Store, space: Space, response: PullResponse, news: number): void {
  const { poked, trusted } = store.memory.sync;
  if (news > 0 && response.head > space.head && (poked.get(space.name) ?? 0) < response.upTo)
    trusted.delete(space.name);
}

function nextPollAt(store: Store, space: string): number {
  const interval = store.memory.sync.trusted.has(space) ? pollMs.withPokes : pollMs.without;
  // Half of it is drawn by lot, so that clients that lost their server together do not come back together.
  return store.world.now() + Math.round(interval * (0.5 + store.world.random() / 2));
}

/** What stays the same for all records of a page, and what of it is still to be inserted. */
type Page = {
  readonly run: number;
  readonly at: number;
  lastId: number;
  readonly fresh: Fresh[];
  /** Records that were told as hidden and stay for the unsent work on them. */
  readonly hidden: RecordRow[];
};
type Place = {
  readonly info: CollectionInfo;
  readonly keys: string[];
  readonly hasEvicted: boolean;
  records: number;
  bytes: number;
};
type Fresh = { readonly place: Place; readonly record: WireRecord; readonly row: PulledRecord };

/** Takes records as the server has them; returns how many were news. One event tells of each collection. */
export function applyRecords(store: Store, infos: readonly CollectionInfo[], records: readonly WireRecord[]): number {
  if (records.length === 0) return 0;
  const page: Page = {
    run: ensureRun(store),
    at: store.world.now(),
    lastId: lastRecordId(store),
    fresh: [],
    hidden: [],
  };
  const firstId = page.lastId + 1;
  const places = new Map(
    infos.map((info): [string, Place] => [
      info.name,
      { info, keys: [], hasEvicted: hasEvicted(store, info.id), records: 0, bytes: 0 },
    ]),
  );
  for (const record of records) {
    const place = places.get(record.collection);
    if (place !== undefined) applyRecord(store, place, record, page);
  }
  for (const fresh of page.fresh.splice(0)) insertFresh(store, page, [fresh]);
  keepOutOfReach(store, page.hidden);
  logPulled(store, { first: firstId, last: page.lastId, at: page.at, run: page.run });
  let news = 0;
  for (const { info, keys, records: count, bytes } of places.values()) {
    countRecords(store, info.id, count, bytes);
    if (info.spec.maxBytes !== undefined) keepBudget(store, info.name);
    if (keys.length > 0) tellKeys(store, info.name, keys, "pull");
    news += keys.length;
  }
  countInSyncRun(store, { pulled: news });
  return news;
}

/** One record as the server has it. */
function applyRecord(store: Store, place: Place, record: WireRecord, page: Page): void {
  const { info } = place;
  const former = place.hasEvicted && record.value !== null ? takeEvicted(store, info.id, record.key) : null;
  if (former !== null) {
    // It goes on under the number that it had, and with it its history.
    insertAt(store, page, former, [freshOf(place, record)]);
    logPulled(store, { first: former, last: former, at: page.at, run: page.run });
    return;
  }
  // A first pull meets nothing but new records: the insertion itself finds out.
  if (info.state === "initial" && record.value !== null) {
    page.fresh.push(freshOf(place, record));
    if (page.fresh.length === pulledTogether) insertFresh(store, page, page.fresh.splice(0));
    return;
  }
  const row = findRecord(store, info, record.key);
  if (row !== null) meetRecord(store, { place, record, row, page });
  else if (record.value !== null) insertFresh(store, page, [freshOf(place, record)]);
}

function freshOf(place: Place, record: WireRecord): Fresh {
  const { id: collection, mark } = place.info;
  const { key, version, schema, author } = record;
  const value = JSON.stringify(record.value);
  return { place, record, row: { collection, key, version, value, schema, author, bytes: textBytes(value), mark } };
}

function insertFresh(store: Store, page: Page, fresh: readonly Fresh[]): void {
  insertAt(store, page, page.lastId + 1, fresh);
  // Ids of records that were there already stay unused.
  page.lastId += fresh.length;
}

function insertAt(store: Store, page: Page, first: number, fresh: readonly Fresh[]): void {
  const rows = fresh.map(({ row }) => row);
  const known = insertPulledRecords(store, first, rows, page.at);
  for (const [index, { place, record, row }] of fresh.entries()) {
    if (known.includes(index)) {
      const there = findRecord(store, place.info, record.key);
      if (there !== null) meetRecord(store, { place, record, row: there, page });
      continue;
    }
    place.keys.push(row.key);
    place.records += 1;
    place.bytes += row.bytes;
  }
}

type Meeting = {
  readonly place: Place;
  readonly record: WireRecord;
  readonly row: RecordRow;
  readonly page: Page;
};

/** A record that is here already. */
function meetRecord(store: Store, { place, record, row, page }: Meeting): void {
  const { info, keys } = place;
  const { key, value, version, schema, author } = record;
  // It lives on where this reader does not see it: what is unsent of it is the server's to judge.
  if (record.isHidden === true && pendingsOf(store, row.id).some(({ acked }) => acked === 0)) {
    // Marks say in such a reading what is of the other history.
    if (!isForeign(info.resync)) page.hidden.push(row);
    return;
  }
  const snapshot = value === null ? null : JSON.stringify(value);
  const ground: Ground = { version, snapshot, schema, author, confirmed: page.at, mark: info.mark };
  if (renew(store, { info, row, ground, run: page.run, isHidden: record.isHidden === true })) keys.push(key);
}

type Renewal = {
  readonly info: CollectionInfo;
  readonly row: RecordRow;
  readonly ground: Ground;
  readonly run: number;
  readonly isHidden: boolean;
};

/** At the version that is here it is there or not by what may be read: it came into reach again, or went out of it. */
function isNews(row: RecordRow, { version, snapshot }: Ground): boolean {
  if (row.version !== version) return row.version < version;
  return (groundOf(row).snapshot === null) !== (snapshot === null);
}

function renew(store: Store, { info, row, ground, run, isHidden }: Renewal): boolean {
  if (isLost(info, row, ground)) {
    keepLost(store, { info, row, ground, run });
    return true;
  }
  if (!isForeign(info.resync) && !isNews(row, ground)) {
    if (row.mark !== info.mark) markMet(store, row.id, info.mark, ground.confirmed ?? 0);
    return false;
  }
  if (row.pendings > 0) {
    replay(store, info, row, ground, { origin: "pull", run });
    return true;
  }
  const local = info.spec.localOnly === undefined ? {} : localFieldsOf(info, fieldsOf(row.value));
  const value =
    ground.snapshot === null || Object.keys(local).length === 0
      ? ground.snapshot
      : JSON.stringify({ ...(fieldsOf(ground.snapshot) as Fields), ...local });
  const status = Status.synced;
  const changed = value === row.value ? row.changed : (ground.confirmed ?? 0);
  saveRecord(store, row, { ...row, ...ground, value, snapshot: null, status, changed });
  if (value === row.value) return false;
  const { version, schema } = ground;
  const sides = { before: row.value, after: value, former: row.schema, schema };
  const entry = { record: row.id, origin: "pull", run, version, ...sides } as const;
  logRecord(store, isHidden ? { ...entry, detail: hiddenDetail } : entry);
  return true;
}
