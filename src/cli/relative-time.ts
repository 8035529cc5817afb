/**
 * Owns how instants and durations are said to a person: "3 min ago", "in 12 s", "5.2 s". Pure, takes `now` from its caller.
 * Reading what a person typed is `parse.ts`; where the words go is decided by the renderers.
 */

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
/** From here on a date says more than a count of days. */
const dateFromDays = 100;

/**
 * An instant as seen from `now`.
 * @example
 * formatRelative(0, 180_000) // "3 min ago"
 */
export function formatRelative(at: number, now: number): string {
  const distance = Math.round(Math.abs(at - now) / second) * second;
  if (distance === 0) return "now";
  if (distance >= dateFromDays * day) return formatDate(at);
  return at < now ? `${largestUnit(distance)} ago` : `in ${largestUnit(distance)}`;
}

/**
 * A duration with the precision that matters at its size.
 * @example
 * formatDuration(5_240) // "5.2 s"
 */
export function formatDuration(ms: number): string {
  const length = Math.max(0, ms);
  if (length < 9_950) return `${(length / second).toFixed(1)} s`;
  const whole = Math.round(length / second) * second;
  if (whole < minute) return `${whole / second} s`;
  if (whole < hour) return twoUnits(whole, [minute, "min"], [second, "s"]);
  if (whole < day) return twoUnits(whole, [hour, "h"], [minute, "min"]);
  return twoUnits(whole, [day, "d"], [hour, "h"]);
}

/**
 * How long something lasts since an instant, in one unit.
 * @example
 * formatAge(0, 180_000) // "3 min"
 */
export function formatAge(since: number, now: number): string {
  return largestUnit(Math.max(0, Math.round((now - since) / second) * second));
}

/** An instant with its date, in universal time, for where the distance alone is not enough. */
export function formatInstant(at: number): string {
  return dateOf(at)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
}

function formatDate(at: number): string {
  return dateOf(at).toISOString().split("T")[0] ?? "";
}

const lastOfCalendar = 8_640_000_000_000_000;

/** Whatever number a program has named as an instant: one that no calendar holds must not make a whole list unreadable. */
function dateOf(at: number): Date {
  return new Date(Math.min(Math.max(at, -lastOfCalendar), lastOfCalendar));
}

function largestUnit(ms: number): string {
  if (ms < minute) return `${ms / second} s`;
  if (ms < hour) return `${Math.floor(ms / minute)} min`;
  if (ms < day) return `${Math.floor(ms / hour)} h`;
  return `${Math.floor(ms / day)} d`;
}

type Unit = readonly [ms: number, name: string];

function twoUnits(ms: number, large: Unit, small: Unit): string {
  const rest = Math.floor((ms % large[0]) / small[0]);
  const head = `${Math.floor(ms / large[0])} ${large[1]}`;
  return rest === 0 ? head : `${head} ${rest} ${small[1]}`;
}
