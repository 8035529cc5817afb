/**
 * Owns what the loop does beside sending operations: probes of silent remotes, pulls, fetches of single records. Listening is `pokes.ts`.
 * Each errand says when it is due, what it asks of the world, and how its outcome is booked; `loop.ts` does the waiting.
 */
import { evidenceOf } from "../network.ts";
import type { Json, Problem } from "../operation.ts";
import type { FetchResponse, WireRecord } from "../wire.ts";
import { wireLimits } from "../wire.ts";
import type { Reply, Signal } from "../world.ts";
import { freeWaiting } from "./claim.ts";
import type { CollectionInfo } from "./collections.ts";
import { collectionOf, findCollection, refuseCollection } from "./collections.ts";
import { refuseCredentials } from "./gates.ts";
import { record } from "./history.ts";
import { getMeta, setMeta } from "./meta.ts";
import { dueProbes, nextProbeAt, noteEvidence, remoteGate } from "./network.ts";
import { missingEchoes, nextEchoAt, pendingsOf, postponeEcho } from "./pending.ts";
import type { PullPlan } from "./pull.ts";
import { applyPull, applyRecords, pullClosedUntil, pullDueAt, pullPlans, pullRequestOf } from "./pull.ts";
import { forgetWanted, wantedKeys, wantingCollections } from "./record-cache.ts";
import { findRecord, getRecord } from "./records.ts";
import { countInSyncRun, openRunId } from "./runs.ts";
import { noteSeen, seenOf } from "./seen.ts";
import type { Space } from "./spaces.ts";
import { getSpace, keepSeen, noteFailure, wantPull } from "./spaces.ts";
import type { Store } from "./store.ts";
import { countsSoFar, forgetRolledBack, isStorageFailure, parsed } from "./store.ts";

/** After a failure the server is asked again this soon, doubling up to the most, half of it drawn by lot; it never stops. */
export const pullRetryMs = { first: 1_000, refused: 60_000, most: 300_000 } as const;

/** An echo that a fetch did not bring is looked for again after this long. */
export const echoAgainMs = 60_000;

const openSavepoint = "SAVEPOINT errand";
const keepSavepoint = "RELEASE errand";
const undoSavepoint = "ROLLBACK TO errand";

export type Errand = {
  readonly name: string;
  /** Booked with the next commit, before the outcome is known. */
  readonly begin?: () => void;
  /** Asks the world; what it resolves to books the outcome within a transaction. Never rejects unless the world is gone. */
  readonly start: (signal: Signal) => Promise<() => void>;
};

/** What is due now and not under way. */
export function dueErrands(store: Store, busy: { readonly has: (name: string) => boolean }): readonly Errand[] {
  return [...probes(store), ...pulls(store), ...fetches(store)].filter(({ name }) => !busy.has(name));
}

/** When the next errand is due at the latest; `null` when none is planned. What is under way says so itself when it ends. */
export function nextErrandAt(store: Store, busy: { readonly has: (name: string) => boolean }): number | null {
  const times: (number | null)[] = [nextProbeAt(store), busy.has("fetch") ? null : nextFetchAt(store)];
  for (const plan of store.sync === null ? [] : pullPlans(store)) {
    if (busy.has(pullName(plan))) continue;
    const closed = pullClosedUntil(store, plan.space);
    times.push(closed === null ? pullDueAt(store, plan.space) : closed.until);
  }
  const known = times.filter((time) => time !== null);
  return known.length === 0 ? null : Math.min(...known);
}

/** Whether a pull will go by itself before `until`; a run stays open for that. */
export function pullsBefore(store: Store, until: number): boolean {
  if (store.sync === null) return false;
  return pullPlans(store).some(({ space }) => {
    if (pullClosedUntil(store, space) !== null) return false;
    return space.failures === 0 && pullDueAt(store, space) <= Math.min(until, store.world.now());
  });
}

// ---- probes ---------------------------------------------------------------------------------------------------

function probes(store: Store): readonly Errand[] {
  return dueProbes(store).map((remote) => ({
    name: `probe ${remote}`,
    begin: () => void noteEvidence(store, remote, { kind: "probe_started", at: store.world.now() }),
    start: (signal) => {
      const at = store.world.now();
      return store.world.probe(remote, signal).then((result) => () => {
        const wasCutOff = !remoteGate(store, remote).isOpen;
        const after = noteEvidence(store, remote, { kind: "probed", at, ...result });
        // A probe that is answered while requests are not must not make them forget their delays: that is a request per second (pain 19).
        if (after.status === "online" && wasCutOff) freeWaiting(store, remote);
      });
    },
  }));
}

// ---- pulls ----------------------------------------------------------------------------------------------------

const pullName = ({ space, part }: PullPlan): string => `pull ${space.name} ${part}`;

function pulls(store: Store): readonly Errand[] {
  const { sync } = store;
  if (sync === null) return [];
  const now = store.world.now();
  return pullPlans(store)
    .filter(({ space }) => pullClosedUntil(store, space) === null && pullDueAt(store, space) <= now)
    .map((plan) => ({
      name: pullName(plan),
      start: (signal) => {
        const askedAt = store.world.now();
        const told = store.memory.sync.poked.get(plan.space.name) ?? 0;
        const seen = seenOf(store, plan.space);
        return sync.pull(pullRequestOf(plan), signal).then(
          (reply) => () =>
            bookReply(store, { reply, askedAt, space: plan.space.name, infos: plan.infos }, (response) => {
              applyPull(store, plan, response, { askedAt, seen });
              // A page of several may have been asked for ahead: older than the poke, it knows nothing of it.
              if (!response.hasMore) believeAnswer(store, plan.space.name, { told, head: response.head });
            }),
        );
      },
    }));
}

/**
 * A poke that the server's own answer denies was of a history that is gone: without this it would be pulled for without end.
 * One that came while the answer was under way is newer than it and stands.
 */
function believeAnswer(store: Store, space: string, of: { readonly told: number; readonly head: number }): void {
  const { poked } = store.memory.sync;
  if (of.told > of.head && poked.get(space) === of.told) poked.set(space, of.head);
}

type Answered<T> = {
  readonly reply: Reply<T>;
  readonly askedAt: number;
  readonly space: string;
  readonly infos: readonly CollectionInfo[];
};

/** Books what came of a request: its remote is judged by it, a page is applied, a failure backs off and never stops for ever. */
function bookReply<T>(store: Store, answered: Answered<T>, apply: (response: T) => void): void {
  const { reply, askedAt, space, infos } = answered;
  const remote = store.sync?.remote ?? "";
  if (reply.kind === "answered") {
    store.memory.sync.bytesSent += reply.sentBytes;
    store.memory.sync.bytesReceived += reply.receivedBytes;
    noteEvidence(store, remote, { kind: "answered", at: askedAt });
    freeWaiting(store, remote);
    apartFrom(store, space, () => apply(reply.response));
    return;
  }
  const { answer } = reply;
  const evidence = evidenceOf(answer, askedAt);
  if (evidence !== null) noteEvidence(store, remote, evidence);
  if (openRunId(store) !== null) countInSyncRun(store, { failures: 1 });
  const { failures } = getSpace(store, space);
  const least = answer.kind === "rejected" ? pullRetryMs.refused : pullRetryMs.first;
  const delay = Math.min(least * 2 ** Math.min(failures, 20), pullRetryMs.most) * (0.5 + store.world.random() / 2);
  const asked = answer.kind === "retry" ? (answer.afterMs ?? 0) : 0;
  noteFailure(store, space, store.world.now() + Math.max(Math.round(delay), asked));
  if (answer.kind === "auth") refuseSubject(store, answer.problem);
  if (answer.kind === "rejected") {
    const { code, message, hint } = answer.problem;
    const problem: Json = { code, message, ...(hint === undefined ? {} : { hint }) };
    for (const info of infos) {
      const now = findCollection(store, info.name);
      if (now !== null) refuseCollection(store, now, problem);
    }
  }
}

function refuseSubject(store: Store, problem: Problem): void {
  const { remote = "", subject = "" } = store.sync ?? {};
  if (!refuseCredentials(store, { subject, remote }, problem)) return;
  const detail = { subject, remote, state: "refused", message: problem.message };
  record(store, { op: 0, id: null, kind: "subject", status: null, detail });
}

/** A page that cannot be applied must not keep anything else from being booked: it is undone by itself and asked for again later. */
function apartFrom(store: Store, space: string, work: () => void): void {
  const counts = countsSoFar(store);
  store.db.prepare(openSavepoint).run();
  try {
    work();
    store.db.prepare(keepSavepoint).run();
  } catch (error) {
    if (isStorageFailure(error)) throw error;
    store.db.prepare(undoSavepoint).run();
    store.db.prepare(keepSavepoint).run();
    forgetRolledBack(store, counts);
    store.world.log("error", "what the server sent could not be applied; it is asked for again", {
      error: String(error),
    });
    noteFailure(store, space, store.world.now() + pullRetryMs.most);
  }
}

// ---- fetches --------------------------------------------------------------------------------------------------

type Wish = readonly [collection: string, key: string];

const wishes = (store: Store): readonly Wish[] => parsed<readonly Wish[]>(getMeta(store, "fetch") ?? "[]", []);

/** Somebody wants one record as the server has it now. */
export function wantRecord(store: Store, collection: string, key: string): void {
  const known = wishes(store);
  if (known.some(([name, each]) => name === collection && each === key)) return;
  const next = [...known, [collection, key] as const].slice(-wireLimits.fetchKeys);
  setMeta(store, "fetch", JSON.stringify(next));
}

type Fetching = { readonly info: CollectionInfo; readonly space: Space; readonly keys: readonly string[] };

/** The records that would be fetched now, of one collection; `null` when none is wanted, or nobody may ask. */
function nextFetch(store: Store): Fetching | null {
  if (store.sync === null) return null;
  const wanted = new Map<string, Set<string>>();
  const add = (collection: string, key: string): void => {
    wanted.set(collection, (wanted.get(collection) ?? new Set()).add(key));
  };
  for (const [collection, key] of wishes(store)) add(collection, key);
  for (const name of wantingCollections(store)) for (const key of wantedKeys(store, name)) add(name, key);
  for (const { record: id } of missingEchoes(store, wireLimits.fetchKeys)) {
    const row = getRecord(store, id);
    if (row !== null) add(collectionOf(store, row.collection).name, row.key);
  }
  // What has become local since it was wanted is passed over.
  const [first] = [...wanted].flatMap(([name, keys]) => {
    const info = findCollection(store, name);
    return info?.isSynced === true ? [{ info, keys: [...keys].slice(0, wireLimits.fetchKeys) }] : [];
  });
  if (first === undefined) return null;
  const space = getSpace(store, first.info.space);
  return pullClosedUntil(store, { ...space, isAsked: true }) === null ? { ...first, space } : null;
}

/** How long a fetch that failed keeps the next one back. */
const fetchRest = ({ memory, world }: Store): number => Math.max(0, memory.sync.fetchAt - world.monotonic());

/** When the next fetch is due. One that is overdue and may not go is none: the pull beside it says when that ends. */
function nextFetchAt(store: Store): number | null {
  const now = store.world.now();
  if (nextFetch(store) !== null) return now + fetchRest(store);
  const echo = nextEchoAt(store);
  return echo === null || echo <= now ? null : Math.max(echo, now + fetchRest(store));
}

function fetches(store: Store): readonly Errand[] {
  const { sync } = store;
  const next = sync === null || fetchRest(store) > 0 ? null : nextFetch(store);
  if (sync === null || next === null) return [];
  const { info, space, keys } = next;
  return [
    {
      name: "fetch",
      start: (signal) => {
        const askedAt = store.world.now();
        const seen = seenOf(store, space);
        return sync.fetch({ space: info.space, collection: info.name, keys: [...keys] }, signal).then((reply) => () => {
          // Until it is booked: an answer that cannot be must not be asked for again at once, either.
          store.memory.sync.fetchAt = store.world.monotonic() + pullRetryMs.first * 10;
          bookReply(store, { reply, askedAt, space: info.space, infos: [] }, (response) => {
            bookFetch(store, { info, keys, seen }, response);
            store.memory.sync.fetchAt = Number.NEGATIVE_INFINITY;
          });
        });
      },
    },
  ];
}

/**
 * Records whose change the server has acknowledged and which it does not show: rights or filter do not reach them any more. No pull will
 * say so when they were made and moved out of reach between two of them, and their echo would be waited for without end.
 */
function hiddenEchoes(
  store: Store,
  { info, keys }: Pick<Fetching, "info" | "keys">,
  { records, head, now }: FetchResponse,
): readonly WireRecord[] {
  const shown = new Set(records.map(({ key }) => key));
  return keys.flatMap((key) => {
    const row = shown.has(key) ? null : findRecord(store, info, key);
    const acked = row === null ? [] : pendingsOf(store, row.id).map(({ acked }) => acked);
    if (row === null || acked.length === 0 || acked.some((version) => version === 0 || version > head)) return [];
    const { schema } = row;
    // No higher than is known of it: it may come into reach again as it is.
    const version = Math.max(row.version, ...acked);
    return [{ collection: info.name, key, version, value: null, schema, author: "", at: now, isHidden: true }];
  });
}

type Fetched = Omit<Fetching, "space"> & { readonly seen: number };

function bookFetch(store: Store, { info, seen, keys }: Fetched, response: FetchResponse): void {
  const space = getSpace(store, info.space);
  const now = findCollection(store, info.name) ?? info;
  // Records of another history mean nothing here; the pull finds out what has become of it.
  const isElsewhere = response.history !== space.history || response.head < seen;
  if (space.history !== "" && isElsewhere) wantPull(store, info.space);
  else {
    applyRecords(store, [now], [...response.records, ...hiddenEchoes(store, { info: now, keys }, response)]);
    noteSeen(store, info.space, { history: response.history, version: response.head });
    keepSeen(store, info.space, response.head);
  }
  forgetWanted(store, info.name, keys);
  const asked = new Set(keys);
  const left = wishes(store).filter(([collection, key]) => collection !== info.name || !asked.has(key));
  setMeta(store, "fetch", JSON.stringify(left));
  for (const echo of missingEchoes(store, wireLimits.fetchKeys)) {
    const row = getRecord(store, echo.record);
    if (row === null || (row.collection === info.id && asked.has(row.key)))
      postponeEcho(store, echo, store.world.now() + echoAgainMs);
  }
}
