/**
 * Owns how conditions, orders and assignments are typed: `status=open`, `fee>5`, `start:desc`, `title=Tides`.
 * What they mean is the engine's.
 */
import type { Json } from "../operation.ts";
import type { Condition, Where } from "../record.ts";
import { parseJson, parseLoose, usage } from "./parse.ts";

const comparison = /^([^=<>!^\s]+)\s*(\^=|!=|>=|<=|=|>|<)\s*(.*)$/s;
const names = { "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "^=": "prefix" } as const;

/**
 * The conditions of repeated options; two about one field hold together.
 * @example
 * parseWhere(["fee>5", "fee<=9"], "--where") // { fee: { gt: 5, lte: 9 } }
 */
export function parseWhere(texts: readonly string[], option: string): Where {
  const where = new Map<string, Condition>();
  for (const [field, next] of texts.flatMap((text) => conditionsOf(text, option))) {
    const before = where.get(field);
    const both = before === undefined ? next : joined(before, next);
    if (both === null)
      throw usage(`${option}: two conditions say the same of "${field}"`, "one of them would count for nothing");
    where.set(field, both);
  }
  return Object.fromEntries(where);
}

function conditionsOf(text: string, option: string): readonly (readonly [string, Condition])[] {
  if (text.trimStart().startsWith("{")) return Object.entries(parseJson(text, option) as Where);
  const [, field = "", operator = "", typed = ""] = comparison.exec(text) ?? [];
  if (field === "")
    throw usage(
      `${option}: "${text}" is no condition`,
      `write for example ${option} status=open, or ${option} 'fee>5'`,
    );
  const value = operator === "^=" ? typed : scalarOf(typed);
  const name = operator === "=" ? "eq" : names[operator as keyof typeof names];
  return [[field, { [name]: value } as Condition]];
}

/** Both hold; `null` where the one would take the other's place. A value alone is what the field equals. */
function joined(before: Condition, next: Condition): Condition | null {
  const [left, right] = [before, next].map((each) =>
    typeof each === "object" && each !== null ? each : { eq: each },
  ) as [object, object];
  return Object.keys(left).some((name) => name in right) ? null : ({ ...left, ...right } as Condition);
}

/** "start:desc" and "name". */
export function parseOrderBy(texts: readonly string[]): { field: string; direction: "asc" | "desc" }[] {
  return texts.map((text) => {
    const [, field = "", direction = "asc"] =
      /^(.+?)(?::(asc|desc|up|down|ascending|descending|\+|-))?$/i.exec(text) ?? [];
    if (direction !== "asc" && direction !== "desc")
      throw usage(`--order: "${direction}" is no direction`, `write --order ${field}:asc or --order ${field}:desc`);
    return { field, direction: direction === "desc" ? "desc" : "asc" };
  });
}

/** "field=value", JSON where it is JSON, otherwise the text itself. */
export function parseAssignments(texts: readonly string[], option: string): Record<string, Json> {
  const entries = texts.map((text) => {
    const equals = text.indexOf("=");
    if (equals < 1) throw usage(`${option}: "${text}" names no field`, `write ${option} field=value`);
    return [text.slice(0, equals), parseLoose(text.slice(equals + 1)) as Json] as const;
  });
  return Object.fromEntries(entries);
}

function scalarOf(typed: string): string | number | boolean | null {
  const value = parseLoose(typed);
  return typeof value === "object" && value !== null ? typed : (value as string | number | boolean | null);
}
