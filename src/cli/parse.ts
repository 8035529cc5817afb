/**
 * Owns how words on the command line become values: durations, instants, numbers, headers, lists, assignments.
 * A wrong word is a usage error that names the option's right form; what the engine refuses is judged by the engine.
 */
import { HoldfastError } from "../errors.ts";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const durationPart = /(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)/gy;
const clockTime = /^([01]?\d|2[0-3]):([0-5]\d)$/;
const isoInstant = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/;

export function usage(message: string, hint: string): HoldfastError {
  return new HoldfastError("invalid_input", message, hint);
}

/**
 * Milliseconds of "30s", "5m", "1h30m", "2d", "500ms".
 * @example
 * parseDuration("1h30m", "--in") // 5400000
 */
export function parseDuration(text: string, option: string): number {
  const compact = text.trim();
  let total = 0;
  let end = 0;
  durationPart.lastIndex = 0;
  for (let part = durationPart.exec(compact); part !== null; part = durationPart.exec(compact)) {
    total += Number(part[1]) * (unitMs[part[2] ?? ""] ?? 0);
    end = durationPart.lastIndex;
  }
  if (compact === "" || end !== compact.length || !Number.isSafeInteger(Math.round(total))) {
    throw usage(`${option}: "${text}" is no duration`, "write a number with a unit: 500ms, 30s, 5m, 2h, 1h30m, 2d, 1w");
  }
  return Math.round(total);
}

/** An instant: a date and time (ISO 8601), or "18:30" for the next time the clock shows it. */
export function parseInstant(text: string, option: string, now: number): number {
  const clock = clockTime.exec(text.trim());
  if (clock !== null) {
    const today = new Date(now).setHours(Number(clock[1]), Number(clock[2]), 0, 0);
    return today > now ? today : new Date(today).setDate(new Date(today).getDate() + 1);
  }
  const at = isoInstant.test(text.trim()) ? Date.parse(text.trim().replace(" ", "T")) : Number.NaN;
  if (Number.isNaN(at) || at < 0 || !isInCalendar(text)) {
    throw usage(
      `${option}: "${text}" is no time`,
      "write 2026-12-31T18:30, 2026-12-31T18:30Z, or 18:30 for the next 18:30",
    );
  }
  return at;
}

/** `Date.parse` takes February 30 for March 2. */
function isInCalendar(text: string): boolean {
  const [year = 0, month = 0, day = 0] = text.trim().slice(0, 10).split("-").map(Number);
  return new Date(Date.UTC(year, month - 1, day)).getUTCDate() === day;
}

/** What is later cannot be written as a date any more. */
const latest = Date.UTC(9_999, 11, 31);

/** So long after `now`. */
export function parseAfter(text: string, option: string, now: number): number {
  const at = now + parseDuration(text, option);
  if (at > latest) throw usage(`${option}: "${text}" is beyond the year 9999`, `write for example ${option} 2d`);
  return at;
}

/** When something is given up: a deadline that is still to come. */
export function parseExpiry(text: string, now: number): number {
  const at = parseDeadline(text, "--expires", now);
  if (at <= now) throw usage(`--expires: "${text}" is over already`, "write 2d or 1h30m from now, or a later time");
  return at;
}

/** A duration from now, or an instant. */
export function parseDeadline(text: string, option: string, now: number): number {
  if (/^\d+(?:\.\d+)?\s*[a-z]/i.test(text.trim())) return parseAfter(text, option, now);
  try {
    return parseInstant(text, option, now);
  } catch {
    throw usage(
      `${option}: "${text}" is no time`,
      "write 2d or 1h30m from now, 2026-12-31T18:30, or 18:30 for the next 18:30",
    );
  }
}

export function parseInteger(text: string, option: string): number {
  const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw usage(`${option}: "${text}" is no whole number`, `write for example ${option} 10`);
  return value;
}

/** How many at most: 0 stands for all of them. */
export function parseLimit(text: string): number {
  const wanted = parseInteger(text, "--limit");
  if (wanted < 0) throw usage("--limit: a count is not negative", "write --limit 100, or --limit 0 for all");
  return wanted === 0 ? Number.POSITIVE_INFINITY : wanted;
}

/** One of a closed list. */
export function parseChoice<T extends string>(text: string, option: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw usage(`${option}: "${text}" is none of its values`, `choose one of ${choices.join(", ")}`);
}

/** "a,b" and repeated options become one list. */
export function parseList(text: string, before: readonly string[] = []): readonly string[] {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return [...before, ...parts];
}

/** Repeated options that may hold commas. */
export function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** "Name: value" as curl writes headers. */
export function parseHeaders(lines: readonly string[]): Readonly<Record<string, string>> {
  const entries = lines.map((line) => {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim();
    if (colon < 1 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) {
      throw usage(`--header: "${line}" is no header`, 'write --header "Name: value"');
    }
    return [name.toLowerCase(), line.slice(colon + 1).trim()] as const;
  });
  return Object.fromEntries(entries);
}

/** "NAME=value"; without a value the name is taken over from this shell. */
export function parseEnv(
  items: readonly string[],
  own: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const entries = items.map((item) => {
    const equals = item.indexOf("=");
    const name = equals === -1 ? item : item.slice(0, equals);
    const value = equals === -1 ? own[name] : item.slice(equals + 1);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || value === undefined) {
      throw usage(
        `--env: "${item}" names no variable`,
        "write --env NAME=value, or --env NAME to pass this shell's value on",
      );
    }
    return [name, value] as const;
  });
  return Object.fromEntries(entries);
}

/** A value of a setting or an edit: JSON where it is JSON that stays what it is, otherwise the text itself. */
export function parseLoose(text: string): unknown {
  try {
    return readWhole(text);
  } catch {
    return text;
  }
}

/** Why a text is no JSON; null when it is. */
export function jsonTrouble(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export function parseJson(text: string, what: string, read: (text: string) => unknown = readWhole): unknown {
  try {
    // Editors of some systems begin a file with a mark of its encoding, which is no part of the JSON.
    return read(text.replace(/^\ufeff/, ""));
  } catch (cause) {
    if (cause instanceof RangeError)
      throw new HoldfastError(
        "invalid_input",
        `${what}: the number ${cause.message} is too long to be kept exactly`,
        "write it as a text, between quotes",
        { cause },
      );
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HoldfastError("invalid_input", `${what} is no JSON: ${reason}`, "check it with `jq .`", { cause });
  }
}

/** Reads JSON; throws `RangeError` with a whole number that would be another one afterwards. */
function readWhole(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text) as unknown;
  const check: Reviver = (_key, value, context) => {
    const source = typeof value === "number" ? (context?.source ?? "") : "";
    // What was written here comes back as it is printed here.
    const isOther = /^-?\d+$/.test(source) && source !== String(value) && BigInt(source) !== BigInt(value as number);
    if (isOther) throw new RangeError(source);
    return value;
  };
  return JSON.parse(text, check as (key: string, value: unknown) => unknown) as unknown;
}

type Reviver = (this: unknown, key: string, value: unknown, context?: { readonly source?: string }) => unknown;

/** The JSON value of a text, or undefined when there is none or a number in it would change on the way. */
export function parseExactJson(text: string): { readonly value: unknown } | undefined {
  let isExact = true;
  const check: Reviver = (_key, value, context) => {
    if (typeof value === "number" && context?.source !== undefined && !isSameNumber(context.source, value))
      isExact = false;
    return value;
  };
  try {
    const value = JSON.parse(text, check as (key: string, value: unknown) => unknown) as unknown;
    return isExact ? { value } : undefined;
  } catch {
    return undefined;
  }
}

function isSameNumber(source: string, value: number): boolean {
  if (/^-?\d+$/.test(source)) return Number.isSafeInteger(value);
  return Number.isFinite(value) && source.replace(/\D/g, "").length <= 17;
}

/** The candidate that a misspelt word most likely meant; none when nothing is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const scored = candidates.map((candidate) => ({ candidate, apart: distance(word, candidate) }));
  const best = scored.sort((a, b) => a.apart - b.apart)[0];
  return best !== undefined && best.apart <= Math.max(word.length > 2 ? 2 : 1, Math.floor(word.length * 0.4))
    ? best.candidate
    : undefined;
}

function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const change = a[row - 1] === b[column - 1] ? 0 : 1;
      current.push(
        Math.min((current[column - 1] ?? 0) + 1, (previous[column] ?? 0) + 1, (previous[column - 1] ?? 0) + change),
      );
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
