/**
 * Owns the check of what a program gives to `openEngine`, before anything is opened: a name that is misspelt would be passed over without a
 * word, and a value of another type would be met long after. What the options mean is `engine.ts`.
 */
import * as z from "zod/mini";
import { firstIssue, wordless } from "../issue.ts";
import { checkOptions, misspelt } from "../misuse.ts";
import { networkPolicy } from "../network.ts";
import { addInput, defaultSettings, retryInput, settingsPatch } from "../shapes.ts";
import type { OperationType } from "../world.ts";
import type { OpenEngineOptions } from "./engine.ts";

const names: readonly (keyof OpenEngineOptions)[] = [
  ...(["directory", "types", "collections", "sync", "settings", "network", "probe", "log", "commands"] as const),
  "credentials",
];

const typeNames: readonly (keyof OperationType | "of")[] = [
  ...(["type", "version", "upcast", "check", "title", "remoteOf", "lane", "priority", "retry", "timeoutMs"] as const),
  ...(["isBulk", "onFailure", "onCrash", "conflict", "rewrite", "mentions", "redact", "resend", "merge"] as const),
  ...(["run", "runBatch"] as const),
  // What `operation` adds.
  "of",
];

const optional = z.optional;
const isFunction = (value: unknown): boolean => typeof value === "function";

/** What of a type counts as it is given, and is used long after. */
const typeTerms = z.looseObject({
  type: addInput.shape.type,
  version: optional(z.int().check(z.gte(1))),
  priority: optional(addInput.shape.priority),
  retry: optional(retryInput),
  timeoutMs: optional(
    z.union([z.number().check(z.gte(0)), z.custom(isFunction)], "expected milliseconds, or a function"),
  ),
  isBulk: optional(z.boolean()),
  onFailure: addInput.shape.onFailure,
  onCrash: addInput.shape.onCrash,
  conflict: addInput.shape.conflict,
  check: optional(z.custom(isFunction, "expected a function")),
  upcast: optional(z.custom(isFunction, "expected a function")),
  run: optional(z.custom(isFunction, "expected a function")),
  runBatch: optional(z.object({ max: z.int().check(z.gte(1)), run: z.custom(isFunction, "expected a function") })),
});

/** Throws a `TypeError` that names what is wrong and what belongs there. */
export function checkEngineOptions(options: OpenEngineOptions): void {
  checkOptions("openEngine", options ?? null, names);
  const { directory, types, settings, network, log, commands } = options;
  if (typeof directory !== "string" || directory === "")
    throw new TypeError(`openEngine: directory must be a path, e.g. "./data"; got ${JSON.stringify(directory)}`);
  checkTypes(types);
  if (settings !== undefined) checkSettings(settings);
  if (network !== undefined && typeof network !== "function") checkNetwork(network);
  if (log !== undefined && typeof log !== "function") throw new TypeError("openEngine: log must be a function");
  if (commands !== undefined && typeof commands !== "boolean")
    throw new TypeError(`openEngine: commands must be true or false; got ${JSON.stringify(commands)}`);
}

function checkTypes(types: unknown): void {
  if (types === undefined) return;
  if (!Array.isArray(types)) throw new TypeError("openEngine: types must be a list, e.g. [operation({ … })]");
  for (const each of types) checkType(each);
}

/** The same for one type, also for one that is made known later. */
export function checkType(type: unknown): void {
  const problem = typeProblem(type);
  if (problem === null) return;
  const { type: name } = (type ?? {}) as { readonly type?: unknown };
  throw new TypeError(
    `openEngine: ${typeof name === "string" && name !== "" ? `the type "${name}"` : "a type"}: ${problem}`,
  );
}

/** What is wrong with a type, in words; `null`: nothing. */
export function typeProblem(type: unknown): string | null {
  if (typeof type !== "object" || type === null) return "it is not an object";
  const strange = Object.keys(type).find((name) => !typeNames.some((known) => known === name));
  if (strange !== undefined) return misspelt("the option", strange, typeNames);
  const checked = z.safeParse(typeTerms, type, wordless);
  return checked.success ? null : firstIssue(checked.error, "type");
}

function checkSettings(settings: unknown): void {
  checkOptions("openEngine: settings", settings, Object.keys(defaultSettings));
  const checked = z.safeParse(settingsPatch, settings, wordless);
  if (!checked.success) throw new TypeError(`openEngine: settings.${firstIssue(checked.error, "settings")}`);
}

function checkNetwork(network: object): void {
  checkOptions("openEngine: network", network, Object.keys(networkPolicy));
  for (const [name, value] of Object.entries(network)) {
    if (value !== undefined && !(typeof value === "number" && value >= 0))
      throw new TypeError(`openEngine: network: ${name} must be a number from 0 on; got ${JSON.stringify(value)}`);
  }
}
