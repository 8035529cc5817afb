/**
 * Owns what a condition on a record means: which values equal, precede or begin with which, decided without a database.
 * The same meaning as SQL is `engine/record-query.ts`; a property test holds the two together.
 */
import type { Json } from "./operation.ts";
import type { Condition, Fields, Where } from "./record.ts";

export type Comparison = Exclude<Condition, string | number | boolean | null>;
type Scalar = string | number | boolean | null;

/** What conditions are asked of. `$key` and `$changed` stand for the record's own; every other name is a field of the value. */
export type Subject = { readonly key: string; readonly changedAt?: number; readonly value: Fields };

/** A condition in its long form: a bare value means equal. */
export function comparisonOf(condition: Condition): Comparison {
  return typeof condition === "object" && condition !== null ? condition : { eq: condition };
}

/**
 * Tells whether a record meets all conditions. Values are compared with their JSON types: `1` is neither `true` nor `"1"`; a missing
 * field equals `null`; texts are ordered by code point, numbers by size, and nothing else precedes or follows anything.
 * @example
 * meets({ status: "open", fee: { gt: 5 } }, { key: "a", value: { status: "open", fee: 7 } }); // true
 */
export function meets(where: Where, subject: Subject): boolean {
  return Object.entries(where).every(([field, condition]) => holds(fieldOf(subject, field), comparisonOf(condition)));
}

/** Orders texts as SQLite does: by code point, which UTF-16 code units do not beyond the basic plane. */
export function compareTexts(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (left !== right) return weightOf(left) - weightOf(right);
  }
  return a.length - b.length;
}

function fieldOf(subject: Subject, field: string): Json {
  if (field === "$key") return subject.key;
  if (field === "$changed") return subject.changedAt ?? null;
  return Object.hasOwn(subject.value, field) ? (subject.value[field] ?? null) : null;
}

type Asks = {
  readonly [name in keyof Comparison]-?: (value: Json, asked: Exclude<Comparison[name], undefined>) => boolean;
};

const asks: Asks = {
  eq: (value, asked) => isEqual(value, asked),
  ne: (value, asked) => !isEqual(value, asked),
  lt: (value, asked) => isOrdered(value, asked, (order) => order < 0),
  lte: (value, asked) => isOrdered(value, asked, (order) => order <= 0),
  gt: (value, asked) => isOrdered(value, asked, (order) => order > 0),
  gte: (value, asked) => isOrdered(value, asked, (order) => order >= 0),
  in: (value, asked) => asked.some((each) => isEqual(value, each)),
  prefix: (value, asked) => typeof value === "string" && value.startsWith(asked),
};

/** Every comparison that there is. */
export const comparisons = Object.keys(asks) as readonly (keyof Comparison)[];

const holds = (value: Json, asked: Comparison): boolean =>
  comparisons.every((name) => asked[name] === undefined || (asks[name] as Ask)(value, asked[name]));

type Ask = (value: Json, asked: unknown) => boolean;

const isEqual = (value: Json, asked: Scalar): boolean => value === asked;

function isOrdered(value: Json, asked: string | number, test: (order: number) => boolean): boolean {
  if (typeof value === "string" && typeof asked === "string") return test(compareTexts(value, asked));
  if (typeof value === "number" && typeof asked === "number") return test(value - asked);
  return false;
}

/** Surrogates stand for code points beyond the basic plane, so they weigh more than every other code unit. */
const weightOf = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit);
