/**
 * Owns text as a terminal shows it: cells instead of characters, truncation, aligned columns, and the removal of control
 * characters, because titles and answers come from outside and must not drive the terminal. Colours are in `paint.ts`.
 */
import { stripVTControlCharacters } from "node:util";

const ellipsis = "…";
const emoji = /\p{Emoji_Presentation}|\u{fe0f}/u;
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}]|[\u{20000}-\u{3fffd}]/u;
const invisible = /^[\p{Mark}\p{Cf}]+$/u;
const isAscii = /^[\x20-\x7e]*$/;
/** One cell each, whatever stands beside them: western letters, dashes and quotes, arrows, and what boxes and bars are made of. */
export const isNarrow = /^[\x20-\x7e\u00a1-\u00ac\u00ae-\u024f\u2010-\u2027\u2190-\u21ff\u2500-\u25fc]*$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text from outside without what could move the cursor, colour the screen or turn the reading direction. One line. */
export function plain(text: string): string {
  if (isAscii.test(text)) return text;
  return stripVTControlCharacters(text)
    .replace(/\s*[\r\n\t]+\s*/g, " ")
    .replace(control, "");
}

/** The same over several lines, which stay lines. */
export function plainLines(text: string): string {
  return text.split(/\r?\n/).map(plain).join("\n");
}

/** Cells that a text takes on a terminal. */
export function widthOf(text: string): number {
  if (isNarrow.test(text)) return text.length;
  let cells = 0;
  for (const { segment } of segmentsOf(stripVTControlCharacters(text))) cells += cellsOf(segment);
  return cells;
}

let segmenter: Intl.Segmenter | undefined;

/** What a reader takes for one character. Made when first needed: the tables behind it take longer to load than a short command. */
function segmentsOf(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter();
  return segmenter.segment(text);
}

function cellsOf(segment: string): number {
  if (invisible.test(segment)) return 0;
  return wide.test(segment) || emoji.test(segment) ? 2 : 1;
}

/** Cuts a plain text to `width` cells; what is cut shows as an ellipsis. */
export function truncate(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width <= 1) return width === 1 ? ellipsis : "";
  let cells = 0;
  let kept = "";
  for (const { segment } of segmentsOf(text)) {
    const next = cells + cellsOf(segment);
    if (next > width - 1) break;
    cells = next;
    kept += segment;
  }
  return kept.trimEnd() + ellipsis;
}

export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** A cell with its colour: measured without, shown with. */
export type Cell = { readonly text: string; readonly paint?: (text: string) => string };
export type Column = {
  readonly title: string;
  /** A figure: aligned to the right, and never cut. */
  readonly isRight?: boolean;
  /** Gives way first. */
  readonly isFlexible?: boolean;
  /** Left out where the row would not fit otherwise, the last one first. */
  readonly isOptional?: boolean;
  /** Useless in part, as an id is. */
  readonly isWhole?: boolean;
};
export type TableOptions = { readonly width: number; readonly head: (text: string) => string };

const gap = "  ";
/** What a column is cut to before others are left out, and after that. */
const narrow = 12;
const narrowest = 6;

type Used = { readonly column: Column; readonly at: number; readonly width: number };

/** Aligned columns that fit into the width, as far as that goes: columns give way, then optional ones are left out. */
export function table(columns: readonly Column[], rows: readonly (readonly Cell[])[], options: TableOptions): string {
  const natural = columns.flatMap((column, at): readonly Used[] => {
    const cells = rows.map((row) => widthOf(row[at]?.text ?? ""));
    const widest = Math.max(0, ...cells);
    return widest === 0 ? [] : [{ column, at, width: Math.max(widthOf(column.title), widest) }];
  });
  const used = fitted(natural, options.width);
  const line = (cells: readonly Cell[]): string =>
    cells
      .map((cell, at) => shape(cell, used[at]?.width ?? 0, used[at]?.column))
      .join(gap)
      .trimEnd();
  const head = line(used.map(({ column }) => ({ text: column.title, paint: options.head })));
  return [head, ...rows.map((row) => line(used.map(({ at }) => row[at] ?? { text: "" })))].join("\n");
}

function fitted(natural: readonly Used[], width: number): readonly Used[] {
  const isFlexible = ({ column }: Used): boolean => column.isFlexible === true;
  const isText = ({ column }: Used): boolean => column.isRight !== true && column.isWhole !== true;
  const give = (used: readonly Used[]): readonly Used[] =>
    shrink(shrink(used, { width, least: narrow, mayGive: isFlexible }), { width, least: narrow, mayGive: isText });
  let kept = natural;
  while (totalOf(give(kept)) > width) {
    const out = kept.findLast(({ column }) => column.isOptional === true);
    if (out === undefined) break;
    kept = kept.filter((each) => each !== out);
  }
  return shrink(give(kept), { width, least: narrowest, mayGive: isText });
}

type Shrinking = { readonly width: number; readonly least: number; readonly mayGive: (each: Used) => boolean };

/** Takes from the widest column that may give, until the row fits or all are as narrow as that. */
function shrink(used: readonly Used[], { width, least, mayGive }: Shrinking): readonly Used[] {
  let now = used;
  for (let excess = totalOf(now) - width; excess > 0; excess = totalOf(now) - width) {
    const wide = now.filter((each) => mayGive(each) && each.width > least).sort((a, b) => b.width - a.width);
    const [first, second] = wide;
    if (first === undefined) break;
    const goal = Math.max(least, second?.width ?? 0, first.width - excess);
    const next = goal < first.width ? goal : first.width - 1;
    now = now.map((each) => (each === first ? { ...each, width: next } : each));
  }
  return now;
}

const totalOf = (used: readonly Used[]): number =>
  used.reduce((sum, { width }) => sum + width, 0) + gap.length * (used.length - 1);

function shape(cell: Cell, width: number, column: Column | undefined): string {
  const text = truncate(cell.text, width);
  const space = " ".repeat(Math.max(0, width - widthOf(text)));
  const shown = cell.paint === undefined || text === "" ? text : cell.paint(text);
  return column?.isRight === true ? space + shown : shown + space;
}

/** A line that holds colours, cut to the width; what is cut loses them, because a colour that is not ended would run on. */
export function truncateLine(line: string, width: number): string {
  return widthOf(line) <= width ? line : truncate(stripVTControlCharacters(line), width);
}

/** "Name  value" lines with aligned values; rows without a value are left out. */
export function facts(
  rows: readonly (readonly [name: string, value: string | null])[],
  paint: (text: string) => string,
): string {
  const shown = rows.filter((row): row is readonly [string, string] => row[1] !== null && row[1] !== "");
  const width = Math.max(0, ...shown.map(([name]) => widthOf(name)));
  return shown
    .map(([name, value]) => `${paint(padEnd(name, width))}  ${value.split("\n").join(`\n${" ".repeat(width + 2)}`)}`)
    .join("\n");
}

/** A name as one word of a shell, for commands that people copy: names come from outside. */
export function shellWord(text: string): string {
  const word = plain(text);
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A whole number as people read it: "12,500". By hand, because the tables of languages take longer to load than a short command. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** "1 operation", "3 operations". */
export function plural(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

const byteUnits = ["B", "kB", "MB", "GB", "TB"] as const;

/** Bytes with a unit, decimal as disks and networks count them. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1_000 ? 0 : Math.min(byteUnits.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1_000 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${byteUnits[power]}`;
}

/** A bar of `width` cells that is full to `share` (0 to 1). */
export function bar(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return "█".repeat(full) + "░".repeat(width - full);
}

/** How people name an operation: the last 8 hex digits, because the first ones of a UUIDv7 are a timestamp and collide. */
export function shortId(id: string): string {
  return id.replaceAll("-", "").slice(-8);
}
