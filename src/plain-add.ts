/**
 * Owns the quick way through the check of an enqueue: it recognises the plainest and commonest input by hand, at a fifth of the schema's cost.
 * It never refuses: whatever is not certainly valid is left to the schema of `shapes.ts`, which decides alone.
 */
import { isKeepable, maxDepth } from "./json.ts";
import { limits } from "./shapes.ts";
import type { AddInput } from "./verbs.ts";

/** The same value that the schema gives for this input, or `null` when the schema has to be asked. */
export function plainAdd(input: unknown): AddInput | null {
  if (!isPlainObject(input)) return null;
  const plain: { -readonly [K in "type" | "payload" | "lane"]?: AddInput[K] } = {};
  for (const field in input) {
    const value = input[field];
    if (field === "payload") {
      if (!isJson(value)) return null;
      plain.payload = value as AddInput["payload"];
    } else if (field === "type" || field === "lane") {
      if (typeof value !== "string" || value === "" || value.length > limits.nameLength || !isKeepable(value))
        return null;
      plain[field] = value;
    } else return null;
  }
  return plain.type === undefined || plain.payload === undefined ? null : (plain as AddInput);
}

/** The same for several, all of them plain. */
export function plainAddMany(input: unknown): { readonly operations: AddInput[] } | null {
  if (!isPlainObject(input)) return null;
  for (const field in input) if (field !== "operations") return null;
  const given = input.operations;
  if (!Array.isArray(given) || given.length === 0 || given.length > limits.batch) return null;
  const operations: AddInput[] = [];
  for (const each of given) {
    const plain = plainAdd(each);
    if (plain === null) return null;
    operations.push(plain);
  }
  return { operations };
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** Whether a value is certainly JSON as it stands. Not through `toJson`, which has a path ready for every refusal. */
function isJson(value: unknown, depth = 0): boolean {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (depth >= maxDepth) return false;
  if (Array.isArray(value)) return value.every((each) => isJson(each, depth + 1));
  if (!isPlainObject(value)) return false;
  for (const name in value) if (!isJson(value[name], depth + 1)) return false;
  return true;
}
