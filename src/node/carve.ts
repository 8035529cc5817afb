/**
 * Owns finding rows in the raw pages of a database image that SQLite itself cannot walk any more.
 * It trusts nothing: whether a found row is genuine and still wanted is judged by its hash and index in `salvage.ts`.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Row, SqlValue } from "../database.ts";

/** Format: sqlite.org/fileformat2.html, section 1.6. */
const leafTable = 0x0d;
const largestRecordBytes = 16_777_216;
const headerBytesOfPage1 = 100;

/**
 * Yields every row with `columns.length` columns (or fewer, from an older schema) that lies on any leaf page of a table.
 * The column that is an alias of the rowid is stored as null and gets the rowid.
 */
export function* carveRows(path: string, columns: readonly string[], rowidColumn: string): Generator<Row> {
  const file = openSync(path, "r");
  try {
    const header = Buffer.alloc(headerBytesOfPage1);
    readSync(file, header, 0, header.length, 0);
    const given = header.readUInt16BE(16);
    const pageBytes = given === 1 ? 65_536 : given;
    const pages = pageBytes < 512 ? 0 : Math.floor(fstatSync(file).size / pageBytes);
    const readPage = (page: number): Buffer | null => {
      if (page < 1 || page > pages) return null;
      const content = Buffer.alloc(pageBytes);
      return readSync(file, content, 0, pageBytes, (page - 1) * pageBytes) === pageBytes ? content : null;
    };
    for (let page = 1; page <= pages; page += 1) {
      const content = readPage(page);
      if (content === null) continue;
      for (const { rowid, record } of cellsOf(content, page, readPage)) {
        const values = decodeRecord(record);
        if (values === null || values.length > columns.length || values.length < 2) continue;
        const row = Object.fromEntries(columns.map((column, index) => [column, values[index] ?? null]));
        yield { ...row, [rowidColumn]: rowid };
      }
    }
  } finally {
    closeSync(file);
  }
}

type Cell = { readonly rowid: number; readonly record: Buffer };
type ReadPage = (page: number) => Buffer | null;

function* cellsOf(content: Buffer, page: number, readPage: ReadPage): Generator<Cell> {
  const start = page === 1 ? headerBytesOfPage1 : 0;
  if (content[start] !== leafTable) return;
  const count = content.readUInt16BE(start + 3);
  for (let index = 0; index < count; index += 1) {
    const pointerAt = start + 8 + index * 2;
    if (pointerAt + 2 > content.length) return;
    const cell = readCell(content, content.readUInt16BE(pointerAt), readPage);
    if (cell !== null) yield cell;
  }
}

function readCell(content: Buffer, at: number, readPage: ReadPage): Cell | null {
  const size = readVarint(content, at);
  const rowid = size === null ? null : readVarint(content, size.end);
  if (size === null || rowid === null || size.value > largestRecordBytes) return null;
  const local = localBytes(size.value, content.length);
  const kept = content.subarray(rowid.end, rowid.end + local);
  if (kept.length < local) return null;
  if (local === size.value) return { rowid: rowid.value, record: kept };
  const parts = [kept];
  let missing = size.value - local;
  let next = rowid.end + local + 4 <= content.length ? content.readUInt32BE(rowid.end + local) : 0;
  while (missing > 0) {
    const overflow = readPage(next);
    if (overflow === null) return null;
    const part = overflow.subarray(4, 4 + Math.min(missing, overflow.length - 4));
    parts.push(part);
    missing -= part.length;
    next = overflow.readUInt32BE(0);
  }
  return { rowid: rowid.value, record: Buffer.concat(parts) };
}

function localBytes(sizeBytes: number, usable: number): number {
  const most = usable - 35;
  if (sizeBytes <= most) return sizeBytes;
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const fitting = least + ((sizeBytes - least) % (usable - 4));
  return fitting <= most ? fitting : least;
}

function decodeRecord(record: Buffer): readonly SqlValue[] | null {
  const headerSize = readVarint(record, 0);
  if (headerSize === null || headerSize.value > record.length) return null;
  const values: SqlValue[] = [];
  let at = headerSize.end;
  let bodyAt = headerSize.value;
  while (at < headerSize.value) {
    const type = readVarint(record, at);
    if (type === null) return null;
    const value = decodeValue(record, bodyAt, type.value);
    if (value === null) return null;
    values.push(value.value);
    bodyAt = value.end;
    at = type.end;
  }
  return values;
}

const integerBytes = [0, 1, 2, 3, 4, 6, 8] as const;

function decodeValue(
  record: Buffer,
  at: number,
  type: number,
): { readonly value: SqlValue; readonly end: number } | null {
  if (type === 0) return { value: null, end: at };
  if (type === 8 || type === 9) return { value: type - 8, end: at };
  if (type === 10 || type === 11) return null;
  const size = type === 7 ? 8 : type < 7 ? (integerBytes[type] ?? 0) : (type - (type % 2 === 0 ? 12 : 13)) / 2;
  const end = at + size;
  if (end > record.length) return null;
  if (type === 7) return { value: record.readDoubleBE(at), end };
  if (type === 6) {
    const value = Number(record.readBigInt64BE(at));
    return Number.isSafeInteger(value) ? { value, end } : null;
  }
  if (type < 7) return { value: record.readIntBE(at, size), end };
  const bytes = record.subarray(at, end);
  return { value: type % 2 === 0 ? Uint8Array.from(bytes) : bytes.toString("utf8"), end };
}

/** A big-endian base-128 number of one to nine bytes; larger ones than a safe integer are damage here. */
function readVarint(content: Buffer, at: number): { readonly value: number; readonly end: number } | null {
  let value = 0;
  for (let index = 0; index < 8; index += 1) {
    const byte = content[at + index];
    if (byte === undefined) return null;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return Number.isSafeInteger(value) ? { value, end: at + index + 1 } : null;
  }
  return null;
}
