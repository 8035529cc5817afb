/**
 * Owns the witness file: the highest sequence ever committed, kept outside the database, and the wake-up of other processes by it.
 * What a gap between it and the database means is judged in `salvage.ts`.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  fsyncSync,
  openSync,
  readSync,
  statSync,
  watch,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { LogLevel, Witness } from "../world.ts";
import { guarded } from "./sqlite-failure.ts";

const witnessName = "holdfast.witness";

/**
 * The file is one page of slots. Each process writes a pair of its own in turns: a torn write spoils one slot of a pair at
 * most. Once all pairs have been used, a new process takes one at random; whoever had it finds that out and takes another.
 */
const slotBytes = 64;
const pairs = 32;
const fileBytes = slotBytes * 2 * pairs;
const pairBytes = slotBytes * 2;
/** Record: magic, writer, sequence, turn, checksum. */
const magic = 0x48465731;
const checkedBytes = 28;
const writerBytes = 8;

const syncAfterMs = 1_000;
/** How often a process looks whether its pair is still its own: at each write that would cost as much as the write. */
const ownAgainMs = 100;
/** For file systems that tell nothing about changes (network shares, some containers). */
const pollMs = 1_500;
/** Commits that come in a burst are looked at, and those of others told, once per this long, the first one at once. */
const quietMs = 10;

export type NodeWitness = Witness & {
  /** Calls `listener` when another process has written; returns its end. */
  readonly watch: (listener: () => void) => () => void;
  readonly close: () => void;
};

type Log = (level: LogLevel, message: string) => void;
type Mark = { readonly writer: string; readonly sequence: number; readonly turn: number };
type Held = {
  readonly path: string;
  readonly log: Log;
  /** The mark that is written next; its writer is this process. */
  readonly record: Buffer;
  file: number;
  pair: number;
  turn: number;
  highest: number;
  /** What this process wrote last into its pair; anything else there means that another process took it. */
  readonly own: Buffer;
  /** When it was looked whether that is there, by the monotonic clock. */
  ownAt: number;
  /** The whole file as it was looked at last, to tell what others wrote since. */
  seen: Buffer;
  syncTimer: NodeJS.Timeout | null;
  readonly listeners: Set<() => void>;
  stopWatching: (() => void) | null;
};

/** Opens or creates the witness of a store. */
export function openWitness(directory: string, log: Log): NodeWitness {
  const path = join(directory, witnessName);
  const file = guarded(path, () => openFile(path));
  const held: Held = {
    path,
    log,
    record: newRecord(),
    file,
    pair: -1,
    turn: 0,
    highest: 0,
    own: Buffer.alloc(pairBytes),
    ownAt: Number.NEGATIVE_INFINITY,
    seen: Buffer.alloc(fileBytes),
    syncTimer: null,
    listeners: new Set(),
    stopWatching: null,
  };
  return {
    read: () => guarded(path, () => readHighest(held)),
    write: (sequence) => guarded(path, () => writeMark(held, sequence)),
    watch: (listener) => addListener(held, listener),
    close: () => close(held),
  };
}

/** The highest sequence that the witness in `directory` knows, without opening it for writing; `null` when it says nothing. */
export function readWitness(directory: string): number | null {
  const path = join(directory, witnessName);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return null;
  const file = openSync(path, "r");
  try {
    const marks = marksOf(readAll(file));
    return marks.length === 0 ? null : highestOf(marks);
  } finally {
    closeSync(file);
  }
}

function readHighest(held: Held): number {
  const content = readAll(held.file);
  const marks = marksOf(content);
  if (marks.length === 0 && content.some((byte) => byte !== 0)) {
    held.log("warn", `${held.path}: the witness is damaged; a loss before this moment could go unnoticed`);
  }
  return highestOf(marks);
}

function writeMark(held: Held, sequence: number): void {
  if (!isOwn(held)) choosePair(held, readAll(held.file));
  held.highest = Math.max(held.highest, sequence);
  held.turn += 1;
  const slot = held.turn % 2;
  encode(held.record, { sequence: held.highest, turn: held.turn });
  held.record.copy(held.own, slot * slotBytes);
  writeSync(held.file, held.record, 0, slotBytes, held.pair * pairBytes + slot * slotBytes);
  held.syncTimer ??= setTimeout(() => syncFromIdle(held), syncAfterMs).unref();
}

function isOwn(held: Held): boolean {
  if (held.pair < 0) return false;
  const now = performance.now();
  if (now - held.ownAt < ownAgainMs) return true;
  held.ownAt = now;
  const pair = Buffer.allocUnsafe(pairBytes);
  readSync(held.file, pair, 0, pairBytes, held.pair * pairBytes);
  return pair.equals(held.own);
}

/** Takes an unused pair, else one at random: its old mark is covered because this process's own is at least as high. */
function choosePair(held: Held, content: Buffer): void {
  held.highest = Math.max(held.highest, highestOf(marksOf(content)));
  const all = Array.from({ length: pairs }, (_, index) => index).filter((index) => index !== held.pair);
  const unused = all.filter((index) => pairOf(content, index).every((byte) => byte === 0));
  const choice = unused.length > 0 ? unused : all;
  held.pair = choice[Math.floor(Math.random() * choice.length)] ?? 0;
  pairOf(content, held.pair).copy(held.own);
}

/** Moves the mark to the disk once a second at most: the death of a process needs no sync, and a power cut may cost it a second. */
function syncFromIdle(held: Held): void {
  held.syncTimer = null;
  fsync(held.file, () => {});
}

function addListener(held: Held, listener: () => void): () => void {
  // Forgets what was written while nobody listened.
  if (held.listeners.size === 0) hasForeignChange(held);
  held.listeners.add(listener);
  held.stopWatching ??= watchFile(held);
  return () => {
    held.listeners.delete(listener);
    if (held.listeners.size > 0) return;
    held.stopWatching?.();
    held.stopWatching = null;
  };
}

function watchFile(held: Held): () => void {
  let quiet: NodeJS.Timeout | null = null;
  let isNoticed = false;
  /** Every write is noticed, this process's own as well, and looking costs as much as writing. */
  const look = (): void => {
    if (quiet !== null) {
      isNoticed = true;
      return;
    }
    // Where one has come more may follow, also on a file system that tells nothing.
    isNoticed = hasForeignChange(held);
    quiet = setTimeout(() => {
      quiet = null;
      if (isNoticed) look();
    }, quietMs).unref();
    if (isNoticed) for (const listener of held.listeners) listener();
  };
  let stopNotices = watchNotices(held, look);
  const poll = setInterval(() => {
    if (reopenWhenReplaced(held)) {
      stopNotices();
      stopNotices = watchNotices(held, look);
    }
    look();
  }, pollMs).unref();
  return () => {
    stopNotices();
    clearInterval(poll);
    if (quiet !== null) clearTimeout(quiet);
  };
}

function watchNotices(held: Held, look: () => void): () => void {
  try {
    const watcher = watch(held.path, { persistent: false }, look);
    watcher.on("error", () => watcher.close());
    return () => watcher.close();
  } catch (error) {
    held.log(
      "info",
      `${held.path}: changes are polled, because this file system does not tell them (${String(error)})`,
    );
    return () => {};
  }
}

function hasForeignChange(held: Held): boolean {
  let now: Buffer;
  try {
    now = readAll(held.file);
  } catch (error) {
    // The next notice or the poll looks again; whoever waits is held up that long, nothing is lost.
    held.log("warn", `${held.path}: the witness cannot be read: ${String(error)}`);
    return false;
  }
  const before = held.seen;
  held.seen = now;
  for (let pair = 0; pair < pairs; pair += 1) {
    if (pairOf(now, pair).equals(pairOf(before, pair))) continue;
    // Our own pair changes by our own hand only, unless its content is not what we wrote.
    if (pair !== held.pair || !pairOf(now, pair).equals(held.own)) return true;
  }
  return false;
}

/** A witness that was deleted or replaced under us would never change again; the poll finds the new one. */
function reopenWhenReplaced(held: Held): boolean {
  try {
    const there = statSync(held.path, { throwIfNoEntry: false });
    if (there !== undefined && there.ino === fstatSync(held.file).ino) return false;
    const file = openFile(held.path);
    closeSync(held.file);
    held.file = file;
    held.pair = -1;
    return true;
  } catch {
    return false;
  }
}

function close(held: Held): void {
  held.listeners.clear();
  held.stopWatching?.();
  held.stopWatching = null;
  if (held.syncTimer !== null) clearTimeout(held.syncTimer);
  if (held.file < 0) return;
  try {
    if (held.turn > 0) fsyncSync(held.file);
  } catch (error) {
    held.log("warn", `${held.path}: the witness could not be synced: ${String(error)}`);
  } finally {
    closeSync(held.file);
    held.file = -1;
  }
}

function openFile(path: string): number {
  try {
    const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    layOut(file);
    return file;
  } catch (error) {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) throw error;
    return openSync(path, constants.O_RDONLY);
  }
}

/** Laid out at once, so that a full disk later cannot stop a mark from being written; one that is full now may have room then. */
function layOut(file: number): void {
  try {
    const size = fstatSync(file).size;
    if (size < fileBytes) writeSync(file, Buffer.alloc(fileBytes - size), 0, fileBytes - size, size);
  } catch {
    // A mark that cannot be written is told when it is written.
  }
}

function readAll(file: number): Buffer {
  const content = Buffer.alloc(fileBytes);
  readSync(file, content, 0, fileBytes, 0);
  return content;
}

function pairOf(content: Buffer, pair: number): Buffer {
  return content.subarray(pair * pairBytes, (pair + 1) * pairBytes);
}

/** Writes a mark into `record`. Made anew for each, and by big integers, it would cost more than writing the file. */
function encode(record: Buffer, mark: { readonly sequence: number; readonly turn: number }): void {
  record.writeUInt32BE(Math.floor(mark.sequence / 2 ** 32), 12);
  record.writeUInt32BE(mark.sequence >>> 0, 16);
  record.writeUInt32BE(Math.floor(mark.turn / 2 ** 32), 20);
  record.writeUInt32BE(mark.turn >>> 0, 24);
  record.writeUInt32BE(crc32(record.subarray(0, checkedBytes)), checkedBytes);
}

/** A record that says whose it is and nothing else yet. */
function newRecord(): Buffer {
  const record = Buffer.alloc(slotBytes);
  record.writeUInt32BE(magic, 0);
  randomBytes(writerBytes).copy(record, 4);
  return record;
}

function marksOf(content: Buffer): readonly Mark[] {
  const marks: Mark[] = [];
  for (let at = 0; at + slotBytes <= content.length; at += slotBytes) {
    const record = content.subarray(at, at + slotBytes);
    if (record.readUInt32BE(0) !== magic) continue;
    if (record.readUInt32BE(checkedBytes) !== crc32(record.subarray(0, checkedBytes))) continue;
    const sequence = Number(record.readBigUInt64BE(12));
    if (!Number.isSafeInteger(sequence)) continue;
    marks.push({ writer: record.toString("hex", 4, 12), sequence, turn: Number(record.readBigUInt64BE(20)) });
  }
  return marks;
}

function highestOf(marks: readonly Mark[]): number {
  return marks.reduce((highest, mark) => Math.max(highest, mark.sequence), 0);
}
