/**
 * Owns the check that a value can travel as JSON, so that every transport refuses and accepts the same things.
 * What a verb or an operation type wants to find in it is checked by `verbs.ts` and by the type.
 */
import { HoldfastError } from "./errors.ts";

/** How deep a value may nest, on whatever way it comes. Those who walk it recurse, and a stack that overflows is no answer to a caller. */
export const maxDepth = 500;

/** A request holds its values a few levels down: who reads it as a whole refuses none for what stands around them. */
export const requestDepth = maxDepth + 8;

const halfCharacter = /\p{Surrogate}/u;

/**
 * Whether a text that is kept by itself, a name or a key, comes back as it was. Node 22 reads one only up to its U+0000, PostgreSQL takes
 * none, and no database keeps half of a surrogate pair. Inside JSON both are escaped.
 */
export const isKeepable = (text: string): boolean => !text.includes("\0") && !halfCharacter.test(text);

type Open = { readonly value: unknown; readonly path: string; readonly depth: number };

/**
 * Returns `value` ready to travel: properties that are `undefined` are left out, as `JSON.stringify` does; everything
 * else that JSON cannot carry is refused with `invalid_input` and its path. A value without `undefined` comes back as it is.
 */
export function toJson(value: unknown, where: string, depthLimit = maxDepth): unknown {
  let hasUndefined = false;
  const open: Open[] = [{ value, path: where, depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value: each, path, depth } = next;
    if (each === undefined) hasUndefined = true;
    const children = childrenOf(each, path);
    if (children.length > 0 && depth >= depthLimit) {
      throw refusal(path.slice(0, 80), `nests deeper than ${maxDepth}`);
    }
    for (const [name, child] of children) {
      if (child === undefined && Array.isArray(each)) throw refusal(`${path}[${name}]`, "is undefined");
      // Leaves that are fine need no visit; only containers and suspects go on the stack.
      if (typeof child === "string" || typeof child === "boolean" || child === null) continue;
      open.push({ value: child, path: Array.isArray(each) ? `${path}[${name}]` : `${path}.${name}`, depth: depth + 1 });
    }
  }
  return hasUndefined ? JSON.parse(JSON.stringify(value)) : value;
}

function childrenOf(value: unknown, path: string): readonly (readonly [string, unknown])[] {
  switch (typeof value) {
    case "undefined":
    case "string":
    case "boolean":
      return [];
    case "number":
      if (Number.isFinite(value)) return [];
      throw refusal(path, `is ${value}`);
    case "object":
      if (value === null) return [];
      if (!Array.isArray(value) && !isPlain(value))
        throw refusal(path, `is a ${value.constructor?.name ?? "special object"}`);
      return Object.entries(value);
    default:
      throw refusal(path, `is a ${typeof value}`);
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of another realm (a frame, a vm context) have an Object.prototype of their own: it is the one without a parent.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function refusal(path: string, what: string): HoldfastError {
  return new HoldfastError(
    "invalid_input",
    `${path} ${what}, which JSON cannot carry`,
    "pass strings, finite numbers, booleans, null, arrays and plain objects",
  );
}
