/**
 * Owns the form of ids and how a local id is found in, and replaced throughout, a JSON value.
 * Which local ids exist and what the server calls them is kept by the engine; ids inside URLs belong to the type that has URLs.
 */
import type { Json } from "./operation.ts";

/** A local id is at most this long, as every name is (`limits.nameLength`); longer strings are never references. */
export const localIdLength = 200;

/** How many random bytes `newUuidV7` takes. */
export const uuidRandomBytes = 10;

/** 2 ** 48 - 1: what fits into the 48 bits that RFC 9562 gives the clock. */
const latestInstant = 281_474_976_710_655;

/** Two digits for each byte. */
const digits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/**
 * Makes a UUIDv7 (RFC 9562) from a wall-clock instant and the ten random bytes that begin at `from`. Their first 26 bits decide the
 * order within a millisecond.
 * @example
 * newUuidV7(0, new Uint8Array(10)) // "00000000-0000-7000-8000-000000000000"
 */
export function newUuidV7(now: number, bytes: Uint8Array, from = 0): string {
  if (bytes.length - from < uuidRandomBytes) {
    throw new TypeError(`newUuidV7 takes ${uuidRandomBytes} random bytes, not ${bytes.length - from}`);
  }
  // A clock before 1970 or after the year 10889 still gives a valid id: sequences order operations, not ids.
  const time = Math.min(Math.max(Math.trunc(now), 0), latestInstant);
  const high = Math.floor(time / 2 ** 32);
  const byte = (at: number): number => bytes[from + at] as number;
  const two = (value: number): string => digits[value & 0xff] as string;
  return `${two(high >> 8)}${two(high)}${two(time >> 24)}${two(time >> 16)}-${two(time >> 8)}${two(time)}-${two(0x70 | (byte(0) & 0x0f))}${two(byte(1))}-${two(0x80 | (byte(2) & 0x3f))}${two(byte(3))}-${two(byte(4))}${two(byte(5))}${two(byte(6))}${two(byte(7))}${two(byte(8))}${two(byte(9))}`;
}

/** Tells whether a string could be a reference at all; everything else needs no look-up. */
function canBeReference(text: string): boolean {
  return text.length > 0 && text.length <= localIdLength;
}

/**
 * The local ids that a JSON value refers to, each once, in the order of their first appearance.
 * A reference is an exact string value at any depth; keys, numbers and parts of longer strings are none.
 * @example
 * findReferences({ parent: "local-1", title: "about local-1" }, (id) => id === "local-1") // ["local-1"]
 */
export function findReferences(value: Json, isLocalId: (text: string) => boolean): readonly string[] {
  const seen = new Set<string>();
  const found: string[] = [];
  // A stack of its own, because a payload may nest deeper than the call stack reaches.
  const open: Json[] = [value];
  while (open.length > 0) {
    const each = open.pop() as Json;
    if (typeof each === "string") {
      if (!canBeReference(each) || seen.has(each)) continue;
      seen.add(each);
      if (isLocalId(each)) found.push(each);
    } else if (typeof each === "object" && each !== null) {
      const children: readonly Json[] = Array.isArray(each) ? each : Object.values(each);
      for (let index = children.length - 1; index >= 0; index -= 1) open.push(children[index] as Json);
    }
  }
  return found;
}

/**
 * Replaces every reference whose server id is known; `serverIdOf` answers `null` for what is none or not known yet.
 * A value without such a reference is returned as it is, the same object.
 * @example
 * rewriteReferences({ parent: "local-1" }, (id) => (id === "local-1" ? "42" : null)) // { parent: "42" }
 */
export function rewriteReferences(value: Json, serverIdOf: (localId: string) => string | null): Json {
  const known = new Map<string, string>();
  findReferences(value, (text) => {
    const serverId = serverIdOf(text);
    if (serverId !== null && serverId !== text) known.set(text, serverId);
    return false;
  });
  return known.size === 0 ? value : copyWith(value, known);
}

type Container = Json[] | { [key: string]: Json };

/** Copies a value with an explicit stack; containers are laid empty first and filled when they are taken from it. */
function copyWith(value: Json, known: ReadonlyMap<string, string>): Json {
  const open: { readonly from: Json; readonly to: Container }[] = [];
  const lay = (each: Json): Json => {
    if (typeof each === "string") return known.get(each) ?? each;
    if (typeof each !== "object" || each === null) return each;
    const to: Container = Array.isArray(each) ? [] : {};
    open.push({ from: each, to });
    return to;
  };
  const root = lay(value);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { from, to } = next;
    for (const [key, each] of Object.entries(from as object)) {
      // Defined, not assigned: a payload may have a key "__proto__".
      Object.defineProperty(to, key, { value: lay(each), writable: true, enumerable: true, configurable: true });
    }
  }
  return root;
}
