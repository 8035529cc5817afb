/**
 * Owns declaring a collection of records from any Standard Schema: what is checked at once, and the types that follow from it.
 * What may be said as data is `record.ts`, merging is `merge.ts`; where records are kept is the engine's.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { ConflictKind, Decision, Sides, Strategies } from "./conflict.ts";
import { conflictKinds } from "./conflict.ts";
import { HoldfastError } from "./errors.ts";
import { toJson } from "./json.ts";
import type { FieldRule } from "./merge.ts";
import { checkOptions, misspelt } from "./misuse.ts";
import type { Json, Strategy } from "./operation.ts";
import { strategies } from "./operation.ts";
import type { CollectionSpec, Condition, Fields } from "./record.ts";
import { askSchema, isSchema } from "./standard-schema.ts";
import type { Collection } from "./world.ts";

type In<S extends StandardSchemaV1> = StandardSchemaV1.InferInput<S>;
type Out<S extends StandardSchemaV1> = StandardSchemaV1.InferOutput<S>;
type FieldOf<S extends StandardSchemaV1> = Extract<keyof Out<S>, string>;

export type CollectionDeclaration<S extends StandardSchemaV1> = Omit<
  CollectionSpec,
  "indexes" | "unique" | "merge" | "strategy" | "localOnly" | "filter"
> & {
  /** Any synchronous Standard Schema of an object. What it makes of a value is kept, and what it does not know is left alone. */
  readonly schema: S;
  /** Where a new record takes its key from: a field, or a function of the value. Without it the key is a fresh UUID. */
  readonly key?: FieldOf<S> | ((value: Out<S>) => string);
  readonly indexes?: readonly (FieldOf<S> | readonly FieldOf<S>[])[];
  readonly unique?: readonly (readonly FieldOf<S>[])[];
  readonly merge?: { readonly [F in FieldOf<S>]?: FieldRule };
  /** What decides conflicts, by kind; one word decides all kinds. */
  readonly strategy?: Strategy | Partial<Strategies>;
  readonly localOnly?: readonly FieldOf<S>[];
  /** Which records are synced: those that meet all conditions. */
  readonly filter?: { readonly [F in FieldOf<S> | "$key"]?: Condition };
  /** Brings a value of an older version forward. Must be pure: it runs again whenever an old value is met. */
  readonly upcast?: (value: Fields, fromVersion: number) => Fields;
  /** Strategy functions by kind of conflict; they go before `strategy`. Pure: same sides, same answer. */
  readonly decide?: { readonly [K in ConflictKind]?: (sides: Sides) => Decision };
  /** Version of the functions in `decide`. */
  readonly decideVersion?: number;
};

/** A declared collection: give it to an engine, and reach its records with `client.collection`. */
export type DeclaredCollection<S extends StandardSchemaV1> = Collection & {
  /** For the compiler alone. */
  readonly "~types"?: { readonly input: In<S>; readonly output: Out<S> };
};

const names = [
  ...["name", "schema", "key", "version", "space", "indexes", "unique", "merge", "strategy", "localOnly", "keys"],
  ...["filter", "maxBytes", "isSynced", "upcast", "decide", "decideVersion"],
];
const ruleNames = [
  "critical",
  "prefer-local",
  "prefer-remote",
  "override",
  "max",
  "min",
  "counter",
  "set",
  "list",
  "text",
];
const keySource = Symbol.for("holdfast.key");

/**
 * Declares a collection.
 * @example
 * const notes = collection({
 *   name: "notes",
 *   schema: z.object({ title: z.string(), body: z.string().default("") }),
 *   indexes: ["title"],
 *   merge: { body: { rule: "text" } },
 * });
 * await client.collection(notes).create({ title: "Tides" });
 */
export function collection<S extends StandardSchemaV1>(declaration: CollectionDeclaration<S>): DeclaredCollection<S> {
  checkDeclaration(declaration);
  const { schema, key, strategy, ...rest } = declaration;
  const where = `collection "${declaration.name}"`;
  const declared = {
    ...rest,
    ...(strategy === undefined ? {} : { strategy: everyKind(strategy) }),
    check: (value: Json): Fields => checkValue(where, schema, value),
  };
  if (key !== undefined) Object.defineProperty(declared, keySource, { value: key });
  // Fields are typed by the schema here and are plain names for the engine.
  return declared as unknown as DeclaredCollection<S>;
}

/** Where a declared collection takes keys from, for the client: a field's name, a function, or nothing. */
export function keySourceOf(declared: object): string | ((value: never) => string) | undefined {
  return (declared as { readonly [keySource]?: string | ((value: never) => string) })[keySource];
}

function everyKind(strategy: Strategy | Partial<Strategies>): Partial<Strategies> {
  if (typeof strategy !== "string") return strategy;
  return Object.fromEntries(conflictKinds.map((kind) => [kind, strategy]));
}

function checkValue(where: string, schema: StandardSchemaV1, value: Json): Fields {
  const said = askSchema(schema, value, {
    where,
    advice: "a write is one synchronous transaction, so check such things before it, or at the server",
  });
  if ("message" in said) {
    const field = said.field === "" ? "value" : said.field;
    throw new HoldfastError("invalid_input", `${where}: ${field}: ${said.message}`, `correct ${field}`, {
      details: { field: said.field },
    });
  }
  // A transform to something that is no JSON, such as a Date, could not be read back: that is a mistake of the declaration.
  const made = toJson(said.value, where) as Json;
  if (typeof made !== "object" || made === null || Array.isArray(made))
    throw new TypeError(`${where}: its schema must describe an object, e.g. z.object({ … })`);
  return keepUnknown(value, made) as Fields;
}

/** A newer program may have written fields that this schema does not know: an edit by an older one must not take them away. */
function keepUnknown(given: Json, made: Json): Json {
  if (!isObject(given) || !isObject(made)) return made;
  const kept = Object.entries(given).map(([name, value]) => {
    const next = Object.hasOwn(made, name) ? made[name] : undefined;
    return [name, next === undefined ? value : keepUnknown(value, next)] as const;
  });
  return { ...made, ...Object.fromEntries(kept) };
}

function isObject(value: Json): value is { readonly [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checkDeclaration<S extends StandardSchemaV1>(declaration: CollectionDeclaration<S>): void {
  checkOptions("collection", declaration ?? null, names);
  const { name, schema, version, upcast, key, filter } = declaration;
  if (typeof name !== "string" || !/^[a-z][a-z0-9_]{0,62}$/.test(name)) {
    throw new TypeError(
      `collection: name must be lower-case letters, digits and _, beginning with a letter, e.g. "notes"; got ${JSON.stringify(name)}`,
    );
  }
  const where = `collection "${name}"`;
  if (!isSchema(schema)) throw new TypeError(`${where}: schema must be a Standard Schema, e.g. z.object({ … }) of zod`);
  if (version !== undefined && (!Number.isSafeInteger(version) || version < 1))
    throw new TypeError(`${where}: version must be 1, 2, 3, …; got ${version}`);
  if (upcast !== undefined && typeof upcast !== "function") throw new TypeError(`${where}: upcast must be a function`);
  if ((version ?? 1) > 1 && upcast === undefined)
    throw new TypeError(
      `${where}: version ${version} needs upcast(value, fromVersion), which brings older values forward`,
    );
  if (key !== undefined && typeof key !== "string" && typeof key !== "function")
    throw new TypeError(`${where}: key must be the name of a field, or a function of the value`);
  checkLists(where, declaration);
  checkRules(where, declaration as { readonly merge?: { readonly [field: string]: FieldRule } });
  checkDecisions(where, declaration);
  if (filter !== undefined) checkFilter(where, filter);
}

type Lists = {
  readonly indexes?: readonly (string | readonly string[])[];
  readonly unique?: readonly (readonly string[])[];
  readonly localOnly?: readonly string[];
};

function checkLists(where: string, { indexes, unique, localOnly }: Lists): void {
  const isNames = (list: unknown): boolean =>
    Array.isArray(list) && list.length > 0 && list.every((each) => typeof each === "string" && each !== "");
  if (
    indexes !== undefined &&
    !(Array.isArray(indexes) && indexes.every((each) => typeof each === "string" || isNames(each)))
  )
    throw new TypeError(
      `${where}: indexes must list fields, or lists of fields, e.g. ["title", ["status", "updated"]]`,
    );
  if (unique !== undefined && !(Array.isArray(unique) && unique.every(isNames)))
    throw new TypeError(`${where}: unique must list lists of fields, e.g. [["email"], ["space", "number"]]`);
  if (localOnly !== undefined && !(Array.isArray(localOnly) && localOnly.every((each) => typeof each === "string")))
    throw new TypeError(`${where}: localOnly must list fields, e.g. ["isExpanded"]`);
}

function checkRules(where: string, { merge }: { readonly merge?: { readonly [field: string]: FieldRule } }): void {
  for (const [field, rule] of Object.entries(merge ?? {})) {
    const said: unknown = (rule as { readonly rule?: unknown } | null)?.rule;
    if (typeof said !== "string")
      throw new TypeError(`${where}: merge.${field} must be an object with a rule, e.g. { rule: "prefer-local" }`);
    if (!ruleNames.includes(said)) throw new TypeError(misspelt(`${where}: merge.${field}: the rule`, said, ruleNames));
  }
}

type Decisions = {
  readonly strategy?: Strategy | Partial<Strategies>;
  readonly decide?: { readonly [kind: string]: unknown };
};

function checkDecisions(where: string, { strategy, decide }: Decisions): void {
  const chosen: object = typeof strategy === "string" ? { version_mismatch: strategy } : (strategy ?? {});
  for (const [kind, choice] of Object.entries(chosen)) {
    checkKind(`${where}: strategy`, kind);
    if (!strategies.includes(choice as Strategy))
      throw new TypeError(misspelt(`${where}: the strategy`, String(choice), strategies));
  }
  for (const [kind, each] of Object.entries(decide ?? {})) {
    checkKind(`${where}: decide`, kind);
    if (typeof each !== "function")
      throw new TypeError(`${where}: decide.${kind} must be a function of the three sides`);
  }
}

function checkKind(where: string, kind: string): void {
  if (!conflictKinds.includes(kind as ConflictKind))
    throw new TypeError(misspelt(`${where}: the kind of conflict`, kind, conflictKinds));
}

function checkFilter(where: string, filter: object): void {
  if (typeof filter !== "object" || filter === null || Array.isArray(filter))
    throw new TypeError(`${where}: filter must name fields and conditions, e.g. { status: "open", fee: { gt: 5 } }`);
}
