/**
 * Owns the engine's face: open, one transaction per request, group commit, events, start and stop.
 * The verbs themselves are functions of the files beside; the only waiting is in `loop.ts`.
 */
import type { Database } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { NetworkPolicy } from "../network.ts";
import { networkPolicy } from "../network.ts";
import type { Json } from "../operation.ts";
import { ageing } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { Settings } from "../shapes.ts";
import type { HoldfastEvent, Input, Output, Verb } from "../verbs.ts";
import { parseInput, verbs } from "../verbs.ts";
import type { Collection, OperationType, SyncPort, World } from "../world.ts";
import { declareAll, unindexedCollections } from "./collections.ts";
import { dispatch } from "./dispatch.ts";
import { readFeedAfter } from "./history.ts";
import type { Loop } from "./loop.ts";
import { startLoop } from "./loop.ts";
import { isBrokenRow, mendAfterSalvage, mendRecords } from "./mending.ts";
import { getMeta } from "./meta.ts";
import { adoptRemote, makeRecordWrite, pushBatch, useServer } from "./push.ts";
import { takeWantedNews } from "./record-cache.ts";
import { ensureIndexes } from "./record-query.ts";
import { migrate } from "./schema.ts";
import type { Store } from "./store.ts";
import {
  bearWitness,
  countsSoFar,
  forgetRolledBack,
  isStorageFailure,
  newSyncMemory,
  readSequence,
  refuseWhenUnwritable,
  snapshot,
  transact,
} from "./store.ts";

export type EngineOptions = {
  readonly database: Database;
  readonly world: World;
  readonly types?: readonly OperationType[];
  /** Collections of this program; what can be said as data is kept in the store. */
  readonly collections?: readonly Collection[];
  /** The way to the sync server. Without it records stay pending until a process that has one drains. */
  readonly sync?: SyncPort;
  /** Defaults from a configuration; what was set at run time goes before them. */
  readonly settings?: Partial<Settings>;
  readonly version?: string;
  /** How many later enqueues one point of priority outweighs; for tests. */
  readonly ageing?: number;
  /** How many times what is on the wire is claimed ahead of it; for tests. Elsewhere as often as the time of a commit makes worthwhile. */
  readonly wavesAhead?: number;
  /** How many changes of records one push carries at most; for tests. */
  readonly pushBatch?: number;
  /** What was found and saved while opening a damaged store. */
  readonly recovery?: Json;
  /** Where it differs from the standard policy of reachability; a function is asked again and again, and may change its answer. */
  readonly network?: Partial<NetworkPolicy> | (() => Partial<NetworkPolicy>);
  /** Told when draining meets a damaged store; requests throw `database_corrupt` by themselves. */
  readonly onDamage?: (error: unknown) => void;
};

export type Engine = {
  /** Runs one verb in a transaction of its own; durable when it returns. */
  readonly handle: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  /** Runs one verb in a commit shared with whatever else is asked for in this tick; durable when it resolves. */
  readonly submit: <V extends Verb>(verb: V, input: Input<V>) => Promise<Output<V>>;
  /** Tells every change after its commit, also those of other processes. Returns its end. */
  readonly subscribe: (listener: (event: HoldfastEvent) => void) => () => void;
  /** Makes a type known at run time; what waited for it goes. */
  readonly register: (type: OperationType) => void;
  /** Drains the queue as soon as the drainer's lock can be had. */
  readonly start: () => void;
  /**
   * Exchanges the way to the sync server; `null`: there is none any more. What is under way is brought to an end first. Unsent work goes to
   * the new server; where that has another history, everything is read anew, and what it lacks is kept and asked about.
   */
  readonly setSync: (sync: SyncPort | null, graceMs?: number) => Promise<void>;
  /** Claims nothing more; attempts under way get `graceMs`, then they are aborted and wait for the next start. */
  readonly stop: (graceMs?: number) => Promise<void>;
  readonly close: () => void;
};

/** Milliseconds that attempts under way get at a stop. */
export const defaultGraceMs = 5_000;

/** Events read from the feed in one step. */
const feedPage = 1_000;

const openSavepoint = "SAVEPOINT request";
const keepSavepoint = "RELEASE request";
const undoSavepoint = "ROLLBACK TO request";

type Asked = {
  readonly verb: Verb;
  readonly input: unknown;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: unknown) => void;
};

type Face = {
  readonly store: Store;
  readonly listeners: Set<(event: HoldfastEvent) => void>;
  readonly asked: Asked[];
  loop: Loop | null;
  /** Somebody wants it to send; an exchange of the server comes back to that. */
  isWanted: boolean;
  /** The loop is poked in the next turn. */
  isPoking: boolean;
};

/**
 * Opens the engine on a database. Nothing is sent before `start`.
 * @example
 * const engine = openEngine({ database, world, types: [httpRequest] });
 * engine.handle("queue.add", { type: "http.request", payload: { method: "POST", url: "https://example.com/notes" } });
 */
export function openEngine(options: EngineOptions): Engine {
  migrate(options.database);
  const listeners = new Set<(event: HoldfastEvent) => void>();
  const onDamage = (error: unknown): void => {
    if (!isBrokenRow(error)) options.onDamage?.(error);
    else if (mend(store, error)) face.loop?.poke();
  };
  const store = newStore({ ...options, onDamage }, (event) => tellAll(store, listeners, event));
  const face: Face = { store, listeners, asked: [], loop: null, isWanted: false, isPoking: false };
  store.types.set(recordWriteType, makeRecordWrite(store));
  if (!options.database.isReadOnly) mendSalvaged(store);
  const hasRecords = store.collections.size > 0 || store.sync !== null;
  if (hasRecords && !options.database.isReadOnly) prepareRecords(store);
  if (!options.database.isReadOnly) repairIndexes(store);
  store.memory.told = readSequence(store);
  store.memory.witnessed = store.memory.told;
  store.memory.committed = store.memory.told;
  const unwatch = options.world.watch(() => {
    if (store.memory.isClosed) return;
    tellNews(face);
    face.loop?.poke();
  });
  return {
    handle: (verb, input) => mended(store, () => handle(face, verb, input)),
    submit: (verb, input) => submit(face, verb, input),
    subscribe: (listener) => {
      if (listeners.size === 0 && !store.memory.isClosed) store.memory.told = readSequence(store);
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    register: (type) => {
      store.types.set(type.type, type);
      face.loop?.poke();
    },
    start: () => start(face),
    setSync: (sync, graceMs = defaultGraceMs) => exchangeServer(face, sync, graceMs),
    stop: (graceMs = defaultGraceMs) => {
      face.isWanted = false;
      return stop(face, graceMs);
    },
    close: () => {
      if (store.memory.isClosed) return;
      flush(face);
      face.loop?.abandon();
      store.memory.isClosed = true;
      unwatch();
      store.db.close();
    },
  };
}

/** What a salvage has carried over is put right before anything is read of it. */
function mendSalvaged(store: Store): void {
  if ((getMeta(store, "mend") ?? "") !== "") transact(store, () => mendAfterSalvage(store));
}

/** Puts broken rows of records right, so that what was asked can be asked again; false where that is not what is wrong. */
function mend(store: Store, error: unknown): boolean {
  if (!isBrokenRow(error) || store.db.isReadOnly || store.memory.isClosed) return false;
  store.world.log("error", "a row of records is damaged; everything that is damaged is put right", {
    error: String(error),
  });
  transact(store, () => mendRecords(store));
  return true;
}

function mended<T>(store: Store, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    if (!mend(store, error)) throw error;
    return ask();
  }
}

/** Keeps what the program declares, and leads what is queued to the server that it names; writes nothing when nothing has changed. */
function prepareRecords(store: Store): void {
  mended(store, () =>
    transact(store, () => {
      declareAll(store);
      adoptRemote(store);
    }),
  );
}

/** Queries name their indexes, so one that is missing would fail them; looking costs a read, and nothing is written when all is there. */
function repairIndexes(store: Store): void {
  if (mended(store, () => unindexedCollections(store)).length === 0) return;
  transact(store, () => {
    for (const info of unindexedCollections(store)) ensureIndexes(store, info);
  });
}

/** What every engine function works on, freshly opened. For measuring parts of the engine by themselves; programs use `openEngine`. */
export function newStore(options: EngineOptions, tell: (event: HoldfastEvent) => void): Store {
  return {
    db: options.database,
    world: options.world,
    types: new Map((options.types ?? []).map((type) => [type.type, type])),
    collections: new Map((options.collections ?? []).map((collection) => [collection.name, collection])),
    get sync() {
      return this.memory.sync.port;
    },
    ageing: options.ageing ?? ageing,
    wavesAhead: options.wavesAhead ?? null,
    pushBatch: options.pushBatch ?? pushBatch,
    configured: options.settings ?? {},
    version: options.version ?? "0.0.0",
    recovery: options.recovery ?? null,
    network: networkOf(options.network),
    onDamage: options.onDamage ?? (() => {}),
    memory: {
      told: 0,
      witnessed: 0,
      transaction: null,
      committed: 0,
      epoch: 0,
      commitMs: 0,
      oldestUnsent: 0,
      isDiskFull: false,
      isClosed: false,
      prune: { nextAt: Number.NEGATIVE_INFINITY, isBehind: false },
      toldPruned: 0,
      settings: null,
      policies: new WeakMap(),
      channels: new Map(),
      channelsByName: new Map(),
      sync: newSyncMemory(options.sync ?? null),
    },
    tell,
  };
}

function networkOf(given: EngineOptions["network"]): () => NetworkPolicy {
  const ask = typeof given === "function" ? given : () => given;
  let last = ask();
  let policy = { ...networkPolicy, ...last };
  return () => {
    const now = ask();
    if (now !== last) policy = { ...networkPolicy, ...now };
    last = now;
    return policy;
  };
}

function refuseClosed(store: Store): void {
  if (!store.memory.isClosed) return;
  throw new HoldfastError("engine_closed", "the engine is closed", "open it again; what was queued is kept");
}

function handle<V extends Verb>(face: Face, verb: V, input: Input<V>): Output<V> {
  const { store } = face;
  refuseClosed(store);
  const checked = parseInput(verb, input);
  if (verbs[verb].kind === "read") {
    const output = snapshot(store, () => dispatch(store, verb, checked));
    if (takeWantedNews(store)) face.loop?.poke();
    return output;
  }
  refuseWhenUnwritable(store);
  if (changesWhatGoes(verb)) face.loop?.takeBack();
  const output = commit(face, () => dispatch(store, verb, checked));
  pokeBehind(face);
  return output;
}

/** What is asked in answer to a write, as by a live query, goes before the loop's turn, which takes as long as both. */
function pokeBehind(face: Face): void {
  if (face.loop === null || face.isPoking) return;
  face.isPoking = true;
  face.store.world.defer(() => {
    face.isPoking = false;
    face.loop?.poke();
  });
}

/** Verbs that add work or let more of it go; every other one that writes may concern what is claimed and has not begun. */
const additions: ReadonlySet<Verb> = new Set<Verb>([
  "queue.add",
  "queue.addMany",
  "queue.import",
  "queue.release",
  "queue.resume",
  "records.write",
  "records.transaction",
  "records.import",
  "records.pin",
  "collections.declare",
  "collections.sync",
  "network.check",
  "network.online",
  "subject.signIn",
]);

const changesWhatGoes = (verb: Verb): boolean => verbs[verb].kind === "write" && !additions.has(verb);

/** One durable transaction, and what follows from it: the witness, then the listeners. */
function commit<T>(face: Face, work: () => T, done?: (output: T) => void): T {
  const { store } = face;
  try {
    const output = transact(store, work);
    done?.(output);
    bearWitness(store);
    tellNews(face);
    return output;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "disk_full") store.memory.isDiskFull = true;
    throw error;
  }
}

function submit<V extends Verb>(face: Face, verb: V, input: Input<V>): Promise<Output<V>> {
  return new Promise((resolve, reject) => {
    try {
      refuseClosed(face.store);
      const checked = parseInput(verb, input);
      if (verbs[verb].kind === "write") refuseWhenUnwritable(face.store);
      face.asked.push({ verb, input: checked, resolve: resolve as (output: unknown) => void, reject });
      if (face.asked.length === 1) face.store.world.defer(() => flush(face));
    } catch (error) {
      reject(error);
    }
  });
}

/** Runs everything that was asked for in this tick in one commit; one fsync serves all of it. */
function flush(face: Face): void {
  const asked = face.asked.splice(0);
  if (asked.length === 0) return;
  const isWriting = asked.some((each) => verbs[each.verb].kind === "write");
  try {
    refuseClosed(face.store);
    if (asked.some((each) => changesWhatGoes(each.verb))) face.loop?.takeBack();
    const answers = mended(face.store, () => answerTogether(face, asked, isWriting));
    for (const answer of answers) answer();
  } catch (error) {
    for (const each of asked) each.reject(error);
    return;
  }
  if (isWriting || takeWantedNews(face.store)) pokeBehind(face);
}

/** Savepoints cost more than most requests, so they come in only when one of the requests has failed, in a second run of all. */
function answerTogether(face: Face, asked: readonly Asked[], isWriting: boolean): readonly (() => void)[] {
  const { store } = face;
  const run = (answer: (store: Store, each: Asked) => () => void): readonly (() => void)[] => {
    const work = () => asked.map((each) => answer(store, each));
    return isWriting ? commit(face, work) : snapshot(store, work);
  };
  try {
    return run(runPlainly);
  } catch (error) {
    if (asked.length === 1 || isStorageFailure(error)) throw error;
    return run(runApart);
  }
}

function runPlainly(store: Store, asked: Asked): () => void {
  const output = dispatch(store, asked.verb, asked.input as never);
  return () => asked.resolve(output);
}

/** Runs one request of a shared commit so that its failure undoes only itself. */
function runApart(store: Store, asked: Asked): () => void {
  store.db.prepare(openSavepoint).run();
  const counts = countsSoFar(store);
  try {
    const output = dispatch(store, asked.verb, asked.input as never);
    store.db.prepare(keepSavepoint).run();
    return () => asked.resolve(output);
  } catch (error) {
    // After a failure of the storage SQLite may have rolled everything back: nothing of this commit can be trusted then.
    if (isStorageFailure(error)) throw error;
    store.db.prepare(undoSavepoint).run();
    store.db.prepare(keepSavepoint).run();
    forgetRolledBack(store, counts);
    return () => asked.reject(error);
  }
}

/** Tells the listeners what was committed since they were told last, by whichever process. */
function tellNews(face: Face): void {
  const { store, listeners } = face;
  if (listeners.size === 0) return;
  for (;;) {
    const events = readFeedAfter(store, store.memory.told, feedPage);
    for (const event of events) {
      store.memory.told = Math.max(store.memory.told, event.sequence);
      tellAll(store, listeners, event);
    }
    if (events.length < feedPage) return;
  }
}

function tellAll(store: Store, listeners: ReadonlySet<(event: HoldfastEvent) => void>, event: HoldfastEvent): void {
  for (const listener of listeners) {
    try {
      listener(event);
    } catch (cause) {
      store.world.log("error", "a listener failed", { error: String(cause), kind: event.kind });
    }
  }
}

function start(face: Face): void {
  const { store } = face;
  refuseClosed(store);
  face.isWanted = true;
  if (store.db.isReadOnly || face.loop !== null) return;
  face.loop = startLoop({ store, commit: (work, done) => commit(face, work, done) });
}

/** Nothing of the old server may be booked after the new one has been named, so sending rests in between. */
function exchangeServer(face: Face, sync: SyncPort | null, graceMs: number): Promise<void> {
  const { store } = face;
  return stop(face, graceMs).then(() => {
    if (store.memory.isClosed) return;
    useServer(store, sync);
    store.types.set(recordWriteType, makeRecordWrite(store));
    if (!store.db.isReadOnly) mended(store, () => commit(face, () => adoptRemote(store)));
    if (face.isWanted) start(face);
  });
}

function stop(face: Face, graceMs: number): Promise<void> {
  const loop = face.loop;
  face.loop = null;
  return loop === null ? Promise.resolve() : loop.stop(graceMs);
}
