/**
 * Owns draining: it claims, lets the world perform, and books the answers. It holds the only `await` of the engine.
 * Sending and book-keeping are separate: an answer is kept in memory until its booking is durable, so after a yes nothing but "done" can follow.
 */
import { isCode } from "../errors.ts";
import type { Answer } from "../operation.ts";
import type { Signal } from "../world.ts";
import type { Ahead } from "./ahead.ts";
import {
  claimAhead,
  giveBack,
  keepOrGiveBack,
  longestAheadMs,
  newAhead,
  noteEnd,
  noteWork,
  takeFirst,
} from "./ahead.ts";
import { abortAnswer, afterAbort, checkAnswer, evidenceOfAll, failedAnswer, noAnswer } from "./attempt.ts";
import type { LoopHost } from "./booking.ts";
import { commitBooking, gatherMsOf, longestGatherMs } from "./booking.ts";
import type { Claimed, Observed } from "./claim.ts";
import { bookEvidence, claimNext, wakeDue } from "./claim.ts";
import type { Errand } from "./errands.ts";
import { dueErrands, nextErrandAt } from "./errands.ts";
import type { Flight } from "./flight.ts";
import { capacityOf, requestsOf } from "./flight.ts";
import { attemptOf, startTimeout, tellLive } from "./live.ts";
import { setMeta } from "./meta.ts";
import { listenForPokes, stopListening } from "./pokes.ts";
import { isDrainer, shiftWithClock, takeOver } from "./recovery.ts";
import { endRuns } from "./rest.ts";
import { countUnsent, expireDue } from "./retention.ts";
import type { Settled } from "./settle.ts";
import { paceOf, pruneOnFullDisk, pruneSometimes, pruneWaitMs, recoverSpace } from "./space.ts";
import { nextWakeAt } from "./status.ts";
import { nextRunAt, openRun } from "./sync.ts";

/** The loop looks again at least this often, so that a jump of the wall clock is noticed and no timer has to be trusted for long. */
export const longestSleepMs = 30_000;

/** How often a process that may not drain looks whether it may. */
export const standbyMs = 1_000;

/** How long after a failure of the storage the book-keeping is tried again. */
export const troubleMs = 1_000;

/** A handler that was aborted gets this long to say how it ended; a command needs five seconds to end what it started. */
export const lastWordMs = 6_000;

const clockNoteMs = 10_000;

export type Loop = {
  /** Something may have become ready; looks in the next tick. */
  readonly poke: () => void;
  /** Gives back what is claimed and has not begun: somebody is about to change what may go. */
  readonly takeBack: () => void;
  readonly stop: (graceMs: number) => Promise<void>;
  /** Lets go at once, as a killed process would; rows in flight are recovered by the next drainer. */
  readonly abandon: () => void;
};

type Draining = {
  readonly host: LoopHost;
  readonly flights: Map<number, Flight>;
  readonly ahead: Ahead;
  readonly answers: Settled[];
  readonly news: (() => void)[];
  readonly observed: Observed[];
  /** Probes, pulls and fetches under way, with how each is aborted. */
  readonly errands: Map<string, (reason: unknown) => void>;
  /** Spaces whose pokes are listened for, with how that ends. */
  readonly watched: Map<string, () => void>;
  readonly idle: (() => void)[];
  wake: (() => void) | null;
  /** Ends the wait for more answers. */
  gathering: (() => void) | null;
  isPlanned: boolean;
  isStopping: boolean;
  isOver: boolean;
  clock: { readonly wall: number; readonly monotonic: number };
  clockNotedAt: number;
};

/** Starts draining as soon as this process gets the drainer's lock. */
export function startLoop(host: LoopHost): Loop {
  const { world } = host.store;
  const loop: Draining = {
    host,
    flights: new Map(),
    ahead: newAhead(),
    answers: [],
    news: [],
    observed: [],
    errands: new Map(),
    watched: new Map(),
    idle: [],
    wake: null,
    gathering: null,
    isPlanned: false,
    isStopping: false,
    isOver: false,
    clock: { wall: world.now(), monotonic: world.monotonic() },
    clockNotedAt: Number.NEGATIVE_INFINITY,
  };
  poke(loop);
  return {
    poke: () => poke(loop),
    takeBack: () => takeBack(loop),
    stop: (graceMs) => stop(loop, graceMs),
    abandon: () => abandon(loop),
  };
}

function poke(loop: Draining): void {
  if (loop.isPlanned || loop.isOver) return;
  loop.isPlanned = true;
  loop.host.store.world.defer(() => {
    loop.isPlanned = false;
    turn(loop);
  });
}

/** An answer is there to be booked; while others are under way it may wait for them. */
function gather(loop: Draining, waitMs: number): void {
  if (waitMs === 0 || loop.flights.size === 0 || loop.isStopping) {
    poke(loop);
    return;
  }
  loop.gathering ??= loop.host.store.world.setTimer(waitMs, () => {
    loop.gathering = null;
    poke(loop);
  });
}

/**
 * After an answer: what is claimed ahead takes its place at once, and answers gather as long as there is something to begin. With the
 * last of it the commit is due that claims more; its time is not lost, because the wire is busy.
 */
function goOn(loop: Draining): void {
  const { ahead, host } = loop;
  const hadMore = ahead.requests.length > 0;
  beginClaimed(loop);
  const waitMs = ahead.requests.length > 0 ? longestGatherMs : hadMore ? 0 : gatherMsOf(host.store.memory.commitMs);
  gather(loop, ahead.isHeld ? 0 : waitMs);
}

/** Begins what is claimed, as much as has room. */
function beginClaimed(loop: Draining): void {
  const { store } = loop.host;
  try {
    while (!(loop.isOver || loop.isStopping || store.memory.isClosed)) {
      const request = takeFirst(store, loop.ahead, [...loop.flights.values()]);
      if (request === null) break;
      watch(loop, perform(loop, request), request);
    }
  } catch (error) {
    loop.ahead.isHeld = true;
    store.world.log("warn", "what is claimed could not be looked at", { error: String(error) });
  }
  if (loop.ahead.isHeld) poke(loop);
}

function takeBack(loop: Draining): void {
  const { host, ahead } = loop;
  if (ahead.requests.length === 0 || host.store.memory.isClosed) return;
  host.commit(() => {
    if (isDrainer(host.store)) giveBack(host.store, ahead);
  });
  ahead.requests = [];
}

/** One step: book what was answered, claim what may go, send it, and plan the next step. Level-triggered: it trusts no event. */
function turn(loop: Draining): void {
  const { store } = loop.host;
  if (loop.isOver || store.memory.isClosed) return;
  loop.wake?.();
  loop.wake = null;
  loop.gathering?.();
  loop.gathering = null;
  try {
    if (holdLock(loop)) advance(loop);
    else sleep(loop, standbyMs);
  } catch (error) {
    meetTrouble(loop, error);
  }
  if (loop.isStopping && loop.flights.size + loop.answers.length + loop.ahead.requests.length === 0)
    for (const done of loop.idle.splice(0)) done();
}

function advance(loop: Draining): void {
  pruneOnFullDisk(loop.host, loop.answers.length);
  if (!work(loop)) {
    yieldToNext(loop);
    return;
  }
  beginClaimed(loop);
  startErrands(loop);
  if (isQuiet(loop)) endRuns(loop.host);
  planNext(loop);
  recoverSpace(loop.host.store);
}

/** Takes the drainer's lock and, with it, a new epoch: every lease of an earlier drainer is void from here on. */
function holdLock(loop: Draining): boolean {
  const { store, commit } = loop.host;
  if (store.memory.epoch !== 0) return true;
  if (loop.isStopping || !store.world.drainer.tryLock()) return false;
  try {
    store.memory.epoch = commit(() => takeOver(store));
    return true;
  } catch (error) {
    // A lock that is held without an epoch would keep everybody else from draining.
    store.world.drainer.unlock();
    throw error;
  }
}

/** Books and claims in one commit; false when another process has become the drainer. */
function work(loop: Draining): boolean {
  const { host, ahead } = loop;
  const { store } = host;
  const booked = loop.answers.slice();
  const news = loop.news.slice();
  const observed = loop.observed.slice();
  const claim = (): readonly (readonly Claimed[])[] | null => {
    if (!isDrainer(store)) return null;
    noteClock(loop);
    for (const tell of news) tell();
    bookEvidence(store, observed);
    const kept = keepOrGiveBack(store, ahead, { flights: [...loop.flights.values()], isStopping: loop.isStopping });
    if (loop.isStopping) return kept;
    const runAt = nextRunAt(store);
    if (runAt !== null && runAt <= store.world.now()) openRun(store, countUnsent(store));
    expireDue(store);
    wakeDue(store);
    pruneSometimes(store);
    const pace = paceOf(store);
    const now = requestsOf(claimNext(store, capacityOf(loop.flights.values(), kept.flat(), pace)));
    const begun = [...loop.flights.values()].map((flight) => flight.claimed);
    // Only a commit that is needed anyway claims ahead.
    const isNeeded = booked.length + now.length > 0;
    const next = isNeeded ? claimAhead(store, ahead, [...begun, ...kept.flat(), ...now.flat()], pace) : [];
    return [...kept, ...now, ...next];
  };
  const claimed = commitBooking(host, booked, {
    work: claim,
    done: (requests) => noteWork(store, ahead, requests ?? []),
  });
  loop.answers.splice(0, booked.length);
  loop.news.splice(0, news.length);
  loop.observed.splice(0, observed.length);
  return claimed !== null;
}

/** What is on the wire belongs to the next drainer, which has sent it again under the same key: it is broken off here. */
function yieldToNext(loop: Draining): void {
  const { store } = loop.host;
  store.world.log("warn", "another process drains: the drainer's lock of this one was taken away", {});
  store.memory.epoch = 0;
  store.world.drainer.unlock();
  for (const flight of loop.flights.values()) flight.abort("stopped");
  for (const abort of loop.errands.values()) abort("stopped");
  sleep(loop, standbyMs);
}

/** Notices a wall clock that went back while this process ran, and notes the time now and then for the next process. */
function noteClock(loop: Draining): void {
  const { store } = loop.host;
  const now = { wall: store.world.now(), monotonic: store.world.monotonic() };
  const isShifted = shiftWithClock(store, loop.clock, now);
  loop.clock = now;
  if (isShifted || now.monotonic - loop.clockNotedAt > clockNoteMs) {
    loop.clockNotedAt = now.monotonic;
    if (loop.flights.size > 0 || loop.answers.length > 0) setMeta(store, "clock", String(now.wall));
  }
}

/** What breaks off unforeseen must neither end the process nor keep its operations on the wire for ever: their outcome is unknown. */
function watch(loop: Draining, work: Promise<void>, batch: readonly Claimed[]): void {
  const tell = (error: unknown): void => {
    const { world } = loop.host.store;
    world.log("error", "an attempt or a probe was broken off", { error: String(error) });
    for (const { seq, epoch } of batch) {
      const flight = loop.flights.get(seq);
      if (flight === undefined) continue;
      loop.flights.delete(seq);
      loop.answers.push({
        seq,
        epoch,
        answer: noAnswer(`the attempt was broken off: ${String(error)}`),
        startedAt: flight.startedAt,
      });
    }
    poke(loop);
  };
  // A world that is gone itself has nobody left to tell.
  work.catch(tell).catch(() => {});
}

/** Sends one operation or one batch and keeps the answers for the next booking. Never rejects. */
async function perform(loop: Draining, batch: readonly Claimed[]): Promise<void> {
  const { world } = loop.host.store;
  const [startedAt, beganAt] = [world.now(), world.monotonic()];
  const { signal, abort } = world.newAbort();
  for (const claimed of batch) {
    loop.flights.set(claimed.seq, { claimed, startedAt, abort, progress: null, savedAt: beganAt });
    tellLive(loop.host.store, claimed, "started", { attempt: claimed.operation.attempts });
  }
  const stopTimer = startTimeout(loop.host.store, batch, abort);
  const told = new Map<number, Answer>();
  const answers = await firstOf(loop, signal, runHandler(loop, batch, { signal, told }));
  stopTimer();
  const sent = batch.map((claimed, index) => {
    const answer =
      told.get(index) ?? answers[index] ?? noAnswer("the handler answered fewer operations than it was given");
    loop.flights.delete(claimed.seq);
    loop.answers.push({ seq: claimed.seq, epoch: claimed.epoch, operation: claimed.operation, answer, startedAt });
    return answer;
  });
  noteRemote(loop, batch[0]?.operation.remote ?? "", sent, startedAt);
  noteEnd(loop.ahead, batch, { ms: world.monotonic() - beganAt, answers: sent });
  goOn(loop);
}

type Hearing = { readonly signal: Signal; readonly told: Map<number, Answer> };

/** What a batch tells ahead of its end is kept: a time limit that cuts off the rest takes back no answer that has come. */
async function runHandler(
  loop: Draining,
  batch: readonly Claimed[],
  { signal, told }: Hearing,
): Promise<readonly Answer[]> {
  try {
    const attempts = batch.map((claimed) => attemptOf(loop, claimed, { signal, poke: () => poke(loop) }));
    const [first] = attempts;
    const type = batch[0]?.type;
    const hear = (index: number, answer: Answer): void => {
      told.set(index, signal.aborted ? afterAbort(checkAnswer(answer), signal.reason) : checkAnswer(answer));
    };
    if (type?.runBatch !== undefined) return (await type.runBatch.run(attempts, hear)).map(checkAnswer);
    if (type?.run === undefined || first === undefined) return [noAnswer("the type has no handler any more")];
    return [checkAnswer(await type.run(first))];
  } catch (error) {
    return batch.map(() => failedAnswer(error));
  }
}

/** The handler's answers, or, when it does not end although it was aborted, the news that there is none. */
async function firstOf(
  loop: Draining,
  signal: Signal,
  running: Promise<readonly Answer[]>,
): Promise<readonly Answer[]> {
  const { world } = loop.host.store;
  let cancel = (): void => {};
  const aborted = new Promise<readonly Answer[]>((resolve) => {
    signal.addEventListener("abort", () => {
      cancel = world.setTimer(lastWordMs, () => resolve([]));
    });
  });
  const answers = await Promise.race([running, aborted]);
  cancel();
  if (!signal.aborted) return answers;
  // A stop is not the remote's fault: whatever the handler made of the abort, it only means that the answer is unknown.
  return answers.length > 0
    ? answers.map((answer) => afterAbort(answer, signal.reason))
    : Array.from({ length: 1_000 }, () => abortAnswer(signal.reason));
}

/** What one request tells of its remote is booked with its answers. */
function noteRemote(loop: Draining, remote: string, answers: readonly Answer[], startedAt: number): void {
  const evidence = remote === "" ? undefined : evidenceOfAll(answers, startedAt);
  if (evidence === undefined) return;
  loop.observed.push({ remote, evidence });
}

/** Probes, pulls and fetches: what each has found is booked with the next commit. */
function startErrands(loop: Draining): void {
  const { store } = loop.host;
  if (loop.isStopping) return;
  listenForPokes(store, loop.watched, () => poke(loop));
  for (const errand of dueErrands(store, loop.errands)) {
    const { signal, abort } = store.world.newAbort();
    loop.errands.set(errand.name, abort);
    if (errand.begin !== undefined) loop.news.push(errand.begin);
    watch(loop, runErrand(loop, errand, signal), []);
  }
}

async function runErrand(loop: Draining, errand: Errand, signal: Signal): Promise<void> {
  try {
    loop.news.push(await errand.start(signal));
  } finally {
    loop.errands.delete(errand.name);
    poke(loop);
  }
}

/** Nothing is under way and nothing is left to book. */
function isQuiet({ flights, ahead, errands, answers, news, observed }: Draining): boolean {
  const unbooked = answers.length + news.length + observed.length;
  return flights.size + ahead.requests.length + errands.size + unbooked === 0;
}

function planNext(loop: Draining): void {
  const { store } = loop.host;
  if (loop.news.length + loop.observed.length + loop.answers.length > 0) {
    poke(loop);
    return;
  }
  // Nothing new begins any more, however overdue it is; what is under way says itself when it ends.
  const planned = loop.isStopping ? [] : [nextWakeAt(store, loop.clock.wall), nextErrandAt(store, loop.errands)];
  const times = planned.filter((time) => time !== null);
  const next = Math.min(...times, store.world.now() + longestSleepMs);
  const longest = loop.ahead.requests.length > 0 ? longestAheadMs : longestSleepMs;
  const tidyMs = loop.isStopping ? longestSleepMs : pruneWaitMs(store);
  sleep(loop, Math.min(Math.max(next - store.world.now(), 1), longest, tidyMs));
}

function sleep(loop: Draining, delayMs: number): void {
  loop.wake?.();
  loop.wake = loop.host.store.world.setTimer(delayMs, () => {
    loop.wake = null;
    turn(loop);
  });
}

/** The storage failed: nothing is forgotten, answers stay in memory, and on a full disk the reserve makes room to move. */
function meetTrouble(loop: Draining, error: unknown): void {
  const { store } = loop.host;
  const isFull = isCode(error, "disk_full");
  loop.ahead.isHeld = true;
  store.world.log("error", "the queue could not be advanced; it is tried again", { error: String(error) });
  if (isFull) {
    store.memory.isDiskFull = true;
    if (store.world.disk.releaseReserve()) {
      sleep(loop, 1);
      return;
    }
  }
  sleep(loop, troubleMs);
  if (isCode(error, "database_corrupt") || isCode(error, "record_corrupt")) store.onDamage(error);
}

async function stop(loop: Draining, graceMs: number): Promise<void> {
  const { store } = loop.host;
  loop.isStopping = true;
  poke(loop);
  const idle = new Promise<void>((resolve) => loop.idle.push(resolve));
  const end = (): void => {
    for (const done of loop.idle.splice(0)) done();
  };
  const cancels = [
    store.world.setTimer(graceMs, () => {
      for (const flight of loop.flights.values()) flight.abort("stopped");
    }),
    // A storage that takes no more bookings must not keep the process: what is unbooked is recovered under the same key.
    store.world.setTimer(graceMs + lastWordMs + troubleMs, end),
  ];
  if (store.memory.epoch === 0) end();
  await idle;
  for (const cancel of cancels) cancel();
  letGo(loop);
}

/** Gives the lock back after everything is booked, so that another process takes over without waiting. */
function letGo(loop: Draining): void {
  const { store, commit } = loop.host;
  if (loop.isOver) return;
  abandon(loop);
  if (store.memory.epoch === 0 || store.memory.isClosed) return;
  try {
    commit(() => {
      if (isDrainer(store)) setMeta(store, "drainer", "");
    });
  } catch (error) {
    store.world.log("warn", "the end of draining could not be noted", { error: String(error) });
  }
  store.memory.epoch = 0;
  store.world.drainer.unlock();
}

function abandon(loop: Draining): void {
  loop.isOver = true;
  stopListening(loop.host.store, loop.watched);
  for (const abort of loop.errands.values()) abort("stopped");
  loop.wake?.();
  loop.wake = null;
  loop.gathering?.();
  loop.gathering = null;
}
