/**
 * Owns the canonical text of JSON (RFC 8785) and equality by it: two values are the same when their canonical texts are.
 * Used for comparing and hashing only; what is stored and sent stays as it was written.
 */
import type { Json } from "./operation.ts";

/** With the flag `u`, halves of a pair are one character, so only a lone half is a surrogate. */
const loneSurrogate = /\p{Surrogate}/u;

/**
 * The canonical text of a JSON value: members sorted by UTF-16 code units, numbers as ECMAScript writes them. Throws `TypeError`
 * for what RFC 8785 excludes: numbers that are not finite and strings with lone surrogates (section 3.2.2.2).
 * @example
 * canonicalText({ b: 1, a: [1e21, "é"] }) // '{"a":[1e+21,"é"],"b":1}'
 */
export function canonicalText(value: Json): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new TypeError(`${value} has no canonical JSON text`);
    return JSON.stringify(value);
  }
  if (typeof value === "string") {
    if (loneSurrogate.test(value)) throw new TypeError("a text with a lone surrogate has no canonical JSON text");
    return JSON.stringify(value);
  }
  if (isList(value)) return `[${value.map(canonicalText).join(",")}]`;
  const members = Object.keys(value)
    .sort()
    .map((name) => `${canonicalText(name)}:${canonicalText(value[name] ?? null)}`);
  return `{${members.join(",")}}`;
}

/** Whether two JSON values are the same, whatever the order of their members. `undefined` stands for a missing member. */
export function isSameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (isList(a) || isList(b)) {
    if (!isList(a) || !isList(b)) return false;
    return a.length === b.length && a.every((each, index) => isSameJson(each, b[index]));
  }
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isSameJson(a[name], b[name]))
  );
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value);
