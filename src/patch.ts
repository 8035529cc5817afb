/**
 * Owns the two standard ways to say a change of JSON: merge patch (RFC 7396) and JSON Patch (RFC 6902) with its pointers (RFC 6901).
 * They are taken from callers and shown to people; on the wire and in the store a change is `Change` of `record.ts`.
 */
import { isSameJson } from "./canonical.ts";
import { HoldfastError } from "./errors.ts";
import { toJson } from "./json.ts";
import type { Json } from "./operation.ts";

type Members = { readonly [name: string]: Json };

/** One step of a JSON Patch. */
export type PatchStep =
  | { readonly op: "add" | "replace" | "test"; readonly path: string; readonly value: Json }
  | { readonly op: "remove"; readonly path: string }
  | { readonly op: "move" | "copy"; readonly from: string; readonly path: string };

/**
 * What the steps of one patch may copy together, in values and characters: copied into itself, a value doubles, and a few dozen steps would
 * fill the memory. A record has a quarter of it at most.
 */
const copyLimit = 4_194_304;

/**
 * Applies a merge patch: members of `patch` replace those of `target`, `null` removes (RFC 7396, section 2).
 * @example
 * applyMergePatch({ a: "b", c: { d: 1, e: 2 } }, { a: null, c: { d: 3 } }) // { c: { d: 3, e: 2 } }
 */
export function applyMergePatch(target: Json, patch: Json): Json {
  if (!isMembers(patch)) return patch;
  const result = new Map(isMembers(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) result.delete(name);
    else result.set(name, applyMergePatch(result.get(name) ?? null, value));
  }
  return fromMap(result);
}

/**
 * Applies a JSON Patch, all or nothing. Throws `invalid_input` that names the step and what is wrong with it, and `refused_by_state`
 * when a `test` finds another value: the patch is sound, the document is not as its writer saw it.
 * @example
 * applyPatch({ tags: ["a"] }, [{ op: "add", path: "/tags/-", value: "b" }]) // { tags: ["a", "b"] }
 */
export function applyPatch(document: Json, patch: readonly unknown[]): Json {
  const budget = { left: copyLimit };
  const patched = patch.reduce<Json>((value, step, index) => applyStep(value, { step, index, budget }), document);
  // Steps may nest what alone is flat enough: copied into itself, a value doubles its depth.
  return toJson(patched, "what the patch makes") as Json;
}

/** The JSON Patch that leads from one value to another; arrays that differ are replaced whole. */
export function makePatch(before: Json, after: Json, path = ""): readonly PatchStep[] {
  if (isSameJson(before, after)) return [];
  if (!isMembers(before) || !isMembers(after)) return [{ op: "replace", path, value: after }];
  const gone = Object.keys(before).filter((name) => !Object.hasOwn(after, name));
  const steps = Object.entries(after).flatMap(([name, value]): readonly PatchStep[] => {
    const place = `${path}/${escapeToken(name)}`;
    const old = Object.hasOwn(before, name) ? before[name] : undefined;
    return old === undefined ? [{ op: "add", path: place, value }] : makePatch(old, value, place);
  });
  return [...gone.map((name) => ({ op: "remove", path: `${path}/${escapeToken(name)}` }) as const), ...steps];
}

type Applying = { readonly step: unknown; readonly index: number; readonly budget: { left: number } };

function applyStep(document: Json, { step: given, index, budget }: Applying): Json {
  const refuse: Refuse = (what) => {
    throw new HoldfastError(
      "invalid_input",
      `patch step ${index}: ${what}`,
      "see RFC 6902 for the steps of a JSON Patch",
    );
  };
  const step = checkStep(given, refuse);
  const path = parsePointer(step.path, refuse);
  switch (step.op) {
    case "add":
      return add(document, path, { value: step.value, refuse });
    case "replace":
      read(document, path, refuse);
      return path.length === 0 ? step.value : add(remove(document, path, refuse), path, { value: step.value, refuse });
    case "remove":
      return remove(document, path, refuse);
    case "copy": {
      const value = read(document, parsePointer(step.from, refuse), refuse);
      budget.left = weigh(value, budget.left);
      if (budget.left < 0) refuse(`the patch copies more than ${copyLimit} characters and values`);
      return add(document, path, { value, refuse });
    }
    case "move": {
      if (step.path.startsWith(`${step.from}/`)) refuse(`cannot move "${step.from}" into itself`);
      const from = parsePointer(step.from, refuse);
      const value = read(document, from, refuse);
      return from.length === 0 ? value : add(remove(document, from, refuse), path, { value, refuse });
    }
    case "test": {
      const differ: Refuse = (what) => {
        throw new HoldfastError(
          "refused_by_state",
          `patch step ${index}: ${what}`,
          "read the record again, then write",
        );
      };
      if (!isSameJson(read(document, path, differ), step.value)) differ(`the value at "${step.path}" is another one`);
      return document;
    }
  }
}

/** What is left of a budget when the value is taken from it, or less than nothing; told without a stack, which a deep value would overflow. */
function weigh(value: Json, budget: number): number {
  let left = budget;
  const open = [value];
  for (let next = open.pop(); next !== undefined && left >= 0; next = open.pop()) {
    left -= typeof next === "string" ? next.length + 1 : 1;
    if (typeof next !== "object" || next === null) continue;
    left -= Array.isArray(next) ? 0 : Object.keys(next).join("").length;
    for (const child of Object.values(next)) open.push(child);
  }
  return left;
}

type Refuse = (what: string) => never;

function checkStep(given: unknown, refuse: Refuse): PatchStep {
  if (typeof given !== "object" || given === null || Array.isArray(given)) refuse("is no object");
  const { op, path, from, value } = given as { readonly [name: string]: unknown };
  if (typeof path !== "string") refuse("has no path");
  switch (op) {
    case "add":
    case "replace":
    case "test":
      if (value === undefined) refuse(`${op} needs a value`);
      return { op, path: path as string, value: value as Json };
    case "remove":
      return { op, path: path as string };
    case "move":
    case "copy":
      if (typeof from !== "string") refuse(`${op} needs from`);
      return { op, path: path as string, from: from as string };
    default:
      return refuse(`${JSON.stringify(op)} is no operation; there are add, remove, replace, move, copy, test`);
  }
}

/** Reference tokens of a pointer (RFC 6901, section 4). */
function parsePointer(pointer: string, refuse: Refuse): readonly string[] {
  if (pointer === "") return [];
  if (!pointer.startsWith("/")) refuse(`the pointer "${pointer}" does not begin with /`);
  if (/~(?![01])/.test(pointer)) refuse(`the pointer "${pointer}" has a ~ that is neither ~0 nor ~1`);
  return pointer
    .slice(1)
    .split("/")
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

const escapeToken = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");

function read(document: Json, path: readonly string[], refuse: Refuse): Json {
  return path.reduce<Json>((value, token) => {
    if (isList(value)) return value[position(token, value.length - 1, refuse)] ?? null;
    if (isMembers(value) && Object.hasOwn(value, token)) return value[token] ?? null;
    return refuse(`there is nothing at "${token}"`);
  }, document);
}

type Addition = { readonly value: Json; readonly refuse: Refuse };

function add(document: Json, path: readonly string[], { value, refuse }: Addition): Json {
  return change(
    document,
    path,
    refuse,
    (parent, token) => {
      if (isList(parent)) {
        const at = token === "-" ? parent.length : position(token, parent.length, refuse);
        return [...parent.slice(0, at), value, ...parent.slice(at)];
      }
      return fromMap(new Map([...Object.entries(parent), [token, value]]));
    },
    value,
  );
}

function remove(document: Json, path: readonly string[], refuse: Refuse): Json {
  read(document, path, refuse);
  return change(
    document,
    path,
    refuse,
    (parent, token) => {
      if (isList(parent)) return parent.filter((_, index) => index !== Number(token));
      return fromMap(new Map(Object.entries(parent).filter(([name]) => name !== token)));
    },
    null,
  );
}

type Container = readonly Json[] | Members;

/** Rebuilds the document along a path; what is not on the path is shared. */
function change(
  document: Json,
  path: readonly string[],
  refuse: Refuse,
  edit: (parent: Container, token: string) => Json,
  whole: Json,
): Json {
  const [token, ...rest] = path;
  if (token === undefined) return whole;
  if (!isList(document) && !isMembers(document)) return refuse(`"${token}" leads into a value that has no members`);
  if (rest.length === 0) return edit(document, token);
  const child = change(read(document, [token], refuse), rest, refuse, edit, whole);
  if (isList(document)) return document.with(position(token, document.length - 1, refuse), child);
  return fromMap(new Map([...Object.entries(document), [token, child]]));
}

/** An array index: digits without leading zeros, at most `most`. */
function position(token: string, most: number, refuse: Refuse): number {
  if (!/^(0|[1-9]\d*)$/.test(token)) return refuse(`"${token}" is no position in an array`);
  return Number(token) <= most ? Number(token) : refuse(`position ${token} lies outside of the array`);
}

/** A member may be called `__proto__`: an entry keeps it, an assignment loses it. */
const fromMap = (members: ReadonlyMap<string, Json>): Json => Object.fromEntries(members);
const isList = (value: Json): value is readonly Json[] => Array.isArray(value);
const isMembers = (value: Json): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);
