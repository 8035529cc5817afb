/**
 * Owns the readable image of a damaged store: a copy of the file with every page of the WAL that is still whole laid over it.
 * What rows are in it is left to `carve.ts` and `salvage.ts`; the damaged files themselves are never written.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, statSync, writeSync } from "node:fs";

const walHeaderBytes = 32;
const frameHeaderBytes = 24;
const defaultPageBytes = 4_096;
const sqliteMagic = Buffer.from("SQLite format 3\0", "latin1");

export type Wal = {
  readonly content: Buffer;
  readonly pageBytes: number;
  readonly frames: readonly Frame[];
  /** Frames of this WAL that SQLite would drop without a word, because a checksum before or in them is wrong. */
  readonly dropped: number;
};

type Frame = { readonly at: number; readonly page: number; readonly commitPages: number; readonly isChained: boolean };

/** Reads a WAL file; `null` when there is none or nothing in it. Format: sqlite.org/fileformat2.html, section 4. */
export function readWal(path: string): Wal | null {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= walHeaderBytes) return null;
  const content = readFileSync(path);
  const given = content.readUInt32BE(8);
  const pageBytes = isPageSize(given) ? given : defaultPageBytes;
  const isBigEndian = (content.readUInt32BE(0) & 1) === 1;
  let sum: Sum = checksum(content, { from: 0, to: 24, isBigEndian, start: [0, 0] });
  const isHeaderWhole = sum[0] === content.readUInt32BE(24) && sum[1] === content.readUInt32BE(28);
  // With a damaged header the first frame tells which salts belong together.
  const saltsAt = isHeaderWhole ? 16 : walHeaderBytes + 8;
  if (content.length < walHeaderBytes + frameHeaderBytes + pageBytes) return null;
  const salts = content.subarray(saltsAt, saltsAt + 8);
  const frames: Frame[] = [];
  let isChained = isHeaderWhole;
  const step = frameHeaderBytes + pageBytes;
  for (let at = walHeaderBytes; at + step <= content.length; at += step) {
    const own = content.subarray(at + 8, at + 16);
    // One damaged salt does not make a frame a stranger; leftovers of an earlier round differ in both.
    if (!own.subarray(0, 4).equals(salts.subarray(0, 4)) && !own.subarray(4).equals(salts.subarray(4))) {
      // Either the leftovers begin here, or this one frame is ruined and its own round goes on behind it.
      isChained = false;
      continue;
    }
    sum = checksum(content, { from: at, to: at + 8, isBigEndian, start: sum });
    sum = checksum(content, { from: at + frameHeaderBytes, to: at + step, isBigEndian, start: sum });
    const isWhole = sum[0] === content.readUInt32BE(at + 16) && sum[1] === content.readUInt32BE(at + 20);
    isChained &&= isWhole && own.equals(salts);
    frames.push({ at, page: content.readUInt32BE(at), commitPages: content.readUInt32BE(at + 4), isChained });
  }
  return { content, pageBytes, frames, dropped: frames.filter((frame) => !frame.isChained).length };
}

/** Builds the image at `target`. Its header is mended, so that SQLite opens what is left behind it. */
export function buildImage(source: { readonly database: string; readonly wal: Wal | null }, target: string): void {
  const file = openSync(target, "w+", 0o600);
  try {
    if (statSync(source.database, { throwIfNoEntry: false }) !== undefined) copyReadable(source.database, file);
    if (source.wal !== null) layWal(file, source.wal);
    mendHeader(file);
  } finally {
    closeSync(file);
  }
}

/** Copies page by page: one that the disk cannot read any more stays empty, and the others are not given up for it. */
function copyReadable(path: string, target: number): void {
  const source = openSync(path, "r");
  try {
    const sizeBytes = fstatSync(source).size;
    for (let at = 0; at < sizeBytes; at += defaultPageBytes) {
      const page = Buffer.alloc(Math.min(defaultPageBytes, sizeBytes - at));
      try {
        readSync(source, page, 0, page.length, at);
      } catch {
        page.fill(0);
      }
      writeSync(target, page, 0, page.length, at);
    }
  } finally {
    closeSync(source);
  }
}

function layWal(file: number, wal: Wal): void {
  const { content, pageBytes, frames } = wal;
  const lastCommit = frames.findLastIndex((frame) => frame.commitPages > 0);
  // A page number beyond what the file can have grown to is damage.
  const mostPages = fstatSync(file).size / pageBytes + frames.length;
  for (const frame of frames.slice(0, lastCommit + 1)) {
    if (frame.page === 0 || frame.page > mostPages) continue;
    writeSync(file, content, frame.at + frameHeaderBytes, pageBytes, (frame.page - 1) * pageBytes);
  }
}

/** A header is known in advance except for its counters; one that is damaged would hide the whole file behind it. */
function mendHeader(file: number): void {
  const header = Buffer.alloc(100);
  readSync(file, header, 0, header.length, 0);
  const given = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16);
  const pageBytes = header.subarray(0, 16).equals(sqliteMagic) && isPageSize(given) ? given : defaultPageBytes;
  const pages = Math.ceil(fstatSync(file).size / pageBytes);
  ftruncateSync(file, pages * pageBytes);
  if (pages === 0) return;
  sqliteMagic.copy(header, 0);
  header.writeUInt16BE(pageBytes === 65_536 ? 1 : pageBytes, 16);
  // Formats 1 and 1: the image has no WAL. Then the fixed payload fractions, the page count and its witness.
  Buffer.from([1, 1, 0, 64, 32, 32]).copy(header, 18);
  header.writeUInt32BE(pages, 28);
  header.writeUInt32BE(4, 44);
  header.writeUInt32BE(1, 56);
  header.writeUInt32BE(header.readUInt32BE(24), 92);
  writeSync(file, header, 0, header.length, 0);
}

type Sum = readonly [number, number];
type Span = { readonly from: number; readonly to: number; readonly isBigEndian: boolean; readonly start: Sum };

function checksum(content: Buffer, span: Span): Sum {
  let [first, second] = span.start;
  const read = span.isBigEndian ? (at: number) => content.readUInt32BE(at) : (at: number) => content.readUInt32LE(at);
  for (let at = span.from; at < span.to; at += 8) {
    first = (first + read(at) + second) >>> 0;
    second = (second + read(at + 4) + first) >>> 0;
  }
  return [first, second];
}

function isPageSize(bytes: number): boolean {
  return bytes >= 512 && bytes <= 65_536 && (bytes & (bytes - 1)) === 0;
}
