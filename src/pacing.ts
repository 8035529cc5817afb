/**
 * Owns how long a remote asks us to wait: `Retry-After` in both forms and the rate-limit headers in the shapes that are in use.
 * What a wait means for an operation and its remote is `failure.ts` and `network.ts`.
 */

/** Header values by lower-case name. */
export type Headers = Readonly<Record<string, string | undefined>>;

/** No remote makes us wait longer than a day: a typing error there must not become a lost week here. */
export const longestPaceMs = 86_400_000;

/**
 * Milliseconds to wait, or `null` when the remote does not say. `Retry-After` counts before any rate-limit header.
 * A date is measured against the answer's own `Date`, because the local clock may be wrong; `receivedAt` stands in for it.
 * @example
 * paceOf({ "retry-after": "120" }) // 120000
 */
export function paceOf(headers: Headers, receivedAt?: number): number | null {
  const sentAt = instantOf(headers.date) ?? receivedAt ?? null;
  return retryAfterMs(headers["retry-after"], sentAt) ?? rateLimitMs(headers, sentAt);
}

/** True when a rate-limit header says that nothing is left. */
export function isExhausted(headers: Headers): boolean {
  if (remainingOf(headers.ratelimit) === 0) return true;
  return ["ratelimit-remaining", "x-ratelimit-remaining"].some((name) => headers[name]?.trim() === "0");
}

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const fixedDate = /^[a-z]{3}, (\d{1,2}) ([a-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) gmt$/i;
const longDate = /^[a-z]{6,9}, (\d{1,2})-([a-z]{3})-(\d\d) (\d\d):(\d\d):(\d\d) gmt$/i;
const plainDate = /^[a-z]{3} ([a-z]{3}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})$/i;

/**
 * Reads an HTTP date in any of its three forms (RFC 9110, section 5.6.7); `null` for anything else. `Date.parse` is not
 * used because it takes the third form for local time and much that is no HTTP date for one.
 */
export function instantOf(text: string | undefined): number | null {
  const value = text?.trim() ?? "";
  const fixed = fixedDate.exec(value);
  if (fixed !== null) return utc([fixed[3], fixed[2], fixed[1], fixed[4], fixed[5], fixed[6]]);
  const long = longDate.exec(value);
  // A two-digit year: RFC 9110 asks to read far futures as the past; no server of today means 19xx.
  if (long !== null) return utc([`20${long[3]}`, long[2], long[1], long[4], long[5], long[6]]);
  const plain = plainDate.exec(value);
  if (plain !== null) return utc([plain[6], plain[1], plain[2], plain[3], plain[4], plain[5]]);
  return null;
}

function utc([year, monthName, day, hour, minute, second]: readonly (string | undefined)[]): number | null {
  const month = months.indexOf((monthName ?? "").toLowerCase());
  const instant = Date.UTC(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  return month < 0 || Number.isNaN(instant) ? null : instant;
}

function retryAfterMs(value: string | undefined, sentAt: number | null): number | null {
  if (value === undefined) return null;
  const seconds = secondsOf(value);
  if (seconds !== null) return bounded(seconds * 1_000);
  const until = instantOf(value);
  return until === null || sentAt === null ? null : bounded(until - sentAt);
}

/**
 * `RateLimit: "default";r=0;t=30` and `RateLimit: limit=10, remaining=0, reset=30` (later drafts), `RateLimit-Reset: 30`
 * (drafts 1 to 6), `X-RateLimit-Reset` as seconds or as an instant. They tell a wait only where nothing is left.
 */
function rateLimitMs(headers: Headers, sentAt: number | null): number | null {
  if (!isExhausted(headers)) return null;
  const combined = /(?:^|[;,\s])(?:t|reset)\s*=\s*(\d+)/i.exec(headers.ratelimit ?? "")?.[1];
  const reset = combined ?? headers["ratelimit-reset"] ?? headers["x-ratelimit-reset"];
  const seconds = reset === undefined ? null : secondsOf(reset);
  if (seconds === null) return null;
  // Nobody asks to wait thirty years: so large a number is an instant.
  if (seconds < 1_000_000_000) return bounded(seconds * 1_000);
  return sentAt === null ? null : bounded(seconds * 1_000 - sentAt);
}

function remainingOf(value: string | undefined): number | null {
  const found = /(?:^|[;,\s])(?:r|remaining)\s*=\s*(\d+)/i.exec(value ?? "")?.[1];
  return found === undefined ? null : Number(found);
}

function secondsOf(text: string): number | null {
  return /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : null;
}

function bounded(delayMs: number): number {
  return Math.min(longestPaceMs, Math.max(0, Math.ceil(delayMs)));
}
