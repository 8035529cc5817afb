/**
 * Owns whether a record meets a `Where`: the one meaning that filters have in partial replication and in row rules of a server.
 * Queries over many records are SQL, see `engine/record-query.ts`; both sides must agree on what is said here.
 */
import { isSameJson } from "./canonical.ts";
import type { Json } from "./operation.ts";
import type { Condition, Fields, Where } from "./record.ts";

/**
 * Whether all conditions hold. A missing field is `null`; values of different types are never equal, and neither less nor greater.
 * @example
 * meets({ status: "open", fee: { gte: 5 } }, "k1", { status: "open", fee: 7 }) // true
 */
export function meets(where: Where, key: string, value: Fields): boolean {
  return Object.entries(where).every(([field, condition]) => {
    const found = field === "$key" ? key : Object.hasOwn(value, field) ? (value[field] ?? null) : null;
    return holds(condition, found);
  });
}

function holds(condition: Condition, found: Json): boolean {
  if (typeof condition !== "object" || condition === null) return isSameJson(condition, found);
  const { eq, ne, lt, lte, gt, gte, in: among, prefix } = condition;
  if (eq !== undefined && !isSameJson(eq, found)) return false;
  if (ne !== undefined && isSameJson(ne, found)) return false;
  if (among !== undefined && !among.some((each) => isSameJson(each, found))) return false;
  if (prefix !== undefined && !(typeof found === "string" && found.startsWith(prefix))) return false;
  return (
    (lt === undefined || compare(found, lt) === -1) &&
    (lte === undefined || isIn(compare(found, lte), [-1, 0])) &&
    (gt === undefined || compare(found, gt) === 1) &&
    (gte === undefined || isIn(compare(found, gte), [0, 1]))
  );
}

const isIn = (order: -1 | 0 | 1 | null, allowed: readonly number[]): boolean =>
  order !== null && allowed.includes(order);

/** Numbers by size, texts by code points as SQLite and PostgreSQL with collation C do; `null`: not to be compared. */
function compare(found: Json, limit: string | number): -1 | 0 | 1 | null {
  if (typeof found === "number" && typeof limit === "number") return found < limit ? -1 : found > limit ? 1 : 0;
  if (typeof found === "string" && typeof limit === "string") return compareText(found, limit);
  return null;
}

/** By code points: UTF-16 units would put a surrogate pair before U+E000 to U+FFFF. */
function compareText(a: string, b: string): -1 | 0 | 1 {
  const [left, right] = [a[Symbol.iterator](), b[Symbol.iterator]()];
  for (;;) {
    const [one, other] = [left.next(), right.next()];
    if (one.done === true || other.done === true) return one.done === other.done ? 0 : one.done === true ? -1 : 1;
    const difference = (one.value.codePointAt(0) ?? 0) - (other.value.codePointAt(0) ?? 0);
    if (difference !== 0) return difference < 0 ? -1 : 1;
  }
}
