/**
 * Owns what every engine function works on: the connection, the world, the known types, and the transaction around one request.
 * What the requests do is in the files beside; when they run is `engine.ts` and `loop.ts`.
 */
import type { Database, Row, SqlValue } from "../database.ts";
import { assert, HoldfastError } from "../errors.ts";
import type { NetworkPolicy, Reachability } from "../network.ts";
import type { Json } from "../operation.ts";
import type { CollectionSpec } from "../record.ts";
import type { RetryPolicy } from "../retry.ts";
import type { Settings } from "../shapes.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { Collection, OperationType, SyncPort, World } from "../world.ts";
import type { CollectionInfo } from "./collections.ts";
import type { Gates } from "./gates.ts";
import { Counter } from "./schema.ts";

/** Facts that hold until the transaction ends, so that a thousand operations queued together read them once. */
export type Transaction = {
  /** Last sequence taken; written back at the end. `null` when none was taken. */
  sequence: number | null;
  /** The sequence that the store has, once somebody has asked. */
  storedSequence: number | null;
  readonly meta: Map<string, string | null>;
  gates: Gates | null;
  readonly remotes: Map<string, Reachability>;
  settings: Settings | null;
  hasAliases: boolean | null;
  /** How much the store held when the transaction began, once somebody has asked. */
  fullness: Fullness | null;
  /** What the transaction has added to each counter so far; written at its end, and read together with the stored number. */
  readonly counts: Map<number, number>;
  hasChoices: boolean | null;
  /** What has landed in it and is not told of yet: how many operations, and the records that they changed. */
  readonly landed: Landed;
};

/** Operations of records that the server has taken, and the records that they changed. */
export type Landed = { operations: number; records: { readonly info: CollectionInfo; readonly key: string }[] };

/** How much is queued and kept. */
export type Fullness = { readonly unsent: number; readonly operations: number; readonly bytes: number };

/** What lives in memory only and is rebuilt at open; the store is the truth. */
export type Memory = {
  /** Sequence up to which events were told to listeners of this process. */
  told: number;
  /** Highest sequence written to the witness. */
  witnessed: number;
  /** What the transaction under way has read already; `null` between transactions, when others may write. */
  transaction: Transaction | null;
  /** Last sequence that this process has committed. */
  committed: number;
  /** The drainer's epoch while this process drains, else 0. */
  epoch: number;
  /** How long the last write took to become durable: the commit alone, without the work before it. */
  commitMs: number;
  /** No operation before this sequence is unsent. */
  oldestUnsent: number;
  isDiskFull: boolean;
  isClosed: boolean;
  /** By the monotonic clock. `isBehind`: more was there to drop than fits into one pass. */
  prune: { readonly nextAt: number; readonly isBehind: boolean };
  /** Up to this sequence none of the store's own history is left. */
  toldPruned: number;
  /** Parsed settings beside the text they came from. */
  settings: { readonly text: string; readonly value: Settings } | null;
  /** Retry policies made whole, by the settings in force and what was given. */
  readonly policies: WeakMap<Settings, Map<unknown, RetryPolicy>>;
  readonly channels: Map<number, Channel>;
  /** The same channels by what they are. */
  readonly channelsByName: Map<string, Channel>;
  readonly sync: SyncMemory;
};

/** What the record layer remembers between transactions. */
export type SyncMemory = {
  /** The way to the sync server; it may be exchanged while the engine works. */
  port: SyncPort | null;
  /** Parsed specifications beside the text they came from, by name. */
  readonly specs: Map<string, { readonly text: string; readonly spec: CollectionSpec }>;
  /** Rows of collections that were found intact, by name. */
  readonly rows: Map<string, Row>;
  /** The row up to which each table of records was looked through in idle time. */
  readonly scrubbed: Map<string, number>;
  /** Heads that pokes have named, by space. */
  readonly poked: Map<string, number>;
  /** What is known of each space that is listened to. */
  readonly watching: Map<string, Watching>;
  /** Spaces whose pokes have come before the news they told of. */
  readonly trusted: Set<string>;
  /** The highest version known of each space, with its history; filled when it is first asked for (`seen.ts`). */
  readonly seen: Map<string, { readonly history: string; readonly version: number }>;
  /** When a fetch that failed is tried again, by the monotonic clock. */
  fetchAt: number;
  /** Bytes that crossed the wire and are not booked yet. */
  bytesSent: number;
  bytesReceived: number;
};

/** Whether pokes of a space come through, since when, and what kept them from it last. */
export type Watching = {
  readonly isListening: boolean;
  readonly since: number;
  readonly pokedAt: number | null;
  readonly error: { readonly at: number; readonly reason: string } | null;
};

export const newSyncMemory = (port: SyncPort | null): SyncMemory => ({
  port,
  specs: new Map(),
  rows: new Map(),
  scrubbed: new Map(),
  poked: new Map(),
  watching: new Map(),
  trusted: new Set(),
  seen: new Map(),
  fetchAt: Number.NEGATIVE_INFINITY,
  bytesSent: 0,
  bytesReceived: 0,
});

/** What gates an operation: where it goes, what it is, whose it is. */
export type Channel = { readonly id: number; readonly remote: string; readonly type: string; readonly subject: string };

export type Store = {
  readonly db: Database;
  readonly world: World;
  readonly types: Map<string, OperationType>;
  /** Collections that this program declared, for their parts that are code. */
  readonly collections: ReadonlyMap<string, Collection>;
  /** The way to the sync server; `null` where this process has none. */
  readonly sync: SyncPort | null;
  readonly ageing: number;
  /** For tests: how many times what is on the wire is claimed ahead, whatever a commit costs; else `null`. */
  readonly wavesAhead: number | null;
  /** How many changes of records one push carries at most. */
  readonly pushBatch: number;
  /** Defaults from the configuration; what was set at run time goes before them. */
  readonly configured: Partial<Settings>;
  readonly version: string;
  readonly recovery: Json;
  /** The policy of reachability in force. */
  readonly network: () => NetworkPolicy;
  readonly onDamage: (error: unknown) => void;
  readonly memory: Memory;
  /** Tells the listeners of this process what is only told live. */
  readonly tell: (event: HoldfastEvent) => void;
};

const begin = "BEGIN IMMEDIATE";
const beginRead = "BEGIN";
const commit = "COMMIT";
const rollback = "ROLLBACK";
const readCounter = "SELECT n FROM counter WHERE id = ?";
const writeCounter = "UPDATE counter SET n = ? WHERE id = ?";
const addToCounter = "UPDATE counter SET n = n + ? WHERE id = ?";

/** Runs one write transaction; when this returns, its effects are durable. */
export function transact<T>(store: Store, work: () => T): T {
  return within(store, begin, work);
}

/** Runs reads on one snapshot. */
export function snapshot<T>(store: Store, work: () => T): T {
  return within(store, beginRead, work);
}

function within<T>(store: Store, opening: string, work: () => T): T {
  const { memory } = store;
  store.db.prepare(opening).run();
  memory.transaction = newTransaction(null, []);
  try {
    const output = work();
    const { sequence } = memory.transaction;
    writeCounts(store);
    if (sequence !== null) store.db.prepare(writeCounter).run(sequence, Counter.sequence);
    const beganAt = store.world.monotonic();
    store.db.prepare(commit).run();
    if (opening === begin) memory.commitMs = store.world.monotonic() - beganAt;
    memory.committed = sequence ?? memory.committed;
    return output;
  } catch (error) {
    abandon(store);
    throw error;
  } finally {
    memory.transaction = null;
  }
}

const newTransaction = (sequence: number | null, counts: Counts): Transaction => ({
  sequence,
  storedSequence: null,
  meta: new Map(),
  gates: null,
  remotes: new Map(),
  settings: null,
  hasAliases: null,
  fullness: null,
  counts: new Map(counts),
  hasChoices: null,
  landed: { operations: 0, records: [] },
});

const openSavepoint = "SAVEPOINT part";
const keepSavepoint = "RELEASE part";
const undoSavepoint = "ROLLBACK TO part";

/** Why a part of a request was refused. */
export type Refused = { readonly code: string; readonly message: string; readonly hint: string };

/** Does one part of a request so that its refusal undoes only itself; failures of the storage go on and end the whole request. */
export function apart(store: Store, work: () => void): Refused | null {
  store.db.prepare(openSavepoint).run();
  const counts = countsSoFar(store);
  try {
    work();
    store.db.prepare(keepSavepoint).run();
    return null;
  } catch (error) {
    if (isStorageFailure(error) || !(error instanceof HoldfastError) || error.code === "internal") throw error;
    store.db.prepare(undoSavepoint).run();
    store.db.prepare(keepSavepoint).run();
    forgetRolledBack(store, counts);
    return { code: error.code, message: error.message, hint: error.hint };
  }
}

/** What a transaction had counted at some moment: the part of its memory that a rollback to a savepoint has to go back to. */
export type Counts = readonly (readonly [number, number])[];

export function countsSoFar(store: Store): Counts {
  return [...(store.memory.transaction?.counts ?? [])];
}

/** After a rollback nothing read before it is certain; a channel that was added must not be remembered, its number goes to another one. */
export function forgetRolledBack(store: Store, counts: Counts): void {
  const { memory } = store;
  memory.oldestUnsent = 0;
  memory.toldPruned = 0;
  memory.channels.clear();
  memory.channelsByName.clear();
  // Sequences taken by what was rolled back stay taken: a gap is harmless, a repetition is not.
  if (memory.transaction !== null) memory.transaction = newTransaction(memory.transaction.sequence, counts);
}

function abandon(store: Store): void {
  forgetRolledBack(store, []);
  try {
    store.db.prepare(rollback).run();
  } catch {
    // SQLite has rolled back by itself after some failures (full disk, I/O); the first error is the one to tell.
  }
}

/**
 * Takes the next sequence number; one counter orders operations and changes alike. The transaction writes it back once, at
 * its end: a thousand operations queued together would else write it a thousand times.
 */
export function takeSequence(store: Store): number {
  const next = readSequence(store) + 1;
  assert(store.memory.transaction !== null, "a sequence is taken within a transaction");
  store.memory.transaction.sequence = next;
  return next;
}

export function readSequence(store: Store): number {
  const { transaction } = store.memory;
  return transaction?.sequence ?? transaction?.storedSequence ?? readCount(store, Counter.sequence);
}

export function readCount(store: Store, counter: number): number {
  const stored = Number(store.db.prepare(readCounter).get(counter)?.n ?? 0);
  return stored + (store.memory.transaction?.counts.get(counter) ?? 0);
}

/** Changes a counter. The transaction writes the sum once, at its end: a thousand operations queued together would else write each a thousand times. */
export function addCount(store: Store, counter: number, change: number): void {
  const counts = store.memory.transaction?.counts;
  // Outside a transaction every statement commits by itself, and so does its count.
  if (counts === undefined) store.db.prepare(addToCounter).run(change, counter);
  else counts.set(counter, (counts.get(counter) ?? 0) + change);
}

/** Writes what was counted so far. Whoever reads the table `counter` itself within a transaction calls this first. */
export function writeCounts(store: Store): void {
  const { transaction } = store.memory;
  if (transaction === null || transaction.counts.size === 0) return;
  const add = store.db.prepare(addToCounter);
  for (const [counter, change] of transaction.counts) if (change !== 0) add.run(change, counter);
  transaction.counts.clear();
  transaction.fullness = null;
}

/** Writes the witness after a commit; a failure only weakens the check at the next open, so it is told and survived. */
export function bearWitness(store: Store): void {
  const sequence = store.memory.committed;
  if (sequence === store.memory.witnessed) return;
  store.memory.witnessed = sequence;
  try {
    store.world.witness.write(sequence);
  } catch (cause) {
    store.world.log("warn", "the witness could not be written", { error: String(cause) });
  }
}

const storageCodes = ["disk_full", "read_only", "io_failed", "database_busy", "database_corrupt", "record_corrupt"];

/** Whether an error came from the storage and not from the request; a refusal for lack of free space is the request's. */
export function isStorageFailure(error: unknown): boolean {
  return error instanceof HoldfastError && storageCodes.includes(error.code) && error.details?.freeBytes === undefined;
}

export function refuseWhenUnwritable(store: Store): void {
  if (store.db.isReadOnly) {
    throw new HoldfastError(
      "read_only",
      "the store is open for reading only",
      "make its directory writable and open it again",
    );
  }
}

export const text = (value: SqlValue | undefined): string => (typeof value === "string" ? value : "");
export const textOrNull = (value: SqlValue | undefined): string | null => (typeof value === "string" ? value : null);
export const integer = (value: SqlValue | undefined): number => (typeof value === "number" ? value : 0);
export const integerOrNull = (value: SqlValue | undefined): number | null => (typeof value === "number" ? value : null);

/** Reads a JSON column; `null` for an empty one. A text that storage has changed is shown as it is; its hash keeps it from being sent. */
export function json(row: Row, column: string): Json {
  const value = row[column];
  return typeof value === "string" ? parsed<Json>(value, value) : null;
}

/** Reads JSON that this program wrote. One text that storage has changed must not stop everything that lies beside it. */
export function parsed<T>(written: string, fallback: T): T {
  try {
    return JSON.parse(written) as T;
  } catch {
    return fallback;
  }
}
