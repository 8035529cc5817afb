/**
 * Owns the words for what a check of a shape found: which field, and what was expected there.
 * The shapes and the errors around the words belong to whoever checks: verbs, wire, configuration, payloads.
 */
import type * as z from "zod/mini";

type Issue = z.core.$ZodIssue;

const optionLimit = 24;
const unworded = "Invalid input";

/**
 * Given to each check: without it a program that loads all of zod, or sets a language there, would choose the words. What a shape
 * says by itself stays.
 */
export const wordless = { error: () => unworded } as const;

/**
 * The first issue as "field: what was expected"; `top` names the value itself.
 * @example
 * firstIssue(z.safeParse(z.object({ id: z.string() }), {}).error!, "input") // "id: expected a string"
 */
export function firstIssue(error: { readonly issues: readonly Issue[] }, top: string): string {
  const issue = error.issues[0];
  if (issue === undefined) return `${top}: invalid`;
  const where = issue.path.length === 0 ? top : issue.path.map(String).join(".");
  return `${where}: ${issueWords(issue)}`;
}

/** What was expected, in words; a shape that brings its own words keeps them. */
export function issueWords(issue: Issue): string {
  if (issue.message !== "" && issue.message !== unworded) return issue.message;
  if (issue.code === "unrecognized_keys") return `there is no field ${issue.keys.map((key) => `"${key}"`).join(", ")}`;
  const expected = expectation(issue);
  return expected === null ? "is not valid" : `expected ${expected}`;
}

/** What an issue asks for, as a phrase that "expected" goes before; null when it does not say. */
function expectation(issue: Issue): string | null {
  switch (issue.code) {
    case "invalid_type":
      return withArticle(issue.expected);
    case "invalid_value":
      return oneOf(issue.values.map(String));
    case "too_small":
      return `at least ${amount(issue.minimum, issue.origin)}`;
    case "too_big":
      return `at most ${amount(issue.maximum, issue.origin)}`;
    case "not_multiple_of":
      return `a multiple of ${issue.divisor}`;
    case "invalid_format":
      return `the format ${issue.format}`;
    case "invalid_union":
      return unionOf(issue);
    default:
      return null;
  }
}

function unionOf(issue: Extract<Issue, { code: "invalid_union" }>): string | null {
  const { options } = issue as { readonly options?: readonly unknown[] };
  if (options !== undefined) return oneOf(options.map(String));
  // An alternative that fits at the top says more about what is wrong below it than the list of all alternatives.
  const [inside, ...others] = issue.errors.filter((each) => each[0] !== undefined && each[0].path.length > 0);
  if (inside?.[0] !== undefined && others.length === 0)
    return `${inside[0].path.map(String).join(".")} to be ${expectation(inside[0]) ?? "valid"}`;
  const each = issue.errors.flatMap((errors) => (errors[0] === undefined ? [] : [expectation(errors[0])]));
  const words = [...new Set(each.filter((phrase) => phrase !== null))];
  return words.length === 0 ? null : words.join(", or ");
}

function oneOf(values: readonly string[]): string {
  const shown = values.slice(0, optionLimit);
  const more = values.length > shown.length ? ", …" : "";
  return values.length === 1 ? (values[0] ?? "") : `one of ${shown.join(", ")}${more}`;
}

function amount(count: number | bigint, origin: string): string {
  const unit = origin === "string" ? "character" : origin === "array" || origin === "set" ? "entry" : "";
  if (unit === "") return String(count);
  const many = unit === "entry" ? "entries" : `${unit}s`;
  return `${count} ${Number(count) === 1 ? unit : many}`;
}

const integers: ReadonlySet<string> = new Set(["int", "safeint", "int32", "uint32"]);

function withArticle(type: string): string {
  if (type === "null" || type === "undefined") return type;
  if (integers.has(type)) return "a whole number";
  return `${/^[aeio]/.test(type) ? "an" : "a"} ${type}`;
}
