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
  const where: Record<string, Condition> = {};
  for (const text of texts) {
    if (text.trimStart().startsWith("{")) {
      Object.assign(where, parseJson(text, option));
      continue;
    }
    const [, field = "", operator = "", typed = ""] = comparison.exec(text) ?? [];
    if (field === "")
      throw usage(
        `${option}: "${text}" is no condition`,
        `write for example ${option} status=open, or ${option} 'fee>5'`,
      );
    const value = operator === "^=" ? typed : scalarOf(typed);
    const next: Condition =
      operator === "=" ? { eq: value } : ({ [names[operator as keyof typeof names]]: value } as Condition);
    const before = where[field];
    where[field] = typeof before === "object" && before !== null ? { ...before, ...(next as object) } : next;
  }
  return where;
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
