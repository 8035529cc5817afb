/**
 * Owns the three-way merge of one record, field by field: base, local, remote and the declared rules.
 * When a merge is needed is `engine/conflicts.ts`; what a conflict is called is `conflict.ts`.
 */
import { isSameJson } from "./canonical.ts";
import { unreachable } from "./errors.ts";
import { mergeText } from "./merge-text.ts";
import type { Json } from "./operation.ts";
import type { Fields } from "./record.ts";

/**
 * How one field is merged when both sides changed it to different values. Base-aware always: a side that did not change it loses.
 * Without a rule such a field is in dispute.
 */
export type FieldRule =
  /** Differs: in dispute, whatever else could be merged. */
  | { readonly rule: "critical" }
  /** The local value unless it is empty (null, "", missing) or one of the placeholders; then the remote value. */
  | { readonly rule: "prefer-local"; readonly placeholders?: readonly Json[] }
  | { readonly rule: "prefer-remote" }
  /** Numbers that differ by at most `tolerance` agree (the remote value); beyond it the side whose `flag` field is true wins. */
  | { readonly rule: "override"; readonly flag: string; readonly tolerance?: number }
  | { readonly rule: "max" }
  | { readonly rule: "min" }
  /** Both sides' differences from the base are added. */
  | { readonly rule: "counter" }
  /** Arrays as sets: additions and removals of both sides. */
  | { readonly rule: "set" }
  /** Arrays of objects in order, matched by the named member; elements are merged as fields are. */
  | { readonly rule: "list"; readonly by: string }
  /** Texts by diff3; overlapping changes are in dispute. */
  | { readonly rule: "text" };

export type FieldRules = { readonly [field: string]: FieldRule };

/** Three values of a record. `base` is what both sides started from; `null` when they share no beginning. */
export type Three = { readonly base: Fields | null; readonly local: Fields; readonly remote: Fields };

/** How one field that both sides changed was decided; kept with the conflict, so that the losing value can be found again. */
export type FieldDecision = {
  readonly field: string;
  readonly rule: FieldRule["rule"];
  readonly chosen: "local" | "remote" | "both";
  readonly base: Json;
  readonly local: Json;
  readonly remote: Json;
};

export type Merged = {
  /** Fields in dispute hold the local value. */
  readonly value: Fields;
  readonly disputed: readonly string[];
  readonly decisions: readonly FieldDecision[];
};

/** Longest list or text that is merged by its parts, in elements or tokens; longer ones are in dispute. */
export const mergeLimit = 20_000;

/**
 * Merges two sides of a record field by field. Never throws; what no rule can decide is in `disputed`.
 * @example
 * mergeFields({ base: { n: 5 }, local: { n: 7 }, remote: { n: 6 } }, { n: { rule: "counter" } }).value // { n: 8 }
 */
export function mergeFields(three: Three, rules: FieldRules): Merged {
  const value: Record<string, Json> = {};
  const disputed: string[] = [];
  const decisions: FieldDecision[] = [];
  const { base, local, remote } = three;
  for (const field of namesOf(remote, local, base ?? {})) {
    const sides = { base: memberOf(base, field), local: memberOf(local, field), remote: memberOf(remote, field) };
    const rule = Object.hasOwn(rules, field) ? rules[field] : undefined;
    const decided = mergeField(sides, rule, three);
    if (decided === "disputed") {
      disputed.push(field);
      setMember(value, field, sides.local);
      continue;
    }
    setMember(value, field, decided.value);
    if (rule !== undefined && decided.chosen !== null) {
      const of = { base: sides.base ?? null, local: sides.local ?? null, remote: sides.remote ?? null };
      decisions.push({ field, rule: rule.rule, chosen: decided.chosen, ...of });
    }
  }
  return { value, disputed, decisions };
}

/** Whose value a field takes. */
export type Side = "local" | "remote";

/**
 * What becomes of a record when a side is chosen for what is in dispute: those fields are that side's, all others are merged by their rules.
 * `each` names the side of single fields, whatever the choice for the rest.
 * @example
 * chooseSide(
 *   { base: { a: 1, b: 1 }, local: { a: 2, b: 2 }, remote: { a: 3, b: 1 } },
 *   { rules: {}, disputed: ["a"], side: "remote" },
 * ) // { a: 3, b: 2 }
 */
export function chooseSide(
  three: Three,
  by: {
    readonly rules: FieldRules;
    readonly disputed: readonly string[];
    readonly side: Side;
    readonly each?: Readonly<Record<string, Side>>;
  },
): Fields {
  const merged = mergeFields(three, by.rules);
  const disputed = new Set([...by.disputed, ...merged.disputed]);
  const value: Record<string, Json> = {};
  for (const field of namesOf(three.remote, three.local)) {
    const named = by.each !== undefined && Object.hasOwn(by.each, field) ? by.each[field] : undefined;
    const side = named ?? (disputed.has(field) ? by.side : null);
    setMember(value, field, memberOf(side === null ? merged.value : three[side], field));
  }
  return value;
}

type Sides = { readonly base: Json | undefined; readonly local: Json | undefined; readonly remote: Json | undefined };
/** `chosen` is null where only one side changed the field, or both alike: nothing had to be decided. */
type Decided = { readonly value: Json | undefined; readonly chosen: "local" | "remote" | "both" | null } | "disputed";

function mergeField(sides: Sides, rule: FieldRule | undefined, three: Pick<Three, "local" | "remote">): Decided {
  const { base, local, remote } = sides;
  // Two sides that both counted one up have counted two, though their values are the same.
  const isCounted = rule?.rule === "counter" && !isSameJson(local, base) && !isSameJson(remote, base);
  if (isSameJson(local, remote) && !isCounted) return { value: remote, chosen: null };
  if (isSameJson(local, base)) return { value: remote, chosen: null };
  if (isSameJson(remote, base)) return { value: local, chosen: null };
  switch (rule?.rule) {
    case undefined:
    case "critical":
      return "disputed";
    case "prefer-local":
      return isEmpty(local, rule.placeholders ?? [])
        ? { value: remote, chosen: "remote" }
        : { value: local, chosen: "local" };
    case "prefer-remote":
      return { value: remote, chosen: "remote" };
    case "override":
      return mergeOverride(sides, rule, three);
    case "max":
    case "min":
      return mergeExtreme(sides, rule.rule === "max" ? 1 : -1);
    case "counter":
      return mergeCounter(sides);
    case "set":
      return both(mergeSet(sides));
    case "list":
      return both(mergeList(sides, rule.by));
    case "text":
      return both(mergeTexts(sides));
    default:
      return unreachable(rule);
  }
}

const both = (value: Json | null): Decided => (value === null ? "disputed" : { value, chosen: "both" });

function isEmpty(value: Json | undefined, placeholders: readonly Json[]): boolean {
  return value === undefined || value === null || value === "" || placeholders.some((each) => isSameJson(each, value));
}

/** The computed value holds, unless one side was set by hand; two values that were both set by hand are for a person. */
function mergeOverride(
  { local, remote }: Sides,
  rule: Extract<FieldRule, { rule: "override" }>,
  records: Pick<Three, "local" | "remote">,
): Decided {
  const isClose =
    typeof local === "number" && typeof remote === "number" && Math.abs(local - remote) <= (rule.tolerance ?? 0);
  if (isClose) return { value: remote, chosen: "remote" };
  const isLocalSet = memberOf(records.local, rule.flag) === true;
  const isRemoteSet = memberOf(records.remote, rule.flag) === true;
  if (isLocalSet && isRemoteSet) return "disputed";
  return isLocalSet ? { value: local, chosen: "local" } : { value: remote, chosen: "remote" };
}

/** The greater (1) or lesser (-1) of two numbers or two texts; a missing value loses. */
function mergeExtreme({ local, remote }: Sides, sign: 1 | -1): Decided {
  if (local === undefined || local === null) return { value: remote, chosen: "remote" };
  if (remote === undefined || remote === null) return { value: local, chosen: "local" };
  const areNumbers = typeof local === "number" && typeof remote === "number";
  const areTexts = typeof local === "string" && typeof remote === "string";
  if (!areNumbers && !areTexts) return "disputed";
  const isLocal = sign === 1 ? local > remote : local < remote;
  return isLocal ? { value: local, chosen: "local" } : { value: remote, chosen: "remote" };
}

function mergeCounter({ base, local, remote }: Sides): Decided {
  const start = base ?? 0;
  if (typeof start !== "number" || typeof local !== "number" || typeof remote !== "number") return "disputed";
  const sum = local + (remote - start);
  return Number.isFinite(sum) ? { value: sum, chosen: "both" } : "disputed";
}

/** The remote's elements without what was taken away here, then what was added here; order is the remote's. */
function mergeSet({ base, local, remote }: Sides): Json | null {
  const [from, here, there] = [listOf(base), listOf(local), listOf(remote)];
  if (from === null || here === null || there === null) return null;
  const texts = (list: readonly Json[]): ReadonlySet<string> => new Set(list.map(elementText));
  const [inBase, inLocal] = [texts(from), texts(here)];
  const kept = there.filter((each) => inLocal.has(elementText(each)) || !inBase.has(elementText(each)));
  const inKept = texts(kept);
  // What was here from the beginning and is gone there was taken away there.
  const added = here.filter((each) => !inKept.has(elementText(each)) && !inBase.has(elementText(each)));
  return withoutRepeats([...kept, ...added]);
}

function withoutRepeats(list: readonly Json[]): readonly Json[] {
  const seen = new Set<string>();
  return list.filter((each) => {
    const text = elementText(each);
    if (seen.has(text)) return false;
    seen.add(text);
    return true;
  });
}

type Keyed = ReadonlyMap<string, Fields>;

/** Elements by their key, merged one by one; the order is that of the side which changed it, the remote's when both did. */
function mergeList({ base, local, remote }: Sides, by: string): Json | null {
  const [from, here, there] = [keyed(base, by), keyed(local, by), keyed(remote, by)];
  if (from === null || here === null || there === null) return null;
  const merged = new Map<string, Fields>();
  for (const key of new Set([...there.keys(), ...here.keys()])) {
    const element = mergeElement(from.get(key), here.get(key), there.get(key));
    if (element === "disputed") return null;
    if (element !== undefined) merged.set(key, element);
  }
  const isMovedThere = !isSameOrder(from, there);
  const [first, second] = !isMovedThere && !isSameOrder(from, here) ? [here, there] : [there, here];
  return orderOf(first, second)
    .map((key) => merged.get(key))
    .filter((each) => each !== undefined);
}

function mergeElement(
  base: Fields | undefined,
  local: Fields | undefined,
  remote: Fields | undefined,
): Fields | undefined | "disputed" {
  if (local !== undefined && remote !== undefined) {
    const { value, disputed } = mergeFields({ base: base ?? null, local, remote }, {});
    return disputed.length > 0 ? "disputed" : value;
  }
  const one = local ?? remote;
  if (base === undefined) return one;
  // Taken away on one side: gone, unless the other side changed it meanwhile.
  return isSameJson(one, base) ? undefined : "disputed";
}

function isSameOrder(before: Keyed, after: Keyed): boolean {
  const kept = [...before.keys()].filter((key) => after.has(key));
  const now = [...after.keys()].filter((key) => before.has(key));
  return kept.every((key, index) => key === now[index]);
}

/** The keys of one list, with what only the other has put behind its predecessor there. */
function orderOf(first: Keyed, second: Keyed): readonly string[] {
  const order = [...first.keys()];
  let before: string | null = null;
  for (const key of second.keys()) {
    if (!first.has(key)) order.splice(before === null ? 0 : order.indexOf(before) + 1, 0, key);
    before = key;
  }
  return order;
}

/** Null when it is no list of objects with unique texts or numbers as keys. A missing list is an empty one. */
function keyed(value: Json | undefined, by: string): Keyed | null {
  const list = listOf(value);
  if (list === null) return null;
  const found = new Map<string, Fields>();
  for (const each of list) {
    if (typeof each !== "object" || each === null || Array.isArray(each)) return null;
    const key = memberOf(each as Fields, by);
    if (typeof key !== "string" && typeof key !== "number") return null;
    if (found.has(JSON.stringify(key))) return null;
    found.set(JSON.stringify(key), each as Fields);
  }
  return found;
}

function listOf(value: Json | undefined): readonly Json[] | null {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) && value.length <= mergeLimit ? value : null;
}

const elementText = (value: Json): string => (typeof value === "object" ? sortedText(value) : JSON.stringify(value));

/** Like the canonical text, but for any text: a lone surrogate must not make a merge fail. */
function sortedText(value: Json): string {
  return JSON.stringify(value, (_name, each: Json) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

function mergeTexts({ base, local, remote }: Sides): Json | null {
  if (typeof local !== "string" || typeof remote !== "string") return null;
  return mergeText({ base: typeof base === "string" ? base : "", local, remote });
}

function namesOf(...sides: readonly Fields[]): readonly string[] {
  return [...new Set(sides.flatMap((side) => Object.keys(side)))];
}

function memberOf(fields: Fields | null, name: string): Json | undefined {
  return fields !== null && Object.hasOwn(fields, name) ? fields[name] : undefined;
}

/** A field may be called `__proto__`; an assignment would lose it. */
function setMember(target: Record<string, Json>, name: string, value: Json | undefined): void {
  if (value === undefined) return;
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}
