/**
 * Owns what is claimed and has not begun. Where commits are slow more is claimed than has room, and begins the moment an answer makes some,
 * so that the wire does not wait for the disk; whether it still may is asked here, and all of it is given back as if it had never been
 * claimed. When that happens is `loop.ts`; what a claim takes is `claim.ts`.
 */
import type { Answer } from "../operation.ts";
import { State } from "../operation.ts";
import type { Settings } from "../shapes.ts";
import { defaultSettings } from "../shapes.ts";
import type { Claimed } from "./claim.ts";
import { claimNext, closedBy } from "./claim.ts";
import type { Flight } from "./flight.ts";
import { hasSlot, loadOf, requestsOf } from "./flight.ts";
import { isLanePaused, readGates } from "./gates.ts";
import { laneHeadOf } from "./lane-rows.ts";
import { settleInto } from "./lanes.ts";
import { getSettings } from "./meta.ts";
import { remoteGate } from "./network.ts";
import { returnLease } from "./queue.ts";
import { isDrainer } from "./recovery.ts";
import { paceOf } from "./space.ts";
import type { Channel, Store } from "./store.ts";
import { readSequence, snapshot } from "./store.ts";

/** How many times what may be on the wire at once is claimed ahead at most. */
export const mostWaves = 8;

/** Operations of batches that are claimed ahead at most: a crash leaves them all in doubt. */
export const aheadOperations = 500;

/** What has not begun within this time is given back, so that nobody is told for long that it is on its way. */
export const longestAheadMs = 1_000;

/** So many commits an operation may wait ahead: less would leave the wire idle during each of them. */
const commitsAhead = 8;

/** How much of each new measurement goes into the mean. */
const weight = 1 / 8;

export type Request = readonly Claimed[];

export type Ahead = {
  /** Claimed and not begun, in the order in which they go. */
  requests: readonly Request[];
  /** The store's sequence at which nothing was found that keeps them. */
  seenAt: number;
  /** Something else than a yes has come: it is booked before anything more begins. */
  isHeld: boolean;
  /** As they were at the last look at the store. */
  settings: Settings;
  commitMs: number;
  /** How long a request takes, by type and remote. */
  readonly answerMs: Map<string, number>;
};

export const newAhead = (): Ahead => ({
  requests: [],
  seenAt: 0,
  isHeld: false,
  settings: defaultSettings,
  commitMs: 0,
  answerMs: new Map(),
});

const paceKey = (type: string, remote: string): string => `${type}\n${remote}`;

const blend = (mean: number | undefined, value: number): number =>
  mean === undefined ? value : mean + (value - mean) * weight;

/** Takes into account how a request ended: its time, and whether the next one may begin before it is booked. */
export function noteEnd(
  ahead: Ahead,
  request: Request,
  end: { readonly ms: number; readonly answers: readonly Answer[] },
) {
  const [first] = request;
  if (first === undefined) return;
  const key = paceKey(first.operation.type, first.operation.remote);
  ahead.answerMs.set(key, blend(ahead.answerMs.get(key), end.ms));
  if (!end.answers.every(({ kind }) => kind === "applied" || kind === "duplicate")) ahead.isHeld = true;
}

/** A commit has booked and claimed; what it has claimed may go as the gates were in it. */
export function noteWork(store: Store, ahead: Ahead, requests: readonly Request[]): void {
  const { memory } = store;
  if (requests.length > ahead.requests.length) ahead.commitMs = blend(ahead.commitMs, memory.commitMs);
  ahead.requests = requests;
  ahead.settings = paceOf(store);
  ahead.isHeld = false;
  ahead.seenAt = memory.committed;
}

/** How many times what is on the wire pays to be claimed ahead: as many answers as come while it may wait. */
export function wavesOf(commitMs: number, answerMs: number): number {
  return Math.min(mostWaves, Math.floor((commitsAhead * commitMs) / Math.max(answerMs, 0.01)));
}

function wavesFor(store: Store, ahead: Ahead, channel: Channel): number {
  if (store.wavesAhead !== null) return store.wavesAhead;
  const answerMs = ahead.answerMs.get(paceKey(channel.type, channel.remote));
  return answerMs === undefined ? 0 : wavesOf(ahead.commitMs, answerMs);
}

/**
 * Claims what will go next. It shares a commit that is needed anyway, takes what ready operations are left after those that go at once,
 * and leaves out what must never be in doubt, what is bulky, and remotes that have to prove themselves.
 */
export function claimAhead(
  store: Store,
  ahead: Ahead,
  under: readonly Claimed[],
  settings: Settings,
): readonly Request[] {
  if (store.memory.isDiskFull) return [];
  const busy = loadOf(under);
  const roomAhead = (channel: Channel): number => {
    const waves = wavesFor(store, ahead, channel);
    if (waves === 0) return 0;
    const { concurrency, concurrencyPerRemote } = settings;
    const atOnce = channel.remote === "" ? concurrency : Math.min(concurrency, concurrencyPerRemote);
    const batch = store.types.get(channel.type)?.runBatch?.max ?? 1;
    const most = atOnce + Math.min(atOnce * waves, Math.max(1, aheadOperations / batch));
    return most - (busy.small.get(channel.remote) ?? 0);
  };
  const slots = settings.concurrency * (1 + (store.wavesAhead ?? mostWaves)) - busy.smallSum;
  return requestsOf(claimNext(store, { slots, bulkSlots: 0, inFlight: () => 0, roomAhead }));
}

/** Within a transaction: what may still begin, or nothing after all of it was given back. */
export function keepOrGiveBack(
  store: Store,
  ahead: Ahead,
  { flights, isStopping }: { readonly flights: readonly Flight[]; readonly isStopping: boolean },
): readonly Request[] {
  if (!isStopping && !mustGiveBack(store, ahead, flights)) return ahead.requests;
  giveBack(store, ahead);
  return [];
}

/** Whether something has come up that keeps what is claimed from going. Asked within a transaction. */
function mustGiveBack(store: Store, ahead: Ahead, flights: readonly Flight[]): boolean {
  if (ahead.requests.length === 0) return false;
  const gates = readGates(store);
  const settings = getSettings(store);
  const open = new Set<number>();
  const lanes = new Set<string>();
  const now = store.world.now();
  const oldest = store.world.monotonic() - longestAheadMs;
  return ahead.requests.flat().some(({ channel, operation, claimedAt }) => {
    if (claimedAt <= oldest) return true;
    if (operation.expiresAt !== null && operation.expiresAt <= now) return true;
    if (operation.lane !== null && !lanes.has(operation.lane)) {
      lanes.add(operation.lane);
      if (isLanePaused(store, operation.lane) || isOvertaking(store, operation.lane)) return true;
    }
    if (open.has(channel.id)) return false;
    open.add(channel.id);
    if (closedBy(store, channel, gates, settings) !== null) return true;
    return exceedsTrial(store, channel.remote, { ahead, flights });
  });
}

/** Whether something stands again in front of what is claimed in a lane: it was parked and passed over, and may go now. */
function isOvertaking(store: Store, lane: string): boolean {
  const head = laneHeadOf(store, lane);
  return head !== null && head.state !== State.inFlight;
}

/** Whether more is claimed than a remote that has to prove itself gets. What it does get is claimed like anything else, and must go. */
function exceedsTrial(
  store: Store,
  remote: string,
  { ahead, flights }: { readonly ahead: Ahead; readonly flights: readonly Flight[] },
): boolean {
  const most = remote === "" ? null : remoteGate(store, remote).maxInFlight;
  if (most === null) return false;
  const waiting = ahead.requests.filter(([first]) => first?.operation.remote === remote).length;
  const isUnderWay = flights.some(({ claimed }) => claimed.operation.remote === remote);
  return waiting + (isUnderWay ? 1 : 0) > most;
}

/** Makes the rows what they were before the claim; the list itself is emptied once that is committed. */
export function giveBack(store: Store, ahead: Ahead): void {
  const claimed = ahead.requests.flat();
  const returned = claimed.filter(({ seq, epoch }) => returnLease(store, seq, epoch));
  // All of a batch's lane come back before any of them looks for its place.
  for (const { seq } of returned) settleInto(store, seq);
}

/** Takes the first request that has room beside what is under way and that nothing keeps; `null` when there is none. */
export function takeFirst(store: Store, ahead: Ahead, flights: readonly Flight[]): Request | null {
  if (ahead.isHeld || ahead.requests.length === 0) return null;
  const load = loadOf(flights.map(({ claimed }) => claimed));
  const place = ahead.requests.findIndex((request) => hasSlot(request, load, ahead.settings));
  const found = ahead.requests[place];
  if (found === undefined || !isUnchanged(store, ahead, flights)) return null;
  const now = store.world.now();
  if (found.some(({ operation }) => operation.expiresAt !== null && operation.expiresAt <= now)) {
    ahead.isHeld = true;
    return null;
  }
  ahead.requests = ahead.requests.filter((_, index) => index !== place);
  return found;
}

/** Another process may have paused, signed out or taken over meanwhile; whatever does that moves the store's sequence. */
function isUnchanged(store: Store, ahead: Ahead, flights: readonly Flight[]): boolean {
  const sequence = readSequence(store);
  if (sequence === ahead.seenAt) return true;
  const isKept = snapshot(store, () => {
    ahead.settings = paceOf(store);
    return isDrainer(store) && !mustGiveBack(store, ahead, flights);
  });
  if (isKept) ahead.seenAt = sequence;
  else ahead.isHeld = true;
  return isKept;
}
