/**
 * Owns draining: it claims, lets the world perform, and books the answers. It holds the only `await` of the engine.
 * Sending and book-keeping are separate: an answer is kept in memory until its booking is durable, so after a yes nothing but "done" can follow.
 */
import { isCode } from "../errors.ts";
import type { Answer, Json, Progress } from "../operation.ts";
import { State } from "../operation.ts";
import type { Attempt, Signal } from "../world.ts";
import { abortAnswer, afterAbort, checkAnswer, evidenceOfAll, failedAnswer, noAnswer, timeoutOf } from "./attempt.ts";
import type { LoopHost } from "./booking.ts";
import { commitBooking, gatherMsOf, keepCheckpoint } from "./booking.ts";
import type { Claimed } from "./claim.ts";
import { claimNext, freeWaiting, wakeDue } from "./claim.ts";
import type { Errand } from "./errands.ts";
import { dueErrands, listenForPokes, nextErrandAt, pullsBefore } from "./errands.ts";
import type { Flight } from "./flight.ts";
import { capacityOf, requestsOf } from "./flight.ts";
import { setMeta } from "./meta.ts";
import { noteEvidence } from "./network.ts";
import { getBrief, saveProgress, shiftDelays } from "./queue.ts";
import { clockSlackMs, isDrainer, takeOver } from "./recovery.ts";
import { countUnsent, expireDue } from "./retention.ts";
import { endSyncRun, openRunId } from "./runs.ts";
import type { Settled } from "./settle.ts";
import { paceOf, pruneOnFullDisk, pruneSometimes, recoverSpace } from "./space.ts";
import { movesBefore, nextWakeAt } from "./status.ts";
import { closeRun, currentRun, nextRunAt, openRun } from "./sync.ts";

/** The loop looks again at least this often, so that a jump of the wall clock is noticed and no timer has to be trusted for long. */
export const longestSleepMs = 30_000;

/** How often a process that may not drain looks whether it may. */
export const standbyMs = 1_000;

/** How long after a failure of the storage the book-keeping is tried again. */
export const troubleMs = 1_000;

/** A handler that was aborted gets this long to say how it ended; a command needs five seconds to end what it started. */
export const lastWordMs = 6_000;

/** A run stays open for what moves by itself within this time. */
export const runPatienceMs = 90_000;

const progressEveryMs = 1_000;
const clockNoteMs = 10_000;

export type Loop = {
  /** Something may have become ready; looks in the next tick. */
  readonly poke: () => void;
  readonly stop: (graceMs: number) => Promise<void>;
  /** Lets go at once, as a killed process would; rows in flight are recovered by the next drainer. */
  readonly abandon: () => void;
};

type Draining = {
  readonly host: LoopHost;
  readonly flights: Map<number, Flight>;
  readonly answers: Settled[];
  readonly news: (() => void)[];
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
    answers: [],
    news: [],
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
  return { poke: () => poke(loop), stop: (graceMs) => stop(loop, graceMs), abandon: () => abandon(loop) };
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
function gather(loop: Draining): void {
  const waitMs = gatherMsOf(loop.host.store.memory.commitMs);
  if (waitMs === 0 || loop.flights.size === 0 || loop.isStopping) {
    poke(loop);
    return;
  }
  loop.gathering ??= loop.host.store.world.setTimer(waitMs, () => {
    loop.gathering = null;
    poke(loop);
  });
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
  if (loop.isStopping && loop.flights.size === 0 && loop.answers.length === 0)
    for (const done of loop.idle.splice(0)) done();
}

function advance(loop: Draining): void {
  pruneOnFullDisk(loop.host, loop.answers.length);
  const claimed = work(loop);
  if (claimed === null) {
    yieldToNext(loop);
    return;
  }
  for (const request of requestsOf(claimed)) watch(loop, perform(loop, request), request);
  startErrands(loop);
  closeFinishedRun(loop);
  endIdleRun(loop);
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

/** Books and claims in one commit; `null` when another process has become the drainer. */
function work(loop: Draining): readonly Claimed[] | null {
  const { store } = loop.host;
  const booked = loop.answers.slice();
  const news = loop.news.slice();
  let isOurs = true;
  const claimed = commitBooking(loop.host, booked, () => {
    isOurs = isDrainer(store);
    if (!isOurs) return [];
    noteClock(loop);
    for (const tell of news) tell();
    if (loop.isStopping) return [];
    const runAt = nextRunAt(store);
    if (runAt !== null && runAt <= store.world.now()) openRun(store, countUnsent(store));
    expireDue(store);
    wakeDue(store);
    pruneSometimes(store);
    return claimNext(store, capacityOf(loop.flights.values(), paceOf(store)));
  });
  loop.answers.splice(0, booked.length);
  loop.news.splice(0, news.length);
  return isOurs ? claimed : null;
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
  const back = loop.clock.wall + (now.monotonic - loop.clock.monotonic) - now.wall;
  if (back > clockSlackMs) {
    shiftDelays(store, back);
    store.world.log("warn", "the wall clock went back; delays were kept", { byMs: back });
  }
  loop.clock = now;
  if (back > clockSlackMs || now.monotonic - loop.clockNotedAt > clockNoteMs) {
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
  const startedAt = world.now();
  const { signal, abort } = world.newAbort();
  for (const claimed of batch) {
    loop.flights.set(claimed.seq, { claimed, startedAt, abort, progress: null, savedAt: world.monotonic() });
    tellLive(loop, claimed, "started", { attempt: claimed.operation.attempts });
  }
  const stopTimer = startTimeout(loop, batch, abort);
  const told = new Map<number, Answer>();
  const answers = await firstOf(loop, signal, runHandler(loop, batch, { signal, told }));
  stopTimer();
  const sent = batch.map((claimed, index) => {
    const answer =
      told.get(index) ?? answers[index] ?? noAnswer("the handler answered fewer operations than it was given");
    loop.flights.delete(claimed.seq);
    loop.answers.push({ seq: claimed.seq, epoch: claimed.epoch, answer, startedAt });
    return answer;
  });
  noteRemote(loop, batch[0]?.operation.remote ?? "", sent, startedAt);
  gather(loop);
}

type Hearing = { readonly signal: Signal; readonly told: Map<number, Answer> };

/** What a batch tells ahead of its end is kept: a time limit that cuts off the rest takes back no answer that has come. */
async function runHandler(
  loop: Draining,
  batch: readonly Claimed[],
  { signal, told }: Hearing,
): Promise<readonly Answer[]> {
  try {
    const attempts = batch.map((claimed) => attemptOf(loop, claimed, signal));
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

function attemptOf(loop: Draining, claimed: Claimed, signal: Signal): Attempt {
  return {
    operation: claimed.operation,
    input: claimed.operation.payload,
    idempotencyKey: claimed.operation.idempotencyKey,
    signal,
    checkpoint: claimed.operation.checkpoint,
    saveCheckpoint: (value) =>
      keepCheckpoint(loop.host, claimed, {
        checkpoint: value,
        progress: loop.flights.get(claimed.seq)?.progress ?? null,
      }),
    reportProgress: (progress) => noteProgress(loop, claimed, progress),
  };
}

function noteProgress(loop: Draining, claimed: Claimed, progress: Progress): void {
  const { store } = loop.host;
  const flight = loop.flights.get(claimed.seq);
  if (flight === undefined || loop.isOver) return;
  flight.progress = progress;
  tellLive(loop, claimed, "progress", progress as unknown as Json);
  const now = store.world.monotonic();
  if (now - flight.savedAt < progressEveryMs) return;
  flight.savedAt = now;
  loop.news.push(() => {
    const op = getBrief(store, claimed.seq);
    if (op?.state === State.inFlight && op.lease === claimed.epoch) saveProgress(store, claimed.seq, progress);
  });
  poke(loop);
}

function tellLive(loop: Draining, claimed: Claimed, kind: "started" | "progress", detail: Json): void {
  const { store } = loop.host;
  store.tell({
    sequence: 0,
    at: store.world.now(),
    kind,
    id: claimed.operation.id,
    status: "in_progress",
    detail: detail as never,
  });
}

function startTimeout(loop: Draining, batch: readonly Claimed[], abort: (reason: unknown) => void): () => void {
  const timeout = Math.max(0, ...batch.map(({ type, operation }) => timeoutOf(type, operation.payload)));
  return timeout === 0 ? () => {} : loop.host.store.world.setTimer(timeout, () => abort("timeout"));
}

/** What one request tells of its remote is booked with its answers. */
function noteRemote(loop: Draining, remote: string, answers: readonly Answer[], startedAt: number): void {
  const { store } = loop.host;
  const evidence = remote === "" ? undefined : evidenceOfAll(answers, startedAt);
  if (evidence === undefined) return;
  loop.news.push(() => {
    noteEvidence(store, remote, evidence);
    if (evidence.kind === "answered") freeWaiting(store, remote);
  });
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

function closeFinishedRun(loop: Draining): void {
  const { store, commit } = loop.host;
  const run = currentRun(store);
  if (
    run === null ||
    run.endedAt !== null ||
    loop.flights.size > 0 ||
    loop.errands.size > 0 ||
    loop.answers.length > 0 ||
    loop.news.length > 0
  )
    return;
  const until = store.world.now() + runPatienceMs;
  if (movesBefore(store, { startedAt: run.startedAt, until }) || pullsBefore(store, until)) return;
  commit(() => closeRun(store, countUnsent(store)));
}

/** The record of a synchronisation ends with the last thing that moved. */
function endIdleRun(loop: Draining): void {
  const { store, commit } = loop.host;
  if (loop.flights.size > 0 || loop.errands.size > 0 || loop.answers.length > 0 || loop.news.length > 0) return;
  if (openRunId(store) !== null && !pullsBefore(store, store.world.now())) commit(() => endSyncRun(store));
}

function planNext(loop: Draining): void {
  const { store } = loop.host;
  if (loop.news.length > 0 || loop.answers.length > 0) {
    poke(loop);
    return;
  }
  const times = [nextWakeAt(store, loop.clock.wall), nextErrandAt(store, loop.errands)].filter((time) => time !== null);
  const next = Math.min(...times, store.world.now() + longestSleepMs);
  const delay = Math.max(next - store.world.now(), 1);
  sleep(loop, delay);
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
  for (const end of loop.watched.values()) end();
  for (const abort of loop.errands.values()) abort("stopped");
  loop.wake?.();
  loop.wake = null;
  loop.gathering?.();
  loop.gathering = null;
}
